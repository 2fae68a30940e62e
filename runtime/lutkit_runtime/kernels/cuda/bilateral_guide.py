# pyright: basic
"""From colours to levels of a bilateral grid, four pixels at a time: pieces of a kernel. Imports rounding and four_samples.

Numbers and their order are those of `GuideTables.evaluate` and `split_position`. Curves are rows of a node and the step
to the next one: see `tabulate_steps`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Float32
from lutkit_runtime.kernels.cuda.compiling import cuda, device_function
from lutkit_runtime.kernels.cuda.device import is_simulated
from lutkit_runtime.kernels.cuda.four_samples import load_constant_four, load_constant_two
from lutkit_runtime.kernels.cuda.rounding import add, multiply, subtract

_I, _F = np.int32, np.float32
_0, _1, _HALF = _F(0), _F(1), _F(0.5)


@cuda.jit(device=True)
def _saturate(value):
    return min(max(_0, value), _1)


def _find_saturate() -> Any:
    if is_simulated():
        return _saturate
    from numba.cuda import libdevice

    return libdevice.saturatef


saturate = _find_saturate()
"""A float32 within 0 and 1, not a number as 0; a GPU's sums can do that at no cost."""


def tabulate_steps(curves: Float32) -> NDArray[np.float32]:
    """Return curves (entries, count) as rows (count, entries, 2): a node, and the step to the next one.

    The last row is where the last step leads, so that it needs no cell of its own, and that is not always the last node.
    """
    steps: Any = np.diff(curves, axis=0)
    nodes = np.concatenate([curves[:-1], curves[-2:-1] + steps[-1:]])
    rows = np.stack([nodes, np.concatenate([steps, np.zeros_like(steps[-1:])])], axis=-1)
    return np.ascontiguousarray(rows.swapaxes(0, 1))


@device_function
def follow(argument, rows, first, cells):
    """Twin of `interpolate_curve` for an argument within 0 and 1: it may be bounded before it is scaled as well as after."""
    position = multiply(argument, _F(cells))
    cell = _I(position)
    node, step = load_constant_two(rows, _I(_I(first + cell) << _I(1)))
    return add(node, multiply(subtract(position, _F(cell)), step))


@device_function
def _follow_four(arguments, rows, first, entries):
    """Follow a curve whose rows begin at `first`; one of two nodes is read once for four pixels."""
    one, two, three, four = arguments
    if entries == _I(2):
        node, step = load_constant_two(rows, _I(first << _I(1)))
        return (
            add(node, multiply(one, step)),
            add(node, multiply(two, step)),
            add(node, multiply(three, step)),
            add(node, multiply(four, step)),
        )
    cells = _I(entries - _I(1))
    return (
        follow(one, rows, first, cells),
        follow(two, rows, first, cells),
        follow(three, rows, first, cells),
        follow(four, rows, first, cells),
    )


@device_function
def _mix_channels(red, green, blue, row):
    total = add(multiply(red, row[0]), multiply(green, row[1]))
    return saturate(add(add(total, multiply(blue, row[2])), row[3]))


@device_function
def find_guides(reds, greens, blues, guide):
    """Twin of `GuideTables.evaluate` for four colours within 0 and 1.

    `guide` is a tuple: four numbers for each curve; the curves' rows, one curve after the other; how many curves, and of
    how many entries; the rows of the last curve, and its entries.
    """
    mix, curves, count, entries, result, result_entries = guide
    # what is added to 0 keeps its value; the sign of a zero is lost in the next curve in any case
    one = two = three = four = _0
    curve = _I(0)
    while curve < count:
        row = load_constant_four(mix, _I(curve << _I(2)))
        arguments = (
            _mix_channels(reds[0], greens[0], blues[0], row),
            _mix_channels(reds[1], greens[1], blues[1], row),
            _mix_channels(reds[2], greens[2], blues[2], row),
            _mix_channels(reds[3], greens[3], blues[3], row),
        )
        values = _follow_four(arguments, curves, _I(curve * entries), entries)
        one, two = add(one, values[0]), add(two, values[1])
        three, four = add(three, values[2]), add(four, values[3])
        curve = _I(curve + _I(1))
    totals = saturate(one), saturate(two), saturate(three), saturate(four)
    return _follow_four(totals, result, _I(0), result_entries)


@device_function
def find_level(guide, depth):
    """Twin of `split_position` for a grid of so many levels: the cell and the fraction."""
    position = subtract(multiply(guide, _F(depth)), _HALF)
    # the larger of 0 and what is no number is 0
    inside = min(max(_0, position), _F(_I(depth - _I(1))))
    cell = min(_I(inside), max(_I(depth - _I(2)), _I(0)))
    return cell, subtract(inside, _F(cell))
