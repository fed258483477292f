"""What can be asked: both roles, and how texts become their ids and come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from swirl_lightning.codecs import Layout, TextCodec
from swirl_lightning.modules.fwm import ForwardWorldModel
from swirl_lightning.modules.idm import InverseDynamicsModel


class WorldModel(Protocol):
    """Both roles of a run; :class:`swirl_lightning.modules.SWIRL` is one.

    Args:
        fwm: the Forward World Model.
        idm: the Inverse Dynamics Model.
        codec: texts as ids and back.
        layouts: the words around states and actions, by environment.
    """

    fwm: ForwardWorldModel
    idm: InverseDynamicsModel
    codec: TextCodec
    layouts: Mapping[str, Layout]
