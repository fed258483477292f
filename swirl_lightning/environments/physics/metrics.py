"""How many predicted worlds of objects are right."""

from __future__ import annotations

from typing import Literal

from swirl_lightning.environments.physics.objects import Object, read_objects
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.types import Prediction, Transition


class StateAccuracy(PredictionMetric):
    """Share of right next states, in [0, 1], as ByteSized32-State-Prediction counts them (arXiv 2406.06485, section 4).

    A next state is right where every object of the true one is in it with all its properties, each equal, and with
    the same things inside in any order. What a prediction has besides is no error, as in the benchmark's script.

    Args:
        of: ``dynamic`` counts only the transitions in which an object changes, ``static`` only the others.
    """

    def __init__(self, of: Literal["all", "dynamic", "static"] = "all") -> None:
        super().__init__(of)
        self.of = of

    def score(self, transition: Transition, prediction: Prediction) -> float | None:
        """1 or 0, which a next state that is None or unreadable scores; None where the transition does not count.

        Raises:
            ValueError: a true state is not made of facts.
        """
        before, after = read_objects(transition.state), read_objects(transition.next_state)
        if before is None or after is None:
            raise ValueError(f"episode {transition.episode!r} step {transition.step}: expected facts of objects")
        is_static = _holds(before, after) and _holds(after, before)
        if self.of not in ("all", "static" if is_static else "dynamic"):
            return None
        said = None if prediction.next_state is None else read_objects(prediction.next_state)
        return float(said is not None and _holds(after, said))


def _holds(target: dict[int, Object], found: dict[int, Object]) -> bool:
    return all(
        uuid in found
        and it["contains"] == found[uuid]["contains"]
        and all(found[uuid]["properties"].get(key, ...) == value for key, value in it["properties"].items())
        for uuid, it in target.items()
    )
