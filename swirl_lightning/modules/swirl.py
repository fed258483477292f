"""SWIRL (arXiv:2602.06130): a Forward World Model and an Inverse Dynamics Model that teach each other."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

import torch

from swirl_lightning import __version__
from swirl_lightning.codecs import Layout, StateForm, TextCodec, indent
from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.engine.sharing import EngineName, choose_engine
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.models import BaseModel, Policy, Weights
from swirl_lightning.models.optimizers import OptimizerName, make_optimizer
from swirl_lightning.modules.checkpoint import read_checkpoint
from swirl_lightning.modules.evaluation import Evaluation
from swirl_lightning.modules.fwm import ForwardWorldModel
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.idm import InverseDynamicsModel
from swirl_lightning.modules.phases import PhaseSteps
from swirl_lightning.modules.planning import micro_batch_sizes
from swirl_lightning.modules.random_state import get_random_state, set_random_state
from swirl_lightning.rewards import LikelihoodReward, Reward
from swirl_lightning.types import InputError, Prediction, Transition

REFERENCE = "reference"
"""The weight set of the phase's learner as the phase began; no more than one role needs it at a time."""


class SWIRL(PhaseSteps):
    """A Forward World Model and an Inverse Dynamics Model that teach each other.

    Args:
        base: the language model under both.
        fwm: the Forward World Model's options.
        idm: the Inverse Dynamics Model's options.
        reward: how the frozen role judges the other's completions.
        layout: the words around states and actions; null takes each environment's own.
        state_form: what the FWM writes: the ``full`` next state, or ``delta``, a lossless edit of the state.
        max_tokens: longest prompt and completion together; longer transitions are refused, never cut.
        engine: ``auto`` passes what several texts share through the model once, where the model allows it; ``plain``
            passes every text by itself, for checking.
        micro_batch: rows (completions) that pass through the model together; ``auto``: as many as the device's free
            memory holds, by the plan that ``swirl plan`` prints.
        shared_weights: one weight set for both roles (theta = phi): less memory, less stable.
        latent: the action of a VIM prompt: a ``sample`` from the current IDM, or its ``greedy`` choice.
        bootstrap: weight of a supervised loss on (x, that action) -> true y beside GRPO in the VIM phase.
        lr_schedule: shape of the learning rate over a stage, after the warm-up.
        lr_warmup: updates of linear warm-up at the start of every stage.
        optimizer: ``adamw``; ``adamw_8bit``, with moments of 8 bits; ``paged_adamw_8bit``, whose moments leave a full
            GPU.
        weight_decay: of the optimiser.
        gradient_clip: largest norm of a gradient.
        init_from: checkpoint of another run whose weights (and trained tokenizer) this one starts from.
        seed: of sampling.
    """

    def __init__(
        self,
        base: BaseModel,
        fwm: ForwardWorldModel,
        idm: InverseDynamicsModel,
        reward: Reward | None = None,
        layout: Layout | None = None,
        state_form: StateForm = "delta",
        max_tokens: int = 1024,
        engine: EngineName = "auto",
        micro_batch: int | Literal["auto"] = "auto",
        shared_weights: bool = False,
        latent: Literal["sample", "greedy"] = "sample",
        bootstrap: float = 0.0,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        lr_warmup: int = 10,
        optimizer: OptimizerName = "adamw",
        weight_decay: float = 0.0,
        gradient_clip: float = 1.0,
        init_from: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.base = base
        self.fwm = fwm
        self.idm = idm
        self.reward: Reward = reward or LikelihoodReward()
        self.layout = layout
        self.state_form: StateForm = state_form
        self.max_tokens = max_tokens
        self.engine: EngineName = engine
        if micro_batch != "auto" and micro_batch < 1:
            raise InputError(f"model.micro_batch: found {micro_batch}, expected auto, or at least 1")
        self.micro_batch: int | Literal["auto"] = micro_batch
        self.shared_weights = shared_weights
        self.latent = latent
        self.bootstrap = bootstrap
        self.lr_schedule: Literal["constant", "cosine"] = lr_schedule
        self.lr_warmup = lr_warmup
        self.optimizer: OptimizerName = optimizer
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.init_from = init_from
        self.seed = seed
        self.results: dict[str, dict[str, float]] = {}
        self.predictions: list[tuple[Transition, Prediction]] = []
        self._random_state: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """Build tokenizer, codec and weights; the tokenizer may be trained on the run's own training texts."""
        if hasattr(self, "weights"):
            return
        data: TransitionDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        parts = data.parts()
        self.layouts = {"": self.layout or Layout()}
        if self.layout is None:
            self.layouts |= {name: part.layout for name, part in parts.items()}
        start = None if self.init_from is None else read_checkpoint(self.init_from, "model.init_from")
        if start and self.base.trains_tokenizer:
            tokenizer = self.base.restore_tokenizer(start["swirl"]["tokenizer"])
        else:
            markers = dict.fromkeys(marker for layout in self.layouts.values() for marker in layout.markers)
            tokenizer = self.base.tokenizer(map(indent, data.corpus()), tuple(markers))
        sizes = micro_batch_sizes(self, self.trainer, fitting=stage == "fit")
        self.assemble(tokenizer, self.trainer.strategy.root_device, sizes)
        if start:
            self.weights.load_tensors(start["state_dict"])
        metrics = {name: part.metrics() for name, part in parts.items()}
        self.evaluations = torch.nn.ModuleDict(
            {name: Evaluation(self.untrained, deepcopy(metrics)) for name in ("test", "validation")}
        )

    def assemble(self, tokenizer: Any, device: torch.device, sizes: MicroBatchSizes) -> None:
        """Build codec, weights and both roles' policies on a device; ``layouts`` must be known."""
        self._set_tokenizer(tokenizer)
        own = ("shared", "shared") if self.shared_weights else ("fwm", "idm")
        with device:
            self.weights: Weights = self.base.weights(tokenizer, dict.fromkeys((*own, REFERENCE)))
        roles: tuple[GRPOMixin, GRPOMixin] = (self.fwm, self.idm)
        engine = choose_engine(self.weights.activate(own[0]), self.max_tokens, self.engine)
        eos = self.codec.eos
        for role, name in zip(roles, own, strict=True):
            role.policy = Policy(self.weights, name, eos, engine, sizes)
            role.reference = Policy(self.weights, REFERENCE, eos, engine, sizes)
        self.untrained = Policy(self.weights, "", eos, engine, sizes) if self.weights.has_base else None

    def _set_tokenizer(self, tokenizer: Any) -> None:
        self.codec = TextCodec(tokenizer, self.layouts, self.state_form, self.max_tokens)

    def on_fit_start(self) -> None:
        """Encode all data once, so that a row that cannot be used is reported before any training."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        for split in (data.labelled, data.state_only, data.validation, data.test):
            self.codec.encode_all(split)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser per role, on parameters that never change."""
        return [
            make_optimizer(self.optimizer, role.policy.parameters(), role.learning_rate, self.weight_decay)
            for role in (self.fwm, self.idm)
        ]

    # ---- evaluation

    def validation_step(self, batch: list[Transition], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Evaluate one batch of the split that ``dataloader_idx`` stands for."""
        if self._unmeasured():
            return
        split = self._splits()[dataloader_idx]
        predictions = self._evaluation(split).update(self, batch, keep=self.trainer.state.fn == "fit")
        if split == "test":
            self.predictions += zip(batch, predictions, strict=True)

    def on_validation_epoch_start(self) -> None:
        """Forget the predictions of the evaluation before."""
        self.predictions = []

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of every split and keep them in ``results``."""
        if self._unmeasured():
            return
        self.results = {split: self._evaluation(split).compute() for split in self._splits()}
        for split, metrics in self.results.items():
            self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, sync_dist=True)

    test_step = validation_step
    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: list[Transition], batch_idx: int) -> list[Prediction]:
        """What both roles say of the batch."""
        return self.evaluations["test"].update(self, batch)  # type: ignore[operator]

    def _unmeasured(self) -> bool:
        """Whether this evaluation follows a stage after which no role can answer yet."""
        return self.trainer.state.fn == "fit" and self.trainer.fit_loop.stage.phase == "pretrain"  # type: ignore[attr-defined]

    def _splits(self) -> tuple[str, ...]:
        """The splits that are being evaluated, in the order of their loaders."""
        if self.trainer.validating and self.trainer.state.fn == "validate":
            return ("validation",)
        return ("test", "validation") if self.trainer.state.fn == "fit" else ("test",)

    def _evaluation(self, split: str) -> Evaluation:
        evaluation = self.evaluations[split]
        assert isinstance(evaluation, Evaluation)
        return evaluation

    # ---- checkpoints

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The weight sets alone; a frozen base is not saved."""
        return self.weights.tensors()

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Put saved weight sets back.

        Raises:
            InputError: if they do not fit this model.
        """
        self.weights.load_tensors(state_dict)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out: random states, and a tokenizer that was trained."""
        checkpoint["swirl"] = {
            "version": __version__,
            "random_state": get_random_state(),
            "micro_batch": tuple(self.fwm.policy.sizes),
            "layouts": {name: layout.markers for name, layout in self.layouts.items()},
            "tokenizer": self.codec.tokenizer.backend_tokenizer.to_str() if self.base.trains_tokenizer else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take tokenizer and micro-batches now, and the random states when training starts.

        ``auto`` depends on the memory that is free; a resumed run keeps to what it began with, for sums taken in
        another order differ in their last bits.
        """
        if "swirl" not in checkpoint:
            raise InputError("checkpoint: not written by swirl-lightning (it has no 'swirl' entry)")
        saved = checkpoint["swirl"]
        self._check_layouts({name: Layout(*markers) for name, markers in saved["layouts"].items()})
        self._random_state = saved["random_state"]
        if self.micro_batch == "auto":
            for role in (self.fwm, self.idm):
                role.policy.sizes = role.reference.sizes = MicroBatchSizes(*saved["micro_batch"])
        if self.base.trains_tokenizer:
            self._set_tokenizer(self.base.restore_tokenizer(saved["tokenizer"]))

    def _check_layouts(self, saved: dict[str, Layout]) -> None:
        for name, layout in self.layouts.items():
            if (trained := saved.get(name, saved[""])) != layout:
                raise InputError(
                    f"model.layout: found {layout.markers} for {name or 'all environments'}, expected what the "
                    f"checkpoint was trained with: {trained.markers}; set model.layout to it"
                )

    def on_train_start(self) -> None:
        """Continue the random streams of a resumed run."""
        if self._random_state is not None:
            set_random_state(self._random_state)
            self._random_state = None
