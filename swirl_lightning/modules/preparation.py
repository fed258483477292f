"""What is computed from the data before anything is trained: the codec, where it is the run's own, and the ids."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
import pyarrow as pa

from swirl_lightning.codecs import Codec, CodecForm
from swirl_lightning.codecs.cache import kept_table, key_of
from swirl_lightning.codecs.encodings import Sizes
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.splits import SPLITS, Split
from swirl_lightning.environments.table import hash_of, is_large, join, pick
from swirl_lightning.models import BaseModel
from swirl_lightning.modules.origin import settings_of
from swirl_lightning.modules.processes import of_the_first
from swirl_lightning.types import InputError, Transition

log = logging.getLogger(__name__)

MADE = pa.schema([("codec", pa.large_string())])


def codec_of(base: BaseModel, data: TransitionDataModule, form: CodecForm) -> Codec:
    """The base's codec. One process makes one that is made from data; it is kept on disk where they are large.

    Args:
        base: where it comes from.
        data: whose training states and actions it may be made from.
        form: what the run asks for.
    """
    if not base.trains_codec:
        return base.codec(data.corpus(), form)

    def made() -> str:
        return base.codec(data.corpus(), form).saved()

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([[made()]], schema=MADE)

    if not is_large(data.training()):
        return base.restore_codec(of_the_first(made), form)
    parts = (form.markers, hash_of(data.labelled), hash_of(data.state_only))
    key = key_of(version("tokenizers"), settings_of(base), *parts)
    return base.restore_codec(kept_table(f"codec-{key}", MADE, batches)["codec"][0].as_py(), form)


def encode(codec: Codec, data: TransitionDataModule, skip: bool, splits: Sequence[Split] = SPLITS) -> list[Sizes]:
    """Encode data ahead, so that rows that cannot be used are told, or left out, before anything else; large data once.

    Args:
        codec: of the run.
        data: set up; rows that are too long are taken out of it.
        skip: leave out rows that are too long.
        splits: those that are needed.

    Returns:
        The sizes of each split's transitions.

    Raises:
        InputError: there are rows that are too long, and they are not to be left out, or nothing else is in a split.
    """
    parts: list[Sequence[Transition]] = [getattr(data, split) for split in splits]
    transitions = join(*parts)
    if is_large(transitions) and hasattr(codec.tokenizer, "backend_tokenizer"):  # one in Python cannot say what it is
        sizes = codec.keep_all(transitions, [hash_of(part) for part in parts])
    else:
        sizes = codec.encode_all(transitions)
    fits = sizes.whole <= codec.max_tokens
    ends = np.cumsum([len(part) for part in parts])[:-1]
    if not fits.all():
        told = _too_long(codec.max_tokens, transitions, sizes.whole)
        if not skip:
            raise InputError(
                f"{told}; states are never cut: raise it, or leave these rows out with model.skip_too_long"
            )
        log.warning("%s; they are left out", told)
        for split, part, its in zip(splits, parts, np.split(fits, ends), strict=True):
            if len(part) and not its.any():
                raise InputError(f"{told}; nothing else is in the split {split!r}: raise it")
            setattr(data, split, pick(part, np.flatnonzero(its)))
    return [
        Sizes(*its).pick(kept)
        for *its, kept in zip(*(np.split(column, ends) for column in (*sizes, fits)), strict=True)
    ]


def _too_long(most: int, transitions: Sequence[Transition], whole: np.ndarray) -> str:
    worst = int(whole.argmax())
    t = transitions[worst]
    return (
        f"model.max_tokens: found {most}, expected at least {whole[worst]}, which step {t.step} of episode "
        f"{t.episode!r} takes, prompt and completion together; of {len(whole)} rows {(whole > most).sum()} are too long"
    )
