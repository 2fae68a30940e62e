# pyright: basic
"""What the kernel of an axis network does to the sums of a chunk of pixels. Imports Numba only.

Maps hold 16 channels of a pixel side by side, as bytes that index tables without further arithmetic; rows of tables 16
outputs. So a tap is one load of an index and one addition of a vector, and the sums are read and written once for eight.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 16

SNAP = np.float32(1.5 * 2**11)
"""Adding and subtracting it rounds a float32 below 2**9 in magnitude to a multiple of 2**-12.

A sum times the rounded reciprocal of the divisor errs by less than 2**-14 there, so what should be a tie becomes one;
anything else is 2**-12 or more away from a tie while the divisor is at most 2**11, and stays on its side.
"""

LARGEST_QUOTIENT = 1 << 9
LARGEST_DIVISOR = 1 << 11
EXACT_SUM = 1 << 24

_I = np.int32
_U = np.uint64
_F = np.float32
_L = _U(LANES)


@njit(error_model="numpy", forceinline=True)
def take_view(maps, place, step, each, shift, mask, seen, first, count):
    """Gather what a unit adds that is not looked up, less its offset: every lane has its own, or all the only one."""
    if each and shift == 0:
        kept = np.uint8(mask)
        for i in range(count * _L):
            seen[first + i] = maps[place + i] & kept
    elif each:
        for i in range(count * _L):
            seen[first + i] = _I(_I(maps[place + i]) >> shift) & mask
    else:
        for x in range(count):
            value = np.uint8(_I(_I(maps[place + x * step]) >> shift) & mask)
            for k in range(_L):
                seen[first + x * _L + k] = value


@njit(inline="always")
def add_eight(maps, table, places, at, starts, tap, offset, step, sums, first, count):
    """Twin of `AxisLookup.reference` for eight taps."""
    p0, p1, p2, p3 = (places[at], places[at + _U(1)], places[at + _U(2)], places[at + _U(3)])
    p4, p5, p6, p7 = (places[at + _U(4)], places[at + _U(5)], places[at + _U(6)], places[at + _U(7)])
    t0, t1, t2, t3 = (starts[tap], starts[tap + _U(1)], starts[tap + _U(2)], starts[tap + _U(3)])
    t4, t5, t6, t7 = (starts[tap + _U(4)], starts[tap + _U(5)], starts[tap + _U(6)], starts[tap + _U(7)])
    for x in range(count):
        here = offset + x * step
        r0 = t0 + _U(maps[p0 + here]) * _L
        r1 = t1 + _U(maps[p1 + here]) * _L
        r2 = t2 + _U(maps[p2 + here]) * _L
        r3 = t3 + _U(maps[p3 + here]) * _L
        r4 = t4 + _U(maps[p4 + here]) * _L
        r5 = t5 + _U(maps[p5 + here]) * _L
        r6 = t6 + _U(maps[p6 + here]) * _L
        r7 = t7 + _U(maps[p7 + here]) * _L
        to = first + x * _L
        for k in range(_L):
            # one wide expression: LLVM narrows it to the type of the sums
            sums[to + k] += (
                table[r0 + k]
                + table[r1 + k]
                + table[r2 + k]
                + table[r3 + k]
                + table[r4 + k]
                + table[r5 + k]
                + table[r6 + k]
                + table[r7 + k]
            )


@njit(inline="always")
def add_nine(maps, table, places, at, starts, tap, offset, step, sums, first, count):
    """Twin of `AxisLookup.reference` for nine taps: those of 3 x 3 pixels, without a second pass for the last."""
    p0, p1, p2, p3 = (places[at], places[at + _U(1)], places[at + _U(2)], places[at + _U(3)])
    p4, p5, p6, p7 = (places[at + _U(4)], places[at + _U(5)], places[at + _U(6)], places[at + _U(7)])
    t0, t1, t2, t3 = (starts[tap], starts[tap + _U(1)], starts[tap + _U(2)], starts[tap + _U(3)])
    t4, t5, t6, t7 = (starts[tap + _U(4)], starts[tap + _U(5)], starts[tap + _U(6)], starts[tap + _U(7)])
    p8, t8 = places[at + _U(8)], starts[tap + _U(8)]
    for x in range(count):
        here = offset + x * step
        r0 = t0 + _U(maps[p0 + here]) * _L
        r1 = t1 + _U(maps[p1 + here]) * _L
        r2 = t2 + _U(maps[p2 + here]) * _L
        r3 = t3 + _U(maps[p3 + here]) * _L
        r4 = t4 + _U(maps[p4 + here]) * _L
        r5 = t5 + _U(maps[p5 + here]) * _L
        r6 = t6 + _U(maps[p6 + here]) * _L
        r7 = t7 + _U(maps[p7 + here]) * _L
        r8 = t8 + _U(maps[p8 + here]) * _L
        to = first + x * _L
        for k in range(_L):
            sums[to + k] += (
                table[r0 + k]
                + table[r1 + k]
                + table[r2 + k]
                + table[r3 + k]
                + table[r4 + k]
                + table[r5 + k]
                + table[r6 + k]
                + table[r7 + k]
                + table[r8 + k]
            )


@njit(inline="always")
def add_aligned(maps, table, place, start, sums, first, count):
    """Twin of `AxisLookup.reference` for one depthwise tap of every lane, at one offset."""
    for x in range(count):
        here = place + x * _L
        to = first + x * _L
        for k in range(_L):
            sums[to + k] += table[start + _U(maps[here + k]) * _L + k]


@njit(inline="always")
def add_three_aligned(maps, table, places, at, starts, tap, offset, sums, first, count):
    """As `add_aligned` for three offsets."""
    p0, p1, p2 = places[at], places[at + _U(1)], places[at + _U(2)]
    t0, t1, t2 = starts[tap], starts[tap + _U(1)], starts[tap + _U(2)]
    for x in range(count):
        here = offset + x * _L
        to = first + x * _L
        for k in range(_L):
            sums[to + k] += (
                table[t0 + _U(maps[p0 + here + k]) * _L + k]
                + table[t1 + _U(maps[p1 + here + k]) * _L + k]
                + table[t2 + _U(maps[p2 + here + k]) * _L + k]
            )


@njit(inline="always")
def add_scattered(maps, table, places, at, start, offset, sums, first, count):
    """As `add_aligned` for taps that stand at an offset of their own in every lane."""
    for x in range(count):
        here = offset + x * _L
        to = first + x * _L
        for k in range(_L):
            sums[to + k] += table[start + _U(maps[places[at + k] + here]) * _L + k]


@njit(error_model="numpy", forceinline=True)
def map_aligned(maps, table, place, start, codes, first, count):
    """Twin of `AxisLookup.reference` and of the rounding that follows, for one depthwise tap and nothing to add."""
    for x in range(count):
        here = place + x * _L
        to = first + x * _L
        for k in range(_L):
            codes[to + k] = np.uint16(table[start + _U(maps[here + k]) * _L + k])


@njit(error_model="numpy", forceinline=True)
def map_scattered(maps, table, places, at, start, offset, codes, first, count):
    """As `map_aligned` for taps that stand at an offset of their own in every lane."""
    for x in range(count):
        here = offset + x * _L
        to = first + x * _L
        for k in range(_L):
            codes[to + k] = np.uint16(table[start + _U(maps[places[at + k] + here]) * _L + k])


@njit(error_model="numpy", forceinline=True)
def round_sums(sums, seen, first, inverse, offset, low, high, codes, count):
    """Twin of `Requantise.codes`, exact under the conditions of `claim_axis_network`; makes what maps hold."""
    for i in range(count * _L):
        quotient = _F(_I(sums[first + i])) * inverse
        value = _I(_I(_I(np.rint((quotient + SNAP) - SNAP)) + _I(seen[first + i])) + offset)
        codes[first + i] = np.uint16(min(max(value, low), high))
