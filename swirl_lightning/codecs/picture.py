"""Pictures as ids beside those of text: a code for each cell, or of a change the cells that change.

Shape letters: R rows and C columns of cells; K codes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from swirl_lightning.codecs.base import Codec, CodecForm, place
from swirl_lightning.codecs.kept_codes import KeptCodes
from swirl_lightning.codecs.tiles import cut
from swirl_lightning.pictures import (
    CODES,
    Codebook,
    ExportedCodebook,
    fitted,
    framed,
    is_known,
    is_picture,
    know,
    pixels,
    psnr,
    read_codes,
    write_codes,
)
from swirl_lightning.types import Answer, Encoded, Ids, InputError, StateForm, Transition

MOST_DECODED = 32
"""Pictures whose loss is measured where decoding one takes long."""


class PictureCodec(Codec):
    """States are pictures; actions are text.

    Ids of pictures come after those of text. In the form ``full`` a picture is its codes, row by row, and the FWM
    writes as many. In the form ``delta`` an id says a cell's place and its code together, the FWM writes those of the
    cells that change, in the order of their places, and one more id ends that. With ``places`` ids say both in the form
    ``full`` too.

    Args:
        tokenizer: a Hugging Face tokenizer, of the actions.
        codebook: makes codes of pictures and pictures of codes.
        first: id of the first code; ids of text are below.
        size: width and height of all pictures, in pixels.
        form: what the run asks for.
        pad: bring pictures of another size to this one, as ``fitted`` says; else they are refused.
        places: whether ids say a cell's place in every form.

    Raises:
        InputError: changes are to be read where ids do not say a cell's place.
    """

    def __init__(
        self,
        tokenizer: Any,
        codebook: Codebook,
        first: int,
        size: tuple[int, int],
        form: CodecForm,
        pad: bool = False,
        places: bool = False,
    ) -> None:
        super().__init__(tokenizer, form)
        self.placed = places or self.state_form == "delta"
        if self.read_form == "delta" and not self.placed:
            raise InputError(
                "model.idm.reads: found delta with model.state_form full, whose codes of pictures name no place; "
                "expected written or full"
            )
        self.codebook = codebook
        self.first = first
        self.size = size
        self.pad = pad
        self.rows, self.columns = size[1] // codebook.cell, size[0] // codebook.cell
        self._codes: dict[str, Ids] = {}
        self.quick = getattr(codebook, "quick", False)
        self._on_disk = None if self.quick else KeptCodes(codebook.name, codebook.cell, size)
        know(codebook)
        cells, K = self.rows * self.columns, codebook.size
        whole = Answer(allowed=(first, first + (cells * K if self.placed else K) - 1), length=cells)
        self.end = first + cells * K
        changes = Answer(end=self.end, allowed=(first, self.end))
        self.answers = {
            "fwm": changes if self.state_form == "delta" else whole,
            "idm": Answer(self.eos, allowed=(0, first - 1)),
        }

    @property
    def num_ids(self) -> int:  # noqa: D102
        return self.answers["fwm"].rows.stop

    @property
    def expected(self) -> str:  # noqa: D102
        return "each cell once, in the order of their places"

    def encode_states(self, states: Sequence[str], transitions: Sequence[Transition] = ()) -> list[Ids]:  # noqa: D102
        return [
            self._ids(range(len(codes)), codes)
            for codes in (self._read(state, transitions[n : n + 1]) for n, state in enumerate(states))
        ]

    def encode_next_states(self, transitions: Sequence[Transition], form: StateForm) -> list[Ids]:  # noqa: D102
        ys = []
        for t in transitions:
            before, after = self._read(t.state, [t]), self._read(t.next_state, [t])
            changed = [i for i, code in enumerate(after) if form == "full" or code != before[i]]
            ys.append(self._ids(changed, [after[i] for i in changed]))
        return ys

    def next_state(self, state: str, ids: Ids) -> str | None:
        """The picture that an FWM completion makes of the state; None where cells stand twice or in another order."""
        codes = list(self._read(state))
        cells = self._cells(ids)
        if self.state_form == "full" and len(cells) != self.rows * self.columns:
            return None
        if any(a >= b for (a, _), (b, _) in pairwise(cells)):
            return None
        for i, code in cells:
            codes[i] = code
        return self._write(codes)

    def comparable(self, state: str) -> str:
        """The picture by its codes, which is all of it that the model can see and write."""
        return self._write(self._read(state)) if is_picture(state) and not state.startswith(CODES) else state

    def view(self, state: str, truth: str | None = None) -> np.ndarray:
        """The picture, whose cells that differ from the true ones are framed in magenta."""
        wrong_RC = np.zeros((self.rows, self.columns), bool)
        if truth is not None:
            wrong_RC = (np.array(self._read(state)) != np.array(self._read(truth))).reshape(wrong_RC.shape)
        return framed(self._seen(state), wrong_RC)

    def show(self, ids: Ids) -> str:
        """Each cell that is written, as ``row,column code``."""
        return " ".join(f"{i // self.columns},{i % self.columns} {code}" for i, code in self._cells(ids))

    def saved(self) -> str:
        """The tokenizer and the codebook."""
        return json.dumps({"tokenizer": self.tokenizer.backend_tokenizer.to_str(), "codebook": self.codebook.saved()})

    def export(self, folder: Path) -> None:
        """The tokenizer, and what the codebook writes of itself; raises where that is nothing that others load."""
        if not isinstance(self.codebook, ExportedCodebook):
            raise InputError(
                f"swirl export: found a codebook that is a {type(self.codebook).__name__}, expected one that other "
                "libraries can load (model.base.codebook: tiles or patches); use the run itself, with "
                "swirl_lightning.trained"
            )
        self.tokenizer.save_pretrained(folder)
        self.codebook.export(folder)

    def identity(self) -> object:  # noqa: D102
        prompts = {name: (p.fwm, p.idm) for name, p in self._prompts.items()}
        return self.saved(), self.first, self.size, self.pad, prompts, self.state_form, self.reads, self.placed

    def losses(self, states: Iterable[str]) -> str:
        """PSNR and exact cells of what the codebook leaves of the pictures; of some, where decoding takes long."""
        looked_at = list(dict.fromkeys(states))
        if not self.quick:
            looked_at = looked_at[:: -(-len(looked_at) // MOST_DECODED)]
        noise, exact = self.loss(looked_at)
        return (
            f"of {len(looked_at)} pictures the codebook {self.codebook.name} keeps {exact:.3%} of the cells exactly "
            f"(PSNR {noise:.1f} dB)"
        )

    def loss(self, states: Sequence[str]) -> tuple[float, float]:
        """What the codebook leaves of pictures: the PSNR, in dB, and the share of cells that are exact, in [0, 1]."""
        kept, true, cell = [], [], self.codebook.cell
        for state in dict.fromkeys(states):
            true.append(self._seen(state))
            kept.append(self.codebook.decode(np.array(self._read(state)).reshape(self.rows, self.columns)))
        equal = [(cut(a, cell) == cut(b, cell)).all((2, 3, 4)) for a, b in zip(kept, true, strict=True)]
        return psnr(kept, true), float(np.mean(equal))

    def _seen(self, state: str) -> np.ndarray:
        """What the model sees of a picture. [H, W, 3]"""
        return fitted(pixels(state), self.size) if self.pad else pixels(state)

    def _encode(self, transitions: Sequence[Transition]) -> list[Encoded]:
        states = [state for t in transitions for state in (t.state, t.next_state)]
        new = [state for state in dict.fromkeys(states) if state not in self._codes and is_known(state)]
        self._encode_pictures([state for state in new if self._seen(state).shape[:2] == self.size[::-1]])
        return super()._encode(transitions)

    def _encode_pictures(self, names: Sequence[str]) -> None:
        """Remember the codes of pictures of the right size."""

        def encode(name: str) -> Ids:
            return tuple(self.codebook.encode(self._seen(name)).flatten().tolist())

        self._codes |= self._on_disk.codes(names, encode) if self._on_disk else {name: encode(name) for name in names}

    def _cells(self, ids: Ids) -> list[tuple[int, int]]:
        """The place and the code that each of some ids says."""
        written = [i - self.first for i in ids]
        return [divmod(i, self.codebook.size) for i in written] if self.placed else list(enumerate(written))

    def _ids(self, cells: Sequence[int], codes: Sequence[int]) -> Ids:
        if not self.placed:
            return tuple(self.first + code for code in codes)
        return tuple(self.first + i * self.codebook.size + code for i, code in zip(cells, codes, strict=True))

    def _write(self, codes: Sequence[int]) -> str:
        return write_codes(self.codebook, np.array(codes).reshape(self.rows, self.columns))

    def _read(self, state: str, transitions: Sequence[Transition] = ()) -> Ids:
        """The codes of a state, row by row."""
        if (codes := self._codes.get(state)) is None:
            where = place(transitions[0] if transitions else None)
            if not is_picture(state):
                raise InputError(f"{where}found the state {state[:60]!r}, expected a picture")
            if state.startswith(CODES):
                codebook, codes_RC = read_codes(state)
                height, width = (length * codebook.cell for length in codes_RC.shape)
                if codebook.name != self.codebook.name:
                    raise InputError(f"{where}found codes of {codebook.name}, expected those of {self.codebook.name}")
                if (width, height) == self.size:
                    return tuple(codes_RC.flatten().tolist())  # not kept: a model makes any number of them
            else:
                picture = self._seen(state)
                height, width = picture.shape[:2]
                if (width, height) == self.size:
                    self._encode_pictures([state])
                    return self._codes[state]
            raise InputError(
                f"{where}found a picture of {width} x {height} pixels, expected {self.size[0]} x {self.size[1]} "
                "(model.base.picture_size): bring all pictures to one size, or set model.base.fit to pad"
            )
        return codes
