"""``swirl fit``, ``validate``, ``test`` and ``predict``: a run from a YAML file, every key of which has its option."""

from __future__ import annotations

import pkgutil
import re
import sys
from argparse import SUPPRESS
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from swirl_lightning import environments
from swirl_lightning.commands.parser import Parser
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.models import PretrainedLM, ScratchLM
from swirl_lightning.modules import SWIRL, ForwardWorldModel, InverseDynamicsModel
from swirl_lightning.modules.checkpoint import read_checkpoint
from swirl_lightning.trainer import SwirlTrainer, versions_of
from swirl_lightning.types import InputError, check_number, say

PARSERS = {
    "fit": {
        "usage": "swirl fit --config FILE [--ckpt_path last] [options]",
        "description": "Train a run, or with --ckpt_path continue one.",
    },
    "validate": {
        "usage": "swirl validate --config FILE --ckpt_path last [options]",
        "description": "Measure a checkpoint on the validation episodes.",
    },
    "test": {
        "usage": "swirl test --config FILE --ckpt_path last [options]",
        "description": "Measure a checkpoint on the test episodes.",
    },
    "predict": {
        "usage": "swirl predict --config FILE --ckpt_path last [options]",
        "description": "Write what both models say of the test episodes.",
    },
}


STAGES = ("--trainer.warmup", "--trainer.iteration")


class ClassOptions(NamedTuple):
    """A class that a run may name, and where."""

    key: str
    kind: type


CLASSES = (
    ClassOptions("model.fwm", ForwardWorldModel),
    ClassOptions("model.idm", InverseDynamicsModel),
    ClassOptions("model.base", ScratchLM),
    ClassOptions("model.base", PretrainedLM),
    ClassOptions("data", LogDataModule),
)
"""Whose options the help shows; those of other data modules are shown by ``--data.help NAME``."""
FILE_OPTION = re.compile(r" +--\S+ CONFIG\n +Path to a configuration file\.\n")


def fit(args: list[str]) -> int:
    """Train."""
    return _run("fit", args)


def validate(args: list[str]) -> int:
    """Measure a checkpoint on the validation episodes."""
    return _run("validate", args)


def test(args: list[str]) -> int:
    """Measure a checkpoint on the test episodes."""
    return _run("test", args)


def predict(args: list[str]) -> int:
    """Write what both models say of the test episodes."""
    return _run("predict", args)


def _run(command: str, args: list[str]) -> int:
    import_worlds()
    try:
        SwirlCLI([command, *args])
    except MisconfigurationException as error:  # which names an option, wherever it is raised
        raise InputError(str(error)) from None
    except TypeError as error:
        if type(error).__name__ != "PathError":  # jsonargparse's, where it cannot write config.yaml
            raise
        raise InputError(str(error)) from error
    return 0


def import_worlds() -> None:
    """Import every data module: the help lists those that are imported, and their names alone may stand for them."""
    for found in pkgutil.iter_modules(environments.__path__, f"{environments.__name__}."):
        module = f"{found.name}.datamodule" if found.ispkg else found.name
        if find_spec(module):  # what videos give is a log, which has a data module
            import_module(module)


class FitParser(Parser, LightningArgumentParser):
    """Lightning's parser, with errors of one line, and a help that has the options of the classes, too."""

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help. A class of a run has options of its own, of which Lightning's help says nothing."""
        text = super().format_help(*args, **kwargs)
        return text + "".join(map(_help_of, CLASSES)) if "--config" in self._option_string_actions else text


def _help_of(options: ClassOptions) -> str:
    """The options of a class, from its docstrings and types, without those that are linked to ``--seed_everything``."""
    parser = Parser(add_help=False, usage=SUPPRESS)
    parser.add_class_arguments(options.kind, f"{options.key}.init_args", skip={"seed"})
    return f"\nWith --{options.key} {options.kind.__name__}:\n\n{FILE_OPTION.sub('', parser.format_help())}"


class SwirlCLI(LightningCLI):
    """The options of a run, which is begun as soon as they are read.

    Args:
        args: the command and its options; None takes those of the shell.
        options: other arguments of ``LightningCLI``.
    """

    def __init__(self, args: ArgsType = None, **options: Any) -> None:
        settings: dict[str, Any] = {
            "trainer_class": SwirlTrainer,
            "seed_everything_default": 0,
            "subclass_mode_data": True,
            "auto_configure_optimizers": False,
            "load_from_checkpoint_support": False,
            "save_config_kwargs": {"overwrite": True},
            "parser_class": FitParser,
            "parser_kwargs": {"prog": "swirl"} | PARSERS,
        }
        try:
            super().__init__(SWIRL, TransitionDataModule, args=args, **settings | options)
        except OSError as error:
            if hasattr(self, "trainer"):
                error.filename = error.filename or self.trainer.log_dir
            raise

    def add_arguments_to_parser(self, parser: Any) -> None:
        """One seed for everything."""
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def parse_arguments(self, parser: Any, args: ArgsType) -> None:
        """Find the checkpoint too, so that a run continues in the folder that it began in.

        This early, because Lightning opens the file right after this, and says nothing of use where it cannot.
        """
        given = sys.argv[1:] if args is None else args
        self.config = parser.parse_args(_with_new_lists(given) if isinstance(given, list) else given)
        subcommand = self.config.subcommand
        config = self.config[subcommand]
        if not isinstance(config.seed_everything, bool):
            check_number("--seed_everything", config.seed_everything, least=0, most=2**32 - 1)
        config.weights_only = True
        if subcommand != "fit":
            self.save_config_callback = None  # the folder keeps the configuration it was trained with
        path = config.get("ckpt_path")
        if path == "last":
            root = Path(config.trainer.default_root_dir)
            found = [n for n in versions_of(root) if _last(root, n).exists()]
            if config.trainer.run_version is not None:
                found = [n for n in found if n == config.trainer.run_version]
            if found:
                config.ckpt_path = str(_last(root, found[-1]))
                config.trainer.run_version = found[-1]
            elif subcommand == "fit":
                say(f"no checkpoint under {root} yet: starting from the beginning", file=sys.stderr)
                config.ckpt_path = None
                config.trainer.run_version = versions_of(root)[-1] if versions_of(root) else None
            else:
                raise InputError(f"--ckpt_path last: found no checkpoint under {root}/version_*; run swirl fit first")
        if config.ckpt_path is not None:
            read_checkpoint(config.ckpt_path, "--ckpt_path")
            if config.trainer.run_version is None:
                config.trainer.run_version = _version_of(Path(config.ckpt_path), Path(config.trainer.default_root_dir))
        elif subcommand != "fit":
            raise InputError(f"swirl {subcommand} needs a trained model: give --ckpt_path FILE, or --ckpt_path last")
        elif (
            config.trainer.run_version is not None
            and _last(Path(config.trainer.default_root_dir), config.trainer.run_version).exists()
        ):
            raise InputError(
                f"trainer.run_version: {config.trainer.run_version} already holds a run; continue it with "
                "--ckpt_path last, or leave run_version out to begin a new folder"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Name the trainer where Lightning refuses one of its arguments."""
        try:
            return super().instantiate_trainer(**kwargs)
        except InputError:
            raise
        except (ValueError, ImportError, MisconfigurationException) as error:
            raise InputError(f"trainer: {error}") from error

    def after_instantiate_classes(self) -> None:
        """Give the trainer what it writes into results.json."""
        # what is recorded begins a new run when it is given to --config; how this one was continued is no part of it
        self.config[self.subcommand].ckpt_path = None
        self.config[self.subcommand].trainer.run_version = None
        config = self.parser.dump(self.config, skip_link_targets=False, skip_unset=False, format="yaml")
        trainer: Any = self.trainer
        trainer.recorder.config = yaml.safe_load(config)[self.subcommand]


def _with_new_lists(args: list[str]) -> list[str]:
    """Empty a list of stages before it is given anew.

    Else jsonargparse fills what a stage leaves out from the one that stood at its place in the configuration.
    """
    made: list[str] = []
    for word in args:
        name = word.partition("=")[0]
        made += [f"{name}=[]", word] if name in STAGES else [word]
    return made


def _last(root: Path, version: int) -> Path:
    return root / f"version_{version}" / "checkpoints" / "last.ckpt"


def _version_of(checkpoint: Path, root: Path) -> int | None:
    """The run under ``root`` that a checkpoint lies in, if it lies in one."""
    run = checkpoint.resolve().parent.parent
    name = run.name.removeprefix("version_")
    return int(name) if name.isdigit() and run.parent == root.resolve() else None
