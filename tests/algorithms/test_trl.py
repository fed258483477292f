"""The loss against TRL 1.16's own method on the same tensors. Optional: needs the ``bench`` extra."""

import types

import pytest
import torch

from swirl_lightning.algorithms.grpo import grpo_loss, loss_normalizer

pytest.importorskip("trl", minversion="1.16.0")
from trl.trainer.grpo_trainer import GRPOTrainer

N, T, MAX_TOKENS = 6, 5, 8
WEIGHT = torch.tensor([3, 1, 2, 1, 4, 1])


def trl_loss(logp, old, ref, adv, mask, *, clip_low, clip_high, beta, loss, importance):
    """GRPOTrainer._compute_loss without a model: the log-probs are handed in, one row per sample."""
    trainer = GRPOTrainer.__new__(GRPOTrainer)
    trainer._get_per_token_logps_and_entropies = lambda *args, **kwargs: (logp, torch.zeros_like(logp), None)
    trainer.accelerator = types.SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, gather_for_metrics=lambda x: x
    )
    trainer.args = types.SimpleNamespace(delta=None, use_bias_correction_kl=False)
    trainer.model = types.SimpleNamespace(training=False)
    trainer._metrics = {"eval": {key: [] for key in ("kl", "entropy")}}
    trainer._metrics["eval"] |= {
        f"clip_ratio/{key}": [] for key in ("low_mean", "low_min", "high_mean", "high_max", "region_mean")
    }
    trainer.aux_loss_enabled = trainer._entropy_bonus_enabled = trainer.use_vllm = False
    trainer.top_entropy_quantile, trainer.off_policy_mask_threshold = 1.0, None
    trainer.beta, trainer.loss_type, trainer.importance_sampling_level = beta, loss, importance
    trainer.epsilon_low, trainer.epsilon_high, trainer.max_completion_length = clip_low, clip_high, MAX_TOKENS
    ids, mask = torch.zeros_like(logp, dtype=torch.long), mask.long()
    return trainer._compute_loss(
        None,
        {
            "prompt_ids": ids,
            "prompt_mask": ids,
            "completion_ids": ids,
            "completion_mask": mask,
            "advantages": adv,
            "old_per_token_logps": old,
            "ref_per_token_logps": ref,
            "num_items_in_batch": mask.sum(),
        },
    )


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("importance", ["token", "sequence"])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("clip", [(0.2, 0.2), (0.1, 0.4)])
def test_equals_trl(loss, importance, beta, clip):
    generator = torch.Generator().manual_seed(0)
    logp = (-0.2 - 2 * torch.rand(N, T, generator=generator)).requires_grad_()
    old, ref = (logp.detach() + 0.5 * torch.randn(N, T, generator=generator) for _ in range(2))
    adv = torch.randn(N, generator=generator)
    mask = torch.arange(T) < torch.tensor([5, 1, 3, 4, 2, 5])[:, None]
    settings = {"clip_low": clip[0], "clip_high": clip[1], "beta": beta, "loss": loss, "importance": importance}

    normalizer = loss_normalizer(mask, WEIGHT, loss=loss, max_tokens=MAX_TOKENS)
    ours = grpo_loss(logp, old, ref, adv, mask, WEIGHT, normalizer=normalizer, **settings)
    theirs = trl_loss(*(x.repeat_interleave(WEIGHT, dim=0) for x in (logp, old, ref, adv, mask)), **settings)
    assert ours.clip_fraction > 0
    torch.testing.assert_close(ours.loss, theirs, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(x, logp)[0] for x in (ours.loss, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
