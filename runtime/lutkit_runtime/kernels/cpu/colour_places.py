# pyright: basic
"""Where the samples of a picture lie on the axes of a cube: pieces of the kernels in `colour_float`. Imports Numba only."""

from __future__ import annotations

import numpy as np
from numba import njit

CHUNK = 512
"""Pixels that are addressed at once: their scratch stays in the first-level cache."""

_F = np.float32
_I = np.int32
_U = np.uint64
_0 = np.float32(0)


@njit(inline="always")
def place(sample, scale, shift, last):
    """Twin of `locate`: the position of a sample; not a number counts as 0."""
    position = _F(_F(_F(sample) * scale) + shift)
    position = position if position > _0 else _0
    return position if position < last else last


@njit(inline="always")
def place_samples(samples, first, step, axes, positions, at, count):
    """Place the samples of `count` pixels on three axes, each with scale, shift and last position."""
    chunk = _U(CHUNK)
    for x in range(count):
        here = first + x * step
        positions[at + x] = place(samples[here], axes[0], axes[3], axes[6])
        positions[at + chunk + x] = place(samples[here + _U(1)], axes[1], axes[4], axes[7])
        positions[at + chunk + chunk + x] = place(samples[here + _U(2)], axes[2], axes[5], axes[8])


@njit(inline="always")
def place_codes(samples, first, step, table, positions, at, count):
    """Look up the positions of `count` pixels: three tables, one after the other, with one entry per code."""
    codes = _U(len(table)) // _U(3)
    chunk = _U(CHUNK)
    for x in range(count):
        here = first + x * step
        positions[at + x] = table[_U(samples[here])]
        positions[at + chunk + x] = table[codes + _U(samples[here + _U(1)])]
        positions[at + chunk + chunk + x] = table[codes + codes + _U(samples[here + _U(2)])]


@njit(inline="always")
def follow_curves(samples, first, step, curves, axes, values, at, count):
    """Twin of `interpolate_curves`: three curves, one after the other."""
    entries = _U(len(curves)) // _U(3)
    cells = _I(entries - _U(2))
    for axis in range(3):
        scale, shift, last = axes[axis], axes[axis + 3], axes[axis + 6]
        base, to, here = _U(axis) * entries, at + _U(axis) * _U(CHUNK), first + _U(axis)
        for x in range(count):
            position = place(samples[here + x * step], scale, shift, last)
            cell = min(_I(position), cells)
            row = base + _U(cell)
            below, above = curves[row], curves[row + _U(1)]
            values[to + x] = below + _F(_F(position - _F(cell)) * _F(above - below))


@njit(inline="always")
def place_values(positions, at, axes, count):
    """Turn the values of `follow_curves` into positions."""
    for axis in range(3):
        scale, shift, last = axes[axis], axes[axis + 3], axes[axis + 6]
        here = at + _U(axis) * _U(CHUNK)
        for x in range(count):
            positions[here + x] = place(positions[here + x], scale, shift, last)
