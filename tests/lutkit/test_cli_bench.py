"""`lutkit bench`: what it prints."""

import json

import numpy as np
from click.testing import CliRunner

from lutkit.cli import main


def test_json_is_a_list_of_rows_of_every_engine(tiny_model):
    result = CliRunner().invoke(main, ["bench", "--json", "--rounds", "1", "-m", str(tiny_model)])
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert {row["engine"] for row in rows} == {"numpy", "cpu"}
    for row in rows:
        assert set(row) == {"case", "engine", "threads", "milliseconds", "megapixels_per_second"}
        pixels = row["megapixels_per_second"] * row["milliseconds"] / 1000
        assert abs(pixels - 0.2304) < 0.005


def test_text_is_a_table(tiny_model):
    result = CliRunner().invoke(main, ["bench", "--rounds", "1", "-m", str(tiny_model)])
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["case", "engine", "threads", "milliseconds", "megapixels/s"]
    assert len(rows) >= 2
    assert all(float(row.split()[-1]) > 0 for row in rows)


def test_unknown_model_is_one_line():
    result = CliRunner().invoke(main, ["bench", "-m", "missing.h5"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_a_colour_lut_file_is_a_model(tmp_path):
    (tmp_path / "look.cube").write_text(
        "LUT_3D_SIZE 2\n" + "".join(f"{r} {g} {b}\n" for b, g, r in np.ndindex(2, 2, 2))
    )
    result = CliRunner().invoke(main, ["bench", "--json", "--rounds", "1", "-m", str(tmp_path / "look.cube")])
    assert result.exit_code == 0, result.stderr
    assert {row["case"] for row in json.loads(result.stdout)} == {"colour-lut x1, 1280x720 RGB"}


def test_without_a_model_colour_luts_are_measured_too(monkeypatch):
    def row(case, engine):
        return {"case": case, "engine": engine, "threads": 1, "milliseconds": 2.0, "megapixels_per_second": 3.0}

    monkeypatch.setattr("lutkit.benchmark.run_cases", lambda model, rounds: [row(f"model {model}", "cpu")])
    monkeypatch.setattr(
        "lutkit.benchmark_colour.run_colour_cases", lambda rounds: [row(f"LUT {rounds}", "OpenColorIO")]
    )
    result = CliRunner().invoke(main, ["bench", "--json", "--rounds", "4"])
    assert json.loads(result.stdout) == [row("model None", "cpu"), row("LUT 4", "OpenColorIO")]
    text = CliRunner().invoke(main, ["bench", "--rounds", "4"]).stdout.splitlines()
    assert [line.split()[-4:] for line in text[1:]] == [
        ["cpu", "1", "2.00", "3.00"],
        ["OpenColorIO", "1", "2.00", "3.00"],
    ]
    assert len({len(line) for line in text}) == 1
