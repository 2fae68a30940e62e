"""Diagonal-first tables as the kernels of a stage address them. Floor 4: imports ops and the primitives.

The rows of the band have no even strides in the compressed table. In memory they lie in a dense array with an axis for
the first index and one for the difference of every other index to it, which is linear in the indices: so the band is
one more lattice, with strides and an origin of its own. The coarse rows follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Lookup


@dataclass(frozen=True)
class Band:
    """Where the rows of a band lie in memory.

    Parameters
    ----------
    rows : int64, (rows in memory,)
        Row of the compressed table that each holds.
    places : int64, (rows of the band,)
        Where each row of the band lies.
    strides : tuple of int
        Of the indices of the fine lattice.
    origin : int
        Where the node of indices 0 lies.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    strides: tuple[int, ...]
    origin: int


@lru_cache(maxsize=32)
def lay_out_band(diagonal: Diagonal, lattice: Lattice) -> Band:
    """Return where the rows of a band lie.

    A walk along the simplex of a cell may pass nodes one beyond the band on either side, with weight 0: there is room
    for these, too, and they hold what `Diagonal.reindex` gives them.
    """
    differences = 2 * diagonal.width + 3
    others = lattice.axes - 1
    powers = [differences ** (others - 1 - axis) for axis in range(others)]
    first, *rest = np.indices((lattice.nodes_per_axis, *(differences,) * others)).reshape(lattice.axes, -1)
    indices = np.stack([first, *(first + part - diagonal.width - 1 for part in rest)])
    exists = ((indices >= 0) & (indices < lattice.nodes_per_axis)).all(axis=0)
    flat = np.where(exists, np.array(lattice.strides) @ indices, 0)
    band = diagonal.band_rows(lattice)
    rows = np.minimum(np.searchsorted(band, flat), len(band) - 1)
    places = np.flatnonzero(exists & (band[rows] == flat))
    strides = (differences**others - sum(powers), *powers)
    return Band(rows, places, strides, (diagonal.width + 1) * sum(powers))


def count_rows(lookup: Lookup) -> int:
    """Return how many rows a lookup's table has in memory."""
    return lookup.entries if lookup.diagonal is None else len(lay_out_rows(lookup))


def lay_out_rows(lookup: Lookup) -> NDArray[np.int64]:
    """Return the row of a lookup's diagonal-first table that every row in memory holds."""
    assert lookup.diagonal is not None
    band = lay_out_band(lookup.diagonal, lookup.lattice)
    return np.concatenate([band.rows, np.arange(len(band.places), lookup.entries)])


def spread_table(lookup: Lookup, table: NDArray[Any]) -> NDArray[Any]:
    """Return a lookup's table as it lies in memory."""
    return table if lookup.diagonal is None else table[lay_out_rows(lookup)]


def gather_gradient(lookup: Lookup, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the gradient to a lookup's table from that to the rows in memory; nodes beyond the band receive none."""
    if lookup.diagonal is None:
        return gradient
    band = lay_out_band(lookup.diagonal, lookup.lattice)
    return np.concatenate([gradient[band.places], gradient[len(band.rows) :]])


def gather_touched(lookup: Lookup, seen: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the rows of a lookup's table, ascending, of which any row in memory has been seen."""
    rows = np.flatnonzero(seen)
    return rows if lookup.diagonal is None else np.unique(lay_out_rows(lookup)[rows])
