"""Artefacts that are damaged or hostile are refused, whatever is wrong with them."""

import json
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from colour_models import make_adaptive
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime import strict_hdf5
from lutkit_runtime.artefact import MAX_TEXT_BYTES, Artefact, read_artefact, write_artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ArtefactError, LutkitError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Ensemble, Lookup, Requantise
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import Program
from lutkit_runtime.seal import BLOCK_BYTES, seal

LATTICE = Lattice(2, 3)
SHAPE = (4, LATTICE.nodes_per_axis, LATTICE.nodes_per_axis)


def small_artefact() -> Artefact:
    lookup = Lookup(output="up", input="image", slot="stage1/v", pattern=NAMED_PATTERNS["v"], lattice=LATTICE, block=2)
    ops = (
        Ensemble(output="sum", input="image", body=(lookup,)),
        Requantise(output="result", input="sum", bias=0, divisor=8),
    )
    table = np.random.default_rng(1).integers(-127, 128, (LATTICE.entries, 4)).astype(np.int8)
    return Artefact(Program(family="test", task="sr", ops=ops), {"stage1/v": table}, {"licence": "MIT"})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "model.h5"
    write_artefact(path, small_artefact())
    read_artefact(path)
    return path.read_bytes()


def refuse(path: Path, content: bytes) -> str:
    """Assert that a file of this content is refused in one line that names it; return the message."""
    path.write_bytes(content)
    return refuse_file(path)


def refuse_file(path: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        read_artefact(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < len(str(path)) + 400
    return message


@pytest.fixture
def library_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a test fail when damaged bytes reach the HDF5 library."""

    def opened(_: bytes) -> None:
        pytest.fail("the HDF5 library was given bytes that are not those that were written")

    monkeypatch.setattr(strict_hdf5, "open_hdf5", opened)


@pytest.mark.usefixtures("library_locked")
def test_every_changed_byte_is_noticed_before_the_library_sees_it(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(sound)
    with path.open("r+b", buffering=0) as file:
        for position, value in enumerate(sound):
            os.pwrite(file.fileno(), bytes([value ^ 1 << position % 8]), position)
            refuse_file(path)
            os.pwrite(file.fileno(), bytes([value]), position)
    assert path.read_bytes() == sound


@pytest.mark.usefixtures("library_locked")
def test_every_truncation_is_noticed(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(sound)
    lengths = {*range(BLOCK_BYTES + 2), *range(BLOCK_BYTES, len(sound), 97), len(sound) - 1}
    for length in sorted(lengths, reverse=True):
        os.truncate(path, length)
        refuse_file(path)


@pytest.mark.usefixtures("library_locked")
def test_appended_bytes_are_noticed(tmp_path: Path, sound: bytes) -> None:
    for more in (b"\0", b"\n", sound, os.urandom(5000)):
        assert "declares" in refuse(tmp_path / "model.h5", sound + more)


@pytest.mark.usefixtures("library_locked")
@given(st.data())
def test_changed_ranges_are_noticed(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(sound) - 1))
    new = data.draw(st.binary(min_size=1, max_size=2000))
    changed = sound[:start] + new + sound[start + len(new) :]
    if changed != sound:
        refuse(tmp_path_factory.mktemp("range") / "model.h5", changed)


@settings(max_examples=200)
@given(st.data())
def test_sealed_nonsense_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    payload = data.draw(st.binary(max_size=500))
    refuse(tmp_path_factory.mktemp("nonsense") / "model.h5", seal(payload) + payload)


@settings(max_examples=150)
@given(st.data())
def test_a_broken_tree_under_a_valid_seal_never_escapes(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject
) -> None:
    """Some changes are harmless (an unused byte); what is read must be a whole artefact, and nothing else is raised."""
    payload = bytearray(sound[BLOCK_BYTES:])
    for position in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=8)):
        payload[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("tree") / "model.h5"
    path.write_bytes(seal(bytes(payload)) + payload)
    try:
        read_artefact(path).validate()
    except ArtefactError as problem:
        assert str(problem).isprintable()


@pytest.fixture
def forge(tmp_path: Path, sound: bytes) -> Callable[[Callable[[h5py.File], Any]], str]:
    """Return a function that edits the HDF5 tree, seals it correctly, and asserts that it is refused."""

    def edit(change: Callable[[h5py.File], Any]) -> str:
        path = tmp_path / "forged.h5"
        path.write_bytes(sound)
        with h5py.File(path, "r+") as file:
            change(file)
        payload = path.read_bytes()[BLOCK_BYTES:]
        return refuse(path, seal(payload) + payload)

    return edit


def replace_table(file: h5py.File, **how: Any) -> Any:
    """Put another dataset in the place of the table."""
    del file["tables/stage1/v"]
    settings = {"shape": SHAPE, "dtype": np.int8, "chunks": (1, *SHAPE[1:]), "compression": "gzip", **how}
    return file.create_dataset(
        "tables/stage1/v", **{name: value for name, value in settings.items() if value is not None}
    )


def replace_text(file: h5py.File, name: str, text: bytes) -> None:
    del file[name]
    file.create_dataset(name, data=np.bytes_(text), dtype=h5py.string_dtype("utf-8", len(text)))


def fill_chunks(dataset: h5py.Dataset, packed: bytes, mask: int = 0) -> None:
    for index in range(dataset.shape[0]):
        dataset.id.write_direct_chunk((index, 0, 0), packed, mask)


def test_an_edit_that_changes_nothing_is_not_refused(tmp_path: Path, sound: bytes) -> None:
    """The editing itself must not be what the tests below see."""
    path = tmp_path / "forged.h5"
    path.write_bytes(sound)
    with h5py.File(path, "r+") as file:
        values = file["tables/stage1/v"][()]
        replace_table(file, data=values)
        replace_text(file, "program", msgspec.json.encode(small_artefact().program))
    payload = path.read_bytes()[BLOCK_BYTES:]
    path.write_bytes(seal(payload) + payload)
    np.testing.assert_array_equal(read_artefact(path).tables["stage1/v"], small_artefact().tables["stage1/v"])


def link_outside(file: h5py.File) -> None:
    del file["tables/stage1/v"]
    file["tables/stage1/v"] = h5py.ExternalLink("/etc/passwd", "/x")


def link_softly(file: h5py.File) -> None:
    file.move("tables/stage1/v", "hidden")
    file["tables/stage1/v"] = h5py.SoftLink("/hidden")


def link_group_softly(file: h5py.File) -> None:
    file.move("tables", "elsewhere")
    file["tables"] = h5py.SoftLink("/elsewhere")


def make_tables_a_dataset(file: h5py.File) -> None:
    del file["tables"]
    file["tables"] = 1


def make_program_a_group(file: h5py.File) -> None:
    del file["program"]
    file.create_group("program")


def make_a_circle(file: h5py.File) -> None:
    del file["tables/stage1/v"]
    file["tables/stage1/v"] = file["tables"]


def store_virtually(file: h5py.File) -> None:
    del file["tables/stage1/v"]
    layout = h5py.VirtualLayout(shape=SHAPE, dtype=np.int8)
    layout[0] = h5py.VirtualSource("/etc/passwd", "x", shape=SHAPE[1:])
    file.create_virtual_dataset("tables/stage1/v", layout)


def store_outside(file: h5py.File) -> None:
    replace_table(file, chunks=None, compression=None, external=[("/etc/passwd", 0, int(np.prod(SHAPE)))])


def store_text_outside(file: h5py.File) -> None:
    del file["program"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_external(b"/etc/passwd", 0, 100)
    kind = h5py.h5t.py_create(h5py.string_dtype("utf-8", 100), logical=True)
    h5py.h5d.create(file.id, b"program", kind, h5py.h5s.create(h5py.h5s.SCALAR), creation)


HOSTILE_TREES: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "external link": (link_outside, "external link"),
    "soft link": (link_softly, "members"),
    "soft link to a group": (link_group_softly, "members"),
    "circle": (make_a_circle, "not a dataset"),
    "tables is a dataset": (make_tables_a_dataset, "a group is expected"),
    "program is a group": (make_program_a_group, "not a dataset"),
    "virtual": (store_virtually, "not stored in chunks"),
    "external storage": (store_outside, "not stored in chunks"),
    "external text": (store_text_outside, "not stored contiguously"),
    "extra dataset": (lambda file: file.create_dataset("more", data=1), "members"),
    "extra table": (lambda file: file.create_dataset("tables/more", data=1), "members"),
    "extra group": (lambda file: file.create_group("tables/stage2"), "members"),
    "missing table": (lambda file: file.pop("tables/stage1/v"), "members"),
    "renamed table": (lambda file: file.move("tables/stage1/v", "tables/stage1/s"), "missing"),
    "missing program": (lambda file: file.pop("program"), "members"),
    "attribute of root": (lambda file: file.attrs.update(x=1), "attributes"),
    "attribute of table": (lambda file: file["tables/stage1/v"].attrs.update(x=1), "attributes"),
    "attribute of text": (lambda file: file["program"].attrs.update(x=1), "attributes"),
    "float table": (lambda file: replace_table(file, dtype=np.float32), "int8 is needed"),
    "unsigned table": (lambda file: replace_table(file, dtype=np.uint8), "int8 is needed"),
    "reference table": (lambda file: replace_table(file, dtype=h5py.ref_dtype), "int8 is needed"),
    "object table": (lambda file: replace_table(file, dtype=h5py.vlen_dtype(np.int8)), "int8 is needed"),
    "enumerated table": (lambda file: replace_table(file, dtype=h5py.enum_dtype({"a": 1}, np.int8)), "int8 is needed"),
    "short table": (lambda file: replace_table(file, shape=(3, *SHAPE[1:])), "the program needs"),
    "huge table": (lambda file: replace_table(file, shape=(4, 2**31, 2**31)), "the program needs"),
    "scalar table": (lambda file: replace_table(file, shape=(), chunks=None, compression=None), "the program needs"),
    "growing table": (lambda file: replace_table(file, maxshape=(None, *SHAPE[1:])), "the program needs"),
    "other chunks": (lambda file: replace_table(file, chunks=SHAPE), "chunks of one output"),
    "contiguous table": (lambda file: replace_table(file, chunks=None, compression=None), "not stored in chunks"),
    "no filter": (lambda file: replace_table(file, compression=None), "deflate alone"),
    "lzf": (lambda file: replace_table(file, compression="lzf"), "deflate alone"),
    "shuffle": (lambda file: replace_table(file, shuffle=True), "deflate alone"),
    "checksum": (lambda file: replace_table(file, fletcher32=True), "deflate alone"),
    "scale-offset": (lambda file: replace_table(file, compression=None, scaleoffset=0), "deflate alone"),
    "no chunks written": (lambda file: replace_table(file), "chunk 0"),
    "skipped filter": (lambda file: fill_chunks(replace_table(file), b"\0" * 1089, 1), "skips its filter"),
    "no deflate": (lambda file: fill_chunks(replace_table(file), b"\0" * 100), "cannot be inflated"),
    "short chunk": (lambda file: fill_chunks(replace_table(file), zlib.compress(bytes(1088))), "1088 bytes"),
    "long chunk": (lambda file: fill_chunks(replace_table(file), zlib.compress(bytes(1090))), "1090 bytes"),
    "cut chunk": (lambda file: fill_chunks(replace_table(file), zlib.compress(bytes(1089))[:-1]), "in chunk 0"),
    "two streams": (lambda file: fill_chunks(replace_table(file), zlib.compress(bytes(1089)) + b"x"), "in chunk 0"),
    "padded chunk": (lambda file: fill_chunks(replace_table(file), bytes(5000)), "lacks a usable chunk"),
    "text of varying length": (
        lambda file: (file.pop("program"), file.create_dataset("program", data="{}")),
        "one string of fixed length",
    ),
    "number as text": (lambda file: (file.pop("program"), file.create_dataset("program", data=1)), "fixed length"),
    "list of texts": (
        lambda file: (file.pop("program"), file.create_dataset("program", data=np.array([b"{}", b"{}"]))),
        "fixed length",
    ),
    "long text": (lambda file: replace_text(file, "provenance", b" " * (MAX_TEXT_BYTES + 1)), "at most"),
}


@pytest.mark.parametrize("fault", HOSTILE_TREES)
def test_a_hostile_tree_under_a_valid_seal_is_refused(
    forge: Callable[[Callable[[h5py.File], Any]], str], fault: str
) -> None:
    change, reason = HOSTILE_TREES[fault]
    assert reason in forge(change)


def test_a_chunk_that_inflates_without_end_takes_no_memory(
    forge: Callable[[Callable[[h5py.File], Any]], str],
) -> None:
    bomb = zlib.compress(bytes(1_000_000), 9)
    assert len(bomb) < 1089
    tracemalloc.start()
    try:
        assert "in chunk 0" in forge(lambda file: fill_chunks(replace_table(file), bomb))
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def sound_program() -> dict[str, Any]:
    return json.loads(msgspec.json.encode(small_artefact().program))


def change_lookup(**fields: Any) -> dict[str, Any]:
    program = sound_program()
    program["ops"][0]["body"][0].update(fields)
    return program


def change_ops(*ops: dict[str, Any]) -> dict[str, Any]:
    """Return the program with ops before its own, whose last one it reads in the place of the image."""
    program = sound_program()
    program["ops"][0]["input"] = program["ops"][0]["body"][0]["input"] = ops[-1]["output"]
    return {**program, "ops": [*ops, *program["ops"]]}


DOUBLINGS = [{"op": "add", "terms": [f"x{n}", f"x{n}"], "output": f"x{n + 1}"} for n in range(30)]

HOSTILE_PROGRAMS: dict[str, Any] = {
    "a sum indexes a table": change_ops({"op": "add", "terms": ["image", "image"], "output": "x"}),
    "a sum overflows": change_ops(
        {"op": "add", "terms": ["image", "image"], "output": "x0"},
        *DOUBLINGS,
        {"op": "requantise", "input": "x30", "bias": 0, "divisor": 1, "output": "x"},
    ),
    "a bias overflows": change_ops(
        {"op": "add", "terms": ["image", "image"], "output": "x0"},
        *DOUBLINGS[:22],
        {"op": "requantise", "input": "x22", "bias": 1 << 30, "divisor": 1, "output": "x"},
    ),
    "the result is a sum": {**sound_program(), "ops": sound_program()["ops"][:1], "output": "sum"},
    "the result is huge": change_ops(
        {**sound_program()["ops"][0]["body"][0], "slot": "a", "block": 8, "output": "x"},
        {"op": "requantise", "input": "x", "bias": 0, "divisor": 1, "output": "y"},
        {**sound_program()["ops"][0]["body"][0], "slot": "b", "block": 8, "input": "y", "output": "z"},
        {"op": "requantise", "input": "z", "bias": 0, "divisor": 1, "output": "zz"},
    ),
    "nothing": {},
    "list": [],
    "unknown field": {**sound_program(), "hook": "import os"},
    "unknown field of an op": change_lookup(hook=1),
    "unknown field of a lattice": change_lookup(lattice={"axes": 2, "interval": 3, "more": 1}),
    "unknown op": {**sound_program(), "ops": [{"op": "system", "output": "result"}]},
    "no ops": {**sound_program(), "ops": []},
    "text for a number": change_lookup(block="2"),
    "fraction for a number": change_lookup(block=2.5),
    "unknown padding": change_lookup(padding="wrap"),
    "16 bits": {**sound_program(), "depth": 16},
    "unconnected": change_lookup(input="other"),
    "huge interval": change_lookup(lattice={"axes": 2, "interval": 10**9}),
    "huge negative interval": change_lookup(lattice={"axes": 2, "interval": -(2**70)}),
    "huge block": change_lookup(block=10**30),
    "many axes": change_lookup(lattice={"axes": 10**9, "interval": 3}),
    "huge table": change_lookup(lattice={"axes": 2, "interval": 0}, block=8),
    "far sample": change_lookup(pattern={"offsets": [[0, 0], [0, 10**9]]}),
    "other slot": change_lookup(slot="stage1/s"),
    "slot outside": change_lookup(slot="../program"),
    "slot at the root": change_lookup(slot="/program"),
    "name that steers a terminal": change_lookup(input="\x1b[31m\r\n" + "x" * 10_000),
    "nested ensemble": {**sound_program(), "ops": [{**sound_program()["ops"][0], "body": sound_program()["ops"]}]},
}


@pytest.mark.parametrize("fault", HOSTILE_PROGRAMS)
def test_a_hostile_program_is_refused(forge: Callable[[Callable[[h5py.File], Any]], str], fault: str) -> None:
    text = json.dumps(HOSTILE_PROGRAMS[fault]).encode()
    message = forge(lambda file: replace_text(file, "program", text))
    assert EXPECTED.get(fault, "") in message


EXPECTED = {
    "a sum indexes a table": "which is a sum",
    "a sum overflows": "can reach 4278190080",
    "a bias overflows": "can reach 3212836864",
    "the result is a sum": "holds no codes",
    "the result is huge": "enlarges 128 times",
}


@pytest.mark.parametrize("name", ["program", "provenance"])
@pytest.mark.parametrize(
    "text",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"ops":' * 50_000,
        b"null",
        b'"x"',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":1}{}',
        b'{"\xff":1}',
        b'{"a":"\\ud800"}',
        b"{",
        b" ",
    ],
    ids=lambda text: repr(text[:16]),
)
def test_text_that_is_no_sound_json_is_refused(
    forge: Callable[[Callable[[h5py.File], Any]], str], name: str, text: bytes
) -> None:
    forge(lambda file: replace_text(file, name, text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def replace_somewhere(data: st.DataObject, value: Any) -> Any:
    """Return a JSON value with one part, anywhere inside, replaced, removed or joined by another."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(sorted(value)))
        rest = {name: part for name, part in value.items() if name != key}
        fate = data.draw(st.sampled_from(["change", "change", "change", "remove", "add"]))
        if fate == "remove":
            return rest
        if fate == "add":
            return {**value, data.draw(st.text(max_size=8)): data.draw(JSON)}
        return {**rest, key: replace_somewhere(data, value[key])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 9)):
        position = data.draw(st.integers(0, len(value) - 1))
        return [*value[:position], replace_somewhere(data, value[position]), *value[position + 1 :]]
    return data.draw(JSON)


@settings(max_examples=300)
@given(st.data())
def test_any_program_text_is_refused_or_sound(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("json") / "model.h5"
    path.write_bytes(sound)
    text = json.dumps(replace_somewhere(data, sound_program())).encode()
    with h5py.File(path, "r+") as file:
        replace_text(file, "program", text)
    payload = path.read_bytes()[BLOCK_BYTES:]
    path.write_bytes(seal(payload) + payload)
    try:
        found = read_artefact(path)
    except ArtefactError as problem:
        assert str(problem).isprintable()
    else:
        found.validate()
        assert found.tables["stage1/v"].shape == (LATTICE.entries, 4)


@pytest.fixture(scope="module")
def sound_colours(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("colours") / "model.h5"
    write_artefact(path, make_adaptive())
    return path.read_bytes()


def edit_colours(path: Path, sound_colours: bytes, change: Callable[[h5py.File], Any]) -> None:
    """Write the tiny adaptive model, changed, under a valid seal."""
    path.write_bytes(sound_colours)
    with h5py.File(path, "r+") as file:
        change(file)
    payload = path.read_bytes()[BLOCK_BYTES:]
    path.write_bytes(seal(payload) + payload)


def put_table(name: str, values: np.ndarray, **how: Any) -> Callable[[h5py.File], Any]:
    def change(file: h5py.File) -> None:
        del file[f"tables/{name}"]
        settings = {"chunks": (1, *values.shape[1:]), "compression": "gzip", **how}
        file.create_dataset(f"tables/{name}", data=values, **settings)

    return change


def put_program(**changes: Any) -> Callable[[h5py.File], Any]:
    """Change fields of the ops, given as op__field or op__part__field, in the program's text."""

    def change(file: h5py.File) -> None:
        program = json.loads(file["program"][()])
        for path, value in changes.items():
            number, *fields, last = path.split("__")
            part = program["ops"][int(number.removeprefix("op"))] if number != "program" else program
            for name in fields:
                part = part[int(name)] if name.isdigit() else part[name]
            part[last] = value
        replace_text(file, "program", json.dumps(program).encode())

    return change


NODES = make_adaptive().tables["basis/0"].T.reshape(3, 3, 3, 3)
BROKEN = NODES.copy()
BROKEN[1, 2, 0, 1] = np.nan

HOSTILE_COLOURS: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "no numbers": (put_table("basis/0", BROKEN), "not finite"),
    "infinity": (put_table("basis/0", np.where(NODES == 1, np.float32(np.inf), NODES)), "not finite"),
    "huge numbers": (put_table("basis/0", NODES * np.float32(1e31)), "at most 1e+30"),
    "doubles": (put_table("basis/0", NODES.astype(np.float64)), "float32 is needed"),
    "big-endian": (put_table("basis/0", NODES.astype(">f4")), "float32 is needed"),
    "integers for floats": (put_table("basis/0", NODES.astype(np.int16)), "float32 is needed"),
    "floats for integers": (put_table("basis/1", NODES), "int16 is needed"),
    "floats for bytes": (put_table("predictor", np.zeros((1, 629), np.float32)), "uint8 is needed"),
    "rows of nodes": (put_table("basis/0", NODES.reshape(3, 27)), "the program needs"),
    "other chunks": (put_table("basis/0", NODES, chunks=(3, 3, 3, 3)), "chunks of one output"),
    "lzf": (put_table("basis/0", NODES, compression="lzf"), "deflate alone"),
    "another size of cubes": (put_program(op1__size=129, op2__cube__size=129), "the program needs"),
    "a cube beyond all bounds": (put_program(op1__size=10**9, op2__cube__size=10**9), "2 to 129"),
    "a network beyond all bounds": (put_program(op0__graph_bytes=10**12), "graph_bytes"),
    "a larger network": (put_program(op0__graph_bytes=1 << 28), "the program needs"),
    "2^31 weights": (put_program(op0__outputs=2**31), "outputs"),
    "a huge thumbnail": (put_program(op0__side=10**6), "side"),
    "more tables than a file holds": (
        put_program(
            op1__size=129, op2__cube__size=129, op1__bases=[{"slot": f"b{n}"} for n in range(64)], op0__outputs=64
        ),
        "an artefact holds at most",
    ),
    "a step of 0": (put_program(op1__bases__1__coding={"storage": "int16", "offset": 0.0, "step": 0.0}), "step 0.0"),
    "a huge step": (put_program(op1__bases__1__coding={"storage": "int16", "offset": 0.0, "step": 1e300}), "step 1e"),
    "an unknown type": (put_program(op1__bases__1__coding={"storage": "float64"}), "Invalid enum value"),
    "integers of a cube in floats": (put_program(op1__bases__1__coding={"storage": "int8"}), "int8 is needed"),
    "an unknown interpolation": (put_program(op2__cube__interpolation="cubic"), "Invalid enum value"),
    "packed": (put_program(op2__arithmetic="packed"), "packed arithmetic"),
    "a domain of nothing": (put_program(op2__cube__domain={"low": [0, 0, 0], "high": [1, 1, 0]}), "domain from"),
    "a domain of two": (put_program(op2__cube__domain={"low": [0, 0], "high": [1, 1]}), "Expected `array`"),
    "an unknown parameter": (put_program(op3__amount="gamma"), "which nothing before it makes"),
    "a picture as a parameter": (put_program(op3__amount="retouched"), "a scalar is needed"),
    "a name that steers a terminal": (put_program(op3__amount="\x1b[31m"), "which nothing before it makes"),
    "each channel": (put_program(program__colour="each-channel", program__parameters=[]), "nothing before it makes"),
    "no list of parameters": (put_program(program__parameters={"name": "strength"}), "Expected `array`"),
    "a slot outside": (put_program(op0__slot="../program"), "cannot be stored"),
}


@pytest.mark.parametrize("fault", HOSTILE_COLOURS)
def test_a_hostile_model_of_colours_is_refused(tmp_path: Path, sound_colours: bytes, fault: str) -> None:
    change, reason = HOSTILE_COLOURS[fault]
    path = tmp_path / "forged.h5"
    edit_colours(path, sound_colours, change)
    tracemalloc.start()
    try:
        message = refuse_file(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert reason in message


def test_an_edit_of_colours_that_changes_nothing_is_not_refused(tmp_path: Path, sound_colours: bytes) -> None:
    path = tmp_path / "forged.h5"
    edit_colours(path, sound_colours, lambda file: (put_table("basis/0", NODES)(file), put_program()(file)))
    np.testing.assert_array_equal(read_artefact(path).tables["basis/0"], make_adaptive().tables["basis/0"])


@settings(max_examples=300)
@given(st.data())
def test_any_program_text_for_colours_is_refused_or_sound(
    tmp_path_factory: pytest.TempPathFactory, sound_colours: bytes, data: st.DataObject
) -> None:
    """What is read runs, or is refused in one line when it does."""
    path = tmp_path_factory.mktemp("json") / "model.h5"
    program = replace_somewhere(data, json.loads(msgspec.json.encode(make_adaptive().program)))
    edit_colours(path, sound_colours, lambda file: replace_text(file, "program", json.dumps(program).encode()))
    try:
        found = read_artefact(path)
        found.validate()
        Model(found.program, found.tables).apply(np.zeros((2, 3, 3), np.uint8), backend="numpy")
    except LutkitError as problem:
        assert str(problem).isprintable()
