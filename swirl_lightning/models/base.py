"""Where a run's language model comes from: built from a configuration, or loaded with LoRA adapters on it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from peft import LoraConfig
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from swirl_lightning.codecs import Codec, CodecForm, TextCodec, indent
from swirl_lightning.engine.half_attention import quicker_attention
from swirl_lightning.models.precision import Precision, choose_dtype
from swirl_lightning.models.quantized import prepare_quantized
from swirl_lightning.models.weights import FullWeights, LoraWeights, Weights
from swirl_lightning.plan.counts import check_layers
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.shapes import dense_shape, shape_of
from swirl_lightning.types import InputError, Role, StateForm, check_number

log = logging.getLogger(__name__)

SMALLEST_VOCABULARY = 260  # bytes, end token, three markers


class BaseModel(ABC):
    """Makes the codec and the named weight sets of a run: what a state is to the model, and the model."""

    trains_codec = False
    """Whether the codec is made from the run's data; checkpoints then hold it."""

    @abstractmethod
    def tokenizer(self, corpus: Iterable[str], markers: tuple[str, ...]) -> Any:
        """The tokenizer of what is text.

        Args:
            corpus: training texts, for a tokenizer that is trained.
            markers: the layout's strings, which such a tokenizer keeps whole.
        """

    def codec(self, corpus: Iterable[str], form: CodecForm) -> Codec:
        """The codec that the model's ids need.

        Args:
            corpus: training states and actions, for a codec that is made from them.
            form: what the run asks for.
        """
        return TextCodec(self.tokenizer(map(indent, corpus), form.markers), *form)

    def restore_codec(self, saved: str | None, form: CodecForm) -> Codec:
        """The codec of a run whose checkpoint holds ``saved``: None where nothing of it was made from data."""
        return TextCodec(self.tokenizer((), ()), *form)

    @abstractmethod
    def weights(self, codec: Codec, names: Iterable[str]) -> Weights:
        """The weight sets ``names`` of a model for the codec's ids, on torch's default device or moved there later."""

    def choices(self, role: Role, state_form: StateForm) -> int | None:
        """How many ids a role may write, for the memory plan; None for all of the vocabulary."""
        return None

    @abstractmethod
    def memory(self, device: torch.device, *, sets: int, moments: int) -> Memory:
        """What it takes on a device, before anything is loaded.

        Args:
            device: where it would run, which need not be there.
            sets: number of weight sets.
            moments: bytes of the optimiser per trained weight.
        """


class ScratchLM(BaseModel):
    """A small Llama-shaped model with random weights and a byte-level BPE tokenizer trained on the run's own states.

    Every role has its own copy and trains all of it; a ``pretrain`` stage stands in for what a pretrained base knows.

    Args:
        hidden_size: width of the residual stream.
        num_layers: transformer blocks.
        num_heads: attention heads.
        vocab_size: size of the tokenizer's vocabulary; 256 bytes, the markers and the merges.
        max_positions: longest prompt and completion together, in tokens.
    """

    trains_codec = True

    def __init__(
        self,
        hidden_size: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        vocab_size: int = 512,
        max_positions: int = 1024,
    ) -> None:
        for name, value in (("hidden_size", hidden_size), ("num_layers", num_layers), ("num_heads", num_heads),
                            ("max_positions", max_positions)):  # fmt: skip
            check_number(f"model.base.{name}", value, least=1)
        if hidden_size % (2 * num_heads):
            raise InputError(
                f"model.base.hidden_size: {hidden_size} with num_heads {num_heads}; expected a multiple of "
                "2 * num_heads, so that every head has an even size"
            )
        if vocab_size < SMALLEST_VOCABULARY:
            raise InputError(
                f"model.base.vocab_size: {vocab_size}, expected at least {SMALLEST_VOCABULARY}: 256 bytes, the end "
                "token and the layout's markers"
            )
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.vocab_size = vocab_size
        self.max_positions = max_positions

    @property
    def most_ids(self) -> int:
        """How many ids the model may have, for the memory plan."""
        return self.vocab_size

    def restore_codec(self, saved: str | None, form: CodecForm) -> Codec:  # noqa: D102
        assert saved is not None
        return TextCodec(self.restore_tokenizer(saved), *form)

    def tokenizer(self, corpus: Iterable[str], markers: tuple[str, ...]) -> Any:  # noqa: D102
        model = Tokenizer(BPE())
        model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = decoders.ByteLevel()
        trainer = BpeTrainer(
            vocab_size=self.vocab_size,
            special_tokens=["<eos>", *markers],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        model.train_from_iterator(corpus, trainer)
        return self.restore_tokenizer(model.to_str())

    def restore_tokenizer(self, saved: str) -> Any:
        """The same tokenizer from its JSON."""
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(saved), eos_token="<eos>", clean_up_tokenization_spaces=False
        )

    def weights(self, codec: Codec, names: Iterable[str]) -> Weights:  # noqa: D102
        with torch.device("cpu"):  # the same start on every device
            return FullWeights(self.model(codec), names)

    def model(self, codec: Codec) -> Any:
        """A new model for the codec's ids, on torch's default device."""
        return LlamaForCausalLM(self._config(codec.eos, max(self.vocab_size, codec.num_ids)))

    def memory(self, device: torch.device, *, sets: int, moments: int) -> Memory:  # noqa: D102
        shape = dense_shape(self._config(0, self.most_ids))
        return Memory(shape, bytes=4, rank=None, sets=sets, moments=moments, gpu=device.type == "cuda")

    def _config(self, eos: int, num_ids: int) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=num_ids,
            hidden_size=self.hidden_size,
            intermediate_size=self.hidden_size * 11 // 4,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            max_position_embeddings=self.max_positions,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=eos,
        )


class PretrainedLM(BaseModel):
    """A Hugging Face causal LM, frozen, with LoRA adapters on its linear layers: one per role, and the reference.

    The output embedding has none, nor have routers, and of a mixture of experts the attention alone has them, which a
    warning says with the share of the parameters that are without.

    Args:
        name: a name on the hub, a folder in the Hugging Face layout, or a folder that holds one GGUF file.
        quantize: ``nf4`` (4 bit, double quantisation) or ``int8`` by bitsandbytes; ``none`` keeps the weights.
        dtype: precision of the base's weights and activations. ``auto``: bfloat16 where processor or GPU has it, else
            float16 on a GPU and float32 on a processor.
        lora_rank: rank of the adapters.
        lora_alpha: their scale; the update is multiplied by ``lora_alpha / lora_rank``.
        adapter_dtype: precision that adapters are kept and updated in; bfloat16 halves checkpoints, but updates below
            1/256 of a value are lost in it.
        gradient_checkpointing: compute each layer again in backward: less memory, about a third more time.
    """

    model_class: Any = AutoModelForCausalLM
    """What the weights are loaded as."""
    unquantized: tuple[str, ...] | None = None
    """Parts that are never quantised; None leaves out the output embedding alone."""

    def __init__(
        self,
        name: str,
        quantize: Literal["none", "int8", "nf4"] = "none",
        dtype: Precision = "auto",
        lora_rank: int = 16,
        lora_alpha: float = 32.0,
        adapter_dtype: Literal["float32", "bfloat16"] = "float32",
        gradient_checkpointing: bool = False,
    ) -> None:
        check_number("model.base.lora_rank", lora_rank, least=1)
        check_number("model.base.lora_alpha", lora_alpha, above=0)
        self.name = name
        self.quantize = quantize
        self.dtype: Precision = dtype
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.adapter_dtype = adapter_dtype
        self.gradient_checkpointing = gradient_checkpointing

    def tokenizer(self, corpus: Iterable[str], markers: tuple[str, ...]) -> Any:  # noqa: D102
        tokenizer = self._load(AutoTokenizer)
        if tokenizer.eos_token_id is None:
            raise InputError(f"model.base.name: the tokenizer of {self.name!r} has no end-of-text token")
        return tokenizer

    def weights(self, codec: Codec, names: Iterable[str]) -> Weights:  # noqa: D102
        device = torch.get_default_device()
        dtype, why = choose_dtype(self.dtype, device)
        log.info("base: %s (%s)", str(dtype).removeprefix("torch."), why)
        options: dict[str, Any] = {"dtype": dtype}
        if quantization := self.quantization(dtype):
            options["device_map"] = {"": device}  # quantised where it stays
            options["quantization_config"] = BitsAndBytesConfig(**quantization)
        model = self._load(self.model_class, **options)
        prepare_quantized(model)
        quicker_attention(model)
        self.prepare(model)
        lora = LoraConfig(r=self.lora_rank, lora_alpha=self.lora_alpha, target_modules="all-linear", lora_dropout=0.0)
        return LoraWeights(model, names, lora, getattr(torch, self.adapter_dtype), self.gradient_checkpointing)

    def quantization(self, dtype: torch.dtype) -> dict[str, Any]:
        """Arguments of a ``BitsAndBytesConfig``; none where weights stay as they are.

        Args:
            dtype: of activations.
        """
        if self.quantize == "none":
            return {}
        left_out = {} if self.unquantized is None else {"llm_int8_skip_modules": list(self.unquantized)}
        if self.quantize == "int8":
            return {"load_in_8bit": True, **left_out}
        nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        return {**nf4, "bnb_4bit_compute_dtype": dtype, **left_out}

    def prepare(self, model: Any) -> None:
        """Change of a model that has been loaded what stands in the way of training it."""

    def memory(self, device: torch.device, *, sets: int, moments: int) -> Memory:  # noqa: D102
        on_gpu = device.type == "cuda"  # which need not be there
        return Memory(
            shape_of(self.name),
            bytes=2 if on_gpu and self.dtype == "auto" else choose_dtype(self.dtype, device)[0].itemsize,
            quantize=self.quantize,
            rank=self.lora_rank,
            adapter_bytes=getattr(torch, self.adapter_dtype).itemsize,
            sets=sets,
            moments=moments,
            checkpointing=self.gradient_checkpointing,
            gpu=on_gpu,
        )

    def _load(self, auto_class: Any, **options: Any) -> Any:
        gguf = gguf_file(self.name)
        has_weights = auto_class not in (AutoTokenizer, AutoConfig)
        if gguf and self.quantize != "none":
            raise InputError(
                f"model.base.quantize: {self.quantize} with the GGUF file {gguf}, whose weights are loaded as "
                "model.base.dtype; expected none, or a model in the Hugging Face layout"
            )
        if gguf:
            options["gguf_file"] = gguf
            if has_weights and hasattr(transformers, "GgufConfig"):
                # newer releases may leave the weights packed, which cannot be trained on
                options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        try:
            if not has_weights:
                return auto_class.from_pretrained(self.name, trust_remote_code=False, **options)
            if not gguf:
                check_layers(AutoConfig.from_pretrained(self.name, trust_remote_code=False))  # cheaper to find here
            model, found = auto_class.from_pretrained(
                self.name, trust_remote_code=False, output_loading_info=True, **options
            )
        except (torch.OutOfMemoryError, InputError):
            raise
        except Exception as error:  # a damaged file can fail anywhere
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"model.base.name: cannot load {self.name!r} ({type(error).__name__}: {reason}); "
                "expected a model name on the hub, a folder with config.json, or a folder with one .gguf file "
                "(which needs pip install 'swirl-lightning[gguf]')"
            ) from error
        if missing := sorted(found["missing_keys"]):  # transformers warns, and takes random numbers
            raise InputError(
                f"model.base.name: the files of {self.name!r} lack {len(missing)} of the weights of a "
                f"{type(model).__name__}, such as {missing[0]}, which would be random; expected all of them: whole "
                "files, or another class of model.base for this kind of model (docs/visual.md)"
            )
        return model


def gguf_file(name: str) -> str | None:
    """The name of the one GGUF file in a folder; None where there is none, or no folder, or one in another layout.

    Raises:
        InputError: there are several.
    """
    folder = Path(name)
    found = sorted(folder.glob("*.gguf")) if folder.is_dir() and not (folder / "config.json").exists() else []
    if len(found) > 1:
        raise InputError(
            f"model.base.name: {name} holds {len(found)} GGUF files ({', '.join(f.name for f in found)}); "
            "expected one: move the wanted one to a folder of its own"
        )
    return found[0].name if found else None
