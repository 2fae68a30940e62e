# pyright: basic
"""Colour lookup in packed integers, for 8-bit pictures: the kernel. Imports Numba, `colour_places` and the lanes.

Rows and weights are computed for a chunk of pixels at a time, apart from the table reads: that loop vectorises, sorting
included. Then every pixel fetches four nodes, each with one load. Gathers are avoided: many processors are slow at them.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.cube import PACKED_WEIGHT
from lutkit_runtime.kernels.cpu.colour_places import CHUNK, place_codes, split_pixels
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.packed_lanes import LANES, store_sum

STRIDE_BITS = 15
"""A sort key is fraction << 15 | stride, of which the largest is 129**2."""

WEIGHT_BITS = 9

_I = np.int32
_U = np.uint64
_CHUNK = _U(CHUNK)
_STRIDE_MASK = _I((1 << STRIDE_BITS) - 1)
_WHOLE = _I(PACKED_WEIGHT)
_0 = _I(0)


@njit(error_model="numpy", forceinline=True)
def _place_pixels(samples, first, source, lines, last, positions, to, planes, at, count):
    """Place pixels by a line per axis, in integers: `lines` holds three factors, three addends and a shift."""
    step = _U(len(source))
    shift = lines[6]
    for x in range(count):
        here = first + x * step
        r = _I(_I(_I(samples[here]) * lines[0]) + lines[3]) >> shift
        g = _I(_I(_I(samples[here + _U(1)]) * lines[1]) + lines[4]) >> shift
        b = _I(_I(_I(samples[here + _U(2)]) * lines[2]) + lines[5]) >> shift
        positions[to + x] = min(max(r, _0), last)
        positions[to + _CHUNK + x] = min(max(g, _0), last)
        positions[to + _CHUNK + _CHUNK + x] = min(max(b, _0), last)
        if len(source) == 4:
            planes[at + _CHUNK + _CHUNK + _CHUNK + x] = samples[here + _U(3)]


@njit(error_model="numpy", forceinline=True)
def _find_tetrahedra(positions, at, strides, rows, weights, to, count):
    """Twin of `walk_tetrahedron`: rows of the first three vertices, and the four weights in two pairs.

    A fraction of 1 is taken as 0 of the next cell, which gives the same sum.
    """
    stride_r, stride_g, stride_b = strides
    mask = _I(_WHOLE - _I(1))
    for x in range(count):
        r, g, b = positions[at + x], positions[at + _CHUNK + x], positions[at + _CHUNK + _CHUNK + x]
        row_g, row_b = _I((g >> WEIGHT_BITS) * stride_g), _I((b >> WEIGHT_BITS) * stride_b)
        row = _I(_I(_I(r >> WEIGHT_BITS) + row_g) + row_b)
        key_r = _I(_I((r & mask) << STRIDE_BITS) | stride_r)
        key_g = _I(_I((g & mask) << STRIDE_BITS) | stride_g)
        key_b = _I(_I((b & mask) << STRIDE_BITS) | stride_b)
        high, low = max(key_r, key_g), min(key_r, key_g)
        most, rest = max(high, key_b), min(high, key_b)
        middle, least = max(low, rest), min(low, rest)
        second = _I(row + _I(most & _STRIDE_MASK))
        rows[at + x] = row
        rows[at + _CHUNK + x] = second
        rows[at + _CHUNK + _CHUNK + x] = _I(second + _I(middle & _STRIDE_MASK))
        most, middle, least = most >> STRIDE_BITS, middle >> STRIDE_BITS, least >> STRIDE_BITS
        weights[to + x] = _I(_I(_WHOLE - most) | _I(_I(most - middle) << 16))
        weights[to + _CHUNK + x] = _I(_I(middle - least) | _I(least << 16))


@njit(error_model="numpy", forceinline=True)
def _store_pixel(nodes, far, rows, at, weights, to, x, alpha, out, place):
    """Write the colour of a pixel and its alpha."""
    one, two, three = _U(rows[at + x]), _U(rows[at + _CHUNK + x]), _U(rows[at + _CHUNK + _CHUNK + x])
    store_sum(nodes, one, two, three, one + far, weights[to + x], weights[to + _CHUNK + x], alpha, out, place)


@compile_kernel(parallel=True)
def sum_colours(
    samples: NDArray[np.uint8],
    channels: tuple[int, ...],
    lines: tuple[np.int32, ...],
    codes: NDArray[np.int32] | None,
    last: np.int32,
    nodes: NDArray[np.uint64],
    strides: tuple[np.int32, np.int32, np.int32],
    planes: NDArray[np.uint8],
    positions: NDArray[np.int32],
    rows: NDArray[np.int32],
    weights: NDArray[np.int32],
    ends: NDArray[np.uint8],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Twin of `BoundLookup.look_up_packed`.

    Parameters
    ----------
    samples
        Pixels, one after the other.
    channels
        As long as a pixel has samples; the values do not matter. With 4, the alpha is copied.
    lines : (factor, addend, shift)
        Three factors and three addends: a code's position, in units of 1 / PACKED_WEIGHT, is
        factor * code + addend >> shift, clamped to 0 and `last`.
    codes : (768,), or None
        Positions of every code on the three axes; then `lines` is not used.
    last
        Position of the last node.
    nodes : (size**3 and as many as lie between the corners of a cell,)
        Red, green and blue as 16-bit integers, and 16 bits that are not used.
    strides
        Distances of neighbouring nodes in `nodes`.
    planes : (workers * CHUNK * 4,)
    positions, rows : (workers * CHUNK * 3,)
    weights : (workers * CHUNK * 2,)
    ends : (workers * 4,)
        Scratch.
    workers
        How many take part.
    counter
        From `new_counter`: deals out the chunks.
    out
        As `samples`.
    """
    for worker in prange(workers):
        pixel = _U(len(channels))
        pixels = _U(len(out)) // pixel
        plane, at, to = _U(4) * _CHUNK * _U(worker), _U(3) * _CHUNK * _U(worker), _U(2) * _CHUNK * _U(worker)
        alphas, end = plane + _U(3) * _CHUNK, _U(LANES) * _U(worker)
        far = _U(strides[0]) + _U(strides[1]) + _U(strides[2])
        while True:
            begin = _U(take_next(counter)) * _CHUNK
            if begin >= pixels:
                break
            count = min(_CHUNK, pixels - begin)
            first = begin * pixel
            if codes is None:
                _place_pixels(samples, first, channels, lines, last, positions, at, planes, plane, count)
            else:
                split_pixels(samples, first, channels, planes, plane, count)
                place_codes(planes, plane, codes, positions, at, count)
            _find_tetrahedra(positions, at, strides, rows, weights, to, count)
            if len(channels) == 4:
                for x in range(count):
                    _store_pixel(nodes, far, rows, at, weights, to, x, planes[alphas + x], out, first + x * pixel)
            else:
                # a fourth sample is written, which the next pixel overwrites; but what follows a chunk may belong to
                # another thread
                for x in range(count - _U(1)):
                    _store_pixel(nodes, far, rows, at, weights, to, x, np.uint8(0), out, first + x * pixel)
                _store_pixel(nodes, far, rows, at, weights, to, count - _U(1), np.uint8(0), ends, end)
                for channel in range(3):
                    out[first + (count - _U(1)) * pixel + _U(channel)] = ends[end + _U(channel)]
