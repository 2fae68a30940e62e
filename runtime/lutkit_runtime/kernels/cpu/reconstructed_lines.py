# pyright: basic
"""The kernel of reconstructed convolutions. Imports Numba only; `reconstructed` prepares its arguments.

What makes it fast, each measured:

- A pixel is looked up once, not once per turn: the values that a row of pixels has at one position of the window are
  added, shifted, to the sums of all four turns.
- Three positions that follow each other in a row of the window share a 64-bit word, 21 bits each, and so one lookup and
  one addition. Their sums belong to neighbouring pixels; they are only brought together when all is added.
- Every array is an argument of the parallel kernel, whole and flat: so LLVM is told that none overlaps another.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next

LANES = 3

LANE_BITS = 21
"""A lane sums at most 27 of the 81 positions of the largest window, each below 2**16: less than 2**21."""

SPREAD = LANES - 1
"""Pixels by which the sums of a word's first and last lane are apart."""

BAND, CHUNK = 64, 160
"""Rows and columns that are worked on at once, at most: what is looked up for a row of them, a word for every third
position of the window, stays in the first-level cache, the sums in use in the second-level cache."""

SHORT = 31
"""Of a number of bits by which 32 bits are shifted, so many are used: said so, the shift is not one of 64 bits."""

TOGETHER = 3
"""Rows of words that are added at once: the sums are read and written once for them."""

_I = np.int32
_U = np.uint64


@njit(inline="always")
def _look_up(padded, pixel, words, word, rows, to, count):
    """Look up one word for each pixel of a row."""
    first = _U(pixel)
    for x in range(count):
        rows[_U(to) + x] = words[_U(word) + _U(padded[first + x])]


@njit(inline="always")
def _add_rows(rows, first, apart, number, sums, to, count):
    """Add one to three rows of words, which begin `apart` from each other, to a row of sums."""
    one, two, three, to = (_U(first), _U(max(0, first + apart)), _U(max(0, first + 2 * apart)), _U(to))
    if number == 1:
        for x in range(count):
            sums[to + x] += rows[one + x]
    elif number == 2:
        for x in range(count):
            sums[to + x] += rows[one + x] + rows[two + x]
    else:
        for x in range(count):
            sums[to + x] += rows[one + x] + rows[two + x] + rows[three + x]


@njit(inline="always")
def _finish_row(sums, first, ahead, bias, steps, bounds, out, totals, to, with_totals, count):
    """Bring the lanes of a row of sums together and turn them into codes; twin of the search among thresholds."""
    one, two, three, to = _U(first), _U(first + ahead), _U(first + 2 * ahead), _U(to)
    low, high, bits = bounds
    shift = _I(bits & SHORT)
    lane = _U((1 << LANE_BITS) - 1)
    below = _I((1 << shift) - 1)
    for x in range(count):
        middle = (sums[two + x] >> _U(LANE_BITS)) & lane
        total = _I(_I((sums[one + x] & lane) + middle + (sums[three + x] >> _U(2 * LANE_BITS))) - bias)
        if with_totals:
            totals[to + x] = total
        inside = _I(min(max(total, low), high) - low)
        out[to + x] = np.uint8(_I((inside & below) + steps[_U(inside >> shift)]) >> shift)


@compile_kernel(parallel=True)
def reconstruct_lines(
    padded: NDArray[np.uint8],
    extent: tuple[int, int, int, int],
    pieces: NDArray[np.int64],
    words: NDArray[np.uint64],
    window: tuple[int, int, int],
    bias: np.int32,
    steps: NDArray[np.int32],
    bounds: tuple[np.int32, np.int32, np.int32],
    with_totals: bool,
    rows: NDArray[np.uint64],
    sums: NDArray[np.uint64],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8],
    totals: NDArray[np.int32],
) -> None:
    """Twin of `ReconstructedConvolution.reference` in the four turns.

    A word's sum stands where its first lane's pixel is. Lane j belongs to the pixel j further back in the direction
    that a row of the window has in this turn: left, up, right, down. So the sums of a turn reach SPREAD further.

    Parameters
    ----------
    padded
        Planes with `halo` more pixels around each: SPREAD more than positions reach.
    extent : (planes, H, W, halo)
    pieces : (pieces, 5)
        Plane, first and last row (exclusive), first column, number of columns of what is worked on at once: at most BAND
        rows and CHUNK columns.
    words : (N * groups * 256,)
        For every row of the window and every three positions of it, the word of each code. Entries have a bias that
        makes them positive.
    window : (N, groups, first)
    bias
        Of a whole sum.
    steps, bounds
        See `find_steps`.
    with_totals
        Whether `totals` is wanted.
    rows : (workers * N * groups * (CHUNK + 2 * halo),)
    sums : (workers * 4 * (BAND + SPREAD) * (CHUNK + SPREAD),)
        Scratch.
    workers
        How many take part.
    counter
        From `new_counter`: deals out the pieces.
    out : (4 * planes * H * W,)
    totals : like out, or empty
    """
    planes, height, width, halo = extent
    size, groups, start = window
    line = width + 2 * halo
    reach = halo - SPREAD
    room = CHUNK + 2 * halo
    across = min(CHUNK, width) + SPREAD
    per_turn = (min(BAND, height) + SPREAD) * across
    for worker in prange(workers):
        looked = worker * size * groups * room
        # the first sum of each turn, at the corner of a rectangle that reaches SPREAD right, down, left or up
        right_sums = worker * 4 * per_turn
        down_sums = right_sums + per_turn
        left_sums = down_sums + per_turn
        up_sums = left_sums + per_turn
        while True:
            piece = take_next(counter)
            if piece >= len(pieces):
                break
            plane, top, bottom, left = (pieces[piece, 0], pieces[piece, 1], pieces[piece, 2], pieces[piece, 3])
            count = pieces[piece, 4]
            for i in range(_U(right_sums), _U(up_sums + per_turn)):
                sums[i] = _U(0)
            for row in range(top - reach, bottom + reach):
                pixel = (plane * (height + 2 * halo) + row + halo) * line + left
                for word in range(size * groups):
                    _look_up(padded, pixel, words, word * 256, rows, looked + word * room, _U(count + 2 * halo))
                wide = _U(count + SPREAD)
                for step in range(size):
                    down = start + step
                    here = looked + step * groups * room + halo
                    if top <= row - down < bottom:
                        to = right_sums + (row - down - top) * across
                        _add_rows(rows, here + start, room + LANES, groups, sums, to, wide)
                    if top <= row + down < bottom:
                        to = left_sums + (row + down - top) * across
                        _add_rows(rows, here - SPREAD - start, room - LANES, groups, sums, to, wide)
                for group in range(groups):
                    right = start + LANES * group
                    for step in range(0, size, TOGETHER):
                        down, number = start + step, min(TOGETHER, size - step)
                        here = looked + (step * groups + group) * room + halo
                        if top <= row - right < bottom + SPREAD:
                            to = down_sums + (row - right - top) * across
                            _add_rows(rows, here - down, groups * room - 1, number, sums, to, _U(count))
                        if top - SPREAD <= row + right < bottom:
                            to = up_sums + (row + right - top + SPREAD) * across
                            _add_rows(rows, here + down, groups * room + 1, number, sums, to, _U(count))
            for turn in range(4):
                first, ahead = right_sums, 1
                if turn == 1:
                    first, ahead = down_sums, across
                elif turn == 2:
                    first, ahead = left_sums + SPREAD, -1
                elif turn == 3:
                    first, ahead = up_sums + SPREAD * across, -across
                for row in range(bottom - top):
                    to = ((turn * planes + plane) * height + top + row) * width + left
                    at = first + row * across
                    _finish_row(sums, at, ahead, bias, steps, bounds, out, totals, to, with_totals, _U(count))
