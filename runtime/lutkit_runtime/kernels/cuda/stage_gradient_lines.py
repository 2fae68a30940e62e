# pyright: basic
"""CUDA kernels of a stage's backward pass. Imports compiling, fixed_point, stage_lines and stage_layout's constants.

References are those of the CPU's `stage_gradient`. Gradients are integers here, and their sums exact: see `fixed_point`.

`accumulate_tables` has a thread for every sample of the result: threads that follow each other add to neighbouring
entries of one row, which a GPU does at once. `accumulate_samples` has one for every pixel, since all of a pixel's block
goes into the slopes of its samples.
"""

from __future__ import annotations

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.fixed_point import find_scale, quantise
from lutkit_runtime.kernels.cuda.stage_lines import AXES, BAND, walk
from lutkit_runtime.kernels.stage_layout import DIAGONAL, STRIDE_BITS

_I, _L, _F = np.int32, np.int64, np.float32
_LOWEST, _HIGHEST = 0, 255

_LAYOUT = "int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], int32, int32"
"""Types of offsets, keys, strides, masks, arithmetic, bands, unit and confuse: see `walk`."""


@kernel("int8[::1], int32[::1], int32, int32, int64, int8[::1]")
def join_rows(count, table, rows, has_rows, outputs, first, joined):
    """Write a table behind others, its rows as they lie in memory; they follow each other without `has_rows`."""
    i = _I(cuda.grid(1))
    if i < count:
        row = rows[_I(i // outputs)] if has_rows else _I(i // outputs)
        joined[_L(first) + _L(i)] = table[_L(row) * _L(outputs) + _L(i % outputs)]


@kernel("int8[::1], uint8[::1]")
def bias_bytes(count, entries, out):
    """Write entries as bytes that are positive: 128 more."""
    i = _I(cuda.grid(1))
    if i < count:
        out[i] = np.uint8(_I(entries[i]) + 128)


@kernel("float32[::1], uint8[::1], int32, int32, int32[::1], int32, int32[::1]")
def gate_blocks(count, gradient, codes, width, side, largest, bits, out):
    """Twin of `gate_gradient`: the gradients of a result as integers, block after block; 0 where they would clip further."""
    i = _I(cuda.grid(1))
    if i < count:
        outputs = _I(side * side)
        place, pixel = _I(i % outputs), _I(i // outputs)
        line, column = _I(pixel // width), _I(pixel % width)
        above = _I(_I(line * side) + _I(place // side))
        at = _I(_I(_I(_I(above * width) + column) * side) + _I(place % side))
        slope, code = gradient[at], _I(codes[at])
        outward = (code == _LOWEST and slope > _F(0)) or (code == _HIGHEST and slope < _F(0))
        out[i] = _I(0) if outward else quantise(slope, find_scale(largest[0], bits))


@device_function
def _turn_back(place, side, turn):
    """Return which entry of a block turned `turn` times stands at a place once it is turned back."""
    last = _I(_I(side * side) - 1)
    if turn == 0:
        return _I(place)
    if turn == 2:
        return _I(last - place)
    aside = _I(_I(_I(side - 1 - _I(place % side)) * side) + _I(place // side))
    return aside if turn == 1 else _I(last - aside)


@device_function
def _find_pixel(pixel, height, width, first_read, plane_read, row_read):
    """Return where a pixel stands in the padded planes."""
    column, row, plane = _I(pixel % width), _I(_I(pixel // width) % height), _I(pixel // _I(width * height))
    return _I(_I(first_read + _I(plane * plane_read)) + _I(_I(row * row_read) + column))


@device_function
def _add_weighted(sums, at, weight, slope):
    if weight != 0:
        cuda.atomic.add(sums, at, _L(weight) * slope)


@kernel(
    f"int32[::1], int32, int32, int32, uint8[::1], int32, int32, int32, int32[::1], {_LAYOUT}, int64[::1]",
    name="gradient to tables",
)
def accumulate_tables(
    count,
    slopes,
    side,
    height,
    width,
    padded,
    first_read,
    plane_read,
    row_read,
    bases,
    offsets,
    keys,
    strides,
    masks,
    arithmetic,
    bands,
    unit,
    confuse,
    sums,
):
    """Add weight times slope to the gradients of the five rows of every pixel, lookup and turn."""
    i = _I(cuda.grid(1))
    if i < count and slopes[i] != 0:
        slope = _L(slopes[i])
        outputs = _I(side * side)
        place = _I(i % outputs)
        here = _find_pixel(_I(i // outputs), height, width, first_read, plane_read, row_read)
        for turn in range(4):
            entry = _L(_turn_back(place, side, turn))
            for lookup in range(bases.size):
                row0, row1, row2, row3, row4, weight0, weight1, weight2, weight3, weight4 = walk(
                    padded, here, turn, offsets, keys, strides, masks, arithmetic, bands, lookup, unit, confuse
                )
                base = bases[lookup]
                _add_weighted(sums, _L(base + row0) * outputs + entry, weight0, slope)
                _add_weighted(sums, _L(base + row1) * outputs + entry, weight1, slope)
                _add_weighted(sums, _L(base + row2) * outputs + entry, weight2, slope)
                _add_weighted(sums, _L(base + row3) * outputs + entry, weight3, slope)
                _add_weighted(sums, _L(base + row4) * outputs + entry, weight4, slope)


@device_function
def _dot(table, slopes, first, side, turn, at0, at1, at2, at3, at4):
    """Return what each of five rows makes of a block's slopes."""
    dot0, dot1, dot2, dot3, dot4 = _L(0), _L(0), _L(0), _L(0), _L(0)
    for place in range(_I(side * side)):
        slope = _L(slopes[first + place])
        entry = _turn_back(place, side, turn)
        dot0 += _L(table[at0 + entry]) * slope
        dot1 += _L(table[at1 + entry]) * slope
        dot2 += _L(table[at2 + entry]) * slope
        dot3 += _L(table[at3 + entry]) * slope
        dot4 += _L(table[at4 + entry]) * slope
    return dot0, dot1, dot2, dot3, dot4


@kernel(
    f"int32[::1], int32, int32, int32, uint8[::1], int32, int32, int32, int8[::1], int32[::1], {_LAYOUT}, int32[::1], "
    "int64[::1]",
    name="gradient to samples",
)
def accumulate_samples(
    count,
    slopes,
    side,
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
    wanted,
    sums,
):
    """Add to every padded sample the difference of the vertices between which a walk steps along its axis."""
    i = _I(cuda.grid(1))
    if i < count:
        outputs = _I(side * side)
        here = _find_pixel(i, height, width, first_read, plane_read, row_read)
        for piece in range(_I(4 * bases.size)):
            lookup, turn = _I(piece // 4), _I(piece % 4)
            if wanted[lookup] != 0:
                row0, row1, row2, row3, row4, _, _, _, _, _ = walk(
                    padded, here, turn, offsets, keys, strides, masks, arithmetic, bands, lookup, unit, confuse
                )
                base = bases[lookup]
                dot0, dot1, dot2, dot3, dot4 = _dot(
                    table,
                    slopes,
                    _L(i) * outputs,
                    side,
                    turn,
                    _L(base + row0) * outputs,
                    _L(base + row1) * outputs,
                    _L(base + row2) * outputs,
                    _L(base + row3) * outputs,
                    _L(base + row4) * outputs,
                )
                near = arithmetic[lookup * 3 + 2] == DIAGONAL and row0 < bands[lookup * BAND + 5]
                factor = _L(arithmetic[lookup * 3 + 1] >> STRIDE_BITS)
                if near:
                    factor = factor << _L(bands[lookup * BAND + 7])
                for axis in range(AXES):
                    # an axis that does not exist has no stride in either lattice
                    stride = bands[lookup * BAND + axis] if near else strides[lookup * AXES + axis]
                    if strides[lookup * AXES + axis] != 0:
                        rise = _L(0)
                        if _I(row1 - row0) == stride:
                            rise += dot1 - dot0
                        if _I(row2 - row1) == stride:
                            rise += dot2 - dot1
                        if _I(row3 - row2) == stride:
                            rise += dot3 - dot2
                        if _I(row4 - row3) == stride:
                            rise += dot4 - dot3
                        if rise != 0:
                            sample = _I(here + offsets[_I(_I(_I(lookup * 4) + turn) * AXES) + axis])
                            cuda.atomic.add(sums, sample, factor * rise)


@kernel("int64[::1], int32, int32, int32[::1], int32[::1], int32, int32, int64[::1]")
def fold_sums(count, padded, to_height, to_width, rows, columns, height, width, sums):
    """Twin of `fold_sources`: add what padded pixels received to those that they stand for; `pad_planes` transposed."""
    i = _I(cuda.grid(1))
    if i < count and padded[i] != 0:
        samples = _I(to_width * to_height)
        plane, place = _I(i // samples), _I(i % samples)
        row, column = rows[_I(place // to_width)], columns[_I(place % to_width)]
        cuda.atomic.add(sums, _I(_I(_I(_I(plane * height) + row) * width) + column), padded[i])
