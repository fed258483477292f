"""What ``swirl predict`` writes."""

from __future__ import annotations

from itertools import groupby, pairwise, zip_longest
from pathlib import Path
from typing import Any

import lightning as L

from swirl_lightning.callbacks.pictures import pictures_of
from swirl_lightning.callbacks.rows import lines, row_of
from swirl_lightning.callbacks.running import running
from swirl_lightning.environments.kept import Kept
from swirl_lightning.modules.open_loop import open_loop
from swirl_lightning.modules.processes import gather_objects
from swirl_lightning.report.run import write_whole
from swirl_lightning.types import InputError, Prediction, Transition, say

Place = tuple[str, str, int]

PREDICTIONS = "predictions.jsonl"


class PredictionWriter(L.Callback):
    """Writes what both roles say of the test episodes to ``predictions.jsonl``, in the order of the data.

    Where states are pictures, a row names PNG files in the folder ``pictures`` beside it: in ``image``, ``next_image``
    and ``predicted_next_image`` in place of ``state``, ``next_state`` and ``predicted_next_state``. True pictures of
    another size than the predicted one are written in its size, as the model sees them.

    Until the file is whole, each process keeps its share, batch by batch, in ``predictions.jsonl.kept``; the others add
    their number to the name. Whatever ends the command leaves it there. The next one begins anew.

    Args:
        open_loop: the FWM reads the true state at the first step of an episode alone, and then its own next states, as
            WorldPredictionBench asks for; once one is malformed, all that follow are too.
    """

    def __init__(self, open_loop: bool = False) -> None:
        self.open_loop = open_loop
        self._kept: Kept | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file."""
        self._said: list[tuple[Transition, Prediction]] = []
        name = f"{PREDICTIONS}.kept" + (f"-{trainer.global_rank}" if trainer.global_rank else "")
        self._kept = Kept(_folder(trainer) / name, None, "predictions that were made").__enter__()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Keep a batch of predictions."""
        assert self._kept is not None
        said = list(zip(batch, outputs, strict=True))
        self._kept.add(_rows(said, _folder(trainer)))
        if self.open_loop:
            self._said += said

    def on_predict_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the next states of a rollout in place of those of single steps; each process rolls out its share."""
        if not self.open_loop:
            return
        chains = episodes_of([t for part in gather_objects([t for t, _ in self._said]) for t in part])
        own = chains[trainer.global_rank :: trainer.world_size]
        with trainer.precision_plugin.val_step_context():
            states = open_loop(running(trainer, pl_module)[1], own)
        reached: dict[Place, str | None] = {}
        its = {_place(t): y for chain, ys in zip(own, states, strict=True) for t, y in zip(chain, ys, strict=True)}
        for part in gather_objects(its):
            reached |= part
        self._said = [(t, Prediction(said.action, reached[_place(t)])) for t, said in self._said]

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write those of all processes, which take turns in the data: see ``EvalLoader``."""
        assert self._kept is not None
        folder = _folder(trainer)
        parts = gather_objects(_rows(self._said, folder) if self.open_loop else self._kept.rows)
        if trainer.is_global_zero:
            rows = [row for turn in zip_longest(*parts) for row in turn if row is not None]
            path = folder / PREDICTIONS
            write_whole(path, lines(rows))
            say(f"predictions: {path}")
        trainer.strategy.barrier()  # a share goes when the whole is there
        self._end(None)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say what is kept."""
        self._end(exception)

    def _end(self, error: BaseException | None) -> None:
        if self._kept is not None:
            self._kept.__exit__(type(error) if error else None, error, None)
            self._kept = None


def episodes_of(transitions: list[Transition]) -> list[list[Transition]]:
    """The steps of each episode in their order, from its first one on.

    Raises:
        InputError: an episode has a gap.
    """
    order = sorted(transitions, key=_place)
    episodes = [list(its) for _, its in groupby(order, key=lambda t: _place(t)[:2])]
    for episode in episodes:
        if episode[0].step != 0 or any(a.next_state != b.state for a, b in pairwise(episode)):
            raise InputError(
                f"PredictionWriter.open_loop: episode {episode[0].episode!r} has a gap, or does not begin with step 0; "
                "expected whole episodes: data.eval_limit leaves steps out, set it to null"
            )
    return episodes


def _place(t: Transition) -> Place:
    return t.environment, t.episode, t.step


def _folder(trainer: L.Trainer) -> Path:
    return Path(trainer.log_dir or ".")


def _rows(said: list[tuple[Transition, Prediction]], folder: Path) -> list[dict[str, Any]]:
    return [pictures_of(row_of(t, its), folder) for t, its in said]
