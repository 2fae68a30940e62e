# pyright: basic
"""Where the pixels of a stage look into its tables, and with which weights. Imports Numba only.

Addresses are computed for a chunk of pixels at a time, so that the loops vectorise, sorting included: minima and maxima
of keys that hold a fraction and the stride of its axis. Arrays are handed on one by one: a tuple of them would be
counted as references at every use, which doubles the time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lutkit_runtime.kernels.stage_layout import DIAGONAL, STRIDE_BITS

CHUNK = 128
"""Pixels that are addressed at once: the scratch of a chunk stays in the first-level cache."""

VERTICES = 5
"""Vertices of the simplex of four axes; a lattice of fewer axes gives the surplus ones weight 0."""

SHORT = 31
"""Of a number of bits by which 32 bits are shifted, so many are used: said so, the shift is not one of 64 bits."""

_I = np.int32
_U = np.uint64
_1, _2, _3, _4 = _U(CHUNK), _U(2 * CHUNK), _U(3 * CHUNK), _U(4 * CHUNK)


@njit(inline="always")
def _address(padded, first, strides, masks, split, unit, confuse, outputs, rows, weights, scratch, count):
    """Twin of `simplex_terms`: where the vertices of `count` pixels stand in the table, and their weights."""
    at_a, at_b, at_c, at_d = first
    stride_a, stride_b, stride_c, stride_d = strides
    mask_a, mask_b, mask_c, mask_d = masks
    interval, key_scale = _I(split[0] & SHORT), split[1]
    kept_a, kept_b, kept_c, kept_d = _I(~mask_a), _I(~mask_b), _I(~mask_c), _I(~mask_d)
    stride_mask = _I((1 << STRIDE_BITS) - 1)
    for x in range(count):
        a, b, c, d = (_I(padded[at_a + x]), _I(padded[at_b + x]), _I(padded[at_c + x]), _I(padded[at_d + x]))
        row0 = _I(
            _I(
                _I(_I((a & kept_a) * stride_a) + _I((b & kept_b) * stride_b))
                + _I(_I((c & kept_c) * stride_c) + _I((d & kept_d) * stride_d))
            )
            >> interval
        )
        # axes in descending order of their fraction: five comparisons of keys that carry the stride along
        key_a = _I(((a & mask_a) * key_scale) | stride_a)
        key_b = _I(((b & mask_b) * key_scale) | stride_b)
        key_c = _I(((c & mask_c) * key_scale) | stride_c)
        key_d = _I(((d & mask_d) * key_scale) | stride_d)
        high_ab, low_ab = max(key_a, key_b), min(key_a, key_b)
        high_cd, low_cd = max(key_c, key_d), min(key_c, key_d)
        one, four = max(high_ab, high_cd), min(low_ab, low_cd)
        low_high, high_low = min(high_ab, high_cd), max(low_ab, low_cd)
        two, three = max(low_high, high_low), min(low_high, high_low)
        # the order that yhjo09/SR-LUT confuses, c > d >= a > b, becomes c a d b: see `order_axes_srlut`
        odd = confuse & ((c & mask_c) > (d & mask_d)) & ((d & mask_d) >= (a & mask_a)) & ((a & mask_a) > (b & mask_b))
        two, three = (key_a if odd else two), (key_d if odd else three)
        row1 = _I(row0 + (one & stride_mask))
        row2 = _I(row1 + (two & stride_mask))
        row3 = _I(row2 + (three & stride_mask))
        row4 = _I(row3 + (four & stride_mask))
        to = scratch + x
        rows[to] = row0 * outputs
        rows[_1 + to] = row1 * outputs
        rows[_2 + to] = row2 * outputs
        rows[_3 + to] = row3 * outputs
        rows[_4 + to] = row4 * outputs
        one, two, three, four = (one >> STRIDE_BITS, two >> STRIDE_BITS, three >> STRIDE_BITS, four >> STRIDE_BITS)
        weights[to] = unit - one
        weights[_1 + to] = one - two
        weights[_2 + to] = two - three
        weights[_3 + to] = three - four
        weights[_4 + to] = four


@njit(inline="always")
def _address_diagonal(
    padded, first, strides, masks, split, near_strides, band, unit, outputs, rows, weights, scratch, count
):
    """Twin of `Lookup.walk` for diagonal-first tables: `_address` in the band or in the coarse lattice, whichever."""
    at_a, at_b, at_c, at_d = first
    stride_a, stride_b, stride_c, stride_d = strides
    mask_a, mask_b, mask_c, mask_d = masks
    near_a, near_b, near_c, near_d = near_strides
    origin, coarse, reach, finer = band
    interval, key_scale = _I(split[0] & SHORT), split[1]
    near_interval = _I((split[0] - finer) & SHORT)
    near_scale = _I(key_scale << finer)
    near_mask_a, near_mask_b = _I(mask_a >> finer), _I(mask_b >> finer)
    near_mask_c, near_mask_d = _I(mask_c >> finer), _I(mask_d >> finer)
    kept_a, kept_b, kept_c, kept_d = _I(~mask_a), _I(~mask_b), _I(~mask_c), _I(~mask_d)
    near_kept_a, near_kept_b = _I(~near_mask_a), _I(~near_mask_b)
    near_kept_c, near_kept_d = _I(~near_mask_c), _I(~near_mask_d)
    stride_mask = _I((1 << STRIDE_BITS) - 1)
    for x in range(count):
        a, b, c, d = (_I(padded[at_a + x]), _I(padded[at_b + x]), _I(padded[at_c + x]), _I(padded[at_d + x]))
        # all differences to a lie between these two
        high, low = max(max(b, c), d), min(min(b, c), d)
        near = (_I(high - a) <= reach) & (_I(a - low) <= reach)
        near_row = _I(
            _I(
                _I(_I((a & near_kept_a) * near_a) + _I((b & near_kept_b) * near_b))
                + _I(_I((c & near_kept_c) * near_c) + _I((d & near_kept_d) * near_d))
            )
            >> near_interval
        )
        far_row = _I(
            _I(
                _I(_I((a & kept_a) * stride_a) + _I((b & kept_b) * stride_b))
                + _I(_I((c & kept_c) * stride_c) + _I((d & kept_d) * stride_d))
            )
            >> interval
        )
        row0 = _I(near_row + origin) if near else _I(far_row + coarse)
        near_key_a = _I(((a & near_mask_a) * near_scale) | near_a)
        near_key_b = _I(((b & near_mask_b) * near_scale) | near_b)
        near_key_c = _I(((c & near_mask_c) * near_scale) | near_c)
        near_key_d = _I(((d & near_mask_d) * near_scale) | near_d)
        key_a = near_key_a if near else _I(((a & mask_a) * key_scale) | stride_a)
        key_b = near_key_b if near else _I(((b & mask_b) * key_scale) | stride_b)
        key_c = near_key_c if near else _I(((c & mask_c) * key_scale) | stride_c)
        key_d = near_key_d if near else _I(((d & mask_d) * key_scale) | stride_d)
        high_ab, low_ab = max(key_a, key_b), min(key_a, key_b)
        high_cd, low_cd = max(key_c, key_d), min(key_c, key_d)
        one, four = max(high_ab, high_cd), min(low_ab, low_cd)
        low_high, high_low = min(high_ab, high_cd), max(low_ab, low_cd)
        two, three = max(low_high, high_low), min(low_high, high_low)
        row1 = _I(row0 + (one & stride_mask))
        row2 = _I(row1 + (two & stride_mask))
        row3 = _I(row2 + (three & stride_mask))
        row4 = _I(row3 + (four & stride_mask))
        to = scratch + x
        rows[to] = row0 * outputs
        rows[_1 + to] = row1 * outputs
        rows[_2 + to] = row2 * outputs
        rows[_3 + to] = row3 * outputs
        rows[_4 + to] = row4 * outputs
        one, two, three, four = (one >> STRIDE_BITS, two >> STRIDE_BITS, three >> STRIDE_BITS, four >> STRIDE_BITS)
        weights[to] = unit - one
        weights[_1 + to] = one - two
        weights[_2 + to] = two - three
        weights[_3 + to] = three - four
        weights[_4 + to] = four


@njit(inline="always")
def address_nodes(padded, first, strides, outputs, rows, scratch, count):
    """Twin of `_address` where every code is a node: the first vertex has all the weight."""
    at_a, at_b, at_c, at_d = first
    stride_a, stride_b, stride_c, stride_d = strides
    for x in range(count):
        a, b, c, d = (_I(padded[at_a + x]), _I(padded[at_b + x]), _I(padded[at_c + x]), _I(padded[at_d + x]))
        row = _I(_I(a * stride_a) + _I(b * stride_b)) + _I(_I(c * stride_c) + _I(d * stride_d))
        rows[scratch + x] = _I(row) * outputs


@njit(inline="always")
def address_lookup(
    padded, first, strides, masks, arithmetic, bands, lookup, scale, outputs, rows, weights, scratch, count
):
    """Address a lookup as its method says, along a simplex also where every code is a node; arguments as in `Layout`.

    Where no table is diagonal-first, `bands` is None, and what is for such tables is not even compiled.
    """
    unit, confuse = scale
    stride = (strides[lookup, 0], strides[lookup, 1], strides[lookup, 2], strides[lookup, 3])
    mask = (masks[lookup, 0], masks[lookup, 1], masks[lookup, 2], masks[lookup, 3])
    split = (arithmetic[lookup, 0], arithmetic[lookup, 1])
    if bands is None or arithmetic[lookup, 2] != DIAGONAL:
        _address(padded, first, stride, mask, split, _I(unit), _I(confuse), outputs, rows, weights, scratch, count)
    else:
        near = (bands[lookup, 0], bands[lookup, 1], bands[lookup, 2], bands[lookup, 3])
        band = (bands[lookup, 4], bands[lookup, 5], bands[lookup, 6], bands[lookup, 7])
        _address_diagonal(
            padded, first, stride, mask, split, near, band, _I(unit), outputs, rows, weights, scratch, count
        )
