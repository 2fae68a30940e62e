"""docs/artefact.md: its reader reads artefacts and computes what the ops compute, and its worked pixel is right."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from colour_models import FilledColours, colour_programs, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Filled, filled_programs, images

from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Blend, ColourLookup, ColourMatrix, Ensemble, Lookup, Requantise
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import MAX_SCALE, Parameter, Program
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


@settings(max_examples=60, deadline=None)
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
    from lutkit_runtime import artefact, lattice, onnx_layers, ops, pattern, seal, table_coding
    from lutkit_runtime.ops import colour_lookup, colour_matrix, predictor, table_fusion

    assert seal.MAX_FILE_BYTES == artefact.MAX_TABLE_BYTES == 2**30
    assert artefact.MAX_TEXT_BYTES == 2**20
    assert "at most 2^30 bytes, its tables together 2^30 bytes, each text 2^20 bytes" in text
    assert f"at most {artefact.MAX_TABLES} slots" in text
    assert f"at\nmost {MAX_SCALE} times as large" in text
    assert f"Offsets reach at most {pattern.MAX_REACH}." in text
    assert lattice.CODES == 256
    on_planes = (ops.Add, ops.Ensemble, ops.Lookup, ops.Requantise)
    on_colours = (ops.Blend, ops.ColourLookup, ops.ColourMatrix, ops.Predictor, ops.TableFusion)
    named = {str(op.__struct_config__.tag) for op in (*on_planes, *on_colours)}
    assert named == set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    parts = (Program, Parameter, Cube, Curves, Domain, TableCoding, BasisTable)
    for op in (*on_planes, *on_colours, *parts):
        for name in op.__struct_fields__:
            assert f"`{name}`" in text or f'"{name}"' in text, name
    for layer in onnx_layers.LAYERS:
        assert f"`{layer}`" in text
    assert f"2 to {colour_lookup.MAX_CURVE_ENTRIES:_}".replace("_", " ") in text
    assert f"2 to\n{colour_lookup.MAX_CUBE_SIZE} nodes per axis" in text
    assert f"at most {table_fusion.MAX_BASES}." in text
    assert (predictor.MAX_SIDE, predictor.MAX_OUTPUTS, predictor.MAX_NETWORK_BYTES) == (1024, 4096, 2**28)
    assert (table_coding.LARGEST_VALUE, colour_matrix.MAX_COEFFICIENT) == (10.0**30, 10.0**6)
    assert f"schema version: {seal.SCHEMA}; {seal.OLDEST_SCHEMA} is still read" in text


def bound_steepness(filled: FilledColours, image: np.ndarray) -> float:
    """Return how much a program can enlarge a small error of a value: random cubes are steep, and steps multiply."""
    values = Model(filled.program, filled.tables).adapt(image)
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


@settings(max_examples=60, deadline=None)
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
    if image.dtype == np.float32:
        allowed = min(2e-3, 2e-6 * bound_steepness(filled, image) * max(1.0, float(np.abs(found).max())))
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    else:
        allowed = 1 if image.dtype == np.uint8 else 100
        assert found.dtype == image.dtype
        assert np.abs(found.astype(int) - expected).max() <= allowed


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
