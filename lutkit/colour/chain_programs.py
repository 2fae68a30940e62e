"""Chains of colour LUTs and matrices as programs. Imports the runtime, `chain` and `programs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkit.colour.chain import ColourChain, Matrix, simplify
from lutkit.colour.programs import FAMILY, STRENGTH, make_lut_artefact
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.ops import Blend, ColourLookup, ColourMatrix
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.program import Colour, Program


def make_chain_artefact(
    chain: ColourChain,
    *,
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL,
    provenance: Mapping[str, Any] | None = None,
) -> Artefact:
    """Return the model of a chain: its steps one after another in float32, and a strength.

    A chain that is one LUT becomes the model of that LUT.

    Raises
    ------
    FormatError
        Where the chain is invalid.
    """
    chain.validate()
    steps = simplify(chain).steps
    if len(steps) == 1 and not isinstance(steps[0], Matrix):
        title = {"title": chain.title}
        return make_lut_artefact(steps[0], interpolation=interpolation, provenance={**title, **(provenance or {})})
    ops: list[ColourLookup | ColourMatrix | Blend] = []
    tables: dict[str, Any] = {}
    name = "image"
    for number, step in enumerate(steps, 1):
        output = f"step{number}"
        if isinstance(step, Matrix):
            ops.append(ColourMatrix(input=name, matrix=step.rows, offset=step.offset, output=output))
        else:
            curves = cube = None
            if step.curves:
                slot = f"{output}_curves"
                tables[slot] = np.ascontiguousarray(step.curves.values)
                curves = Curves(slot, step.curves.size, Domain(step.curves.low, step.curves.high))
            if step.cube:
                slot, domain = f"{output}_cube", Domain(step.cube.low, step.cube.high)
                tables[slot] = np.ascontiguousarray(step.cube.values.reshape(-1, 3))
                cube = Cube(slot, step.cube.size, domain=domain, interpolation=interpolation)
            ops.append(ColourLookup(input=name, curves=curves, cube=cube, output=output))
        name = output
    program = Program(
        family=FAMILY,
        task="look",
        ops=(*ops, Blend(base="image", changed=name, amount=STRENGTH.name, output="result")),
        colour=Colour.RGB,
        parameters=(STRENGTH,),
    )
    program.validate()
    return Artefact(program, tables, {"title": chain.title, **(provenance or {})})
