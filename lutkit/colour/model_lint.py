"""The cubes of a model, checked: of a LUT, of an adaptive model for one picture, or its basis tables.

Imports the runtime, `baking` and `lint`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.baking import bake_lut, find_interpolation, needs_picture
from lutkit.colour.findings import Finding
from lutkit.colour.lint import lint_basis, lint_lut
from lutkit.colour.visits import unpack_visits
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError
from lutkit_runtime.ops import TableFusion

VISITS = "visits"
"""Entry of a model's provenance with the cells that its training colours visited (`lutkit.colour.visits`)."""


@dataclass(frozen=True)
class CheckedTable:
    """What was found in one cube of a model.

    Attributes
    ----------
    name : str
        ``lut`` for the whole, ``fused`` for what an adaptive model makes for a picture, or the slot of a basis table.
    findings : tuple of Finding
    """

    name: str
    findings: tuple[Finding, ...]


def lint_model(artefact: Artefact, pixels: NDArray[Any] | None = None, *, bits: int = 8) -> list[CheckedTable]:
    """Check the cubes of a model of colours.

    Parameters
    ----------
    artefact : Artefact
    pixels : uint8, uint16 or float32, (H, W, 3) or (H, W, 4), optional
        A picture for which an adaptive model makes its cube; without it each of its basis tables is checked.
    bits : int
        As in `lint_cube`.

    Raises
    ------
    FormatError
        Where the model is none of colours.
    """
    if pixels is None and needs_picture(artefact.program):
        tables = list(_lint_bases(artefact))
        if tables:
            return tables
    lut = bake_lut(artefact, pixels)
    # Where curves come first, the cells of the cube are not those of the colours that go in.
    size = None if lut.cube is None or lut.curves is not None else lut.cube.size
    name = "fused" if needs_picture(artefact.program) else "lut"
    visits, interpolation = _read_visits(artefact, size), find_interpolation(artefact.program)
    return [CheckedTable(name, lint_lut(lut, visits=visits, bits=bits, interpolation=interpolation))]


def _lint_bases(artefact: Artefact) -> Iterator[CheckedTable]:
    for op in artefact.program.ops:
        if isinstance(op, TableFusion):
            visits = _read_visits(artefact, op.size)
            for basis in op.bases:
                nodes = basis.coding.decode(artefact.tables[basis.slot])
                yield CheckedTable(basis.slot, lint_basis(nodes.reshape(*(op.size,) * 3, 3), visits=visits))


def _read_visits(artefact: Artefact, size: int | None) -> NDArray[np.int64] | None:
    """Return the visited cells of a cube of this size; None where the model does not say."""
    packed = artefact.provenance.get(VISITS)
    if size is None or not isinstance(packed, dict):
        return None
    try:
        visits = unpack_visits(packed)
    except FormatError:
        return None  # written by someone else: the provenance may say anything
    return visits if len(visits) == size - 1 else None
