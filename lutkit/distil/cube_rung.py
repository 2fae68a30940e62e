"""The lowest rung: one colour LUT for all pictures, fitted in closed form. Imports the fit and colour LUTs; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkit.colour.lut import ColourLut
from lutkit.colour.programs import make_lut_artefact
from lutkit.colour.visits import count_visits, pack_visits, unpack_visits
from lutkit.distil.pairs import Pairs
from lutkit.distil.rung import Fitted, Scope, Work
from lutkit_runtime.artefact import read_artefact, write_artefact
from lutkit_runtime.table_coding import Storage

SIZE = 33
MOST_PIXELS = 1 << 16
"""Of a picture: so many are drawn of larger ones, and more would tell little more about its colours."""

_DRAWS = 5  # beside the run's seed


@dataclass(frozen=True)
class CubeRung:
    """One LUT of 33 nodes per axis, which the artefact looks up tetrahedrally."""

    name: str = "cube"
    scope: Scope = Scope.SET

    def fit(self, work: Work) -> Fitted:
        """Return the cube that fits all pairs best; see `lutkit.distil.cube_fit`."""
        if work.resume and work.run.table_file.is_file():
            artefact = read_artefact(work.run.table_file)
            return Fitted(artefact, _count_gaps(artefact.provenance, work.pairs))
        from lutkit.distil.cube_fit import CubeFit

        fit = CubeFit(SIZE)
        visits = np.zeros((SIZE - 1,) * 3, np.int64)
        rng = np.random.default_rng([work.seed, _DRAWS])
        for pair in (*work.pairs.fitted, *work.pairs.variants):
            colours, targets = (each.reshape(-1, 3) for each in pair.read())
            visits += count_visits(colours, SIZE)
            if len(colours) > MOST_PIXELS:
                drawn = rng.choice(len(colours), MOST_PIXELS, replace=False)
                colours, targets = colours[drawn], targets[drawn]
            fit.add(colours / 65535, targets / 65535)
        packed = {"visits": pack_visits(visits)}
        artefact = make_lut_artefact(
            ColourLut(cube=fit.solve(), title="distilled"), storage=Storage.INT16, provenance=packed
        )
        work.run.folder.mkdir(parents=True, exist_ok=True)
        write_artefact(work.run.table_file, artefact, overwrite=True)
        return Fitted(artefact, _count_gaps(packed, work.pairs))


def _count_gaps(provenance: Mapping[str, Any], pairs: Pairs) -> dict[str, Any]:
    """Return how many cells no pixel of a fitted photo fell into, and which part of the held-out pixels falls there."""
    visited = unpack_visits(provenance["visits"]) > 0
    held_out = np.sum([count_visits(pair.read()[0], SIZE) for pair in pairs.held_out], axis=0)
    return {
        "cells": visited.size,
        "cells_never_hit": int((~visited).sum()),
        "held_out_pixels_there": round(float(held_out[~visited].sum() / held_out.sum()), 6),
    }
