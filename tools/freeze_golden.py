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
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import BilateralSlice, Blend, ColourLookup, ColourMatrix, GridFusion, Illuminate, Op, Predictor
from lutkit_runtime.ops.bilateral_slice import Guide, GuideCurves
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.ops.predictor import Sampling
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
GAMMA = Parameter(name="gamma", default=0.25, low=0.0, high=1.0)
"""Its default makes a table that no library rounds."""
CODED = TableCoding(Storage.INT8, offset=0.5, step=1 / 256)


def build_colours(*ops: Op, parameters: tuple[Parameter, ...] = ()) -> Program:
    """Return a program for colours."""
    program = Program(
        family="test", task="look", ops=ops, output=ops[-1].output, colour=Colour.RGB, parameters=parameters
    )
    program.validate()
    return program


def walk(count: int, start: int = 0) -> NDArray[np.int64]:
    """Return numbers 0 to 254 that need no random generator, so that they are the same everywhere: quadratic residues."""
    places = np.arange(count, dtype=np.int64) + start
    return (places * places * 31 + places * 17) % 255


def write_network(outputs: int) -> NDArray[np.uint8]:
    """Return the bytes (bytes, 1) of a network that gives the same for every picture, so that no library rounds."""
    layers = (
        Layer("GlobalAveragePool", ("in",), "mean"),
        Layer("Conv", ("mean", "weight", "bias"), "mixed"),
        Layer("Flatten", ("mixed",), "out", {"axis": 1}),
    )
    bias = ((walk(outputs) - 127) / 256).astype(np.float32)
    arrays = {"weight": np.zeros((outputs, 3, 1, 1), np.float32), "bias": bias}
    graph = write_graph(Graph(13, "in", (1, 3, 6, 6), "out", layers, arrays), (1, outputs))
    return np.frombuffer(graph, np.uint8)[:, None]


TERMS, ROWS, COLUMNS, DEPTH = 3, 4, 5, 6
NETWORK = write_network(TERMS * ROWS * COLUMNS)
MIX = np.array([[0.5, 0.25, -0.125], [0.25, 1, 0.25], [0.125, -0.25, 0.875], [0, 0.0625, -0.0625]], np.float32)
SPREAD = np.array([[0], [0], [0.5], [1], [1]], np.float32)
GIVEN: dict[str, NDArray[Any]] = {"network": NETWORK, "guide/mix": MIX, "guide/result": SPREAD}
"""Tables that are not filled by the walk: a guide that reaches every level."""


def slice_grid(name: str) -> tuple[Op, Op]:
    """Return the fusion of a grid of its own columns, and its slice with the guide of all."""
    coding = TableCoding(Storage.INT8, offset=0.2, step=1 / 320)
    guide = Guide(
        mix="guide/mix",
        count=3,
        curves=GuideCurves("guide/curves", 9, TableCoding(Storage.INT8, offset=1 / 6, step=1 / 768)),
        result=GuideCurves("guide/result", 5),
    )
    sizes = {"terms": TERMS, "rows": ROWS, "columns": COLUMNS, "depth": DEPTH}
    fusion = GridFusion(weights="weights", slot=f"{name}/columns", coding=coding, output=f"{name}/grid", **sizes)
    return fusion, BilateralSlice(input="image", grid=fusion.output, guide=guide, output=name)


PROGRAMS |= {
    "colour-bilateral": build_colours(
        Predictor(
            input="image",
            output="weights",
            slot="network",
            graph_bytes=len(NETWORK),
            side=6,
            outputs=TERMS * ROWS * COLUMNS,
            sampling=Sampling.NEAREST,
        ),
        GridFusion(
            weights="weights",
            slot="columns",
            terms=TERMS,
            rows=ROWS,
            columns=COLUMNS,
            depth=DEPTH,
            coding=TableCoding(Storage.INT8, offset=0.2, step=1 / 320),
            output="grid",
        ),
        BilateralSlice(
            input="image",
            grid="grid",
            guide=Guide(
                mix="guide/mix",
                count=3,
                curves=GuideCurves("guide/curves", 9, TableCoding(Storage.INT8, offset=1 / 6, step=1 / 768)),
                result=GuideCurves("guide/result", 5),
            ),
            output="changed",
        ),
        Blend(base="image", changed="changed", amount="strength", output="result"),
        parameters=(STRENGTH,),
    ),
    "colour-light": build_colours(
        Predictor(
            input="image",
            output="weights",
            slot="network",
            graph_bytes=len(NETWORK),
            side=6,
            outputs=TERMS * ROWS * COLUMNS,
        ),
        *(op for name in ("reflectance", "illumination") for op in slice_grid(name)),
        Illuminate(
            reflectance="reflectance", illumination="illumination", gamma="gamma", is_root=True, output="changed"
        ),
        Blend(base="image", changed="changed", amount="strength", output="result"),
        parameters=(GAMMA, STRENGTH),
    ),
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
    """Return tables that follow from a walk: codes are -127 to 127, floats 0 to 254/254."""
    tables: dict[str, NDArray[Any]] = {}
    for number, (name, slot) in enumerate(sorted(program.slots.items())):
        steps = walk(slot.entries * slot.outputs, start=1000 * number).reshape(slot.shape)
        tables[name] = (steps - 127).astype(np.int8) if slot.dtype == "int8" else (steps / 254).astype(np.float32)
    return tables | {name: GIVEN[name] for name in program.slots.keys() & GIVEN.keys()}


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
