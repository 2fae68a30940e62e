"""Interpolation in a colour cube: the float32 arithmetic and the packed integer arithmetic, as NumPy definitions.

Floor 2: imports errors only. Every backend computes exactly these operations in exactly this order, so that the same
picture gives the same bytes everywhere; nothing is contracted into fused multiply-adds.

A cube has the shape (size, size, size, 3), indexed [blue][green][red][channel] as the rows of a .cube file run, and is
handed over as rows: (size**3, 3), red fastest.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

PACKED_NODE = 4080
"""A node of 1.0 in the packed arithmetic: 12 bits, a multiple of 255."""
PACKED_WEIGHT = 512
"""Sum of the weights in the packed arithmetic: 9 bits."""
PACKED_SHIFT = 13
"""PACKED_NODE * PACKED_WEIGHT / 255 is 2**13; a lane of 21 bits holds the largest sum with its rounding half."""


class CubeInterpolation(enum.Enum):
    """How a colour between the nodes of a cube is formed."""

    TRILINEAR = "trilinear"
    """From all eight nodes around it."""

    TETRAHEDRAL = "tetrahedral"
    """From the four nodes of the tetrahedron around it: the diagonal of the cell keeps the neutral axis."""


class Arithmetic(enum.Enum):
    """In which numbers a colour lookup is computed; part of the model, because it decides the result."""

    FLOAT32 = "float32"
    """Single precision, for every depth."""

    PACKED = "packed"
    """8-bit pictures with integers of 12 bits times weights of 9, three channels in one 64-bit word; other depths in
    single precision. Only for tetrahedral interpolation between nodes within 0 and 1."""


def scale_to_depth(values: Float32, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values of 0 to 1 as samples of a depth: uint8 and uint16 rounded half up and clipped, float32 as they are.

    The rounding is trunc(clip(x * peak + 0.5, 0, peak)) in float32.
    """
    if dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    peak = np.float32(np.iinfo(dtype).max)
    return (values * peak + np.float32(0.5)).clip(np.float32(0), peak).astype(dtype)


def locate(samples: NDArray[Any], scale: Float32, shift: Float32, last: Float32, cells: int) -> tuple[Any, Float32]:
    """Return the cell (intp) and the fraction (float32) of samples on their axes.

    The position is samples * scale + shift in float32, not a number counts as 0, and is clamped to 0 and `last`.

    Parameters
    ----------
    samples : uint8, uint16 or float32, (..., 3)
    scale, shift, last : float32 (3,)
    cells : int
        Number of cells; the fraction of the last one may reach 1.
    """
    position = samples.astype(np.float32) * scale + shift
    position = np.where(position > 0, np.minimum(position, last), np.float32(0))
    cell = np.minimum(position.astype(np.intp), cells - 1)
    return cell, position - cell.astype(np.float32)


def interpolate_curves(cell: Any, fraction: Any, curves: Any) -> Any:
    """Return a + f (b - a) between neighbouring rows of curves (entries, 3), channel by channel, in the type of them.

    Float32 is the arithmetic of pictures; float64 serves what is prepared once.
    """
    channel = np.arange(3)
    below, above = curves[cell, channel], curves[cell + 1, channel]
    return below + fraction * (above - below)


def interpolate_cube(cell: Any, fraction: Float32, cube: Float32, size: int, kind: CubeInterpolation) -> Float32:
    """Return the colours (..., 3) float32 at cells and fractions (..., 3) of a cube (size**3, 3) float32."""
    if kind is CubeInterpolation.TETRAHEDRAL:
        return _interpolate_tetrahedral(cell, fraction, cube, size)
    return _interpolate_trilinear(cell, fraction, cube, size)


def _interpolate_trilinear(cell: Any, fraction: Any, cube: Any, size: int) -> Float32:
    """Interpolate along red, then green, then blue: each step is a + f (b - a)."""
    first = cell @ np.array([1, size, size * size])
    red, green, blue = (fraction[..., axis, None] for axis in range(3))

    def along_red(row: Any) -> Any:
        return cube[row] + red * (cube[row + 1] - cube[row])

    def along_green(row: Any) -> Any:
        below, above = along_red(row), along_red(row + size)
        return below + green * (above - below)

    below, above = along_green(first), along_green(first + size * size)
    return below + blue * (above - below)


def walk_tetrahedron(fraction: Any, size: int) -> tuple[Any, Any, Any, Any]:
    """Return the sorted fractions (largest, middle, smallest) and the distances in rows to the second and third vertex.

    The fourth vertex is the far corner of the cell. Equal fractions may be taken in any order: the vertex between them
    has the weight 0. Works for float and integer fractions (..., 3).
    """
    strides = np.array([1, size, size * size])
    order = np.argsort(-fraction, axis=-1, kind="stable")
    ordered = np.take_along_axis(fraction, order, axis=-1)
    second = strides[order[..., 0]]
    third = second + strides[order[..., 1]]
    return ordered[..., 0, None], ordered[..., 1, None], ordered[..., 2, None], np.stack([second, third])


def _interpolate_tetrahedral(cell: Any, fraction: Float32, cube: Float32, size: int) -> Float32:
    """Weigh the vertices by the drops of the sorted fractions, summed from the near corner to the far one."""
    first = cell @ np.array([1, size, size * size])
    most, middle, least, (second, third) = walk_tetrahedron(fraction, size)
    total = (np.float32(1) - most) * cube[first]
    total = total + (most - middle) * cube[first + second]
    total = total + (middle - least) * cube[first + third]
    return total + least * cube[first + (1 + size + size * size)]


def fits_packed(cube: Float32) -> bool:
    """Whether the packed arithmetic can hold a cube: all nodes within 0 and 1."""
    return bool(cube.min() >= 0 and cube.max() <= 1)


def pack_nodes(cube: Float32) -> NDArray[np.uint64]:
    """Return one word per node, (size**3,): round half even(4080 node), red in bits 0 to 20, then green, then blue."""
    nodes = np.rint(cube.astype(np.float64) * PACKED_NODE).astype(np.uint64)
    return nodes[:, 0] | nodes[:, 1] << np.uint64(21) | nodes[:, 2] << np.uint64(42)


def split_codes(position: NDArray[np.float64], cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return cell and fraction in units of 1/512 (0 to 512, half to even) of positions 0 to `cells`."""
    cell = np.minimum(np.floor(position).astype(np.int64), cells - 1)
    return cell, np.rint((position - cell) * PACKED_WEIGHT).astype(np.int64)


def interpolate_packed(cell: Any, fraction: Any, words: NDArray[np.uint64], size: int) -> NDArray[np.uint8]:
    """Return the codes (..., 3) uint8 at integer cells and fractions (..., 3): the sum of four words times weights."""
    first = cell @ np.array([1, size, size * size])
    most, middle, least, (second, third) = walk_tetrahedron(fraction, size)
    weights = [PACKED_WEIGHT - most, most - middle, middle - least, least]
    rows = [first, first + second, first + third, first + (1 + size + size * size)]
    half = np.uint64(1 << (PACKED_SHIFT - 1))
    total = np.full(first.shape, half | half << np.uint64(21) | half << np.uint64(42))
    for weight, row in zip(weights, rows, strict=True):
        total += weight[..., 0].astype(np.uint64) * words[row]
    lanes = [total >> np.uint64(21 * channel + PACKED_SHIFT) & np.uint64(0xFF) for channel in range(3)]
    return np.stack(lanes, axis=-1).astype(np.uint8)
