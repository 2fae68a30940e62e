"""Lookup: samples at an index pattern address a table, interpolated between its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.interpolation import Interpolation, walk_simplex, weigh_vertices
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops.base import OpBase, Plane, Slot
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
        Name of the slot whose table is read: shape (entries, block**2), int8.
    pattern : IndexPattern
    lattice : Lattice
        Has as many axes as the pattern has samples.
    block : int
        Output pixels per input pixel in each direction, 1 to 8.
    padding : Padding
        What the pattern sees outside the plane.
    interpolation : Interpolation
    diagonal : Diagonal, optional
        The table keeps the lattice's nodes near its diagonal only, and after them all of a coarser lattice.
    """

    input: str
    slot: str
    pattern: IndexPattern
    lattice: Lattice
    block: int = 1
    padding: Padding = Padding.EDGE
    interpolation: Interpolation = Interpolation.SIMPLEX
    diagonal: Diagonal | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane of codes."""
        return (self.input,)

    @property
    def slots(self) -> dict[str, Slot]:
        """The one table."""
        axes = (self.lattice.nodes_per_axis,) * self.lattice.axes if self.diagonal is None else (self.entries,)
        return {self.slot: Slot(axes, self.block * self.block)}

    @property
    def entries(self) -> int:
        """Rows of the table."""
        return self.lattice.entries if self.diagonal is None else self.diagonal.entries(self.lattice)

    @property
    def step(self) -> int:
        """Sum of the weights of a lookup: the distance between nodes, of the coarser lattice where there are two."""
        return self.lattice.step if self.diagonal is None else 1 << self.diagonal.coarse

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
        weights = self.step * (3 if self.interpolation is Interpolation.SRLUT else 1)
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
        if self.diagonal is not None:
            self.diagonal.validate(self.output, self.lattice)
            if self.interpolation is Interpolation.SRLUT:
                raise ProgramError(
                    f"op '{self.output}': the SR-LUT branch gives nodes away from the diagonal a weight, which a "
                    "compressed table does not hold"
                )

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return the bounds of the sums; raises ProgramError where the plane holds no codes."""
        plane = planes[self.input]
        if not plane.codes:
            raise ProgramError(
                f"op '{self.output}' indexes a table by '{self.input}', which is a sum: requantise it first"
            )
        return Plane(codes=False, low=-self.largest, high=self.largest, channels=plane.channels)

    def node_samples(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return the sample codes of table rows `start` to `stop`, shape (rows, axes), in the table's order."""
        return self.samples_of(np.arange(start, self.entries if stop is None else stop))

    def samples_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the sample codes at which table rows are evaluated, shape (rows, axes)."""
        if self.diagonal is None:
            return self.lattice.samples_of(rows)
        band = self.diagonal.band_rows(self.lattice)
        fine = self.lattice.samples_of(band[np.minimum(rows, len(band) - 1)])
        coarse = self.diagonal.coarse_lattice(self.lattice).samples_of(np.maximum(rows - len(band), 0))
        return np.where((rows < len(band))[:, None], fine, coarse)

    def walk(self, samples: Any, fractional: Any | None = None) -> tuple[Any, Any]:
        """Return the table rows and the weights whose weighted sum interpolates at samples.

        Parameters
        ----------
        samples : integer array or tensor, (..., axes)
            Codes 0 to 255, of a signed type at least 32 bits wide.
        fractional : float array or tensor, (..., axes), optional
            The same codes, through which torch differentiates the weights.

        Returns
        -------
        rows, weights : (..., axes + 1)
            Weights sum to `step`; integers, or of the type of `fractional`.
        """
        given = samples if fractional is None else fractional
        rows, weights = self._walk_lattice(samples, given, self.lattice)
        if self.diagonal is None:
            return rows, weights
        xp = array_api_compat.array_namespace(samples)
        near = self.diagonal.near(samples, self.lattice)[..., None]
        far_rows, far_weights = self._walk_lattice(samples, given, self.diagonal.coarse_lattice(self.lattice))
        first = len(self.diagonal.band_rows(self.lattice))
        ratio = self.step // self.lattice.step
        return xp.where(near, self.diagonal.reindex(rows, self.lattice), far_rows + first), xp.where(
            near, ratio * weights, far_weights
        )

    def _walk_lattice(self, samples: Any, given: Any, lattice: Lattice) -> tuple[Any, Any]:
        rows, order = walk_simplex(samples, lattice, self.interpolation)
        fractions = given - lattice.split(samples)[0] * lattice.step
        return rows, weigh_vertices(fractions, order, lattice.step)

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
        rows, weights = self.walk(samples)
        return np.einsum("...v,...vk->...k", weights, table[rows], dtype=np.int64)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the wide plane (..., H * block, W * block), int64; `fill` holds the int8 table of the slot."""
        return spread_blocks(self.interpolate(self.gather(planes[self.input]), fill[self.slot]), self.block)


def spread_blocks(values: Any, block: int) -> Any:
    """Rearrange (..., H, W, block**2) into (..., H * block, W * block), the last axis in row-major order."""
    *leading, height, width, _ = values.shape
    blocks = values.reshape(*leading, height, width, block, block)
    return blocks.swapaxes(-3, -2).reshape(*leading, height * block, width * block)
