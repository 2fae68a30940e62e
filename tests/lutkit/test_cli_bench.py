"""`lutkit bench`: what it prints, and what it takes."""

import importlib.metadata
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from lutkit.cli import main

FIELDS = {"case", "engine", "threads", "milliseconds", "megapixels_per_second"}
"""Fixed: scripts read them."""


def run(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def test_json_is_a_list_of_rows_of_every_engine(tiny_model):
    result = run("--json", "--rounds", "1", "-m", tiny_model, "--size", "100x60")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert {"NumPy", "lutkit"} <= {row["engine"] for row in rows} <= {"NumPy", "lutkit", "lutkit CUDA"}
    for row in rows:
        assert set(row) > FIELDS
        assert row["case"] == "mulut x2, 50x30 RGB"
        assert row["megapixels_per_second"] * row["milliseconds"] == pytest.approx(6, rel=0.02)
        assert (row["max_difference"], row["identical"]) == (0, 1)
        assert result.stderr.startswith(row["machine"] + "; ")
        assert f"{row['engine']} {row['engine_version']}" in result.stderr.splitlines()[0]


def test_text_is_a_table(tiny_model):
    result = run("--rounds", "1", "-m", tiny_model, "--size", "64x48", "--threads", "1")
    header, *lines = result.stdout.splitlines()
    assert header.split() == [
        *["mulut", "x2,", "32x24", "RGB"],
        *["threads", "ms", "quartiles", "MP/s", "roofline", "x", "lutkit", "max", "off", "identical"],
    ]
    assert [line.split()[0] for line in lines] == ["NumPy", "lutkit"]
    assert all(line.endswith("100.00%") for line in lines)
    assert len({len(line) for line in (header, *lines)}) == 1


def test_unknown_model_is_one_line():
    result = run("-m", "missing.h5")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cases", "cubes"), "'cubes' is not one of cube-uint8,"),
        (("--cases", ""), "'' is not one of"),
        (("--engines", "lutkit,photoshop"), "'photoshop' is not one of lutkit, cuda,"),
        (("--threads", "1,0"), "'1,0' is no list of threads such as 1,2"),
        (("--size", "1920"), "'1920' is no size such as 1920x1080"),
        (("--size", "0x9"), "'0x9' is no size such as 1920x1080"),
        (("--plot", "speed.pdf"), "name a file that ends in .png or .svg"),
        (("-m", "sr-x4", "--cases", "cube"), "leave --cases out"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_colour_lut_file_is_a_model(tmp_path):
    (tmp_path / "look.cube").write_text(
        "LUT_3D_SIZE 2\n" + "".join(f"{r} {g} {b}\n" for b, g, r in np.ndindex(2, 2, 2))
    )
    result = run("--json", "--rounds", "1", "-m", tmp_path / "look.cube", "--size", "40x30")
    assert result.exit_code == 0, result.stderr
    assert {row["case"] for row in json.loads(result.stdout)} == {"colour-lut x1, 40x30 RGB"}


def test_cases_and_engines_are_chosen_by_what_they_begin_with():
    result = run(
        "--cases", "curves,cube-float32", "--engines", "lut,opencv", "--size", "32x20", "--json", "--rounds", "1"
    )
    assert result.exit_code == 0, result.stderr
    found = [(row["case"], row["engine"]) for row in json.loads(result.stdout) if row["threads"] == 1]
    assert found == [
        ("LUT 33^3, 32x20 RGB float32", "lutkit"),
        ("curves 1024, 32x20 RGB uint8", "lutkit"),
        ("curves 1024, 32x20 RGB uint8", "OpenCV"),
    ]


def test_engines_that_are_not_there_are_one_line_and_no_error(monkeypatch):
    monkeypatch.setattr(
        "lutkit.benchmark.engines.importlib.util.find_spec",
        lambda name: None if name in ("torch", "onnxruntime") else 1,
    )
    result = run("--cases", "cube-uint8", "--engines", "torch,onnxruntime", "--size", "8x8", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == []
    assert "Not measured: torch: not installed; ONNX Runtime: not installed.\n" in result.stderr


def test_engines_that_are_broken_are_left_out_in_their_turn(tmp_path, monkeypatch):
    """An installed package that cannot be imported, or a distribution of another name, is no reason to measure nothing."""
    for name in ("PyOpenColorIO", "onnxruntime", "av", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('no good')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", refuse)
    monkeypatch.setenv("PATH", str(tmp_path))  # without an installed ffmpeg
    result = run("--cases", "cube-uint8,enlarge", "--engines", "lutkit,openc,ff,to,onnx", "--size", "16x16", "--json")
    assert result.exit_code == 0, result.stderr
    assert {row["engine"] for row in json.loads(result.stdout)} == {"lutkit", "OpenCV"}
    for name in ("OpenColorIO", "FFmpeg", "torch", "ONNX Runtime FSRCNN"):
        assert f"Left out: {name}, " in result.stderr
    assert "RuntimeError: no good" in result.stderr


def refuse(name):
    raise importlib.metadata.PackageNotFoundError(name)


def test_nothing_to_measure_is_said_and_leaves_no_chart(tmp_path):
    arguments = ("--cases", "enlarge", "--engines", "pillow")
    result = run(*arguments)
    assert result.exit_code == 0
    assert "nothing was measured" in result.stderr
    refused = run(*arguments, "--plot", tmp_path / "speed.svg")
    assert refused.exit_code == 1
    assert "speed.svg is not written" in refused.stderr


def test_a_built_in_model_that_looks_at_the_whole_picture_first_is_right():
    result = run("-m", "retouch", "--engines", "lutkit", "--size", "64x48", "--rounds", "1", "--threads", "1", "--json")
    (row,) = json.loads(result.stdout)
    assert row["note"] == ""
    assert row["max_difference"] <= 1
    assert row["identical"] > 0.99


def test_interpolation_is_that_of_the_model_unless_told(tmp_path, monkeypatch):
    (tmp_path / "look.cube").write_text(
        "LUT_3D_SIZE 2\n" + "".join(f"{r} {g} {b}\n" for b, g, r in np.ndindex(2, 2, 2))
    )
    found = []
    monkeypatch.setattr("lutkit.benchmark.running.run_cases", lambda _cases, *, model, **_: found.append(model) or [])
    for way in ((), ("--interpolation", "trilinear"), ("--interpolation", "tetrahedral")):
        assert run("-m", tmp_path / "look.cube", *way).exit_code == 0
    assert [model.program.ops[0].cube.interpolation.value for model in found] == [
        "tetrahedral",
        "trilinear",
        "tetrahedral",
    ]
    refused = run("-m", "sr-x4", "--interpolation", "trilinear")
    assert refused.exit_code == 1
    assert "has no cube" in refused.stderr


def test_a_picture_is_measured_with_at_its_own_size(tmp_path, photos):
    photo = next(iter(sorted(photos.glob("*.png"))))
    result = run("--cases", "cube-uint8", "--engines", "lutkit", "--image", photo, "--json", "--rounds", "1")
    assert result.exit_code == 0, result.stderr
    assert {row["case"] for row in json.loads(result.stdout)} == {"LUT 33^3, 64x64 RGB uint8"}
    missing = run("--image", tmp_path / "missing.png")
    assert missing.exit_code == 1
    assert missing.stderr.count("\n") == 1


def test_a_chart_is_written_and_not_overwritten(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "speed.svg"
    arguments = ("--cases", "cube-uint8", "--engines", "lutkit", "--size", "16x16", "--rounds", "1", "--plot", path)
    assert run(*arguments).exit_code == 0
    assert path.read_bytes().startswith(b"<?xml")
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert str(path) in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert run(*arguments, "-y").exit_code == 0
