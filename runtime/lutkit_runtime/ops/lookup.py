"""Lookup: samples at an index pattern address a table, interpolated between its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.interpolation import Interpolation, simplex_terms
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops.base import OpBase, Slot
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import IndexPattern

LARGEST_ENTRY = 128
"""Largest magnitude of a table entry."""


class Lookup(OpBase, frozen=True, tag="lookup"):
    """Look samples up in the table of a slot; the result is a wide integer plane, ``block`` times as large.

    Each pixel yields block x block values in row-major order (pixel shuffle), each the weighted sum of table entries
    with weights that sum to the lattice's step: the interpolated entry times the step.

    Parameters
    ----------
    input : str
        Plane of codes 0 to 255.
    slot : str
        Name of the slot whose table is read: shape (lattice.entries, block**2), int8.
    pattern : IndexPattern
    lattice : Lattice
        Has as many axes as the pattern has samples.
    block : int
        Output pixels per input pixel in each direction, 1 to 8.
    padding : Padding
        What the pattern sees outside the plane.
    interpolation : Interpolation
    """

    input: str
    slot: str
    pattern: IndexPattern
    lattice: Lattice
    block: int = 1
    padding: Padding = Padding.EDGE
    interpolation: Interpolation = Interpolation.SIMPLEX

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane of codes."""
        return (self.input,)

    @property
    def slots(self) -> dict[str, Slot]:
        """The one table."""
        return {self.slot: Slot((self.lattice.nodes_per_axis,) * self.lattice.axes, self.block * self.block)}

    @property
    def halo(self) -> int:
        """The pattern's reach under any rotation."""
        return self.pattern.reach

    @property
    def upscale(self) -> int:
        """The block size."""
        return self.block

    @property
    def largest(self) -> int:
        """Bound of the magnitude of a result."""
        # The weights sum to the step; SR-LUT's branch makes one of them negative, down to minus one step.
        weights = self.lattice.step * (3 if self.interpolation is Interpolation.SRLUT else 1)
        return LARGEST_ENTRY * weights

    def validate(self) -> None:
        """Raise ProgramError unless pattern, lattice and block agree."""
        self.pattern.validate()
        self.lattice.validate()
        if self.lattice.axes != self.pattern.samples:
            raise ProgramError(
                f"op '{self.output}' has {self.pattern.samples} samples but a lattice of {self.lattice.axes} axes; "
                "they must be equal"
            )
        if not 1 <= self.block <= 8:
            raise ProgramError(f"op '{self.output}' has block {self.block}; 1 to 8 are possible")
        if self.interpolation is Interpolation.SRLUT and self.lattice.axes != 4:
            raise ProgramError(f"op '{self.output}': the SR-LUT branch exists for 4 axes, not {self.lattice.axes}")

    def gather(self, plane: NDArray[Any]) -> NDArray[np.int64]:
        """Return the samples of every pixel, (..., H, W, axes), for a plane (..., H, W) of codes."""
        (top, bottom), (left, right) = self.pattern.padding
        height, width = plane.shape[-2:]
        rows = self.padding.index(height, top, bottom)
        columns = self.padding.index(width, left, right)
        padded = plane[..., rows[:, None], columns[None, :]].astype(np.int64)
        views = [
            padded[..., top + row : top + row + height, left + column : left + column + width]
            for row, column in self.pattern.offsets
        ]
        return np.stack(views, axis=-1)

    def interpolate(self, samples: NDArray[np.int64], table: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return the weighted sums (..., block**2) for samples (..., axes): interpolated entries times the step."""
        rows, weights = simplex_terms(samples, self.lattice, self.interpolation)
        return np.einsum("...v,...vk->...k", weights, table[rows], dtype=np.int64)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the wide plane (..., H * block, W * block), int64; `fill` holds the int8 table of the slot."""
        return spread_blocks(self.interpolate(self.gather(planes[self.input]), fill[self.slot]), self.block)


def spread_blocks(values: Any, block: int) -> Any:
    """Rearrange (..., H, W, block**2) into (..., H * block, W * block), the last axis in row-major order."""
    *leading, height, width, _ = values.shape
    blocks = values.reshape(*leading, height, width, block, block)
    return blocks.swapaxes(-3, -2).reshape(*leading, height * block, width * block)
