# pyright: basic
"""Cells of a bilateral grid in the memory of a block, and the colours that they make: pieces of a kernel.

Imports rounding and four_samples. Numbers and their order are those of `slice_grid` and `apply_affine`.

A cell lies between two columns and two levels of the grid, whose rows are mixed already. For each of red, green and blue
it holds sixteen numbers: the near map, the steps across, to the deeper level, and both. What follows a cell is left free,
so that threads which read eight neighbouring levels do not wait for each other.
"""

from __future__ import annotations

import numpy as np

from lutkit_runtime.bilateral import COEFFICIENTS
from lutkit_runtime.kernels.cuda.compiling import cuda, device_function
from lutkit_runtime.kernels.cuda.device import is_simulated
from lutkit_runtime.kernels.cuda.four_samples import FOUR, load_constant_four, load_four, store_four
from lutkit_runtime.kernels.cuda.rounding import add, multiply, subtract
from lutkit_runtime.ops.grid_fusion import MAX_GRID_DEPTH

CHANNELS = 3
CHANNEL = 4 * FOUR
"""Numbers of a cell for one of red, green and blue."""

CELL = CHANNELS * CHANNEL + FOUR
"""From a cell to the next."""

MOST_CELLS = MAX_GRID_DEPTH - 1
"""That a block has room for: all levels between two columns of a grid."""

ROOM = MOST_CELLS * CELL
ALIGNMENT = None if is_simulated() else 16
"""Bytes of four numbers, which are read at once; the simulator knows none."""

_I, _U = np.int32, np.uint32


@device_function
def _mix_rows(grid, upper, lower, along):
    a, b, c, d = load_constant_four(grid, upper)
    e, f, g, h = load_constant_four(grid, lower)
    return (
        add(a, multiply(along, subtract(e, a))),
        add(b, multiply(along, subtract(f, b))),
        add(c, multiply(along, subtract(g, c))),
        add(d, multiply(along, subtract(h, d))),
    )


@device_function
def _subtract_four(one, other):
    return (
        subtract(one[0], other[0]),
        subtract(one[1], other[1]),
        subtract(one[2], other[2]),
        subtract(one[3], other[3]),
    )


@device_function
def join_cells(grid, shape, row_cells, row_fractions, top, count, column, cells):
    """Fill the block's cells: of `count` rows of the picture from `top` on, all levels after a column of the grid.

    The threads of a block share the work; none may read a cell before all are here again.
    """
    rows, columns, depth = shape
    levels = max(_I(depth - _I(1)), _I(1))
    pieces = _U(levels * _I(CHANNELS))
    tasks = _U(_U(count) * pieces)
    task = _U(cuda.threadIdx.x)
    while task < tasks:
        row = _U(task // pieces)
        rest = _U(task - _U(row * pieces))
        level, channel = _I(rest // _U(CHANNELS)), _I(rest % _U(CHANNELS))
        upper, along = row_cells[_U(_U(top) + row)], row_fractions[_U(_U(top) + row)]
        lower = min(_I(upper + _I(1)), _I(rows - _I(1)))
        right = min(_I(column + _I(1)), _I(columns - _I(1)))
        across = _I(_I(_I(right - column) * depth) * _I(COEFFICIENTS))
        deeper = _I(_I(min(_I(level + _I(1)), _I(depth - _I(1))) - level) * _I(COEFFICIENTS))
        place = _I(_I(_I(_I(column * depth) + level) * _I(COEFFICIENTS)) + _I(channel * _I(FOUR)))
        whole = _I(_I(columns * depth) * _I(COEFFICIENTS))
        above, below = _I(_I(upper * whole) + place), _I(_I(lower * whole) + place)
        near = _mix_rows(grid, above, below, along)
        to_right = _subtract_four(_mix_rows(grid, _I(above + across), _I(below + across), along), near)
        deep = _mix_rows(grid, _I(above + deeper), _I(below + deeper), along)
        across_and_deeper = _I(across + deeper)
        far = _mix_rows(grid, _I(above + across_and_deeper), _I(below + across_and_deeper), along)
        both = _subtract_four(_subtract_four(far, deep), to_right)
        to_deep = _subtract_four(deep, near)
        at = _I(_I(_I(_I(_I(row) * levels) + level) * _I(CELL)) + _I(channel * _I(CHANNEL)))
        store_four(cells, at, near[0], near[1], near[2], near[3])
        store_four(cells, _I(at + _I(4)), to_right[0], to_right[1], to_right[2], to_right[3])
        store_four(cells, _I(at + _I(8)), to_deep[0], to_deep[1], to_deep[2], to_deep[3])
        store_four(cells, _I(at + _I(12)), both[0], both[1], both[2], both[3])
        task = _U(task + _U(cuda.blockDim.x))


@device_function
def _load_parts(cells, at):
    return (
        load_four(cells, at),
        load_four(cells, _I(at + _I(4))),
        load_four(cells, _I(at + _I(8))),
        load_four(cells, _I(at + _I(12))),
    )


@device_function
def _mix_parts(near, across, deeper, both, x, z):
    return add(add(near, multiply(x, across)), multiply(z, add(deeper, multiply(x, both))))


@device_function
def _make_channel(parts, x, z, red, green, blue):
    near, across, deeper, both = parts
    of_red = _mix_parts(near[0], across[0], deeper[0], both[0], x, z)
    of_green = _mix_parts(near[1], across[1], deeper[1], both[1], x, z)
    of_blue = _mix_parts(near[2], across[2], deeper[2], both[2], x, z)
    of_one = _mix_parts(near[3], across[3], deeper[3], both[3], x, z)
    return add(add(multiply(of_red, red), multiply(of_blue, blue)), add(multiply(of_green, green), of_one))


@device_function
def map_four(cells, spots, channel, xs, zs, reds, greens, blues):
    """Return one channel of what four colours become, whose cells begin at four spots.

    A cell is read again only where it is another one: neighbours mostly share theirs.
    """
    shift = _I(channel * _I(CHANNEL))
    parts = _load_parts(cells, _I(spots[0] + shift))
    one = _make_channel(parts, xs[0], zs[0], reds[0], greens[0], blues[0])
    if spots[1] != spots[0]:
        parts = _load_parts(cells, _I(spots[1] + shift))
    two = _make_channel(parts, xs[1], zs[1], reds[1], greens[1], blues[1])
    if spots[2] != spots[1]:
        parts = _load_parts(cells, _I(spots[2] + shift))
    three = _make_channel(parts, xs[2], zs[2], reds[2], greens[2], blues[2])
    if spots[3] != spots[2]:
        parts = _load_parts(cells, _I(spots[3] + shift))
    four = _make_channel(parts, xs[3], zs[3], reds[3], greens[3], blues[3])
    return one, two, three, four
