"""The data module that every environment extends: it says only where its four splits come from."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning as L

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.loaders import Draw, EvalLoader, PhaseLoader
from swirl_lightning.environments.rows import check_transitions, drop_actions
from swirl_lightning.environments.splits import Split, kind, take_turns
from swirl_lightning.environments.table import Rows, join, named, pick, values, without_actions
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.types import InputError, Transition, check_number, check_number_or_null

log = logging.getLogger(__name__)


class TransitionDataModule(L.LightningDataModule, ABC):
    """Transitions in four splits, and the loaders of each phase.

    An environment extends it with one method, ``load``, and may give its transitions a name (``environment``), words
    around them (``layout``) and more metrics (``metrics``). After ``setup`` the attributes ``labelled``,
    ``state_only``, ``validation`` and ``test`` hold the transitions, those of a large file as rows that are read when
    they are used; those of ``state_only`` never have an action.

    Args:
        batch_size: transitions per update and rank, where the stage does not say otherwise.
        eval_batch_size: transitions per batch in evaluation.
        num_labels: use only so many labelled transitions, chosen by the seed; more labels add to fewer.
        cover: let the kinds of action (its first word) take turns in that choice, so that all are covered: a kind that
            the IDM never samples cannot be rewarded.
        num_label_episodes: use only the labelled transitions of so many episodes, chosen by the seed; more episodes add
            to fewer. ``num_labels`` then chooses among these.
        eval_limit: evaluate on at most so many transitions of a split, spread over its episodes; always the same ones.
        validation_limit: the same for the validation split alone, where evaluation is dear and only the test split is
            reported; null takes ``eval_limit``.
        seed: of the chosen labels, the order of the batches and, where the data comes unsplit, the splits.
    """

    environment = ""
    layout = Layout()
    weights: Mapping[str, int] | None = None
    draw: Draw | None = None
    """What the running stage draws from; the loop sets it."""

    def __init__(
        self,
        batch_size: int = 16,
        eval_batch_size: int = 64,
        num_labels: int | None = None,
        cover: bool = True,
        num_label_episodes: int | None = None,
        eval_limit: int | None = None,
        validation_limit: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_number("data.batch_size", batch_size, least=1)
        check_number("data.eval_batch_size", eval_batch_size, least=1)
        for name, value in (
            ("num_labels", num_labels),
            ("num_label_episodes", num_label_episodes),
            ("eval_limit", eval_limit),
            ("validation_limit", validation_limit),
        ):
            check_number_or_null(f"data.{name}", value, least=1)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_labels = num_labels
        self.cover = cover
        self.num_label_episodes = num_label_episodes
        self.eval_limit = eval_limit
        self.validation_limit = eval_limit if validation_limit is None else validation_limit
        self.seed = seed
        self.labelled: Sequence[Transition] = []
        self.state_only: Sequence[Transition] = []
        self.validation: Sequence[Transition] = []
        self.test: Sequence[Transition] = []

    @abstractmethod
    def load(self, split: Split) -> Sequence[Transition]:
        """All transitions of a split. Those of ``state_only`` need no action; all others must have one."""

    def metrics(self) -> dict[str, PredictionMetric]:
        """Metrics that this environment adds, by names that begin with their role: ``fwm_...``, ``idm_...``."""
        return {}

    def parts(self) -> Mapping[str, TransitionDataModule]:
        """The environments in this data, by name."""
        return {self.environment: self}

    def setup(self, stage: str = "fit") -> None:
        """Load the four splits, once.

        Raises:
            InputError: an action is missing, or there are fewer labelled transitions than ``num_labels``, or fewer of
                their episodes than ``num_label_episodes``.
        """
        if self.labelled:
            return
        # The door: past this line no action of the state-only half exists.
        self.state_only = drop_actions(self._load("state_only"), "data")
        self.validation = self._limit(self._with_actions("validation"), self.validation_limit)
        self.test = self._limit(self._with_actions("test"), self.eval_limit)
        self.labelled = self._choose(self._of_few_episodes(self._with_actions("labelled")))

    def training(self) -> Sequence[Transition]:
        """All transitions that train, and no other."""
        self.setup()
        return join(self.labelled, self.state_only)

    def corpus(self) -> Iterator[str]:
        """The texts that a tokenizer may be trained on: training states and the chosen actions, nothing held out."""
        for transition in self.training():
            yield transition.state
            yield transition.next_state
            if transition.action is not None:
                yield transition.action

    def train_dataloader(self) -> PhaseLoader:
        """The batches of the stage that the loop has named in ``draw``."""
        draw = self.draw
        if draw is None:
            raise RuntimeError("no stage is running: fit with a SwirlTrainer, whose loop says what a stage draws from")
        pairs = join(*(self._pool(split, draw.stage) for split in draw.pools))
        if not draw.actions:
            pairs = without_actions(pairs)
        size = draw.batch_size or self.batch_size
        if size > len(pairs):
            log.warning(
                "stage %s: batch_size is %d, and it has %d transitions: an update takes these",
                draw.stage,
                size,
                len(pairs),
            )
            size = len(pairs)
        return PhaseLoader(
            pairs,
            self._pool("labelled", draw.stage) if draw.anchored else [],
            batch_size=size,
            updates=draw.updates,
            passes=draw.passes,
            seed=(self.seed, draw.index),
            weights=self.weights,
            anchor_size=size if draw.anchored else 0,
            rank=self._trainer.global_rank,
            world_size=self._trainer.world_size,
        )

    def val_dataloader(self) -> list[EvalLoader]:
        """Test and validation, both after each phase of a fit; only validation under ``trainer.validate``."""
        validation = self._eval_loader(self.validation)
        return [validation] if self._trainer.state.fn == "validate" else [self._eval_loader(self.test), validation]

    def test_dataloader(self) -> EvalLoader:
        """The test split."""
        return self._eval_loader(self.test)

    def predict_dataloader(self) -> EvalLoader:
        """The test split."""
        return self._eval_loader(self.test)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Hand the batch on: transitions are text, and Lightning refuses frozen dataclasses."""
        return batch

    @property
    def _trainer(self) -> L.Trainer:
        if self.trainer is None:
            raise RuntimeError("the loaders need a trainer: pass the data module to trainer.fit, validate or test")
        return self.trainer

    def _eval_loader(self, transitions: Sequence[Transition]) -> EvalLoader:
        return EvalLoader(transitions, self.eval_batch_size, self._trainer.global_rank, self._trainer.world_size)

    def _load(self, split: Split) -> Sequence[Transition]:
        transitions = self.load(split)
        if not isinstance(transitions, Rows):  # a table on disk holds nothing but these
            check_transitions(transitions, split)
        return named(transitions, self.environment) if self.environment else transitions

    def _with_actions(self, split: Split) -> Sequence[Transition]:
        transitions = self._load(split)
        for place, action in enumerate(values(transitions, "action")):
            if action is None or not action.strip():
                t = transitions[place]
                raise InputError(
                    f"data: {split}: episode {t.episode!r}, step {t.step}: found no action, expected one: "
                    "only state_only transitions may come without; add it, or move the episode to state_only"
                )
        return transitions

    def _of_few_episodes(self, labelled: Sequence[Transition]) -> Sequence[Transition]:
        if self.num_label_episodes is None:
            return labelled
        episode_of = values(labelled, "episode")
        episodes = sorted(set(episode_of))
        if self.num_label_episodes > len(episodes):
            raise InputError(
                f"data.num_label_episodes: found {self.num_label_episodes}, expected at most {len(episodes)}, the "
                "number of labelled episodes; lower it, or set it to null to use all"
            )
        order = take_turns(episodes, lambda _: "", f"{self.seed}/episodes")
        chosen = set(order[: self.num_label_episodes])
        return pick(labelled, [place for place, episode in enumerate(episode_of) if episode in chosen])

    def _choose(self, labelled: Sequence[Transition]) -> Sequence[Transition]:
        if self.num_labels is None:
            return labelled
        if self.num_labels > len(labelled):
            raise InputError(
                f"data.num_labels: found {self.num_labels}, expected at most {len(labelled)}, the number of labelled "
                "transitions; lower it, or set it to null to use all"
            )
        kinds = [kind(action) if self.cover else "" for action in values(labelled, "action")]
        order = take_turns(range(len(labelled)), kinds.__getitem__, f"{self.seed}/labels")
        return pick(labelled, order[: self.num_labels])

    @staticmethod
    def _limit(held_out: Sequence[Transition], limit: int | None) -> Sequence[Transition]:
        if limit is None:
            return held_out
        # Not by self.seed: runs that differ in their seed are measured on the same transitions.
        episodes, steps = values(held_out, "episode"), values(held_out, "step")
        chosen = take_turns(range(len(held_out)), episodes.__getitem__, "evaluation")[:limit]
        return pick(held_out, sorted(chosen, key=lambda place: (episodes[place], steps[place])))

    def _pool(self, split: Split, stage: str) -> Sequence[Transition]:
        pool: Sequence[Transition] = getattr(self, split)
        if not pool:
            raise InputError(f"data: the split {split!r} is empty, but the stage {stage!r} needs it; add transitions")
        return pool
