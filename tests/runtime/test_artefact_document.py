"""docs/artefact.md: its reader reads artefacts and computes what the ops compute, and its worked pixel is right."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import h5py
import msgspec
import numpy as np
import pytest
from bilateral_models import bilateral_programs
from colour_models import FilledColours, colour_programs, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from network_models import guided_programs, low_light_programs, make_companions, network_programs
from small_ops import small_lookups
from strategies import Filled, fill_tables, filled_programs, images

from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.engine import Model
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import (
    BilateralSlice,
    Blend,
    ChannelOp,
    ColourLookup,
    ColourMatrix,
    Ensemble,
    Illuminate,
    Lookup,
    Network,
    Requantise,
    Tap,
)
from lutkit_runtime.ops.bilateral_slice import Guide, GuideCurves
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import MAX_SCALE, Companion, Parameter, Program
from lutkit_runtime.table_coding import TableCoding

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "artefact.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text()


@pytest.fixture(scope="module")
def documented(text: str) -> dict[str, Any]:
    """Return what the code blocks that the document ends with define."""
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert len(code.splitlines()) <= 90
        exec(compile(code, str(DOCUMENT), "exec"), names)
    return names


@pytest.fixture(scope="module")
def documented_apply(documented: dict[str, Any]) -> Callable[[Path, np.ndarray], np.ndarray]:
    return documented["apply"]


@pytest.fixture(scope="module")
def documented_colours(documented: dict[str, Any]) -> Callable[..., np.ndarray]:
    return documented["apply_to_colours"]


def run(artefact: Artefact, plane: np.ndarray) -> np.ndarray:
    planes: dict[str, Any] = {artefact.program.input: plane[None]}
    for op in artefact.program.ops:
        planes[op.output] = op.reference(planes, artefact.tables)
    return planes[artefact.program.output][0]


@settings(max_examples=60)
@given(filled_programs(), images(largest=5, channels=1))
def test_the_documented_reader_computes_what_the_ops_compute(
    tmp_path_factory: pytest.TempPathFactory,
    documented_apply: Callable[[Path, np.ndarray], np.ndarray],
    filled: Filled,
    image: np.ndarray,
) -> None:
    artefact = Artefact(filled.program, filled.tables)
    path = tmp_path_factory.mktemp("documented") / "model.h5"
    write_artefact(path, artefact)
    plane = image[..., 0]
    np.testing.assert_array_equal(documented_apply(path, plane), run(artefact, plane))


@settings(max_examples=40)
@given(small_lookups("sum", "image", 1, compressed=True), st.integers(0, 2**32 - 1))
def test_the_documented_reader_finds_the_diagonal_where_the_op_does(
    tmp_path_factory: pytest.TempPathFactory,
    documented_apply: Callable[[Path, np.ndarray], np.ndarray],
    lookup: Lookup,
    seed: int,
) -> None:
    """Samples are apart by whole steps, one more and one less: the last that is near, and the first that is not."""
    requantise = Requantise(output="result", input="sum", bias=0, divisor=lookup.step)
    program = Program(family="test", task="sr", ops=(lookup, requantise))
    artefact = Artefact(program, fill_tables(program, seed))
    path = tmp_path_factory.mktemp("diagonal") / "model.h5"
    write_artefact(path, artefact)
    random = np.random.default_rng(seed)
    plane = (random.integers(1, 8, (6, 6)) * 32 + random.integers(-1, 2, (6, 6))).astype(np.uint8)
    np.testing.assert_array_equal(documented_apply(path, plane), run(artefact, plane))


def test_the_worked_pixel(
    tmp_path: Path, text: str, documented_apply: Callable[[Path, np.ndarray], np.ndarray]
) -> None:
    lookup = Lookup(
        output="stage1/v", input="image", slot="stage1/v", pattern=NAMED_PATTERNS["v"], lattice=Lattice(2, 7)
    )
    ops = (
        Ensemble(output="sum", input="image", body=(lookup,)),
        Requantise(output="result", input="sum", bias=65024, divisor=512),
    )
    table = np.array([0, 10, 40, 25, 60, 70, 50, 90, 127], np.int8)[:, None]
    artefact = Artefact(Program(family="test", task="sr", ops=ops), {"stage1/v": table})
    plane = np.array([[10, 200, 30], [60, 90, 250]], np.uint8)
    path = tmp_path / "model.h5"
    write_artefact(path, artefact)

    assert documented_apply(path, plane)[0, 1] == run(artefact, plane)[0, 1] == 191
    with h5py.File(path, "r") as file:
        stored = file["tables/stage1/v"][()]
    assert ", ".join(" ".join(map(str, row)) for row in stored[0].tolist()) in " ".join(text.split())

    turns = []
    for turn in range(4):
        sums = lookup.reference({"image": np.rot90(plane, turn)}, artefact.tables)
        turns.append(int(np.rot90(sums, -turn)[0, 1]))
        assert re.search(rf"^\| {turn} \|.*\| {turns[-1]} \|$", text, re.MULTILINE)
    assert f"makes {sum(turns)};" in text


def test_the_bounds_in_the_document_are_those_of_the_code(text: str) -> None:
    from lutkit_runtime import (
        artefact,
        axis_tables,
        lattice,
        onnx_graph,
        onnx_layers,
        onnx_network,
        onnx_rules,
        ops,
        pattern,
        seal,
        table_coding,
    )
    from lutkit_runtime.ops import (
        add,
        axis_lookup,
        bilateral_slice,
        colour_lookup,
        colour_matrix,
        grid_fusion,
        illuminate,
        network,
        predictor,
        requantise,
        table_fusion,
    )
    from lutkit_runtime.ops import reconstructed_convolution as convolution

    flat = " ".join(text.split())
    assert seal.MAX_FILE_BYTES == artefact.MAX_TABLE_BYTES == 2**30
    assert artefact.MAX_TEXT_BYTES == 2**20
    assert "at most 2^30 bytes, its tables together 2^30 bytes, each text 2^20 bytes" in flat
    assert f"at most {artefact.MAX_TABLES} slots" in flat
    assert f"at most {MAX_SCALE} times as large" in flat
    assert f"Offsets reach at most {pattern.MAX_REACH}." in flat
    assert lattice.CODES == 256
    assert f"A weight is 1 to {add.LARGEST_WEIGHT}" in flat
    assert f"lie within -{requantise.LARGEST_BOUND} and {requantise.LARGEST_BOUND - 1}." in flat
    assert f"`taps` are 1 to {axis_lookup.MAX_TAPS}, `outputs` 1 to {axis_lookup.MAX_OUTPUTS}" in flat
    assert f"`column` at most {pattern.MAX_REACH} either way" in flat
    assert f"a power of two, 1 to {axis_tables.LARGEST_STEP}" in flat
    assert (convolution.WINDOWS, convolution.STORAGES) == ((3, 5, 7, 9), ("int16", "int8"))
    assert f"the {convolution.HIGHEST} thresholds" in flat
    assert convolution.LARGEST_UNIT == 2**30
    on_planes = (
        ops.Add,
        ops.AxisLookup,
        ops.BitField,
        ops.Ensemble,
        ops.Lookup,
        ops.PixelShuffle,
        ops.ReconstructedConvolution,
        ops.Requantise,
    )
    on_colours = (
        ops.BilateralSlice,
        ops.Blend,
        ops.ColourLookup,
        ops.ColourMatrix,
        ops.GridFusion,
        ops.Illuminate,
        ops.Network,
        ops.Predictor,
        ops.SelectPlanes,
        ops.TableFusion,
    )
    assert {*on_planes, *on_colours} == set(get_args(ops.Op))
    named = {str(op.__struct_config__.tag) for op in (*on_planes, *on_colours)}
    assert named == set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    planes = (Program, Parameter, AxisTables, Tap, Diagonal)
    colours = (Companion, Cube, Curves, Domain, TableCoding, BasisTable, Guide, GuideCurves)
    for op in (*on_planes, *on_colours, *planes, *colours):
        for name in op.__struct_fields__:
            assert f"`{name}`" in text or f'"{name}"' in text, name
    for layer in onnx_layers.LAYERS:
        assert f"`{layer}`" in text
    assert f"Operators are of versions {onnx_graph.OPSETS[0]} to {onnx_graph.OPSETS[-1]}:" in flat
    (told,) = re.findall(r"Operators are of versions [^:]*: (.*?)\.", flat)
    since = {
        layer: int(version)
        for several, version in re.findall(r"((?:`\w+`[, and]*)+) from (\d+) on", told)
        for layer in re.findall(r"`(\w+)`", several)
    }
    assert since == {name: layer.since for name, layer in onnx_rules.LAYERS.items() if layer.since > 1}
    limits = (onnx_rules.MAX_WINDOW, onnx_graph.MAX_LAYERS, onnx_graph.MAX_ARRAYS)
    assert "scales are at most {}, layers at most {} and arrays at most {}.".format(*limits) in flat
    assert f"2 to {colour_lookup.MAX_CURVE_ENTRIES:_}".replace("_", " ") in flat
    assert f"2 to {colour_lookup.MAX_CUBE_SIZE} nodes per axis" in flat
    assert f"at most {table_fusion.MAX_BASES}." in flat
    assert (predictor.MAX_SIDE, predictor.MAX_OUTPUTS, predictor.MAX_NETWORK_BYTES) == (1024, 2**20, 2**28)
    assert "`outputs` numbers (at most 2^20)." in flat
    for sampling in predictor.Sampling:
        assert f'"{sampling.value}"' in flat
    assert (
        f"`rows` and `columns` are 1 to {grid_fusion.MAX_GRID_SIDE}, `depth` is 1 to {grid_fusion.MAX_GRID_DEPTH}; their "
        f"product is at most {grid_fusion.MAX_MAPS}." in flat
    )
    assert f"the 1 to {grid_fusion.MAX_TERMS} `terms`" in flat
    assert f"`count` (1 to {bilateral_slice.MAX_GUIDE_CURVES}) `curves`" in flat
    assert f"n `entries` (2 to {bilateral_slice.MAX_GUIDE_ENTRIES})" in flat
    assert f"makes 1 to {network.MAX_PLANES} `planes`" in flat
    assert f"With a number in `reach`, 0 to {network.MAX_REACH}," in flat
    for field in ("multiple", "smallest"):
        assert f"`{field}` (1 to {network.MAX_MULTIPLE})" in flat
    assert f"their corners at multiples of {network.TILE_SIDE} pixels" in flat
    small, large = network.TRIAL_SIDES
    assert f"a picture of {small} x {small} pixels" in flat
    assert f"one of {large} x {large} more than {(large // small) ** 2} times as much" in flat
    assert "more than 2^14 values of every pixel" in flat and onnx_network.MAX_VALUES_OF_PIXEL == 2**14
    assert f"Entry i of {illuminate.ENTRIES} is (i / {illuminate.ENTRIES - 1})^({illuminate.ROOT} gamma)" in flat
    assert (table_coding.LARGEST_VALUE, colour_matrix.MAX_COEFFICIENT) == (10.0**30, 10.0**6)
    older = range(seal.OLDEST_SCHEMA, seal.SCHEMA)
    assert f"schema version: {seal.SCHEMA}; {older[0]} to {older[-1]} are still read" in text
    assert re.findall(r"^\| (\d+) \| (?:programs|the ops) ", text, re.MULTILINE) == [*map(str, older), str(seal.SCHEMA)]


def test_fields_that_the_document_gives_a_default_have_it(text: str) -> None:
    (listed,) = re.findall(r"these have defaults: (.*?)\. A reader", " ".join(text.split()))
    fields = [
        field for each in (Program, Tap, Diagonal, *get_args(ChannelOp)) for field in msgspec.structs.fields(each)
    ]
    optional = {each.name: each.default for each in fields if each.default is not msgspec.NODEFAULT}
    told = dict(re.findall(r"`(\w+)` (\S+?)(?=[,) ]|$)", listed))
    assert told == {name: msgspec.json.encode(value).decode() for name, value in optional.items()}


def test_fields_of_networks_and_light_have_the_default_that_is_told(text: str) -> None:
    fields = [field for each in (Network, Illuminate) for field in msgspec.structs.fields(each)]
    optional = {each.name: each.default for each in fields if each.default is not msgspec.NODEFAULT}
    told = {}
    for listed in re.findall(r"Where a file does not say (?:them|it), (.*?)\. ", " ".join(text.split())):
        told |= dict(re.findall(r"`(\w+)` (?:is )?(\w+)", listed))
    assert told == {name: msgspec.json.encode(value).decode() for name, value in optional.items()}


@pytest.mark.parametrize("schema", [1, 2, 3, 4, 5])
def test_the_documented_reader_reads_frozen_files_of_every_schema(
    schema: int, documented_apply: Callable[..., np.ndarray], documented_colours: Callable[..., np.ndarray]
) -> None:
    path = Path(__file__).with_name(f"artefact-schema-{schema}.h5")
    artefact = read_artefact(path)
    image = np.random.default_rng(schema).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    beside = make_companions(artefact.program, 6, 5)
    expected = Model(artefact.program, artefact.tables).apply(image, backend="numpy", **beside)
    if schema in (2, 4, 5):
        assert np.abs(documented_colours(path, image, **beside).astype(int) - expected).max() <= 1
    else:
        np.testing.assert_array_equal(documented_apply(path, image[..., 0]), expected[..., 0])


def bound_steepness(filled: FilledColours, image: np.ndarray) -> float:
    """Return how much a program can enlarge a small error of a value: random cubes are steep, and steps multiply."""
    values = Model(filled.program, filled.tables).adapt(image, **make_companions(filled.program, *image.shape[:2]))
    total = 1.0
    for op in filled.program.ops:
        if isinstance(op, ColourLookup):
            bound = op.bind(values, filled.tables)
            if op.curves and bound.curves is not None:
                width = np.subtract(op.curves.domain.high, op.curves.domain.low).min()
                total *= max(1.0, np.abs(np.diff(bound.curves, axis=0)).max() * (op.curves.entries - 1) / width)
            if op.cube and bound.cube is not None:
                width = np.subtract(op.cube.domain.high, op.cube.domain.low).min()
                nodes = bound.cube.reshape(*(op.cube.size,) * 3, 3)
                steps = sum(np.abs(np.diff(nodes, axis=axis)).max() for axis in range(3))
                total *= max(1.0, steps * (op.cube.size - 1) / width)
        elif isinstance(op, ColourMatrix):
            total *= max(1.0, np.abs(op.matrix).sum(axis=1).max())
        elif isinstance(op, Blend):
            total *= 2
    return float(total)


def expect_near(found: np.ndarray, expected: np.ndarray, error: float) -> None:
    """Fail unless results are alike but for this error of values of about 1, and one level of integers."""
    allowed = min(0.02, error)
    if expected.dtype == np.float32:
        allowed *= max(1.0, float(np.abs(found).max()))
    else:
        assert found.dtype == expected.dtype
        allowed = 1 + int(np.iinfo(expected.dtype).max * allowed)
    assert np.abs(found.astype(np.float64) - expected).max() <= allowed


@settings(max_examples=60)
@given(colour_programs(), pictures(largest=5), st.sampled_from((0.0, 0.5, 1.0)))
def test_the_documented_reader_computes_what_models_of_colours_compute(
    tmp_path_factory: pytest.TempPathFactory,
    documented_colours: Callable[..., np.ndarray],
    filled: FilledColours,
    image: np.ndarray,
    strength: float,
) -> None:
    path = tmp_path_factory.mktemp("documented") / "model.h5"
    write_artefact(path, Artefact(filled.program, filled.tables))
    image = np.nan_to_num(image[..., :3], nan=0.5, posinf=2.0, neginf=-1.0)
    found = documented_colours(path, image, strength=strength)
    expected = Model(filled.program, filled.tables).apply(image, backend="numpy", strength=strength)
    expect_near(found, expected, 2e-6 * bound_steepness(filled, image))


def bound_slice(filled: FilledColours, image: np.ndarray) -> float:
    """Return how much a program with a bilateral slice can enlarge a small error of a value."""
    values = Model(filled.program, filled.tables).adapt(image, **make_companions(filled.program, *image.shape[:2]))
    total = bound_steepness(filled, image)
    for op in filled.program.ops:
        if isinstance(op, BilateralSlice):
            guide, grid = op.guide.decode(filled.tables), values[op.grid]
            slopes = np.abs(np.diff(guide.curves, axis=0)).max(axis=0) * (len(guide.curves) - 1)
            steep = slopes @ np.abs(guide.mix).sum(axis=0) * np.abs(np.diff(guide.result, axis=0)).max()
            steep *= (len(guide.result) - 1) * sum(
                np.abs(np.diff(grid, axis=axis)).max(initial=0) * grid.shape[axis] for axis in range(3)
            )
            total *= np.abs(grid).max() * 4 + 4 * max(1.0, steep)
    return float(total)


@settings(max_examples=60)
@given(st.one_of(bilateral_programs(), guided_programs()), pictures(largest=6), st.sampled_from((0.0, 0.5, 1.0)))
def test_the_documented_reader_computes_what_bilateral_models_compute(
    tmp_path_factory: pytest.TempPathFactory,
    documented_colours: Callable[..., np.ndarray],
    filled: FilledColours,
    image: np.ndarray,
    strength: float,
) -> None:
    path = tmp_path_factory.mktemp("documented") / "model.h5"
    write_artefact(path, Artefact(filled.program, filled.tables))
    image = np.nan_to_num(image[..., :3], nan=0.5, posinf=2.0, neginf=-1.0)
    given = {"strength": strength, **make_companions(filled.program, *image.shape[:2])}
    found = documented_colours(path, image, **given)
    expected = Model(filled.program, filled.tables).apply(image, backend="numpy", **given)
    expect_near(found, expected, 2e-6 * bound_slice(filled, image))


GAMMAS = st.sampled_from((0.0, 0.2, 0.5, 1.0))


def bound_light(filled: FilledColours, gamma: float) -> float:
    """Return how much a program can enlarge a small error of an illumination, for reflectances of up to 4."""
    (op,) = (op for op in filled.program.ops if isinstance(op, Illuminate))
    return 4 * max(1.0, float(np.diff(op.bind(gamma).table).max()) * 4096)


@settings(max_examples=40)
@given(low_light_programs(), pictures(largest=6), GAMMAS, st.sampled_from((0.0, 0.5, 1.0)))
def test_the_documented_reader_computes_what_models_of_low_light_compute(
    tmp_path_factory: pytest.TempPathFactory,
    documented_colours: Callable[..., np.ndarray],
    filled: FilledColours,
    image: np.ndarray,
    gamma: float,
    strength: float,
) -> None:
    """Two grids of one vector of weights, two slices of one guide, one of which lights the other."""
    path = tmp_path_factory.mktemp("documented") / "model.h5"
    write_artefact(path, Artefact(filled.program, filled.tables))
    image = np.nan_to_num(image[..., :3], nan=0.5, posinf=2.0, neginf=-1.0)
    found = documented_colours(path, image, gamma=gamma, strength=strength)
    expected = Model(filled.program, filled.tables).apply(image, backend="numpy", gamma=gamma, strength=strength)
    expect_near(found, expected, 1e-6 * bound_slice(filled, image) * bound_light(filled, gamma))


@settings(max_examples=60)
@given(network_programs(), pictures(largest=9), GAMMAS, st.sampled_from((0.0, 0.5, 1.0)))
def test_the_documented_reader_computes_what_networks_compute(
    tmp_path_factory: pytest.TempPathFactory,
    documented_colours: Callable[..., np.ndarray],
    filled: FilledColours,
    image: np.ndarray,
    gamma: float,
    strength: float,
) -> None:
    path = tmp_path_factory.mktemp("documented") / "model.h5"
    write_artefact(path, Artefact(filled.program, filled.tables))
    image = np.nan_to_num(image[..., :3], nan=0.5, posinf=2.0, neginf=-1.0)
    given = {"gamma": gamma, "strength": strength, **make_companions(filled.program, *image.shape[:2])}
    found = documented_colours(path, image, **given)
    expected = Model(filled.program, filled.tables).apply(image, backend="numpy", **given)
    expect_near(found, expected, 2e-5)  # planes are 0.2 and more: a fourth root is not steep there


def test_the_programs_of_networks_in_the_document_are_sound(text: str) -> None:
    examples = [each for each in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if '"network"' in each]
    programs = [msgspec.json.decode(example, type=Program) for example in examples]
    for program in programs:
        program.validate()
    assert [[str(op.__struct_config__.tag) for op in program.ops] for program in programs] == [
        ["network", "select_planes"],
        ["network", "select_planes", "select_planes", "illuminate"],
    ]


def test_the_bilateral_program_in_the_document_is_sound(text: str) -> None:
    (example,) = (each for each in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "bilateral_slice" in each)
    program = msgspec.json.decode(example, type=Program)
    program.validate()
    assert [str(op.__struct_config__.tag) for op in program.ops] == ["predictor", "grid_fusion", "bilateral_slice"]


def test_the_program_for_colours_in_the_document_is_sound(text: str) -> None:
    (example,) = (each for each in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "table_fusion" in each)
    program = msgspec.json.decode(example, type=Program)
    program.validate()
    assert [str(op.__struct_config__.tag) for op in program.ops] == [
        "predictor",
        "table_fusion",
        "colour_lookup",
        "blend",
    ]
