"""docs/artefact.md: its reader reads artefacts and computes what the ops compute, and its worked pixel is right."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, Requantise
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern
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


def build_stage(data: st.DataObject, source: str, result: str, block: int, slots: list[str]) -> list[Any]:
    offset = st.tuples(st.integers(-3, 3), st.integers(-3, 3))
    padding = data.draw(st.sampled_from(Padding))
    interval = data.draw(st.integers(6, 8))
    body: list[Any] = []
    for slot in slots:
        pattern = IndexPattern(tuple(data.draw(st.lists(offset, min_size=1, max_size=4))))
        possible = [Interpolation.SIMPLEX, Interpolation.SRLUT] if pattern.samples == 4 else [Interpolation.SIMPLEX]
        body.append(
            Lookup(
                output=slot,
                input=source,
                slot=slot,
                pattern=pattern,
                lattice=Lattice(pattern.samples, interval),
                block=block,
                padding=padding,
                interpolation=data.draw(st.sampled_from(possible)),
            )
        )
    body.append(Add(output="turn", terms=tuple(slots)))
    total = f"{result}/sum"
    return [
        Ensemble(output=total, input=source, body=tuple(body)),
        Requantise(
            output=result,
            input=total,
            bias=data.draw(st.integers(-(10**5), 10**5)),
            divisor=data.draw(st.integers(1, 2000)),
        ),
    ]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_documented_reader_computes_what_the_ops_compute(
    tmp_path_factory: pytest.TempPathFactory,
    documented_apply: Callable[[Path, np.ndarray], np.ndarray],
    data: st.DataObject,
) -> None:
    ops = [
        *build_stage(data, "image", "codes1", 1, ["stage1/a", "stage1/b"]),
        *build_stage(data, "codes1", "result", data.draw(st.integers(1, 3)), ["stage2/a"]),
    ]
    program = Program(family="test", task="sr", ops=tuple(ops))
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    tables = {
        name: random.integers(-128, 128, (slot.entries, slot.outputs)).astype(np.int8)
        for name, slot in program.slots.items()
    }
    artefact = Artefact(program, tables)
    path = tmp_path_factory.mktemp("documented") / "model.h5"
    write_artefact(path, artefact)
    plane = random.integers(0, 256, (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)))).astype(np.uint8)
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
