"""Whether the IDM's answers explain what was seen, whatever they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torchmetrics import Metric

from swirl_lightning.callbacks.held_out import HeldOutMetrics
from swirl_lightning.metrics import ExactMatch
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.round_trip import round_trip
from swirl_lightning.types import Transition


class RoundTrip(HeldOutMetrics):
    """Measures how often the IDM's action, given to the FWM, leads to the observed next state: ``idm/round_trip``.

    It is high and ``idm/exact_match`` low where the IDM has understood what happened and gives it another name, about
    which states say nothing. An FWM that writes the right state whatever the action makes it high too: read it beside
    ``fwm/exact_match``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._metric = ExactMatch()

    @property
    def metrics(self) -> Mapping[str, Metric]:  # noqa: D102
        return {"idm/round_trip": self._metric}

    def count(self, module: SWIRL, transitions: Sequence[Transition]) -> None:
        """Go there and back."""
        self._metric.update(round_trip(module, transitions), [t.next_state for t in transitions])
