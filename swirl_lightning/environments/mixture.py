"""Several environments in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.splits import Split
from swirl_lightning.environments.table import join
from swirl_lightning.types import InputError, Transition


class MixtureDataModule(TransitionDataModule):
    """Transitions of several environments, each with its own prompts and metrics.

    Args:
        environments: a data module for each, by the name that its prompts and metrics go by. They keep their own
            ``num_labels`` and ``eval_limit``; batch sizes and seed are those of the mixture.
        weights: how many transitions of each make a round of training batches; null gives one to each.
        batch_size: transitions per update and rank, of all environments together.
        eval_batch_size: transitions per batch in evaluation.
        seed: of everything that is random in any of them.
    """

    def __init__(
        self,
        environments: dict[str, TransitionDataModule],
        weights: dict[str, int] | None = None,
        batch_size: int = 16,
        eval_batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        self.weights = dict.fromkeys(environments, 1) if weights is None else weights
        if len(environments) < 2 or not all(environments):
            raise InputError(f"data.environments: found {sorted(environments)}, expected two or more names")
        if self.weights.keys() != environments.keys() or min(self.weights.values()) < 1:
            raise InputError(
                f"data.weights: found {self.weights}, expected a whole number from 1 for each of "
                f"{', '.join(environments)}"
            )
        self.environments = environments
        for name, part in environments.items():
            part.environment, part.seed = name, seed

    def parts(self) -> Mapping[str, TransitionDataModule]:
        """The environments, by name."""
        return self.environments

    def load(self, split: Split) -> Sequence[Transition]:
        """The transitions of a split of all environments, as each of them has chosen them.

        Raises:
            InputError: an environment has none: a round of batches has some of each.
        """
        parts = []
        for name, part in self.environments.items():
            part.setup()
            its: Sequence[Transition] = getattr(part, split)
            if not its:
                raise InputError(f"data.environments.{name}: the split {split!r} is empty, expected transitions")
            parts.append(its)
        return join(*parts)
