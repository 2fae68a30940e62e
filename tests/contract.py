"""What every op and every family is held to: a small case of each, for `test_contract.py`.

An op or a family that is added needs an entry here: the tests say so where it is missing. Imports torch inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec
import numpy as np
from colour_models import colour_programs, identity_nodes, make_adaptive, make_program
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import fill_tables, fill_thresholds, patterns, stages

from lutkit.configuration import AnyConfig
from lutkit.families import FAMILIES, find_family
from lutkit.recipe import ColourRecipe, Phase, Recipe, Schedule
from lutkit.run import Run
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import (
    Add,
    Blend,
    ColourLookup,
    ColourMatrix,
    Ensemble,
    Lookup,
    Op,
    Predictor,
    ReconstructedConvolution,
    Requantise,
    TableFusion,
)
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import IndexPattern
from lutkit_runtime.program import Parameter, Program
from lutkit_runtime.table_coding import Storage

Image = NDArray[Any]

OPS: tuple[type[Any], ...] = get_args(Op)
"""Every op that a program may hold."""

NOT_A_NUMBER = float("nan")


@dataclass(frozen=True)
class Example:
    """A program with its tables."""

    program: Program
    tables: Mapping[str, NDArray[Any]] = field(repr=False)


@dataclass(frozen=True)
class OpCase:
    """How an op is drawn, and what its fields must not be.

    Attributes
    ----------
    programs : strategy of Example
        Valid programs that hold the op.
    broken : tuple of mappings
        Each is fields that, put into any op drawn, must be refused.
    """

    programs: st.SearchStrategy[Example]
    broken: tuple[Mapping[str, Any], ...]


@st.composite
def _draw_lookups(draw: st.DrawFn) -> Example:
    samples = draw(st.integers(1, 4))
    lookup = Lookup(
        output="sum",
        input="image",
        slot="stage1/table",
        pattern=draw(patterns(samples, reach=3)),
        lattice=Lattice(samples, draw(st.integers(5, 8))),
        block=draw(st.integers(1, 8)),
        padding=draw(st.sampled_from(Padding)),
        interpolation=draw(st.sampled_from(Interpolation)) if samples == 4 else Interpolation.SIMPLEX,
    )
    return _complete(draw, lookup, Requantise(output="result", input="sum", bias=0, divisor=lookup.lattice.step))


@st.composite
def _draw_sums(draw: st.DrawFn) -> Example:
    add = Add(output="sum", terms=("image",) * draw(st.integers(1, 4)))
    return _complete(draw, add, Requantise(output="result", input="sum", bias=0, divisor=len(add.terms)))


@st.composite
def _draw_roundings(draw: st.DrawFn) -> Example:
    bias, divisor = draw(st.integers(-(2**20), 2**20)), draw(st.integers(1, 300))
    return _complete(draw, Requantise(output="result", input="image", bias=bias, divisor=divisor))


@st.composite
def _draw_ensembles(draw: st.DrawFn) -> Example:
    return _complete(draw, *draw(stages(blocks=(1, 3))))


@st.composite
def _draw_convolutions(draw: st.DrawFn) -> Example:
    window = draw(st.sampled_from((3, 5, 7, 9)))
    op = ReconstructedConvolution(
        output=draw(st.sampled_from(("result", "codes"))),
        input="image",
        slot="stage1/window",
        post="stage1/window/thresholds",
        window=window,
        first=draw(st.integers(1 - window, 0)),
        storage=draw(st.sampled_from(("int16", "int8"))),
    )
    rest = draw(stages(source="codes", blocks=(1,))) if op.output == "codes" else ()
    return _complete(draw, op, *rest)


def _complete(draw: st.DrawFn, *ops: Op) -> Example:
    program = Program(family="test", task="sr", ops=ops)
    return Example(program, fill_tables(program, draw(st.integers(0, 2**32 - 1))))


def _triples(low: float, high: float) -> st.SearchStrategy[tuple[float, float, float]]:
    return st.tuples(*[st.floats(low, high, width=32)] * 3)


def _matrices(output: str) -> st.SearchStrategy[ColourMatrix]:
    rows = st.tuples(*[_triples(-2, 2)] * 3)
    return st.builds(ColourMatrix, input=st.just("image"), matrix=rows, offset=_triples(-1, 1), output=st.just(output))


def _mix(matrix: ColourMatrix, amount: float) -> Example:
    strength = Parameter(name="strength", default=amount, low=0.0, high=2.0)
    blend = Blend(base="image", changed=matrix.output, amount="strength", output="result")
    return Example(make_program(matrix, blend, parameters=(strength,)), {})


def _lookups_of_colours() -> st.SearchStrategy[Example]:
    drawn = colour_programs().filter(lambda each: any(isinstance(op, ColourLookup) for op in each.program.ops))
    return drawn.map(lambda each: Example(each.program, each.tables))


ADAPTIVE = st.integers(2, 5).map(make_adaptive).map(lambda artefact: Example(artefact.program, artefact.tables))

OP_CASES: dict[type[Any], OpCase] = {
    Lookup: OpCase(
        _draw_lookups(), ({"block": 0}, {"block": 9}, {"pattern": IndexPattern(())}, {"lattice": Lattice(5, 4)})
    ),
    Add: OpCase(_draw_sums(), ({"terms": ()},)),
    Requantise: OpCase(_draw_roundings(), ({"divisor": 0}, {"divisor": (1 << 24) + 1}, {"bias": (1 << 30) + 1})),
    ReconstructedConvolution: OpCase(
        _draw_convolutions(),
        (
            {"window": 4},
            {"window": 11},
            {"first": 1},
            {"first": -9},
            {"storage": "int32"},
            {"unit": 0.0},
            {"unit": NOT_A_NUMBER},
            {"unit": 2.0**31},
            {"post": "stage1/window"},
        ),
    ),
    Ensemble: OpCase(_draw_ensembles(), ({"body": ()}, {"input": "nothing"})),
    ColourLookup: OpCase(
        _lookups_of_colours(),
        (
            {"curves": None, "cube": None},
            {"curves": Curves("other", 1)},
            {"curves": Curves("other", (1 << 16) + 1)},
            {"cube": Cube("other", 1)},
            {"cube": Cube("other", 130)},
            {"cube": Cube("other", 2, stretch=0.9)},
            {"cube": Cube("other", 2, stretch=NOT_A_NUMBER)},
            {"cube": Cube("other", 2, domain=Domain((0.0, 1.0, 0.0), (1.0, 1.0, 1.0)))},
            {"cube": Cube("other", 2, domain=Domain((0.0, NOT_A_NUMBER, 0.0), (1.0, 1.0, 1.0)))},
            {"curves": Curves("other", 2), "cube": Cube("other", 2)},
        ),
    ),
    ColourMatrix: OpCase(
        _matrices("result").map(lambda op: Example(make_program(op), {})),
        (
            {"offset": (NOT_A_NUMBER, 0.0, 0.0)},
            {"offset": (0.0, 2e6, 0.0)},
            {"matrix": ((0.0, 0.0, float("inf")),) * 3},
        ),
    ),
    Blend: OpCase(
        st.builds(_mix, _matrices("mixed"), st.sampled_from((0.0, 0.3, 1.0, 1.7))),
        ({"base": "one", "changed": "one"},),
    ),
    TableFusion: OpCase(
        ADAPTIVE,
        (
            {"size": 1},
            {"size": 130},
            {"bases": ()},
            {"bases": (BasisTable("a"),) * 2},
            {"bases": (BasisTable("a"),) * 65},
        ),
    ),
    Predictor: OpCase(ADAPTIVE, ({"side": 0}, {"side": 1025}, {"outputs": 0}, {"outputs": 4097}, {"graph_bytes": 0})),
}
"""Every op by its class."""


def case_of_op(kind: type[Any]) -> OpCase:
    """Return the case of an op; fails where there is none."""
    assert kind in OP_CASES, (
        f"the op {kind.__name__} has no case: add one to OP_CASES in tests/contract.py, with a strategy of programs that "
        "hold it and fields that it must refuse"
    )
    return OP_CASES[kind]


@dataclass(frozen=True)
class FamilyCase:
    """A family at its smallest, and what its training side promises.

    Attributes
    ----------
    config : record of the family's
    recipe : Schedule
        One step on pictures of 32 x 32 pixels.
    storages : tuple of str or None
        What `lutkit transfer --storage` may say.
    """

    config: Any
    recipe: Schedule
    storages: tuple[str | None, ...] = (None,)


PATCHES = Recipe(
    steps=1, batch=1, crop=8, learning_rate=1e-3, final_rate=1e-3, validate_every=1, phases=(Phase(interval=6),)
)
"""One step on patches, for families of spatial tables."""
PICTURES = ColourRecipe(steps=1, batch=1, learning_rate=1e-3, final_rate=1e-3, validate_every=1)
"""One step on whole pictures, for families of colours."""


def shrink(family: str, **fields: Any) -> Any:
    """Return the configuration of a family with some fields replaced."""
    return msgspec.structs.replace(find_family(family).defaults, **fields)


FAMILY_CASES: dict[str, Callable[[], FamilyCase]] = {
    "mulut": lambda: FamilyCase(
        shrink("mulut", patterns=("v", ((0, 0), (1, 2))), stages=2, scale=2, interval=6, width=8), PATCHES
    ),
    "sr-lut": lambda: FamilyCase(shrink("sr-lut", patterns=("f",), scale=2, interval=6, width=8), PATCHES),
    "adaptive-3dlut": lambda: FamilyCase(
        shrink("adaptive-3dlut", luts=2, size=5, predictor="pooled", spread=0.1),
        PICTURES,
        storages=(None, "int16", "int8"),
    ),
}
"""Every family by its name."""


def case_of_family(name: str) -> FamilyCase:
    """Return the case of a family; fails where there is none."""
    assert name in FAMILIES
    assert name in FAMILY_CASES, (
        f"the family {name} has no case: add one to FAMILY_CASES in tests/contract.py, with its smallest configuration "
        "and a recipe of one step"
    )
    return FAMILY_CASES[name]()


def fill_program(program: Program, seed: int) -> Example:
    """Return a program with random tables of every type in its slots, and random networks in those of predictors."""
    random = np.random.default_rng(seed)
    ops: list[Op] = []
    tables: dict[str, NDArray[Any]] = {}
    for op in program.ops:
        if isinstance(op, Predictor):
            graph = np.frombuffer(write_network(op.side, op.outputs, seed), np.uint8)[:, None]
            op, tables[op.slot] = msgspec.structs.replace(op, graph_bytes=len(graph)), graph
        ops.append(op)
    for name, slot in program.slots.items():
        if slot.dtype == "float32":
            size = slot.axes[0]
            shape = (size**3, 3) if slot.shape == (size**3, 3) else slot.shape
            noise = random.uniform(-0.2, 0.2, shape).astype(np.float32)
            tables[name] = noise + identity_nodes(size) if shape == (size**3, 3) else noise
        elif name not in tables:
            limits = np.iinfo(slot.dtype)
            tables[name] = random.integers(limits.min, limits.max, slot.shape, slot.dtype, endpoint=True)
    tables |= fill_thresholds(program, random)
    return Example(msgspec.structs.replace(program, ops=tuple(ops)), tables)


def write_network(side: int, outputs: int, seed: int) -> bytes:
    """Return the ONNX file of a network that averages a thumbnail and mixes its channels: weights of about 1."""
    random = np.random.default_rng(seed)
    arrays = {
        "weight": random.uniform(-0.3, 0.3, (outputs, 3, 1, 1)).astype(np.float32),
        "bias": random.uniform(0.3, 0.9, outputs).astype(np.float32),
    }
    layers = (
        Layer("GlobalAveragePool", ("in",), "mean"),
        Layer("Conv", ("mean", "weight", "bias"), "mixed"),
        Layer("Flatten", ("mixed",), "out", {"axis": 1}),
    )
    return write_graph(Graph(13, "in", (1, 3, side, side), "out", layers, arrays), (1, outputs))


def make_picture(height: int, width: int, depth: str, seed: int = 0, channels: int = 3) -> Image:
    """Return a random picture of a depth; floats may lie a little outside 0 to 1."""
    random = np.random.default_rng(seed)
    shape = (height, width, channels)
    if depth == "float32":
        return random.uniform(-0.1, 1.1, shape).astype(np.float32)
    return random.integers(0, np.iinfo(depth).max, shape, depth, endpoint=True)


@dataclass(frozen=True)
class Forward:
    """What a step of finetuning computes for a picture.

    Attributes
    ----------
    picture : array
        As `lutkit apply` would be given it.
    result : array
    """

    picture: Image
    result: Image


@dataclass(frozen=True)
class Bench:
    """How tests look into what a workbench makes.

    Attributes
    ----------
    run_finetuning : callable
        Takes the objective of finetuning and a picture (H, W, 3) uint8; returns a Forward.
    measure_transfer : callable
        Takes a run, its configuration and the artefact made of it; returns how far networks and tables are apart at
        the nodes, in quanta of the tables: 0.5 is what rounding makes.
    """

    run_finetuning: Callable[[Any, NDArray[np.uint8]], Forward]
    measure_transfer: Callable[[Run, AnyConfig, Artefact], float]


def _run_patches(objective: Any, codes: NDArray[np.uint8]) -> Forward:
    import torch

    planes = torch.from_numpy(codes.transpose(2, 0, 1).astype(np.float32))
    return Forward(codes, objective.model.run(planes, None).detach().numpy().transpose(1, 2, 0).astype(np.uint8))


def _compare_entries(run: Run, config: AnyConfig, artefact: Artefact) -> float:
    import torch

    from lutkit.spatial_workbench import load_model

    model = load_model(run, config)
    worst = 0.0
    for op in artefact.program.lookups():
        nodes = torch.from_numpy(op.lattice.node_samples()).float() / 255
        with torch.no_grad():
            outputs = artefact.program.slots[op.slot].quantiser.spread(model.fillings[op.slot].network(nodes)).numpy()
        worst = max(worst, float(np.abs(outputs - artefact.tables[op.slot]).max()))
    return worst


def _run_pictures(objective: Any, codes: NDArray[np.uint8]) -> Forward:
    import torch

    picture = codes.astype(np.float32) / np.float32(255)
    outputs, _ = objective.model.run([torch.from_numpy(picture.transpose(2, 0, 1).copy())])
    return Forward(picture, np.ascontiguousarray(outputs[0].detach().numpy().transpose(1, 2, 0)))


def _compare_nodes(run: Run, config: AnyConfig, artefact: Artefact) -> float:
    """Compare basis tables in steps of their storage, and what the predictor gives in steps of a thousandth."""
    import torch

    from lutkit.colour.model import flatten_tables
    from lutkit.colour.workbench import load_model

    model = load_model(run, config.model)
    own = flatten_tables(model.bases)
    worst = 0.0
    for op in artefact.program.ops:
        if isinstance(op, Predictor):
            thumbnail = np.random.default_rng(0).random((1, 3, op.side, op.side), dtype=np.float32)
            with torch.no_grad():
                expected = model.module.predict(torch.from_numpy(thumbnail)).numpy().reshape(-1)
            found = op.open(artefact.tables).run(thumbnail).reshape(-1)
            worst = max(worst, float(np.abs(found - expected).max()) * 1000)
        elif isinstance(op, TableFusion):
            for basis in op.bases:
                difference = np.abs(basis.coding.decode(artefact.tables[basis.slot]) - own[basis.slot]).max()
                exact = basis.coding.storage is Storage.FLOAT32
                worst = max(worst, float("inf") if exact and difference else float(difference) / basis.coding.step)
    return worst


BENCHES: dict[str, Bench] = {
    "lutkit.spatial_workbench:SpatialWorkbench": Bench(_run_patches, _compare_entries),
    "lutkit.colour.workbench:ColourWorkbench": Bench(_run_pictures, _compare_nodes),
}
"""Every workbench that a family names."""


def bench_of(workbench: str) -> Bench:
    """Return how tests look into a workbench; fails where nobody has said it."""
    assert workbench in BENCHES, (
        f"the workbench {workbench} is unknown here: add to BENCHES in tests/contract.py how its finetuning runs on a "
        "picture and how far its tables are from its networks"
    )
    return BENCHES[workbench]
