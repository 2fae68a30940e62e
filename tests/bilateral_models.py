"""Models of bilateral grids for tests: a small one that gives the same bytes everywhere, and strategies for any."""

import numpy as np
from colour_models import STRENGTH, FilledColours, make_program
from hypothesis import strategies as st
from numpy.typing import NDArray

from lutkit_runtime.artefact import Artefact
from lutkit_runtime.bilateral import GuideTables
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import BilateralSlice, Blend, ColourMatrix, GridFusion, Op, Predictor
from lutkit_runtime.ops.bilateral_slice import Guide, GuideCurves
from lutkit_runtime.ops.predictor import Sampling
from lutkit_runtime.table_coding import Storage, encode_table

IDENTITY = np.eye(3, 4, dtype=np.float32).reshape(-1)
"""The map (12,) that changes nothing."""


def write_network(side: int, outputs: int, seed: int, channels: int = 3) -> bytes:
    """Return the ONNX file of a network that averages a thumbnail and mixes its channels: weights of about 1."""
    random = np.random.default_rng(seed)
    weight = random.uniform(-0.3, 0.3, (outputs, channels)).astype(np.float32)
    return _write_mixture(side, weight, random.uniform(0.3, 0.9, outputs).astype(np.float32))


def write_constant_network(side: int, values: NDArray[np.float32], channels: int = 3) -> bytes:
    """Return the ONNX file of a network that gives these values, whatever it sees: the same on every machine."""
    return _write_mixture(side, np.zeros((len(values), channels), np.float32), values)


def _write_mixture(side: int, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> bytes:
    layers = (
        Layer("GlobalAveragePool", ("in",), "mean"),
        Layer("Conv", ("mean", "weight", "bias"), "mixed"),
        Layer("Flatten", ("mixed",), "out", {"axis": 1}),
    )
    arrays = {"weight": weight[:, :, None, None], "bias": bias}
    return write_graph(Graph(13, "in", (1, weight.shape[1], side, side), "out", layers, arrays), (1, len(bias)))


def walk_residues(shape: tuple[int, ...], low: int, high: int, start: int = 0) -> NDArray[np.int64]:
    """Return integers from `low` to `high` that need no random generator: a walk over quadratic residues."""
    places = np.arange(np.prod(shape), dtype=np.int64) + start
    return (low + (places * places * 31 + places * 17) % (high - low + 1)).reshape(shape)


def make_bilateral(
    rows: int = 3,
    columns: int = 2,
    depth: int = 4,
    storage: Storage = Storage.INT16,
    *,
    sampling: Sampling = Sampling.NEAREST,
) -> Artefact:
    """Return a model of a grid near the identity, of a guide of three curves, and of a strength.

    Its network gives the same weights for every picture, which are sums of powers of two.
    """
    weights = (walk_residues((2 * rows * columns,), -40, 40) / 64).astype(np.float32)
    graph = np.frombuffer(write_constant_network(5, weights), np.uint8)[:, None]
    table = walk_residues((3, depth, 12), -90, 90, 1000) / np.float32(512)
    table[0] += IDENTITY
    curves = np.linspace(0, 1, 9)[:, None] ** np.array([0.5, 1.0, 2.0]) / 3
    coded = [
        encode_table(values.astype(np.float32), each)
        for values, each in ((table.reshape(3, -1), storage), (curves, Storage.INT8))
    ]
    guide = Guide(
        mix="guide/mix",
        count=3,
        curves=GuideCurves("guide/curves", 9, coded[1][0]),
        result=GuideCurves("guide/result", 2),
    )
    program = make_program(
        Predictor(
            input="image",
            output="weights",
            slot="predictor",
            graph_bytes=len(graph),
            side=5,
            outputs=len(weights),
            sampling=sampling,
        ),
        GridFusion(
            weights="weights",
            slot="columns",
            terms=2,
            rows=rows,
            columns=columns,
            depth=depth,
            coding=coded[0][0],
            output="grid",
        ),
        BilateralSlice(input="image", grid="grid", guide=guide, output="changed"),
        Blend(base="image", changed="changed", amount="strength", output="result"),
        parameters=(STRENGTH,),
    )
    mix = np.array([[0.875, 0.125, 0], [0.0625, 1, 0], [-0.125, 0.25, 0.75], [0, -0.0625, 0.125]], np.float32)
    tables = {
        "predictor": graph.copy(),
        "columns": coded[0][1],
        "guide/mix": mix,
        "guide/curves": coded[1][1],
        "guide/result": np.array([[0], [1]], np.float32),
    }
    return Artefact(program, tables, {"licence": "MIT, für alle"})


def draw_guide(random: np.random.Generator, count: int, entries: int, results: int) -> GuideTables:
    """Return random tables of a guide, whose arguments and sums reach beyond 0 and 1 on both sides."""
    curves = np.cumsum(random.uniform(-0.2, 0.4, (entries, count)), axis=0) / count - 0.1
    result = random.uniform(0, 1, (results, 1))
    mix = random.uniform(-0.5, 0.9, (4, count))
    return GuideTables(*(np.ascontiguousarray(each, np.float32) for each in (mix, curves, result)))


SIDES = st.sampled_from((1, 1, 2, 3, 5, 8))
"""Of grids: those of one node are special."""


@st.composite
def bilateral_programs(draw: st.DrawFn) -> FilledColours:
    """Draw predictor, fusion and slice, often with a matrix before or after it, or a blend at the end."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns, depth, terms = draw(SIDES), draw(SIDES), draw(SIDES), draw(st.integers(1, 3))
    side, outputs = draw(st.integers(1, 7)), terms * rows * columns
    graph = np.frombuffer(write_network(side, outputs, int(random.integers(100))), np.uint8)[:, None]
    count, entries, results = draw(st.integers(1, 4)), draw(st.sampled_from((2, 3, 9))), draw(st.sampled_from((2, 6)))
    drawn = draw_guide(random, count, entries, results)
    values = {
        "columns": random.uniform(-0.4, 0.4, (terms + 1, depth, 12)).astype(np.float32),
        "guide/curves": drawn.curves,
        "guide/result": drawn.result,
    }
    values["columns"][0] += IDENTITY
    values["columns"] = values["columns"].reshape(terms + 1, -1)
    coded = {name: encode_table(table, draw(st.sampled_from(Storage))) for name, table in values.items()}
    guide = Guide(
        mix="guide/mix",
        count=count,
        curves=GuideCurves("guide/curves", entries, coded["guide/curves"][0]),
        result=GuideCurves("guide/result", results, coded["guide/result"][0]),
    )
    matrix = tuple(tuple(map(float, row)) for row in random.uniform(-0.5, 1.2, (3, 3)))
    source = draw(st.sampled_from(("image", "image", "mixed")))
    end = draw(st.sampled_from(("none", "blend", "matrix")))
    ops: list[Op] = [
        Predictor(
            input="image",
            output="weights",
            slot="predictor",
            graph_bytes=len(graph),
            side=side,
            outputs=outputs,
            sampling=draw(st.sampled_from(Sampling)),
        ),
        GridFusion(
            weights="weights",
            slot="columns",
            terms=terms,
            rows=rows,
            columns=columns,
            depth=depth,
            coding=coded["columns"][0],
            output="grid",
        ),
        BilateralSlice(input=source, grid="grid", guide=guide, output="changed"),
    ]
    if source == "mixed":
        ops.insert(draw(st.integers(0, 2)), ColourMatrix(input="image", matrix=matrix, output="mixed"))
    if end == "blend":
        ops.append(Blend(base="image", changed="changed", amount="strength", output="result"))
    elif end == "matrix":
        ops.append(ColourMatrix(input="changed", matrix=matrix, output="result"))
    program = make_program(*ops, parameters=(STRENGTH,))
    program.validate()
    tables = {"predictor": graph.copy(), "guide/mix": drawn.mix, **{name: table for name, (_, table) in coded.items()}}
    return FilledColours(program, tables)
