# pyright: basic
"""A colour between the nodes of a cube, in float32: pieces of kernels. Imports rounding and four_samples.

Numbers and their order are those of `interpolate_cube`. A node is a row of four floats, which one load fetches.
"""

from __future__ import annotations

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import device_function
from lutkit_runtime.kernels.cuda.four_samples import load_constant_four
from lutkit_runtime.kernels.cuda.rounding import add, multiply, subtract

_I, _F = np.int32, np.float32
_1 = _F(1)


@device_function
def _fetch(nodes, row):
    return load_constant_four(nodes, _I(row << _I(2)))


@device_function
def _weigh(total, weight, node):
    """Add a weighted node to the sums of three channels."""
    return (
        add(total[0], multiply(weight, node[0])),
        add(total[1], multiply(weight, node[1])),
        add(total[2], multiply(weight, node[2])),
    )


@device_function
def mix_tetrahedron(red, green, blue, nodes, size):
    """Twin of tetrahedral interpolation at a position on three axes of `size` nodes each; without branches."""
    last_cell = _I(size - _I(2))
    plane = _I(size * size)
    cell_r, cell_g, cell_b = min(_I(red), last_cell), min(_I(green), last_cell), min(_I(blue), last_cell)
    r, g, b = subtract(red, _F(cell_r)), subtract(green, _F(cell_g)), subtract(blue, _F(cell_b))
    row = _I(_I(cell_r + _I(cell_g * size)) + _I(cell_b * plane))
    # of equal fractions the one of the earlier axis counts as larger: it decides the sign of sums that are zero
    red_first = r >= g
    high, low = max(r, g), min(r, g)
    stride_high, stride_low = (_I(1) if red_first else size), (size if red_first else _I(1))
    blue_not_first, blue_last = high >= b, low >= b
    most, rest = max(high, b), min(high, b)
    middle, least = max(low, rest), min(low, rest)
    largest = stride_high if blue_not_first else plane
    smallest = plane if blue_last else stride_low
    far = _I(row + _I(_I(plane + size) + _I(1)))
    one, two = _fetch(nodes, row), _fetch(nodes, _I(row + largest))
    three, four = _fetch(nodes, _I(far - smallest)), _fetch(nodes, far)
    weight = subtract(_1, most)
    total = (multiply(weight, one[0]), multiply(weight, one[1]), multiply(weight, one[2]))
    total = _weigh(total, subtract(most, middle), two)
    total = _weigh(total, subtract(middle, least), three)
    return _weigh(total, least, four)


@device_function
def _step(fraction, below, above):
    """Return a + f (b - a) of three channels."""
    return (
        add(below[0], multiply(fraction, subtract(above[0], below[0]))),
        add(below[1], multiply(fraction, subtract(above[1], below[1]))),
        add(below[2], multiply(fraction, subtract(above[2], below[2]))),
    )


@device_function
def _mix_face(nodes, row, size, r, g):
    """Interpolate along red, then green."""
    near = _step(r, _fetch(nodes, row), _fetch(nodes, _I(row + _I(1))))
    beside = _I(row + size)
    return _step(g, near, _step(r, _fetch(nodes, beside), _fetch(nodes, _I(beside + _I(1)))))


@device_function
def mix_cell(red, green, blue, nodes, size):
    """Twin of trilinear interpolation at a position on three axes of `size` nodes each."""
    last_cell = _I(size - _I(2))
    plane = _I(size * size)
    cell_r, cell_g, cell_b = min(_I(red), last_cell), min(_I(green), last_cell), min(_I(blue), last_cell)
    r, g, b = subtract(red, _F(cell_r)), subtract(green, _F(cell_g)), subtract(blue, _F(cell_b))
    row = _I(_I(cell_r + _I(cell_g * size)) + _I(cell_b * plane))
    return _step(b, _mix_face(nodes, row, size, r, g), _mix_face(nodes, _I(row + plane), size, r, g))
