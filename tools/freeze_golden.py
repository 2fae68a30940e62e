"""Freeze small models and the hashes of what they make of a fixed picture, for tests/test_golden.py.

Frozen data changes only through this tool, with a line in the changelog that says why: a model written years ago must
still give the same bytes.

    python tools/freeze_golden.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lutkit.families import mulut, srlut
from lutkit.families.spatial import read_patterns
from lutkit_runtime import Model
from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.program import Program

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


def make_picture() -> NDArray[np.uint8]:
    """Return a fixed picture (23, 31, 3): ramps, an edge, saturated corners and a pattern of every fraction."""
    rows, columns = np.mgrid[0:23, 0:31]
    ramp = rows * 7 + columns * 5
    edge = np.where(columns > rows, 240, 12)
    pattern = (rows * 37 + columns * 101) % 256
    picture = np.stack([ramp % 256, edge, pattern], axis=-1).astype(np.uint8)
    picture[:3, :3], picture[-3:, -3:] = 255, 0
    return picture


def make_tables(program: Program) -> dict[str, NDArray[np.int8]]:
    """Return tables that need no random generator, so that they are the same everywhere: a quadratic residue walk."""
    tables: dict[str, NDArray[np.int8]] = {}
    for number, (name, slot) in enumerate(sorted(program.slots.items())):
        flat = np.arange(slot.entries * slot.outputs, dtype=np.int64) + 1000 * number
        tables[name] = ((flat * flat * 31 + flat * 17) % 255 - 127).astype(np.int8).reshape(slot.entries, slot.outputs)
    return tables


def main() -> None:
    """Write every model and the hashes."""
    GOLDEN.mkdir(exist_ok=True)
    hashes: dict[str, str] = {}
    for name, program in PROGRAMS.items():
        tables = make_tables(program)
        write_artefact(
            GOLDEN / f"{name}.h5", Artefact(program, tables, {"made_by": "tools/freeze_golden.py"}), overwrite=True
        )
        result = Model(program, tables).apply(make_picture(), backend="numpy")
        hashes[name] = hashlib.sha256(result.tobytes()).hexdigest()
    (GOLDEN / "outputs.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
