"""A codebook that is a list of tiles: lossless where a world is drawn from few of them, as grid worlds are.

Shape letters: N tiles, M cells of a picture, S pixels of a tile's side, D numbers of a tile, R rows and C columns of
tiles, H rows and W columns of pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np

from swirl_lightning.types import InputError

CODEBOOK = "codebook.npz"
"""The file of an exported codebook, with the array ``tiles``."""


class Tiles:
    """A codebook of distinct square tiles.

    A tile that is not in it gets the code of the nearest one, by the sum of squared differences.

    Args:
        tiles_NSS3: the tiles, each once. uint8
        size: number of codes, of which the last ones may stand for nothing yet; they are decoded as black.
        kind: what the codebook is called.
    """

    quick = True

    def __init__(self, tiles_NSS3: np.ndarray, size: int, kind: str = "tiles") -> None:
        self.tiles_NSS3 = tiles_NSS3
        self.kind = kind
        self.size = size
        self.cell: int = tiles_NSS3.shape[1]
        digest = blake2b(repr((tiles_NSS3.shape, size)).encode() + tiles_NSS3.tobytes(), digest_size=6)
        self.name = f"{kind}-{digest.hexdigest()}"
        self._code_of = {tile.tobytes(): code for code, tile in enumerate(tiles_NSS3)}

    @classmethod
    def of(cls, pictures: Iterable[np.ndarray], cell: int, size: int) -> Tiles:
        """The tiles that some pictures are made of, in the order of their bytes.

        Args:
            pictures: each [H, W, 3].
            cell: S.
            size: number of codes.

        Raises:
            InputError: they are made of more.
        """
        seen = {tile.tobytes() for picture in pictures for tile in cut(picture, cell).reshape(-1, cell, cell, 3)}
        if not 0 < len(seen) <= size:
            raise InputError(
                f"model.base.codes: found {size}, and the training pictures are made of {len(seen)} distinct tiles of "
                f"{cell} x {cell} pixels, expected at least that many codes; raise it, or let a codebook be learned "
                "for pictures that are not made of tiles (model.base.codebook: patches)"
            )
        flat = np.frombuffer(b"".join(sorted(seen)), np.uint8)
        return cls(flat.reshape(len(seen), cell, cell, 3), size)

    @classmethod
    def restore(cls, saved: str) -> Tiles:
        """The codebook that :meth:`saved` wrote down."""
        kind, size, cell, data = saved.split(":")
        flat = np.frombuffer(base64.b64decode(data), np.uint8)
        return cls(flat.reshape(-1, int(cell), int(cell), 3), int(size), kind)

    def saved(self) -> str:
        """The codebook as text, for a checkpoint."""
        return f"{self.kind}:{self.size}:{self.cell}:{base64.b64encode(self.tiles_NSS3.tobytes()).decode()}"

    def export(self, folder: Path) -> None:
        """Write the tiles for other programs, which need NumPy to read them."""
        np.savez(folder / CODEBOOK, tiles=self.tiles_NSS3)

    def encode(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """The code of each tile. [R, C]"""
        cells = cut(pixels_HW3, self.cell)
        tiles_MSS3 = cells.reshape(-1, *cells.shape[2:])
        codes_M = np.array([self._code_of.get(tile.tobytes(), -1) for tile in tiles_MSS3])
        codes_M[codes_M < 0] = self._nearest(tiles_MSS3[codes_M < 0])
        return codes_M.reshape(cells.shape[:2])

    def decode(self, codes_RC: np.ndarray) -> np.ndarray:
        """The picture that codes are put together to. [H, W, 3]"""
        spare = np.zeros((self.size - len(self.tiles_NSS3), *self.tiles_NSS3.shape[1:]), np.uint8)
        tiles_RCSS3 = np.concatenate([self.tiles_NSS3, spare])[codes_RC]
        rows, columns = codes_RC.shape
        return tiles_RCSS3.swapaxes(1, 2).reshape(rows * self.cell, columns * self.cell, 3)

    def _nearest(self, tiles_MSS3: np.ndarray) -> np.ndarray:
        """The codes of tiles that are not in the codebook. [M]"""
        D = self.tiles_NSS3[0].size
        own_ND, x_MD = (tiles.reshape(-1, D).astype(np.float64) for tiles in (self.tiles_NSS3, tiles_MSS3))
        return ((own_ND**2).sum(1) - 2 * x_MD @ own_ND.T).argmin(1)


def cut(pixels_HW3: np.ndarray, cell: int) -> np.ndarray:
    """A picture as its cells. [R, C, S, S, 3]"""
    rows, columns = (length // cell for length in pixels_HW3.shape[:2])
    return pixels_HW3.reshape(rows, cell, columns, cell, 3).swapaxes(1, 2)
