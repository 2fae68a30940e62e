# pyright: basic
"""Bilateral slices of a grid that is trained: the kernels, forward and backward. `bilateral_gradient` prepares arguments.

Imports Numba, the pieces of the kernel that applies, and the lanes. On the way back a row of pixels collects what it gives
to the maps in a line of cells, which is then shared between two rows of the grid. Rows of the picture that lie between the
same two rows of the grid form stretches; sums are kept per stretch, never per thread: who works on one changes nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.bilateral_gradient_lanes import differ_map, share_map, turn_slope
from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.float_lanes import load_lanes, store_lanes
from lutkit_runtime.kernels.cpu.guide_places import find_levels, join_cells
from lutkit_runtime.kernels.cpu.map_lanes import CELL_LANES, MAP_LANES, map_colour

_F = np.float32
_I = np.int32
_U = np.uint64
_0 = np.float32(0)
_CHUNK = _U(CHUNK)
_FOUR = _U(4)
_LANES = (0,) * MAP_LANES


@njit(error_model="numpy", forceinline=True)
def _copy(source, first, target, at, count):
    for x in range(count):
        target[at + x] = source[first + x]


@njit(error_model="numpy", forceinline=True)
def _write_planes(shades, at, planes, first, step, count):
    """Write the first three of every four numbers into planes."""
    for x in range(count):
        own = at + x * _FOUR
        planes[first + x] = shades[own]
        planes[first + step + x] = shades[own + _U(1)]
        planes[first + _U(2) * step + x] = shades[own + _U(2)]


@njit(error_model="numpy", forceinline=True)
def _read_planes(planes, first, step, shades, at, count):
    """Turn three planes into four numbers for each pixel, the fourth of which is 0."""
    for x in range(count):
        own = at + x * _FOUR
        shades[own] = planes[first + x]
        shades[own + _U(1)] = planes[first + step + x]
        shades[own + _U(2)] = planes[first + _U(2) * step + x]
        shades[own + _U(3)] = _0


@njit(error_model="numpy", forceinline=True)
def _write_guide_slopes(guides, shades, at, depth, slopes, first, count):
    """Write the gradient to guides from the parts of the derivatives along the levels; 0 beyond the end levels."""
    last = _F(depth - 1)
    for x in range(count):
        own = at + x * _FOUR
        slope = (shades[own] + shades[own + _U(1)]) + (shades[own + _U(2)] + shades[own + _U(3)])
        position = _F(_F(guides[first + x] * _F(depth)) - _F(0.5))
        slopes[first + x] = slope * _F(depth) if (position >= _0) & (position <= last) else _0


@njit(error_model="numpy", forceinline=True)
def _join_rows(grid, upper, lower, along, line, at, width):
    """Mix two rows of a grid at a fraction."""
    for x in range(width):
        above = grid[upper + x]
        line[at + x] = above + along * (grid[lower + x] - above)


@njit(error_model="numpy", forceinline=True)
def _part_rows(line, at, along, sums, upper, lower, width):
    """Share a line of gradients between the two rows it was mixed of, and clear it."""
    for x in range(width):
        given = line[at + x]
        below = along * given
        sums[upper + x] += given - below
        sums[lower + x] += below
        line[at + x] = _0


@compile_kernel(parallel=True)
def slice_pictures(
    pictures: NDArray[np.float32],
    guides: NDArray[np.float32],
    grids: NDArray[np.float32],
    extent: tuple[int, int, int],
    shape: tuple[int, int, int],
    row_cells: NDArray[np.int32],
    row_fractions: NDArray[np.float32],
    column_cells: NDArray[np.int32],
    column_fractions: NDArray[np.float32],
    lines: NDArray[np.float32],
    cells: NDArray[np.float32],
    fractions: NDArray[np.float32],
    levels: NDArray[np.int32],
    shades: NDArray[np.float32],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Twin of `apply_affine` after `slice_grid`, for whole pictures.

    Parameters
    ----------
    pictures : (N * 3 * H * W,)
        Planes.
    guides : (N * H * W,)
    grids : (grids * rows * columns * depth * MAP_LANES,)
        As in `slice_colours`.
    extent
        Number of pictures, of pixels of each, and of grids: as many as pictures, or 1.
    shape
        Rows, columns, depth.
    row_cells, row_fractions, column_cells, column_fractions
        From `place_axis`.
    lines : (workers * columns * depth * MAP_LANES,)
    cells : (workers * cells * CELL_LANES,)
    fractions, levels : (workers * CHUNK,)
    shades : (workers * CHUNK * 4,)
        Scratch.
    workers
        How many take part.
    counter
        From `new_counter`: deals out the rows of all pictures.
    out : like pictures
    """
    count_pictures, pixels, count_grids = extent
    size = len(grids) // count_grids
    for worker in prange(workers):
        height, width, step = len(row_cells), _U(len(column_cells)), _U(pixels)
        to, shade = _CHUNK * _U(worker), _FOUR * _CHUNK * _U(worker)
        line = _U(len(lines) // workers) * _U(worker)
        cell = _U(len(cells) // workers) * _U(worker)
        across_levels = _U(max(shape[2] - 1, 1))
        while True:
            number = take_next(counter)
            if number >= count_pictures * height:
                break
            picture = number // height
            row = number - picture * height
            base = min(picture, count_grids - 1) * size
            grid = grids[base : base + size]
            join_cells(grid, shape, _LANES, row_cells[row], row_fractions[row], lines, line, cells, cell)
            begin = _U(0)
            while begin < width:
                count = min(_CHUNK, width - begin)
                guide = _U(number) * width + begin
                first = guide + _U(2 * picture) * step
                _copy(guides, guide, fractions, to, count)
                find_levels(fractions, to, _I(shape[2]), levels, count)
                for x in range(count):
                    index = _U(column_cells[begin + x]) * across_levels + _U(levels[to + x])
                    colour = map_colour(
                        cells,
                        cell + index * _U(CELL_LANES),
                        column_fractions[begin + x],
                        fractions[to + x],
                        pictures[first + x],
                        pictures[first + step + x],
                        pictures[first + _U(2) * step + x],
                    )
                    store_lanes(colour, shades, shade + x * _FOUR)
                _write_planes(shades, shade, out, first, step, count)
                begin += _CHUNK


@compile_kernel(parallel=True)
def differentiate_slices(
    pictures: NDArray[np.float32],
    guides: NDArray[np.float32],
    grids: NDArray[np.float32],
    gradient: NDArray[np.float32],
    extent: tuple[int, int, int],
    shape: tuple[int, int, int],
    stretches: NDArray[np.int32],
    row_cells: NDArray[np.int32],
    row_fractions: NDArray[np.float32],
    column_cells: NDArray[np.int32],
    column_fractions: NDArray[np.float32],
    wanted: tuple[bool, bool, bool],
    lines: NDArray[np.float32],
    shares: NDArray[np.float32],
    fractions: NDArray[np.float32],
    levels: NDArray[np.int32],
    slopes: NDArray[np.float32],
    shades: NDArray[np.float32],
    workers: int,
    counter: NDArray[np.int64],
    sums: NDArray[np.float32],
    to_guides: NDArray[np.float32],
    to_pictures: NDArray[np.float32],
) -> None:
    """Twin of automatic differentiation of `apply_affine` after `slice_grid`.

    Parameters
    ----------
    pictures, guides, grids, extent, shape, row_cells, row_fractions, column_cells, column_fractions, workers
        As in `slice_pictures`.
    gradient : like pictures
        To the colours.
    stretches : (number * 2,)
        First row of each stretch, and the row after its last one; the same for every picture. Its rows have one cell.
    wanted
        Whether `sums`, `to_guides` and `to_pictures` are wanted.
    lines, shares : (workers * columns * depth * MAP_LANES,)
    fractions, levels : (workers * CHUNK,)
    slopes, shades : (workers * CHUNK * 4,)
        Scratch.
    counter
        From `new_counter`: deals out the stretches of all pictures.
    sums : (N * number * 2 * columns * depth * MAP_LANES,), or empty
        What every stretch gives to the upper and to the lower of its two rows of the grid; need not be zero at the start.
    to_guides : like guides, or empty
    to_pictures : like pictures, or empty
    """
    count_pictures, pixels, count_grids = extent
    with_grids, with_guides, with_pictures = wanted
    rows, columns, depth = shape
    size = len(grids) // count_grids
    for worker in prange(workers):
        width, step = _U(len(column_cells)), _U(pixels)
        to, at = _CHUNK * _U(worker), _FOUR * _CHUNK * _U(worker)
        row_width = _U(columns * depth * MAP_LANES)
        line = row_width * _U(worker)
        deep = _U(MAP_LANES if depth > 1 else 0)
        right = _U(depth * MAP_LANES if columns > 1 else 0)
        number = len(stretches) // 2
        while True:
            taken = take_next(counter)
            if taken >= count_pictures * number:
                break
            picture = taken // number
            stretch = taken - picture * number
            base = _U(min(picture, count_grids - 1) * size)
            above = _U(2 * taken) * row_width
            below = above + row_width
            if with_grids:
                for x in range(row_width):
                    shares[line + x] = _0
                    sums[above + x] = _0
                    sums[below + x] = _0
            for row in range(stretches[2 * stretch], stretches[2 * stretch + 1]):
                if with_guides or with_pictures:
                    upper = base + _U(row_cells[row]) * row_width
                    lower = base + _U(min(row_cells[row] + 1, rows - 1)) * row_width
                    _join_rows(grids, upper, lower, row_fractions[row], lines, line, row_width)
                begin = _U(0)
                while begin < width:
                    count = min(_CHUNK, width - begin)
                    guide = _U(picture) * step + _U(row) * width + begin
                    first = guide + _U(2 * picture) * step
                    _copy(guides, guide, fractions, to, count)
                    find_levels(fractions, to, _I(depth), levels, count)
                    _read_planes(gradient, first, step, slopes, at, count)
                    for x in range(count):
                        near = line + _U(column_cells[begin + x] * depth + levels[to + x]) * _U(MAP_LANES)
                        along_x, along_z = column_fractions[begin + x], fractions[to + x]
                        red = pictures[first + x]
                        green = pictures[first + step + x]
                        blue = pictures[first + _U(2) * step + x]
                        slope = load_lanes(slopes, at + x * _FOUR)
                        if with_grids:
                            share_map(shares, near, right, deep, along_x, along_z, red, green, blue, slope)
                        if with_guides:
                            parts = differ_map(lines, near, right, deep, along_x, red, green, blue, slope)
                            store_lanes(parts, shades, at + x * _FOUR)
                    if with_guides:
                        _write_guide_slopes(guides, shades, at, depth, to_guides, guide, count)
                    if with_pictures:
                        for x in range(count):
                            near = line + _U(column_cells[begin + x] * depth + levels[to + x]) * _U(MAP_LANES)
                            along_x, along_z = column_fractions[begin + x], fractions[to + x]
                            slope = load_lanes(slopes, at + x * _FOUR)
                            turned = turn_slope(lines, near, right, deep, along_x, along_z, slope)
                            store_lanes(turned, shades, at + x * _FOUR)
                        _write_planes(shades, at, to_pictures, first, step, count)
                    begin += _CHUNK
                if with_grids:
                    _part_rows(shares, line, row_fractions[row], sums, above, below, row_width)
