# pyright: basic
"""From samples to positions on the axes of a cube, and from colours to samples: pieces of kernels. Imports rounding.

Numbers and their order are those of `locate`, `interpolate_curves`, `bound_base` and `scale_to_depth`.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import device_function
from lutkit_runtime.kernels.cuda.rounding import add, multiply, subtract
from lutkit_runtime.ops.blend import LARGEST_BASE

CODES = 256
"""Codes of 8 bits."""

ENTRIES = 3 * CODES
"""Of a table that has one for every code of red, of green and of blue."""

_I, _U, _F = np.int32, np.uint32, np.float32
_0, _HALF = _F(0), _F(0.5)
_REST = _F(2**-16 + 2**-32)


class Depth(enum.Enum):
    """Type of samples, by its name."""

    UINT8 = "uint8"
    UINT16 = "uint16"
    FLOAT32 = "float32"


@device_function
def place(value, scale, shift, last):
    """Twin of `locate`: the position of a float32 sample; not a number counts as 0."""
    # the larger of 0 and what is no number is 0
    return min(max(_0, add(multiply(value, scale), shift)), last)


@device_function
def follow_curve(value, scale, shift, last, curves, first, last_cell):
    """Twin of `interpolate_curves` for one channel, whose curve begins at `first`."""
    position = place(value, scale, shift, last)
    cell = min(_I(position), last_cell)
    # what is unsigned needs no look at its sign, as other indices do
    below, above = curves[_U(_I(first + cell))], curves[_U(_I(_I(first + cell) + _I(1)))]
    return add(below, multiply(subtract(position, _F(cell)), subtract(above, below)))


@device_function
def follow_curves(red, green, blue, curves, entries, axes):
    """Twin of `interpolate_curves`: three curves, one after the other; `axes` holds scales, shifts and last positions."""
    last_cell = _I(entries - _I(2))
    return (
        follow_curve(red, axes[0], axes[3], axes[6], curves, _I(0), last_cell),
        follow_curve(green, axes[1], axes[4], axes[7], curves, entries, last_cell),
        follow_curve(blue, axes[2], axes[5], axes[8], curves, _I(entries + entries), last_cell),
    )


@device_function
def place_colour(red, green, blue, axes):
    """Return the positions of a colour on three axes."""
    return (
        place(red, axes[0], axes[3], axes[6]),
        place(green, axes[1], axes[4], axes[7]),
        place(blue, axes[2], axes[5], axes[8]),
    )


@device_function
def mix(start, changed, amount):
    """Twin of `Blend.mix`."""
    return add(start, multiply(amount, subtract(changed, start)))


def make_unit(depth: Depth) -> Any:
    """Return a device function that is the twin of `to_unit`: v / peak, rounded once.

    1 / 255 is 257 / 65 536 (1 + 2**-16 + 2**-32 + …), and 1 / 65 535 likewise: three terms give every quotient, without a
    division.
    """
    if depth is Depth.FLOAT32:

        @device_function
        def unit_float(sample):
            return sample

        return unit_float
    factor = _F((257 if depth is Depth.UINT8 else 1) / 65536)

    @device_function
    def unit_code(sample):
        nearly = multiply(_F(sample), factor)
        return add(nearly, multiply(nearly, _REST))

    return unit_code


def make_base(depth: Depth) -> Any:
    """Return a device function that is the twin of `bound_base`."""
    if depth is not Depth.FLOAT32:
        return make_unit(depth)

    @device_function
    def bound_float(sample):
        if sample != sample:
            return _0
        return min(max(sample, _F(-LARGEST_BASE)), LARGEST_BASE)

    return bound_float


def make_finish(depth: Depth) -> Any:
    """Return a device function that is the twin of `scale_to_depth`."""
    if depth is Depth.FLOAT32:

        @device_function
        def keep_float(value):
            return value

        return keep_float
    code = np.uint8 if depth is Depth.UINT8 else np.uint16
    peak = _F(np.iinfo(code).max)

    @device_function
    def finish_code(value):
        return code(_I(min(max(_0, add(multiply(value, peak), _HALF)), peak)))

    return finish_code


def make_alpha(depth: Depth) -> Any:
    """Return a device function that turns alpha of any depth into a sample of this one, unscaled: float32 holds all codes."""
    if depth is Depth.FLOAT32:

        @device_function
        def to_float(alpha):
            return _F(alpha)

        return to_float
    code = np.uint8 if depth is Depth.UINT8 else np.uint16

    @device_function
    def to_code(alpha):
        return code(_I(alpha))

    return to_code
