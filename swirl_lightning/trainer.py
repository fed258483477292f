"""The Trainer that runs a schedule of phases."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from swirl_lightning.blame import no_end
from swirl_lightning.callbacks import (
    EndTogether,
    PhaseCheckpoint,
    PhaseFreeze,
    PhaseMonitor,
    PhaseProgress,
    PhaseStart,
    PredictionWriter,
    RunRecorder,
    RunReport,
    StopConverged,
    StopOnSignal,
)
from swirl_lightning.loops import AlternatingLoop
from swirl_lightning.modules.schedule import Stage, expand_schedule
from swirl_lightning.types import InputError, check_number, check_number_or_null

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
CALLBACKS = (
    EndTogether, PhaseStart, PhaseFreeze, StopConverged, PhaseMonitor, RunRecorder, RunReport, PredictionWriter,
    PhaseCheckpoint, StopOnSignal,
)  # fmt: skip
HOOKS = tuple(name for name in dir(L.Callback) if name.startswith("on_"))


class _OneFolder(L.Callback):
    """All processes write to the folder that the first one chose, and those of no other start while they train."""

    lock: FileLock | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        assert isinstance(trainer, SwirlTrainer)
        trainer.run_dir = trainer.strategy.broadcast(trainer.run_dir)
        if stage != "fit" or not trainer.is_global_zero:
            return
        with suppress(OSError, NotImplementedError):  # a place without locks; one that cannot be written is told later
            trainer.run_dir.mkdir(parents=True, exist_ok=True)
            self.lock = FileLock(trainer.run_dir / "running.lock")
            try:
                self.lock.acquire(timeout=0)
            except Timeout as error:
                raise InputError(
                    f"{trainer.run_dir}: found another process that trains this run, expected one at a time; wait for "
                    "its end, or leave out --ckpt_path and trainer.run_version to begin a run with a folder of its own"
                ) from error

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.release()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.release()

    def release(self) -> None:
        if self.lock is not None and self.lock.is_locked:
            with suppress(OSError):
                Path(self.lock.lock_file).unlink(missing_ok=True)
            self.lock.release()


class SwirlTrainer(L.Trainer):
    """A Lightning Trainer whose fit loop alternates the phases of SWIRL.

    Every run has a numbered folder of its own, ``<default_root_dir>/version_<n>``.

    Args:
        warmup: stages that run once, first.
        iteration: the stages of one iteration.
        iterations: how often they are repeated.
        default_root_dir: where run folders are made.
        run_version: number of the run's folder; null takes the next free one.
        logger: any Lightning logger; true is TensorBoard in the run's folder.
        callbacks: more callbacks; those the method needs are added where they are missing.
        enable_progress_bar: show phase, update, reward and time left.
        log_every_n_steps: updates between two rows of the logger.
        kwargs: all other arguments of Lightning's Trainer.
    """

    def __init__(
        self,
        warmup: Sequence[Stage] = (Stage("sft"),),
        iteration: Sequence[Stage] = (Stage("vim"), Stage("elbo")),
        iterations: int = 1,
        *,
        default_root_dir: str = "runs",
        run_version: int | None = None,
        logger: Logger | bool = True,
        callbacks: list[L.Callback] | None = None,
        enable_progress_bar: bool = True,
        log_every_n_steps: int = 10,
        **kwargs: Any,
    ) -> None:
        check_number_or_null("trainer.run_version", run_version, least=0)
        check_number("trainer.log_every_n_steps", log_every_n_steps, least=1)
        if (precision := kwargs.get("precision")) not in (None, "32-true", 32, "32"):
            raise InputError(
                f"trainer.precision: found {precision}, expected 32-true: the base model computes in model.base.dtype, "
                "and adapters and rewards in float32; set model.base.dtype instead"
            )
        check_strategy(kwargs.get("strategy", "auto"))
        root = Path(default_root_dir)
        self.run_version = claim_version(root) if run_version is None else run_version
        self.run_dir = root / f"version_{self.run_version}"
        if logger is True:
            logger = TensorBoardLogger(str(root), name="", version=self.run_version)
        callbacks = list(callbacks or [])
        callbacks += [kind() for kind in CALLBACKS if not any(isinstance(c, kind) for c in callbacks)]
        callbacks.append(_OneFolder())
        # the recorder closes a phase before the checkpoint that follows it is written
        callbacks.sort(key=lambda c: next((i for i, kind in enumerate(CALLBACKS) if isinstance(c, kind)), -1))
        if enable_progress_bar and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(PhaseProgress())
        for callback in callbacks:
            for name in HOOKS:
                setattr(callback, name, no_end(getattr(callback, name)))
        # what the schedule and the modules decide is fixed here, and thereby no option of the command line
        try:
            super().__init__(
                default_root_dir=str(root),
                logger=logger,
                callbacks=callbacks,
                enable_progress_bar=enable_progress_bar,
                log_every_n_steps=log_every_n_steps,
                max_epochs=-1,
                min_epochs=None,
                max_steps=-1,
                min_steps=None,
                max_time=None,
                accumulate_grad_batches=1,
                gradient_clip_val=None,
                gradient_clip_algorithm=None,
                limit_train_batches=None,
                overfit_batches=0.0,
                val_check_interval=None,
                check_val_every_n_epoch=1,
                reload_dataloaders_every_n_epochs=0,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                enable_model_summary=False,
                **kwargs,
            )
        except InputError:
            raise
        except (TypeError, ValueError, MisconfigurationException) as error:  # Lightning's, of a number of devices etc.
            raise InputError(f"trainer: {str(error).strip().splitlines()[0]}") from error
        next(c for c in callbacks if isinstance(c, EndTogether)).watch(self)
        self.fit_loop = AlternatingLoop(self, expand_schedule(warmup, iteration, iterations))

    @property
    def recorder(self) -> RunRecorder:
        """The callback that writes what the run showed."""
        return next(c for c in self.callbacks if isinstance(c, RunRecorder))  # type: ignore[attr-defined]

    @property
    def log_dir(self) -> str | None:
        """The run's folder, whatever the logger."""
        return str(self.run_dir)


def check_strategy(strategy: object) -> None:
    """Refuse a strategy under which gradients or weights are not whole in every process.

    Raises:
        InputError: with what works.
    """
    if strategy not in STRATEGIES and type(strategy) not in (DDPStrategy, SingleDeviceStrategy):
        found = strategy if isinstance(strategy, str) else type(strategy).__name__
        raise InputError(
            f"trainer.strategy: found {found}, expected auto or ddp: every process holds the whole model, since both "
            "roles take turns on it; where it does not fit one device, model.base.quantize=nf4, "
            "model.base.gradient_checkpointing and a smaller model.micro_batch take less (see swirl plan)"
        )


def versions_of(root: Path) -> list[int]:
    """Numbers of the run folders under ``root``, in order."""
    names = [path.name.removeprefix("version_") for path in root.glob("version_*") if path.is_dir()]
    return sorted(int(name) for name in names if name.isdigit())


def claim_version(root: Path) -> int:
    """Make the folder of the next free number under ``root``, so that no run that starts at the same moment takes it.

    Only the first process of a run makes it; the others are told later which folder it is.

    Raises:
        InputError: the folder cannot be made.
    """
    number = max(versions_of(root), default=-1) + 1
    if getattr(rank_zero_only, "rank", 0):
        return number
    while True:
        try:
            (root / f"version_{number}").mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise InputError(
                f"trainer.default_root_dir: cannot make a folder under {root} ({error}), expected a place to write to"
            ) from error
        else:
            atexit.register(_remove_if_empty, root / f"version_{number}")  # where a run is refused before it begins
            return number


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # there are files in it, or it is gone
        folder.rmdir()
