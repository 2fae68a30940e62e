"""Colour LUTs from colour LUTs: composition and other sizes, with how far the result is off. Imports NumPy and `lut`.

Everything is computed in float64 and unclipped; nodes are rounded to float32 at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.lut import MAX_CUBE_SIZE, MAX_CURVE_SIZE, ColourLut, Cube, Curves, Float64, Triple, grid
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

USUAL_SIZE = 33
"""Fewest nodes per axis of a cube whose size nobody asks for."""
FINE_ENOUGH = 1e-6
"""Difference, relative to the range of values, at which curves are not made finer."""
SAMPLES = 20000
"""Random inputs at which a result is compared with what it stands for."""

TETRAHEDRAL = CubeInterpolation.TETRAHEDRAL
TRILINEAR = CubeInterpolation.TRILINEAR


@dataclass(frozen=True, eq=False)
class Derived:
    """A LUT that stands for something else, and how well.

    Attributes
    ----------
    lut : ColourLut
    largest, mean : float
        Differences of a channel at random inputs within the domain.
    """

    lut: ColourLut
    largest: float
    mean: float
    _exact: Callable[[NDArray[Any]], Float64]
    _domain: tuple[Triple, Triple]
    _interpolation: CubeInterpolation

    def store_as(self, lut: ColourLut) -> Derived:
        """Return the same with another LUT, such as a file has kept it, compared over the domain of this one."""
        return _compare(lut, self._exact, self._interpolation, self._domain)


def compose(
    first: ColourLut,
    second: ColourLut,
    size: int | None = None,
    interpolation: CubeInterpolation = TETRAHEDRAL,
    ways: tuple[CubeInterpolation, CubeInterpolation] | None = None,
) -> Derived:
    """Return the LUT that does what the first does and then what the second does.

    Curves after curves stay curves, made finer until they are as good as float32 or have 65536 nodes; curves before a
    cube go before it as they are. Whatever comes after a cube is sampled at the nodes of a new one, which has the
    domain of the first cube, and where it can be nodes wherever the two LUTs have theirs.

    Parameters
    ----------
    first, second : ColourLut
    size : int, optional
        Nodes per axis of the cube, or of the curves where there is no cube.
    interpolation : CubeInterpolation
        Of the result.
    ways : two of CubeInterpolation, optional
        Of the first and the second LUT, where these are others.

    Raises
    ------
    FormatError
        Where the size is impossible.
    """
    one, other = ways or (interpolation, interpolation)
    if first.cube is None and second.cube and size is None and other is not interpolation:
        size = _refine_size(second.cube.size)  # the same nodes would mean something else between them
    lut = ColourLut(*_compose(first, second, size, (one, other)), _name(first, second))
    lut.validate()
    return _compare(lut, lambda colours: second.evaluate(first.evaluate(colours, one), other), interpolation)


def resize(
    lut: ColourLut,
    size: int,
    interpolation: CubeInterpolation = TETRAHEDRAL,
    way: CubeInterpolation | None = None,
) -> Derived:
    """Return the LUT with another number of nodes: per axis of the cube, or of the curves where there is no cube.

    Parameters
    ----------
    lut : ColourLut
    size : int
    interpolation : CubeInterpolation
        Of the result.
    way : CubeInterpolation, optional
        Of the LUT, where it is another.

    Raises
    ------
    FormatError
        Where the size is impossible.
    """
    way = way or interpolation
    if lut.cube:
        resized = replace(lut, cube=_resize_cube(lut.cube, size, way))
    else:
        assert lut.curves is not None
        low, high = lut.curves.low, lut.curves.high
        resized = replace(lut, curves=_sample_curves(lut.curves.evaluate, low, high, _check_size(size, MAX_CURVE_SIZE)))
    resized.validate()
    return _compare(resized, lambda colours: lut.evaluate(colours, way), interpolation)


def make_tetrahedral(lut: ColourLut) -> ColourLut:
    """Return a LUT with a trilinear cube as one whose cube, finer where it can be, comes near it tetrahedrally."""
    return replace(lut, cube=_resize_cube(lut.cube, _refine_size(lut.cube.size), TRILINEAR)) if lut.cube else lut


def refine_curves(
    function: Callable[[NDArray[Any]], Float64], low: Triple, high: Triple, cells: int, factor: Callable[[int], int]
) -> Curves:
    """Return curves for a function of colours (n, 3), with more and more nodes until they are as good as float32.

    Parameters
    ----------
    function : callable
        Treats every channel by itself.
    low, high : three floats
    cells : int
        Intervals to begin with.
    factor : callable
        Returns the number of intervals to try after a number of them.
    """
    cells = min(cells, MAX_CURVE_SIZE - 1)
    while True:
        curves = _sample_curves(function, low, high, cells + 1)
        # The quarters of cells, where no node is and the middle of no symmetric bend.
        places = np.linspace(low, high, 4 * min(cells, 1 << 15) + 1)[1::2]
        expected = function(places)
        scale = max(float(np.ptp(expected)), 1e-30)
        following = min(factor(cells), MAX_CURVE_SIZE - 1)
        if np.abs(curves.evaluate(places) - expected).max() <= FINE_ENOUGH * scale or following <= cells:
            return curves
        cells = following


def _compose(
    first: ColourLut, second: ColourLut, size: int | None, ways: tuple[CubeInterpolation, CubeInterpolation]
) -> tuple[Curves | None, Cube | None]:
    if first.cube:
        cells = _choose_size(first.cube.size, second) if size is None else _check_size(size, MAX_CUBE_SIZE)
        nodes = first.cube.evaluate(grid(cells, first.cube.low, first.cube.high), ways[0])
        values = second.evaluate(nodes, ways[1]).astype(np.float32)
        return first.curves, Cube(values, first.cube.low, first.cube.high)
    curves = first.curves
    assert curves is not None
    if second.curves:
        curves = _compose_curves(curves, second.curves, size if second.cube is None else None)
    elif second.cube is None:
        raise FormatError("a colour LUT has neither curves nor a cube; it needs at least one")
    cube = second.cube
    return curves, _resize_cube(cube, size, ways[1]) if cube and size is not None else cube


def _compose_curves(first: Curves, second: Curves, size: int | None) -> Curves:
    def both(colours: NDArray[Any]) -> Float64:
        return second.evaluate(first.evaluate(colours))

    if size is not None:
        return _sample_curves(both, first.low, first.high, _check_size(size, MAX_CURVE_SIZE))
    cells = math.lcm(first.size - 1, second.size - 1)
    if cells > MAX_CURVE_SIZE - 1:
        return _sample_curves(both, first.low, first.high, MAX_CURVE_SIZE)
    return refine_curves(both, first.low, first.high, cells, lambda count: _double(count, cells))


def _double(count: int, step: int) -> int:
    """Return twice the count where curves can have so many cells, else the most that are a multiple of a step."""
    return count * 2 if count * 2 < MAX_CURVE_SIZE else (MAX_CURVE_SIZE - 1) // step * step


def _choose_size(size: int, second: ColourLut) -> int:
    """Return the nodes per axis of a composition, among which are those of both LUTs where so many are possible."""
    other = second.cube.size if second.cube else second.curves.size if second.curves else 2
    step = math.lcm(size - 1, other - 1)
    if step < MAX_CUBE_SIZE:
        return step * max(1, math.ceil((USUAL_SIZE - 1) / step)) + 1
    return max(size, min(other, 65), USUAL_SIZE)


def _refine_size(size: int) -> int:
    """Return the nodes per axis of a cube that is to have those of another among its own: `USUAL_SIZE` or more."""
    most = (MAX_CUBE_SIZE - 1) // (size - 1)
    return (size - 1) * min(most, max(2, math.ceil((USUAL_SIZE - 1) / (size - 1)))) + 1


def _resize_cube(cube: Cube, size: int, interpolation: CubeInterpolation) -> Cube:
    if _check_size(size, MAX_CUBE_SIZE) == cube.size:
        return cube
    values = cube.evaluate(grid(size, cube.low, cube.high), interpolation)
    return Cube(values.astype(np.float32), cube.low, cube.high)


def _sample_curves(function: Callable[[NDArray[Any]], Float64], low: Triple, high: Triple, size: int) -> Curves:
    return Curves(function(np.linspace(low, high, size)).astype(np.float32), low, high)


def _check_size(size: int, limit: int) -> int:
    if not 2 <= size <= limit:
        raise FormatError(f"a size of {size} nodes is asked for; 2 to {limit} are possible here")
    return size


def _name(first: ColourLut, second: ColourLut) -> str:
    return " + ".join(filter(None, (first.title, second.title)))


def _compare(
    lut: ColourLut,
    function: Callable[[NDArray[Any]], Float64],
    interpolation: CubeInterpolation,
    domain: tuple[Triple, Triple] | None = None,
) -> Derived:
    """Return the LUT with how far it is, over its domain or another, from the function that it stands for."""
    domain = domain or lut.domain
    colours = np.random.default_rng(0).uniform(*domain, (SAMPLES, 3))
    difference = np.abs(lut.evaluate(colours, interpolation) - function(colours))
    return Derived(lut, float(difference.max()), float(difference.mean()), function, domain, interpolation)
