"""A model of relighting for tests: a network that sees a guide and two depth maps beside the picture."""

import numpy as np
from bilateral_models import walk_residues
from colour_models import STRENGTH, make_program
from msgspec.structs import replace

from lutkit_runtime.artefact import Artefact
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import Blend, Network, SelectPlanes
from lutkit_runtime.program import Companion

COMPANIONS = (
    Companion(name="guide", channels=3),
    Companion(name="depth", channels=1),
    Companion(name="guide_depth", channels=1),
)
WEIGHT = walk_residues((3, 8), -40, 60) / np.float32(128)
"""Of the eight channels in each of the three of the result, before the logistic function."""


def make_relighting(task: str = "relight") -> Artefact:
    """Return a model whose result is the logistic function of a mixture of what it sees at a pixel."""
    layers = (Layer("Conv", ("in", "weight"), "mixed"), Layer("Sigmoid", ("mixed",), "out"))
    arrays = {"weight": WEIGHT[:, :, None, None].astype(np.float32)}
    made = write_graph(Graph(13, "in", (1, 8, 8, 8), "out", layers, arrays), (1, 3, 8, 8))
    graph = np.frombuffer(made, np.uint8)[:, None].copy()
    names = tuple(each.name for each in COMPANIONS)
    network = Network(sources=("image", *names), slot="network", graph_bytes=len(graph), planes=3, output="planes")
    select = SelectPlanes(input="planes", planes=(0, 1, 2), output="relit")
    blend = Blend(base="image", changed="relit", amount="strength", output="result")
    program = replace(make_program(network, select, blend, parameters=(STRENGTH,)), companions=COMPANIONS, task=task)
    program.validate()
    return Artefact(program, {"network": graph}, {"task": task})


def mix_by_hand(image, guide, depth, guide_depth):
    """Return what the model makes of pictures (h, w[, 3]) of 0 to 1, uint8 (h, w, 3), from the definition."""
    seen = np.concatenate((image, guide, depth[..., None], guide_depth[..., None]), axis=2).astype(np.float64)
    return np.rint(255 / (1 + np.exp(-(seen @ WEIGHT.T)))).astype(np.uint8)
