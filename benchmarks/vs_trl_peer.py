"""TRL's side of benchmarks/vs_trl.py: TRL 1.16's GRPOTrainer, run by its own ``train``."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer.utils import use_adapter
from vs_trl_work import (
    LEARNING_RATE,
    Clock,
    Loaded,
    Update,
    Work,
    base_model,
    fill,
    gradients,
    lora,
    memory,
    settle,
    sizes,
)

from swirl_lightning.engine.shared_prefix import pad
from swirl_lightning.models import PretrainedLM, ScratchLM

ADAPTERS = {"policy": "default", "reference": "ref", "scorer": "scorer"}
VOCABULARY_TILE = 32768  # TRL's own


class Peer(TrainerCallback):
    """A GRPOTrainer whose parts are timed and which makes an update when it is told to."""

    def __init__(self, work: Work, connection: Connection) -> None:
        self.work = work
        self.connection = connection
        self.clock = Clock(work.gpu)
        model = get_peft_model(base_model(work), lora())
        model.add_adapter("scorer", lora())
        self.trainer = GRPOTrainer(
            model=model,
            reward_funcs=self.likelihood,
            args=config(work),
            train_dataset=Dataset.from_list([{"prompt": f"{u} {p}"} for u, p in self._places()]),
            processing_class=tokenizer(work),
            callbacks=[self],
        )
        self.model: Any = self.trainer.model
        for name, adapter in ADAPTERS.items():
            fill(work, name, self.parameters(adapter))
        self.model.set_adapter("default")
        self.eos = self.trainer.eos_token_ids
        self._wrap()
        trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        assert all(".default." in name for name in trained), sorted(trained)

    def parameters(self, adapter: str) -> dict[str, torch.nn.Parameter]:
        """The adapter's weights by the names that they have without PEFT's wrapper."""
        return {
            name.removeprefix("base_model.model.").replace(f".{adapter}.", "."): parameter
            for name, parameter in self.model.named_parameters()
            if f".{adapter}." in name
        }

    @torch.no_grad()
    def likelihood(self, prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        """The reward: mean log-prob of the target under the frozen scorer, the head on scored positions alone."""
        groups = [self._group(prompt) for prompt in prompts]
        answers = [ids[:-1] if ids[-1] in self.eos else ids for ids in completion_ids]
        rows = [g.head + tuple(z) + g.after + g.target for g, z in zip(groups, answers, strict=True)]
        rewards: list[float] = []
        model, device = self.model.get_base_model(), self.model.device
        with use_adapter(self.model, "scorer"):
            for start in range(0, len(rows), self.work.micro_batch):
                batch = slice(start, start + self.work.micro_batch)
                ids_NL, mask_NL = pad(rows[batch], device)
                hidden_NLD = model.base_model(
                    input_ids=ids_NL, attention_mask=mask_NL.long(), use_cache=False
                ).last_hidden_state
                counts_N = torch.tensor([len(group.target) for group in groups[batch]], device=device)
                lengths_N1 = mask_NL.sum(1, keepdim=True)
                places_L = torch.arange(ids_NL.shape[1], device=device)
                scored_NL = (places_L >= lengths_N1 - counts_N[:, None]) & mask_NL
                head = model.get_output_embeddings()
                logp_M = ChunkedLogProbFunction.apply(
                    hidden_NLD[:, :-1][scored_NL[:, 1:]], head.weight, head.bias, ids_NL[scored_NL],
                    1.0, VOCABULARY_TILE, None, 1.0, (),
                )[0]  # fmt: skip
                logp_NL = torch.zeros(ids_NL.shape, device=device).masked_scatter(scored_NL, logp_M.float())
                rewards += (logp_NL.sum(1) / counts_N).tolist()
        return rewards

    # ---- one update, as TRL's loop goes through it

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait to be told."""
        self.connection.recv()
        self.report = {"loss": 0.0, "gradient": {}}
        self.clock.start()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the gradient of the check."""
        if state.global_step == 0:
            self.report["gradient"] = gradients(self.parameters("default"))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report."""
        self.connection.send(Update(seconds=self.clock.stop(), memory=memory(self.work, peak=True), **self.report))

    def _wrap(self) -> None:
        """Time TRL's own methods, give them ids in place of texts, and in update 0 what to learn from."""
        trainer: Any = self.trainer
        generate_and_score, generate = trainer._generate_and_score_completions, trainer._generate
        single_turn, reward, loss = trainer._generate_single_turn, trainer._calculate_rewards, trainer.compute_loss

        @functools.wraps(generate_and_score)
        def timed_generate_and_score(inputs: Any) -> Any:
            with self.clock.part("scoring"):
                return generate_and_score(inputs)

        @functools.wraps(generate)
        def timed_generate(prompts: list[str]) -> Any:
            with self.clock.part("generation", within="scoring"):
                return generate(prompts)

        @functools.wraps(single_turn)
        def given_or_drawn(prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            if trainer.state.global_step == 0:
                completions = [list(ids) for group in self.work.completions for ids in group]
            else:
                completions, _ = single_turn(prompt_ids, *args, **kwargs)
            self.report["tokens"] = sum(map(len, completions))
            texts = zip(map(tuple, prompt_ids), map(tuple, completions), strict=True)
            self.report["distinct"] = len(set(texts))
            return completions, None

        @functools.wraps(reward)
        def rewards(*args: Any) -> Any:
            found = reward(*args)
            self.report["rewards"] = found[:, 0].tolist()
            if trainer.state.global_step == 0:
                return torch.tensor(self.work.rewards, device=found.device).reshape(-1, 1)
            return found

        @functools.wraps(loss)
        def summed_loss(*args: Any, **kwargs: Any) -> Any:
            value = loss(*args, **kwargs)
            self.report["loss"] += float(value.detach())
            return value

        trainer._generate_and_score_completions, trainer._generate = timed_generate_and_score, timed_generate
        trainer._generate_single_turn, trainer._calculate_rewards = given_or_drawn, rewards
        trainer.compute_loss = summed_loss
        trainer._tokenize_prompts = lambda prompts: ([list(self._group(p).prompt) for p in prompts], None, {})

    def _group(self, prompt: str) -> Any:
        update, place = map(int, prompt.split())
        return self.work.updates[update][place]

    def _places(self) -> Sequence[tuple[int, int]]:
        return [(u, p) for u, groups in enumerate(self.work.updates) for p in range(len(groups))]


def config(work: Work) -> GRPOConfig:
    """TRL's options: the same algorithm as ours, and the fastest of its ways to compute it that fit."""
    rows = work.group_size * len(work.updates[0])
    return GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=not work.gpu,
        bf16=work.gpu,
        gradient_checkpointing=work.gpu,  # where there is memory without it, that is faster
        gradient_checkpointing_kwargs={"use_reentrant": False},
        per_device_train_batch_size=work.micro_batch,
        gradient_accumulation_steps=rows // work.micro_batch,
        num_generations=work.group_size,
        max_completion_length=work.max_tokens,
        generation_kwargs={"min_new_tokens": work.max_tokens} if work.eos < 0 else None,
        beta=work.beta,
        loss_type="grpo",
        use_bias_correction_kl=False,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,  # nobody clips, so that gradients can be compared
        max_steps=len(work.updates),
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def tokenizer(work: Work) -> Any:
    """The model's own, or any; TRL only decodes with it here, for its log."""
    if work.gpu:
        return ScratchLM().tokenizer(("",), ())
    return PretrainedLM(work.model).tokenizer((), ())


def serve(work: Work, connection: Connection) -> None:
    """Make an update each time something is received."""
    peer = Peer(work, connection)
    peer_sizes = sizes(peer.model.get_base_model(), peer.parameters("default"))
    connection.send(Loaded(settle(work), peer_sizes))
    peer.trainer.train()
