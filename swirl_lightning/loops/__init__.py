"""The order of the phases."""

from swirl_lightning.loops.alternating import AlternatingLoop

__all__ = ["AlternatingLoop"]
