# pyright: basic
"""Bilateral slice and affine map: the kernel. Imports Numba, `guide_places` and the lanes; `bilateral` prepares arguments.

What makes it fast, each measured:

- The grid is mixed along rows once for a row of pixels, and what interpolation along columns and levels needs of a cell
  lies together: a pixel reads one run of 256 bytes, and never a coefficient of its own is stored.
- Guides are computed for a chunk of pixels at a time, apart from the maps: these loops vectorise.
- A pixel's map is two vectors of eight.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.float_lanes import LANES, store_lanes, store_lanes_and
from lutkit_runtime.kernels.cpu.guide_places import find_guides, find_levels, join_cells, read_units
from lutkit_runtime.kernels.cpu.map_lanes import CELL_LANES, MAP_LANES, map_colour

_F = np.float32
_I = np.int32
_U = np.uint64
_CHUNK = _U(CHUNK)
_LANES = (0,) * MAP_LANES


@compile_kernel(parallel=True)
def slice_colours(
    samples: NDArray[np.uint8 | np.uint16 | np.float32],
    source: tuple[int, ...],
    peak: np.float32 | None,
    largest: np.float32,
    mix: NDArray[np.float32],
    curves: NDArray[np.float32],
    result: NDArray[np.float32],
    grid: NDArray[np.float32],
    shape: tuple[int, int, int],
    row_cells: NDArray[np.int32],
    row_fractions: NDArray[np.float32],
    column_cells: NDArray[np.int32],
    column_fractions: NDArray[np.float32],
    lines: NDArray[np.float32],
    cells: NDArray[np.float32],
    units: NDArray[np.float32],
    places: NDArray[np.float32],
    guides: NDArray[np.float32],
    levels: NDArray[np.int32],
    alphas: NDArray[np.uint8 | np.uint16 | np.float32],
    ends: NDArray[np.uint8 | np.uint16 | np.float32],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8 | np.uint16 | np.float32],
    target: tuple[int, ...],
) -> None:
    """Twin of `BoundSlice.slice` and of `scale_to_depth`.

    Parameters
    ----------
    samples
        Pixels of a piece, row by row.
    source
        As long as a pixel has samples; the values do not matter.
    peak
        Largest code, or None for floats.
    largest
        Bound of floats.
    mix, curves, result
        Of the guide: (curves * 4,), (curves * entries,), (entries,).
    grid : (rows * columns * depth * MAP_LANES,)
        Red, green, blue and one: what each adds to red, green and blue, and a number that is not used.
    shape
        Rows, columns, depth.
    row_cells, row_fractions, column_cells, column_fractions
        From `place_axis`.
    lines : (workers * columns * depth * MAP_LANES,)
    cells : (workers * cells * CELL_LANES,)
    units : (workers * CHUNK * 3,)
    places, guides, levels, alphas : (workers * CHUNK,)
    ends : (workers * LANES,)
        Scratch.
    workers
        How many take part.
    counter
        From `new_counter`: deals out the rows.
    out
        As many pixels; uint8, uint16 or float32.
    target
        As long as a pixel of `out`; with 4, the alpha of the samples is copied.
    """
    for worker in prange(workers):
        width = _U(len(column_cells))
        pixel = _U(len(target))
        at, to, end = _U(3 * CHUNK) * _U(worker), _CHUNK * _U(worker), _U(LANES) * _U(worker)
        line = _U(len(lines) // workers) * _U(worker)
        cell = _U(len(cells) // workers) * _U(worker)
        across_levels = _U(max(shape[2] - 1, 1))
        while True:
            row = take_next(counter)
            if row >= len(row_cells):
                break
            join_cells(grid, shape, _LANES, row_cells[row], row_fractions[row], lines, line, cells, cell)
            begin = _U(0)
            while begin < width:
                count = min(_CHUNK, width - begin)
                first = _U(row) * width + begin
                here = first * pixel
                read_units(samples, first * _U(len(source)), source, peak, largest, units, at, alphas, to, count)
                find_guides(units, at, peak, mix, curves, result, places, guides, to, count)
                find_levels(guides, to, _I(shape[2]), levels, count)
                # a pixel of three is stored as four samples, of which the next pixel overwrites the last; but what
                # follows a row may belong to another thread
                for x in range(count):
                    index = _U(column_cells[begin + x]) * across_levels + _U(levels[to + x])
                    colour = map_colour(
                        cells,
                        cell + index * _U(CELL_LANES),
                        column_fractions[begin + x],
                        guides[to + x],
                        units[at + x],
                        units[at + _CHUNK + x],
                        units[at + _CHUNK + _CHUNK + x],
                    )
                    if len(target) == 4:
                        if len(source) == 4:
                            store_lanes_and(colour, alphas[to + x], out, here + x * pixel)
                    elif begin + x + _U(1) < width:
                        store_lanes(colour, out, here + x * pixel)
                    else:
                        store_lanes(colour, ends, end)
                        for channel in range(3):
                            out[here + x * pixel + _U(channel)] = ends[end + _U(channel)]
                begin += _CHUNK
