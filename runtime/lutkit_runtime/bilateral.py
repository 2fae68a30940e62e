"""Bilateral grids of affine colour maps: the guide, the slice, the map of each pixel. Imports NumPy only.

The definition in float32, operation by operation: every backend gives these bytes. Gharbi et al., "Deep Bilateral
Learning for Real-Time Image Enhancement", SIGGRAPH 2017, sections 3.3 and 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

COEFFICIENTS = 12
"""Numbers of an affine map of colours: entry 4 o + i is what input i (red, green, blue, one) adds to output o."""


@dataclass(frozen=True)
class Place:
    """Where a piece of a picture lies: what it makes depends on that.

    Parameters
    ----------
    top, left : int
        First row and column of the piece.
    height, width : int
        Of the whole picture.
    """

    top: int
    left: int
    height: int
    width: int

    def part(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of the whole picture that a piece of this size takes."""
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True)
class GuideTables:
    """What makes a guide of a colour: guide = result(sum over j of curve_j(mix_j (r, g, b, 1))), 0 to 1.

    Parameters
    ----------
    mix : float32, (4, curves)
        What red, green, blue and one add to the argument of each curve.
    curves : float32, (entries, curves)
        Nodes at equal distances over 0 to 1, interpolated linearly; arguments outside count as the nearer end.
    result : float32, (entries, 1)
        Likewise.
    """

    mix: Float32
    curves: Float32
    result: Float32

    def evaluate(self, unit: Float32) -> Float32:
        """Return the guide (...) float32 of colours (..., 3) float32 within 0 and 1."""
        mix = self.mix
        total: Any = None
        for curve in range(mix.shape[1]):
            argument: Any = (unit[..., 0] * mix[0, curve] + unit[..., 1] * mix[1, curve]) + unit[..., 2] * mix[2, curve]
            value = interpolate_curve(argument + mix[3, curve], self.curves[:, curve])
            total = value if total is None else total + value
        return interpolate_curve(total, self.result[:, 0])


def interpolate_curve(argument: Float32, nodes: Float32) -> Float32:
    """Return the values of a curve with nodes (entries,) at equal distances over 0 to 1; no number counts as 0."""
    cells = len(nodes) - 1
    cell, fraction = split_position(argument * np.float32(cells), cells)
    below: Any = nodes[cell]
    return below + fraction * (nodes[cell + 1] - below)


def split_position(position: Float32, cells: int) -> tuple[NDArray[np.int32], Float32]:
    """Return the cell and the fraction of positions, which are brought within 0 and `cells`; no number counts as 0.

    The last cell has its far end, too: fraction 1.
    """
    inside = np.where(position > 0, np.minimum(position, np.float32(cells)), np.float32(0))
    cell = np.minimum(inside.astype(np.int32), max(cells - 1, 0))
    return cell, inside - cell.astype(np.float32)


def place_axis(nodes: int, length: int, first: int, count: int) -> tuple[NDArray[np.int32], Float32]:
    """Return cell and fraction of `count` pixels, from `first` on, of an axis of `length` pixels on so many nodes.

    Pixel x lies at (x + 0.5) nodes / length - 0.5, where node i lies at i; beyond the end nodes the nearer one counts.
    Taken in float64; the fraction is rounded once.
    """
    position = (np.arange(first, first + count) + 0.5) * (nodes / length) - 0.5
    inside = position.clip(0, nodes - 1)
    cell = np.minimum(np.floor(inside), max(nodes - 2, 0))
    return cell.astype(np.int32), (inside - cell).astype(np.float32)


def slice_grid(grid: Float32, guide: Float32, place: Place) -> Float32:
    """Return the coefficients of every pixel of a piece of a picture: the grid, interpolated linearly along three axes.

    Parameters
    ----------
    grid : float32, (rows, columns, depth, 12)
    guide : float32, (h, w)
        0 to 1, of the piece.
    place : Place

    Returns
    -------
    float32, (h, w, 12)
    """
    rows, columns, depth = grid.shape[:3]
    row, along_y = place_axis(rows, place.height, place.top, guide.shape[0])
    column, along_x = place_axis(columns, place.width, place.left, guide.shape[1])
    level, along_z = split_position(guide * np.float32(depth) - np.float32(0.5), depth - 1)
    upper, lower = grid[row], grid[np.minimum(row + 1, rows - 1)]
    lines = upper + along_y[:, None, None, None] * (lower - upper)
    here: NDArray[np.intp] = np.expand_dims(np.arange(len(guide), dtype=np.intp), 1)
    next_column, next_level = np.minimum(column + 1, columns - 1)[None], np.minimum(level + 1, depth - 1)
    near: Any = lines[here, column[None], level]
    across = lines[here, next_column, level] - near
    deeper: Any = lines[here, column[None], next_level]
    both = (lines[here, next_column, next_level] - deeper) - across
    deeper = deeper - near
    x, z = along_x[None, :, None], along_z[..., None]
    return (near + x * across) + z * (deeper + x * both)


def apply_affine(coefficients: Float32, colours: Float32) -> Float32:
    """Return the colours (..., 3) that the maps (..., 12) make of colours (..., 3)."""
    maps: Any = coefficients.reshape(*coefficients.shape[:-1], 3, 4)
    red, green, blue = (colours[..., channel, None] for channel in range(3))
    return (maps[..., 0] * red + maps[..., 2] * blue) + (maps[..., 1] * green + maps[..., 3])
