"""Lightning callbacks, imported as ``swirl_lightning.callbacks``."""

if __name__ != "swirl_lightning.callbacks":
    raise ImportError("import swirl_lightning.callbacks, not the top-level folder: its classes would exist twice")

from swirl_lightning.callbacks.best_of_n import BestOfN
from swirl_lightning.callbacks.checkpoint import PhaseCheckpoint
from swirl_lightning.callbacks.converge import StopConverged
from swirl_lightning.callbacks.disc_edit import DiscEdit
from swirl_lightning.callbacks.freeze import PhaseFreeze, PhaseStart
from swirl_lightning.callbacks.gate import PhaseGate
from swirl_lightning.callbacks.monitor import PhaseMonitor
from swirl_lightning.callbacks.open_loop import OpenLoop
from swirl_lightning.callbacks.plan_choice import PlanChoice
from swirl_lightning.callbacks.predictions import PredictionWriter
from swirl_lightning.callbacks.progress import PhaseProgress
from swirl_lightning.callbacks.recorder import RunRecorder
from swirl_lightning.callbacks.report import RunReport
from swirl_lightning.callbacks.round_trip import RoundTrip
from swirl_lightning.callbacks.stop import StopOnSignal
from swirl_lightning.callbacks.together import EndTogether

__all__ = [
    "BestOfN",
    "DiscEdit",
    "EndTogether",
    "OpenLoop",
    "PhaseCheckpoint",
    "PhaseFreeze",
    "PhaseGate",
    "PhaseMonitor",
    "PhaseProgress",
    "PhaseStart",
    "PlanChoice",
    "PredictionWriter",
    "RoundTrip",
    "RunRecorder",
    "RunReport",
    "StopConverged",
    "StopOnSignal",
]
