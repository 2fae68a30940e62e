# pyright: basic
"""From the pixels of a picture to positions on the axes of a cube: pieces of the kernels. Imports Numba only.

Every function works on a chunk of pixels at a time, whose samples lie in planes, one colour after the other: loops over
them vectorise. What is called is compiled by itself and joined by LLVM, which halves the time of compiling a kernel;
lengths that vectorisation needs are then known only as lengths of tuples.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CHUNK = 256
"""Pixels that are worked on at once: their scratch stays in the first-level cache."""

_F = np.float32
_I = np.int32
_U = np.uint64
_0 = np.float32(0)
_CHUNK = _U(CHUNK)


@njit(error_model="numpy", forceinline=True)
def split_pixels(samples, first, source, planes, at, count):
    """Copy the samples of `count` pixels, of as many samples as `source` is long, into planes."""
    step = _U(len(source))
    for x in range(count):
        here = first + x * step
        planes[at + x] = samples[here]
        planes[at + _CHUNK + x] = samples[here + _U(1)]
        planes[at + _CHUNK + _CHUNK + x] = samples[here + _U(2)]
        if len(source) == 4:
            planes[at + _CHUNK + _CHUNK + _CHUNK + x] = samples[here + _U(3)]


@njit(error_model="numpy", forceinline=True)
def place(sample, scale, shift, last):
    """Twin of `locate`: the position of a sample; not a number counts as 0."""
    position = _F(_F(_F(sample) * scale) + shift)
    position = position if position > _0 else _0
    return position if position < last else last


@njit(error_model="numpy", forceinline=True)
def place_pixels(samples, first, source, axes, positions, to, planes, at, count):
    """Place pixels on three axes: `axes` holds three scales, three shifts and three last positions.

    The alpha goes into its plane. Reading it here, too, is what makes the loop over pixels of four samples vectorise.
    """
    step = _U(len(source))
    for x in range(count):
        here = first + x * step
        positions[to + x] = place(samples[here], axes[0], axes[3], axes[6])
        positions[to + _CHUNK + x] = place(samples[here + _U(1)], axes[1], axes[4], axes[7])
        positions[to + _CHUNK + _CHUNK + x] = place(samples[here + _U(2)], axes[2], axes[5], axes[8])
        if len(source) == 4:
            planes[at + _CHUNK + _CHUNK + _CHUNK + x] = samples[here + _U(3)]


@njit(error_model="numpy", forceinline=True)
def place_values(axes, positions, at, count):
    """Turn values in planes into positions."""
    for axis in range(3):
        scale, shift, last = axes[axis], axes[axis + 3], axes[axis + 6]
        plane = at + _U(axis) * _CHUNK
        for x in range(count):
            positions[plane + x] = place(positions[plane + x], scale, shift, last)


@njit(error_model="numpy", forceinline=True)
def place_codes(planes, at, table, positions, to, count):
    """Look positions up: three tables, one after the other, with one entry per code."""
    codes = _U(len(table)) // _U(3)
    for axis in range(3):
        plane, base = _U(axis) * _CHUNK, _U(axis) * codes
        for x in range(count):
            positions[to + plane + x] = table[base + _U(planes[at + plane + x])]


@njit(error_model="numpy", forceinline=True)
def follow_curves(planes, at, curves, axes, values, to, count):
    """Twin of `interpolate_curves`: three curves, one after the other; `axes` as for `place_samples`."""
    entries = _U(len(curves)) // _U(3)
    last_cell = _I(entries - _U(2))
    for axis in range(3):
        scale, shift, last = axes[axis], axes[axis + 3], axes[axis + 6]
        plane, base = _U(axis) * _CHUNK, _U(axis) * entries
        for x in range(count):
            position = place(planes[at + plane + x], scale, shift, last)
            cell = min(_I(position), last_cell)
            row = base + _U(cell)
            below, above = curves[row], curves[row + _U(1)]
            values[to + plane + x] = below + _F(_F(position - _F(cell)) * _F(above - below))
