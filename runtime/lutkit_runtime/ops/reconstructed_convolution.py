"""Reconstructed convolution: a wide window of one-dimensional tables, summed, then one table back to codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.lattice import CODES as VALUES
from lutkit_runtime.ops.base import OpBase, Plane, Slot
from lutkit_runtime.padding import Padding
from lutkit_runtime.quantiser import Quantiser

WINDOWS = (3, 5, 7, 9)
STORAGES = ("int16", "int8")
CENTRE = 127
HIGHEST = 2 * CENTRE
"""Codes of a result are 0 to 254."""

LARGEST_UNIT = float(1 << 30)


class ReconstructedConvolution(OpBase, frozen=True, tag="reconstructed_convolution"):
    """Codes = round(127 tanh(m)) + 127, where m is the mean over an N x N window of a function of each sample alone.

    Every position of the window has a table of its own with an entry for each of the 256 codes. The entries are
    integers, the mean times `unit` / N**2 and more; they are summed wide, and the sum becomes a code by comparison with
    ascending thresholds: threshold c is the least sum whose code is c + 1 (Liu et al., "Reconstructed Convolution
    Module Based Look-Up Tables for Efficient Image Super-Resolution", ICCV 2023, section 3.2).

    Positions outside the plane are its nearest pixel. The result has the size of the plane; what reads it pads it anew.

    Parameters
    ----------
    input : str
        Plane of codes 0 to 255.
    slot : str
        Name of the slot of the tables: (N**2 * 256, 1) of type `storage`; position row * N + column, then code.
    post : str
        Name of the slot of the thresholds: (254, 1) int32.
    window : int
        N: 3, 5, 7 or 9.
    first : int
        Row and column of the window's first position; 0 puts the pixel itself at its top left. liuguandu/RC-LUT has -2
        for N = 7.
    unit : float
        Sum of the tables that stands for m = 1; the thresholds follow from it. Training needs it, applying does not.
    storage : str
        int16 or int8.
    """

    input: str
    slot: str
    post: str
    window: int
    first: int = 0
    unit: float = 1.0
    storage: str = "int16"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane of codes."""
        return (self.input,)

    @property
    def positions(self) -> int:
        """Number of positions in the window."""
        return self.window**2

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Row and column of every position, relative to the pixel."""
        span = range(self.first, self.first + self.window)
        return tuple((row, column) for row in span for column in span)

    @property
    def slots(self) -> dict[str, Slot]:
        """The tables of the window and the thresholds."""
        return {
            self.slot: Slot((self.positions, VALUES), 1, self.storage, Quantiser(self.levels)),
            self.post: Slot((HIGHEST,), 1, "int32"),
        }

    @property
    def levels(self) -> int:
        """Largest entry that networks are quantised to."""
        return int(np.iinfo(self.storage).max)

    @property
    def halo(self) -> int:
        """The largest distance of a position under any rotation."""
        return max(abs(self.first), abs(self.first + self.window - 1))

    @property
    def largest(self) -> int:
        """Bound of the magnitude of the sum."""
        return self.positions * -np.iinfo(self.storage).min

    def validate(self) -> None:
        """Raise ProgramError where a field is out of range."""
        if self.window not in WINDOWS:
            raise ProgramError(
                f"op '{self.output}' has a window of {self.window}; {', '.join(map(str, WINDOWS))} are possible"
            )
        if not -self.window < self.first <= 0:
            raise ProgramError(
                f"op '{self.output}' has a window from {self.first} on; {1 - self.window} to 0 are possible"
            )
        if self.storage not in STORAGES:
            raise ProgramError(f"op '{self.output}' stores {self.storage}; {' and '.join(STORAGES)} are possible")
        if not 0 < self.unit <= LARGEST_UNIT:
            raise ProgramError(f"op '{self.output}' has unit {self.unit}; above 0 and at most 2**30 is possible")
        if self.slot == self.post:
            raise ProgramError(f"op '{self.output}' keeps its tables and its thresholds in one slot; use two")

    def validate_tables(self, fill: Mapping[str, Any]) -> None:
        """Raise ProgramError unless the thresholds ascend."""
        if (np.diff(fill[self.post].reshape(-1).astype(np.int64)) < 0).any():
            raise ProgramError(f"slot '{self.post}' holds thresholds that do not ascend: transfer the model again")

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return the bounds of the codes; raises ProgramError where the plane holds no codes."""
        plane = planes[self.input]
        if not plane.codes:
            raise ProgramError(f"op '{self.output}' indexes tables by '{self.input}', which holds no codes")
        return Plane(codes=True, low=0, high=HIGHEST, channels=plane.channels)

    def sums(self, plane: NDArray[Any], table: NDArray[Any]) -> NDArray[np.int64]:
        """Return the sum over the window for every pixel of a plane (..., H, W) of codes."""
        height, width = plane.shape[-2:]
        before, after = -self.first, self.first + self.window - 1
        rows, columns = (Padding.EDGE.index(length, before, after) for length in (height, width))
        padded = plane[..., rows[:, None], columns[None, :]]
        values = table.reshape(self.positions, VALUES).astype(np.int64)
        total = np.zeros(plane.shape, np.int64)
        for position in range(self.positions):
            row, column = divmod(position, self.window)
            total += values[position][padded[..., row : row + height, column : column + width]]
        return total

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the codes as bytes."""
        total = self.sums(planes[self.input], fill[self.slot])
        return np.searchsorted(fill[self.post].reshape(-1), total, side="right").astype(np.uint8)


def find_thresholds(unit: float) -> NDArray[np.int32]:
    """Return the thresholds (254, 1) of sums of which `unit` stands for an argument of 1 of the tanh.

    A code changes where 127 tanh(m) is half-way between two integers. Such an edge is no sum: there tanh(m) is a rational
    number other than 0, so that m is irrational, while a sum by a rational unit is rational. How halves round thus does
    not matter.
    """
    edges = [unit * math.atanh((code + 0.5 - CENTRE) / CENTRE) for code in range(HIGHEST)]
    limits = np.iinfo(np.int32)
    return np.ceil(edges).clip(limits.min, limits.max).astype(np.int32)[:, None]
