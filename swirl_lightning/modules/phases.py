"""What each phase of SWIRL (arXiv:2602.06130) does with one batch.

Shape letters: P prompts, G samples per prompt, N distinct rows, T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from swirl_lightning.algorithms.objectives import elbo_bound, information_bound, kl_estimate, row_sum
from swirl_lightning.codecs import TextCodec
from swirl_lightning.models import Policy
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.updates import Updates
from swirl_lightning.rewards import Reward, ScoringTask
from swirl_lightning.types import Batch, Encoded, Ids, InputError, Phase, Rollouts, Transition


class PhaseSteps(Updates):
    """The training step of every phase; :class:`swirl_lightning.modules.SWIRL` adds set-up and evaluation."""

    reward: Reward
    codec: TextCodec
    latent: Literal["sample", "greedy"]
    bootstrap: float
    shared_weights: bool

    def learners(self, phase: Phase) -> tuple[GRPOMixin, ...]:
        """The roles that learn in a phase."""
        learners: dict[Phase, tuple[GRPOMixin, ...]] = {
            "pretrain": (self.fwm,),
            "sft": (self.fwm, self.idm),
            "bootstrap": (self.fwm,),
            "vim": (self.fwm,),
            "elbo": (self.idm,),
        }
        return learners[phase]

    def frozen(self, role: GRPOMixin) -> Policy:
        """A role as it stood when the phase began, while the other one learns."""
        return role.reference if self.shared_weights else role.policy

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, dict[str, float]]:
        """One update of the running phase. Returns its metrics."""
        started = time.perf_counter()
        self._begin(batch_idx)
        before = self._tokens()
        phase: Phase = self.trainer.fit_loop.stage.phase  # type: ignore[attr-defined]
        steps: dict[Phase, Callable[[Batch], dict[str, float]]] = {
            "pretrain": self._pretrain,
            "sft": self._sft,
            "bootstrap": self._bootstrap,
            "vim": self._vim,
            "elbo": self._elbo,
        }
        metrics = steps[phase](batch)
        seconds = time.perf_counter() - started
        tokens, gradient_tokens = (after - b for after, b in zip(self._tokens(), before, strict=True))
        metrics |= {f"share_{name}": value / seconds for name, value in self._clocks.items()}
        metrics |= {"tokens": tokens, "gradient_tokens": gradient_tokens, "tokens_per_second": tokens / seconds}
        return {"metrics": metrics}

    def _pretrain(self, batch: Batch) -> dict[str, float]:
        """Language modelling of x then y, without actions; stands in for what a pretrained base knows."""
        codes = [self.codec.encode(t) for t in batch.pairs]
        texts = [code.x + code.prompts.next_state + code.y for code in codes]
        with self._clock("update"):
            self._zero_grad(self.fwm)
            loss = self.fwm.supervise([code.prompts.start for code in codes], texts, self._backward)
            return {"loss": loss, "grad_norm": self._step(self.fwm, loss)}

    def _sft(self, batch: Batch) -> dict[str, float]:
        """Both roles on labelled transitions."""
        metrics = {}
        with self._clock("update"):
            for role in (self.fwm, self.idm):
                self._zero_grad(role)
                metrics[f"{role.role}_loss"] = loss = self._supervise(role, batch.pairs)
                metrics[f"{role.role}_grad_norm"] = self._step(role, loss)
        return metrics

    def _bootstrap(self, batch: Batch) -> dict[str, float]:
        """The FWM on the IDM's own labels of the state-only half, with the anchor's share of true ones: a baseline."""
        codes = [self.codec.encode(t) for t in batch.pairs]
        with self._clock("generation"):
            zs, _ = self._latent_actions(codes)
        prompts = [self.fwm.prompt(code, z) for code, z in zip(codes, zs, strict=True)]
        with self._clock("update"):
            self._zero_grad(self.fwm)
            share = 1 / (1 + self.fwm.anchor)
            loss = share * self.fwm.supervise(prompts, [code.y for code in codes], self._backward, share)
            if self.fwm.anchor:
                loss += (1 - share) * self._supervise(self.fwm, batch.labelled, 1 - share)
            return {"loss": loss, "grad_norm": self._step(self.fwm, loss)}

    def _vim(self, batch: Batch) -> dict[str, float]:
        """Variational information maximisation: the FWM writes y from (x, z), the IDM says how well z shows in it."""
        codes = [self.codec.encode(t) for t in batch.pairs]
        with self._clock("generation"):
            zs, logq_z_P = self._latent_actions(codes)
            prompts = [self.fwm.prompt(code, z) for code, z in zip(codes, zs, strict=True)]
            rollouts = self.fwm.rollout(prompts, self._seeds("y", len(prompts)))
        heads = [len(code.prompts.inverse(code.x, ())) - len(code.prompts.action) for code in codes]
        task = self._scoring_task(
            rollouts, batch.pairs, heads, zs, lambda p, y: self.idm.prompt(codes[p], y),
            lambda p, y: self.codec.next_state(batch.pairs[p].state, y),
        )  # fmt: skip

        def bootstrap() -> float:
            if not self.bootstrap:
                return 0.0
            targets = [code.y for code in codes]
            return self.bootstrap * self.fwm.supervise(prompts, targets, self._backward, self.bootstrap)

        metrics = self._grpo(self.fwm, self.frozen(self.idm), rollouts, task, prompts, batch.labelled, bootstrap)
        # -log Q(z | x, y) estimates H(Z | X, Y) <= H(Z | X): a looser bound than the theorem's, but one that can be had
        if "reward_sequence_logp" in metrics:
            metrics["bound"] = float(information_bound(torch.tensor(metrics["reward_sequence_logp"]), -logq_z_P.mean()))
        return metrics

    def _elbo(self, batch: Batch) -> dict[str, float]:
        """ELBO maximisation: the IDM names z from (x, y), the FWM says how well it explains y."""
        codes = [self.codec.encode(t) for t in batch.pairs]
        prompts = [self.idm.prompt(code, code.y) for code in codes]
        with self._clock("generation"):
            rollouts = self.idm.rollout(prompts, self._seeds("z", len(prompts)))
        heads = [len(code.prompts.forward(code.x, ())) - len(code.prompts.next_state) for code in codes]
        task = self._scoring_task(
            rollouts, batch.pairs, heads, [code.y for code in codes],
            lambda p, z: self.fwm.prompt(codes[p], z), lambda _, z: self.codec.action(z),
        )  # fmt: skip
        ref_prompts = [code.prompts.prior(code.x) for code in codes] if self.idm.prior == "state" else prompts
        metrics = self._grpo(self.idm, self.frozen(self.fwm), rollouts, task, ref_prompts, batch.labelled)
        if {"reward_sequence_logp", "sequence_kl"} <= metrics.keys():
            logp_y, kl = torch.tensor([metrics["reward_sequence_logp"]]), torch.tensor([metrics["sequence_kl"]])
            metrics["bound"] = float(elbo_bound(logp_y, kl))
        return metrics

    def _grpo(
        self,
        learner: GRPOMixin,
        scorer: Policy,
        rollouts: Rollouts,
        task: ScoringTask,
        ref_prompts: Sequence[Ids],
        labelled: list[Transition],
        accumulate_more: Callable[[], float] = lambda: 0.0,
    ) -> dict[str, float]:
        """Reward the rollouts and update the learner on them."""
        with self._clock("scoring"):
            rewards = self.reward(rollouts, task, scorer)
            for name, x in (("log-prob of a sample", rollouts.logp), ("reward", rewards.total)):
                if not x.isfinite().all():
                    raise self._diverged(learner, f"a {name} is not finite")
            experience = learner.experience(rollouts, rewards.total, ref_prompts)
        for _ in range(learner.inner_steps):
            with self._clock("update"):
                self._zero_grad(learner)
                update = learner.accumulate(experience, self._backward)
                total = update.loss + accumulate_more()
                if learner.anchor:
                    total += learner.anchor * self._supervise(learner, labelled, learner.anchor)
                grad_norm = self._step(learner, total)
        rewards_PG = rewards.total[rollouts.row_of]
        weight_N = rollouts.counts / rollouts.counts.sum()
        std_P = rewards_PG.std(dim=1)
        return {
            "reward": float(rewards_PG.mean()),
            "reward_std": float(std_P.mean()),
            "zero_variance_groups": float((std_P == 0).float().mean()),
            "unique_share": len(rollouts.completions) / rollouts.row_of.numel(),
            "completion_length": float((rollouts.mask.sum(1) * weight_N).sum()),
            "truncated_share": float((~rollouts.finished * weight_N).sum()),
            "loss": total,
            "kl": update.kl,
            "clip_fraction": update.clip_fraction,
            "entropy": update.entropy,
            "grad_norm": grad_norm,
            **{f"reward_{name}": float((part * weight_N).sum()) for name, part in rewards.parts.items()},
            **self._sequence_kl(rollouts, experience.ref_logp, weight_N),
        }

    @staticmethod
    def _sequence_kl(rollouts: Rollouts, ref_logp: Tensor | None, weight_N: Tensor) -> dict[str, float]:
        """KL of whole completions to the reference, in nats, as the policy stood when it sampled them."""
        if ref_logp is None:
            return {}
        kl_N = row_sum(kl_estimate(rollouts.logp, ref_logp, "k1"), rollouts.mask)
        return {"sequence_kl": float((kl_N * weight_N).sum())}

    def _latent_actions(self, codes: Sequence[Encoded]) -> tuple[list[Ids], Tensor]:
        """Draw z ~ Q(. | x, y) from the current IDM, with its log-prob. P, [P]"""
        prompts = [self.idm.prompt(code, code.y) for code in codes]
        seeds = self._seeds("latent", len(codes)) if self.latent == "sample" else None
        return self.idm.answer(prompts, seeds, self.frozen(self.idm))

    def _scoring_task(
        self,
        rollouts: Rollouts,
        transitions: Sequence[Transition],
        heads: Sequence[int],
        targets: Sequence[Ids],
        prompt: Callable[[int, Ids], Ids],
        text: Callable[[int, Ids], str | None],
    ) -> ScoringTask:
        """The scorer's own training prompt with each completion in place, cut where a group's texts part."""
        groups = rollouts.prompt_of.tolist()
        eos = (self.codec.eos,)
        prompts = [prompt(p, completion) for p, completion in zip(groups, rollouts.completions, strict=True)]
        shared = {p: prompts[n][: heads[p]] for n, p in enumerate(groups)}
        return ScoringTask(
            prompts=tuple(shared[p] for p in range(len(transitions))),
            rows=tuple(prompts[n][heads[p] :] + targets[p] + eos for n, p in enumerate(groups)),
            scored=tuple(len(targets[p]) + 1 for p in groups),
            transitions=tuple(transitions),
            text=lambda n: text(groups[n], rollouts.completions[n]),
        )

    def _supervise(self, role: GRPOMixin, transitions: Sequence[Transition], weight: float = 1.0) -> float:
        """The supervised loss of a role, with its gradient; with the state-only prior, the IDM learns that too."""
        codes = [self.codec.encode(t) for t in transitions]
        zs = [code.z for code in codes if code.z is not None]
        if len(zs) < len(codes):
            raise InputError("supervised training needs labelled transitions, found one without an action")
        if role is self.fwm:
            prompts = [self.fwm.prompt(code, z) for code, z in zip(codes, zs, strict=True)]
            return role.supervise(prompts, [code.y for code in codes], self._backward, weight)
        prompts = [self.idm.prompt(code, code.y) for code in codes]
        if self.idm.prior == "posterior":
            return role.supervise(prompts, zs, self._backward, weight)
        posterior = role.supervise(prompts, zs, self._backward, weight / 2)
        priors = [code.prompts.prior(code.x) for code in codes]
        return (posterior + role.supervise(priors, zs, self._backward, weight / 2)) / 2
