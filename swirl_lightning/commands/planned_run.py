"""A run that is described and not begun."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.cli import ArgsType

from swirl_lightning.commands.fit import SwirlCLI
from swirl_lightning.modules import SWIRL
from swirl_lightning.trainer import SwirlTrainer


class PlannedRun(SwirlCLI):
    """The options of ``swirl fit`` and the model that they describe: no trainer, no data, no weights.

    Args:
        args: the options.
        add_options: adds the command's own options to the parser.
    """

    model: SWIRL

    def __init__(self, args: list[str], add_options: Callable[[Any], None]) -> None:
        self.add_options = add_options
        super().__init__(args, run=False, parser_kwargs={"prog": "swirl plan"})

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Take the command's own options, and those of ``Trainer.fit``, which stand in the configuration of a run."""
        super().add_arguments_to_parser(parser)
        parser.add_method_arguments(SwirlTrainer, "fit", skip=self.subcommands()["fit"])
        self.add_options(parser)

    def parse_arguments(self, parser: Any, args: ArgsType) -> None:
        """Read the options, and no checkpoint."""
        self.config = parser.parse_args(args)
        self.config.ckpt_path = None

    def instantiate_classes(self) -> None:
        """Build the model alone."""
        self.model = self.parser.instantiate(self.config).model

    def after_instantiate_classes(self) -> None:
        """There is no trainer to tell anything."""

    def _set_seed(self) -> None:
        """Nothing is drawn."""
