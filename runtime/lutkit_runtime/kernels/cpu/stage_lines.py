# pyright: basic
"""The kernel of a fused stage. Imports Numba and stage_addresses; `stage` prepares its arguments.

What makes it fast, each measured:

- Addresses and weights of a lookup are computed for a chunk of pixels at a time, apart from the table reads: that loop
  vectorises.
- Indices are unsigned 64-bit: with a signed index Numba tests for Python's negative indices, which ends vectorisation.
- Every array is an argument of the parallel kernel, whole and flat: so LLVM is told that none overlaps another.
- The length of the tuple `side` is the block size. A tuple's length is part of its type, so every block size has a
  kernel of its own (and its own place in the cache) in which the loops over a block are unrolled and vectorised.
- Blocks of more than one value are summed in lanes, a multiple of 16: LLVM vectorises a loop of that length and unrolls
  a shorter one into scalar code, five times slower. The surplus lanes read on into the next row and are never used.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.stage_addresses import CHUNK, VERTICES, address_lookup, address_nodes
from lutkit_runtime.kernels.cpu.turned_blocks import add_turned_once, add_turned_thrice, add_turned_twice
from lutkit_runtime.kernels.stage_layout import ALL_NODES, LANES

_I = np.int32
_U = np.uint64
_1, _2, _3, _4 = _U(CHUNK), _U(2 * CHUNK), _U(3 * CHUNK), _U(4 * CHUNK)


def count_lanes(block: int) -> int:
    """Return how many values are summed for a pixel: those of its block, up to the next multiple of LANES."""
    return 1 if block == 1 else -(-(block**2) // LANES) * LANES


@njit(inline="always")
def _accumulate(table, base, rows, weights, scratch, sums, first_sum, lanes, count):
    """Twin of `Lookup.interpolate`: add the weighted table entries of `count` pixels to their sums."""
    for x in range(count):
        at = scratch + x
        row0, row1, row2 = (base + _U(rows[at]), base + _U(rows[_1 + at]), base + _U(rows[_2 + at]))
        row3, row4 = base + _U(rows[_3 + at]), base + _U(rows[_4 + at])
        weight0, weight1, weight2 = weights[at], weights[_1 + at], weights[_2 + at]
        weight3, weight4 = weights[_3 + at], weights[_4 + at]
        to = first_sum + x * lanes
        for k in range(lanes):
            # written as one wide expression on purpose: LLVM narrows it to the type of the sums
            sums[to + k] += (
                weight0 * table[row0 + k]
                + weight1 * table[row1 + k]
                + weight2 * table[row2 + k]
                + weight3 * table[row3 + k]
                + weight4 * table[row4 + k]
            )


@njit(inline="always")
def _accumulate_nodes(table, base, rows, unit, scratch, codes, first_code, sums, first_sum, lanes, count):
    """Twin of `_accumulate` for the rows of `_address_nodes`; `codes` is scratch.

    Whole rows are moved first, so that one long loop can add them: so few operations per lane would not be vectorised.
    """
    for x in range(count):
        row = base + _U(rows[scratch + x])
        to = first_code + x * lanes
        for k in range(lanes):
            codes[to + k] = np.uint8(table[row + k])
    for i in range(count * lanes):
        sums[first_sum + i] += unit * np.int8(codes[first_code + i])


@njit(inline="always")
def _join_turns(sums, first_sum, per_turn, side, lanes, count):
    """Add the sums of the four turns into those of turn 0, each block turned back."""
    for x in range(count):
        zero = first_sum + x * lanes
        one = zero + per_turn
        two = one + per_turn
        if len(side) == 1:
            sums[zero] += sums[one] + sums[two] + sums[two + per_turn]
        else:
            add_turned_once(sums, zero, sums, one, side)
            add_turned_twice(sums, zero, sums, two, side)
            add_turned_thrice(sums, zero, sums, two + per_turn, side)


@njit(inline="always")
def _round(sums, first_sum, codes, first_code, bias, divisor, count):
    """Twin of `Requantise.codes` in float32, exact under the conditions of `claim_stage`."""
    for i in range(count):
        code = np.rint((np.float32(_I(sums[first_sum + i])) + bias) / divisor)
        codes[first_code + i] = np.uint8(_I(min(max(code, np.float32(0)), np.float32(255))))


@compile_kernel(parallel=True)
def run_lines(
    padded: NDArray[np.uint8],
    extent: tuple[int, int, int],
    source: tuple[int, int, int],
    target: tuple[int, int, int, int],
    table: NDArray[np.int8],
    bases: NDArray[np.int64],
    strides: NDArray[np.int32],
    masks: NDArray[np.int32],
    offsets: NDArray[np.int64],
    arithmetic: NDArray[np.int32],
    bands: NDArray[np.int32] | None,
    scale: tuple[int, int],
    rounding: tuple[np.float32, np.float32],
    side: tuple[int, ...],
    rows: NDArray[np.int32],
    weights: NDArray[np.int32],
    sums: NDArray[np.int16 | np.int32],
    codes: NDArray[np.uint8],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Twin of `Ensemble.reference` and `Requantise.reference` for a rectangle of every plane.

    Parameters
    ----------
    padded
        Planes with as many more pixels around the rectangle as the patterns reach, source after source.
    extent : (planes, rows, columns)
        Size of the rectangle in pixels that are read.
    source : (first, plane, row)
        Place of the rectangle's first pixel in the first source, and the distances of planes and rows.
    target : (first, plane, row, pixel)
        Place of the rectangle's first result in `out`, and the distances of planes, rows and pixels.
    table
        All tables, one after the other, and LANES more entries.
    bases, strides, masks, offsets, arithmetic, bands, scale
        See `Layout`.
    rounding : (bias, divisor)
    side
        As long as the block size; the values do not matter.
    rows, weights : (workers * CHUNK * 5,)
    sums : (workers * CHUNK * 4 * count_lanes(block),)
    codes : (workers * CHUNK * count_lanes(block),)
        Scratch.
    workers
        How many take part.
    counter
        From `new_counter`: deals out the rows.
    out
    """
    planes, height, width = extent
    first_read, plane_read, row_read = source
    first_write, plane_write, row_write, pixel_write = target
    unit, _ = scale
    bias, divisor = rounding
    for worker in prange(workers):
        # inside the parallel loop the length is a constant; computed outside it would arrive as a variable
        block = _U(len(side))
        outputs = block * block
        lanes = _U(1) if block == _U(1) else (outputs + _U(LANES - 1)) // _U(LANES) * _U(LANES)
        per_turn = _U(CHUNK) * lanes
        scratch = _U(worker) * _U(CHUNK * VERTICES)
        first_sum = _U(worker) * _U(4) * per_turn
        first_code = _U(worker) * per_turn
        while True:
            # a row of all planes at once: the channels of an image share its cache lines
            row = take_next(counter)
            if row >= height:
                break
            for plane in range(planes):
                anchor = first_read + plane * plane_read + row * row_read
                line_write = first_write + plane * plane_write + row * len(side) * row_write
                for start in range(0, width, CHUNK):
                    count = _U(min(CHUNK, width - start))
                    for i in range(_U(4) * per_turn):
                        sums[first_sum + i] = 0
                    here = anchor + start
                    for lookup in range(len(bases)):
                        for turn in range(4):
                            places = (
                                _U(here + offsets[lookup, turn, 0]),
                                _U(here + offsets[lookup, turn, 1]),
                                _U(here + offsets[lookup, turn, 2]),
                                _U(here + offsets[lookup, turn, 3]),
                            )
                            base = _U(bases[lookup])
                            to_sum = first_sum + _U(turn) * per_turn
                            if arithmetic[lookup, 2] == ALL_NODES:
                                stride = (
                                    strides[lookup, 0],
                                    strides[lookup, 1],
                                    strides[lookup, 2],
                                    strides[lookup, 3],
                                )
                                address_nodes(padded, places, stride, _I(outputs), rows, scratch, count)
                                _accumulate_nodes(
                                    table, base, rows, _I(unit), scratch, codes, first_code, sums, to_sum, lanes, count
                                )
                                continue
                            address_lookup(
                                padded,
                                places,
                                strides,
                                masks,
                                arithmetic,
                                bands,
                                lookup,
                                scale,
                                _I(outputs),
                                rows,
                                weights,
                                scratch,
                                count,
                            )
                            _accumulate(table, base, rows, weights, scratch, sums, to_sum, lanes, count)
                    _join_turns(sums, first_sum, per_turn, side, lanes, count)
                    _round(sums, first_sum, codes, first_code, bias, divisor, count * lanes)
                    between = _U(pixel_write)
                    for down in range(block):
                        to = _U(line_write + start * len(side) * pixel_write) + down * _U(row_write)
                        at = first_code + down * block
                        for x in range(count):
                            for right in range(block):
                                out[to + (x * block + right) * between] = codes[at + x * lanes + right]
