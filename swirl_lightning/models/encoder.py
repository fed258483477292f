"""Text encoders, for metrics that compare embeddings. Shape letters: N texts, T tokens, D width."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from swirl_lightning.types import InputError


class Encoder(NamedTuple):
    """A frozen model with its tokenizer. It is no ``nn.Module``, so that nothing that holds it trains or saves it."""

    model: Any
    tokenizer: Any

    @property
    def layers(self) -> int:
        """The number of layers: embeddings can be taken before the first (0) and after each."""
        return self.model.config.num_hidden_layers

    @torch.no_grad()
    def embed(self, texts: list[str], layer: int, max_tokens: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Contextual embeddings of the tokens, each of length 1.

        Args:
            texts: N texts; what is longer than ``max_tokens`` is cut at its end.
            layer: after which the embeddings are taken.
            max_tokens: longest text, special tokens included; at most what the tokenizer says the model takes.
            device: where to compute; the model moves there.

        Returns:
            The embeddings, and True on the tokens of the text: not on padding, not on special tokens. [N, T, D], [N, T]
        """
        rows = self.tokenizer(
            texts, padding=True, truncation=True, max_length=min(max_tokens, self.tokenizer.model_max_length),
            return_special_tokens_mask=True, return_tensors="pt",
        ).to(device)  # fmt: skip
        attended_NT, special_NT = rows["attention_mask"], rows["special_tokens_mask"]
        states = self.model.to(device)(rows["input_ids"], attended_NT, output_hidden_states=True).hidden_states
        return torch.nn.functional.normalize(states[layer], dim=-1), attended_NT.bool() & ~special_NT.bool()


@lru_cache(maxsize=2)
def load_encoder(name: str) -> Encoder:
    """A folder in the Hugging Face layout, or a name on the hub; the same one is loaded once per process.

    Raises:
        InputError: it cannot be loaded, or its tokenizer cannot pad.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]):  # layers that the folder lacks are drawn at random, and not used
            model = (
                AutoModel.from_pretrained(name, trust_remote_code=False, dtype=torch.float32)
                .eval()
                .requires_grad_(False)
            )
    except (OSError, ValueError) as error:
        raise InputError(
            f"encoder: {name!r} cannot be loaded ({str(error).splitlines()[0]}); expected a folder with an encoder and "
            "its tokenizer in the Hugging Face layout, or a name on the hub"
        ) from error
    if tokenizer.pad_token_id is None:
        raise InputError(f"encoder: the tokenizer of {name!r} has no padding token; expected an encoder, as BERT's are")
    return Encoder(model, tokenizer)
