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
        Distance between nodes for every tap and output: a power of two, 1 to 64. Nodes stand at low, low + step,
        low + 2 step, ... to the first at or beyond low + size; with step 1 at every value.
    """

    low: int
    size: int
    steps: tuple[tuple[int, ...], ...]

    def validate(self, owner: str) -> None:
        """Raise ProgramError, naming the op that reads the tables, where a field is out of range."""
        if not 2 <= self.size <= 256 or not -256 <= self.low <= 257 - self.size:
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

    @property
    def denominator(self) -> int:
        """By how much expanded values are larger than entries: the largest step."""
        return max((step for steps in self.steps for step in steps), default=1)

    @property
    def nodes(self) -> NDArray[np.int64]:
        """Number of entries of every table, (taps, outputs)."""
        steps = np.array(self.steps, np.int64)
        return np.where(steps == 1, self.size, -(-self.size // steps) + 1)

    @property
    def entries(self) -> int:
        """Number of entries of all tables together."""
        return int(self.nodes.sum())

    def lay_out(self) -> Layout:
        """Return where every value of every tap and output is read."""
        nodes = self.nodes
        starts = np.concatenate([[0], np.cumsum(nodes.reshape(-1))[:-1]]).reshape(nodes.shape)
        steps = np.array(self.steps, np.int64)
        places = np.arange(self.size)[None, :, None]
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
