"""Freeze small models and the hashes of what they make of a fixed picture, for tests/test_golden.py.

Frozen data changes only through this tool, with a line in the changelog that says why: a model written years ago must
still give the same bytes. What is frozen stays as it is; only models that are new here are written.

    python tools/freeze_golden.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.families import mulut, srlut
from lutkit.families.spatial import read_patterns
from lutkit_runtime import Model
from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.ops import Blend, ColourLookup, ColourMatrix, Op
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.program import Colour, Parameter, Program
from lutkit_runtime.table_coding import Storage, TableCoding

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"

PROGRAMS: dict[str, Program] = {
    "mulut-sdy-x2-scale4": mulut.build_program(read_patterns("sdy"), stages=2, scale=4, interval=6),
    "mulut-eho-x1-scale1": mulut.build_program(read_patterns("eho"), stages=1, scale=1, interval=5, task="denoise"),
    "mulut-offsets-x3-scale2": mulut.build_program(
        read_patterns(["v", [[0, 0], [-1, 2], [1, -1]]]), stages=3, scale=2, interval=5
    ),
    "sr-lut-s-scale3": srlut.build_program("s", scale=3, interval=6),
    "sr-lut-s-scale2-compat": srlut.build_program("s", scale=2, interval=6, compat=True),
    "sr-lut-v-scale2": srlut.build_program("v", scale=2, interval=0),
}

STRENGTH = Parameter(name="strength", default=0.75, low=0.0, high=2.0)
CODED = TableCoding(Storage.INT8, offset=0.5, step=1 / 256)


def build_colours(*ops: Op, parameters: tuple[Parameter, ...] = ()) -> Program:
    """Return a program for colours."""
    program = Program(
        family="test", task="look", ops=ops, output=ops[-1].output, colour=Colour.RGB, parameters=parameters
    )
    program.validate()
    return program


PROGRAMS |= {
    "colour-packed": build_colours(
        ColourLookup(
            input="image",
            curves=Curves("curves", 19, coding=CODED),
            cube=Cube("cube", 9, coding=CODED),
            arithmetic=Arithmetic.PACKED,
            output="result",
        )
    ),
    "colour-float": build_colours(
        ColourLookup(
            input="image",
            cube=Cube("first", 5, coding=CODED, stretch=1.000001, interpolation=CubeInterpolation.TRILINEAR),
            output="looked",
        ),
        ColourMatrix(input="looked", matrix=((1.1, -0.1, 0.0), (0.05, 0.9, 0.05), (0.0, 0.25, 0.8)), output="mixed"),
        ColourLookup(
            input="mixed",
            curves=Curves("curves", 19, Domain((-0.1, 0.0, 0.0), (1.1, 1.0, 1.5))),
            cube=Cube("second", 6),
            output="graded",
        ),
        Blend(base="image", changed="graded", amount="strength", output="result"),
        parameters=(STRENGTH,),
    ),
}


def make_picture() -> NDArray[np.uint8]:
    """Return a fixed picture (23, 31, 3): ramps, an edge, saturated corners and a pattern of every fraction."""
    rows, columns = np.mgrid[0:23, 0:31]
    ramp = rows * 7 + columns * 5
    edge = np.where(columns > rows, 240, 12)
    pattern = (rows * 37 + columns * 101) % 256
    picture = np.stack([ramp % 256, edge, pattern], axis=-1).astype(np.uint8)
    picture[:3, :3], picture[-3:, -3:] = 255, 0
    return picture


def make_tables(program: Program) -> dict[str, NDArray[Any]]:
    """Return tables that need no random generator, so that they are the same everywhere: a quadratic residue walk.

    Codes are -127 to 127, floats 0 to 254/254.
    """
    tables: dict[str, NDArray[Any]] = {}
    for number, (name, slot) in enumerate(sorted(program.slots.items())):
        flat = np.arange(slot.entries * slot.outputs, dtype=np.int64) + 1000 * number
        walk = ((flat * flat * 31 + flat * 17) % 255).reshape(slot.entries, slot.outputs)
        tables[name] = (walk - 127).astype(np.int8) if slot.dtype == "int8" else (walk / 254).astype(np.float32)
    return tables


def hash_results(model: Model) -> str:
    """Return the SHA-256 of what a model makes of the picture; models of colours at every depth, one after another."""
    codes = make_picture()
    pictures: list[NDArray[Any]] = [codes]
    if model.program.colour is Colour.RGB:
        wide = codes.astype(np.uint16) * np.uint16(257) + np.uint16(3)
        pictures += [wide, wide.astype(np.float32) / np.float32(60000) - np.float32(0.05)]
    results = [model.apply(picture, backend="numpy") for picture in pictures]
    return hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest()


def main() -> None:
    """Write the models that are not frozen yet, and their hashes."""
    GOLDEN.mkdir(exist_ok=True)
    listed = GOLDEN / "outputs.json"
    hashes: dict[str, str] = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    for name, program in PROGRAMS.items():
        if name in hashes:
            continue
        tables = make_tables(program)
        write_artefact(GOLDEN / f"{name}.h5", Artefact(program, tables, {"made_by": "tools/freeze_golden.py"}))
        hashes[name] = hash_results(Model(program, tables))
    listed.write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
