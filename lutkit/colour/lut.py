"""Colour LUTs as values: curves, a cube, and their evaluation in float64. Imports NumPy and the runtime's cube only.

`ColourLut.evaluate` is written to be obviously right, not fast: every faster evaluation is measured against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError
from lutkit_runtime.ops.colour_lookup import MAX_CUBE_SIZE, Triple
from lutkit_runtime.ops.colour_lookup import MAX_CURVE_ENTRIES as MAX_CURVE_SIZE

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

ZEROS: Triple = (0.0, 0.0, 0.0)
ONES: Triple = (1.0, 1.0, 1.0)
CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Curves:
    """One curve per channel over a domain: a 1-D LUT, or the shaper before a cube.

    Attributes
    ----------
    values : float32, (m, 3)
        Nodes of the red, green and blue curve at equal distances, m from 2 to 65536; may lie outside 0..1.
    low, high : three floats
        Input of the first and the last node, by channel.
    """

    values: Float32
    low: Triple = ZEROS
    high: Triple = ONES

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.values)

    def validate(self) -> None:
        """Raise FormatError where shape, type, a value or the domain is not as described."""
        values = self.values
        if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != 3:
            raise FormatError(f"curves are {values.dtype} of shape {values.shape}; float32 of shape (m, 3) is needed")
        if not 2 <= self.size <= MAX_CURVE_SIZE:
            raise FormatError(f"curves have {self.size} nodes; 2 to {MAX_CURVE_SIZE} are possible")
        _check_values("curves", values)
        check_domain("curves", self.low, self.high)

    def evaluate(self, colours: NDArray[Any]) -> Float64:
        """Return the colours (..., 3) after the curves, in float64; inputs as in `ColourLut.evaluate`."""
        cell, fraction = _locate(colours, self.low, self.high, self.size)
        nodes = self.values.astype(np.float64)
        channel = np.arange(3)
        return (1 - fraction) * nodes[cell, channel] + fraction * nodes[cell + 1, channel]


@dataclass(frozen=True, eq=False)
class Cube:
    """A 3-D LUT over a domain.

    Attributes
    ----------
    values : float32, (n, n, n, 3)
        Nodes indexed [blue][green][red][channel], n from 2 to 129; may lie outside 0..1.
    low, high : three floats
        Red, green and blue input of the first and the last node of its axis.
    """

    values: Float32
    low: Triple = ZEROS
    high: Triple = ONES

    @property
    def size(self) -> int:
        """Nodes per axis."""
        return len(self.values)

    def validate(self) -> None:
        """Raise FormatError where shape, type, a value or the domain is not as described."""
        values = self.values
        if values.dtype != np.float32 or values.ndim != 4 or values.shape != (len(values),) * 3 + (3,):
            raise FormatError(f"a cube is {values.dtype} of shape {values.shape}; float32 of (n, n, n, 3) is needed")
        if not 2 <= self.size <= MAX_CUBE_SIZE:
            raise FormatError(f"a cube has {self.size} nodes per axis; 2 to {MAX_CUBE_SIZE} are possible")
        _check_values("a cube", values)
        check_domain("a cube", self.low, self.high)

    def evaluate(
        self, colours: NDArray[Any], interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL
    ) -> Float64:
        """Return the colours (..., 3) after the cube, in float64; inputs as in `ColourLut.evaluate`."""
        cell, fraction = _locate(colours, self.low, self.high, self.size)
        nodes = self.values.astype(np.float64)
        if interpolation is CubeInterpolation.TETRAHEDRAL:
            return _interpolate_tetrahedral(nodes, cell, fraction)
        return _interpolate_trilinear(nodes, cell, fraction)


@dataclass(frozen=True, eq=False)
class ColourLut:
    """What a colour LUT file says: curves, then a cube, or one of the two.

    Attributes
    ----------
    curves : Curves or None
    cube : Cube or None
    title : str
        Whatever its maker called it.
    """

    curves: Curves | None = None
    cube: Cube | None = None
    title: str = ""

    def validate(self) -> None:
        """Raise FormatError where both parts are missing or one of them is not as described."""
        if self.curves is None and self.cube is None:
            raise FormatError("a colour LUT has neither curves nor a cube; it needs at least one")
        for part in (self.curves, self.cube):
            if part is not None:
                part.validate()

    @property
    def domain(self) -> tuple[Triple, Triple]:
        """Lowest and highest input by channel; inputs beyond count as these."""
        first = self.curves or self.cube
        assert first is not None
        return first.low, first.high

    def evaluate(
        self, colours: NDArray[Any], interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL
    ) -> Float64:
        """Return colours after the curves and the cube, in float64: the reference of every other evaluation.

        Parameters
        ----------
        colours : float, (..., 3)
            Red, green, blue in the units of the domain, in which 0..1 is usually black to white. What lies outside
            the domain, infinite values too, counts as its nearer end; NaN counts as the lower end.
        interpolation : CubeInterpolation
            Of the cube; curves are always linear.

        Returns
        -------
        float64, (..., 3)
            Unclipped.
        """
        result = np.asarray(colours, np.float64)
        if self.curves is not None:
            result = self.curves.evaluate(result)
        if self.cube is not None:
            result = self.cube.evaluate(result, interpolation)
        return result


def identity_curves(size: int = 2, low: Triple = ZEROS, high: Triple = ONES) -> Curves:
    """Return curves that change nothing within their domain."""
    return Curves(np.linspace(low, high, size).astype(np.float32), low, high)


def identity_cube(size: int = 2, low: Triple = ZEROS, high: Triple = ONES) -> Cube:
    """Return a cube that changes nothing within its domain."""
    return Cube(grid(size, low, high).astype(np.float32), low, high)


def grid(size: int, low: Triple = ZEROS, high: Triple = ONES) -> Float64:
    """Return the colours at the nodes of a cube, float64 (n, n, n, 3), indexed [blue][green][red][channel]."""
    red, green, blue = (np.linspace(*ends, size) for ends in zip(low, high, strict=True))
    planes = np.meshgrid(blue, green, red, indexing="ij")
    return np.stack(planes[::-1], axis=-1)


def make_triple(values: Any) -> Triple:
    """Return three values as floats."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def check_domain(owner: str, low: Triple, high: Triple) -> None:
    """Raise FormatError unless every channel has finite ends, the lower one first, in float32 too."""
    for channel, first, last in zip(CHANNELS, low, high, strict=True):
        # Kernels compute in float32: ends that agree there would divide by zero.
        usable = math.isfinite(first) and math.isfinite(last) and max(abs(first), abs(last)) < 1e30
        if not usable or not np.float32(first) < np.float32(last) or last - first < 1e-30:
            raise FormatError(
                f"{owner}: the domain of {channel} goes from {first:g} to {last:g}; it needs finite ends, the lower "
                "one first"
            )


def _check_values(owner: str, values: Float32) -> None:
    """Raise FormatError where a value is not finite, naming the first."""
    bad = ~np.isfinite(values.reshape(-1, 3)).all(axis=1)
    if bad.any():
        raise FormatError(f"{owner}: node {int(bad.argmax())} is not finite; replace NaN and infinite values")


def _locate(colours: NDArray[Any], low: Triple, high: Triple, size: int) -> tuple[NDArray[np.intp], Float64]:
    """Return cells 0..size-2 of colours on their axes, and fractions 0..1 in them; NaN counts as the lower end."""
    colours = np.asarray(colours, np.float64)
    first, last = np.array(low, np.float64), np.array(high, np.float64)
    known = np.where(np.isnan(colours), first, colours)
    position = (np.clip(known, first, last) - first) / (last - first) * (size - 1)
    cell = np.minimum(np.floor(position), size - 2).astype(np.intp)
    return cell, position - cell


def _interpolate_trilinear(nodes: Float64, cell: NDArray[np.intp], fraction: Float64) -> Float64:
    """Return the sum of the eight nodes around, each weighted by the volume opposite to it."""
    total = np.zeros_like(fraction)
    for corner in product((0, 1), repeat=3):
        step = np.array(corner)
        weight = np.where(step == 1, fraction, 1 - fraction).prod(axis=-1)
        red, green, blue = np.moveaxis(cell + step, -1, 0)
        total += weight[..., None] * nodes[blue, green, red]
    return total


def _interpolate_tetrahedral(nodes: Float64, cell: NDArray[np.intp], fraction: Float64) -> Float64:
    """Return the sum of the four nodes met on a walk from the near to the far corner of the cell.

    The walk takes the axes in descending order of their fractions; each node weighs as much as the fraction drops
    there. Kasson et al., "Performing color space conversions with three-dimensional linear interpolation", 1995.
    """
    order = np.argsort(-fraction, axis=-1, kind="stable")
    ordered = np.take_along_axis(fraction, order, axis=-1)
    ends = np.ones_like(ordered[..., :1])
    weights = np.concatenate([ends, ordered], axis=-1) - np.concatenate([ordered, 0 * ends], axis=-1)
    corner = cell.copy()
    total = np.zeros_like(fraction)
    for step in range(4):
        red, green, blue = np.moveaxis(corner, -1, 0)
        total += weights[..., step, None] * nodes[blue, green, red]
        if step < 3:
            corner = corner + (np.arange(3) == order[..., step, None])
    return total
