"""The phases of a schedule: one file each, read from top to bottom, and this table of them."""

from swirl_lightning.modules.phases.base import Phase, Run
from swirl_lightning.modules.phases.bootstrap import Bootstrap
from swirl_lightning.modules.phases.elbo import ELBO
from swirl_lightning.modules.phases.pretrain import Pretrain
from swirl_lightning.modules.phases.sft import SFT
from swirl_lightning.modules.phases.vim import VIM

PHASES: dict[str, Phase] = {
    phase.name: phase
    for phase in (
        Pretrain(),
        SFT(),
        Bootstrap(),
        VIM(),
        ELBO(),
    )
}

__all__ = ["ELBO", "PHASES", "SFT", "VIM", "Bootstrap", "Phase", "Pretrain", "Run"]
