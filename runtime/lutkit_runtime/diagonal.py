"""Diagonal-first compression: a fine lattice near the diagonal, a coarse one elsewhere. Floor 2: imports lattice, errors.

Samples that index a table of an image are alike, so that most of them lie near the lattice's diagonal (Li et al., "Look-Up
Table Compression for Efficient Image Restoration", CVPR 2024, section 3.1). Only the fine nodes there are kept, and the
rest of the table is one of larger steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import array_api_compat
import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.lattice import Lattice

MAX_ENTRIES = 1 << 25
"""Of the table that is compressed, in full."""


class Diagonal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a table is compressed.

    Parameters
    ----------
    width : int
        Fine nodes are kept where every index differs from the first by at most so many nodes, 1 to 4; samples are
        interpolated there where each differs from the first by at most so many steps.
    coarse : int
        Binary logarithm of the step of the other lattice; one to three more than that of the fine one.
    """

    width: int = 2
    coarse: int = 5

    def validate(self, owner: str, lattice: Lattice) -> None:
        """Raise ProgramError, naming the op, unless the fields fit a lattice of at least two axes."""
        if not 1 <= self.width <= 4 or not lattice.interval < self.coarse <= min(8, lattice.interval + 3):
            raise ProgramError(
                f"op '{owner}' keeps {self.width} nodes beside the diagonal and steps of {self.coarse} bits elsewhere; "
                f"1 to 4, and {lattice.interval + 1} to {min(8, lattice.interval + 3)} bits are possible"
            )
        if lattice.entries > MAX_ENTRIES:
            raise ProgramError(
                f"op '{owner}' compresses a table of {lattice.entries} entries; at most {MAX_ENTRIES} are possible: "
                "choose a larger interval"
            )
        if lattice.axes < 2:
            raise ProgramError(f"op '{owner}' compresses a table of one axis, which has no diagonal")

    def coarse_lattice(self, lattice: Lattice) -> Lattice:
        """Return the lattice away from the diagonal."""
        return Lattice(lattice.axes, self.coarse)

    def band_rows(self, lattice: Lattice) -> NDArray[np.int64]:
        """Return the rows of the fine lattice's table that are kept, ascending."""
        return _find_band(self.width, lattice.axes, lattice.interval)

    def entries(self, lattice: Lattice) -> int:
        """Return the rows of the compressed table: those of the band, then the coarse ones."""
        return len(self.band_rows(lattice)) + self.coarse_lattice(lattice).entries

    def near(self, samples: Any, lattice: Lattice) -> Any:
        """Return whether samples (..., axes) of a signed type are interpolated in the band, (...)."""
        reach = self.width * lattice.step
        apart = samples[..., 1:] - samples[..., :1]
        return ((apart <= reach) & (apart >= -reach)).all(-1)

    def reindex(self, rows: Any, lattice: Lattice) -> Any:
        """Return the rows of the compressed table for rows of the fine lattice's, the nearest for those left out.

        A walk through a cell can pass vertices outside the band, but only with weight 0; the clamped index keeps them
        inside the table.

        Parameters
        ----------
        rows : int64 array or tensor
        lattice : Lattice
        """
        xp = array_api_compat.array_namespace(rows)
        band = xp.asarray(self.band_rows(lattice), device=rows.device)
        return xp.clip(xp.searchsorted(band, rows), 0, len(band) - 1)


@lru_cache(maxsize=32)
def _find_band(width: int, axes: int, interval: int) -> NDArray[np.int64]:
    lattice = Lattice(axes, interval)
    apart = np.indices((2 * width + 1,) * (axes - 1)).reshape(axes - 1, -1) - width
    first = np.arange(lattice.nodes_per_axis)[:, None]
    others = first + apart[:, None, :]
    inside = ((others >= 0) & (others < lattice.nodes_per_axis)).all(axis=0)
    rows = first * lattice.strides[0] + np.tensordot(lattice.strides[1:], others, axes=1)
    return np.sort(rows[inside])
