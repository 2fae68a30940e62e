"""docs/artefact.md: its reader reads artefacts and computes what the ops compute, and its worked pixel is right."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import Filled, filled_programs, images

from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Ensemble, Lookup, Requantise
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import MAX_SCALE, Program

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "artefact.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text()


@pytest.fixture(scope="module")
def documented_apply(text: str) -> Callable[[Path, np.ndarray], np.ndarray]:
    """Return `apply` of the code block that the document ends with."""
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[-1]
    assert len(code.splitlines()) <= 90
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    return names["apply"]


def run(artefact: Artefact, plane: np.ndarray) -> np.ndarray:
    planes: dict[str, Any] = {artefact.program.input: plane}
    for op in artefact.program.ops:
        planes[op.output] = op.reference(planes, artefact.tables)
    return planes[artefact.program.output]


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
    from lutkit_runtime import artefact, lattice, ops, pattern, seal

    assert seal.MAX_FILE_BYTES == artefact.MAX_TABLE_BYTES == 2**30
    assert artefact.MAX_TEXT_BYTES == 2**20
    assert "at most 2^30 bytes, its tables together 2^30 entries, each text 2^20 bytes" in text
    assert f"at most {artefact.MAX_TABLES} slots" in text
    assert f"at\nmost {MAX_SCALE} times as large" in text
    assert f"Offsets reach at most {pattern.MAX_REACH}." in text
    assert lattice.CODES == 256
    named = {op.__struct_config__.tag for op in (ops.Add, ops.Ensemble, ops.Lookup, ops.Requantise)}
    assert named == set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    for op in (ops.Add, ops.Ensemble, ops.Lookup, ops.Requantise, Program):
        for name in op.__struct_fields__:
            assert f"`{name}`" in text or f'"{name}"' in text
