"""What every op and every family is held to: a small case of each, for `test_contract.py`.

An op or a family that is added needs an entry here: the tests say so where it is missing. Imports torch inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from axis_programs import axis_networks
from bilateral_models import bilateral_programs, write_network
from colour_models import FilledColours, colour_programs, identity_nodes, make_adaptive, make_program
from hypothesis import strategies as st
from network_models import (
    LIT,
    draw_convolutions,
    guided_programs,
    low_light_programs,
    make_companions,
    network_programs,
    strip_depths,
)
from numpy.typing import NDArray
from small_ops import axis_lookups
from small_training import write_photos, write_scenes
from strategies import fill_tables, fill_thresholds, patterns, stages

from lutkit.configuration import AnyConfig
from lutkit.families import Family, find_family
from lutkit.recipe import ColourRecipe, Phase, Recipe, Schedule
from lutkit.run import Run
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import (
    CODES,
    Add,
    AxisLookup,
    BilateralSlice,
    BitField,
    Blend,
    ColourLookup,
    ColourMatrix,
    Ensemble,
    GridFusion,
    Illuminate,
    Lookup,
    Network,
    Op,
    PixelShuffle,
    Plane,
    Predictor,
    ReconstructedConvolution,
    Requantise,
    SelectPlanes,
    TableFusion,
    Tap,
)
from lutkit_runtime.ops.bilateral_slice import MAX_GUIDE_CURVES, MAX_GUIDE_ENTRIES, Guide, GuideCurves
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.ops.network import MAX_MULTIPLE, MAX_NETWORK_BYTES, MAX_PLANES, MAX_REACH
from lutkit_runtime.ops.predictor import MAX_OUTPUTS
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import IndexPattern
from lutkit_runtime.program import Parameter, Program
from lutkit_runtime.table_coding import Storage, TableCoding

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
    compressed = samples > 1 and draw(st.booleans())
    interval = draw(st.integers(5, 7 if compressed else 8))
    lookup = Lookup(
        output="sum",
        input="image",
        slot="stage1/table",
        pattern=draw(patterns(samples, reach=3)),
        lattice=Lattice(samples, interval),
        block=draw(st.integers(1, 8)),
        padding=draw(st.sampled_from(Padding)),
        interpolation=draw(st.sampled_from(Interpolation))
        if samples == 4 and not compressed
        else Interpolation.SIMPLEX,
        diagonal=Diagonal(draw(st.integers(1, 4)), draw(st.integers(interval + 1, 8))) if compressed else None,
    )
    return _complete(draw, lookup, Requantise(output="result", input="sum", bias=0, divisor=lookup.step))


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
    return _complete(draw, *draw(st.one_of(stages(blocks=(1, 3)), axis_networks())))


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


@st.composite
def _draw_bits(draw: st.DrawFn) -> Example:
    bits = draw(st.integers(1, 8))
    field = BitField(
        output="field",
        input="image",
        shift=draw(st.integers(0, 8 - bits)),
        bits=bits,
        offset=draw(st.integers(-256, 256)),
    )
    return _complete(
        draw, field, Requantise(output="result", input="field", bias=draw(st.integers(-9, 264)), divisor=1)
    )


@st.composite
def _draw_tables_of_one_sample(draw: st.DrawFn) -> Example:
    first = draw(axis_lookups("first", "image", CODES, outputs=draw(st.sampled_from((1, 3, 4)))))
    inner = Requantise(output="inner", input="first", bias=0, divisor=first.tables.denominator, low=-128, high=127)
    plane = Plane(codes=False, low=-128, high=127, channels=first.outputs)
    second = draw(axis_lookups("second", "inner", plane, outputs=4, depthwise=first.outputs == 4))
    result = Requantise(output="result", input="sum", bias=128, divisor=4)
    sum_up = Add(output="sum", terms=("blocks",))
    return _complete(draw, first, inner, second, PixelShuffle(output="blocks", input="second", block=2), sum_up, result)


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


def _fill(drawn: st.SearchStrategy[FilledColours]) -> st.SearchStrategy[Example]:
    return drawn.map(lambda each: Example(each.program, each.tables))


BILATERAL, GUIDED, NETWORKS = map(_fill, (bilateral_programs(), guided_programs(), network_programs()))
LIGHTS = _fill(network_programs().filter(lambda each: any(isinstance(op, Illuminate) for op in each.program.ops)))
GUIDE = Guide(mix="mix", count=2, curves=GuideCurves("curves", 3), result=GuideCurves("result", 2))
CODED = TableCoding(Storage.INT8, offset=0.0, step=0.0)

TABLES_OF_ONE_SAMPLE = AxisTables(low=0, size=256, steps=((1,),))

OP_CASES: dict[type[Any], OpCase] = {
    BitField: OpCase(
        _draw_bits(), ({"shift": -1}, {"bits": 0}, {"shift": 1, "bits": 8}, {"offset": 257}, {"offset": -257})
    ),
    AxisLookup: OpCase(
        _draw_tables_of_one_sample(),
        (
            {"taps": ()},
            {"taps": (Tap(),) * 1025},
            {"taps": (Tap(row=65),), "tables": TABLES_OF_ONE_SAMPLE, "outputs": 1},
            {"taps": (Tap(channel=-1),), "tables": TABLES_OF_ONE_SAMPLE, "outputs": 1},
            {"tables": AxisTables(low=0, size=256, steps=())},
            {"tables": msgspec.structs.replace(TABLES_OF_ONE_SAMPLE, steps=((3,),)), "taps": (Tap(),), "outputs": 1},
            {"tables": msgspec.structs.replace(TABLES_OF_ONE_SAMPLE, size=257), "taps": (Tap(),), "outputs": 1},
            {"outputs": 0},
            {"outputs": 257},
        ),
    ),
    PixelShuffle: OpCase(_draw_tables_of_one_sample(), ({"block": 0}, {"block": 9})),
    Lookup: OpCase(
        _draw_lookups(),
        (
            {"block": 0},
            {"block": 9},
            {"pattern": IndexPattern(())},
            {"lattice": Lattice(5, 4)},
            {"diagonal": Diagonal(0, 5)},
            {"diagonal": Diagonal(5, 5)},
            {"diagonal": Diagonal(2, 9)},
            {"diagonal": Diagonal(2, 4)},
        ),
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
    GridFusion: OpCase(
        BILATERAL,
        (
            {"terms": 0},
            {"terms": 513},
            {"rows": 0},
            {"rows": 257},
            {"columns": 0},
            {"columns": 257},
            {"depth": 0},
            {"depth": 65},
            {"coding": CODED},
        ),
    ),
    BilateralSlice: OpCase(
        BILATERAL,
        tuple(
            {"guide": msgspec.structs.replace(GUIDE, **fields)}
            for fields in (
                {"count": 0},
                {"count": MAX_GUIDE_CURVES + 1},
                {"curves": GuideCurves("curves", 1)},
                {"curves": GuideCurves("curves", MAX_GUIDE_ENTRIES + 1)},
                {"curves": GuideCurves("curves", 3, CODED)},
                {"result": GuideCurves("result", 1)},
                {"result": GuideCurves("result", MAX_GUIDE_ENTRIES + 1)},
                {"result": GuideCurves("result", 2, CODED)},
                {"result": GuideCurves("curves", 3)},
                {"mix": "result"},
            )
        ),
    ),
    Predictor: OpCase(
        st.one_of(ADAPTIVE, BILATERAL, GUIDED),
        (
            {"side": 0},
            {"side": 1025},
            {"outputs": 0},
            {"outputs": MAX_OUTPUTS + 1},
            {"graph_bytes": 0},
            {"graph_bytes": MAX_NETWORK_BYTES + 1},
            {"companions": ("depth", "depth")},
        ),
    ),
    Network: OpCase(
        NETWORKS,
        (
            {"graph_bytes": 0},
            {"graph_bytes": MAX_NETWORK_BYTES + 1},
            {"planes": 0},
            {"planes": MAX_PLANES + 1},
            {"reach": -1, "multiple": 1},
            {"reach": MAX_REACH + 1, "multiple": 1},
            {"reach": None, "multiple": 0},
            {"reach": None, "multiple": MAX_MULTIPLE + 1},
            {"reach": 1, "multiple": 2},
            {"smallest": 0},
            {"smallest": MAX_MULTIPLE + 1},
            {"sources": ()},
            {"sources": ("image", "image")},
        ),
    ),
    SelectPlanes: OpCase(NETWORKS, ({"planes": (0, 0, -1)},)),
    Illuminate: OpCase(
        st.one_of(LIGHTS, _fill(low_light_programs()), _fill(LIT)),
        ({"reflectance": "one", "illumination": "one"},),
    ),
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
    transfers : tuple of mappings
        Fields of `TransferOptions` that the family takes.
    write_data : callable
        Writes what the family is trained on into a folder, and returns the folder; takes count, side and seed.
    """

    config: Any
    recipe: Schedule
    transfers: tuple[Mapping[str, Any], ...] = ({},)
    write_data: Callable[..., Path] = write_photos


PATCHES = Recipe(
    steps=1, batch=1, crop=8, learning_rate=1e-3, final_rate=1e-3, validate_every=1, phases=(Phase(interval=6),)
)
"""One step on patches, for families of spatial tables."""
PICTURES = ColourRecipe(steps=1, batch=1, learning_rate=1e-3, final_rate=1e-3, validate_every=1)
"""One step on whole pictures, for families of colours."""
GRIDS = msgspec.structs.replace(PICTURES, smoothness=0.0, monotonicity=0.0)
"""One step on whole pictures, for families without cubes."""


def shrink(family: str, **fields: Any) -> Any:
    """Return the configuration of a family with some fields replaced."""
    return msgspec.structs.replace(find_family(family).defaults, **fields)


SMALL_GRID = msgspec.structs.replace(
    find_family("hdrnet").defaults, guide="curves", spatial=4, levels=3, width=2, start="identity"
)
"""What networks of full resolution are compiled into."""


def learn_briefly(family: str, **fields: Any) -> Schedule:
    """Return a family's quick recipe with one step of training and one of compiling."""
    recipe: Any = find_family(family).presets["quick"]
    compiling = msgspec.structs.replace(recipe.compiling, steps=1, batch=1, validate_every=1)
    return msgspec.structs.replace(recipe, steps=1, batch=1, warmup=0, validate_every=1, compiling=compiling, **fields)


FAMILY_CASES: dict[str, Callable[[], FamilyCase]] = {
    "mulut": lambda: FamilyCase(
        shrink("mulut", patterns=("v", ((0, 0), (1, 2))), stages=2, scale=2, interval=6, width=8), PATCHES
    ),
    "sr-lut": lambda: FamilyCase(shrink("sr-lut", patterns=("f",), scale=2, interval=6, width=8), PATCHES),
    "adaptive-3dlut": lambda: FamilyCase(
        shrink("adaptive-3dlut", luts=2, size=5, predictor="pooled", spread=0.1),
        PICTURES,
        transfers=({}, {"storage": "int16"}, {"storage": "int8"}),
    ),
    "hdrnet": lambda: FamilyCase(
        shrink("hdrnet", guide="curves", spatial=4, levels=3, width=2, start="identity"),
        GRIDS,
        transfers=({}, {"storage": "int16"}, {"storage": "int8"}),
    ),
    "rclut": lambda: FamilyCase(
        shrink("rclut", rc=(3, 5), scale=2, interval=6, width=8, window_width=8),
        PATCHES,
        transfers=({}, {"storage": "int8"}, {"diagonal": 1}),
    ),
    "pairlie": lambda: FamilyCase(
        shrink("pairlie", width=4, grid=SMALL_GRID),
        learn_briefly("pairlie", crop=16),
        transfers=({}, {"storage": "int8"}, {"exact": True}),
    ),
    "s3net": lambda: FamilyCase(
        shrink("s3net", depths=(1, 1, 1), width=16, grid=SMALL_GRID),
        learn_briefly("s3net", side=32, answers=4),
        transfers=({}, {"storage": "int8"}, {"exact": True}),
        write_data=write_scenes,
    ),
    "tiny-lut": lambda: FamilyCase(
        shrink("tiny-lut", channels=4, scale=2, interval=1, width=4),
        msgspec.structs.replace(PATCHES, phases=(Phase(interval=1),)),
    ),
}
"""Every family by its name."""

VARIANTS: dict[str, Callable[[], FamilyCase]] = {
    "mulut with windows": lambda: FamilyCase(
        shrink("mulut", patterns=("s", "v"), stages=2, scale=2, interval=6, width=8, rc=(3, 5), window_width=8),
        PATCHES,
        transfers=({}, {"storage": "int8"}, {"diagonal": 1}),
    ),
    "hdrnet with a pointwise guide": lambda: FamilyCase(
        shrink("hdrnet", guide="pointwise", spatial=8, levels=2, width=2, task="detail"),
        msgspec.structs.replace(GRIDS, smoothness=0.1),
        transfers=({}, {"storage": "int8"}),
    ),
    "tiny-lut with branches": lambda: FamilyCase(
        shrink("tiny-lut", channels=5, depth=2, apart=True, centred=False, reach=0, interval=2, width=4, scale=2),
        msgspec.structs.replace(PATCHES, phases=(Phase(interval=2),)),
    ),
}
"""Other configurations of a family, which make programs of other ops, by its name and what is different."""


def case_of_family(name: str) -> FamilyCase:
    """Return the case of a family or of a variant of one; fails where there is none."""
    cases = {**FAMILY_CASES, **VARIANTS}
    assert name in cases, (
        f"the family {name} has no case: add one to FAMILY_CASES in tests/contract.py, with its smallest configuration "
        "and a recipe of one step"
    )
    return cases[name]()


def family_of(name: str) -> Family:
    """Return the family of a case."""
    return find_family(name.partition(" with ")[0])


def fill_program(program: Program, seed: int) -> Example:
    """Return a program with random tables of every type in its slots, and random networks in those of predictors."""
    random = np.random.default_rng(seed)
    ops: list[Op] = []
    tables: dict[str, NDArray[Any]] = {}
    for op in program.ops:
        if isinstance(op, Predictor):
            channels = program.count_channels(op.inputs)
            graph = np.frombuffer(write_network(op.side, op.outputs, seed, channels), np.uint8)[:, None]
            op, tables[op.slot] = msgspec.structs.replace(op, graph_bytes=len(graph)), graph
        elif isinstance(op, Network):
            channels = program.count_channels(op.inputs)
            graph = draw_convolutions(random, (channels, op.planes), (1 if op.reach == 0 else 3,)).write()
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


def find_companions(program: Program, picture: Image, seed: int = 0) -> dict[str, Image]:
    """Return what has to be given beside a picture, of every depth in turn; depth maps are (H, W)."""
    return strip_depths(make_companions(program, *picture.shape[:2], seed))


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
    companions : mapping of name to array
        What stands beside the picture, where the model needs it.
    """

    picture: Image
    result: Image
    companions: Mapping[str, Image] = field(default_factory=dict)


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
    for op in artefact.program.table_ops():
        filling, quantiser = model.fillings[op.slot], artefact.program.slots[op.slot].quantiser
        with torch.no_grad():
            match op:
                case Lookup():
                    nodes = torch.from_numpy(op.node_samples()).float()
                    outputs = quantiser.spread(filling.network(filling.read(nodes)))
                case ReconstructedConvolution():
                    # the mean over the window, times the unit, is what the sum of entries stands for
                    outputs = quantiser.confine(filling.network() / op.positions * op.unit).reshape(-1, 1)
                    if not np.array_equal(artefact.tables[op.post], find_thresholds(op.unit)):
                        return float("inf")
                case AxisLookup():
                    outputs = _gather_nodes(op, quantiser.spread(filling.network()))
                    if filling.shifts is not None:
                        places = torch.tensor([(tap.row, tap.column) for tap in op.taps])
                        worst = max(
                            worst, float((filling.shifts.clamp(-filling.reach, filling.reach) - places).abs().max())
                        )
        worst = max(worst, float(np.abs(outputs.numpy() - artefact.tables[op.slot]).max()))
    return worst


def _gather_nodes(op: AxisLookup, values: Any) -> Any:
    """Return the values (taps, size + 1, outputs) at every node of every table in turn, (entries, 1)."""
    import torch

    found = []
    for tap, steps in enumerate(op.tables.steps):
        for output, step in enumerate(steps):
            last = op.tables.size - 1 if step == 1 else op.tables.size
            found += [values[tap, node, output] for node in range(0, last + 1, step)]
    return torch.stack(found)[:, None]


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


def _run_guided_pictures(objective: Any, codes: NDArray[np.uint8]) -> Forward:
    """Run a model that sees a guide and two depth maps after the picture's channels."""
    import torch

    from lutkit.families.s3net import COMPANIONS as BESIDE

    image = codes.astype(np.float32) / np.float32(255)
    random = np.random.default_rng(5)
    beside = {each.name: random.random((*codes.shape[:2], each.channels), np.float32) for each in BESIDE}
    given = np.concatenate((image, *beside.values()), axis=2).transpose(2, 0, 1).copy()
    outputs, _ = objective.model.run([torch.from_numpy(given)])
    result = np.ascontiguousarray(outputs[0].detach().numpy().transpose(1, 2, 0))
    return Forward(image, result, strip_depths(beside))


def _compare_networks(run: Run, config: AnyConfig, artefact: Artefact) -> float:
    """Compare the exact program's planes with torch's in steps of a hundred-thousandth.

    Of grids, which learn the networks' answers, compare with those that are stored as float32, in steps of their storage.
    """
    import torch

    from lutkit.bilateral.parts import find_parts
    from lutkit.transfer import transfer
    from lutkit.workbench import TransferOptions, find_workbench

    network_op = artefact.program.ops[0]
    if isinstance(network_op, Network):
        network: Any = find_workbench(find_family(config.family)).load_network(run, config)  # type: ignore[attr-defined]
        channels = artefact.program.count_channels(network_op.inputs)
        given = np.random.default_rng(0).random((64, 32, channels), np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(given.transpose(2, 0, 1)[None].copy()))[0].numpy().transpose(1, 2, 0)
        ends = np.cumsum((3, *(each.channels for each in artefact.program.companions)))
        values = dict(zip(network_op.inputs, np.split(given, ends[:-1], axis=2), strict=True))
        return float(np.abs(network_op.reference(values, artefact.tables) - expected).max()) * 1e5
    plain, _ = transfer(run, config, TransferOptions(storage="float32"))
    parts, plain_parts = find_parts(artefact.program), find_parts(plain.program)
    if artefact.tables[parts.predictor.slot].tobytes() != plain.tables[plain_parts.predictor.slot].tobytes():
        return float("inf")
    decoded, own = parts.decode(artefact.tables), plain_parts.decode(plain.tables)
    worst = 0.0
    for name, values in own.items():
        coding, difference = parts.codings[name], float(np.abs(decoded[name] - values).max())
        exact = coding.storage is Storage.FLOAT32
        worst = max(worst, float("inf") if exact and difference else difference / coding.step)
    return worst


def _compare_columns(run: Run, config: AnyConfig, artefact: Artefact) -> float:
    """Compare columns and guide in steps of their storage, and what the network gives in steps of a thousandth."""
    import torch

    from lutkit.bilateral.parts import find_parts
    from lutkit.bilateral.workbench import BilateralWorkbench, read_values

    model = BilateralWorkbench(find_family("hdrnet")).load_model(run, config)
    parts = find_parts(artefact.program)
    picture = np.random.default_rng(0).random((parts.predictor.side, parts.predictor.side, 3), dtype=np.float32)
    with torch.no_grad():
        expected = model.module.predict([torch.from_numpy(picture.transpose(2, 0, 1).copy())]).numpy().reshape(-1)
    found = parts.predictor.predict(parts.predictor.open(artefact.tables), picture)
    worst = float(np.abs(found - expected).max()) * 1000
    decoded = parts.decode(artefact.tables)
    for name, values in read_values(model).items():
        coding, difference = parts.codings[name], np.abs(decoded[name] - values).max()
        exact = coding.storage is Storage.FLOAT32
        worst = max(worst, float("inf") if exact and difference else float(difference) / coding.step)
    return worst


BENCHES: dict[str, Bench] = {
    "lutkit.spatial_workbench:SpatialWorkbench": Bench(_run_patches, _compare_entries),
    "lutkit.colour.workbench:ColourWorkbench": Bench(_run_pictures, _compare_nodes),
    "lutkit.bilateral.workbench:BilateralWorkbench": Bench(_run_pictures, _compare_columns),
    "lutkit.lowlight.workbench:LowLightWorkbench": Bench(_run_pictures, _compare_networks),
    "lutkit.relighting.workbench:RelightingWorkbench": Bench(_run_guided_pictures, _compare_networks),
}
"""Every workbench that a family names."""


def bench_of(workbench: str) -> Bench:
    """Return how tests look into a workbench; fails where nobody has said it."""
    assert workbench in BENCHES, (
        f"the workbench {workbench} is unknown here: add to BENCHES in tests/contract.py how its finetuning runs on a "
        "picture and how far its tables are from its networks"
    )
    return BENCHES[workbench]
