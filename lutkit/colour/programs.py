"""Colour LUTs as programs, and back: what turns a LUT file into a model. Imports the runtime and `lut`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from lutkit.colour.arithmetic import choose_arithmetic
from lutkit.colour.lut import ColourLut, make_triple
from lutkit.colour.lut import Cube as CubeValues
from lutkit.colour.lut import Curves as CurveValues
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.errors import FormatError
from lutkit_runtime.ops import Blend, ColourLookup
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.program import STRENGTH, Colour, Program
from lutkit_runtime.table_coding import Storage, encode_table

FAMILY = "colour-lut"
CURVES, CUBE = "curves", "cube"
"""Slots of a LUT's tables."""


def make_lut_artefact(
    lut: ColourLut,
    *,
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL,
    storage: Storage = Storage.FLOAT32,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Return the model of a LUT: curves and cube, and a strength.

    Parameters
    ----------
    lut : ColourLut
    interpolation : CubeInterpolation
    storage : Storage
        Type of the cube's entries in the file; integers cost up to half a step of accuracy.
    provenance : mapping, optional
    """
    lut.validate()
    tables: dict[str, Any] = {}
    curves = cube = None
    if lut.curves:
        tables[CURVES] = np.ascontiguousarray(lut.curves.values, np.float32)
        curves = Curves(CURVES, len(tables[CURVES]), Domain(make_triple(lut.curves.low), make_triple(lut.curves.high)))
    if lut.cube:
        size = lut.cube.values.shape[0]
        coding, tables[CUBE] = encode_table(lut.cube.values.reshape(-1, 3), storage)
        domain = Domain(make_triple(lut.cube.low), make_triple(lut.cube.high))
        cube = Cube(CUBE, size, domain=domain, interpolation=interpolation, coding=coding)
    lookup = choose_arithmetic(ColourLookup(input="image", curves=curves, cube=cube, output="graded"), tables)
    program = Program(
        family=FAMILY,
        task="look",
        ops=(
            lookup,
            Blend(base="image", changed="graded", amount=STRENGTH.name, output="result"),
        ),
        colour=Colour.RGB,
        parameters=(STRENGTH,),
    )
    program.validate()
    return Artefact(program, tables, {"title": lut.title, **(provenance or {})})


def extract_lut(artefact: Artefact) -> ColourLut:
    """Return the LUT of a model that is one; raises FormatError where the model is more than curves and a cube."""
    lookups = [op for op in artefact.program.ops if not isinstance(op, Blend)]
    if len(lookups) != 1 or not isinstance(lookups[0], ColourLookup) or (lookups[0].cube and lookups[0].cube.fused):
        raise FormatError(
            f"a model of family {artefact.program.family} is no single colour LUT: lutkit export --image makes one for "
            "a picture"
        )
    op = lookups[0]
    bound = op.bind({}, artefact.tables)
    title = artefact.provenance.get("title", "")
    lut = ColourLut(
        curves=CurveValues(bound.curves, op.curves.domain.low, op.curves.domain.high)
        if op.curves and bound.curves is not None
        else None,
        cube=CubeValues(bound.cube.reshape(*(op.cube.size,) * 3, 3), op.cube.domain.low, op.cube.domain.high)
        if op.cube and bound.cube is not None
        else None,
        title=title if isinstance(title, str) else "",
    )
    lut.validate()
    return lut


def change_interpolation(artefact: Artefact, interpolation: CubeInterpolation) -> Artefact:
    """Return a model whose cubes are interpolated in another way.

    Raises FormatError where the model has no cube.
    """
    changed = False
    ops = []
    for op in artefact.program.ops:
        if isinstance(op, ColourLookup) and op.cube:
            changed = True
            cube = msgspec.structs.replace(op.cube, interpolation=interpolation)
            op = choose_arithmetic(
                msgspec.structs.replace(op, cube=cube, arithmetic=Arithmetic.FLOAT32), artefact.tables
            )
        ops.append(op)
    if not changed:
        raise FormatError(
            f"a model of family {artefact.program.family} has no cube to interpolate in: leave --interpolation out"
        )
    program = msgspec.structs.replace(artefact.program, ops=tuple(ops))
    return Artefact(program, artefact.tables, artefact.provenance)
