# pyright: basic
"""Kernels of the ops that need no table, and of turning and padding planes. Imports compiling.

Every thread does one sample of the result. References: `Add`, `BitField`, `PixelShuffle`, `Requantise`, and
``numpy.rot90`` as `Ensemble` uses it.
"""

from __future__ import annotations

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda, device_function, kernel

_I = np.int32

EACH = ("uint8[::1]", "int32[::1]")
"""Types of planes: codes, and other integers."""


@kernel(*(f"{term}, int32, int32, int32[::1]" for term in EACH))
def add_term(count, term, weight, is_first, total):
    """Add a weighted term to a sum, or begin the sum with it."""
    i = _I(cuda.grid(1))
    if i < count:
        value = _I(weight * _I(term[i]))
        total[i] = value if is_first else _I(total[i] + value)


@kernel("uint8[::1], int32, int32, int32, int32[::1]")
def split_bits(count, codes, shift, mask, offset, out):
    """Twin of `BitField.split`."""
    i = _I(cuda.grid(1))
    if i < count:
        out[i] = _I(((_I(codes[i]) >> shift) & mask) + offset)


@kernel(*(f"{given}, int32, int32, int32, {given}" for given in EACH))
def shuffle_pixels(count, source, block, height, width, out):
    """Twin of `PixelShuffle.shuffle`; `height` and `width` are those of the source."""
    i = _I(cuda.grid(1))
    if i < count:
        columns, rows = _I(width * block), _I(height * block)
        column, row, colour = _I(i % columns), _I(_I(i // columns) % rows), _I(i // _I(columns * rows))
        channel = _I(_I(_I(row % block) * block) + _I(column % block))
        plane = _I(_I(colour * _I(block * block)) + channel)
        out[i] = source[_I(_I(_I(_I(plane * height) + _I(row // block)) * width) + _I(column // block))]


@kernel(
    *(
        f"{given}, {added}, int32, int32, int32, int32, int32, int32, int32, {out}"
        for given in EACH
        for added in EACH
        for out in EACH
    )
)
def requantise(count, source, residual, added, channels, samples, bias, divisor, low, high, out):
    """Twin of `Requantise.codes`.

    `samples` is the number of samples of a plane, `channels` that of the source's channels, and `added` that of the
    residual's: 0 where there is none.
    """
    i = _I(cuda.grid(1))
    if i < count:
        shifted = _I(_I(source[i]) + bias)
        value = _I(shifted // divisor)
        rest = _I(shifted - _I(value * divisor))
        twice = _I(rest + rest)
        if twice > divisor or (twice == divisor and (value & 1) == 1):
            value = _I(value + 1)
        if added == channels:
            value = _I(value + _I(residual[i]))
        elif added == 1:
            colour = _I(i // _I(samples * channels))
            value = _I(value + _I(residual[_I(_I(colour * samples) + _I(i % samples))]))
        out[i] = min(max(value, low), high)


@device_function
def _find_turned(row, column, turns, height, width):
    """Return where ``rot90(source, turns)`` of `height` and `width` reads its source: a place in the plane."""
    if turns == 1:
        return _I(_I(column * height) + _I(height - 1 - row))
    if turns == 2:
        return _I(_I(_I(height - 1 - row) * width) + _I(width - 1 - column))
    if turns == 3:
        return _I(_I(_I(width - 1 - column) * height) + row)
    return _I(_I(row * width) + column)


@kernel(*(f"{given}, int32, int32, int32, {given}" for given in EACH))
def turn_planes(count, source, turns, height, width, out):
    """Twin of ``rot90(source, turns)``; `height` and `width` are those of the result."""
    i = _I(cuda.grid(1))
    if i < count:
        samples = _I(width * height)
        plane, place = _I(i // samples), _I(i % samples)
        turned = _find_turned(_I(place // width), _I(place % width), turns, height, width)
        out[i] = source[_I(_I(plane * samples) + turned)]


@kernel(*(f"{given}, int32, int32, int32, int32, int32[::1]" for given in EACH))
def add_turned(count, source, turns, is_first, height, width, total):
    """Add ``rot90(source, turns)`` to a sum, or begin the sum with it; `height` and `width` are those of the sum."""
    i = _I(cuda.grid(1))
    if i < count:
        samples = _I(width * height)
        plane, place = _I(i // samples), _I(i % samples)
        turned = _find_turned(_I(place // width), _I(place % width), turns, height, width)
        value = _I(source[_I(_I(plane * samples) + turned)])
        total[i] = value if is_first else _I(total[i] + value)


@kernel(*(f"{given}, int32, int32, int32[::1], int32[::1], int32, int32, int32, {given}" for given in EACH))
def pad_planes(count, source, height, width, rows, columns, to_height, to_width, first, out):
    """Write planes with more pixels around them: `rows` and `columns` say which pixel stands at each place.

    `first` is where the first result belongs.
    """
    i = _I(cuda.grid(1))
    if i < count:
        samples = _I(to_width * to_height)
        plane, place = _I(i // samples), _I(i % samples)
        row, column = rows[_I(place // to_width)], columns[_I(place % to_width)]
        out[_I(first + i)] = source[_I(_I(_I(_I(plane * height) + row) * width) + column)]
