# pyright: basic
"""The kernel of a fused axis network. Imports Numba and what it does to sums; `axis_network` prepares its arguments.

What makes it fast:

- Maps, rows of tables and sums hold 16 channels side by side: see `axis_sums`.
- A band of rows goes through all layers under all turns before the next, so that its maps stay in the second-level cache.
- Planes are never turned: the offsets of taps are, and the block of the result when it joins the sum.
- Rounding multiplies by the reciprocal and snaps the quotient: see `SNAP`.
- For the rest see `stage_lines`: unsigned indices, flat arrays that are arguments, block size as length of a tuple.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.axis_sums import (
    LANES,
    SNAP,
    add_aligned,
    add_eight,
    add_nine,
    add_scattered,
    add_three_aligned,
    map_aligned,
    map_scattered,
    round_sums,
    take_view,
)
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.turned_blocks import add_turned_once, add_turned_thrice, add_turned_twice

CHUNK = 128
"""Pixels that are summed at once: their sums stay in the first-level cache."""

EIGHT, NINE = 8, 9
"""Taps of one pass."""

DENSE, ALIGNED, SCATTERED = 0, 1, 2
"""Kinds of passes: taps that add to every lane; taps of every lane at one offset, each for its own lane; at any offset."""

TOGETHER = 3
"""Offsets of one pass of aligned taps, or else one: the rows of a 3 x 3 window."""

ZEROS = 256
"""Rows of zeros at the start of the joined table: the table of taps that fill up a pass.

A pass of fewer taps would not be faster: LLVM unrolls a loop of 16 small steps into scalar code.
"""

_I = np.int32
_U = np.uint64
_F = np.float32
_L = _U(LANES)


@njit(error_model="numpy", forceinline=True)
def _find_taps(unit, turn, y, begin, slot, units, passes, taps, layout, rows, places, first):
    """Write down where the taps of a unit stand for the first pixel of row y: twin of `AxisLookup.gather`."""
    for step in range(units[unit, 1], units[unit, 2]):
        tap = passes[step, 0]
        for each in range(tap, tap + passes[step, 1]):
            source = taps[turn, each, 0]
            reach = layout[source, 1]
            row = rows[layout[source, 5] + reach + y + taps[turn, each, 1]] - max(0, begin - layout[source, 2])
            column = (reach + taps[turn, each, 2]) * layout[source, 0] + taps[turn, each, 3]
            places[first + _U(each)] = _U(slot + layout[source, 3] + row * layout[source, 4] + column)


@njit(error_model="numpy", forceinline=True)
def _find_pixel(source, x, y, begin, slot, layout):
    """Return where the pixel (y, x) of a map stands."""
    row = y - max(0, begin - layout[source, 2])
    return _U(slot + layout[source, 3] + row * layout[source, 4] + (layout[source, 1] + x) * layout[source, 0])


@njit(error_model="numpy", forceinline=True)
def _pad_row(maps, line, columns, first_column, reach, width, step):
    """Twin of `Padding.index` for the pixels beside a row of a map."""
    for beside in range(2 * reach):
        column = beside if beside < reach else width + beside
        to = _U(line + column * step)
        source = _U(line + (columns[first_column + column] + reach) * step)
        for k in range(_U(step)):
            maps[to + k] = maps[source + k]


@njit(error_model="numpy", forceinline=True)
def _take_image(planes, plane, height, width, y, maps, line, reach):
    """Copy a row of a plane into the map of the image."""
    to, source = _U(line + reach), _U((plane * height + y) * width)
    for x in range(_U(width)):
        maps[to + x] = planes[source + x]


@njit(inline="always")
def _join_blocks(codes, first_code, turn, side, outputs, totals, first, count):
    """Add a chunk of the last map to the totals of its pixels, each block turned back."""
    if turn == 0:
        for x in range(count):
            for k in range(outputs):
                totals[first + x * outputs + k] = codes[first_code + x * _L + k]
    elif len(side) == 1:
        for x in range(count):
            totals[first + x] += codes[first_code + x * _L]
    elif turn == 1:
        for x in range(count):
            add_turned_once(totals, first + x * outputs, codes, first_code + x * _L, side)
    elif turn == 2:
        for x in range(count):
            add_turned_twice(totals, first + x * outputs, codes, first_code + x * _L, side)
    else:
        for x in range(count):
            add_turned_thrice(totals, first + x * outputs, codes, first_code + x * _L, side)


@njit(error_model="numpy", forceinline=True)
def _finish(totals, first, planes, place, with_image, bias, inverse, low, high, codes, first_code, outputs, count):
    """Twin of the `Requantise.codes` that follows the ensemble; with a residual there is one output per pixel."""
    if with_image:
        for x in range(count):
            quotient = (_F(_I(totals[first + x])) + bias) * inverse
            value = _I(_I(np.rint((quotient + SNAP) - SNAP)) + _I(planes[place + x]))
            codes[first_code + x] = np.uint16(min(max(value, low), high))
    else:
        for i in range(count * outputs):
            quotient = (_F(_I(totals[first + i])) + bias) * inverse
            codes[first_code + i] = np.uint16(min(max(_I(np.rint((quotient + SNAP) - SNAP)), low), high))


@compile_kernel(parallel=True)
def run_network_lines(
    planes: NDArray[np.uint8],
    extent: tuple[int, int, int],
    window: tuple[int, int, int, int],
    band: int,
    pieces: NDArray[np.int64],
    target: tuple[int, int, int, int],
    table: NDArray[np.int16 | np.int32],
    units: NDArray[np.int64],
    inverses: NDArray[np.float32],
    taps: NDArray[np.int64],
    starts: NDArray[np.uint64],
    passes: NDArray[np.int64],
    terms: NDArray[np.int64],
    layout: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    ending: tuple[np.float32, np.float32, int, int, int],
    side: tuple[int, ...],
    slots: tuple[int, int],
    places: NDArray[np.uint64],
    sums: NDArray[np.int16 | np.int32],
    seen: NDArray[np.uint8],
    codes: NDArray[np.uint16],
    totals: NDArray[np.int16],
    maps: NDArray[np.uint8],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Twin of `Ensemble.reference` and `Requantise.reference` for a rectangle of every plane.

    Parameters
    ----------
    planes : (N * H * W,)
    extent : (planes, H, W)
    window : (top, bottom, left, right)
        Pixels whose results are wanted.
    band
        Rows that go through all layers together, at most.
    pieces : (pieces, 3)
        Plane, first row and last row (exclusive) of every band.
    target : (first, plane, row, pixel)
        Place of the window's first result in `out`, and the distances of planes, rows and pixels.
    table
        For every tap a row of 16 outputs for every byte that its map can hold; of units that only map, what they make.
    units : (units, 16)
        Runs of 16 outputs of a layer: map made; first pass, end of passes; first term, end of terms; map of the residual
        or -1, distance of its pixels, 1 where every lane has its own or 0, its shift, its mask; start of the sums; what
        is added after rounding; lowest and highest number in the map; map of the upper bytes, or -1; 1 where the unit only
        maps what its one pass reads, lane by lane.
    inverses : (units,)
        1 / divisor.
    taps : (4 turns, taps, 4)
        Map, row, column and lane of every tap.
    starts : (taps,)
        First entry of its table.
    passes : (passes, 4)
        First tap, number of taps, distance of the pixels of their maps, kind. Scattered taps share the table of the first.
    terms : (terms, 6)
        Map, distance of its pixels, 1 where every lane has its own or 0, shift, mask, weight.
    layout : (maps, 7)
        Distance of pixels, pixels beside every row, rows beyond those wanted, first byte, distance of rows, first of
        `rows`, first of `columns`; the first map is the image, the last what is shuffled.
    rows, columns
        What stands for the rows and columns around a plane.
    ending : (bias, 1 / divisor, low, high, 1 with the image as residual or 0)
    side
        As long as the block size.
    slots : (bytes of all maps, 1 where every plane and turn keeps its own or 0)
    places : (workers * taps,)
    sums, seen, codes : (workers * CHUNK * LANES,)
    totals : (workers * band * W * block**2,)
    maps : (workers or 4 N times the bytes of all maps,)
        Scratch.
    workers, counter, out
        As for `run_lines`.
    """
    _, height, width = extent
    top, _, left, right = window
    first_write, plane_write, row_write, pixel_write = target
    bias, inverse, low, high, with_image = ending
    slot_bytes, keep = slots
    last = len(layout) - 1
    for worker in prange(workers):
        block = _U(len(side))
        outputs = block * block
        scratch = _U(worker) * _U(CHUNK) * _L
        first_place = _U(worker) * _U(len(starts))
        first_total = _U(worker) * _U(band * width) * outputs
        while True:
            task = take_next(counter)
            if task >= len(pieces):
                break
            plane, begin, end = pieces[task, 0], pieces[task, 1], pieces[task, 2]
            for turn in range(4):
                slot = (plane * 4 + turn if keep else worker) * slot_bytes
                first_row = max(0, begin - layout[0, 2])
                for y in range(first_row, min(height, end + layout[0, 2])):
                    line = slot + layout[0, 3] + (y - first_row) * layout[0, 4]
                    _take_image(planes, plane, height, width, y, maps, line, layout[0, 1])
                    _pad_row(maps, line, columns, layout[0, 6], layout[0, 1], width, 1)
                for unit in range(len(units)):
                    made = units[unit, 0]
                    residual = units[unit, 5]
                    first_row = max(0, begin - layout[made, 2])
                    for y in range(first_row, min(height, end + layout[made, 2])):
                        line = slot + layout[made, 3] + (y - first_row) * layout[made, 4]
                        _find_taps(unit, turn, y, begin, slot, units, passes, taps, layout, rows, places, first_place)
                        for x in range(0, width, CHUNK):
                            count = _U(min(CHUNK, width - x))
                            if units[unit, 15]:
                                tap = _U(passes[units[unit, 1], 0])
                                at = first_place + tap
                                offset = _U(x) * _L
                                if passes[units[unit, 1], 3] == SCATTERED:
                                    map_scattered(maps, table, places, at, starts[tap], offset, codes, scratch, count)
                                else:
                                    map_aligned(maps, table, places[at] + offset, starts[tap], codes, scratch, count)
                            else:
                                start = units[unit, 10]
                                for i in range(count * _L):
                                    sums[scratch + i] = start
                                for term in range(units[unit, 3], units[unit, 4]):
                                    take_view(
                                        maps,
                                        _find_pixel(terms[term, 0], x, y, begin, slot, layout),
                                        _U(terms[term, 1]),
                                        terms[term, 2],
                                        _I(terms[term, 3]),
                                        _I(terms[term, 4]),
                                        seen,
                                        scratch,
                                        count,
                                    )
                                    weight = _I(terms[term, 5])
                                    for i in range(count * _L):
                                        sums[scratch + i] += _I(_I(seen[scratch + i]) * weight)
                                for step in range(units[unit, 1], units[unit, 2]):
                                    tap = _U(passes[step, 0])
                                    pixel = _U(passes[step, 2])
                                    at = first_place + tap
                                    offset = _U(x) * pixel
                                    size, kind = passes[step, 1], passes[step, 3]
                                    if kind == DENSE and size == EIGHT:
                                        add_eight(
                                            maps, table, places, at, starts, tap, offset, pixel, sums, scratch, count
                                        )
                                    elif kind == DENSE:
                                        add_nine(
                                            maps, table, places, at, starts, tap, offset, pixel, sums, scratch, count
                                        )
                                    elif kind == SCATTERED:
                                        add_scattered(
                                            maps, table, places, at, starts[tap], offset, sums, scratch, count
                                        )
                                    elif size == TOGETHER:
                                        add_three_aligned(
                                            maps, table, places, at, starts, tap, offset, sums, scratch, count
                                        )
                                    else:
                                        add_aligned(maps, table, places[at] + offset, starts[tap], sums, scratch, count)
                                if residual >= 0:
                                    take_view(
                                        maps,
                                        _find_pixel(residual, x, y, begin, slot, layout),
                                        _U(units[unit, 6]),
                                        units[unit, 7],
                                        _I(units[unit, 8]),
                                        _I(units[unit, 9]),
                                        seen,
                                        scratch,
                                        count,
                                    )
                                else:
                                    for i in range(count * _L):
                                        seen[scratch + i] = 0
                                round_sums(
                                    sums,
                                    seen,
                                    scratch,
                                    inverses[unit],
                                    _I(units[unit, 11]),
                                    _I(units[unit, 12]),
                                    _I(units[unit, 13]),
                                    codes,
                                    count,
                                )
                            to = _U(line + (layout[made, 1] + x) * LANES)
                            for i in range(count * _L):
                                maps[to + i] = np.uint8(codes[scratch + i])
                            if units[unit, 14] >= 0:
                                to = _find_pixel(units[unit, 14], x, y, begin, slot, layout)
                                for i in range(count * _L):
                                    maps[to + i] = np.uint8(_I(codes[scratch + i]) >> 8)
                            if made == last:
                                at = first_total + _U((y - begin) * width + x) * outputs
                                _join_blocks(codes, scratch, turn, side, outputs, totals, at, count)
                        _pad_row(maps, line, columns, layout[made, 6], layout[made, 1], width, LANES)
            for y in range(begin, end):
                for x in range(left, right, CHUNK):
                    count = _U(min(CHUNK, right - x))
                    _finish(
                        totals,
                        first_total + _U((y - begin) * width + x) * outputs,
                        planes,
                        _U((plane * height + y) * width + x),
                        with_image,
                        bias,
                        inverse,
                        _I(low),
                        _I(high),
                        codes,
                        scratch,
                        outputs,
                        count,
                    )
                    line_write = first_write + plane * plane_write + (y - top) * len(side) * row_write
                    between = _U(pixel_write)
                    for down in range(block):
                        to = _U(line_write + (x - left) * len(side) * pixel_write) + down * _U(row_write)
                        at = scratch + down * block
                        for across in range(count):
                            for right_ in range(block):
                                out[to + (across * block + right_) * between] = np.uint8(
                                    codes[at + across * outputs + right_]
                                )
