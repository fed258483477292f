"""SWIRL (arXiv:2602.06130): a Forward World Model and an Inverse Dynamics Model that teach each other."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal, cast

import lightning as L
import torch

from swirl_lightning import __version__
from swirl_lightning.blame import no_end
from swirl_lightning.codecs import Codec, CodecForm, Layout, StateForm
from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.engine.sharing import EngineName, check_runs, choose_engine
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.models import BaseModel, Policy, Weights
from swirl_lightning.models.limits import check_limits
from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.modules.checkpoint import check_layouts, codec_in, read_checkpoint
from swirl_lightning.modules.evaluation import Evaluation, fingerprint
from swirl_lightning.modules.fwm import ForwardWorldModel
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.held_out import Rows, gather_rows
from swirl_lightning.modules.idm import InverseDynamicsModel
from swirl_lightning.modules.notice import tell
from swirl_lightning.modules.origin import check_origin, origin_of
from swirl_lightning.modules.preparation import codec_of, encode
from swirl_lightning.modules.processes import gather_objects, mean_figures, own_gradients
from swirl_lightning.modules.random_state import get_random_state, set_random_state
from swirl_lightning.modules.schedule import NamedStage, Stage, find_phase
from swirl_lightning.modules.updates import Place, Updates
from swirl_lightning.plan.page import UNKNOWN, Plan
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.plan.sizes import available_bytes
from swirl_lightning.rewards import LikelihoodReward, Reward, scored_in_float32
from swirl_lightning.types import Batch, InputError, Prediction, Role, Transition, check_number

REFERENCE = "reference"
"""The weight set of the phase's learner as the phase began; no more than one role needs it at a time."""
log = logging.getLogger(__name__)


class SWIRL(L.LightningModule):
    """A Forward World Model and an Inverse Dynamics Model that teach each other.

    It sets both up on one base model, hands each batch to the phase of the running stage, evaluates, and says what a
    checkpoint holds. What a phase does stands in ``swirl_lightning.modules.phases``.

    Args:
        base: the language model under both.
        fwm: the Forward World Model's options.
        idm: the Inverse Dynamics Model's options.
        reward: how the frozen role judges the other's completions.
        vim_reward: what the FWM's next states are worth in the VIM phase; null takes ``reward`` there too.
        layout: the words around states and actions; null takes each environment's own.
        state_form: what the FWM writes: the ``full`` next state, or ``delta``, a lossless edit of the state.
        max_tokens: longest prompt and completion together; longer transitions are refused, never cut.
        skip_too_long: leave transitions out that are longer than ``max_tokens``; how many is said.
        engine: ``auto`` passes what several texts share through the model once, where the model allows it; ``plain``
            passes every text by itself, for checking.
        micro_batch: rows (completions) that pass through the model together; ``auto``: as many as the device's free
            memory holds, by the plan that ``swirl plan`` prints.
        shared_weights: one weight set for both roles (theta = phi): less memory, less stable.
        latent: the action of a VIM prompt: a ``sample`` from the current IDM, or its ``greedy`` choice.
        bootstrap: weight of a supervised loss on (x, that action) -> true y beside GRPO in the VIM phase.
        optimizer: how weights are updated.
        init_from: checkpoint of another run whose weights (and trained tokenizer) this one starts from.
        seed: of sampling.
    """

    def __init__(
        self,
        base: BaseModel,
        fwm: ForwardWorldModel,
        idm: InverseDynamicsModel,
        reward: Reward | None = None,
        vim_reward: Reward | None = None,
        layout: Layout | None = None,
        state_form: StateForm = "delta",
        max_tokens: int = 1024,
        skip_too_long: bool = False,
        engine: EngineName = "auto",
        micro_batch: int | Literal["auto"] = "auto",
        shared_weights: bool = False,
        latent: Literal["sample", "greedy"] = "sample",
        bootstrap: float = 0.0,
        optimizer: OptimizerOptions = OptimizerOptions(),  # noqa: B008 - frozen
        init_from: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_number("model.max_tokens", max_tokens, least=2)
        for role in (fwm, idm):
            key = f"model.{role.role}.max_new_tokens (model.max_tokens holds prompt and completion together)"
            check_number(key, role.max_new_tokens, most=max_tokens)
        check_number("model.bootstrap", bootstrap, least=0)
        if micro_batch != "auto":
            check_number("model.micro_batch (rows, or auto)", micro_batch, least=1)
        self.automatic_optimization = False
        self.base = base
        self.fwm = fwm
        self.idm = idm
        self.reward: Reward = reward or LikelihoodReward()
        self.vim_reward = vim_reward
        self.layout = layout
        self.state_form: StateForm = state_form
        self.max_tokens = max_tokens
        self.skip_too_long = skip_too_long
        self.engine: EngineName = engine
        self.micro_batch: int | Literal["auto"] = micro_batch
        self.shared_weights = shared_weights
        self.latent: Literal["sample", "greedy"] = latent
        self.bootstrap = bootstrap
        self.optimizer = optimizer
        self.init_from = init_from
        self.seed = seed
        self.updates = Updates(optimizer, seed)
        self.layouts: Mapping[str, Layout] = {}
        self.schedule: Sequence[NamedStage] = ()
        self.stage: NamedStage | None = None
        self.results: dict[str, dict[str, float]] = {}
        self.rows: Rows = {}
        self.discarded: dict[str, dict[str, float]] | None = None
        self.predictions: list[tuple[Transition, Prediction]] = []
        self._origin: dict[str, Any] = {}
        self._fingerprints: dict[Role, bytes] | None = None
        self._random_state: dict[str, Any] | None = None

    # ---- set-up

    def setup(self, stage: str) -> None:
        """Build codec and weights; the codec may be made from the run's own training states and actions."""
        data: TransitionDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit":
            self._origin = origin_of(self, data, self.schedule, self.trainer.world_size)
        if hasattr(self, "weights"):
            return
        parts = data.parts()
        self.layouts = {"": self.layout or Layout()}
        if self.layout is None:
            self.layouts |= {name: part.layout for name, part in parts.items()}
        start = None if self.init_from is None else read_checkpoint(self.init_from, "model.init_from")
        saved = codec_in(start["swirl"]) if start and self.base.trains_codec else None
        codec = self.base.restore_codec(saved, self.form) if saved else codec_of(self.base, data, self.form)
        self.assemble(codec, self.trainer.strategy.root_device, self._micro_batch_sizes(data))
        if start:
            self.weights.load_tensors(start["state_dict"])
        metrics = {name: part.metrics() for name, part in parts.items()}
        self.evaluations = torch.nn.ModuleDict(
            {name: Evaluation(self.untrained, deepcopy(metrics)) for name in ("test", "validation")}
        )

    @property
    def form(self) -> CodecForm:
        """What the codec is asked for; ``layouts`` must be known."""
        return CodecForm(self.layouts, self.state_form, self.max_tokens, self.idm.reads)

    def assemble(self, codec: Codec, device: torch.device, sizes: MicroBatchSizes) -> None:
        """Build weights and both roles' policies on a device, for the ids of a codec."""
        self.codec = codec
        own = ("shared", "shared") if self.shared_weights else ("fwm", "idm")
        with device:
            self.weights: Weights = self.base.weights(codec, dict.fromkeys((*own, REFERENCE)))
        roles: tuple[GRPOMixin, GRPOMixin] = (self.fwm, self.idm)
        model = self.weights.activate(own[0])
        completions = {f"model.{role.role}.max_new_tokens": role.max_new_tokens for role in roles}
        check_limits(model, codec.num_ids, self.max_tokens, completions)
        check_runs(model)
        with self.weights.scoring_precision():  # which finds what half precision hides, and is what rewards need
            engine = choose_engine(model, self.max_tokens + sum(completions.values()), self.engine)
        for role, name in zip(roles, own, strict=True):
            answer = codec.answers[role.role]
            role.begin(*(Policy(self.weights, its, answer, engine, sizes) for its in (name, REFERENCE)))
        actions = codec.answers["idm"]
        self.untrained = Policy(self.weights, "", actions, engine, sizes) if self.weights.has_base else None

    def on_fit_start(self) -> None:
        """Encode all data once, so that what cannot be used is told before any training."""
        data: TransitionDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        sizes = encode(self.codec, data, self.skip_too_long)
        if self.trainer.is_global_zero:
            if lost := self.codec.losses(t.state for part in (data.labelled, data.validation, data.test) for t in part):
                log.info(lost)
            tell(data, sizes, (self.fwm, self.idm), self.max_tokens, scratch=not self.weights.has_base)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser per role, on parameters that never change."""
        return [self.optimizer.make(role.policy.parameters(), role.learning_rate) for role in (self.fwm, self.idm)]

    # ---- memory

    def plan(
        self, stages: Sequence[Stage], batch_size: int, eval_batch_size: int, device: torch.device, room: float
    ) -> Plan:
        """What a run takes, pass by pass; nothing is loaded.

        Args:
            stages: the schedule.
            batch_size: transitions per update, where a stage does not say otherwise.
            eval_batch_size: transitions per batch of evaluation.
            device: where it would run, which need not be there.
            room: bytes that are free there.
        """
        shape = self._shape()
        batches: dict[str, int] = {}
        for stage in stages:
            batches[stage.phase] = max(batches.get(stage.phase, 0), stage.batch_size or batch_size)
        passes: dict[str, list[Pass]] = {name: find_phase(name).passes(shape, size) for name, size in batches.items()}
        passes["evaluation"] = shape.evaluation(eval_batch_size)
        if self.engine == "plain":
            passes = {name: [work.alone() for work in group] for name, group in passes.items()}
        sets = 2 if self.shared_weights else 3
        memory = self.base.memory(device, sets=sets, moments=self.optimizer.moments)
        return Plan(memory, passes, self.micro_batch, room)

    def _shape(self) -> RunShape:
        exact = scored_in_float32(self.reward, self.vim_reward or self.reward)
        fwm, idm = (role.shape(self.base.choices(role.role, self.state_form)) for role in (self.fwm, self.idm))
        return RunShape(
            fwm, idm, self.max_tokens, self.latent == "sample", bool(self.bootstrap), exact,
            whole_states=self.idm.reads == "full",
        )  # fmt: skip

    def _micro_batch_sizes(self, data: TransitionDataModule) -> MicroBatchSizes:
        """What ``micro_batch`` comes to on the trainer's device, asked before the model is loaded."""
        if self.micro_batch != "auto":
            return MicroBatchSizes(*(self.micro_batch,) * 3)
        device = self.trainer.strategy.root_device
        room = available_bytes(device) / (1 if device.type == "cuda" else self.trainer.world_size)
        stages = [named.stage for named in self.schedule]
        plan = self.plan(stages, data.batch_size, data.eval_batch_size, device, room)
        if not plan.memory.known:
            log.warning(UNKNOWN)
        sizes = plan.chosen
        if sizes is None:
            log.warning("a single row may not fit into the %.1f GiB that are free: see swirl plan", room / 2**30)
            return MicroBatchSizes(1, 1, 1)
        if any(sizes):
            log.info("micro-batches: %s", ", ".join(f"{k} {n or 'all'}" for k, n in sizes._asdict().items()))
        return sizes

    # ---- training

    def frozen(self, role: GRPOMixin) -> Policy:
        """A role as it stood when the phase began, while the other one learns."""
        return role.reference if self.shared_weights else role.policy

    @no_end
    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, dict[str, float]]:
        """One update of the running stage's phase. Returns its figures, those of all processes."""
        assert self.stage is not None
        started = time.perf_counter()
        optimizers: Any = self.optimizers()
        place = Place(
            self.stage.index, self.stage.name, batch_idx, int(self.trainer.num_training_batches),
            self.stage.stage.learning_rate, self.global_rank, self.stage.stage.lr_warmup, bool(self.stage.stage.until),
        )  # fmt: skip
        self.updates.begin(place, dict(zip(("fwm", "idm"), optimizers, strict=True)))
        before = self._tokens()
        with own_gradients(self.trainer.strategy):
            figures = self.stage.phase.step(self, batch)
        seconds = time.perf_counter() - started
        tokens, gradient_tokens = (after - b for after, b in zip(self._tokens(), before, strict=True))
        figures |= {f"share_{name}": value / seconds for name, value in self.updates.seconds.items()}
        figures |= {"tokens": tokens, "gradient_tokens": gradient_tokens, "seconds": seconds}
        figures = mean_figures(figures, self.device, summed=("tokens", "gradient_tokens"))
        return {"metrics": figures | {"tokens_per_second": figures["tokens"] / figures.pop("seconds")}}

    def _tokens(self) -> tuple[int, int]:
        policies = [policy for role in (self.fwm, self.idm) for policy in (role.policy, role.reference)]
        return sum(p.tokens for p in policies), sum(p.gradient_tokens for p in policies)

    # ---- evaluation

    @property
    def can_answer(self) -> bool:
        """Whether both roles can be evaluated: not in a fit while a stage runs after which they still cannot answer."""
        return self.trainer.state.fn != "fit" or self.stage is None or self.stage.phase.answers

    @no_end
    def validation_step(self, batch: list[Transition], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Evaluate one batch of the split that ``dataloader_idx`` stands for."""
        if not (batch and self.can_answer):  # a process that has no share of a split gets an empty batch of it
            return
        split = self._splits()[dataloader_idx]
        predictions = self._evaluation(split).update(self, batch, self._fingerprints)
        if split == "test":
            self.predictions += zip(batch, predictions, strict=True)

    def on_validation_epoch_start(self) -> None:
        """Forget the predictions of the evaluation before; within a fit, see which weights are evaluated."""
        self.predictions = []
        fit = self.trainer.state.fn == "fit" and self.can_answer
        self._fingerprints = {role.role: fingerprint(role.policy) for role in (self.fwm, self.idm)} if fit else None

    @no_end
    def on_validation_epoch_end(self) -> None:
        """Log the metrics of every split and keep them in ``results``."""
        if not self.can_answer:
            return
        if "validation" in self._splits():
            self.rows = gather_rows(self._evaluation("validation").rows)
        self.discarded = None
        self.results = {split: self._evaluation(split).compute() for split in self._splits()}
        for split, metrics in self.results.items():
            self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, sync_dist=True)

    test_step = validation_step
    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    @no_end
    def predict_step(self, batch: list[Transition], batch_idx: int) -> list[Prediction]:
        """What both roles say of the batch."""
        return self._evaluation("test").update(self, batch) if batch else []

    def add_results(self, split: str, metrics: Mapping[str, float]) -> None:
        """Put what a callback has measured beside the metrics of a split."""
        self.results[split].update(metrics)

    def discard(self, results: dict[str, dict[str, float]]) -> None:
        """Give the learner of the stage just evaluated the weights that the stage began with, and their results.

        What was measured stays in ``discarded``.
        """
        assert self.stage is not None
        (learner,) = self.stage.phase.learning(self)
        self.weights.copy(learner.reference.name, learner.policy.name)
        self.discarded, self.results = self.results, results

    def _splits(self) -> tuple[str, ...]:
        """The splits that are being evaluated, in the order of their loaders."""
        if self.trainer.validating and self.trainer.state.fn == "validate":
            return ("validation",)
        return ("test", "validation") if self.trainer.state.fn == "fit" else ("test",)

    def _evaluation(self, split: str) -> Evaluation:
        return cast(Evaluation, self.evaluations[split])

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
        """Add what Lightning leaves out: what run it is, random states, and a codec that was made from data."""
        checkpoint["swirl"] = {
            "version": __version__,
            "origin": self._origin,
            "random_states": gather_objects(get_random_state()),
            "micro_batch": tuple(self.fwm.policy.sizes),
            "layouts": {name: layout.markers for name, layout in self.layouts.items()},
            "codec": self.codec.saved() if self.base.trains_codec else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take codec and micro-batches now, and the random states when training starts.

        ``auto`` depends on the memory that is free; a resumed run keeps to what it began with, for sums taken in
        another order differ in their last bits.

        Raises:
            InputError: it is of another model, or a fit would go on from it as another run.
        """
        if "swirl" not in checkpoint:
            raise InputError("checkpoint: not written by swirl-lightning (it has no 'swirl' entry)")
        saved = checkpoint["swirl"]
        if self.trainer.state.fn == "fit":
            begun = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["started"]
            check_origin(saved.get("origin"), self._origin, begun, self.trainer.ckpt_path)
            self._random_state = saved["random_states"][self.global_rank]
        check_layouts(self.layouts, {name: Layout(*markers) for name, markers in saved["layouts"].items()})
        if self.micro_batch == "auto":
            for role in (self.fwm, self.idm):
                role.policy.sizes = role.reference.sizes = MicroBatchSizes(*saved["micro_batch"])
        if self.base.trains_codec:
            self.codec = self.base.restore_codec(codec_in(saved), self.form)
        if self.skip_too_long and self.trainer.state.fn != "fit":
            encode(self.codec, self.trainer.datamodule, skip=True, splits=("validation", "test"))  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        """Continue the random streams of a resumed run."""
        if self._random_state is not None:
            set_random_state(self._random_state)
            self._random_state = None
