# pyright: basic
"""The CUDA kernel of a fused stage, and of a single lookup. Imports compiling, rounding, four_samples and
stage_layout's constants.

A thread does one pixel of one plane: under each turn it adds up what the lookups give, turns the block back, and rounds
the sum. Entries of a block are read as 32-bit words of four bytes, biased to be positive, and multiplied two at a time:
a lane of 16 bits holds the sum of a turn. `VARIANTS` makes the kernels of all kinds.
"""

from __future__ import annotations

import functools

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import Kernel, cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.four_samples import FOUR, load_constant_four
from lutkit_runtime.kernels.cuda.rounding import round_half_even
from lutkit_runtime.kernels.stage_layout import DIAGONAL, STRIDE_BITS

AXES = 4
BAND = 8
BIAS = 128
"""What is added to entries that are read as words."""
LANE = (1 << 16) - 1
LARGEST_SIDE = 8

_I, _U, _F = np.int32, np.uint32, np.float32
_STRIDE = _I((1 << STRIDE_BITS) - 1)
_PAIRS = _U(0x00FF00FF)
# indices are unsigned: for signed ones Numba tests for Python's negative indices


@device_function
def _find_near(samples, strides, masks, arithmetic, bands, lookup):
    """Return the first row, the sort keys and whether the band holds them, of samples of a diagonal-first table."""
    a, b, c, d = samples
    high, low = max(max(b, c), d), min(min(b, c), d)
    band = _I(lookup * BAND)
    reach = bands[band + 6]
    near = _I(high - a) <= reach and _I(a - low) <= reach
    at = _I(lookup * AXES)
    finer = bands[band + 7] if near else _I(0)
    interval = _I(arithmetic[lookup * 3] - finer)
    scale = _I(arithmetic[lookup * 3 + 1] << finer)
    stride_a = bands[band] if near else strides[at]
    stride_b = bands[band + 1] if near else strides[at + 1]
    stride_c = bands[band + 2] if near else strides[at + 2]
    stride_d = bands[band + 3] if near else strides[at + 3]
    row = _I(
        _I(_I(_I(a >> interval) * stride_a) + _I(_I(b >> interval) * stride_b))
        + _I(_I(_I(c >> interval) * stride_c) + _I(_I(d >> interval) * stride_d))
    )
    row = _I(row + (bands[band + 4] if near else bands[band + 5]))
    return (
        row,
        _I(((a & (masks[at] >> finer)) * scale) | stride_a),
        _I(((b & (masks[at + 1] >> finer)) * scale) | stride_b),
        _I(((c & (masks[at + 2] >> finer)) * scale) | stride_c),
        _I(((d & (masks[at + 3] >> finer)) * scale) | stride_d),
    )


@device_function
def _find_plain(samples, keys, strides, masks, arithmetic, lookup):
    """Return the first row and the sort keys of samples of a table of one lattice."""
    a, b, c, d = samples
    at = _I(lookup * AXES)
    interval, scale = arithmetic[_U(lookup * 3)], arithmetic[_U(lookup * 3 + 1)]
    stride_a, stride_b, stride_c, stride_d = load_constant_four(strides, at)
    mask_a, mask_b, mask_c, mask_d = load_constant_four(masks, at)
    key_a, key_b, key_c, key_d = load_constant_four(keys, at)
    row = _I(
        _I(_I(_I(a >> interval) * stride_a) + _I(_I(b >> interval) * stride_b))
        + _I(_I(_I(c >> interval) * stride_c) + _I(_I(d >> interval) * stride_d))
    )
    return (
        row,
        _I(((a & mask_a) * scale) | key_a),
        _I(((b & mask_b) * scale) | key_b),
        _I(((c & mask_c) * scale) | key_c),
        _I(((d & mask_d) * scale) | key_d),
    )


@device_function
def walk(padded, here, turn, offsets, keys, strides, masks, arithmetic, bands, lookup, unit, confuse):
    """Twin of `Lookup.walk`: the rows of the five vertices of a pixel, and their weights."""
    at = _I(_I(_I(lookup * 4) + turn) * AXES)
    to_a, to_b, to_c, to_d = load_constant_four(offsets, at)
    a, b = _I(padded[_U(here + to_a)]), _I(padded[_U(here + to_b)])
    c, d = _I(padded[_U(here + to_c)]), _I(padded[_U(here + to_d)])
    if arithmetic[_U(lookup * 3 + 2)] == DIAGONAL:
        row0, key_a, key_b, key_c, key_d = _find_near((a, b, c, d), strides, masks, arithmetic, bands, lookup)
    else:
        row0, key_a, key_b, key_c, key_d = _find_plain((a, b, c, d), keys, strides, masks, arithmetic, lookup)
    high_ab, low_ab = max(key_a, key_b), min(key_a, key_b)
    high_cd, low_cd = max(key_c, key_d), min(key_c, key_d)
    one, four = max(high_ab, high_cd), min(low_ab, low_cd)
    low_high, high_low = min(high_ab, high_cd), max(low_ab, low_cd)
    two, three = max(low_high, high_low), min(low_high, high_low)
    if confuse:
        # the order that yhjo09/SR-LUT confuses, c > d >= a > b, becomes c a d b: see `order_axes_srlut`
        first = _I(lookup * AXES)
        at_a, at_b, at_c, at_d = a & masks[first], b & masks[first + 1], c & masks[first + 2], d & masks[first + 3]
        if at_c > at_d and at_d >= at_a and at_a > at_b:
            two, three = key_a, key_d
    row1 = _I(row0 + (one & _STRIDE))
    row2 = _I(row1 + (two & _STRIDE))
    row3 = _I(row2 + (three & _STRIDE))
    row4 = _I(row3 + (four & _STRIDE))
    one, two, three, four = (
        _I(one >> STRIDE_BITS),
        _I(two >> STRIDE_BITS),
        _I(three >> STRIDE_BITS),
        _I(four >> STRIDE_BITS),
    )
    return row0, row1, row2, row3, row4, _I(unit - one), _I(one - two), _I(two - three), _I(three - four), four


def _find_turned_back(side):
    """Return a device function: which entry of a block turned `turn` times stands at a place once it is turned back."""
    last = side * side - 1

    @device_function
    def turned_back(row, column, turn):
        place = row * side + column
        aside = (side - 1 - column) * side + row
        if turn == 0:
            return place
        if turn == 1:
            return aside
        if turn == 2:
            return last - place
        return last - aside

    return turned_back


def _make_words(side):
    """Return a device function that adds a turn's block to the sums, four entries a word."""
    words = side * side // 4
    pairs = 2 * words
    turned_back = _find_turned_back(side)

    @device_function
    def add_word(four, weight, lanes, word):
        lanes[2 * word] = _U(lanes[2 * word] + _U(weight * _U(four & _PAIRS)))
        lanes[2 * word + 1] = _U(lanes[2 * word + 1] + _U(weight * _U(_U(four >> _U(8)) & _PAIRS)))

    if words % FOUR == 0:

        @device_function
        def add_row(table, at, weight, lanes):
            for word in range(0, words, FOUR):
                one, two, three, four = load_constant_four(table, _I(at + word))
                add_word(one, weight, lanes, word)
                add_word(two, weight, lanes, word + 1)
                add_word(three, weight, lanes, word + 2)
                add_word(four, weight, lanes, word + 3)

    else:

        @device_function
        def add_row(table, at, weight, lanes):
            for word in range(words):
                add_word(table[_U(at + word)], weight, lanes, word)

    @device_function
    def add_turn(
        padded, here, turn, table, bases, offsets, keys, strides, masks, arithmetic, bands, unit, confuse, sums
    ):
        lanes = cuda.local.array(pairs, np.uint32)
        for lane in range(pairs):
            lanes[lane] = _U(0)
        for lookup in range(bases.size):
            row0, row1, row2, row3, row4, weight0, weight1, weight2, weight3, weight4 = walk(
                padded, here, turn, offsets, keys, strides, masks, arithmetic, bands, lookup, unit, confuse
            )
            base = bases[_U(lookup)]
            add_row(table, _I(_I(base + row0) * words), _U(weight0), lanes)
            add_row(table, _I(_I(base + row1) * words), _U(weight1), lanes)
            add_row(table, _I(_I(base + row2) * words), _U(weight2), lanes)
            add_row(table, _I(_I(base + row3) * words), _U(weight3), lanes)
            add_row(table, _I(_I(base + row4) * words), _U(weight4), lanes)
        for row in range(side):
            for column in range(side):
                entry = turned_back(row, column, turn)
                pair = lanes[2 * (entry // 4) + entry % 2]
                lane = _U(pair >> _U(16)) if entry % 4 > 1 else _U(pair & _U(LANE))
                sums[row * side + column] += _I(lane)

    return add_turn


def _make_bytes(side):
    """Return a device function that adds a turn's block to the sums, entry by entry."""
    outputs = side * side
    turned_back = _find_turned_back(side)

    @device_function
    def add_turn(
        padded, here, turn, table, bases, offsets, keys, strides, masks, arithmetic, bands, unit, confuse, sums
    ):
        for lookup in range(bases.size):
            row0, row1, row2, row3, row4, weight0, weight1, weight2, weight3, weight4 = walk(
                padded, here, turn, offsets, keys, strides, masks, arithmetic, bands, lookup, unit, confuse
            )
            at = _I(bases[_U(lookup)] * outputs)
            for row in range(side):
                for column in range(side):
                    entry = turned_back(row, column, turn)
                    sums[row * side + column] += _I(
                        _I(
                            _I(weight0 * _I(table[_U(at + row0 * outputs + entry)]))
                            + _I(weight1 * _I(table[_U(at + row1 * outputs + entry)]))
                        )
                        + _I(
                            _I(weight2 * _I(table[_U(at + row2 * outputs + entry)]))
                            + _I(weight3 * _I(table[_U(at + row3 * outputs + entry)]))
                        )
                        + _I(weight4 * _I(table[_U(at + row4 * outputs + entry)]))
                    )

    return add_turn


@functools.cache
def make_stage(side: int, in_words: bool, rounds: bool) -> Kernel:
    """Return the kernel of a stage.

    Parameters
    ----------
    side : int
        Of a block: 1 to 8.
    in_words : bool
        The table holds words of four biased entries, as blocks of a multiple of four have them.
    rounds : bool
        The sums of four turns become codes; else those of turn 0 are the result.
    """
    outputs = side * side
    add_turn = _make_words(side) if in_words else _make_bytes(side)
    table, out = ("uint32[::1]" if in_words else "int8[::1]"), ("uint8[::1]" if rounds else "int32[::1]")

    @kernel(
        f"int32, int32, uint8[::1], int32, int32, int32, {table}, int32[::1], int32[::1], int32[::1], int32[::1], "
        f"int32[::1], int32[::1], int32[::1], int32, int32, int32, float32, float32, {out}",
        name=f"stage of {side} x {side}" + (", words" if in_words else "") + (", codes" if rounds else ", sums"),
    )
    def run_stage(
        count,
        height,
        width,
        padded,
        first_read,
        plane_read,
        row_read,
        table,
        bases,
        offsets,
        keys,
        strides,
        masks,
        arithmetic,
        bands,
        unit,
        confuse,
        offset,
        bias,
        divisor,
        out,
    ):
        i = _I(cuda.grid(1))
        if i < count:
            column, row, plane = _I(i % width), _I(_I(i // width) % height), _I(i // _I(width * height))
            here = _I(_I(first_read + _I(plane * plane_read)) + _I(_I(row * row_read) + column))
            sums = cuda.local.array(outputs, np.int32)
            for place in range(outputs):
                sums[place] = offset
            add_turn(
                padded, here, 0, table, bases, offsets, keys, strides, masks, arithmetic, bands, unit, confuse, sums
            )
            if rounds:
                add_turn(
                    padded, here, 1, table, bases, offsets, keys, strides, masks, arithmetic, bands, unit, confuse, sums
                )
                add_turn(
                    padded, here, 2, table, bases, offsets, keys, strides, masks, arithmetic, bands, unit, confuse, sums
                )
                add_turn(
                    padded, here, 3, table, bases, offsets, keys, strides, masks, arithmetic, bands, unit, confuse, sums
                )
            columns = _I(width * side)
            to = _I(_I(_I(_I(_I(plane * height) + row) * side) * columns) + _I(column * side))
            for down in range(side):
                for right in range(side):
                    total = sums[down * side + right]
                    place = _I(_I(to + _I(down * columns)) + right)
                    if rounds:
                        quotient = _F(_F(_F(total) + bias) / divisor)
                        bounded = min(max(quotient, _F(-1.0)), _F(256.0))
                        code = min(max(_I(round_half_even(bounded)), _I(0)), _I(255))
                        out[place] = np.uint8(code)
                    else:
                        out[place] = total

    return run_stage


VARIANTS = tuple(
    functools.partial(make_stage, side, in_words, rounds)
    for side in range(1, LARGEST_SIDE + 1)
    for in_words in ((False, True) if side % 2 == 0 else (False,))
    for rounds in (True, False)
)
