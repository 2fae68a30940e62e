"""A compiled model of low light for `check_gpu`: reflectance and illumination of two bilateral grids, lit and blended.

Imports the runtime; its kernels only where they run.
"""

from __future__ import annotations

import numpy as np

from lutkit_runtime.engine import Model
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import BilateralSlice, Blend, GridFusion, Illuminate, Op, Predictor
from lutkit_runtime.ops.bilateral_slice import Guide, GuideCurves
from lutkit_runtime.program import Colour, Parameter, Program

ROWS, COLUMNS, DEPTH = 16, 16, 8
ENTRIES = 257
PARAMETERS = (
    Parameter(name="gamma", default=0.2, low=0.0, high=1.0),
    Parameter(name="strength", default=0.8, low=0.0, high=2.0),
)
"""Their defaults are such that nothing is left out."""


def make_low_light(seed: int = 0) -> Model:
    """Return a model of random grids of the sizes that compiled models have, behind a network of next to nothing."""
    random = np.random.default_rng(seed)
    weight = random.uniform(-0.3, 0.3, (ROWS * COLUMNS, 3, 1, 1)).astype(np.float32)
    layers = (Layer("Conv", ("in", "weight"), "mixed"), Layer("Flatten", ("mixed",), "out", {"axis": 1}))
    written = write_graph(Graph(13, "in", (1, 3, 1, 1), "out", layers, {"weight": weight}), (1, len(weight)))
    network = np.frombuffer(written, np.uint8)[:, None]
    tables = {
        "network": network,
        "guide/mix": random.uniform(0.1, 0.4, (4, 3)).astype(np.float32),
        "guide/curves": (np.linspace(0, 1, ENTRIES)[:, None] ** np.array([0.5, 1, 2]) / 3).astype(np.float32),
        "guide/result": np.array([[0], [1]], np.float32),
    }
    guide = Guide("guide/mix", 3, GuideCurves("guide/curves", ENTRIES), GuideCurves("guide/result", 2))
    ops: list[Op] = [
        Predictor(
            input="image", output="weights", slot="network", graph_bytes=len(network), side=1, outputs=len(weight)
        )
    ]
    for name in ("reflectance", "illumination"):
        grid, slot = f"{name}/grid", f"{name}/columns"
        ops += [
            GridFusion(weights="weights", slot=slot, terms=1, rows=ROWS, columns=COLUMNS, depth=DEPTH, output=grid),
            BilateralSlice(input="image", grid=grid, guide=guide, output=name),
        ]
        maps = random.normal(0, 0.2, (2, DEPTH, 12)) + np.array([1, 0])[:, None, None] * np.eye(3, 4).reshape(-1)
        tables[slot] = maps.reshape(2, -1).astype(np.float32)
    ops += [
        Illuminate(reflectance="reflectance", illumination="illumination", gamma="gamma", is_root=True, output="lit"),
        Blend(base="image", changed="lit", amount="strength", output="result"),
    ]
    program = Program(family="check", task="lowlight", ops=tuple(ops), colour=Colour.RGB, parameters=PARAMETERS)
    return Model(program, tables)
