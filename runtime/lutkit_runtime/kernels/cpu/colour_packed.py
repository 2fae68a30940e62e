# pyright: basic
"""Colour lookup in packed integers, for 8-bit pictures: the kernel. Imports Numba only; `colour` prepares arguments."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.cube import PACKED_SHIFT, PACKED_WEIGHT
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next

CHUNK = 512
"""Pixels that are addressed at once: their scratch stays in the first-level cache."""

OFFSET_BITS = 22
"""An entry of a code's table is fraction << 22 | row of its cell: 10 and 22 bits."""

STRIDE_BITS = 15
"""A sort key is fraction << 15 | stride."""

_I = np.int32
_U = np.uint64
_CHUNK = _U(CHUNK)
_OFFSET_MASK = _I((1 << OFFSET_BITS) - 1)
_STRIDE_MASK = _I((1 << STRIDE_BITS) - 1)
_OFFSET_BITS = np.uint32(OFFSET_BITS)
_WHOLE = _I(PACKED_WEIGHT)
_HALF = _U(1 << (PACKED_SHIFT - 1))
_HALVES = _HALF | _HALF << _U(21) | _HALF << _U(42)
_SHIFTS = (_U(PACKED_SHIFT), _U(PACKED_SHIFT + 21), _U(PACKED_SHIFT + 42))


@njit(inline="always")
def _find_tetrahedra(samples, first, step, table, strides, rows, weights, at, count):
    """Twin of `walk_tetrahedron`: rows of the four vertices and their weights."""
    stride_r, stride_g, stride_b = strides
    far = _I(_I(stride_r + stride_g) + stride_b)
    for x in range(count):
        here = first + x * step
        r = table[_U(samples[here])]
        g = table[_U(256) + _U(samples[here + _U(1)])]
        b = table[_U(512) + _U(samples[here + _U(2)])]
        row = _I(_I(_I(r) & _OFFSET_MASK) + _I(_I(g) & _OFFSET_MASK)) + _I(_I(b) & _OFFSET_MASK)
        key_r = _I(_I(_I(r >> _OFFSET_BITS) << STRIDE_BITS) | stride_r)
        key_g = _I(_I(_I(g >> _OFFSET_BITS) << STRIDE_BITS) | stride_g)
        key_b = _I(_I(_I(b >> _OFFSET_BITS) << STRIDE_BITS) | stride_b)
        high, low = max(key_r, key_g), min(key_r, key_g)
        most, rest = max(high, key_b), min(high, key_b)
        middle, least = max(low, rest), min(low, rest)
        second = _I(row + (most & _STRIDE_MASK))
        rows[at + x] = row
        rows[at + _CHUNK + x] = second
        rows[at + _CHUNK + _CHUNK + x] = _I(second + (middle & _STRIDE_MASK))
        rows[at + _CHUNK + _CHUNK + _CHUNK + x] = _I(row + far)
        most, middle, least = most >> STRIDE_BITS, middle >> STRIDE_BITS, least >> STRIDE_BITS
        weights[at + x] = _WHOLE - most
        weights[at + _CHUNK + x] = most - middle
        weights[at + _CHUNK + _CHUNK + x] = middle - least
        weights[at + _CHUNK + _CHUNK + _CHUNK + x] = least


@njit(inline="always")
def _sum_words(words, rows, weights, at, sums, to, count):
    """Twin of `interpolate_packed`."""
    for x in range(count):
        one, two, three = at + x, at + _CHUNK + x, at + _CHUNK + _CHUNK + x
        four = three + _CHUNK
        sums[to + x] = (
            _HALVES
            + _U(weights[one]) * words[_U(rows[one])]
            + _U(weights[two]) * words[_U(rows[two])]
            + _U(weights[three]) * words[_U(rows[three])]
            + _U(weights[four]) * words[_U(rows[four])]
        )


@compile_kernel(parallel=True)
def sum_tetrahedra(
    samples: NDArray[np.uint8],
    table: NDArray[np.uint32],
    words: NDArray[np.uint64],
    strides: tuple[np.int32, np.int32, np.int32],
    rows: NDArray[np.int32],
    weights: NDArray[np.int32],
    sums: NDArray[np.uint64],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8],
    channels: tuple[int, ...],
) -> None:
    """Twin of `BoundLookup.look_up_packed`.

    Parameters
    ----------
    """
    for worker in prange(workers):
        step = _U(len(channels))
        pixels = _U(len(out)) // step
        at, to = _U(4 * CHUNK) * _U(worker), _CHUNK * _U(worker)
        while True:
            begin = _U(take_next(counter)) * _CHUNK
            if begin >= pixels:
                break
            count = min(_CHUNK, pixels - begin)
            first = begin * step
            _find_tetrahedra(samples, first, step, table, strides, rows, weights, at, count)
            _sum_words(words, rows, weights, at, sums, to, count)
            for x in range(count):
                total = sums[to + x]
                out[first + x * step] = np.uint8(total >> _SHIFTS[0])
                out[first + x * step + _U(1)] = np.uint8(total >> _SHIFTS[1])
                out[first + x * step + _U(2)] = np.uint8(total >> _SHIFTS[2])
                if len(channels) == 4:
                    out[first + x * step + _U(3)] = samples[first + x * step + _U(3)]
