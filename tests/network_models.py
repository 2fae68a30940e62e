"""Models for tests that see every pixel with a network, or pictures beside the picture: builders, strategies, an oracle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from bilateral_models import bilateral_programs, write_network
from colour_models import STRENGTH, FilledColours, make_program
from hypothesis import strategies as st
from illumination_models import GAMMA, make_compiled, make_lit
from numpy.typing import NDArray

from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import Blend, Illuminate, Network, Op, Predictor, SelectPlanes
from lutkit_runtime.program import Companion, Program

GUIDE, DEPTH = Companion(name="guide", channels=3), Companion(name="depth", channels=1)


@dataclass(frozen=True)
class Convolutions:
    """Convolutions one after the other, with a ReLU between two and a logistic function at the end.

    Attributes
    ----------
    weights : sequence of arrays (outputs, channels, side, side)
        Of odd sides.
    biases : sequence of arrays (outputs,)
    is_mirrored : bool
        Whether the picture goes on mirrored beyond its border, else in zeros.
    """

    weights: Sequence[NDArray[np.float32]] = field(repr=False)
    biases: Sequence[NDArray[np.float32]] = field(repr=False)
    is_mirrored: bool = False

    @property
    def reach(self) -> int:
        """Pixels around a pixel that its result depends on."""
        return sum(weight.shape[2] // 2 for weight in self.weights)

    def write(self, height: int = 8, width: int = 8, *, ends_in_relu: bool = False) -> NDArray[np.uint8]:
        """Return the ONNX file, for pictures of some size, as a table (bytes, 1)."""
        layers: list[Layer] = []
        arrays: dict[str, NDArray[Any]] = {}
        last = "in"
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            reach = weight.shape[2] // 2
            read = (f"weight{number}", f"bias{number}")
            arrays |= dict(zip(read, (weight, bias), strict=True))
            pads = (reach,) * 4
            if self.is_mirrored and reach:
                arrays[f"pads{number}"] = np.array((0, 0, reach, reach) * 2, np.int64)
                layers.append(Layer("Pad", (last, f"pads{number}"), f"larger{number}", {"mode": "reflect"}))
                last, pads = f"larger{number}", (0,) * 4
            layers.append(Layer("Conv", (last, *read), f"sum{number}", {"pads": pads}))
            last = f"made{number}"
            is_last = weight is self.weights[-1] and not ends_in_relu
            layers.append(Layer("Sigmoid" if is_last else "Relu", (f"sum{number}",), last))
        shapes = [(1, count, height, width) for count in (self.weights[0].shape[1], len(self.weights[-1]))]
        graph = Graph(13, "in", shapes[0], last, tuple(layers), arrays)
        return np.frombuffer(write_graph(graph, shapes[1]), np.uint8)[:, None].copy()

    def convolve(self, picture: NDArray[Any]) -> NDArray[np.float64]:
        """Return the planes (H, W, planes) of samples (H, W, channels) of 0 to 1, in float64, window by window."""
        values = picture.astype(np.float64)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            reach = weight.shape[2] // 2
            margins = ((reach, reach), (reach, reach), (0, 0))
            padded = np.pad(values, margins, mode="reflect" if self.is_mirrored else "constant")
            windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(0, 1))
            sums = np.einsum("hwcyx,ocyx->hwo", windows, weight.astype(np.float64)) + bias
            values = 1 / (1 + np.exp(-sums)) if weight is self.weights[-1] else sums.clip(0)
        return values


def draw_convolutions(
    random: np.random.Generator, channels: Sequence[int], sides: Sequence[int], *, is_mirrored: bool = False
) -> Convolutions:
    """Return convolutions of random weights, from so many channels to the next, with kernels of these sides."""
    weights, biases = [], []
    for taken, given, side in zip(channels[:-1], channels[1:], sides, strict=True):
        weights.append(random.normal(0, (taken * side * side) ** -0.5, (given, taken, side, side)).astype(np.float32))
        biases.append(random.uniform(-0.3, 0.3, given).astype(np.float32))
    return Convolutions(weights, biases, is_mirrored)


def make_network_op(
    table: NDArray[np.uint8], planes: int, sources: Sequence[str] = ("image",), **fields: Any
) -> Network:
    """Return the op "planes" that runs a network of the slot "network"."""
    op = Network(sources=tuple(sources), slot="network", graph_bytes=len(table), planes=planes, output="planes")
    return msgspec.structs.replace(op, **fields)


def make_planes_program(network: Network, *companions: Companion, numbers: tuple[int, int, int] = (0, 0, 0)) -> Program:
    """Return a program whose result are three of a network's planes."""
    select = SelectPlanes(input=network.output, planes=numbers, output="result")
    return add_companions(make_program(network, select), *companions)


def add_companions(program: Program, *companions: Companion) -> Program:
    """Return a program that is given pictures beside the picture."""
    return msgspec.structs.replace(program, companions=companions)


def make_companions(
    program: Program, height: int, width: int, seed: int = 0, depths: Sequence[str] = ("uint16", "float32", "uint8")
) -> dict[str, NDArray[Any]]:
    """Return random pictures (H, W, channels) that stand beside a picture of a size, each of the next depth."""
    random = np.random.default_rng((seed, 77))
    made: dict[str, NDArray[Any]] = {}
    for number, each in enumerate(program.companions):
        values = random.uniform(0, 1, (height, width, each.channels))
        depth = np.dtype(depths[number % len(depths)])
        peak = 1.0 if depth.kind == "f" else np.iinfo(depth).max
        made[each.name] = (values * peak).astype(depth)
    return made


COMPANIONS = st.sampled_from(((), (DEPTH,), (GUIDE,), (GUIDE, DEPTH)))


@st.composite
def network_programs(draw: st.DrawFn) -> FilledColours:
    """Draw a network, in tiles or whole, often of several pictures; then planes of it, often light and a blend."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    companions, planes = draw(COMPANIONS), draw(st.integers(1, 5))
    sides = draw(st.lists(st.sampled_from((1, 3, 5)), min_size=1, max_size=2))
    taken = 3 + sum(each.channels for each in companions)
    made = draw_convolutions(random, (taken, *[4] * (len(sides) - 1), planes), sides, is_mirrored=draw(st.booleans()))
    table = made.write()
    is_whole = draw(st.booleans())
    network = make_network_op(
        table,
        planes,
        ("image", *(each.name for each in companions)),
        reach=None if is_whole else made.reach + draw(st.integers(0, 2)),
        multiple=draw(st.sampled_from((1, 2, 8))) if is_whole else 1,
        smallest=draw(st.sampled_from((3, 9))) if made.is_mirrored else draw(st.sampled_from((1, 2, 9))),
    )
    numbers = st.tuples(*[st.integers(0, planes - 1)] * 3)
    ops: list[Op] = [network, SelectPlanes(input="planes", planes=draw(numbers), output="one")]
    if draw(st.booleans()):
        ops.append(SelectPlanes(input="planes", planes=draw(numbers), output="two"))
        light = Illuminate(
            reflectance="one", illumination="two", gamma="gamma", is_root=draw(st.booleans()), output="lit"
        )
        ops.append(light)
    if draw(st.booleans()):
        ops.append(Blend(base="image", changed=ops[-1].output, amount="strength", output="result"))
    program = add_companions(make_program(*ops, parameters=(GAMMA, STRENGTH)), *companions)
    program.validate()
    return FilledColours(program, {"network": table})


@st.composite
def low_light_programs(draw: st.DrawFn) -> FilledColours:
    """Draw two grids of one vector of weights, two slices of one guide, and what lights one with the other."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    artefact = make_compiled(draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    tables: dict[str, NDArray[Any]] = dict(artefact.tables)
    for name in ("reflectance/columns", "illumination/columns", "guide/curves"):
        tables[name] = tables[name] + random.uniform(-0.1, 0.1, tables[name].shape).astype(np.float32)
    (lit,) = (op for op in artefact.program.ops if isinstance(op, Illuminate))
    changed = msgspec.structs.replace(lit, is_root=draw(st.booleans()))
    return FilledColours(artefact.program.replace_ops(lambda op: changed if op is lit else op), tables)


@st.composite
def guided_programs(draw: st.DrawFn) -> FilledColours:
    """Draw a model of a bilateral grid whose predictor sees pictures beside the picture."""
    filled, companions = draw(bilateral_programs()), draw(COMPANIONS.filter(bool))
    return guide_predictor(filled, companions, draw(st.integers(0, 99)))


def guide_predictor(filled: FilledColours, companions: Sequence[Companion], seed: int) -> FilledColours:
    """Return a model whose predictor, a new network, sees pictures beside the picture."""
    (predictor,) = (op for op in filled.program.ops if isinstance(op, Predictor))
    channels = 3 + sum(each.channels for each in companions)
    graph = write_network(predictor.side, predictor.outputs, seed, channels)
    table = np.frombuffer(graph, np.uint8)[:, None].copy()
    changed = msgspec.structs.replace(
        predictor, companions=tuple(each.name for each in companions), graph_bytes=len(table)
    )
    program = filled.program.replace_ops(lambda op: changed if op is predictor else op)
    program = add_companions(program, *companions)
    program.validate()
    return FilledColours(program, {**filled.tables, predictor.slot: table})


LIT = st.booleans().map(lambda is_root: make_lit(is_root=is_root)).map(lambda each: FilledColours(each.program, {}))
"""The picture itself, lit by a mixture of its channels."""


def strip_depths(companions: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return pictures of one channel as (H, W)."""
    return {name: each[..., 0] if each.shape[2] == 1 else each for name, each in companions.items()}
