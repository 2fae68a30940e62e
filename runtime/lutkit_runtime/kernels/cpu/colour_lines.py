"""Straight lines in integers for the positions of 8-bit codes: cheaper in a kernel than a table. Floor 4: imports NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_BITS = 30
"""Of the largest position times 2**shift: products and sums stay within 32 bits."""


def fit_lines(positions: Integers, last: int) -> tuple[np.int32, ...] | None:
    """Return lines that give exactly the positions of all codes, or None where there are none.

    Parameters
    ----------
    positions : int64 (256, 3)
        0 to `last`, for the codes of red, green and blue.
    last : int
        At least 1.

    Returns
    -------
    three factors, three addends, shift
        All int32; a position is factor * code + addend >> shift, clamped to 0 and `last`.
    """
    shift = _BITS - int(last).bit_length()
    lines = [_fit_line(column, last, shift) for column in positions.T]
    found = [line for line in lines if line is not None]
    if len(found) < len(lines):
        return None
    factors, addends = zip(*found, strict=True)
    return tuple(np.int32(number) for number in (*factors, *addends, shift))


def _fit_line(positions: Integers, last: int, shift: int) -> tuple[int, int] | None:
    """Return factor and addend for one axis, or None.

    For a factor, every code bounds the addend from below and above, but a clamped position from one side only.
    """
    codes = np.arange(len(positions))
    inside = np.flatnonzero((positions > 0) & (positions < last))
    if len(inside) < 2:
        return None
    first, final = int(inside[0]), int(inside[-1])
    slope = int(positions[final] - positions[first]) * 2**shift / (final - first)
    spread = 2**shift / (final - first)
    for step in range(-128, 129):
        factor = round(slope + spread * step / 128)
        lowest = ((positions << shift) - factor * codes)[positions > 0].max()
        highest = (((positions + 1) << shift) - 1 - factor * codes)[positions < last].min()
        if lowest <= highest and 255 * abs(factor) + abs(int(lowest)) < 2**31:
            return factor, int(lowest)
    return None
