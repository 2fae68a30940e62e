"""Artefacts: what is written comes back, the same artefact gives the same bytes, refusals are one line."""

import hashlib
import io
import math
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from colour_models import THUMBNAIL_NETWORK, FilledColours, colour_programs, make_adaptive, make_program
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.artefact import (
    Artefact,
    accumulate,
    difference,
    read_artefact,
    table_shapes,
    write_artefact,
)
from lutkit_runtime.errors import ArtefactError, LutkitError, ProgramError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, ColourMatrix, Ensemble, Lookup, Requantise
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern
from lutkit_runtime.program import Program
from lutkit_runtime.seal import SCHEMA

FROZEN = Path(__file__).with_name("artefact-schema-1.h5")
"""Written once with `write_artefact(FROZEN, small_artefact())`; it must be readable for ever."""
FROZEN_COLOURS = Path(__file__).with_name("artefact-schema-2.h5")
"""Written once with `write_artefact(FROZEN_COLOURS, make_adaptive())`; it must be readable for ever."""


def build_lookup(slot: str, *, pattern: IndexPattern | None = None, interval: int = 6, block: int = 2) -> Lookup:
    """Return a lookup of the image whose plane is named like its slot."""
    pattern = pattern or NAMED_PATTERNS["v"]
    lattice = Lattice(pattern.samples, interval)
    return Lookup(output=slot, input="image", slot=slot, pattern=pattern, lattice=lattice, block=block)


def build_program(*lookups: Lookup) -> Program:
    """Return a program of one stage that sums the lookups."""
    body = (*lookups, Add(output="turn", terms=tuple(op.output for op in lookups)))
    ops = (
        Ensemble(output="sum", input="image", body=body),
        Requantise(output="result", input="sum", bias=0, divisor=64),
    )
    return Program(family="test", task="sr", ops=ops)


def fill(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random tables for every slot."""
    random = np.random.default_rng(seed)
    return {
        name: random.integers(-128, 128, (slot.entries, slot.outputs)).astype(np.int8)
        for name, slot in program.slots.items()
    }


def small_artefact() -> Artefact:
    """Return an artefact of two tables whose entries follow from a formula."""
    program = build_program(
        build_lookup("stage1/v"),
        build_lookup("stage1/s", pattern=NAMED_PATTERNS["s"], interval=7),
    )
    tables = {
        name: (np.arange(slot.entries * slot.outputs) * 37 % 256 - 128).astype(np.int8).reshape(slot.entries, -1)
        for name, slot in program.slots.items()
    }
    return Artefact(program, tables, {"recipe": {"steps": 5, "psnr": 30.5}, "licence": "MIT, für alle"})


def assert_same(found: Artefact, expected: Artefact) -> None:
    assert found.program == expected.program
    assert found.provenance == expected.provenance
    assert found.tables.keys() == expected.tables.keys()
    for name, table in found.tables.items():
        assert table.dtype == expected.tables[name].dtype
        assert table.flags.c_contiguous
        np.testing.assert_array_equal(table, expected.tables[name])


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    write_artefact(path, small_artefact())
    assert_same(read_artefact(path), small_artefact())
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.h5"]


def test_a_file_of_the_first_schema_stays_readable() -> None:
    assert_same(read_artefact(FROZEN), small_artefact())


def test_a_file_of_the_second_schema_stays_readable() -> None:
    assert FROZEN_COLOURS.read_bytes()[8] == 2
    assert_same(read_artefact(FROZEN_COLOURS), make_adaptive())


@settings(max_examples=60)
@given(colour_programs())
def test_any_program_for_colours_comes_back(tmp_path_factory: pytest.TempPathFactory, filled: FilledColours) -> None:
    artefact = Artefact(filled.program, filled.tables, {"title": "ä"})
    path = tmp_path_factory.mktemp("colours") / "model.h5"
    write_artefact(path, artefact)
    assert_same(read_artefact(path), artefact)


def test_a_program_without_tables_comes_back(tmp_path: Path) -> None:
    matrix = ColourMatrix(input="image", matrix=((0, 1, 0), (0, 0, 1), (1, 0, 0)), output="result")
    artefact = Artefact(make_program(matrix), {})
    write_artefact(tmp_path / "model.h5", artefact)
    assert_same(read_artefact(tmp_path / "model.h5"), artefact)


def test_tables_for_colours_are_stored_as_the_document_says(tmp_path: Path) -> None:
    write_artefact(tmp_path / "model.h5", make_adaptive())
    with h5py.File(tmp_path / "model.h5", "r") as file:
        nodes = file["tables/basis/0"][()]
        assert (nodes.dtype, nodes.shape) == (np.float32, (3, 3, 3, 3))
        assert nodes[:, 0, 0, 2].tolist() == [1, 0, 0]  # [channel][blue][green][red]
        assert file["tables/basis/1"].dtype == np.int16
        assert file["tables/predictor"].shape == (1, len(THUMBNAIL_NETWORK.read_bytes()))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e31])
def test_tables_of_what_is_no_usable_number_are_not_written(tmp_path: Path, value: float) -> None:
    artefact = make_adaptive()
    nodes = artefact.tables["basis/0"].copy()
    nodes[4, 1] = value
    with pytest.raises(ProgramError, match="slot 'basis/0' holds values that are not finite"):
        write_artefact(tmp_path / "m.h5", Artefact(artefact.program, {**artefact.tables, "basis/0": nodes}))
    assert not list(tmp_path.iterdir())


@settings(max_examples=60)
@given(st.data())
def test_any_program_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    offset = st.tuples(st.integers(-64, 64), st.integers(-64, 64))
    count = data.draw(st.integers(1, 3))
    block = data.draw(st.integers(1, 3))
    lookups = []
    for position in range(count):
        pattern = IndexPattern(tuple(data.draw(st.lists(offset, min_size=1, max_size=4))))
        interval = data.draw(st.integers(6 if pattern.samples > 2 else 4, 8))
        lookups.append(build_lookup(f"slot{position}", pattern=pattern, interval=interval, block=block))
    program = build_program(*lookups)
    artefact = Artefact(program, fill(program, data.draw(st.integers(0, 99))), {"n": data.draw(st.integers())})
    path = tmp_path_factory.mktemp("any") / "model.h5"
    write_artefact(path, artefact)
    assert_same(read_artefact(path), artefact)


def test_the_same_artefact_gives_the_same_bytes(tmp_path: Path) -> None:
    artefact = small_artefact()
    turned = Artefact(
        artefact.program,
        dict(reversed(artefact.tables.items())),
        dict(reversed(artefact.provenance.items())),
    )
    write_artefact(tmp_path / "a.h5", artefact)
    write_artefact(tmp_path / "b.h5", turned)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_strided_tables_are_stored_by_value(tmp_path: Path) -> None:
    artefact = small_artefact()
    tables = {name: np.asfortranarray(table) for name, table in artefact.tables.items()}
    write_artefact(tmp_path / "a.h5", Artefact(artefact.program, tables, artefact.provenance))
    assert_same(read_artefact(tmp_path / "a.h5"), artefact)


def test_every_hdf5_tool_opens_an_artefact(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    write_artefact(path, small_artefact())
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 512
        assert sorted(file) == ["program", "provenance", "tables"]
        assert file["tables/stage1/s"].shape == (4, 3, 3, 3, 3)
        assert file["tables/stage1/v"].shape == (4, 5, 5)
        assert b'"family":"test"' in file["program"][()]


@given(st.integers(0, 2**32), st.sampled_from([(1, 4), (3, 1), (2, 5, 5), (1, 3, 3, 3), (2, 2, 2, 2, 2)]))
def test_differences_are_undone(seed: int, shape: tuple[int, ...]) -> None:
    table = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    before = table.copy()
    np.testing.assert_array_equal(accumulate(difference(table)), before)
    np.testing.assert_array_equal(table, before)


def test_differences_of_a_ramp_in_both_axes_are_few() -> None:
    rows, columns = np.mgrid[0:5, 0:6]
    stored = difference((40 * rows + 30 * columns).astype(np.uint8).view(np.int8))
    assert stored[0].tolist() == [0, 30, 30, 30, 30, 30]
    assert stored[1:].tolist() == [[40, 0, 0, 0, 0, 0]] * 4


def test_smooth_tables_take_less_room_than_their_entries(tmp_path: Path) -> None:
    program = build_program(build_lookup("s", pattern=NAMED_PATTERNS["s"], interval=4, block=2))
    nodes = np.arange(17) * 4.0
    smooth = nodes[:, None, None, None] + nodes[:, None, None] / 2 + nodes[:, None] / 3 + nodes / 4
    table = np.repeat(np.rint(smooth.reshape(-1, 1) / 3).astype(np.int8), 4, axis=1)
    write_artefact(tmp_path / "model.h5", Artefact(program, {"s": table}))
    assert (tmp_path / "model.h5").stat().st_size < table.nbytes / 5


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_text("precious")
    with pytest.raises(ArtefactError, match="exists already"):
        write_artefact(path, small_artefact())
    assert path.read_text() == "precious"
    write_artefact(path, small_artefact(), overwrite=True)
    assert_same(read_artefact(path), small_artefact())


def test_tables_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    artefact = small_artefact()
    short = {**artefact.tables, "stage1/v": artefact.tables["stage1/v"][:-1]}
    for tables in (short, {}, {**artefact.tables, "more": artefact.tables["stage1/v"]}):
        with pytest.raises(ProgramError, match="slot"):
            write_artefact(tmp_path / "model.h5", Artefact(artefact.program, tables))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), b"bytes", np.float32(1)])
def test_provenance_that_is_no_json_is_not_written(tmp_path: Path, value: object) -> None:
    artefact = small_artefact()
    with pytest.raises(ArtefactError, match="JSON"):
        write_artefact(tmp_path / "m.h5", Artefact(artefact.program, artefact.tables, {"psnr": [value]}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["", "/", "a/", "/a", "a//b", ".", "..", "a/..", "a b", "ä", "a\n", "x" * 65, "a/b/c/d/e"]
)
def test_slot_names_that_hdf5_would_read_otherwise_are_refused(name: str) -> None:
    with pytest.raises(ArtefactError, match="cannot be stored"):
        table_shapes(build_program(build_lookup(name)))


def test_a_slot_below_another_is_refused() -> None:
    with pytest.raises(ArtefactError, match="'a' and 'a/b'"):
        table_shapes(build_program(build_lookup("a"), build_lookup("a/b")))


def test_a_slot_of_two_lattices_is_refused() -> None:
    """9 * 9 nodes are as many entries as 3 * 3 * 3 * 3, but not the same table."""
    wide = build_lookup("a", interval=5)
    deep = build_lookup("a", pattern=NAMED_PATTERNS["s"], interval=7)
    assert wide.lattice.entries == deep.lattice.entries
    with pytest.raises(ArtefactError, match="two slots"):
        table_shapes(build_program(wide, deep))


def test_tables_beyond_the_bound_are_refused_by_their_shape() -> None:
    with pytest.raises(ArtefactError, match="larger interval"):
        table_shapes(build_program(build_lookup("s", pattern=NAMED_PATTERNS["s"], interval=1, block=4)))


def test_refusals_name_the_file_and_the_remedy_in_one_line(tmp_path: Path) -> None:
    cases = {
        "missing.h5": None,
        "empty.h5": b"",
        "text.h5": b"hello\n" * 1000,
        "short.h5": b"\x89LUTKIT\n",
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["x"] = 1
    cases["other.h5"] = buffer.getvalue()
    expected = {
        "missing.h5": "No such file",
        "empty.h5": "is empty",
        "text.h5": "not a lutkit artefact",
        "short.h5": "ends after 8 bytes",
        "other.h5": "HDF5 file, but not a lutkit artefact",
    }
    for name, content in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ArtefactError) as caught:
            read_artefact(path)
        message = str(caught.value)
        assert str(path) in message
        assert expected[name] in message
        assert re.search(r": \w+", message)
        assert "\n" not in message


def test_a_folder_and_a_nameless_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is a folder"):
        read_artefact(tmp_path)
    with pytest.raises(ArtefactError, match="no file name"):
        read_artefact("a\0b")
    with pytest.raises(ArtefactError, match="is a folder"):
        write_artefact(tmp_path, small_artefact())


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    write_artefact(path, small_artefact())
    data = bytearray(path.read_bytes())
    data[8:12] = (SCHEMA + 1).to_bytes(4, "little")
    data[56:88] = hashlib.sha256(data[:56]).digest()
    path.write_bytes(data)
    told = rf"made by a newer lutkit \(schema {SCHEMA + 1}\); this one reads 1 to {SCHEMA}: upgrade lutkit"
    with pytest.raises(ArtefactError, match=told):
        read_artefact(path)


def test_every_refusal_is_a_lutkit_error() -> None:
    assert issubclass(ArtefactError, LutkitError)
