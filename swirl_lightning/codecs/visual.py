"""Pictures in the words of a pretrained model, whose vocabulary has some for codes of pictures.

Shape letters: R rows and C columns of codes; K codes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swirl_lightning.codecs.base import CodecForm
from swirl_lightning.codecs.layout import Layout
from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.pictures import Codebook, fitted, framed
from swirl_lightning.types import Answer, Ids, InputError, Prompts, StateForm, Transition

MOST_SHOWN = 256
"""Pixels of a side that a person is shown of a picture, at most."""
MEASURED = 16
"""Pictures of which is measured what the codes lose: to make one of codes takes long."""


@dataclass(frozen=True)
class PictureWords:
    """How a model writes pictures and what stands around them, as ids.

    Args:
        codes: id of each code, one range together. [K]
        text: first and last id of text, the end token among them.
        end: ends an action.
        begin: what a text begins with.
        opening: before the codes of a picture.
        closing: after them.
        row_end: after each row of codes; None where nothing is.
        turn: between what is asked and the answer.
        forward: the words of the FWM's prompt between a picture and the action.
        inverse: the words of the IDM's prompt after both pictures.
    """

    codes: tuple[int, ...]
    text: tuple[int, int]
    end: int
    begin: Ids
    opening: Ids
    closing: Ids
    row_end: int | None
    turn: Ids
    forward: Ids
    inverse: Ids

    @property
    def first(self) -> int:
        """The lowest id of a code."""
        return min(self.codes)

    @property
    def prompts(self) -> Prompts:
        """The layout of both roles: the FWM reads a picture, words and the action, the IDM two pictures and words."""
        begin, close = (*self.begin, *self.opening), self.closing
        return Prompts(
            fwm=(begin, (*close, *self.forward), (*self.turn, *self.opening)),
            idm=(begin, (*close, *self.opening), (*close, *self.inverse, *self.turn)),
        )


def code_range(ids: Mapping[int, int], size: int, key: str) -> tuple[int, ...]:
    """The id of each code, in the order of the codes.

    Args:
        ids: id of each code that the vocabulary names.
        size: number of codes of the VQ network.
        key: the option, for messages.

    Raises:
        InputError: they are not as many, or not one range of ids, as their rows of the model's head must be.
    """
    if sorted(ids) != list(range(size)):
        raise InputError(
            f"{key}: found {len(ids)} ids for codes of pictures, and its VQ network has {size} codes; expected one id "
            "for each: a model and a VQ network that belong together"
        )
    if max(ids.values()) - min(ids.values()) != size - 1:
        raise InputError(
            f"{key}: found ids of codes from {min(ids.values())} to {max(ids.values())} with others between them, "
            f"expected {size} ids in one range"
        )
    return tuple(ids[code] for code in range(size))


class VisualCodec(PictureCodec):
    """States are pictures of any size, which are brought to one; actions are text.

    A picture is its codes, row by row, each in the model's word for it; the FWM writes as many, with the ends of rows
    at their places, and nothing ends that. What a model writes after the last code is known and not written.

    Args:
        tokenizer: the model's.
        codebook: makes codes of pictures and pictures of codes.
        words: how the model writes them.
        side: pixels of the square that pictures are brought to.
        form: what the run asks for; its words around states and actions are not used, the model's own are.

    Raises:
        InputError: edits are asked for, or other words.
    """

    def __init__(self, tokenizer: Any, codebook: Codebook, words: PictureWords, side: int, form: CodecForm) -> None:
        if form.state_form == "delta" or form.reads == "delta":
            raise InputError(
                "model.state_form, model.idm.reads: found delta, expected full for a pretrained model of pictures, "
                "which writes all codes of one"
            )
        if form.layouts.get("", Layout()) != Layout():
            raise InputError(
                "model.layout: found words, expected null for a pretrained model of pictures, whose prompts are made "
                "of model.base.forward_template and model.base.inverse_template"
            )
        self.words = words
        super().__init__(tokenizer, codebook, words.first, (side, side), form, pad=True)
        self._code_of = {token: code for code, token in enumerate(words.codes)}
        wide = self.columns + (words.row_end is not None)
        forced = {} if words.row_end is None else {r * wide + wide - 1: words.row_end for r in range(self.rows)}
        last = words.first + codebook.size - 1
        self.answers = {
            "fwm": Answer(allowed=(words.first, last), length=self.rows * wide, forced=forced),
            "idm": Answer(words.end, allowed=words.text),
        }

    @property
    def num_ids(self) -> int:  # noqa: D102
        return 1 + max(*self.words.codes, self.words.text[1], *self.words.opening, *self.words.closing)

    @property
    def expected(self) -> str:  # noqa: D102
        return "a code for each cell, row by row"

    def lay_out(self, layout: Layout) -> Prompts:
        """The model's own words, whatever the environment's are."""
        return self.words.prompts

    def encode_next_states(self, transitions: Sequence[Transition], form: StateForm) -> list[Ids]:  # noqa: D102
        return self.encode_states([t.next_state for t in transitions], transitions)

    def next_state(self, state: str, ids: Ids) -> str | None:
        """The picture of an FWM completion's codes; None where there are more or fewer than cells."""
        codes = self._codes_in(ids)
        return self._write(codes) if len(codes) == self.rows * self.columns else None

    def show(self, ids: Ids) -> str:  # noqa: D102
        codes = self._codes_in(ids)
        return " ".join(f"{i // self.columns},{i % self.columns} {code}" for i, code in enumerate(codes))

    def view(self, state: str, truth: str | None = None) -> np.ndarray:
        """The picture as the model sees it, whose cells with another code than the true picture's are framed."""
        wrong_RC = np.zeros((self.rows, self.columns), bool)
        if truth is not None:
            wrong_RC = (np.array(self._read(state)) != np.array(self._read(truth))).reshape(wrong_RC.shape)
        side = min(self.size[0], MOST_SHOWN)
        return framed(fitted(self._seen(state), (side, side)), wrong_RC)

    def losses(self, states: Iterable[str]) -> str:
        """The PSNR of what is left of the first pictures."""
        different = list(dict.fromkeys(states))
        some = different[:MEASURED]
        return (
            f"of {len(some)} of {len(different)} pictures, at {self.size[0]} x {self.size[1]} pixels, the codebook "
            f"{self.codebook.name} keeps a PSNR of {self.loss(some)[0]:.1f} dB"
        )

    def saved(self) -> str:
        """The codebook's name; all else lies with the base model."""
        return json.dumps({"codebook": self.codebook.saved()})

    def identity(self) -> object:  # noqa: D102
        return self.saved(), self.tokenizer.backend_tokenizer.to_str(), self.words, self.size

    def _codes_in(self, ids: Ids) -> list[int]:
        return [self._code_of[token] for token in ids if token in self._code_of]

    def _ids(self, cells: Sequence[int], codes: Sequence[int]) -> Ids:
        ids = np.array(self.words.codes)[np.array(codes, np.int64)].reshape(self.rows, self.columns)
        if self.words.row_end is not None:
            ids = np.pad(ids, ((0, 0), (0, 1)), constant_values=self.words.row_end)
        return tuple(ids.flatten().tolist())
