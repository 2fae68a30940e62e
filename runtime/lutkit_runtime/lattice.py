"""Lattices: the nodes of a table's axes, and where a sample falls between them. Floor 1: imports only errors."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError

CODES = 256
"""Sample codes are unsigned bytes, 0 to 255."""


class Lattice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Equidistant nodes on every axis of a table that is indexed by bytes.

    The nodes stand at 0, step, 2 step, ... 256. The last one lies outside the byte range: a network is *evaluated*
    there at 255, while interpolation treats it as 256 (Jo and Kim, CVPR 2021, section 3.3, and their code).

    Parameters
    ----------
    axes : int
        Number of axes, 1 to 4.
    interval : int
        Binary logarithm of the step between nodes, 0 to 8. Interval 0 has a node for every code: no interpolation.
    """

    axes: int
    interval: int

    def validate(self) -> None:
        """Raise ProgramError unless axes are 1 to 4, the interval is 0 to 8 and the table stays below 2**31 entries."""
        if not 1 <= self.axes <= 4:
            raise ProgramError(f"lattice has {self.axes} axes; 1 to 4 are possible")
        if not 0 <= self.interval <= 8:
            raise ProgramError(f"lattice interval is {self.interval} bits; 0 to 8 are possible")
        if self.entries >= 2**31:
            raise ProgramError(
                f"lattice of {self.axes} axes at interval {self.interval} has {self.entries} entries; "
                f"fewer than {2**31} are possible: choose a larger interval"
            )

    @property
    def step(self) -> int:
        """Distance between nodes in codes; also the sum of the interpolation weights."""
        return 1 << self.interval

    @property
    def nodes_per_axis(self) -> int:
        """Number of nodes on one axis, 2 to 257."""
        return CODES // self.step + 1

    @property
    def entries(self) -> int:
        """Number of entries of a table on this lattice."""
        return self.nodes_per_axis**self.axes

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance in the flat table between neighbours along each axis; the first axis is the slowest."""
        return tuple(self.nodes_per_axis ** (self.axes - 1 - axis) for axis in range(self.axes))

    @property
    def node_codes(self) -> NDArray[np.uint8]:
        """Codes at which the nodes are evaluated, shape (nodes_per_axis,), ending in 255."""
        return np.minimum(np.arange(self.nodes_per_axis) * self.step, CODES - 1).astype(np.uint8)

    def split(self, codes: Any) -> tuple[Any, Any]:
        """Split integer codes (0 to 255, any integer array) into cell (0 to nodes - 2) and fraction (0 to step - 1)."""
        return codes >> self.interval, codes & (self.step - 1)

    def samples_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the sample codes at which table rows are evaluated, shape (rows, axes)."""
        codes = self.node_codes
        return np.stack([codes[rows // stride % self.nodes_per_axis] for stride in self.strides], axis=-1)

    def node_samples(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return the sample codes of table rows `start` to `stop`, shape (rows, axes), in flat order."""
        return self.samples_of(np.arange(start, self.entries if stop is None else stop))
