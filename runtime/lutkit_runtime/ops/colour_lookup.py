"""Colour lookup: one curve per channel, then a cube: what a colour LUT file or a retouching model does to a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import (
    Arithmetic,
    CubeInterpolation,
    Float32,
    fits_packed,
    interpolate_cube,
    interpolate_curves,
    interpolate_packed,
    locate,
    pack_nodes,
    scale_to_depth,
    split_codes,
)
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import Kind, OpBase, Slot, Value
from lutkit_runtime.table_coding import LARGEST_VALUE, TableCoding

Triple = tuple[float, float, float]

MAX_CUBE_SIZE = 129
MAX_CURVE_ENTRIES = 1 << 16


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the first and the last node of each channel's axis lie; samples outside count as the nearer end.

    Parameters
    ----------
    low, high : three floats
        Red, green, blue, in units of the samples, which are 0 to 1 for integer pictures.
    """

    low: Triple = (0.0, 0.0, 0.0)
    high: Triple = (1.0, 1.0, 1.0)

    def validate(self, owner: str) -> None:
        """Raise ProgramError, naming `owner`, unless every channel has finite ends in ascending order."""
        for low, high in zip(self.low, self.high, strict=True):
            if not (abs(low) <= LARGEST_VALUE and abs(high) <= LARGEST_VALUE and low < high):
                raise ProgramError(f"{owner} has a domain from {low} to {high}; finite, ascending ends are needed")
            if not high - low >= 1 / LARGEST_VALUE:
                raise ProgramError(f"{owner} has a domain from {low} to {high}, which is too narrow to divide")

    def place(self, cells: int, stretch: float, peak: float) -> tuple[Float32, Float32, Float32]:
        """Return scale, shift and last position (float32 (3,) each) that turn samples of 0 to `peak` into positions."""
        low, high = np.array(self.low), np.array(self.high)
        gain = cells / (stretch * (high - low))
        last = np.full(3, cells / stretch)
        return (gain / peak).astype(np.float32), (-low * gain).astype(np.float32), last.astype(np.float32)

    def position(self, samples: NDArray[np.float64], cells: int, stretch: float) -> NDArray[np.float64]:
        """Return positions 0 to cells / stretch of samples (..., 3), in float64."""
        low, high = np.array(self.low), np.array(self.high)
        return ((samples - low) / (high - low)).clip(0, 1) * (cells / stretch)


class Curves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One curve per channel, interpolated linearly: a 1-D LUT, or the shaper before a cube.

    Parameters
    ----------
    slot : str
        Table of the curves: (entries, 3).
    entries : int
        2 to 65 536.
    domain : Domain
    coding : TableCoding
    """

    slot: str
    entries: int
    domain: Domain = Domain()
    coding: TableCoding = TableCoding()


class Cube(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A 3-D LUT.

    Parameters
    ----------
    table : str
        Slot of the nodes, (size**3, 3), red fastest; with `fused`, the value that a `TableFusion` makes.
    size : int
        Nodes per axis, 2 to 129.
    fused : bool
    domain : Domain
    interpolation : CubeInterpolation
    stretch : float
        The published kernels of image-adaptive 3D LUTs place nodes 1.000001 / (size - 1) apart (HuiZeng/
        Image-Adaptive-3DLUT); 1.0 puts the last node at the end of the domain. 1 to 1.001.
    coding : TableCoding
        Of the slot.
    """

    table: str
    size: int
    fused: bool = False
    domain: Domain = Domain()
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL
    stretch: float = 1.0
    coding: TableCoding = TableCoding()


class ColourLookup(OpBase, frozen=True, tag="colour_lookup"):
    """Look every pixel's colour up: curves, then the cube; one of them may be missing.

    Floats may lie outside 0 to 1 in the result. With the packed arithmetic, an 8-bit picture whose result leaves the
    program is computed in integers; a result that another op reads is always float32.

    Parameters
    ----------
    input : str
        A picture.
    curves : Curves or None
    cube : Cube or None
    arithmetic : Arithmetic
    """

    input: str
    curves: Curves | None = None
    cube: Cube | None = None
    arithmetic: Arithmetic = Arithmetic.FLOAT32

    @property
    def inputs(self) -> tuple[str, ...]:
        """The picture, and the fused table where there is one."""
        return (self.input, self.cube.table) if self.cube and self.cube.fused else (self.input,)

    @property
    def slots(self) -> dict[str, Slot]:
        """The tables of the curves and of a cube that is not fused."""
        slots: dict[str, Slot] = {}
        if self.curves:
            slots[self.curves.slot] = Slot((self.curves.entries,), 3, self.curves.coding.storage.value)
        if self.cube and not self.cube.fused:
            slots[self.cube.table] = Slot((self.cube.size,) * 3, 3, self.cube.coding.storage.value)
        return slots

    def validate(self) -> None:
        """Raise ProgramError where sizes, domains or the arithmetic are impossible."""
        if not self.curves and not self.cube:
            raise ProgramError(f"op '{self.output}' has neither curves nor a cube; give it at least one")
        if self.curves:
            if not 2 <= self.curves.entries <= MAX_CURVE_ENTRIES:
                raise ProgramError(
                    f"op '{self.output}' has curves of {self.curves.entries} entries; 2 to {MAX_CURVE_ENTRIES} are "
                    "possible"
                )
            self.curves.domain.validate(f"op '{self.output}'")
            self.curves.coding.validate(f"op '{self.output}'")
        if self.cube:
            if not 2 <= self.cube.size <= MAX_CUBE_SIZE:
                raise ProgramError(
                    f"op '{self.output}' has a cube of {self.cube.size} nodes per axis; 2 to {MAX_CUBE_SIZE} are "
                    "possible"
                )
            if not 1 <= self.cube.stretch <= 1.001:
                raise ProgramError(f"op '{self.output}' has stretch {self.cube.stretch}; 1 to 1.001 is possible")
            self.cube.domain.validate(f"op '{self.output}'")
            self.cube.coding.validate(f"op '{self.output}'")
        if self.curves and self.cube and self.curves.slot == self.cube.table:
            raise ProgramError(f"op '{self.output}' uses '{self.cube.table}' for curves and cube; use two slots")
        packable = self.cube and not self.cube.fused and self.cube.interpolation is CubeInterpolation.TETRAHEDRAL
        if self.arithmetic is Arithmetic.PACKED and not packable:
            raise ProgramError(
                f"op '{self.output}' asks for the packed arithmetic, which is for a stored cube with tetrahedral "
                "interpolation; use float32"
            )

    def validate_tables(self, fill: Mapping[str, Any]) -> None:
        """Raise ProgramError where the packed arithmetic cannot hold the cube."""
        if self.arithmetic is Arithmetic.PACKED and self.cube:
            cube = self.cube.coding.decode(fill[self.cube.table])
            if not fits_packed(cube):
                raise ProgramError(
                    f"op '{self.output}' asks for the packed arithmetic, which is for nodes within 0 and 1, but slot "
                    f"'{self.cube.table}' holds {cube.min():g} to {cube.max():g}; use float32"
                )

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return that the result is a picture; raises ProgramError where the inputs are something else."""
        values[self.input].expect(Kind.PICTURE, self.output, self.input)
        if self.cube and self.cube.fused:
            values[self.cube.table].expect(Kind.TABLE, self.output, self.cube.table)
            if values[self.cube.table].size != self.cube.size:
                raise ProgramError(
                    f"op '{self.output}' reads a cube of size {self.cube.size}, but '{self.cube.table}' has size "
                    f"{values[self.cube.table].size}; they must be equal"
                )
        return Value(Kind.PICTURE)

    def bind(self, values: Mapping[str, Any], fill: Mapping[str, Any]) -> BoundLookup:
        """Return the op with its tables decoded: what the arithmetic works on.

        Parameters
        ----------
        values : mapping
            Holds the fused table, (size**3, 3) float32, where there is one.
        fill : mapping of slot name to stored table
        """
        curves = self.curves.coding.decode(fill[self.curves.slot]) if self.curves else None
        cube = None
        if self.cube:
            stored = values[self.cube.table] if self.cube.fused else self.cube.coding.decode(fill[self.cube.table])
            cube = np.ascontiguousarray(stored, np.float32)
        return BoundLookup(self, curves, cube)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the float32 picture (H, W, 3) of a picture (H, W, 3) uint8, uint16 or float32."""
        return self.bind(planes, fill).look_up(planes[self.input])


@dataclass(frozen=True)
class BoundLookup:
    """A colour lookup with its tables.

    Parameters
    ----------
    op : ColourLookup
    curves : float32 (entries, 3), or None
    cube : float32 (size**3, 3), or None
    """

    op: ColourLookup
    curves: Float32 | None
    cube: Float32 | None

    def look_up(self, samples: NDArray[Any]) -> Float32:
        """Return the float32 colours (..., 3) of samples (..., 3) uint8, uint16 or float32: the float32 arithmetic."""
        curves, cube = self.op.curves, self.op.cube
        peak = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
        if curves and self.curves is not None:
            cells = curves.entries - 1
            samples = interpolate_curves(*locate(samples, *curves.domain.place(cells, 1.0, peak), cells), self.curves)
            peak = 1.0
        if not cube or self.cube is None:
            return samples
        cells = cube.size - 1
        cell, fraction = locate(samples, *cube.domain.place(cells, cube.stretch, peak), cells)
        return interpolate_cube(cell, fraction, self.cube, cube.size, cube.interpolation)

    def split_codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the cell and the fraction (0 to 512) of every 8-bit code and channel, (256, 3) each.

        For the packed arithmetic; curves are evaluated in float64 and cost nothing per pixel.
        """
        cube = self.op.cube
        assert cube is not None
        codes = np.repeat(np.arange(256)[:, None] / 255, 3, axis=1)
        curves = self.op.curves
        if curves and self.curves is not None:
            cells = curves.entries - 1
            position = curves.domain.position(codes, cells, 1.0)
            cell = np.minimum(np.floor(position).astype(np.int64), cells - 1)
            codes = interpolate_curves(cell, position - cell, self.curves.astype(np.float64))
        return split_codes(cube.domain.position(codes, cube.size - 1, cube.stretch), cube.size - 1)

    def look_up_packed(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the 8-bit colours (..., 3) of codes (..., 3): the packed arithmetic."""
        assert self.op.cube is not None and self.cube is not None
        cells, fractions = self.split_codes()
        channel = np.arange(3)
        return interpolate_packed(
            cells[codes, channel], fractions[codes, channel], pack_nodes(self.cube), self.op.cube.size
        )

    def finish(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return the colours at the depth of the samples: what leaves a program that ends in this op."""
        if self.op.arithmetic is Arithmetic.PACKED and samples.dtype == np.uint8:
            return self.look_up_packed(samples)
        return scale_to_depth(self.look_up(samples), samples.dtype)
