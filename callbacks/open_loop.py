"""How far the Forward World Model can be followed when it reads its own next states."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import lightning as L

from swirl_lightning.callbacks.running import running
from swirl_lightning.environments.splits import take_turns
from swirl_lightning.metrics import DeltaF1, ExactMatch, PredictionMetric, TokenF1
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.open_loop import chains_of, open_loop
from swirl_lightning.types import InputError, Prediction, Transition, check_number


class OpenLoop(L.Callback):
    """Follows held-out episodes open-loop with each evaluation of the test split and scores every step.

    The FWM starts from a true state and then reads its own next states, with the true actions. For step k = 1, 2, ...
    ``fwm/open_loop_<k>/exact_match``, ``token_f1`` and ``delta_f1`` compare its k-th next state with the true one, over
    the chains that are so long; ``delta_f1`` is of what has changed since the start of the chain. Beside them stands
    ``copy_token_f1``, the token F1 of a model that changes nothing, whose ``delta_f1`` would be 0. The environment's
    own metrics of the FWM stand there too, such as ``psnr``, where all data is of one environment; to them the state is
    the start of the chain.

    Chains are taken from the whole test split, whatever ``data.eval_limit`` is, always the same ones.

    Args:
        steps: longest chain.
        chains: so many chains at most, spread over the episodes.

    Raises:
        InputError: a value is out of range, or no two held-out steps follow one another.
    """

    def __init__(self, steps: int = 6, chains: int = 50) -> None:
        for name, value, least in (("steps", steps, 2), ("chains", chains, 1)):
            check_number(f"OpenLoop.{name}", value, least=least)
        self.steps = steps
        self.chains = chains
        self._own: dict[str, PredictionMetric] = {}
        self._chosen: list[list[Transition]] = []
        self._values: dict[str, float] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose the chains."""
        if stage not in ("fit", "test"):
            return
        parts = trainer.datamodule.parts()  # type: ignore[attr-defined]
        own = next(iter(parts.values())).metrics() if len(parts) == 1 else {}
        self._own = {name: metric for name, metric in own.items() if name.startswith("fwm_")}
        test = [replace(t, environment=name) for name, part in parts.items() for t in part.load("test")]
        found = chains_of(test, self.steps)
        if not found:
            raise InputError(_gap(test))
        order = take_turns(found, lambda chain: f"{chain[0].environment}/{chain[0].episode}", "open loop")
        self._chosen = order[: self.chains]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find a first transition that is too long before any training."""
        self.on_test_start(trainer, pl_module)
        codec = running(trainer, pl_module)[1].codec
        for chain in self._chosen:
            codec.encode(chain[0])

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave chains out that begin with a transition that is too long, where the run leaves such rows out."""
        _, module = running(trainer, pl_module)
        if module.skip_too_long:
            tokens = module.codec.encode_all([chain[0] for chain in self._chosen]).whole
            self._chosen = [c for c, its in zip(self._chosen, tokens, strict=True) if its <= module.max_tokens]
        if not self._chosen:
            raise InputError(
                f"OpenLoop: found no chain whose first step has at most model.max_tokens ({module.max_tokens}) tokens, "
                "expected one; raise it, or leave out the callback"
            )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Roll out, score and log; after a ``pretrain`` stage the FWM cannot answer yet."""
        _, module = running(trainer, pl_module)
        measured = module.can_answer and trainer.state.fn in ("fit", "test")
        self._values = self._measure(trainer, module) if measured else {}
        pl_module.log_dict({f"test/{name}": value for name, value in self._values.items()}, sync_dist=True)

    on_test_epoch_end = on_validation_epoch_end

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the scores beside the module's own results, which exist by now, for results.json."""
        if self._values:
            running(trainer, pl_module)[1].add_results("test", self._values)

    on_test_end = on_validation_end

    def _measure(self, trainer: L.Trainer, module: SWIRL) -> dict[str, float]:
        """The scores of every step over the chains of all processes, each of which rolls out its share."""
        own = self._chosen[trainer.global_rank :: trainer.world_size]
        chains = [module.codec.compared(chain) for chain in own]
        with trainer.precision_plugin.val_step_context():
            said = open_loop(module, chains)
        values = {}
        for k in range(max(map(len, self._chosen))):
            long = [(chain, ys) for chain, ys in zip(chains, said, strict=True) if k < len(chain)]
            rows = [(chain[0].state, ys[k], chain[k].next_state) for chain, ys in long]
            starts, predictions, targets = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
            scores: dict[str, tuple[Any, ...]] = {
                "exact_match": (ExactMatch(), predictions, targets),
                "token_f1": (TokenF1(), predictions, targets),
                "delta_f1": (DeltaF1(), starts, predictions, targets),
                "copy_token_f1": (TokenF1(), starts, targets),
            }
            true = [replace(chain[k], state=chain[0].state) for chain in own if k < len(chain)]
            written = [Prediction(t.action or "", y) for t, y in zip(true, predictions, strict=True)]
            for name, metric in self._own.items():
                scores[name.removeprefix("fwm_")] = (deepcopy(metric), true, written)
            for name, (metric, *columns) in scores.items():
                metric.to(module.device).update(*columns)
                values[f"fwm/open_loop_{k + 1}/{name}"] = float(metric.compute())
        return values


def _gap(transitions: list[Transition]) -> str:
    """Why there is no chain, told by the first episode that has two steps."""
    found = "no episode has two steps"
    order = sorted(transitions, key=lambda t: (t.environment, t.episode, t.step))
    for a, b in pairwise(order):
        if (a.environment, a.episode) == (b.environment, b.episode):
            found = f"episode {b.episode!r} step {b.step} does not begin with the state that step {a.step} ends with"
            break
    return (
        f"data: test: the held-out episodes have gaps ({found}), expected steps that follow one another; keep every "
        "step of some test episodes, or leave out the callback OpenLoop"
    )
