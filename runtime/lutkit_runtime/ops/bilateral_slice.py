"""Bilateral slice: every pixel gets the colour map that a bilateral grid holds for its place and its brightness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.bilateral import Float32, GuideTables, Place, apply_affine, slice_grid
from lutkit_runtime.cube import scale_to_depth
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Slot, Value
from lutkit_runtime.ops.blend import bound_base, to_unit
from lutkit_runtime.table_coding import TableCoding

MAX_GUIDE_CURVES = 64
MAX_GUIDE_ENTRIES = 1 << 12


class GuideCurves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Curves over 0 to 1 in a table (entries, curves), interpolated linearly.

    Parameters
    ----------
    slot : str
    entries : int
        2 to 4096.
    coding : TableCoding
    """

    slot: str
    entries: int
    coding: TableCoding = TableCoding()


class Guide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bright a pixel counts, 0 to 1: a function of its colour alone, see `lutkit_runtime.bilateral.GuideTables`.

    Parameters
    ----------
    mix : str
        Slot of what each curve's argument is made of: (4, count) float32.
    count : int
        Number of curves, 1 to 64.
    curves : GuideCurves
    result : GuideCurves
        One curve: what the sum of the others becomes.
    """

    mix: str
    count: int
    curves: GuideCurves
    result: GuideCurves

    @property
    def slots(self) -> dict[str, Slot]:
        """The mix and both tables of curves."""
        return {
            self.mix: Slot((4,), self.count, "float32"),
            self.curves.slot: Slot((self.curves.entries,), self.count, self.curves.coding.storage.value),
            self.result.slot: Slot((self.result.entries,), 1, self.result.coding.storage.value),
        }

    def validate(self, owner: str) -> None:
        """Raise ProgramError, naming `owner`, where a size is impossible or two tables share a slot."""
        if not 1 <= self.count <= MAX_GUIDE_CURVES:
            raise ProgramError(f"{owner} has a guide of {self.count} curves; 1 to {MAX_GUIDE_CURVES} are possible")
        for curves in (self.curves, self.result):
            if not 2 <= curves.entries <= MAX_GUIDE_ENTRIES:
                raise ProgramError(
                    f"{owner} has a guide of {curves.entries} entries; 2 to {MAX_GUIDE_ENTRIES} are possible"
                )
            curves.coding.validate(owner)
        if len(self.slots) != 3:
            raise ProgramError(f"{owner} uses one slot for two tables of its guide; give each its own")

    def decode(self, fill: Mapping[str, Any]) -> GuideTables:
        """Return the tables with their values."""
        return GuideTables(
            np.ascontiguousarray(fill[self.mix], np.float32),
            self.curves.coding.decode(fill[self.curves.slot]),
            self.result.coding.decode(fill[self.result.slot]),
        )


class BilateralSlice(OpBase, frozen=True, tag="bilateral_slice"):
    """Result = affine map of the pixel's colour; the map is interpolated in a bilateral grid (Gharbi et al., 2017).

    A pixel's place in the grid is its place in the picture and its guide. Results are float32 and may lie outside 0 to
    1. Samples of floats that are no numbers count as 0, and infinite ones as 1e30; the guide sees all within 0 and 1.

    Parameters
    ----------
    input : str
        A picture.
    grid : str
        The grid made for this picture.
    guide : Guide
    """

    input: str
    grid: str
    guide: Guide

    @property
    def inputs(self) -> tuple[str, ...]:
        """The picture and the grid."""
        return (self.input, self.grid)

    @property
    def slots(self) -> dict[str, Slot]:
        """The tables of the guide."""
        return self.guide.slots

    def validate(self) -> None:
        """Raise ProgramError where the guide is impossible."""
        self.guide.validate(f"op '{self.output}'")

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a picture; raises ProgramError where the inputs are something else."""
        values[self.input].expect(Kind.PICTURE, self.output, self.input)
        values[self.grid].expect(Kind.GRID, self.output, self.grid)
        return Value(Kind.PICTURE)

    def bind(self, values: Mapping[str, Any], fill: Mapping[str, Any]) -> BoundSlice:
        """Return the op with its tables decoded and the grid of a picture, (rows, columns, depth, 12) float32."""
        return BoundSlice(self.guide.decode(fill), np.ascontiguousarray(values[self.grid], np.float32))

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the float32 picture (H, W, 3) of a whole picture (H, W, 3) uint8, uint16 or float32."""
        picture = planes[self.input]
        return self.bind(planes, fill).slice(picture, Place(0, 0, *picture.shape[:2]))


@dataclass(frozen=True)
class BoundSlice:
    """A bilateral slice with its tables and the grid of one picture.

    Parameters
    ----------
    guide : GuideTables
    grid : float32, (rows, columns, depth, 12)
    """

    guide: GuideTables
    grid: Float32

    def slice(self, samples: NDArray[Any], place: Place) -> Float32:
        """Return the float32 colours (h, w, 3) of a piece (h, w, 3) uint8, uint16 or float32 of a picture."""
        guide = self.guide.evaluate(see(samples))
        return apply_affine(slice_grid(self.grid, guide, place), bound_base(samples))

    def finish(self, samples: NDArray[Any], place: Place) -> NDArray[Any]:
        """Return the colours at the depth of the samples: what leaves a program that ends in this op."""
        return scale_to_depth(self.slice(samples, place), samples.dtype)


def see(samples: NDArray[Any]) -> Float32:
    """Return samples as a guide sees them: float32 within 0 and 1, not a number as 0."""
    unit = to_unit(samples)
    return np.where(unit > 0, np.minimum(unit, np.float32(1)), np.float32(0))
