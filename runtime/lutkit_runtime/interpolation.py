"""Simplex interpolation by sorting fractions: the one definition, for NumPy arrays and torch tensors alike.

Floor 2: imports lattice. Which library computes is decided by the arrays handed in.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import array_api_compat

from lutkit_runtime.lattice import Lattice


class Interpolation(enum.Enum):
    """How a value between the nodes of a lattice is formed."""

    SIMPLEX = "simplex"
    """Exact simplex interpolation in any number of dimensions."""

    SRLUT = "simplex-srlut"
    """The 4-simplex as yhjo09/SR-LUT published it: one of its 24 orderings is taken for another."""


def order_axes(fractions: Any) -> Any:
    """Return the axes in descending order of their fraction, ties in axis order; integers of shape (..., axes)."""
    xp = array_api_compat.array_namespace(fractions)
    return xp.argsort(fractions, axis=-1, descending=True, stable=True)


def order_axes_srlut(fractions: Any) -> Any:
    """Order the axes as the published SR-LUT script does (Test_Model_S.py of yhjo09/SR-LUT).

    One branch there tests the wrong pair of fractions: the order c > d >= a > b is treated as c > a > d > b, which
    gives one vertex a negative weight. Only for tables of four axes.
    """
    xp = array_api_compat.array_namespace(fractions)
    order = order_axes(fractions)
    a, b, c, d = (fractions[..., axis] for axis in range(4))
    confused = (c > d) & (d >= a) & (a > b)
    swapped = xp.asarray([2, 0, 3, 1], dtype=order.dtype, device=order.device)
    return xp.where(confused[..., None], swapped, order)


_ORDERS: dict[Interpolation, Callable[[Any], Any]] = {
    Interpolation.SIMPLEX: order_axes,
    Interpolation.SRLUT: order_axes_srlut,
}


def walk_simplex(
    samples: Any, lattice: Lattice, interpolation: Interpolation = Interpolation.SIMPLEX
) -> tuple[Any, Any]:
    """Return the table rows of the vertices around `samples` and the order in which the walk takes the axes.

    A walk from the cell's lower corner adds one axis at a time, in descending order of the fractions.

    Parameters
    ----------
    samples : integer array, (..., axes)
        Codes 0 to 255, of a signed type at least 32 bits wide.
    lattice : Lattice
    interpolation : Interpolation

    Returns
    -------
    rows : integer array, (..., axes + 1)
        Flat indices of the vertices.
    order : integer array, (..., axes)
        Axis of each step of the walk.
    """
    xp = array_api_compat.array_namespace(samples)
    cells, fractions = lattice.split(samples)
    order = _ORDERS[interpolation](fractions)
    strides = xp.asarray(lattice.strides, dtype=samples.dtype, device=samples.device)
    first = xp.sum(cells * strides, axis=-1, keepdims=True, dtype=samples.dtype)
    steps = xp.take_along_axis(xp.broadcast_to(strides, samples.shape), order, axis=-1)
    return xp.concat([first, first + xp.cumulative_sum(steps, axis=-1, dtype=samples.dtype)], axis=-1), order


def weigh_vertices(fractions: Any, order: Any, step: int) -> Any:
    """Return the weights (..., axes + 1) of the vertices of a walk: each is the drop of the ordered fractions there.

    Kasson et al., "Performing color space conversions with three-dimensional linear interpolation", 1995, for three
    axes; Jo and Kim, CVPR 2021, supplement, for four.

    Parameters
    ----------
    fractions : array, (..., axes)
        0 to step, integers or floats (through which torch differentiates).
    order : integer array, (..., axes)
        From `walk_simplex`.
    step : int
        The lattice's; the weights sum to it.
    """
    xp = array_api_compat.array_namespace(fractions)
    ordered = xp.take_along_axis(fractions, order, axis=-1)
    end = fractions[..., :1]
    above = xp.concat([xp.full_like(end, step), ordered], axis=-1)
    below = xp.concat([ordered, xp.zeros_like(end)], axis=-1)
    return above - below


def simplex_terms(
    samples: Any, lattice: Lattice, interpolation: Interpolation = Interpolation.SIMPLEX
) -> tuple[Any, Any]:
    """Return the table rows and integer weights whose weighted sum interpolates at `samples`.

    Parameters
    ----------
    samples, lattice, interpolation
        As in `walk_simplex`.

    Returns
    -------
    rows, weights : integer arrays, (..., axes + 1)
        Flat indices of the vertices, and weights in units of 1/step that sum to ``lattice.step``.
    """
    rows, order = walk_simplex(samples, lattice, interpolation)
    return rows, weigh_vertices(lattice.split(samples)[1], order, lattice.step)
