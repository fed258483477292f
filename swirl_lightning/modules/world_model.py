"""What can be asked: both roles, and how states and actions become ids and come back."""

from __future__ import annotations

from typing import Protocol

from swirl_lightning.codecs import Codec
from swirl_lightning.modules.fwm import ForwardWorldModel
from swirl_lightning.modules.idm import InverseDynamicsModel


class WorldModel(Protocol):
    """Both roles of a run; :class:`swirl_lightning.modules.SWIRL` is one.

    Args:
        fwm: the Forward World Model.
        idm: the Inverse Dynamics Model.
        codec: states and actions as ids and back.
    """

    fwm: ForwardWorldModel
    idm: InverseDynamicsModel
    codec: Codec
