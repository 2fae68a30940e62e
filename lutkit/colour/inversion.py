"""Inverses of colour LUTs: curves read backwards, cubes by locating tetrahedra. Imports NumPy and the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.algebra import SAMPLES, TETRAHEDRAL, make_tetrahedral, refine_curves, resize
from lutkit.colour.cube_inversion import invert_nodes
from lutkit.colour.lut import CHANNELS, MAX_CUBE_SIZE, ColourLut, Cube, Curves, Float64, Triple, make_triple
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

USUAL_SIZE = 65
"""Nodes per axis of an inverse cube whose size nobody asks for."""


@dataclass(frozen=True, eq=False)
class Inverse:
    """The inverse of a LUT, and how far going there and back ends from the start.

    Attributes
    ----------
    lut : ColourLut
        Its domain is the range of the results of the original.
    largest, mean : float
        Difference of a channel between a result of the original at a random input and the same sent through the
        inverse and the original again.
    outside : float
        Share of the inverse's nodes that the original never reaches; they give the input of the nearest colour that
        it does. 0 for curves.
    """

    lut: ColourLut
    largest: float
    mean: float
    outside: float
    _original: ColourLut
    _interpolation: CubeInterpolation

    def store_as(self, lut: ColourLut) -> Inverse:
        """Return the same with another LUT as the inverse, such as a file has kept it."""
        return _compare(lut, self._original, self._interpolation, self.outside)


def invert(lut: ColourLut, size: int | None = None, interpolation: CubeInterpolation = TETRAHEDRAL) -> Inverse:
    """Return the inverse of a LUT; its own cube is to be interpolated tetrahedrally.

    Curves must rise or fall throughout. Where one is level, several inputs give one result: the inverse then gives the
    middle of them, and at the ends of the range the input where the curve leaves the level, so that clipped black and
    white stay where they are.

    A cube must not fold space over: no tetrahedron of it may be turned inside out against the others. Tetrahedra that
    are flat, as where a cube clips, count as their rim. A LUT of curves and a cube becomes one cube.

    Parameters
    ----------
    lut : ColourLut
    size : int, optional
        Nodes of the result: per axis of a cube, else of curves; otherwise 65, and as many as curves need.
    interpolation : CubeInterpolation
        Of the LUT; for a trilinear one, a finer tetrahedral cube is inverted.

    Raises
    ------
    FormatError
        Where a curve turns, a cube folds, or either is level throughout; the sentence says where. Where the size is
        impossible.
    """
    lut.validate()
    outside = 0.0
    if lut.cube is None:
        assert lut.curves is not None
        inverse = ColourLut(_invert_curves(lut.curves), None, _title(lut))
        inverse = inverse if size is None else resize(inverse, size).lut
    else:
        size = USUAL_SIZE if size is None else size
        if not 2 <= size <= MAX_CUBE_SIZE:
            raise FormatError(f"a size of {size} nodes is asked for; 2 to {MAX_CUBE_SIZE} are possible here")
        tetrahedral = lut if interpolation is TETRAHEDRAL else make_tetrahedral(lut)
        assert tetrahedral.cube is not None
        cube, outside = invert_nodes(tetrahedral.cube, size)
        nodes = cube.reshape(-1, 3)
        if lut.curves:
            nodes = np.stack([_read_backwards(lut.curves, each, nodes[:, each]) for each in range(3)], axis=-1)
        low, high = _range(lut.cube.values)
        inverse = ColourLut(None, Cube(nodes.reshape(cube.shape).astype(np.float32), low, high), _title(lut))
    inverse.validate()
    return _compare(inverse, lut, interpolation, outside)


def _compare(inverse: ColourLut, lut: ColourLut, interpolation: CubeInterpolation, outside: float) -> Inverse:
    """Return the inverse with how far results of the LUT sent there and back end from where they were."""
    colours = np.random.default_rng(0).uniform(*lut.domain, (SAMPLES, 3))
    there = lut.evaluate(colours, interpolation)
    difference = np.abs(lut.evaluate(inverse.evaluate(there, TETRAHEDRAL), interpolation) - there)
    return Inverse(inverse, float(difference.max()), float(difference.mean()), outside, lut, interpolation)


def _title(lut: ColourLut) -> str:
    return f"inverse of {lut.title}" if lut.title else ""


def _invert_curves(curves: Curves) -> Curves:
    low, high = _range(curves.values)

    def backwards(results: NDArray[Any]) -> Float64:
        return np.stack([_read_backwards(curves, each, results[:, each]) for each in range(3)], axis=-1)

    _read_backwards(curves, 0, np.zeros(1))  # refuses before long work
    return refine_curves(backwards, low, high, max(curves.size - 1, 1), lambda count: count * 2)


def _range(values: NDArray[Any]) -> tuple[Triple, Triple]:
    """Return the lowest and the highest value of each channel."""
    flat = values.reshape(-1, 3).astype(np.float64)
    low, high = flat.min(axis=0), flat.max(axis=0)
    for channel, first, last in zip(CHANNELS, low, high, strict=True):
        if last - first <= 1e-7 * max(1.0, abs(first)):
            raise FormatError(f"{channel} is {first:g} whatever the input: there is nothing to invert")
    return make_triple(low), make_triple(high)


def _read_backwards(curves: Curves, channel: int, results: NDArray[Any]) -> Float64:
    """Return the inputs (n,) at which a channel's curve gives results (n,); beyond its range those of its ends."""
    inputs = np.linspace(curves.low[channel], curves.high[channel], curves.size)
    values = curves.values[:, channel].astype(np.float64)
    steps = np.sign(np.diff(values))
    ups, downs = np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)
    if len(ups) and len(downs):
        turn = max(ups[0], downs[0])
        before = "rises" if ups[0] < downs[0] else "falls"
        raise FormatError(
            f"the curve of {CHANNELS[channel]} {before} up to {inputs[turn]:g} and then turns: it has no inverse"
        )
    if len(downs):
        inputs, values = inputs[::-1], values[::-1]
    results = results.clip(values[0], values[-1])
    last = len(values) - 1
    after = np.searchsorted(values, results, side="left").clip(1, last)
    before = (np.searchsorted(values, results, side="right") - 1).clip(0, last - 1)
    first_place = _between(values, inputs, after - 1, results)
    last_place = _between(values, inputs, before, results)
    middle = (first_place + last_place) / 2
    # At the ends of the range the place where the curve leaves the level, not its middle.
    middle = np.where(results <= values[0], last_place, middle)
    return np.where(results >= values[-1], first_place, middle)


def _between(values: Float64, inputs: Float64, cell: NDArray[np.intp], results: NDArray[Any]) -> Float64:
    """Return the inputs within cells at which straight lines give results, clamped to the cell."""
    start, rise = values[cell], values[cell + 1] - values[cell]
    fraction = np.divide(results - start, rise, out=np.zeros_like(start), where=rise > 0).clip(0, 1)
    return inputs[cell] + fraction * (inputs[cell + 1] - inputs[cell])
