"""Several colour LUTs and matrices in a row, and what can be merged of them without loss. Imports NumPy and `lut`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.lut import ONES, ZEROS, ColourLut, Cube, Curves, Float64, Triple, grid, make_triple
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

FINEST_CURVES = 65536
"""Nodes of curves that stand for something else than curves."""
CUBE_SIZE = 65
"""Nodes per axis of a cube that stands for something else than a cube."""


@dataclass(frozen=True)
class Matrix:
    """Result = rows times colour plus offset, unclipped.

    Attributes
    ----------
    rows : three rows of three floats
    offset : three floats
    """

    rows: tuple[Triple, Triple, Triple]
    offset: Triple = ZEROS

    def validate(self) -> None:
        """Raise FormatError where a number is not finite."""
        if not np.isfinite([*self.rows, self.offset]).all() or np.abs([*self.rows, self.offset]).max() > 1e30:
            raise FormatError("a colour matrix holds numbers that are not finite; replace them")

    @property
    def is_diagonal(self) -> bool:
        """Whether every channel stays by itself."""
        return bool((np.array(self.rows) == np.diag(np.diag(self.rows))).all())

    def evaluate(self, colours: NDArray[Any]) -> Float64:
        """Return the mixed colours (..., 3) in float64."""
        return np.asarray(colours, np.float64) @ np.array(self.rows, np.float64).T + np.array(self.offset, np.float64)


Step = ColourLut | Matrix


@dataclass(frozen=True)
class ColourChain:
    """LUTs and matrices that are applied one after another.

    Attributes
    ----------
    steps : tuple of ColourLut or Matrix
        At least one.
    title : str
    """

    steps: tuple[Step, ...]
    title: str = ""

    def validate(self) -> None:
        """Raise FormatError where there are no steps or one of them is not as it must be."""
        if not self.steps:
            raise FormatError("a chain of colour LUTs has no steps; it needs at least one")
        for step in self.steps:
            step.validate()

    @property
    def domain(self) -> tuple[Triple, Triple]:
        """Inputs for which the chain is made: those of a LUT at its start, else 0..1."""
        first = self.steps[0]
        return first.domain if isinstance(first, ColourLut) else (ZEROS, ONES)

    def evaluate(
        self, colours: NDArray[Any], interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL
    ) -> Float64:
        """Return colours (..., 3) after all steps, in float64, unclipped; as `ColourLut.evaluate` otherwise."""
        result = np.asarray(colours, np.float64)
        for step in self.steps:
            result = step.evaluate(result) if isinstance(step, Matrix) else step.evaluate(result, interpolation)
        return result


def simplify(chain: ColourChain) -> ColourChain:
    """Return an equal chain of fewer steps: matrices and ranges become domains and nodes of the LUTs beside them.

    Nodes that a matrix changes are rounded to float32; nothing is resampled.
    """
    steps = list(chain.steps)
    place = 0
    while place + 1 < len(steps):
        merged = _merge(steps[place], steps[place + 1])
        if merged is None:
            place += 1
        else:
            steps[place : place + 2] = [merged]
            place = max(place - 1, 0)
    return ColourChain(tuple(steps), chain.title)


def flatten(
    chain: ColourChain, interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL
) -> tuple[ColourLut, float]:
    """Return one LUT for a chain, and by how much it differs from the chain at random inputs.

    A chain that simplifies to one LUT becomes that, without any difference; otherwise channels that stay by themselves
    become curves of 65536 nodes, and what mixes them a cube of 65.
    """
    steps = simplify(chain).steps
    if len(steps) == 1 and isinstance(steps[0], ColourLut):
        return replace(steps[0], title=chain.title), 0.0
    whole = ColourChain(steps, chain.title)
    low, high = whole.domain
    separate = 0
    while separate < len(steps) and _keeps_channels(steps[separate]):
        separate += 1
    curves = cube = None
    if separate:
        first = ColourChain(steps[:separate])
        values = first.evaluate(np.linspace(low, high, FINEST_CURVES)).astype(np.float32)
        curves = Curves(values, low, high)
        low, high = _widen(values.min(axis=0), values.max(axis=0))
    if separate < len(steps):
        rest = ColourChain(steps[separate:])
        cube = Cube(rest.evaluate(grid(CUBE_SIZE, low, high), interpolation).astype(np.float32), low, high)
    lut = ColourLut(curves, cube, chain.title)
    lut.validate()
    colours = np.random.default_rng(0).uniform(*whole.domain, (20000, 3))
    difference = lut.evaluate(colours, interpolation) - chain.evaluate(colours, interpolation)
    return lut, float(np.abs(difference).max())


def _keeps_channels(step: Step) -> bool:
    return step.is_diagonal if isinstance(step, Matrix) else step.cube is None


def _widen(low: NDArray[Any], high: NDArray[Any]) -> tuple[Triple, Triple]:
    """Return ends of a domain that are never equal."""
    last = [
        max(float(top), float(bottom) + 1e-3 * max(1.0, abs(float(bottom))))
        for bottom, top in zip(low, high, strict=True)
    ]
    return make_triple(low), make_triple(last)


def _merge(first: Step, second: Step) -> Step | None:
    """Return the one step that two are, or None where there is none without resampling."""
    if isinstance(first, Matrix) and isinstance(second, Matrix):
        rows = np.array(second.rows) @ np.array(first.rows)
        return Matrix(as_rows(rows), make_triple(second.evaluate(np.array(first.offset))))
    if isinstance(first, Matrix) and isinstance(second, ColourLut):
        scale = np.diag(first.rows)
        if first.is_diagonal and (scale > 0).all():
            return _stretch_domain(second, scale, np.array(first.offset))
    if isinstance(first, ColourLut) and isinstance(second, Matrix):
        return _mix_nodes(first, second)
    if isinstance(first, ColourLut) and isinstance(second, ColourLut) and first.cube is None:
        return _absorb_range(first, second) or (replace(second, curves=first.curves) if second.curves is None else None)
    return None


def _stretch_domain(lut: ColourLut, scale: NDArray[Any], offset: NDArray[Any]) -> ColourLut | None:
    """Return the LUT of scale times colour plus offset."""
    part = lut.curves or lut.cube
    assert part is not None
    low, high = ((np.array(end) - offset) / scale for end in (part.low, part.high))
    stretched = replace(part, low=make_triple(low), high=make_triple(high))
    try:
        stretched.validate()
    except FormatError:  # a scale so large or small that the domain leaves float32
        return None
    return replace(lut, curves=stretched) if isinstance(stretched, Curves) else replace(lut, cube=stretched)


def _mix_nodes(lut: ColourLut, matrix: Matrix) -> ColourLut | None:
    """Return the LUT whose nodes the matrix has changed: interpolation between nodes is linear, as the matrix is."""
    part = lut.cube or lut.curves
    assert part is not None
    if isinstance(part, Curves) and not matrix.is_diagonal:
        return None
    with np.errstate(over="ignore"):
        mixed = replace(part, values=matrix.evaluate(part.values).astype(np.float32))
    if not np.isfinite(mixed.values).all():
        return None
    return replace(lut, cube=mixed) if isinstance(mixed, Cube) else replace(lut, curves=mixed)


def _absorb_range(first: ColourLut, second: ColourLut) -> ColourLut | None:
    """Return the second LUT over another domain, where the first is a rising straight line that reaches beyond it."""
    line, part = first.curves, second.curves or second.cube
    if line is None or part is None or line.size != 2:
        return None
    start, end = line.values.astype(np.float64)
    low, high = np.array(line.low), np.array(line.high)
    if not ((start <= part.low) & (end >= part.high)).all():
        return None
    scale = (end - start) / (high - low)
    return _stretch_domain(second, scale, start - low * scale)


def as_rows(matrix: NDArray[Any]) -> tuple[Triple, Triple, Triple]:
    """Return a 3 x 3 array as rows of floats."""
    red, green, blue = (make_triple(row) for row in matrix)
    return red, green, blue
