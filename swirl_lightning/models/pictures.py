"""A small model from scratch that reads and writes pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from swirl_lightning.codecs import Codec, CodecForm, indent
from swirl_lightning.codecs.patches import learn_patches
from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.codecs.tiles import Tiles
from swirl_lightning.models.base import ScratchLM
from swirl_lightning.models.patch_network import learn_network, restore_codebook
from swirl_lightning.models.places import add_places
from swirl_lightning.pictures import Codebook, file_of, fitted, is_picture, pixels
from swirl_lightning.types import InputError, Role, StateForm, check_number

MOST_CELL = 65
"""Below this a cell's side is proposed."""
LEARN: dict[str, Callable[[Iterable[np.ndarray], int, int], Codebook]] = {
    "tiles": Tiles.of,
    "patches": learn_patches,
    "network": learn_network,
}


class ScratchPictureLM(ScratchLM):
    """A small Llama-shaped model for pictures, whose codebook and whose tokenizer, of the actions, are the run's own.

    Args:
        picture_size: width and height of all pictures, in pixels.
        cell: side of a cell, in pixels; each cell of a picture has one code.
        codes: number of codes.
        codebook: what a code stands for: ``tiles``, the distinct cells of the training pictures, of which there may be
            no more, so that nothing is lost of them; ``patches`` that k-means learns from pictures of any kind; or a
            ``network`` that is trained for a minute, whose codes are drawn in view of their neighbours.
        fit: what becomes of a picture of another size: ``none`` refuses it; ``pad`` pads it to the proportions of
            ``picture_size`` and scales it. No file is changed.
        places: whether an embedding is a sum of the id's own vector, its row's, its column's and its code's. Ids then
            say a cell's place in every form; without it they do in the form ``delta`` alone.
        kwargs: arguments of ``ScratchLM``.
    """

    def __init__(
        self,
        picture_size: tuple[int, int],
        cell: int = 8,
        codes: int = 64,
        codebook: Literal["tiles", "patches", "network"] = "tiles",
        fit: Literal["none", "pad"] = "none",
        places: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_number("model.base.cell", cell, least=1)
        check_number("model.base.codes", codes, least=1)
        for length in picture_size:
            check_number("model.base.picture_size", length, least=1)
            if length % cell:
                sides = [str(side) for side in range(1, MOST_CELL) if not any(its % side for its in picture_size)]
                raise InputError(
                    f"model.base.picture_size: found {list(picture_size)}, expected multiples of model.base.cell "
                    f"({cell}); set model.base.cell to the side of the tiles that your pictures are drawn from (of "
                    f"{', '.join(sides)}), or bring the pictures to another size"
                )
        self.picture_size = picture_size
        self.cell = cell
        self.codes = codes
        self.codebook: Literal["tiles", "patches", "network"] = codebook
        self.fit: Literal["none", "pad"] = fit
        self.places = places

    @property
    def most_ids(self) -> int:
        """In the form ``delta``, which has most."""
        return self.vocab_size + self._changes

    @property
    def _changes(self) -> int:
        """Ids of a change: places with codes, and its end."""
        width, height = self.picture_size
        return (width // self.cell) * (height // self.cell) * self.codes + 1

    def choices(self, role: Role, state_form: StateForm) -> int:  # noqa: D102
        if role == "idm":
            return self.vocab_size
        if state_form == "delta":
            return self._changes
        return self._changes - 1 if self.places else self.codes

    def codec(self, corpus: Iterable[str], form: CodecForm) -> Codec:  # noqa: D102
        texts: list[str] = []
        pictures: dict[str, None] = {}
        for part in corpus:
            if is_picture(part):
                pictures[part] = None
            else:
                texts.append(part)
        if not pictures:
            raise InputError("data: found no picture, expected rows with the fields image and next_image")
        tokenizer = self.tokenizer(map(indent, texts), form.markers)
        codebook = LEARN[self.codebook](map(self._sized, pictures), self.cell, self.codes)
        return PictureCodec(
            tokenizer, codebook, self.vocab_size, self.picture_size, form, pad=self.fit == "pad", places=self.places
        )

    def restore_codec(self, saved: str | None, form: CodecForm) -> Codec:  # noqa: D102
        assert saved is not None
        parts = json.loads(saved)
        tokenizer, codebook = self.restore_tokenizer(parts["tokenizer"]), restore_codebook(parts["codebook"])
        return PictureCodec(
            tokenizer, codebook, self.vocab_size, self.picture_size, form, pad=self.fit == "pad", places=self.places
        )

    def model(self, codec: Codec) -> Any:  # noqa: D102
        made = super().model(codec)
        if self.places:
            assert isinstance(codec, PictureCodec)
            add_places(made, codec.first, codec.rows, codec.columns, codec.codebook.size)
        return made

    def _sized(self, name: str) -> np.ndarray:
        """The pixels of a picture."""
        picture = fitted(pixels(name), self.picture_size) if self.fit == "pad" else pixels(name)
        height, width = picture.shape[:2]
        if (width, height) != tuple(self.picture_size):
            raise InputError(
                f"model.base.picture_size: found {list(self.picture_size)}, and {file_of(name)} has {width} x {height} "
                "pixels, expected one size; set it to that of your pictures, or model.base.fit to pad"
            )
        return picture
