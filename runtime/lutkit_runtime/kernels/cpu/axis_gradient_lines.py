# pyright: basic
"""The kernel of the backward pass of an axis network. Imports Numba only; `axis_gradient` prepares its arguments.

Goes through the units of the forward kernel in reverse, plane by plane and turn by turn, over maps that it has kept. The
gradients to maps lie as the maps do, pixels beside a row included, so that one place serves both.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.axis_lines import ALIGNED, CHUNK, DENSE, SCATTERED
from lutkit_runtime.kernels.cpu.axis_sums import LANES
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.four_floats import add_product, load, store, transpose

_I = np.int32
_U = np.uint64
_F = np.float32
_L = _U(LANES)
_4, _8, _12 = _U(4), _U(8), _U(12)


@njit(inline="always")
def _gate_result(result, gradient, plane, extent, side, low, high, inverse, gated, first):
    """Twin of `gate_gradient` for the codes of a plane, block by block; divided as the sum was."""
    _, height, width = extent
    for y in range(height):
        for row in range(side):
            line = ((plane * height + y) * side + row) * width * side
            for x in range(width):
                for column in range(side):
                    at = _U(line + x * side + column)
                    slope = gradient[at]
                    code = result[at]
                    outward = ((code <= low) & (slope > 0)) | ((code >= high) & (slope < 0))
                    place = ((y * width + x) * side + row) * side + column
                    gated[first + _U(place)] = _F(0) if outward else slope * inverse


@njit(inline="always")
def _turn_blocks(gated, first, turn, extent, side, slopes, start, layout):
    """Write the gradient of the ensemble's result into that of the last map, each block turned."""
    _, height, width = extent
    last = len(layout) - 1
    end = side - 1
    for y in range(height):
        for x in range(width):
            to = _U(start + layout[last, 3] + y * layout[last, 4] + (layout[last, 1] + x) * LANES)
            block = first + _U((y * width + x) * side * side)
            for row in range(side):
                for column in range(side):
                    if turn == 0:
                        k = row * side + column
                    elif turn == 1:
                        k = (end - column) * side + row
                    elif turn == 2:
                        k = (end - row) * side + end - column
                    else:
                        k = column * side + end - row
                    slopes[to + _U(k)] = gated[block + _U(row * side + column)]


@njit(inline="always")
def _fold_row(slopes, line, columns, first_column, reach, width):
    """Add what pixels beside a row received to those that they stand for."""
    for beside in range(2 * reach):
        column = beside if beside < reach else width + beside
        source = _U(line + column * LANES)
        to = _U(line + (columns[first_column + column] + reach) * LANES)
        for k in range(_L):
            slopes[to + k] += slopes[source + k]


@njit(inline="always")
def _gate(maps, place, upper, place_upper, low, high, slopes, place_slope, gated, first, count):
    """Twin of `gate_gradient` for a chunk of a map."""
    for i in range(count * _L):
        value = _I(maps[place + i])
        if upper:
            value = _I(value + _I(_I(maps[place_upper + i]) << 8))
        slope = slopes[place_slope + i]
        outward = ((value <= low) & (slope > 0)) | ((value >= high) & (slope < 0))
        gated[first + i] = _F(0) if outward else slope


@njit(inline="always")
def _pass_on(gated, first, factor, each, slopes, place, count):
    """Add a chunk of gradients, times a factor, to those of a map: lane to lane, or all to the only one."""
    if each:
        for i in range(count * _L):
            slopes[place + i] += gated[first + i] * factor
    else:
        for x in range(count):
            total = _F(0)
            for k in range(_L):
                total += gated[first + x * _L + k]
            slopes[place + x * _L] += total * factor


@njit(inline="always")
def _add_row(sums, row, one, two, three, four):
    """Add sixteen gradients to a row of the joined table's."""
    store(sums, row, load(sums, row) + one)
    store(sums, row + _4, load(sums, row + _4) + two)
    store(sums, row + _8, load(sums, row + _8) + three)
    store(sums, row + _12, load(sums, row + _12) + four)


@njit(inline="always")
def _dot_row(steep, row, one, two, three, four):
    """Return four numbers whose sum is what the slopes of a row make of sixteen gradients."""
    products = add_product(load(steep, row) * one, load(steep, row + _4), two)
    return add_product(add_product(products, load(steep, row + _8), three), load(steep, row + _12), four)


@njit(inline="always")
def _scatter(maps, place, step, gated, first, sums, start, count):
    """Add the gradients of a chunk to the table rows that a tap has read."""
    for x in range(count):
        at = first + x * _L
        row = start + _U(maps[place + x * step]) * _L
        _add_row(sums, row, load(gated, at), load(gated, at + _4), load(gated, at + _8), load(gated, at + _12))


@njit(inline="always")
def _scatter_and_pass(maps, place, gated, first, sums, part, start, steep, slopes, place_slope, dots, count):
    """As `_scatter` for four taps, and pass on to their samples what the slopes of their tables make of the gradients.

    What is passed on stays in `dots`, four taps for every pixel.
    """
    p0, p1, p2, p3 = place
    s0, s1, s2, s3 = start
    d0, d1, d2, d3 = place_slope
    for x in range(count):
        at = first + x * _L
        one, two, three, four = load(gated, at), load(gated, at + _4), load(gated, at + _8), load(gated, at + _12)
        here = x * _L
        r0 = s0 + _U(maps[p0 + here]) * _L
        r1 = s1 + _U(maps[p1 + here]) * _L
        r2 = s2 + _U(maps[p2 + here]) * _L
        r3 = s3 + _U(maps[p3 + here]) * _L
        _add_row(sums, part + r0, one, two, three, four)
        _add_row(sums, part + r1, one, two, three, four)
        _add_row(sums, part + r2, one, two, three, four)
        _add_row(sums, part + r3, one, two, three, four)
        a, b, c, d = transpose(
            _dot_row(steep, r0, one, two, three, four),
            _dot_row(steep, r1, one, two, three, four),
            _dot_row(steep, r2, one, two, three, four),
            _dot_row(steep, r3, one, two, three, four),
        )
        to = x * _4
        store(dots, to, (a + b) + (c + d))
        slopes[d0 + here] += dots[to]
        slopes[d1 + here] += dots[to + _U(1)]
        slopes[d2 + here] += dots[to + _U(2)]
        slopes[d3 + here] += dots[to + _U(3)]


@njit(inline="always")
def _scatter_lanes(maps, places, at, gated, first, sums, part, start, steep, slopes, count):
    """As `_scatter_and_pass` for a depthwise tap of every lane, each at a place of its own."""
    for x in range(count):
        for k in range(_L):
            byte = start + _U(maps[places[at + k] + x * _L]) * _L + k
            slope = gated[first + x * _L + k]
            sums[part + byte] += slope
            slopes[places[at + _L + k] + x * _L] += slope * steep[byte]


@njit(inline="always")
def _slope_of_shift(maps, dots, which, beside, other, count):
    """Sum over a chunk what half the difference of two samples of a tap makes of the gradients to it."""
    total = _F(0)
    for x in range(count):
        difference = _I(_I(maps[beside + x * _L]) - _I(maps[other + x * _L]))
        total += dots[x * _4 + which] * _F(difference)
    return total * _F(0.5)


@njit(inline="always")
def _find(source, y, column, row, slot, layout, rows):
    """Return where the pixel of a map lies that stands for row + y, for the first pixel of a row."""
    reach = layout[source, 1]
    return (
        slot
        + layout[source, 3]
        + rows[layout[source, 5] + reach + y + row] * layout[source, 4]
        + (reach + column) * layout[source, 0]
    )


@njit(inline="always")
def _find_tap(turn, tap, y, x, slot, taps, layout, rows):
    """Return what a tap reads for the pixel (y, x): twin of `AxisLookup.gather`."""
    column = taps[turn, tap, 2] + x
    return _find(taps[turn, tap, 0], y, column, taps[turn, tap, 1], slot, layout, rows) + taps[turn, tap, 3]


@njit(inline="always")
def _add_slopes_of_shift(maps, dots, which, turn, tap, y, x, slot, taps, layout, rows, shifts, first, count):
    """Add what a chunk gives for the shift of one of four taps: along rows and columns of the turned plane."""
    source, row, column = taps[turn, tap, 0], taps[turn, tap, 1], taps[turn, tap, 2] + x
    lane = taps[turn, tap, 3]
    for axis in range(2):
        down, right = 1 - axis, axis
        for _ in range(turn):
            down, right = right, -down
        on = _find(source, y, column + right, row + down, slot, layout, rows) + lane
        back = _find(source, y, column - right, row - down, slot, layout, rows) + lane
        shifts[first + tap * 2 + axis] += _slope_of_shift(maps, dots, _U(which), _U(on), _U(back), count)


@compile_kernel(parallel=True, fastmath={"contract", "nsz", "reassoc"})
def accumulate_network_lines(
    maps: NDArray[np.uint8],
    extent: tuple[int, int, int],
    result: NDArray[np.uint8],
    gradient: NDArray[np.float32],
    ending: tuple[np.float32, int, int],
    side: int,
    units: NDArray[np.int64],
    inverses: NDArray[np.float32],
    taps: NDArray[np.int64],
    starts: NDArray[np.uint64],
    kinds: NDArray[np.int64],
    passes: NDArray[np.int64],
    terms: NDArray[np.int64],
    flows: NDArray[np.int64],
    layout: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    slot_bytes: int,
    steep: NDArray[np.float32],
    parts: int,
    places: NDArray[np.uint64],
    gated: NDArray[np.float32],
    ended: NDArray[np.float32],
    dots: NDArray[np.float32],
    slopes: NDArray[np.float32],
    sums: NDArray[np.float32],
    shifts: NDArray[np.float64],
) -> None:
    """Twin of automatic differentiation of a network and its requantisation.

    Parameters
    ----------
    maps : (N * 4 * slot_bytes,)
        What the layers made, from the forward kernel: one band, a slot for every plane and turn.
    extent : (planes, H, W)
    result : (N * H * side * W * side,)
        What the network gave.
    gradient : like result
    ending : (1 / divisor, low, high)
        Of the rounding that follows the ensemble.
    side
        Output pixels per input pixel in each direction.
    units, inverses, taps, starts, passes, terms, layout, rows, columns
        As in `run_network_lines`.
    kinds : (taps,)
        0 where only the table gets a gradient, 1 where the samples do, too, 2 where also the tap's shift does.
    flows : (units, 1 + most terms of a unit)
        Whether gradients pass to the residual, and to each term.
    slot_bytes
        Bytes of the maps of a plane and turn.
    steep : like the joined table
        Slope of the tables at each value.
    parts
        The planes are divided into so many parts.
    places : (parts * 2 * LANES,)
    gated, dots : (parts * CHUNK * LANES,), (parts * CHUNK * 4,)
    ended : (parts * H * W * side**2,)
    slopes : (parts * slot_bytes,)
        Scratch.
    sums : (parts * len(steep),)
        Gradient to the joined table, one copy per part; zero at the start.
    shifts : (parts * taps * 2,)
        Gradient to the rows and columns of taps, likewise.
    """
    number, height, width = extent
    inverse, low, high = ending
    last = len(units) - 1
    for worker in prange(parts):
        scratch = _U(worker) * _U(CHUNK) * _L
        own_dots = dots[worker * CHUNK * 4 : (worker + 1) * CHUNK * 4]
        first_end = _U(worker) * _U(height * width) * _U(side * side)
        part = _U(worker) * _U(len(steep))
        slope_slot = worker * slot_bytes
        for job in range(worker * number // parts * 4, (worker + 1) * number // parts * 4):
            plane, turn = job // 4, job % 4
            slot = job * slot_bytes
            if turn == 0:
                _gate_result(result, gradient, plane, extent, side, low, high, inverse, ended, first_end)
            for i in range(_U(slot_bytes)):
                slopes[_U(slope_slot) + i] = 0
            _turn_blocks(ended, first_end, turn, extent, side, slopes, slope_slot, layout)
            for step in range(len(units)):
                unit = last - step
                made = units[unit, 0]
                upper = units[unit, 14]
                for y in range(height):
                    _fold_row(
                        slopes,
                        slope_slot + layout[made, 3] + y * layout[made, 4],
                        columns,
                        layout[made, 6],
                        layout[made, 1],
                        width,
                    )
                    for x in range(0, width, CHUNK):
                        count = _U(min(CHUNK, width - x))
                        place = _find(made, y, x, 0, slot, layout, rows)
                        place_upper = _U(0) if upper < 0 else _U(_find(upper, y, x, 0, slot, layout, rows))
                        _gate(
                            maps,
                            _U(place),
                            upper >= 0,
                            place_upper,
                            _I(units[unit, 12]),
                            _I(units[unit, 13]),
                            slopes,
                            _U(place - slot + slope_slot),
                            gated,
                            scratch,
                            count,
                        )
                        if flows[unit, 0]:
                            to = _U(_find(units[unit, 5], y, x, 0, slope_slot, layout, rows))
                            _pass_on(gated, scratch, _F(1), units[unit, 7], slopes, to, count)
                        factor = inverses[unit]
                        for i in range(count * _L):
                            gated[scratch + i] *= factor
                        for term in range(units[unit, 3], units[unit, 4]):
                            if flows[unit, 1 + term - units[unit, 3]]:
                                to = _U(_find(terms[term, 0], y, x, 0, slope_slot, layout, rows))
                                _pass_on(gated, scratch, _F(terms[term, 5]), terms[term, 2], slopes, to, count)
                        for each in range(units[unit, 1], units[unit, 2]):
                            pixel = passes[each, 2]
                            kind = passes[each, 3]
                            # taps of the picture and of lanes go by themselves
                            stride = LANES if kind == SCATTERED else 1 if kind == ALIGNED or pixel == 1 else 4
                            # taps that fill passes up have a table of zeros, and gradients that nobody reads
                            for tap in range(passes[each, 0], passes[each, 0] + passes[each, 1], stride):
                                if kind != DENSE:
                                    for lane in range(LANES):
                                        other = tap + lane if kind == SCATTERED else tap
                                        place = _find_tap(turn, other, y, x, slot, taps, layout, rows)
                                        place += lane if kind == ALIGNED else 0
                                        places[worker * 2 * LANES + lane] = _U(place)
                                        places[worker * 2 * LANES + LANES + lane] = _U(place - slot + slope_slot)
                                    _scatter_lanes(
                                        maps,
                                        places,
                                        _U(worker) * _U(2) * _L,
                                        gated,
                                        scratch,
                                        sums,
                                        part,
                                        starts[_U(tap)],
                                        steep,
                                        slopes,
                                        count,
                                    )
                                    continue
                                place = _find_tap(turn, tap, y, x, slot, taps, layout, rows)
                                start = starts[_U(tap)]
                                if pixel == 1:
                                    _scatter(maps, _U(place), _U(pixel), gated, scratch, sums, part + start, count)
                                    continue
                                place1 = _find_tap(turn, tap + 1, y, x, slot, taps, layout, rows)
                                place2 = _find_tap(turn, tap + 2, y, x, slot, taps, layout, rows)
                                place3 = _find_tap(turn, tap + 3, y, x, slot, taps, layout, rows)
                                back = slope_slot - slot
                                _scatter_and_pass(
                                    maps,
                                    (_U(place), _U(place1), _U(place2), _U(place3)),
                                    gated,
                                    scratch,
                                    sums,
                                    part,
                                    (start, starts[_U(tap + 1)], starts[_U(tap + 2)], starts[_U(tap + 3)]),
                                    steep,
                                    slopes,
                                    (_U(place + back), _U(place1 + back), _U(place2 + back), _U(place3 + back)),
                                    own_dots,
                                    count,
                                )
                                for which in range(4):
                                    if kinds[tap + which] == 2:
                                        _add_slopes_of_shift(
                                            maps,
                                            own_dots,
                                            which,
                                            turn,
                                            tap + which,
                                            y,
                                            x,
                                            slot,
                                            taps,
                                            layout,
                                            rows,
                                            shifts,
                                            worker * len(starts) * 2,
                                            count,
                                        )
