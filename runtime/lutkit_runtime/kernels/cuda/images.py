# pyright: basic
"""Kernels between images on the GPU, with any strides, and planes of codes or pictures. Imports compiling and rounding.

References: `to_codes` and `from_codes` of the engine's conversion.
"""

from __future__ import annotations

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import Kernel, cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.rounding import multiply, round_half_even

_I, _F = np.int32, np.float32

DEPTHS = ("uint8", "uint16", "float32")
PEAK = 255
STEP = 257
"""A code of 8 bits times this is one of 16."""


@device_function
def _narrow_code(sample):
    return sample


@device_function
def _narrow_deep_code(sample):
    return np.uint8(_I(_I(sample) + _I(STEP // 2)) // _I(STEP))


@device_function
def _narrow_float(sample):
    bounded = min(max(sample, _F(0.0)), _F(1.0))
    return np.uint8(_I(round_half_even(multiply(bounded, _F(PEAK)))))


@device_function
def _widen_code(code):
    return code


@device_function
def _widen_deep_code(code):
    return np.uint16(_I(code) * _I(STEP))


@device_function
def _widen_float(code):
    return _F(_F(code) / _F(PEAK))


def _declare_reading(depth, narrow):
    @kernel(f"{depth}[:, :, :], int32, int32, int32, int32, uint8[::1]", name=f"read codes of {depth}")
    def read_codes(count, image, top, left, height, width, planes):
        """Twin of `to_codes` for a rectangle; a thread does a sample."""
        i = _I(cuda.grid(1))
        if i < count:
            samples = _I(width * height)
            plane, place = _I(i // samples), _I(i % samples)
            planes[i] = narrow(image[_I(top + _I(place // width)), _I(left + _I(place % width)), plane])

    return read_codes


def _declare_writing(depth, widen):
    @kernel(
        f"uint8[::1], int32, int32, int32, int32, int32, int32, int32, int32, {depth}[:, :, :]",
        name=f"write codes of {depth}",
    )
    def write_codes(count, planes, rows, columns, from_row, from_column, height, width, top, left, image):
        """Twin of `from_codes` for a rectangle of planes of `rows` by `columns`; a thread does a sample."""
        i = _I(cuda.grid(1))
        if i < count:
            samples = _I(width * height)
            plane, place = _I(i // samples), _I(i % samples)
            row, column = _I(place // width), _I(place % width)
            at = _I(_I(_I(_I(plane * rows) + _I(from_row + row)) * columns) + _I(from_column + column))
            image[_I(top + row), _I(left + column), plane] = widen(planes[at])

    return write_codes


read_codes_of_bytes = _declare_reading("uint8", _narrow_code)
read_codes_of_words = _declare_reading("uint16", _narrow_deep_code)
read_codes_of_floats = _declare_reading("float32", _narrow_float)
write_codes_of_bytes = _declare_writing("uint8", _widen_code)
write_codes_of_words = _declare_writing("uint16", _widen_deep_code)
write_codes_of_floats = _declare_writing("float32", _widen_float)

READERS: dict[str, Kernel] = dict(
    zip(DEPTHS, (read_codes_of_bytes, read_codes_of_words, read_codes_of_floats), strict=True)
)
WRITERS: dict[str, Kernel] = dict(
    zip(DEPTHS, (write_codes_of_bytes, write_codes_of_words, write_codes_of_floats), strict=True)
)


@kernel(*(f"{depth}[:, :, :], int32, {depth}[:, :, :]" for depth in DEPTHS))
def copy_channels(count, source, first, out):
    """Copy channels `first` and on from one image to another; a thread does a pixel."""
    i = _I(cuda.grid(1))
    if i < count:
        width = _I(out.shape[1])
        row, column = _I(i // width), _I(i % width)
        for channel in range(first, _I(out.shape[2])):
            out[row, column, channel] = source[row, column, channel]


@kernel("float32[:, :, :], int32[::1]")
def find_faults(count, image, faults):
    """Set `faults` to 1 where a sample is not a finite number; a thread does a pixel."""
    i = _I(cuda.grid(1))
    if i < count:
        width = _I(image.shape[1])
        row, column = _I(i // width), _I(i % width)
        for channel in range(_I(image.shape[2])):
            sample = image[row, column, channel]
            if not abs(sample) <= _F(3.4028235e38):
                faults[0] = 1
