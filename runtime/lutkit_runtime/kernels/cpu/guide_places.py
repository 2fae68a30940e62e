# pyright: basic
"""From the pixels of a picture to their levels in a bilateral grid: pieces of the kernels. Imports Numba only.

As in `colour_places`, every function works on a chunk of pixels at a time, whose numbers lie in planes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lutkit_runtime.kernels.cpu.colour_places import CHUNK

_F = np.float32
_I = np.int32
_U = np.uint64
_0, _1 = np.float32(0), np.float32(1)
_CHUNK = _U(CHUNK)


@njit(error_model="numpy", forceinline=True)
def read_units(samples, first, source, peak, largest, units, at, alphas, to, count):
    """Copy `count` pixels into planes as `bound_base` does, and their alpha as it is; without a peak they are floats."""
    step = _U(len(source))
    for x in range(count):
        here = first + x * step
        for channel in range(3):
            value = _F(samples[here + _U(channel)])
            if peak is None:
                value = min(max(value, -largest), largest) if value == value else _0
            else:
                value = value / peak
            units[at + _U(channel) * _CHUNK + x] = value
        if len(source) == 4:
            alphas[to + x] = samples[here + _U(3)]


@njit(error_model="numpy", forceinline=True)
def bound(value, high):
    """Return a value brought within 0 and `high`."""
    inside = value if value < high else high
    return inside if value > _0 else _0


@njit(error_model="numpy", forceinline=True)
def place_arguments(units, at, peak, mix, row, high, positions, to, count):
    """Write where the arguments of a curve lie on it, ends not respected; without a peak samples may lie outside 0 to 1."""
    red, green, blue, one = mix[row], mix[row + _U(1)], mix[row + _U(2)], mix[row + _U(3)]
    for x in range(count):
        r, g, b = units[at + x], units[at + _CHUNK + x], units[at + _CHUNK + _CHUNK + x]
        if peak is None:
            r, g, b = bound(r, _1), bound(g, _1), bound(b, _1)
        argument = _F(_F(_F(_F(r * red) + _F(g * green)) + _F(b * blue)) + one)
        positions[to + x] = argument * high


@njit(error_model="numpy", forceinline=True)
def _follow(nodes, base, cells, position):
    """Twin of `interpolate_curve` from the position on."""
    inside = bound(position, _F(cells))
    cell = min(_I(inside), _I(cells - _I(1)))
    row = base + _U(cell)
    below = nodes[row]
    return below + _F(_F(inside - _F(cell)) * _F(nodes[row + _U(1)] - below))


@njit(error_model="numpy", forceinline=True)
def add_curve(nodes, base, cells, positions, to, totals, at, count, first):
    """Add the values of a curve at positions; the first curve starts the sum."""
    if cells == _I(1):  # no cell to be found: these loops vectorise
        below = nodes[base]
        step = _F(nodes[base + _U(1)] - below)
        if first:
            for x in range(count):
                totals[at + x] = below + _F(bound(positions[to + x], _1) * step)
        else:
            for x in range(count):
                totals[at + x] = totals[at + x] + _F(below + _F(bound(positions[to + x], _1) * step))
    elif first:
        for x in range(count):
            totals[at + x] = _follow(nodes, base, cells, positions[to + x])
    else:
        for x in range(count):
            totals[at + x] = totals[at + x] + _follow(nodes, base, cells, positions[to + x])


@njit(error_model="numpy", forceinline=True)
def find_guides(units, at, peak, mix, curves, result, places, guides, to, count):
    """Twin of `GuideTables.evaluate`.

    `mix` holds four numbers for each curve, `curves` the curves one after the other; `places` is scratch. Without a peak
    the samples may lie outside 0 to 1.
    """
    number = _U(len(mix)) // _U(4)
    entries = _U(len(curves)) // number
    cells = _I(entries - _U(1))
    for curve in range(number):
        place_arguments(units, at, peak, mix, curve * _U(4), _F(cells), places, to, count)
        add_curve(curves, curve * entries, cells, places, to, guides, to, count, curve == _U(0))
    last = _I(len(result) - 1)
    for x in range(count):
        places[to + x] = guides[to + x] * _F(last)
    add_curve(result, _U(0), last, places, to, guides, to, count, True)


@njit(error_model="numpy", forceinline=True)
def find_levels(guides, at, depth, levels, count):
    """Turn guides into fractions of cells, and tell the cells: twin of `split_position`."""
    cells = _I(depth - _I(1))
    last = max(cells - _I(1), _I(0))
    for x in range(count):
        position = bound(_F(_F(guides[at + x] * _F(depth)) - _F(0.5)), _F(cells))
        cell = min(_I(position), last)
        levels[at + x] = cell
        guides[at + x] = position - _F(cell)


@njit(error_model="numpy", forceinline=True)
def join_cells(grid, shape, lanes, row, along, line, at, cells, to):
    """Mix two rows of a grid at a fraction, and write its cells as `map_lanes` reads them.

    `grid` holds maps of as many numbers as `lanes` is long; `shape` is rows, columns, depth.
    """
    rows, columns, depth = shape
    width = _U(columns * depth * len(lanes))
    upper, lower = _U(row) * width, _U(min(row + 1, rows - 1)) * width
    for x in range(width):
        above = grid[upper + x]
        line[at + x] = above + _F(along * _F(grid[lower + x] - above))
    across_columns, across_levels = max(columns - 1, 1), max(depth - 1, 1)
    size = _U(len(lanes))
    for column in range(across_columns):
        next_column = min(column + 1, columns - 1)
        for level in range(across_levels):
            next_level = min(level + 1, depth - 1)
            near = at + _U(column * depth + level) * size
            right = at + _U(next_column * depth + level) * size
            deep = at + _U(column * depth + next_level) * size
            far = at + _U(next_column * depth + next_level) * size
            cell = to + _U(column * across_levels + level) * _U(4) * size
            for lane in range(size):
                a, b, c, d = line[near + lane], line[right + lane], line[deep + lane], line[far + lane]
                across = b - a
                cells[cell + lane] = a
                cells[cell + size + lane] = across
                cells[cell + size + size + lane] = c - a
                cells[cell + size + size + size + lane] = _F(d - c) - across
