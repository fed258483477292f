"""Updates of benchmarks/vs_trl.py on the quickstart's TextWorld transitions, after a short warm-up."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from vs_trl_work import Group, Work, random_completions, random_rewards, trl_rows

from swirl_lightning.codecs import Layout, TextCodec
from swirl_lightning.environments.textworld import TextWorldDataModule
from swirl_lightning.models import PretrainedLM
from swirl_lightning.types import Role, Transition

CONFIG = Path(__file__).parents[1] / "configs" / "textworld.yaml"
SIZE = 8
GROUPS = {"fwm": 4, "idm": 8}
BETAS = {"fwm": 0.04, "idm": 0.1}
WARMUP = "[{phase: sft, updates: 24, learning_rate: 5.0e-4, batch_size: 8, until: null}]"
"""After which half of a group's completions are distinct; after a finished warm-up hardly any are."""
UPDATES = 8  # of the check, the warm-up, five that are timed and one that is profiled


def textworld_works(model: str, folder: Path) -> list[Work]:
    """A VIM and an ELBO phase.

    Args:
        model: as ``PretrainedLM`` takes it.
        folder: where the warm-up's run is kept.
    """
    config = yaml.safe_load(CONFIG.read_text())
    tokenizer = PretrainedLM(model).tokenizer((), ())
    codec = TextCodec(tokenizer, {"": Layout()}, config["model"]["state_form"], config["model"]["max_tokens"])
    data = TextWorldDataModule()
    data.setup()
    rng = random.Random(0)
    transitions = rng.sample(data.validation, UPDATES * SIZE)  # these have actions, which a VIM prompt needs
    batches = [transitions[i : i + SIZE] for i in range(0, len(transitions), SIZE)]
    checkpoint = warm_up(model, folder)
    works: list[Work] = []
    phases: tuple[tuple[Role, Callable[[TextCodec, Transition], Group]], ...]
    phases = (("fwm", vim_group), ("idm", elbo_group))
    for role, group_of in phases:
        options = config["model"][role]["init_args"]
        group = GROUPS[role]
        updates = tuple(tuple(group_of(codec, t) for t in batch) for batch in batches)
        longest = max(len(group.prompt) for update in updates for group in update)
        completions = random_completions(SIZE, group, options["max_new_tokens"], rng)
        works.append(
            Work(
                role=role,
                model=model,
                checkpoint=str(checkpoint),
                updates=updates,
                completions=completions,
                rewards=random_rewards(completions, rng),
                group_size=group,
                max_tokens=options["max_new_tokens"],
                eos=codec.eos,
                beta=BETAS[role],
                micro_batch=trl_rows(SIZE * group, longest + options["max_new_tokens"]),
            )
        )
    return works


def warm_up(model: str, folder: Path) -> Path:
    """The checkpoint of a supervised stage with the configuration's model."""
    command = [sys.executable, "-m", "swirl_lightning", "fit", "--config", str(CONFIG), "--trainer.iterations", "0"]
    command += ["--trainer.warmup", WARMUP, "--trainer.callbacks", "[]"]
    command += ["--model.base.init_args.name", model, "--model.base.init_args.dtype", "float32"]
    command += ["--data.init_args.eval_limit", "1", "--trainer.default_root_dir", str(folder)]
    subprocess.run(command, check=True)
    return folder / "version_0" / "checkpoints" / "last.ckpt"


def vim_group(codec: TextCodec, transition: Transition) -> Group:
    """The FWM writes y, the IDM scores the action."""
    code, layout = codec.encode(transition), codec.prompts()
    z: Any = code.z
    head = layout.inverse_head(code.x)
    return Group(layout.forward(code.x, z), head, layout.idm[2], (*z, codec.eos))


def elbo_group(codec: TextCodec, transition: Transition) -> Group:
    """The IDM names z, the FWM scores the next state."""
    code, layout = codec.encode(transition), codec.prompts()
    head = layout.forward_head(code.x)
    return Group(layout.inverse(code.x, code.y), head, layout.fwm[2], (*code.y, codec.eos))
