"""The command ``swirl``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import ArgsType, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.physics.collect import collect_physics
from swirl_lightning.environments.textworld.collect import collect_textworld
from swirl_lightning.environments.tool.collect import collect_tool
from swirl_lightning.environments.web.collect import collect_web
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.checkpoint import read_checkpoint
from swirl_lightning.plan.page import make_plan
from swirl_lightning.report import write_report
from swirl_lightning.trained.commands import export, label, rollout
from swirl_lightning.trainer import SwirlTrainer, versions_of
from swirl_lightning.types import InputError

COLLECTORS: dict[str, Callable[..., None]] = {
    "physics": collect_physics,
    "textworld": collect_textworld,
    "tool": collect_tool,
    "web": collect_web,
}


class SwirlCLI(LightningCLI):
    """``swirl fit | validate | test | predict``: a run from a YAML file, every key of which has its ``--option``."""

    def __init__(self, args: ArgsType = None) -> None:
        super().__init__(
            SWIRL,
            TransitionDataModule,
            trainer_class=SwirlTrainer,
            seed_everything_default=0,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_kwargs={"overwrite": True},
            args=args,
        )

    def add_arguments_to_parser(self, parser: Any) -> None:
        """One seed for everything."""
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def parse_arguments(self, parser: Any, args: ArgsType) -> None:
        """Find the checkpoint too, so that a run continues in the folder that it began in.

        This early, because Lightning opens the file right after this, and says nothing of use where it cannot.
        """
        super().parse_arguments(parser, args)
        subcommand = self.config.subcommand
        config = self.config[subcommand]
        config.weights_only = True
        if subcommand != "fit":
            self.save_config_callback = None  # the folder keeps the configuration it was trained with
        path = config.get("ckpt_path")
        if path == "last":
            root = Path(config.trainer.default_root_dir)
            found = [n for n in versions_of(root) if _last(root, n).is_file()]
            if config.trainer.run_version is not None:
                found = [n for n in found if n == config.trainer.run_version]
            if found:
                config.ckpt_path = str(_last(root, found[-1]))
                config.trainer.run_version = found[-1]
            elif subcommand == "fit":
                print(f"no checkpoint under {root} yet: starting from the beginning", file=sys.stderr)
                config.ckpt_path = None
                config.trainer.run_version = versions_of(root)[-1] if versions_of(root) else None
            else:
                raise InputError(f"--ckpt_path last: found no checkpoint under {root}/version_*; run swirl fit first")
        if config.ckpt_path:
            read_checkpoint(config.ckpt_path, "--ckpt_path")
            if config.trainer.run_version is None:
                config.trainer.run_version = _version_of(Path(config.ckpt_path), Path(config.trainer.default_root_dir))
        elif subcommand != "fit":
            raise InputError(f"swirl {subcommand} needs a trained model: give --ckpt_path FILE, or --ckpt_path last")
        elif (
            config.trainer.run_version is not None
            and _last(Path(config.trainer.default_root_dir), config.trainer.run_version).is_file()
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
        trainer.run_config = yaml.safe_load(config)[self.subcommand]

    def _add_subcommands(self, parser: Any, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        parser.epilog = (
            "more commands: 'swirl collect ENVIRONMENT' writes transitions from an environment's engine "
            f"({', '.join(COLLECTORS)}), 'swirl plan' prints the memory that a run needs before it begins, 'swirl "
            "report RUN' remakes the report of a run folder; with a finished run, 'swirl label RUN LOG' writes the "
            "actions into a state-only log, 'swirl rollout RUN' continues a state through actions, 'swirl export RUN' "
            "writes folders that plain peft loads"
        )


def collect(args: list[str]) -> int:
    """``swirl collect ENVIRONMENT --out FOLDER ...``."""
    parser = ArgumentParser(prog="swirl collect", description="Write transitions from an environment's engine.")
    subcommands = parser.add_subcommands(dest="environment")
    for name, function in COLLECTORS.items():
        subparser = ArgumentParser()
        subparser.add_function_arguments(function)
        subcommands.add_subcommand(name, subparser, help=(function.__doc__ or "").split("\n")[0])
    config = parser.instantiate_classes(parser.parse_args(args))
    COLLECTORS[config.environment](**config[config.environment].as_dict())
    return 0


class _PlanCLI(SwirlCLI):
    """A run that is described and not begun: no trainer, no data, no weights."""

    def _set_seed(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        self.settings = self.config[self.config.subcommand]
        self.swirl: SWIRL = self.parser.instantiate_classes(self.config)[self.config.subcommand].model

    def after_instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def plan(args: list[str]) -> int:
    """``swirl plan --config F [--gpu_memory 24GiB]``, with all options of ``swirl fit``."""
    parser = argparse.ArgumentParser(
        prog="swirl plan",
        description="Print the peak of memory by part, pass by pass, before anything is downloaded or allocated. Exit "
        "code 0 where the run fits, 1 where it does not. Takes all options of swirl fit, and:",
        allow_abbrev=False,
    )
    parser.add_argument("--gpu_memory", help="of a GPU that need not be there, for example 24GiB; else this machine's")
    own, others = parser.parse_known_args(args)
    cli = _PlanCLI(["fit", *others])
    settings = cli.settings
    made = make_plan(
        cli.swirl,
        [*settings.trainer.warmup, *settings.trainer.iteration],
        batch_size=settings.data.init_args.batch_size,
        eval_batch_size=settings.data.init_args.eval_batch_size,
        accelerator=settings.trainer.accelerator,
        gpu_memory=own.gpu_memory,
    )
    print(made.page())
    return 0 if made.fits else 1


def report(args: list[str]) -> int:
    """``swirl report RUN``."""
    parser = ArgumentParser(prog="swirl report", description="Remake report.html from the files of a run folder.")
    parser.add_argument("run", type=Path, help="the run's folder, which holds results.json")
    print(write_report(parser.parse_args(args).run))
    return 0


def main(args: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 training failed or a plan does not fit, 2 bad input."""
    given = sys.argv[1:] if args is None else args
    _quiet()
    commands = {
        "collect": collect, "plan": plan, "report": report, "label": label, "rollout": rollout, "export": export,
    }  # fmt: skip
    try:
        if given and given[0] in commands:
            return commands[given[0]](given[1:])
        SwirlCLI(args)  # the shell's own stay in sys.argv, with which other processes of a run are started
    except (ValueError, MisconfigurationException) as error:
        print(f"error: {_meant_for_users(error)}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"training stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _meant_for_users(error: BaseException) -> BaseException:
    """The error itself, or the one that jsonargparse wrapped while it built a class; any other is raised again."""
    found: BaseException | None = error
    while not isinstance(found, InputError | MisconfigurationException):
        if found is None:
            raise error
        found = found.__cause__
    return found


def _quiet() -> None:
    """Leave out what a user can do nothing about, and show what the engine decides."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # its CPU kernels have a fallback
    own = logging.getLogger("swirl_lightning")
    own.setLevel(logging.INFO)
    own.handlers = [logging.StreamHandler()]  # on the standard error of this moment
    for message in (
        ".*does not have many workers.*",
        ".*in eval mode at the start of training.*",
        ".*GPU available.*",
        ".*LeafSpec.*",
        "LightningCLI.s args parameter is intended.*",
    ):
        warnings.filterwarnings("ignore", message)


def _last(root: Path, version: int) -> Path:
    return root / f"version_{version}" / "checkpoints" / "last.ckpt"


def _version_of(checkpoint: Path, root: Path) -> int | None:
    """The run under ``root`` that a checkpoint lies in, if it lies in one."""
    run = checkpoint.resolve().parent.parent
    name = run.name.removeprefix("version_")
    return int(name) if name.isdigit() and run.parent == root.resolve() else None


if __name__ == "__main__":
    sys.exit(main())
