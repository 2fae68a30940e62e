"""Commands about kinds of tables: compression (--dfc), windows (--rc), one-dimensional tables; what info tells of them."""

import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from small_training import RECIPE, write_photos  # noqa: E402

import lutkit.models  # noqa: E402
from lutkit.cli import main  # noqa: E402
from lutkit.cli.training import make_config  # noqa: E402
from lutkit.configuration import RunConfig  # noqa: E402
from lutkit.families import find_family, srlut  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.trainable import NetworkModel  # noqa: E402
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact  # noqa: E402
from lutkit_runtime.diagonal import Diagonal  # noqa: E402
from lutkit_runtime.ops import AxisLookup, ReconstructedConvolution  # noqa: E402

SMALL = {
    "mulut": {"patterns": ("s",), "stages": 1, "scale": 2, "interval": 6, "width": 8},
    "sr-lut": {"patterns": ("f",), "scale": 2, "interval": 6, "width": 8},
    "rclut": {"rc": (3, 5), "scale": 2, "interval": 6, "width": 8, "window_width": 8},
    "tiny-lut": {"channels": 5, "scale": 2, "width": 4},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with two small photos in ../photos."""
    write_photos(tmp_path / "photos", count=2, side=32)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def make_run(folder, family, **fields):
    """Write a run of networks as they are drawn at random; nothing is trained."""
    torch.manual_seed(0)
    found = find_family(family)
    model = msgspec.structs.replace(found.defaults, **SMALL[family], **fields)
    photos = str(folder / "../photos")
    config = RunConfig(family=family, model=model, recipe=RECIPE, data=photos, val=photos)
    run = Run(folder / "runs" / "default")
    run.write_config(config)
    save_file(NetworkModel(found, model).module.state_dict(), run.network_file)
    return run


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_done(result):
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    return result.stderr


def assert_refused(result, *told, code):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    for words in told:
        assert words in last


def last_step(path):
    return read_artefact(path).provenance["history"][-1]


# transfer --dfc


def test_transfer_compresses_the_tables_of_a_run(folder):
    run = make_run(folder, "mulut")
    said = assert_done(call("transfer", "--dfc", 1))
    program = read_artefact(run.table_file).program
    assert [op.diagonal for op in program.lookups()] == [Diagonal(1, 7)]
    step = last_step(run.table_file)
    assert (step["diagonal_width"], step["coarse_step"]) == (1, 128)
    assert (step["receptive_field"], step["table_bytes"]) == (3, (97 + 81) * 4)
    assert (
        f"network {step['network_psnr']:.3f} dB -> compressed table {step['table_psnr']:.3f} dB "
        f"({step['table_psnr'] - step['network_psnr']:+.3f} dB) on 2 photos of photos; "
        f"uncompressed tables {step['full_table_psnr']:.3f} dB; wrote "
    ) in said
    assert said.splitlines()[:3] == [
        "receptive field 3 x 3 pixels",
        "stage1/s       712 bytes",
        "tables in all  712 bytes",
    ]
    assert_done(call("transfer", "-o", "full.h5"))
    assert last_step("full.h5")["table_psnr"] == step["full_table_psnr"]
    assert "full_table_psnr" not in last_step("full.h5")


@pytest.mark.parametrize(
    ("arguments", "width"),
    [
        (["--dfc"], 2),
        (["--dfc", "runs/default"], 2),
        (["--dfc", "1", "runs/default"], 1),
        (["--dfc=1"], 1),
        (["runs/default", "--dfc"], 2),
        (["--dfc", "--val", "../photos"], 2),
    ],
)
def test_the_width_may_be_left_out(folder, arguments, width):
    run = make_run(folder, "mulut")
    assert_done(call("transfer", *arguments))
    (lookup,) = read_artefact(run.table_file).program.lookups()
    assert lookup.diagonal == Diagonal(width, 7)


def test_transfer_compresses_an_artefact_or_a_built_in_model(folder, tiny_model, tmp_path_factory, monkeypatch):
    models = tmp_path_factory.mktemp("models")
    (models / "small-x2.h5").write_bytes(tiny_model.read_bytes())
    monkeypatch.setattr(lutkit.models, "_FOLDER", models)
    (folder / "own.h5").write_bytes(tiny_model.read_bytes())
    for arguments, target in (
        (["own.h5", "--dfc", "--val", "../photos"], "own-dfc.h5"),
        (["small-x2", "--dfc", "--val", "../photos"], "small-x2-dfc.h5"),
        (["small-x2", "--dfc", "--val", "../photos", "-o", "other.h5"], "other.h5"),
    ):
        said = assert_done(call("transfer", *arguments))
        step = last_step(target)
        assert step["step"] == "compress"
        assert f"table {step['table_psnr']:.3f} dB -> compressed table {step['compressed_psnr']:.3f} dB" in said
        assert said.endswith(f"on 2 photos of photos; wrote {target}\n")
        assert read_artefact(target).program.ops[0].body[0].diagonal == Diagonal(2, 7)
    assert (folder / "own-dfc.h5").read_bytes() == (folder / "small-x2-dfc.h5").read_bytes()
    assert_refused(call("transfer", "own.h5", "--dfc"), "own-dfc.h5 exists", "-y", "-o", code=1)


def test_compression_that_cannot_be_is_wrong_usage(folder, tiny_model):
    (folder / "own.h5").write_bytes(tiny_model.read_bytes())
    program = srlut.build_program("f", scale=2, interval=4)
    tables = {name: np.zeros(slot.shape, np.int8) for name, slot in program.slots.items()}
    write_artefact("three.h5", Artefact(program, tables))
    for arguments, told in (
        (["own.h5"], "own.h5 is no run folder: with --dfc its tables are compressed"),
        (["own.h5", "--dfc", "5"], "--dfc"),
        (["own.h5", "--dfc", "--interval", "5"], "--interval belongs to runs"),
        (["own.h5", "--dfc", "--storage", "int8"], "--storage belongs to runs"),
        (["three.h5", "--dfc"], "no tables of 4 samples"),
        (["own.h5", "--dfc", "4"], "make no table smaller"),
    ):
        assert_refused(call("transfer", *arguments), told, code=2)
    assert sorted(path.name for path in folder.iterdir()) == ["own.h5", "three.h5"]
    assert_refused(call("transfer", "nothing.h5", "--dfc"), "nothing.h5 is no run folder", code=1)


@pytest.mark.parametrize("family", ["sr-lut", "tiny-lut"])
def test_runs_without_such_tables_refuse_compression(folder, family):
    run = make_run(folder, family)
    assert_refused(call("transfer", "--dfc"), f"{family} for sr has no tables of 4 samples", code=2)
    assert not run.table_file.exists()


@pytest.mark.parametrize("interval", [5, 8])
def test_intervals_that_tables_of_one_sample_do_not_have(folder, interval):
    run = make_run(folder, "tiny-lut")
    assert_refused(call("transfer", "--interval", interval), f"interval {interval}", "0 to 4", code=1)
    assert not run.table_file.exists()


# info


def test_info_tells_compression(folder):
    make_run(folder, "mulut")
    assert_done(call("transfer", "--dfc", 1))
    facts = json.loads(call("info", "runs/default", "--json").stdout)
    ((table,),) = (stage["tables"] for stage in facts["stages"])
    assert table["diagonal"] == {
        "width": 1,
        "coarse_step": 128,
        "rows_near": 97,
        "rows": 97 + 81,
        "rows_of_full": 625,
    }
    assert (table["entries"], table["bytes"]) == (178, 712)
    text = call("info", "runs/default").stdout
    assert "compressed: nodes every 64 within 1 of the diagonal, every 128 elsewhere; 178 of 625 rows" in text
    assert "3 x 3 pixels" in text


@pytest.mark.parametrize("storage", ["int16", "int8"])
def test_info_tells_windows(folder, storage):
    run = make_run(folder, "rclut")
    said = assert_done(call("transfer", "--storage", storage))
    artefact = read_artefact(run.table_file)
    width = np.dtype(storage).itemsize
    size = 9 * 256 * width + 254 * 4
    assert f"stage1/rc3/window  {9 * 256 * width:>6,} bytes" in said
    assert ("; int16 tables " in said) == (storage == "int8") == ("full_table_psnr" in last_step(run.table_file))
    facts = json.loads(call("info", "runs/default", "--json").stdout)
    window, *_ = facts["stages"][0]["tables"]
    op = next(op for op in artefact.program.table_ops() if isinstance(op, ReconstructedConvolution))
    assert window == {
        "op": "reconstructed_convolution",
        "slot": "stage1/rc3/window",
        "window": 3,
        "first": 0,
        "storage": storage,
        "unit": op.unit,
        "entries": 9 * 256,
        "thresholds": 254,
        "bytes": size,
    }
    for stage in facts["stages"]:
        assert [table["op"] for table in stage["tables"]] == ["reconstructed_convolution"] * 2 + ["lookup"] * 2
    assert facts["table_bytes"] == sum(table["bytes"] for stage in facts["stages"] for table in stage["tables"])
    text = call("info", "runs/default").stdout
    assert "window of 3 x 3 from (0,0) on" in text
    assert f"2,304 entries of {storage}, 254 thresholds, unit {op.unit:g}, {size:,} bytes" in text


def test_info_tells_tables_of_one_sample(folder):
    run = make_run(folder, "tiny-lut")
    said = assert_done(call("transfer", "--interval", 2))
    artefact = read_artefact(run.table_file)
    facts = json.loads(call("info", "runs/default", "--json").stdout)
    (stage,) = facts["stages"]
    tables = {table["slot"]: table for table in stage["tables"]}
    assert facts["table_bytes"] == sum(table["bytes"] for table in stage["tables"])
    for op in artefact.program.table_ops():
        assert isinstance(op, AxisLookup)
        assert tables[op.slot]["bytes"] == artefact.tables[op.slot].size
        assert f"{op.slot:<13}  {op.tables.entries:>5,} bytes" in said
    deep, point = tables["high/depth1"], tables["high/point1"]
    assert (deep["taps"], deep["outputs"], deep["low"], deep["high"], deep["steps"]) == (9, 5, -32, 31, {"4": 45})
    assert point["offsets"] == [[0, 0, 0], [1, 0, 1], [2, 1, 1], [3, 0, 2], [4, 1, 2]]
    assert tables["low/depth1"]["steps"] == {"1": 45}
    text = call("info", "runs/default").stdout
    for words in (
        "1 channel at (-1,-1) (-1,0) (-1,1) (0,-1)",
        "5 channels, shifted: (0,0) (0,1) (1,1) (0,2) (1,2)",
        "values -32 to 31, 5 outputs, nodes every 4 (45 tables), 765 bytes, edge padding",
    ):
        assert words in text


# train --rc


@pytest.mark.parametrize(
    ("family", "windows", "expected"),
    [
        ("mulut", (5,), {"rc": (5,)}),
        ("mulut", (3, 5, 7), {"rc": (3, 5, 7)}),
        ("sr-lut", (7,), {"rc": (7,)}),
        ("rclut", (5, 9), {"rc": (5, 9), "wide": 5}),
        ("rclut", (9, 3, 7), {"rc": (9, 3, 7), "wide": 7}),
    ],
)
def test_windows_become_fields_of_the_model(family, windows, expected):
    nothing = dict.fromkeys(
        ("data", "val", "task", "scale", "sigma", "quality", "preset", "steps", "config", "seed"), None
    )
    made = make_config(family=family, rc=windows, **nothing)
    assert {name: getattr(made.model, name) for name in expected} == expected
    program = find_family(family).skeleton(made.model)
    found = {op.window for op in program.table_ops() if isinstance(op, ReconstructedConvolution)}
    assert found == set(windows)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--rc", "3,x"], 2, "'3,x' is not sizes of windows, each 3, 5, 7, 9"),
        (["--rc", "4"], 2, "'4' is not sizes"),
        (["--rc", ""], 2, "'' is not sizes"),
        (["tiny-lut", "--rc", "3"], 2, "--rc belongs to mulut, sr-lut and rclut"),
        (["adaptive-3dlut", "--rc", "3"], 2, "--rc belongs to mulut, sr-lut and rclut"),
        (["--rc", "3,5"], 1, "2 windows are configured for 3 patterns"),
        (["sr-lut", "--rc", "3,5"], 1, "2 windows are configured for 1 patterns"),
        (["rclut", "--rc", "3,3"], 1, "each once"),
        (["--rc", "3", "--resume"], 2, "leave --rc out"),
    ],
)
def test_windows_that_cannot_be_are_refused(folder, arguments, code, told):
    assert_refused(call("train", *arguments), told, code=code)
    assert list(folder.iterdir()) == []


def test_help_names_the_families_and_what_options_mean():
    train, transfer = (" ".join(call(command, "--help").stdout.split()) for command in ("train", "transfer"))
    for family in ("mulut", "sr-lut", "rclut", "tiny-lut", "adaptive-3dlut"):
        assert f" {family} (" in train
    assert "--rc 3,5,7" in train
    assert "--dfc [WIDTH]" in transfer
    assert "of tiny-lut 0, whose tables of single values take 0 to 4" in transfer
