# pyright: basic
"""Colour lookup in float32: the kernels. Imports Numba, `colour_places` and the lanes; `colour` prepares arguments.

What makes them fast, each measured:

- Positions, then vertices and weights, are computed for a chunk of pixels at a time, apart from the table reads: these
  loops vectorise, sorting included.
- A node is a row of four numbers, the last of them unused: one load fetches a colour, and one multiplication weighs it.
- A pixel of three samples is stored as four, of which the next pixel overwrites the last.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.colour_places import (
    CHUNK,
    follow_curves,
    place_codes,
    place_pixels,
    place_values,
    split_pixels,
)
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.float_lanes import (
    LANES,
    add_lanes,
    load_lanes,
    mix_lanes,
    store_lanes,
    store_lanes_and,
    weigh_lanes,
)

_F = np.float32
_I = np.int32
_U = np.uint64
_1 = np.float32(1)
_CHUNK = _U(CHUNK)


@njit(error_model="numpy", forceinline=True)
def _find_tetrahedra(positions, at, cells, strides, rows, weights, to, count):
    """Twin of `walk_tetrahedron`: rows of the first three vertices, and all four weights."""
    stride_r, stride_g, stride_b = strides
    far = _I(_I(stride_r + stride_g) + stride_b)
    for x in range(count):
        r, g, b = positions[at + x], positions[at + _CHUNK + x], positions[at + _CHUNK + _CHUNK + x]
        cell_r, cell_g, cell_b = min(_I(r), cells), min(_I(g), cells), min(_I(b), cells)
        r, g, b = r - _F(cell_r), g - _F(cell_g), b - _F(cell_b)
        first = _I(_I(_I(cell_r * stride_r) + _I(cell_g * stride_g)) + _I(cell_b * stride_b))
        # of equal fractions the one of the earlier axis counts as larger
        red_first = r >= g
        high, low = (r if red_first else g), (g if red_first else r)
        stride_high, stride_low = (stride_r if red_first else stride_g), (stride_g if red_first else stride_r)
        blue_not_first = high >= b
        most, rest = (high if blue_not_first else b), (b if blue_not_first else high)
        largest = stride_high if blue_not_first else stride_b
        blue_last = low >= b
        smallest = stride_b if blue_last else stride_low
        middle, least = (low if low >= rest else rest), (rest if low >= rest else low)
        rows[at + x] = first
        rows[at + _CHUNK + x] = _I(first + largest)
        rows[at + _CHUNK + _CHUNK + x] = _I(first + _I(far - smallest))
        weights[to + x] = _1 - most
        weights[to + _CHUNK + x] = most - middle
        weights[to + _CHUNK + _CHUNK + x] = middle - least
        weights[to + _CHUNK + _CHUNK + _CHUNK + x] = least


@njit(error_model="numpy", forceinline=True)
def _mix_tetrahedron(nodes, far, rows, at, weights, to, x):
    """Twin of `_interpolate_tetrahedral` for one pixel."""
    first = _U(rows[at + x])
    second, third = _U(rows[at + _CHUNK + x]), _U(rows[at + _CHUNK + _CHUNK + x])
    total = weigh_lanes(weights[to + x], load_lanes(nodes, first))
    total = add_lanes(total, weigh_lanes(weights[to + _CHUNK + x], load_lanes(nodes, second)))
    total = add_lanes(total, weigh_lanes(weights[to + _CHUNK + _CHUNK + x], load_lanes(nodes, third)))
    last = weigh_lanes(weights[to + _CHUNK + _CHUNK + _CHUNK + x], load_lanes(nodes, first + far))
    return add_lanes(total, last)


@njit(error_model="numpy", forceinline=True)
def _find_cells(positions, at, cells, strides, rows, count):
    """Twin of `locate`: rows of the near corners; the positions become fractions."""
    stride_r, stride_g, stride_b = strides
    for x in range(count):
        r, g, b = positions[at + x], positions[at + _CHUNK + x], positions[at + _CHUNK + _CHUNK + x]
        cell_r, cell_g, cell_b = min(_I(r), cells), min(_I(g), cells), min(_I(b), cells)
        rows[at + x] = _I(_I(_I(cell_r * stride_r) + _I(cell_g * stride_g)) + _I(cell_b * stride_b))
        positions[at + x] = r - _F(cell_r)
        positions[at + _CHUNK + x] = g - _F(cell_g)
        positions[at + _CHUNK + _CHUNK + x] = b - _F(cell_b)


@njit(error_model="numpy", forceinline=True)
def _mix_face(nodes, row, green, red, blue_or_green):
    """Mix four corners of a cell along red, then along green."""
    low = mix_lanes(red, load_lanes(nodes, row), load_lanes(nodes, row + _U(LANES)))
    high = mix_lanes(red, load_lanes(nodes, row + green), load_lanes(nodes, row + green + _U(LANES)))
    return mix_lanes(blue_or_green, low, high)


@njit(error_model="numpy", forceinline=True)
def _mix_cell(nodes, green, blue, rows, at, fractions, x):
    """Twin of `_interpolate_trilinear` for one pixel."""
    row = _U(rows[at + x])
    red, along_green = fractions[at + x], fractions[at + _CHUNK + x]
    near = _mix_face(nodes, row, green, red, along_green)
    far = _mix_face(nodes, row + blue, green, red, along_green)
    return mix_lanes(fractions[at + _CHUNK + _CHUNK + x], near, far)


@compile_kernel(parallel=True)
def mix_colours(
    samples: NDArray[np.uint8 | np.uint16 | np.float32],
    source: tuple[int, ...],
    codes: NDArray[np.float32] | None,
    curves: NDArray[np.float32] | None,
    curve_axes: tuple[np.float32, ...],
    axes: tuple[np.float32, ...],
    cells: int,
    nodes: NDArray[np.float32],
    strides: tuple[np.int32, np.int32, np.int32],
    planes: NDArray[np.uint8 | np.uint16 | np.float32],
    positions: NDArray[np.float32],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    ends: NDArray[np.uint8 | np.uint16 | np.float32],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8 | np.uint16 | np.float32],
    target: tuple[int, ...],
) -> None:
    """Twin of `BoundLookup.look_up` with a cube, and of `scale_to_depth`.

    Parameters
    ----------
    samples
        Pixels, one after the other.
    source
        As long as a pixel has samples; the values do not matter.
    codes : (3 * codes,), or None
        Positions of every code on the three axes of the cube. Then curves are not used.
    curves : (3 * entries,), or None
    curve_axes, axes : (scale, shift, last), red, green, blue each
        Of the curves and of the cube.
    cells
        Of an axis of the cube.
    nodes : (size**3 * LANES,)
        Red, green, blue, and a number that is not used.
    strides
        Distances of neighbouring nodes in `nodes`.
    planes : (workers * CHUNK * 4,)
        Scratch.
    positions, rows : (workers * CHUNK * 3,)
    weights : (workers * CHUNK * 4,), or None
        Scratch. Without weights the interpolation is trilinear, otherwise tetrahedral.
    ends : (workers * LANES,)
        Scratch.
    workers
        How many take part.
    counter
        From `new_counter`: deals out the chunks.
    out
        As many pixels; uint8, uint16 or float32.
    target
        As long as a pixel of `out`; with 4, the alpha of the samples is copied.
    """
    for worker in prange(workers):
        pixel = _U(len(target))
        pixels = _U(len(out)) // pixel
        at, to, end = _U(3 * CHUNK) * _U(worker), _U(4 * CHUNK) * _U(worker), _U(LANES) * _U(worker)
        alphas = to + _U(3) * _CHUNK
        green, blue = _U(strides[1]), _U(strides[2])
        far = _U(LANES) + green + blue
        last_cell = _I(cells - 1)
        while True:
            begin = _U(take_next(counter)) * _CHUNK
            if begin >= pixels:
                break
            count = min(_CHUNK, pixels - begin)
            first, here = begin * _U(len(source)), begin * pixel
            if codes is not None:
                split_pixels(samples, first, source, planes, to, count)
                place_codes(planes, to, codes, positions, at, count)
            elif curves is not None:
                split_pixels(samples, first, source, planes, to, count)
                follow_curves(planes, to, curves, curve_axes, positions, at, count)
                place_values(axes, positions, at, count)
            else:
                place_pixels(samples, first, source, axes, positions, at, planes, to, count)
            if weights is None:
                _find_cells(positions, at, last_cell, strides, rows, count)
            else:
                _find_tetrahedra(positions, at, last_cell, strides, rows, weights, to, count)
            # a pixel of three is stored as four samples, of which the next pixel overwrites the last; but what follows a
            # chunk may belong to another thread
            whole = count if len(target) == 4 else count - _U(1)
            for x in range(whole):
                if weights is None:
                    colour = _mix_cell(nodes, green, blue, rows, at, positions, x)
                else:
                    colour = _mix_tetrahedron(nodes, far, rows, at, weights, to, x)
                if len(target) == 4:
                    store_lanes_and(colour, planes[alphas + x], out, here + x * pixel)
                else:
                    store_lanes(colour, out, here + x * pixel)
            if len(target) == 3:
                if weights is None:
                    colour = _mix_cell(nodes, green, blue, rows, at, positions, whole)
                else:
                    colour = _mix_tetrahedron(nodes, far, rows, at, weights, to, whole)
                store_lanes(colour, ends, end)
                for channel in range(3):
                    out[here + whole * pixel + _U(channel)] = ends[end + _U(channel)]
