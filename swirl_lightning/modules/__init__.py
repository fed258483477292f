"""The Lightning modules."""

from swirl_lightning.modules.fwm import ForwardWorldModel
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.idm import InverseDynamicsModel
from swirl_lightning.modules.swirl import SWIRL

__all__ = ["SWIRL", "ForwardWorldModel", "GRPOMixin", "InverseDynamicsModel"]
