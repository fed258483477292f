"""Pretrained models that read and write pictures as codes of their VQ network: Liquid, Chameleon, Emu3."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    ChameleonForConditionalGeneration,
    ChameleonVQVAEConfig,
    Emu3ForConditionalGeneration,
    Emu3VQVAEConfig,
)

from swirl_lightning.codecs import Codec, CodecForm
from swirl_lightning.codecs.visual import PictureWords, VisualCodec, code_range
from swirl_lightning.models.base import PretrainedLM
from swirl_lightning.models.vq import Emu3Vq, VqCodebook, empty_vqgan, own_names, read_vqgan, vqgan_of, weights_inside
from swirl_lightning.models.vqgan import Vqgan
from swirl_lightning.models.weights import Weights
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.vq import VqMemory
from swirl_lightning.types import Ids, InputError, Role, StateForm, check_number

log = logging.getLogger(__name__)
NAME = "model.base.name"


class PretrainedPictureLM(PretrainedLM):
    """A pretrained model with LoRA adapters, whose vocabulary has ids for the codes of a VQ network.

    Its prompts are those that it was trained with; the words in them are the same in training and in every reward.
    Pictures of any size are padded to a square and scaled. The VQ network stays in float32 and as it is.

    Args:
        name: of the language model, as in ``PretrainedLM``.
        picture_size: side of the square that pictures are brought to, in pixels.
        forward_template: what the Forward World Model is told between the picture and the action.
        inverse_template: what the Inverse Dynamics Model is asked after both pictures.
        kwargs: arguments of ``PretrainedLM``.
    """

    trains_codec = True  # a checkpoint holds which VQ network its codes are of
    _codebook: VqCodebook | None = None

    def __init__(
        self,
        name: str,
        picture_size: int = 512,
        forward_template: str = "Edit the image as told:",
        inverse_template: str = "What was done between the first image and the second?",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        check_number("model.base.picture_size", picture_size, least=1)
        self.picture_size = picture_size
        self.forward_template = forward_template
        self.inverse_template = inverse_template

    # ---- for each family its own

    @abstractmethod
    def read_codebook(self) -> VqCodebook:
        """Read the VQ network."""

    @abstractmethod
    def words(self, tokenizer: Any, config: Any, codebook: VqCodebook) -> PictureWords:
        """How the model writes pictures.

        Raises:
            InputError: tokenizer, model and VQ network do not fit one another.
        """

    @abstractmethod
    def empty_network(self) -> Any:
        """The VQ network without weights, on torch's default device."""

    # ---- for all

    def codec(self, corpus: Iterable[str], form: CodecForm) -> Codec:  # noqa: D102
        if self._codebook is None:
            self._codebook = self.read_codebook()
        codebook = self._codebook
        if self.picture_size % codebook.cell:
            raise InputError(
                f"model.base.picture_size: found {self.picture_size}, expected a multiple of {codebook.cell}, the "
                "pixels that a code of the VQ network stands for"
            )
        tokenizer = self.tokenizer((), ())
        words = self.words(tokenizer, self._config(), codebook)
        codec = VisualCodec(tokenizer, codebook, words, self.picture_size, form)
        log.info("pictures: %d codes each, of %s with %d", codec.rows * codec.columns, codebook.name, codebook.size)
        return codec

    def restore_codec(self, saved: str | None, form: CodecForm) -> Codec:
        """The codec anew.

        Raises:
            InputError: the VQ network is another one than the run's.
        """
        assert saved is not None
        codec = self.codec((), form)
        assert isinstance(codec, VisualCodec)
        if (name := json.loads(saved)["codebook"]) != codec.codebook.name:
            raise InputError(
                f"model.base: found the VQ network {codec.codebook.name}, and the run was trained with codes of "
                f"{name}; expected the same weights"
            )
        return codec

    def weights(self, codec: Codec, names: Iterable[str]) -> Weights:  # noqa: D102
        assert self._codebook is not None
        self._codebook.to(torch.get_default_device())
        return super().weights(codec, names)

    def choices(self, role: Role, state_form: StateForm) -> int | None:
        """All codes; words are nearly all of the vocabulary."""
        if role == "idm":
            return None
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return int(self.empty_network().size)

    def memory(self, device: torch.device, *, sets: int, moments: int) -> Memory:  # noqa: D102
        found = super().memory(device, sets=sets, moments=moments)
        return replace(found, vq=VqMemory.of(self.empty_network, self.picture_size))

    def _config(self) -> Any:
        return self._load(AutoConfig)

    def _words(
        self, tokenizer: Any, codes: tuple[int, ...], text: tuple[int, int], *, opening: Ids, closing: Ids,
        end: int | None = None, row_end: int | None = None, turn: Ids = (),
    ) -> PictureWords:  # fmt: skip
        """The words that all families have: a begin, a template for each role, an end."""
        encode = tokenizer.encode
        if tokenizer.bos_token_id is None:
            raise InputError(f"{NAME}: the tokenizer of {self.name!r} has no token that begins a text, expected one")
        return PictureWords(
            codes, text, tokenizer.eos_token_id if end is None else end, (tokenizer.bos_token_id,), opening, closing,
            row_end, turn,
            forward=tuple(encode(f"\n{self.forward_template}", add_special_tokens=False)),
            inverse=tuple(encode(f"\n{self.inverse_template}", add_special_tokens=False)),
        )  # fmt: skip

    def _id(self, tokenizer: Any, token: str) -> int:
        """The id of a token that the vocabulary must have."""
        found = tokenizer.get_vocab().get(token)
        if found is None:
            raise InputError(
                f"{NAME}: the tokenizer of {self.name!r} has no {token}, which stands around pictures; expected the "
                "tokenizer that the model was trained with"
            )
        return int(found)


class LiquidLM(PretrainedPictureLM):
    """Liquid (arXiv:2412.04332): a language model whose vocabulary was extended by the codes of Chameleon's VQGAN.

    The ids of codes come after those of the tokenizer. No one has run this class with the released weights yet.

    Args:
        name: of the language model, for example Junfeng5/Liquid_V1_7B.
        vq: the VQGAN's file, vqgan.ckpt, or its folder.
        kwargs: arguments of ``PretrainedPictureLM``.
    """

    def __init__(self, name: str, vq: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.vq = vq

    def read_codebook(self) -> VqCodebook:  # noqa: D102
        return VqCodebook(read_vqgan(self.vq), "vqgan")

    def words(self, tokenizer: Any, config: Any, codebook: VqCodebook) -> PictureWords:
        """``<bos><boi>X<eoi>`` newline template action ``<boi>``, and the codes."""
        first, total = len(tokenizer), config.get_text_config(decoder=True).vocab_size
        if total - first != codebook.size:
            raise InputError(
                f"{NAME}: found {total} ids in the model and {first} in its tokenizer, which leaves {total - first} "
                f"for codes of pictures, and the VQ network ({self.vq}) has {codebook.size}; expected as many: a "
                "language model, its tokenizer and the VQ network that it was trained with"
            )
        opening, closing = (self._id(tokenizer, "<boi>"),), (self._id(tokenizer, "<eoi>"),)
        return self._words(
            tokenizer, tuple(range(first, total)), (0, first - 1), opening=opening, closing=closing
        )  # fmt: skip

    def empty_network(self) -> Any:
        """Where the file is not there yet, the released one's."""
        if Path(self.vq).exists():
            return empty_vqgan(self.vq)
        return Vqgan(ChameleonVQVAEConfig())


class ChameleonLM(PretrainedPictureLM):
    """Chameleon (arXiv:2405.09818), or Anole (arXiv:2407.06135), whose weights write pictures too.

    No one has run this class with released weights yet. Meta's are said not to write pictures.

    Args:
        name: of the model, for example facebook/chameleon-7b.
        vq: the original VQGAN's file, vqgan.ckpt, or its folder; null where the model's files have its decoder too.
        kwargs: arguments of ``PretrainedPictureLM``.
    """

    model_class = ChameleonForConditionalGeneration

    def __init__(self, name: str, vq: str | None = None, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.vq = vq

    def read_codebook(self) -> VqCodebook:
        """The decoder of the one file with the codes of the other, which must be the same.

        Raises:
            InputError: they are not.
        """
        inside = own_names(weights_inside(self.name))
        network = vqgan_of(inside, f"{NAME}: {self.name}") if self.vq is None else read_vqgan(self.vq)
        codes, own = network.vqvae.quantize.embedding.weight, inside.get("quantize.embedding.weight")
        if own is not None and (own.shape != codes.shape or not torch.allclose(own.float(), codes, atol=1e-2)):
            raise InputError(
                f"model.base.vq: found a VQGAN with other codes than those in {self.name!r}, expected the one that the "
                "model was trained with"
            )
        return VqCodebook(network, "vqgan")

    def words(self, tokenizer: Any, config: Any, codebook: VqCodebook) -> PictureWords:
        """Codes are called IMGIMG, their digits as letters, and Z; a question ends with the separator, as in a chat."""
        digits = str.maketrans("ABCDEFGHIJ", "0123456789")
        named = {
            name.removeprefix("IMGIMG").removesuffix("Z").translate(digits): token
            for name, token in (config.vocabulary_map or {}).items()
            if name.startswith("IMGIMG")
        }
        codes = code_range({int(name): token for name, token in named.items()}, codebook.size, NAME)
        text = (max(codes) + 1, config.vocab_size - 1)  # no word of text comes before
        turn = self._id(tokenizer, tokenizer.sep_token or "<reserved08706>")
        if turn < text[0]:
            raise InputError(
                f"{NAME}: found the separator {tokenizer.sep_token} with the id {turn}, expected one above those of "
                f"codes ({max(codes)}): it ends actions, whose ids are one range"
            )
        boi = self._id(tokenizer, getattr(tokenizer, "boi_token", None) or "<racm3:break>")
        eoi = self._id(tokenizer, getattr(tokenizer, "eoi_token", None) or "<eoss>")
        return self._words(tokenizer, codes, text, opening=(boi,), closing=(eoi,), end=turn, turn=(turn,))

    def empty_network(self) -> Any:  # noqa: D102
        return Vqgan(_vq_config(self._config(), ChameleonVQVAEConfig))

    def prepare(self, model: Any) -> None:
        """One VQ network in memory, in float32; and codes get their logits."""
        allow_codes(model)
        assert self._codebook is not None
        model.model.vqmodel = self._codebook.network.vqvae


class Emu3LM(PretrainedPictureLM):
    """Emu3 (arXiv:2409.18869), which writes the size of a picture before it and the end of each of its rows.

    No one has run this class with the released weights yet.

    Args:
        kwargs: arguments of ``PretrainedPictureLM``; ``name`` is for example BAAI/Emu3-Gen-hf.
    """

    model_class = Emu3ForConditionalGeneration
    unquantized = ("lm_head", "model.vqmodel")

    def read_codebook(self) -> VqCodebook:  # noqa: D102
        tensors = weights_inside(self.name)
        with torch.device("meta"):  # no random numbers are drawn for what is read
            network = self.empty_network()
        try:
            network.vqvae.load_state_dict(tensors, assign=True)
        except RuntimeError as error:
            raise InputError(
                f"{NAME}: the VQ network in the files of {self.name!r} is not the one that its config.json describes "
                f"({' '.join(str(error).split())[:200]}), expected all of its weights"
            ) from error
        return VqCodebook(network, "emu3")

    def words(self, tokenizer: Any, config: Any, codebook: VqCodebook) -> PictureWords:
        """``<|image start|>`` rows*columns ``<|image token|>``, codes with row ends, ``<|extra_201|><|image end|>``."""
        names: Mapping[str, int] = config.vocabulary_map or {}
        named = {int(name[-8:-2]): token for name, token in names.items() if name.startswith("<|visual token ")}
        codes = code_range(named, codebook.size, NAME)
        if "<|extra_200|>" not in names:
            raise InputError(
                f"{NAME}: found no <|extra_200|>, the end of a row, in the vocabulary_map of {self.name!r}, expected it"
            )
        cells = self.picture_size // codebook.cell
        size = tokenizer.encode(f"{cells}*{cells}", add_special_tokens=False)
        start, inside, after, stop = (
            self._id(tokenizer, token)
            for token in ("<|image start|>", "<|image token|>", "<|extra_201|>", "<|image end|>")
        )
        return self._words(
            tokenizer, codes, (0, min(codes) - 1), opening=(start, *size, inside), closing=(after, stop),
            row_end=names["<|extra_200|>"],
        )  # fmt: skip

    def empty_network(self) -> Any:  # noqa: D102
        return Emu3Vq(_vq_config(self._config(), Emu3VQVAEConfig))

    def prepare(self, model: Any) -> None:
        """One VQ network in memory, in float32."""
        assert self._codebook is not None
        model.model.vqmodel = self._codebook.network.vqvae


def allow_codes(model: Any) -> None:
    """Let a Chameleon write pictures: as it comes, its forward sets the logits of all codes to the lowest number."""
    mapping = model.model.vocabulary_mapping
    mapping.bpe2img  # noqa: B018 - is made of image_tokens, and kept
    mapping.image_tokens = []


def _vq_config(config: Any, kind: type) -> Any:
    """The configuration of the VQ network in that of a model.

    Raises:
        InputError: it has none.
    """
    found = getattr(config, "vq_config", None)
    if not isinstance(found, kind):
        raise InputError(
            f"{NAME}: found a model of the type {config.model_type!r}, expected one with a VQ network: "
            "swirl_lightning.models.LiquidLM, ChameleonLM and Emu3LM read models of these families alone"
        )
    return found
