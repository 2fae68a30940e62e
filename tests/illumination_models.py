"""Models of low light for tests: reflectance times brightened illumination, of bilateral grids or of a network."""

import numpy as np
from bilateral_models import IDENTITY, walk_residues, write_constant_network
from colour_models import STRENGTH, make_program
from msgspec.structs import replace

from lutkit_runtime.artefact import Artefact
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import (
    BilateralSlice,
    Blend,
    ColourMatrix,
    GridFusion,
    Illuminate,
    Network,
    Predictor,
    SelectPlanes,
)
from lutkit_runtime.ops.bilateral_slice import Guide, GuideCurves
from lutkit_runtime.program import Companion, Parameter

GAMMA = Parameter(name="gamma", default=0.2, low=0.0, high=1.0)


def make_compiled(rows: int = 2, columns: int = 3, depth: int = 4) -> Artefact:
    """Return a model of two grids, from one vector of weights, that are sliced with one guide.

    Its network gives the same weights for every picture, which are sums of powers of two.
    """
    weights = (walk_residues((2 * rows * columns,), -40, 40) / 64).astype(np.float32)
    graph = np.frombuffer(write_constant_network(5, weights), np.uint8)[:, None]
    tables = {
        "predictor": graph.copy(),
        "guide/mix": np.array([[0.875], [0.125], [-0.0625], [0.03125]], np.float32),
        "guide/curves": np.linspace(0, 1, 5, dtype=np.float32)[:, None] ** 2,
        "guide/result": np.array([[0], [1]], np.float32),
    }
    guide = Guide("guide/mix", 1, GuideCurves("guide/curves", 5), GuideCurves("guide/result", 2))
    ops = [
        Predictor(
            input="image", output="weights", slot="predictor", graph_bytes=len(graph), side=5, outputs=len(weights)
        )
    ]
    for number, name in enumerate(("reflectance", "illumination")):
        grid = {"rows": rows, "columns": columns, "depth": depth, "terms": 2, "output": f"{name}/grid"}
        ops.append(GridFusion(weights="weights", slot=f"{name}/columns", **grid))
        ops.append(BilateralSlice(input="image", grid=f"{name}/grid", guide=guide, output=name))
        nodes = (walk_residues((3, depth, 12), -90, 90, 1000 * number) / np.float32(512)).astype(np.float32)
        nodes[0] += IDENTITY
        tables[f"{name}/columns"] = nodes.reshape(3, -1)
    return _finish(ops, tables, is_root=True)


def make_exact(reach: int | None = 1) -> Artefact:
    """Return a model of a network of four planes, illumination and reflectance: a window of 3 x 3."""
    weight = (walk_residues((4, 3, 3, 3), -20, 40) / 256).astype(np.float32)
    layers = (
        Layer("Conv", ("in", "weight"), "mixed", {"pads": (1, 1, 1, 1)}),
        Layer("Sigmoid", ("mixed",), "out"),
    )
    arrays = {"weight": weight}
    graph = np.frombuffer(write_graph(Graph(13, "in", (1, 3, 8, 8), "out", layers, arrays), (1, 4, 8, 8)), np.uint8)
    network = Network(
        sources=("image",), slot="network", graph_bytes=graph.size, planes=4, reach=reach, output="planes"
    )
    ops = [
        network,
        SelectPlanes(input="planes", planes=(1, 2, 3), output="reflectance"),
        SelectPlanes(input="planes", planes=(0, 0, 0), output="illumination"),
    ]
    return _finish(ops, {"network": graph[:, None].copy()}, is_root=False)


def make_lit(*, is_root: bool) -> Artefact:
    """Return a model that lights a mixture of the picture's channels with another one."""
    program = make_program(
        ColourMatrix(input="image", matrix=((1.2, 0, -0.1), (0, 0.9, 0), (0.3, 0, 0.5)), output="light"),
        Illuminate(reflectance="image", illumination="light", gamma="gamma", is_root=is_root, output="lit"),
        parameters=(GAMMA,),
    )
    program.validate()
    return Artefact(program, {}, {})


def make_guided() -> Artefact:
    """Return a model of grids whose network sees a depth map beside the picture."""
    artefact = make_compiled(1, 2, 2)
    predictor, *ops = artefact.program.ops
    weight = (walk_residues((4, 4, 1, 1), -40, 40) / 64).astype(np.float32)
    layers = (Layer("Conv", ("in", "weight"), "mixed"), Layer("Flatten", ("mixed",), "out", {"axis": 1}))
    made = write_graph(Graph(13, "in", (1, 4, 1, 1), "out", layers, {"weight": weight}), (1, 4))
    graph = np.frombuffer(made, np.uint8)[:, None].copy()
    predictor = replace(predictor, companions=("depth",), graph_bytes=len(graph), side=1)
    program = replace(artefact.program, ops=(predictor, *ops), companions=(Companion(name="depth", channels=1),))
    program.validate()
    return Artefact(program, {**artefact.tables, "predictor": graph}, {})


def _finish(ops, tables, *, is_root: bool) -> Artefact:
    """Return a model that lights and blends what the ops make."""
    program = make_program(
        *ops,
        Illuminate(
            reflectance="reflectance", illumination="illumination", gamma="gamma", is_root=is_root, output="lit"
        ),
        Blend(base="image", changed="lit", amount="strength", output="result"),
        parameters=(GAMMA, STRENGTH),
    )
    program.validate()
    return Artefact(program, tables, {})
