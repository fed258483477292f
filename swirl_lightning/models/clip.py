"""CLIP (arXiv:2103.00020), for metrics that compare pictures and texts. Shape letters: N items, D width."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from swirl_lightning.types import InputError


class Clip(NamedTuple):
    """A frozen model with what prepares its inputs. It is no ``nn.Module``, so that nothing trains or saves it."""

    model: Any
    processor: Any
    tokenizer: Any

    @torch.no_grad()
    def pictures(self, pictures: list[np.ndarray], device: torch.device) -> Tensor:
        """Embeddings of N pictures, each [H, W, 3], uint8, as the model's own preprocessing scales and crops them.

        Returns:
            Each of length 1, in float32. [N, D]
        """
        inputs = self.processor(images=pictures, return_tensors="pt", input_data_format="channels_last")
        return self._unit(self.model.to(device).get_image_features(pixel_values=inputs["pixel_values"].to(device)))

    @torch.no_grad()
    def texts(self, texts: list[str], device: torch.device) -> Tensor:
        """Embeddings of N texts, each of length 1, in float32; what is longer than the model takes is cut. [N, D]"""
        most = self.model.config.text_config.max_position_embeddings
        rows = self.tokenizer(texts, padding=True, truncation=True, max_length=most, return_tensors="pt").to(device)
        options = {name: rows[name] for name in ("input_ids", "attention_mask")}
        return self._unit(self.model.to(device).get_text_features(**options))

    @staticmethod
    def _unit(features: Any) -> Tensor:
        # from transformers 5 on an object; the tensor itself before
        features_ND: Tensor = getattr(features, "pooler_output", features)
        return torch.nn.functional.normalize(features_ND.float(), dim=-1)


@lru_cache(maxsize=2)
def load_clip(name: str) -> Clip:
    """A folder in the Hugging Face layout, or a name on the hub; the same one is loaded once per process.

    Raises:
        InputError: it cannot be loaded, or is no CLIP.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        processor = AutoImageProcessor.from_pretrained(name, use_fast=False, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]):
            model, told = AutoModel.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"clip: {name!r} cannot be loaded ({str(error).strip().splitlines()[0]}); expected a folder with a CLIP "
            "model, its tokenizer and its preprocessor_config.json in the Hugging Face layout, or a name on the hub"
        ) from error
    if not hasattr(model, "get_image_features") or told["missing_keys"]:
        found = f"missing weights, such as {sorted(told['missing_keys'])[0]}" if told["missing_keys"] else "no CLIP"
        raise InputError(f"clip: {name!r}: found {found}, expected a whole model of pictures and texts")
    return Clip(model.eval().requires_grad_(False), processor, tokenizer)
