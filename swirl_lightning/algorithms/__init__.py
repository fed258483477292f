"""The method as pure functions of tensors: torch only, no state, no I/O. The page to read first."""

from swirl_lightning.algorithms.grpo import GRPOLoss, group_advantages, grpo_loss, loss_normalizer
from swirl_lightning.algorithms.logprobs import token_logprobs
from swirl_lightning.algorithms.objectives import (
    elbo_bound,
    information_bound,
    kl_estimate,
    row_mean,
    row_sum,
    sequence_reward,
)

__all__ = [
    "GRPOLoss",
    "elbo_bound",
    "group_advantages",
    "grpo_loss",
    "information_bound",
    "kl_estimate",
    "loss_normalizer",
    "row_mean",
    "row_sum",
    "sequence_reward",
    "token_logprobs",
]
