"""The order of the phases."""

from swirl_lightning.loops.alternating import AlternatingLoop, NamedStage, expand_schedule

__all__ = ["AlternatingLoop", "NamedStage", "expand_schedule"]
