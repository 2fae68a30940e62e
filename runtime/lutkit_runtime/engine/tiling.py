"""Tiling: cutting an image so that a program can run on one piece after another. Imports nothing of this package.

Why the result does not depend on the cut: every tile is extended by the program's halo, clipped to the image, the whole
program runs on the extended tile, and the extension of the result is thrown away. Where the extended tile ends inside
the image, the program pads although pixels go on there, so its planes are wrong near that end; each op carries the
fault inwards by its own reach, and the halo is the sum of the reaches, so it stops at the tile. Where the extended tile
ends at the border of the image, padding is what it is for the whole image: an edge pixel is the same, and a reflected
pixel lies no further from the pixel that asks for it than the pattern reaches, so it is inside the extended tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Rows, or columns, of one tile.

    Parameters
    ----------
    start, stop : int
        What the tile is to produce, in input pixels.
    first, last : int
        What the program reads for that: the same, extended by the halo and clipped; `last` is exclusive.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def read(self) -> slice:
        """The pixels that the program reads."""
        return slice(self.first, self.last)

    def kept(self, scale: int) -> slice:
        """The part to keep of a result that is `scale` times as large as what was read."""
        return slice((self.start - self.first) * scale, (self.stop - self.first) * scale)

    def written(self, scale: int) -> slice:
        """Where the kept part belongs in the whole result."""
        return slice(self.start * scale, self.stop * scale)


@dataclass(frozen=True)
class Tiling:
    """The tiles of an image, in rows of tiles from the top left.

    Parameters
    ----------
    rows, columns : tuple of Span
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """Yield rows and columns of every tile."""
        return ((row, column) for row in self.rows for column in self.columns)


def cut_image(height: int, width: int, halo: int, side: int | None, pixels: int) -> Tiling:
    """Cut an image into tiles.

    Parameters
    ----------
    height, width : int
        Size of the image, at least 1.
    halo : int
        Pixels around a tile that its result depends on.
    side : int or None
        Height and width of a tile; None for strips of the full width, or squares where the image is very wide.
    pixels : int
        About how many pixels a tile has where `side` is None.
    """
    if side is not None:
        tile_height = tile_width = side
    elif width <= math.isqrt(pixels) * 8:
        tile_height, tile_width = max(1, pixels // width), width
    else:
        tile_height = tile_width = math.isqrt(pixels)
    return Tiling(_cut(height, tile_height, halo), _cut(width, tile_width, halo))


def _cut(length: int, side: int, halo: int) -> tuple[Span, ...]:
    return tuple(
        Span(start, min(start + side, length), max(0, start - halo), min(start + side + halo, length))
        for start in range(0, length, side)
    )
