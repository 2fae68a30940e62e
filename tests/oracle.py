"""An independent, slow model of a stage of spatial lookups: plain Python loops and fractions, nothing of lutkit.

It follows the published descriptions in other words than the runtime does, so that a mistake would have to be made
twice: planes are turned and padded by NumPy, interpolation is a mean over thresholds (no sorting), rounding is done
with fractions.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Offsets = Sequence[tuple[int, int]]
Table = tuple[Offsets, NDArray[np.int8]]
"""Offsets of the samples, and the table (entries, outputs) that they index."""


def interpolate(samples: Sequence[int], table: NDArray[np.int8], interval: int) -> NDArray[np.int64]:
    """Return the interpolated entry times the step, (outputs,).

    The simplex interpolation of a function on the corners of a cell is its Lovász extension: the mean, over thresholds
    t from 0 to step - 1, of its value at the corner that is 1 on the axes whose fraction exceeds t.
    """
    step = 2**interval
    nodes = 256 // step + 1
    total = np.zeros(table.shape[1], np.int64)
    for threshold in range(step):
        row = 0
        for sample in samples:
            row = row * nodes + sample // step + (sample % step > threshold)
        total += table[row]
    return total


def look_up(
    plane: NDArray[np.integer], offsets: Offsets, table: NDArray[np.int8], interval: int, block: int, padding: str
) -> NDArray[np.int64]:
    """Return the wide plane (H * block, W * block) of one lookup; `padding` is a mode of ``numpy.pad``."""
    height, width = plane.shape
    reach = max(max(abs(row), abs(column)) for row, column in offsets)
    padded = np.pad(plane, reach, mode=padding)
    out = np.zeros((height * block, width * block), np.int64)
    for y in range(height):
        for x in range(width):
            samples = [int(padded[y + reach + row, x + reach + column]) for row, column in offsets]
            values = interpolate(samples, table, interval)
            out[y * block : (y + 1) * block, x * block : (x + 1) * block] = values.reshape(block, block)
    return out


def run_stage(
    plane: NDArray[np.integer],
    tables: Sequence[Table],
    *,
    interval: int,
    block: int,
    padding: str,
    bias: int,
    divisor: int,
) -> NDArray[np.uint8]:
    """Return the codes (H * block, W * block) of one plane (H, W): all tables, four turns, rounded half to even."""
    total = np.zeros((plane.shape[0] * block, plane.shape[1] * block), np.int64)
    for turns in range(4):
        turned = np.rot90(plane, turns)
        for offsets, table in tables:
            total += np.rot90(look_up(turned, offsets, table, interval, block, padding), -turns)
    codes = [min(max(round(Fraction(int(value) + bias, divisor)), 0), 255) for value in total.flat]
    return np.array(codes, np.uint8).reshape(total.shape)
