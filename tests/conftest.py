"""Tiny models of several kinds, a toy world and a tiny SWIRL run on it."""

import itertools
import signal
import time
from dataclasses import fields

import pytest
import torch
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

from swirl_lightning.engine import Sampling
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.models import LoraWeights, ScratchLM
from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.modules import SWIRL, ForwardWorldModel, InverseDynamicsModel
from swirl_lightning.modules.learning import GRPOOptions
from swirl_lightning.modules.phases import PHASES
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.modules.updates import Place
from swirl_lightning.trainer import SwirlTrainer
from swirl_lightning.types import Transition

pytest_plugins = ["toy_run"]

THINGS = {"door": ("open", "shut"), "lamp": ("on", "off"), "safe": ("locked", "free")}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def in_a_minute():
    """A test that would hang ends after 60 seconds."""

    def stop(*_):
        raise TimeoutError("took more than 60 seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def million_steps():
    """CPU time of a Python loop of a million steps on this machine; what must be quick is bounded by multiples."""

    def measure():
        started = time.process_time()
        for _ in range(1_000_000):
            pass
        return time.process_time() - started

    return min(measure() for _ in range(5))


def toy_transitions():
    """Three things with two values each; an action sets one of them to its other value. 24 transitions."""
    transitions = []
    for values in itertools.product((0, 1), repeat=3):
        facts = {name: THINGS[name][v] for name, v in zip(THINGS, values, strict=True)}
        for step, (name, options) in enumerate(THINGS.items()):
            new = options[1 - options.index(facts[name])]
            state, next_state = (
                "\n".join(sorted(f"{k} {v}" for k, v in both.items())) for both in (facts, facts | {name: new})
            )
            transitions.append(Transition("".join(map(str, values)), step, state, next_state, f"make {name} {new}"))
    return transitions


class ToyData(TransitionDataModule):
    """The toy world, in memory."""

    def load(self, split):
        return {
            "labelled": toy_transitions()[:9],
            "state_only": toy_transitions()[6:18],
            "validation": toy_transitions()[18:21],
            "test": toy_transitions()[21:],
        }[split]


class ScratchLoraLM(ScratchLM):
    """A random base with LoRA adapters, so that adapters are tested without a download."""

    def weights(self, codec, names):
        config = LlamaConfig(
            vocab_size=self.vocab_size, hidden_size=self.hidden_size, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2, bos_token_id=None,
            eos_token_id=codec.eos,
        )  # fmt: skip
        lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
        return LoraWeights(LlamaForCausalLM(config), names, lora)


@pytest.fixture
def transitions():
    return toy_transitions()


@pytest.fixture
def toy_data():
    """Makes a data module of the toy world."""

    def make(**options):
        return ToyData(**({"batch_size": 3, "eval_batch_size": 3} | options))

    return make


def role_options(**flat):
    """The options of a role with those of sampling and GRPO in their groups, as the roles take them."""
    groups = {"sampling": Sampling, "grpo": GRPOOptions}
    options = {}
    for name, kind in groups.items():
        its = {field.name: flat.pop(field.name) for field in fields(kind) if field.name in flat}
        options[name] = kind(**its)
    return flat | options


@pytest.fixture
def toy_swirl():
    """Makes a tiny SWIRL with seeded weights; ``fwm`` and ``idm`` are options of the roles, without their groups."""

    def make(*, fwm=None, idm=None, lora=False, weights_seed=1, **options):
        torch.manual_seed(weights_seed)
        base = (ScratchLoraLM if lora else ScratchLM)(hidden_size=32, num_layers=2, num_heads=4, vocab_size=280)
        common = {"group_size": 4, "max_new_tokens": 6, "learning_rate": 5e-3}
        return SWIRL(
            base,
            ForwardWorldModel(**role_options(**common | (fwm or {}))),
            InverseDynamicsModel(**role_options(**common | (idm or {}))),
            **({"optimizer": OptimizerOptions(lr_warmup=2)} | options),
        )

    return make


@pytest.fixture
def toy_trainer(tmp_path):
    """Makes a quiet trainer of stages given by name, two updates each."""

    def make(*phases, folder="run", updates=2, iteration=(), iterations=0, **options):
        stages = [phase if isinstance(phase, Stage) else Stage(phase, updates=updates) for phase in phases]
        return SwirlTrainer(
            stages, iteration, iterations, default_root_dir=str(tmp_path / folder),
            **({"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "limit_val_batches": 0} | options),
        )  # fmt: skip

    return make


@pytest.fixture
def ready_swirl(toy_swirl, toy_data, toy_trainer):
    """Makes a SWIRL that is set up as at the start of a stage, without any training."""

    def make(phase="vim", **options):
        model, data, trainer = toy_swirl(**options), toy_data(), toy_trainer(phase)
        data.setup()
        trainer.datamodule = data
        trainer.strategy._lightning_module = model
        model.trainer = trainer
        model.schedule = trainer.fit_loop.schedule
        model.setup("fit")
        model.stage = trainer.fit_loop.current
        model.updates.begin(Place(stage=0, name=phase, update=0, updates=2), {})
        model.weights.set_trainable(*(role.policy.name for role in PHASES[phase].learning(model)))
        return model, data

    return make


# ---- models

VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.25,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": None,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE, num_key_value_heads=2),
    "qwen2": lambda: Qwen2Config(**SHAPE, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SHAPE, num_key_value_heads=1, head_dim=16),
    "gemma": lambda: GemmaConfig(**SHAPE, num_key_value_heads=1, head_dim=8),
    "phi": lambda: PhiConfig(**SHAPE, num_key_value_heads=2),
}


@pytest.fixture
def tiny_model():
    """Makes a random model of a kind, with biases and norms that are not the neutral ones of a fresh model."""

    def make(kind="llama", seed=0):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[kind]()).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


@pytest.fixture
def plain_logits():
    """The whole text through the Hugging Face model, by itself: logits that predict each token after the prompt."""

    def compute(model, prompt, row):
        logits = model(input_ids=torch.tensor([prompt + row])).logits[0]
        return logits[len(prompt) - 1 : -1]

    return compute


@pytest.fixture
def texts():
    """Ragged prompts and ragged rows; prompts 0 and 2 have several rows, prompt 1 has one."""
    generator = torch.Generator().manual_seed(3)

    def ids(length):
        return tuple(torch.randint(1, VOCABULARY, (length,), generator=generator).tolist())

    prompts = [ids(5), ids(11), ids(1)]
    prompt_of = torch.tensor([0, 2, 0, 1, 2, 0])
    rows = [ids(n) for n in (1, 4, 7, 3, 2, 5)]
    return prompts, prompt_of, rows
