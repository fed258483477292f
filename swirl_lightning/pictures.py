"""Pictures as states: each is named by what it shows, or by the codes that a Forward World Model wrote.

A state is a string everywhere. A picture's begins with ``picture:`` and goes on with a hash of its size and pixels, so
that two files of one content are one state. A picture that a model made begins with ``codes:``, the name of its
codebook and its size in cells, and has a line for each cell, ``row,column code``: it is fed back as it was written,
never through pixels. Where the pixels of either lie is known here, for the whole process; as names follow from content,
nothing that is known becomes wrong.

Shape letters: H rows and W columns of pixels, R rows and C columns of cells.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from swirl_lightning.types import Ids, InputError

PICTURE, CODES = "picture:", "codes:"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
"""Names of files that are pictures where nothing else says so."""
PAD = (122, 116, 104)
"""What a picture is padded with: the mean colour of CLIP's training pictures, as Liquid does."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""What is read, whatever a file is called: of the others that Pillow knows one starts another program."""
SHOWN, FRAME = 168, 2
"""Pixels of a picture's longer side that a small one is enlarged to, at most, and of a frame around a cell."""
_files: dict[str, list[Path]] = {}
_names: dict[Path, str] = {}
_codebooks: dict[str, Codebook] = {}


class Codebook(Protocol):
    """A finite set of codes, one for each cell of a picture.

    Args:
        name: the same for the same codes; that of a network says its weights and how pictures are prepared for it.
        size: number of codes.
        cell: pixels of a cell's side.

    One with ``quick = True`` encodes a picture as soon as it is read; codes of all others are kept on disk.
    """

    name: str
    size: int
    cell: int

    def saved(self) -> str:
        """The codebook as text, for a checkpoint."""
        ...

    def encode(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """The code of each cell. [R, C]"""
        ...

    def decode(self, codes_RC: np.ndarray) -> np.ndarray:
        """The pixels that codes stand for. [H, W, 3], uint8"""
        ...


@runtime_checkable
class ExportedCodebook(Codebook, Protocol):
    """One that other programs can load."""

    def export(self, folder: Path) -> None:
        """Write what they need into a folder."""
        ...


def name_picture(path: Path) -> str:
    """The state that an image file shows.

    Raises:
        InputError: there is no such file, or it is no image.
    """
    path = path.absolute()
    if (name := _names.get(path)) is None:
        name = _names[path] = name_of(read_image(path))
        _files.setdefault(name, []).append(path)
    return name


def place_picture(folder: Path, pixels_HW3: np.ndarray) -> str:
    """Write a picture into a folder, as a PNG file that its content names, and return the state that it is."""
    name = name_of(pixels_HW3)
    path = folder / f"{name.removeprefix(PICTURE)}.png"
    if path.absolute() not in _names:
        write_image(path, pixels_HW3)
    return name_picture(path)


def name_of(pixels_HW3: np.ndarray) -> str:
    """The name of a picture with these pixels."""
    return PICTURE + blake2b(repr(pixels_HW3.shape).encode() + pixels_HW3.tobytes(), digest_size=16).hexdigest()


def is_picture(state: str) -> bool:
    """Whether a state is a picture, named by what it shows or by its codes."""
    return state.startswith((PICTURE, CODES))


def file_of(state: str, folder: Path | None = None) -> Path:
    """Where a picture lies that was named from a file; in a folder or below it, where it also lies there.

    Raises:
        InputError: no file of this process has shown it.
    """
    if (paths := _files.get(state)) is None:
        raise InputError(f"found the state {state[:60]!r}, expected a picture of a log that has been read, or a file")
    return next((path for path in paths if folder and path.is_relative_to(folder.absolute())), paths[-1])


def is_known(state: str) -> bool:
    """Whether a state is a picture that this process has read from a file."""
    return state in _files


def pixels(state: str) -> np.ndarray:
    """What a picture shows, or what its codes stand for. [H, W, 3], uint8; not to be written to"""
    if state.startswith(CODES):
        codebook, codes_RC = read_codes(state)
        return codebook.decode(codes_RC)
    return _pixels_of_file(file_of(state))


def know(codebook: Codebook) -> None:
    """Remember a codebook, so that pictures of its codes have pixels."""
    _codebooks[codebook.name] = codebook


def write_codes(codebook: Codebook, codes_RC: np.ndarray) -> str:
    """The state that codes are."""
    rows, columns = codes_RC.shape
    lines = (f"{place // columns},{place % columns} {code}" for place, code in enumerate(codes_RC.flatten().tolist()))
    return "\n".join([f"{CODES}{codebook.name} {rows}x{columns}", *lines])


def read_codes(state: str) -> tuple[Codebook, np.ndarray]:
    """The codebook and the codes of a state that is given by them. [R, C]

    Raises:
        InputError: it is not as ``write_codes`` writes it, or of a codebook that this process does not know.
    """
    head, *lines = state.split("\n")
    try:
        name, size = head.removeprefix(CODES).split(" ")
        rows, columns = (int(number) for number in size.split("x"))
        codes: Ids = tuple(int(line.split(" ")[1]) for line in lines)
        codebook = _codebooks[name]
        codes_RC = np.array(codes, np.int64).reshape(rows, columns)
        if write_codes(codebook, codes_RC) != state or not 0 <= codes_RC.min() <= codes_RC.max() < codebook.size:
            raise ValueError("other cells or codes than it says")
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(
            f"found the state {state[:60]!r} ({error}), expected codes of this model, as its FWM writes them"
        ) from error
    return codebook, codes_RC


def cell_of(state: str) -> int | None:
    """Pixels of a cell's side of a state that is given by codes; None where it is not."""
    return read_codes(state)[0].cell if state.startswith(CODES) else None


def read_image(path: Path) -> np.ndarray:
    """The pixels of an image file, as RGB. [H, W, 3], uint8

    Raises:
        InputError: there is no such file, or it is no image.
    """
    try:
        with pillow().open(path, formats=FORMATS) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise errors of many kinds, and one of its own for huge pictures
        raise InputError(
            f"{path}: found no readable image ({error}), expected a file in {', '.join(FORMATS)}"
        ) from error


def write_image(path: Path, pixels_HW3: np.ndarray) -> None:
    """Write an image file, in the format that its name ends in."""
    pillow().fromarray(pixels_HW3).save(path)


def fitted(pixels_HW3: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture brought to a size: padded to its proportions, itself in the middle, then scaled. [H, W, 3], uint8

    For a square that is what Liquid (arXiv:2412.04332) does: padding of the colour ``PAD``, then LANCZOS. A picture
    of this size comes back as it is.

    Args:
        pixels_HW3: the picture.
        size: width and height, in pixels.
    """
    height, width = pixels_HW3.shape[:2]
    if (width, height) == tuple(size):
        return pixels_HW3
    wide, high = max(width, round(height * size[0] / size[1])), max(height, round(width * size[1] / size[0]))
    padded = np.full((high, wide, 3), PAD, np.uint8)
    top, left = (high - height) // 2, (wide - width) // 2
    padded[top : top + height, left : left + width] = pixels_HW3
    return np.asarray(pillow().fromarray(padded).resize(tuple(size), pillow().Resampling.LANCZOS))


def beside(state: str, other_HW3: np.ndarray) -> np.ndarray:
    """What a picture shows, brought to the size of another one, with which it is compared. [H, W, 3], uint8"""
    return fitted(pixels(state), (other_HW3.shape[1], other_HW3.shape[0]))


def framed(pixels_HW3: np.ndarray, marks_RC: np.ndarray) -> np.ndarray:
    """A picture large enough to be looked at, with frames around some of its cells. [H, W, 3]"""
    scale = max(1, SHOWN // max(pixels_HW3.shape[:2]))
    large = pixels_HW3.repeat(scale, 0).repeat(scale, 1)
    height, width = (length // cells for length, cells in zip(large.shape[:2], marks_RC.shape, strict=True))
    for r, c in np.argwhere(marks_RC):
        cell = large[r * height : (r + 1) * height, c * width : (c + 1) * width]
        for edge in (cell[:FRAME], cell[-FRAME:], cell[:, :FRAME], cell[:, -FRAME:]):
            edge[:] = (255, 0, 255)
    return large


def png(pixels_HW3: np.ndarray) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    pillow().fromarray(pixels_HW3).save(buffer, "PNG")
    return buffer.getvalue()


def strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height side by side, parted by white. [H, W, 3]"""
    gap = np.full((pictures[0].shape[0], FRAME * 4, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], 1)


def write_film(path: Path, pictures: Sequence[np.ndarray], seconds: float = 1.0) -> None:
    """Write a GIF that shows pictures one after another, again and again."""
    first, *others = (pillow().fromarray(picture) for picture in pictures)
    options = {"save_all": True, "append_images": others, "duration": round(1000 * seconds), "loop": 0}
    first.save(path, "GIF", **options)


def psnr(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """Peak signal-to-noise ratio of N pictures with N others, over all pixels, in dB; inf where they are equal."""
    error = sum(float(((x.astype(np.float64) - y) ** 2).sum()) for x, y in zip(a, b, strict=True))
    count = sum(x.size for x in a)
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 * count / error))


@lru_cache(maxsize=4096)
def _pixels_of_file(path: Path) -> np.ndarray:
    return read_image(path)


def pillow() -> Any:
    """Pillow's ``Image``.

    Raises:
        InputError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(
            "pictures need the package pillow, which is not installed; pip install 'swirl-lightning[vision]'"
        ) from error
    return Image
