"""Published tables, in and out: what follows from their shapes, what is refused, and the published results."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lutkit.families import find_family
from lutkit.families.mulut import build_program as build_mulut
from lutkit.families.srlut import build_program as build_srlut
from lutkit.formats import EXPORTERS, IMPORTERS, export_tables, import_tables
from lutkit.metrics import psnr_y
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.errors import FormatError
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS

SET5 = ("baby", "bird", "butterfly", "head", "woman")


def random_table(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def save_mulut(
    folder: Path, patterns: str = "s", *, stages: int = 1, scale: int = 2, interval: int = 7, spelled: int = 7
) -> Path:
    """Write random tables with MuLUT's names; `spelled` is the interval that the names state."""
    folder.mkdir(exist_ok=True)
    nodes = 256 // 2**interval + 1
    for stage in range(1, stages + 1):
        for name in patterns:
            shape = (nodes ** NAMED_PATTERNS[name].samples, scale**2 if stage == stages else 1)
            path = folder / f"LUT_ft_x{scale}_{spelled}bit_int8_s{stage}_{name}.npy"
            save(path, random_table(*shape, seed=stage * 1000 + ord(name)))
    return folder


def run(artefact: Artefact, image: np.ndarray) -> np.ndarray:
    """Run the ops one by one on an image (H, W, 3)."""
    planes: dict[str, Any] = {artefact.program.input: np.moveaxis(image, -1, 0)}
    for op in artefact.program.ops:
        planes[op.output] = op.reference(planes, artefact.tables)
    return np.moveaxis(planes[artefact.program.output], 0, -1)


def load_image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.npy")}


def refusal(kind: str, *sources: Path, **options: Any) -> str:
    with pytest.raises(FormatError) as caught:
        import_tables(kind, sources, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- published models ---------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("name", SET5)
def test_published_mulut_tables_give_the_published_pictures(shared_data: Path, name: str) -> None:
    folder = shared_data / "published/mulut-x4-sdy-x2"
    artefact = import_tables("mulut", [folder])
    found = run(artefact, load_image(shared_data / f"benchmarks/Set5/LR_bicubic/X4/{name}.png"))
    np.testing.assert_array_equal(found, load_image(folder / f"results-Set5/{name}_LUT_ft_4bit.png"))


@pytest.mark.data
@pytest.mark.parametrize("name", SET5)
def test_the_published_srlut_table_gives_the_published_pictures_in_compat_mode(shared_data: Path, name: str) -> None:
    folder = shared_data / "published/sr-lut-s-x4"
    artefact = import_tables("sr-lut", [folder / "Model_S_x4_4bit_int8.npy"], {"compat": True})
    found = run(artefact, load_image(folder / f"LR_x4/{name}.png"))
    np.testing.assert_array_equal(found, load_image(folder / f"results-Set5/{name}_GT_LUT_interp_4bit.png"))


@pytest.mark.data
def test_the_published_srlut_table_scores_as_published(shared_data: Path) -> None:
    artefact = import_tables("sr-lut", [shared_data / "published/sr-lut-s-x4/Model_S_x4_4bit_int8.npy"])
    assert next(artefact.program.lookups()).interpolation is Interpolation.SIMPLEX
    set5 = shared_data / "benchmarks/Set5"
    scores = [
        psnr_y(run(artefact, load_image(set5 / f"LR_bicubic/X4/{name}.png")), load_image(set5 / f"HR/{name}.png"), 4)
        for name in SET5
    ]
    assert np.mean(scores) == pytest.approx(29.832, abs=0.001)


@pytest.mark.data
@pytest.mark.parametrize(
    ("kind", "folder"), [("mulut", "mulut-x4-sdy-x2"), ("sr-lut", "sr-lut-s-x4")], ids=["mulut", "sr-lut"]
)
def test_published_files_leave_as_they_came(shared_data: Path, tmp_path: Path, kind: str, folder: str) -> None:
    source = shared_data / "published" / folder
    artefact = import_tables(kind, [source] if kind == "mulut" else list(source.glob("*.npy")))
    write_artefact(tmp_path / "model.h5", artefact)
    written = export_tables(kind, read_artefact(tmp_path / "model.h5"), tmp_path)
    assert digests(tmp_path) == digests(source)
    assert sorted(path.name for path in written) == sorted(digests(source))


# --- what follows from a shape ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    name=st.sampled_from("sfv"),
    interval=st.integers(0, 8),
    scale=st.integers(1, 4),
    square=st.booleans(),
)
def test_srlut_pattern_scale_and_interval_follow_from_the_shape(
    tmp_path_factory: pytest.TempPathFactory, name: str, interval: int, scale: int, square: bool
) -> None:
    samples = NAMED_PATTERNS[name].samples
    entries = (256 // 2**interval + 1) ** samples
    if entries > 300_000:
        interval, entries = 6, 5**samples
    table = random_table(entries, *((1, scale, scale) if square else (scale**2,)))
    path = save(tmp_path_factory.mktemp("any") / "table.npy", table)
    options = {"pattern": name} if (entries, name) in {(81, "v")} else {}
    artefact = import_tables("sr-lut", [path], options)
    task = "sr" if scale > 1 else "denoise"
    assert artefact.program == build_srlut(name, scale=scale, interval=interval, task=task)
    (found,) = artefact.tables.values()
    np.testing.assert_array_equal(found, table.reshape(entries, scale**2))


def test_srlut_reads_four_samples_where_two_readings_fit(tmp_path: Path) -> None:
    """81 entries are 3 nodes on 4 axes or 9 on 2."""
    path = save(tmp_path / "table.npy", random_table(81, 4))
    assert import_tables("sr-lut", [path]).program == build_srlut("s", scale=2, interval=7)
    assert import_tables("sr-lut", [path], {"pattern": "v"}).program == build_srlut("v", scale=2, interval=5)
    assert import_tables("sr-lut", [path], {"interval": 5}).program == build_srlut("v", scale=2, interval=5)
    assert import_tables("sr-lut", [path], {"pattern": "d"}).program == build_srlut("d", scale=2, interval=7)


def test_srlut_has_the_published_arithmetic(tmp_path: Path) -> None:
    """A constant entry of 10 in all four turns, which are summed, gives 40; padding mirrors."""
    path = save(tmp_path / "table.npy", np.full((81, 4), 10, np.int8))
    artefact = import_tables("sr-lut", [path])
    assert (run(artefact, np.zeros((3, 4, 3), np.uint8)) == 40).all()
    assert all(lookup.padding is Padding.REFLECT for lookup in artefact.program.lookups())


def test_srlut_without_interpolation_returns_entries(tmp_path: Path) -> None:
    """Interval 0 has a node for every code: the sum over the turns of the entries at the codes themselves."""
    codes = np.minimum(np.arange(257), 255)
    path = save(tmp_path / "table.npy", np.repeat(codes // 8, 257).astype(np.int8)[:, None])
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(run(import_tables("sr-lut", [path]), image), image // 8 * 4)


@pytest.mark.parametrize("compat", [False, True])
def test_srlut_compat_chooses_the_published_branch(tmp_path: Path, compat: bool) -> None:
    path = save(tmp_path / "table.npy", random_table(625, 4))
    artefact = import_tables("sr-lut", [path], {"compat": compat})
    (lookup,) = artefact.program.lookups()
    assert lookup.interpolation is (Interpolation.SRLUT if compat else Interpolation.SIMPLEX)
    assert export_tables("sr-lut", artefact, tmp_path / "again.npy")[0].read_bytes() == path.read_bytes()


@settings(max_examples=30)
@given(
    patterns=st.sets(st.sampled_from("sdyehofv"), min_size=1, max_size=4),
    stages=st.integers(1, 3),
    scale=st.integers(1, 4),
    interval=st.integers(5, 8),
    spelled=st.integers(0, 8),
)
def test_mulut_skeleton_follows_from_names_and_shapes(
    tmp_path_factory: pytest.TempPathFactory, patterns: set[str], stages: int, scale: int, interval: int, spelled: int
) -> None:
    base = tmp_path_factory.mktemp("any")
    ordered = "".join(name for name in NAMED_PATTERNS if name in patterns)
    folder = save_mulut(base / "in", ordered, stages=stages, scale=scale, interval=interval, spelled=spelled)
    artefact = import_tables("mulut", [folder])
    assert artefact.program == build_mulut(
        {name: NAMED_PATTERNS[name] for name in ordered},
        stages=stages,
        scale=scale,
        interval=interval,
        task="sr" if scale > 1 else "denoise",
    )
    for path in folder.iterdir():
        stage, name = path.stem[-3], path.stem[-1]
        np.testing.assert_array_equal(artefact.tables[f"stage{stage}/{name}"], np.load(path))
    assert import_tables("mulut", sorted(folder.iterdir(), reverse=True)).program == artefact.program
    export_tables("mulut", artefact, base / "out")
    assert digests(base / "out") == digests(folder)


def test_mulut_stages_of_constants_have_the_published_arithmetic(tmp_path: Path) -> None:
    """An inner stage adds 127 to the mean, the last one sums the turns and averages the patterns."""
    for name, first, last in (("s", 3, 20), ("d", 5, 40)):
        save(tmp_path / f"LUT_x2_7bit_int8_s1_{name}.npy", np.full((81, 1), first, np.int8))
        codes = np.full((81, 4), last, np.int8)
        save(tmp_path / f"LUT_x2_7bit_int8_s2_{name}.npy", codes)
    artefact = import_tables("mulut", [tmp_path])
    planes: dict[str, Any] = {"image": np.zeros((4, 4), np.uint8)}
    for op in artefact.program.ops:
        planes[op.output] = op.reference(planes, artefact.tables)
    assert (planes["codes1"] == 4 + 127).all()
    assert (planes["result"] == 4 * 30).all()
    assert all(lookup.padding is Padding.EDGE for lookup in artefact.program.lookups())


def test_mulut_patterns_of_ones_own(tmp_path: Path) -> None:
    folder = save_mulut(tmp_path / "in", "s")
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace("_s.npy", "_Zz.npy")))
    assert "pattern 'zz' is not among" in refusal("mulut", folder)
    offsets = {"Zz": [(0, 0), (-1, 3), (2, 2), (4, 0)]}
    artefact = import_tables("mulut", [folder], {"patterns": offsets})
    (lookup,) = artefact.program.lookups()
    assert lookup.pattern.offsets == tuple(offsets["Zz"])
    export_tables("mulut", artefact, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(folder)


def test_mulut_tables_as_the_network_writes_them(tmp_path: Path) -> None:
    """Before finetuning the published tables have the shape of the network's output."""
    path = save(tmp_path / "LUT_x2_7bit_int8_s1_s.npy", random_table(81, 1, 2, 2))
    artefact = import_tables("mulut", [path])
    np.testing.assert_array_equal(artefact.tables["stage1/s"], np.load(path).reshape(81, 4))
    export_tables("mulut", artefact, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path)


def test_tables_in_column_order_are_read_by_value(tmp_path: Path) -> None:
    table = random_table(81, 4)
    path = save(tmp_path / "table.npy", np.asfortranarray(table))
    np.testing.assert_array_equal(import_tables("sr-lut", [path]).tables["stage1/s"], table)


def test_provenance_names_the_files(tmp_path: Path) -> None:
    path = save(tmp_path / "table.npy", random_table(81, 1, 2, 2))
    imported = import_tables("sr-lut", [path]).provenance["imported"]
    assert imported["kind"] == "sr-lut"
    assert imported["files"]["stage1/s"] == {
        "name": "table.npy",
        "shape": [81, 1, 2, 2],
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


# --- export -------------------------------------------------------------------------------------------------------


def test_trained_models_get_the_usual_names(tmp_path: Path) -> None:
    program = build_mulut({name: NAMED_PATTERNS[name] for name in "sy"}, stages=2, scale=2, interval=6)
    tables = {name: random_table(slot.entries, slot.outputs) for name, slot in program.slots.items()}
    written = export_tables("mulut", Artefact(program, tables), tmp_path / "out")
    assert sorted(path.name for path in written) == [
        f"LUT_ft_x2_6bit_int8_s{stage}_{name}.npy" for stage in (1, 2) for name in "sy"
    ]
    assert import_tables("mulut", [tmp_path / "out"]).program == program

    program = build_srlut("f", scale=3, interval=5)
    tables = {name: random_table(slot.entries, slot.outputs) for name, slot in program.slots.items()}
    (path,) = export_tables("sr-lut", Artefact(program, tables), tmp_path)
    assert path == tmp_path / "Model_F_x3_5bit_int8.npy"
    assert np.load(path).shape == (729, 1, 3, 3)
    assert import_tables("sr-lut", [path]).program == program


@pytest.mark.parametrize("kind", ["mulut", "sr-lut"])
def test_export_keeps_existing_files_unless_told(tmp_path: Path, kind: str) -> None:
    source = save_mulut(tmp_path / "in", "sd" if kind == "mulut" else "s")
    artefact = import_tables(kind, [source] if kind == "mulut" else list(source.iterdir()))
    out = tmp_path / "out"
    out.mkdir()
    last = sorted(source.iterdir())[-1].name
    (out / last).write_bytes(b"precious")
    with pytest.raises(FormatError, match="exists already"):
        export_tables(kind, artefact, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {last: b"precious"}
    export_tables(kind, artefact, out, overwrite=True)
    assert digests(out) == digests(source)


def test_a_folder_that_export_made_goes_with_its_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = import_tables("mulut", [save_mulut(tmp_path / "in", "sd")])

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FormatError, match="No space left"):
        export_tables("mulut", artefact, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_the_format_cannot_say_is_not_exported(tmp_path: Path) -> None:
    mulut = import_tables("mulut", [save_mulut(tmp_path / "in", "sd", stages=2)])
    srlut = import_tables("sr-lut", [save(tmp_path / "table.npy", random_table(81, 4))])
    for kind, artefact in (("sr-lut", mulut), ("mulut", srlut)):
        with pytest.raises(FormatError, match=r"cannot be said in .*: keep the artefact$"):
            export_tables(kind, artefact, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(FormatError, match="is a file"):
        export_tables("mulut", mulut, tmp_path / "table.npy", overwrite=True)


@pytest.mark.parametrize("kind", ["sr-lut", "mulut"])
@pytest.mark.parametrize("name", ["rclut", "tiny-lut"])
def test_models_of_one_sample_are_kept_as_they_are(tmp_path: Path, kind: str, name: str) -> None:
    family = find_family(name)
    program = family.skeleton(family.defaults)
    tables = {slot: np.zeros(each.shape, each.dtype) for slot, each in program.slots.items()}
    with pytest.raises(FormatError) as raised:
        export_tables(kind, Artefact(program, tables), tmp_path / "out")
    said = "one sr-lut table" if kind == "sr-lut" else "mulut tables"
    assert str(raised.value) == f"a {name} model of this shape cannot be said in {said}: keep the artefact"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    ["../evil_s1_s.npy", "/tmp/evil_s1_s.npy", "a/b_s1_s.npy", "x_s2_s.npy", "x_s1_d.npy", "x_s1_s.txt", 7, None],
)
@pytest.mark.parametrize("shape", [[81, 4], [4, 81], [81, 1, 2, 2], [324], "x", None, [True], [81, -4]])
def test_names_and_shapes_in_the_provenance_are_not_trusted(tmp_path: Path, name: object, shape: object) -> None:
    artefact = import_tables("mulut", [save_mulut(tmp_path / "in", "s")])
    provenance = {"imported": {"kind": "mulut", "files": {"stage1/s": {"name": name, "shape": shape}}}}
    (path,) = export_tables("mulut", Artefact(artefact.program, artefact.tables, provenance), tmp_path / "out")
    assert path == tmp_path / "out" / "LUT_ft_x2_7bit_int8_s1_s.npy"
    assert np.load(path).shape == ((81, 1, 2, 2) if shape == [81, 1, 2, 2] else (81, 4))


# --- refusals -----------------------------------------------------------------------------------------------------


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def with_header(shape: str) -> bytes:
    """Return the start of a .npy file whose header declares a shape in these words."""
    header = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize("kind", ["mulut", "sr-lut"])
def test_files_that_are_no_tables_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "LUT_x2_7bit_int8_s1_s.npy"
    trap = tmp_path / "sprung"

    assert "does not exist" in refusal(kind, path)
    path.write_bytes(b"")
    assert "no .npy file" in refusal(kind, path)
    path.write_bytes(b"hello, world" * 50)
    assert "no .npy file" in refusal(kind, path)
    with path.open("wb") as file:
        np.savez(file, random_table(81, 4))
    assert "zip archive (.npz)" in refusal(kind, path)
    np.save(path, np.array([[Trap(trap)]], dtype=object), allow_pickle=True)
    assert "holds object values; int8 is needed" in refusal(kind, path)
    assert not trap.exists()
    for dtype in (np.float32, np.uint8, np.int16):
        np.save(path, random_table(81, 4).astype(dtype))
        assert f"holds {np.dtype(dtype)} values; int8 is needed" in refusal(kind, path)
    for shape in ((81,), (81, 2, 2), (81, 2, 1, 2), (81, 1, 4, 1), (0, 4), (3, 3, 3, 3, 4)):
        np.save(path, random_table(*shape))
        assert f"has shape {shape}" in refusal(kind, path)
    np.save(path, random_table(81, 5))
    assert "has 5 outputs" in refusal(kind, path)
    np.save(path, random_table(80, 4))
    assert "has 80 entries" in refusal(kind, path)
    assert "81 at interval 7" in refusal(kind, path)

    np.save(path, random_table(81, 4))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "holds 323 values but declares 324" in refusal(kind, path)
    path.write_bytes(whole + b"\0")
    assert "holds 325 values but declares 324" in refusal(kind, path)
    path.write_bytes(with_header("(9**9, 4)"))
    assert "no .npy file" in refusal(kind, path)
    path.write_bytes(with_header("(99999999, 4)") + bytes(324))
    assert "holds 324 values but declares 399999996" in refusal(kind, path)
    path.write_bytes(with_header("(-81, -4)") + bytes(324))
    assert "has shape (-81, -4)" in refusal(kind, path)
    path.write_bytes(with_header("(" * 5000))
    assert "no .npy file" in refusal(kind, path)
    path.write_bytes(whole[:6] + b"\x03\x00" + whole[8:])
    assert "version" in refusal(kind, path)


@settings(max_examples=200)
@given(st.data())
def test_changed_files_are_refused_or_tables(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = save(tmp_path_factory.mktemp("fuzz") / "table.npy", np.zeros((25, 1), np.int8))
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        import_tables("sr-lut", [path]).validate()
    except FormatError as problem:
        assert "\n" not in str(problem)


def test_mulut_models_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    folder = save_mulut(tmp_path / "in", "sd", stages=2)
    assert "no tables are given" in refusal("mulut")
    (tmp_path / "empty").mkdir()
    assert "holds no tables" in refusal("mulut", tmp_path / "empty")
    assert "does not say its place" in refusal("mulut", save(tmp_path / "table.npy", random_table(81, 1)))

    missing = folder / "LUT_ft_x2_7bit_int8_s1_d.npy"
    missing.rename(tmp_path / missing.name)
    message = refusal("mulut", folder)
    assert "stage 1 of 2 has no table for pattern d" in message
    assert "3 files are given, 4 are needed" in message

    (folder / "LUT_ft_x2_7bit_int8_s1_s.npy").unlink()
    assert "stage 1 of 2 has no table for pattern d, s" in refusal("mulut", folder)

    zero = save_mulut(tmp_path / "zero", "s")
    for path in list(zero.iterdir()):
        path.rename(path.with_name(path.name.replace("_s1_", "_s0_")))
    assert "stage 0" in refusal("mulut", zero)


def test_mulut_tables_of_two_models_are_refused(tmp_path: Path) -> None:
    folder = save_mulut(tmp_path / "in", "s")
    (path,) = folder.iterdir()
    save(folder / path.name.replace("LUT_ft_", "LUT_"), np.load(path))
    message = refusal("mulut", folder)
    assert "2 models (LUT_ft_x2_7bit_int8, LUT_x2_7bit_int8)" in message
    other = save_mulut(tmp_path / "other", "s")
    assert "are both stage 1, pattern s" in refusal("mulut", path, *other.iterdir())


def test_mulut_tables_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    folder = save_mulut(tmp_path / "in", "sd", stages=2)
    path = folder / "LUT_ft_x2_7bit_int8_s1_d.npy"
    save(path, random_table(625, 1))
    assert "s1_s.npy has interval 7 (81 entries) but LUT_ft_x2_7bit_int8_s1_d.npy has 6" in refusal("mulut", folder)
    save(path, random_table(81, 4))
    assert "has 4 outputs; stage 1 of 2 needs 1" in refusal("mulut", folder)
    save(path, random_table(81, 1))
    save(folder / "LUT_ft_x2_7bit_int8_s2_d.npy", random_table(81, 9))
    assert "outputs; the last stage at scale" in refusal("mulut", folder)


def test_options_that_contradict_the_tables_are_refused(tmp_path: Path) -> None:
    folder = save_mulut(tmp_path / "in", "s")
    (path,) = folder.iterdir()
    assert "has 4 outputs; the last stage at scale 3 needs 9" in refusal("mulut", folder, scale=3)
    assert "interval 7 (81 entries) but interval 4 is asked for" in refusal("mulut", folder, interval=4)
    assert "has 4 outputs; scale 3 needs 9" in refusal("sr-lut", path, scale=3)
    assert "81 entries, which no pattern of s, f, v has at interval 4" in refusal("sr-lut", path, interval=4)
    assert "81 entries, which no pattern of f has" in refusal("sr-lut", path, pattern="f")
    assert "unknown pattern 'q'" in refusal("sr-lut", path, pattern="q")
    assert "2 samples; the published branch (--compat) exists for 4" in refusal(
        "sr-lut", path, pattern="v", compat=True
    )
    assert "2 sources are given" in refusal("sr-lut", path, path)
    assert "is a folder" in refusal("sr-lut", folder)


def test_offsets_out_of_range_are_refused(tmp_path: Path) -> None:
    folder = save_mulut(tmp_path / "in", "s")
    message = refusal("mulut", folder, patterns={"s": [(0, 0), (0, 99), (1, 0), (1, 1)]})
    assert "reaches 99 pixels" in message


# --- the registry -------------------------------------------------------------------------------------------------


def test_unknown_kinds_and_options_name_what_there_is(tmp_path: Path) -> None:
    assert "mulut, ocio, pairlie, shiftlut, sr-lut, tinylut" in refusal("none", tmp_path)
    assert (
        "'mulut' has no option --compat: it takes --pattern NAME=ROW,COLUMN:..., --scale, --interval, --task"
        in refusal("mulut", tmp_path, compat=True)
    )
    assert "holds no tables" in refusal("mulut", tmp_path, compat=None)
    with pytest.raises(FormatError, match="cannot export kind 'none'"):
        export_tables("none", Artefact(build_srlut("v", scale=1, interval=6), {}), tmp_path)


@pytest.mark.parametrize("registry", [IMPORTERS, EXPORTERS], ids=["importers", "exporters"])
def test_every_registered_function_exists(registry: dict[str, str]) -> None:
    import importlib

    for target in registry.values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
