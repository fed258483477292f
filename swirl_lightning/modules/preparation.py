"""What is computed from the data before anything is trained: the tokenizer, where it is the run's own, and the ids."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from swirl_lightning.codecs import TextCodec, indent
from swirl_lightning.codecs.cache import kept_table, key_of
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.table import hash_of, is_large, join
from swirl_lightning.models import BaseModel
from swirl_lightning.modules.origin import settings_of

TEXT = pa.schema([("tokenizer", pa.large_string())])


def tokenizer_of(base: BaseModel, data: TransitionDataModule, markers: tuple[str, ...]) -> Any:
    """The base's tokenizer. One that is trained on large data is kept on disk.

    Args:
        base: where it comes from.
        data: whose training texts it may be trained on.
        markers: strings that it keeps whole.
    """
    corpus = map(indent, data.corpus())
    if not (base.trains_tokenizer and is_large(data.training())):
        return base.tokenizer(corpus, markers)

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([[base.tokenizer(corpus, markers).backend_tokenizer.to_str()]], schema=TEXT)

    key = key_of(version("tokenizers"), settings_of(base), markers, hash_of(data.labelled), hash_of(data.state_only))
    return base.restore_tokenizer(kept_table(f"tokenizer-{key}", TEXT, batches)["tokenizer"][0].as_py())


def encode(codec: TextCodec, data: TransitionDataModule) -> None:
    """Encode all data, so that a row that cannot be used is reported before any training; large data once for all runs.

    Args:
        codec: of the run.
        data: set up.
    """
    splits = (data.labelled, data.state_only, data.validation, data.test)
    transitions = join(*splits)
    if is_large(transitions) and hasattr(codec.tokenizer, "backend_tokenizer"):  # one in Python cannot say what it is
        codec.keep_all(transitions, [hash_of(split) for split in splits])
    else:
        codec.encode_all(transitions)
