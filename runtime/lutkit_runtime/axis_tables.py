"""Axis tables: many one-dimensional tables in one flat array, each with its own spacing of nodes. Floor 1: imports errors.

A function of one small integer needs no lattice of several axes: its table has an entry for every value, or for every
second, fourth, ... of them, between which a value is interpolated linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError

LARGEST_STEP = 64


class AxisTables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the nodes of the tables of some taps stand; every tap has one table for every output.

    Parameters
    ----------
    low, size : int
        The values that index the tables are low to low + size - 1; size is 2 to 256.
    steps : tuple of tuple of int
        Distance between nodes for every tap and output: a power of two, 1 to 64. Nodes stand at 0, step, 2 step, ...
        from the lowest index on, to the first at or beyond the highest index plus one; with step 1 at every index.
    gains : tuple of float
        Factor of each tap, above 0 and at most 1, by which a value is multiplied and rounded half to even (both in
        float32) to make the index, so that tables of values that rarely differ are shorter; empty: the value is the
        index.
    """

    low: int
    size: int
    steps: tuple[tuple[int, ...], ...]
    gains: tuple[float, ...] = ()

    def validate(self, owner: str) -> None:
        """Raise ProgramError, naming the op that reads the tables, where a field is out of range."""
        if not 2 <= self.size <= 256 or abs(self.low) > 256:
            raise ProgramError(
                f"op '{owner}' has tables for {self.size} values from {self.low} on; 2 to 256 values within 256 are "
                "possible"
            )
        for steps in self.steps:
            for step in steps:
                if not 1 <= step <= LARGEST_STEP or step & (step - 1):
                    raise ProgramError(
                        f"op '{owner}' has a table with nodes every {step} values; powers of two to {LARGEST_STEP} are "
                        "possible"
                    )
        if self.gains and len(self.gains) != len(self.steps):
            raise ProgramError(f"op '{owner}' has {len(self.gains)} gains for {len(self.steps)} taps")
        if not all(0 < gain <= 1 for gain in self.gains):
            raise ProgramError(f"op '{owner}' has a gain outside 0 to 1")

    @property
    def denominator(self) -> int:
        """By how much expanded values are larger than entries: the largest step."""
        return max((step for steps in self.steps for step in steps), default=1)

    def index(self) -> NDArray[np.int64]:
        """Return the index of every value of every tap, from 0 on, (taps, size)."""
        values = np.arange(self.low, self.low + self.size)
        if not self.gains:
            return np.broadcast_to(values - self.low, (len(self.steps), self.size))
        scaled = np.rint(values.astype(np.float32) * np.array(self.gains, np.float32)[:, None]).astype(np.int64)
        return scaled - scaled[:, :1]

    @property
    def nodes(self) -> NDArray[np.int64]:
        """Number of entries of every table, (taps, outputs)."""
        spans = self.index()[:, -1:] + 1
        steps = np.array(self.steps, np.int64)
        return np.where(steps == 1, spans, -(-spans // steps) + 1)

    @property
    def entries(self) -> int:
        """Number of entries of all tables together."""
        return int(self.nodes.sum())

    def lay_out(self) -> Layout:
        """Return where every value of every tap and output is read."""
        nodes = self.nodes
        starts = np.concatenate([[0], np.cumsum(nodes.reshape(-1))[:-1]]).reshape(nodes.shape)
        steps = np.array(self.steps, np.int64)
        places = self.index()[:, :, None]
        cells, fractions = places // steps[:, None, :], places % steps[:, None, :]
        lower = starts[:, None, :] + cells
        upper = np.where(fractions > 0, lower + 1, lower)
        return Layout(lower, upper, fractions * (self.denominator // steps[:, None, :]), self.denominator)


@dataclass(frozen=True)
class Layout:
    """Where the values of axis tables are read in their flat array.

    Parameters
    ----------
    lower, upper : int64, (taps, size, outputs)
        Entries below and above.
    weight : int64, (taps, size, outputs)
        Of the upper entry, in units of 1 / denominator.
    denominator : int
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.int64]
    denominator: int

    def expand(self, entries: NDArray[Any]) -> NDArray[np.int64]:
        """Return the interpolated value of every tap, value and output, times the denominator; (taps, size, outputs)."""
        flat = entries.reshape(-1).astype(np.int64)
        return (self.denominator - self.weight) * flat[self.lower] + self.weight * flat[self.upper]
