"""Commands about models: info, models, verify, import, export, and what a MODEL argument means."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

import lutkit.models
from lutkit.cli import main
from lutkit.cli.models import find_figures
from lutkit.families.mulut import build_program
from lutkit.resolve import DEFAULT_BUILTIN, find_default_model, find_model
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError
from lutkit_runtime.pattern import NAMED_PATTERNS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a command in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def builtin(tmp_path_factory, tiny_model, monkeypatch):
    """Make the tiny model the only built-in one, under the default name."""
    folder = tmp_path_factory.mktemp("builtin")
    path = folder / f"{DEFAULT_BUILTIN}.h5"
    artefact = read_artefact(tiny_model)
    write_artefact(path, Artefact(artefact.program, artefact.tables, {"figures": {"set5_psnr": 30.25}}))
    monkeypatch.setattr(lutkit.models, "_FOLDER", folder)
    return path


def test_builtin_names_come_before_files(run, builtin, tmp_path, tiny_model):
    (tmp_path / DEFAULT_BUILTIN).write_bytes(b"")
    assert find_model(DEFAULT_BUILTIN).path == builtin
    assert find_model(f"./{DEFAULT_BUILTIN}").path.read_bytes() == b""


def test_runs_stand_for_their_newest_artefact(run, tmp_path):
    run_folder = tmp_path / "runs" / "mine"
    run_folder.mkdir(parents=True)
    with pytest.raises(DataError, match="runs/mine is no run folder"):
        find_model("runs/mine")
    (run_folder / "run.json").touch()
    with pytest.raises(DataError, match="run lutkit transfer runs/mine"):
        find_model("runs/mine")
    for name in ("lut.h5", "lut-finetuned.h5"):
        (run_folder / name).touch()
        assert find_model("runs/mine").path.name == name
    assert find_model("runs/mine").label == "mine"


def test_default_is_the_default_run_else_the_builtin(run, builtin, tmp_path):
    assert find_default_model().path == builtin
    (tmp_path / "runs/default").mkdir(parents=True)
    assert find_default_model().path == builtin
    assert "runs/default holds no tables yet" in find_default_model().description
    (tmp_path / "runs/default/lut.h5").touch()
    assert find_default_model().label == "default"


def test_info_tells_every_lookup(run, tiny_model):
    facts = json.loads(run("info", tiny_model, "--json").stdout)
    expected = {"family": "mulut", "task": "sr", "scale": 2, "depth": 8, "halo": 2, "receptive_field": 5}
    assert {name: facts[name] for name in expected} == expected
    assert facts["file_bytes"] == tiny_model.stat().st_size
    first, second = (stage["tables"][0] for stage in facts["stages"])
    assert first["offsets"] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (first["entries"], first["outputs"], first["bytes"]) == (5**4, 1, 625)
    assert (second["outputs"], second["bytes"], second["nodes_per_axis"]) == (4, 2500, 5)
    assert facts["table_bytes"] == 3125
    assert facts["provenance"] == {"made": "at random, for tests"}
    text = run("info", tiny_model).stdout
    for word in ("mulut for sr, scale 2", "(0,0) (0,1) (1,0) (1,1)", "5 x 5 pixels", "made", "at random"):
        assert word in text


def test_info_leaves_long_texts_to_programs(run, tiny_model, tmp_path):
    artefact = read_artefact(tiny_model)
    visits = {"size": 33, "share": 0.75, "cells": "eJw" * 700}
    write_artefact(tmp_path / "long.h5", Artefact(artefact.program, artefact.tables, {"visits": visits}))
    text = run("info", "long.h5").stdout
    assert max(map(len, text.splitlines())) < 200
    for word in ("visits.size", "33", "visits.share", "0.75", "2,100 characters, see --json"):
        assert word in text
    assert json.loads(run("info", "long.h5", "--json").stdout)["provenance"] == {"visits": visits}


def test_receptive_field_is_what_the_model_sees(tiny_model):
    artefact = read_artefact(tiny_model)
    model = Model(artefact.program, artefact.tables)
    reach = artefact.program.halo
    image = np.random.default_rng(1).integers(0, 256, (15, 15), dtype=np.uint8)
    changed = image.copy()
    changed[7, 7] ^= 255
    rows, columns = np.nonzero(model.apply(image, backend="numpy") != model.apply(changed, backend="numpy"))
    low, high = (7 - reach) * 2, (7 + reach) * 2 + 1
    assert low <= min(rows.min(), columns.min())
    assert max(rows.max(), columns.max()) <= high


def test_models_lists_the_builtin_ones(run, builtin):
    (model,) = json.loads(run("models", "--json").stdout)
    assert model["name"] == DEFAULT_BUILTIN
    assert model["figures"] == {"set5_psnr": 30.25}
    header, row = run("models").stdout.splitlines()
    assert header.split() == ["name", "family", "task", "scale", "bytes", "figures"]
    assert row.split()[:4] == [DEFAULT_BUILTIN, "mulut", "sr", "2"]


@pytest.mark.parametrize(
    ("provenance", "figures"),
    [
        ({}, {}),
        ({"figures": 3}, {}),
        ({"history": []}, {}),
        ({"history": [{"step": "train"}, {"step": "transfer", "table_psnr": 29.5, "images": 5}]}, {"table_psnr": 29.5}),
    ],
)
def test_figures_are_found_in_any_provenance(provenance, figures):
    assert find_figures(provenance) == figures


def test_verify_accepts_an_intact_model(run, tiny_model):
    result = run("verify", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert hashlib.sha256(tiny_model.read_bytes()).hexdigest() in result.stdout
    assert "numpy and cpu agree" in result.stdout


def test_verify_refuses_every_damaged_byte(run, tiny_model, tmp_path):
    data = bytearray(tiny_model.read_bytes())
    for place in (0, 9, 60, 511, 600, len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        (tmp_path / "damaged.h5").write_bytes(damaged)
        result = run("verify", "damaged.h5")
        assert result.exit_code == 1, place
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1


def test_verify_finds_a_backend_that_computes_wrongly(run, tiny_model, monkeypatch):
    right = Model.apply

    def wrong(self, image, *, backend="auto", **options):
        result = right(self, image, backend=backend, **options)
        if backend == "cpu":
            result[0, 0] ^= 1
        return result

    monkeypatch.setattr(Model, "apply", wrong)
    result = run("verify", tiny_model)
    assert result.exit_code == 1
    assert "backend 'cpu' differs from the reference in 3 of" in result.stderr


def save_tables(folder, shapes):
    """Write random published tables and return them by file name."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    tables = {name: generator.integers(-127, 128, shape, dtype=np.int8) for name, shape in shapes.items()}
    for name, table in tables.items():
        np.save(folder / name, table)
    return tables


def test_tables_survive_import_and_export(run, tmp_path):
    tables = save_tables(tmp_path / "in", {"m_s1_s.npy": (5**4, 1), "m_s2_s.npy": (5**4, 4)})
    imported = run("import", "in", "--as", "mulut", "-o", "m.h5")
    assert imported.exit_code == 0, imported.stderr
    assert imported.stdout == ""
    exported = run("export", "m.h5", "--to", "mulut", "-o", "out")
    assert exported.exit_code == 0, exported.stderr
    for name, table in tables.items():
        np.testing.assert_array_equal(np.load(tmp_path / "out" / name), table)


def test_import_options_reach_the_importer(run, tmp_path):
    save_tables(tmp_path / "in", {"a.npy": (17**2, 4), "m_s1_q.npy": (17**2, 9)})
    assert run("import", "in/a.npy", "--as", "sr-lut", "--pattern", "v", "--interval", "4", "-o", "a.h5").exit_code == 0
    (lookup,) = read_artefact(tmp_path / "a.h5").program.lookups()
    assert lookup.pattern == NAMED_PATTERNS["v"]
    own = run("import", "in/m_s1_q.npy", "--as", "mulut", "--pattern", "q=0,0:-1,2", "--scale", "3", "-o", "q.h5")
    assert own.exit_code == 0, own.stderr
    (lookup,) = read_artefact(tmp_path / "q.h5").program.lookups()
    assert lookup.pattern.offsets == ((0, 0), (-1, 2))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["import", "in", "--as", "nonsense", "-o", "x.h5"], 2, "'nonsense' is not one of"),
        (["import", "in", "--as", "mulut"], 2, "--output"),
        (["import", "in", "-o", "x.h5"], 2, "--as"),
        (["import", "in", "--as", "mulut", "--pattern", "q=0,0:1", "-o", "x.h5"], 2, "malformed"),
        (["import", "in", "--as", "mulut", "--pattern", "s", "--pattern", "d", "-o", "x.h5"], 2, "one published name"),
        (["import", "missing.npy", "--as", "sr-lut", "-o", "x.h5"], 1, "missing.npy"),
        (["import", "in", "--as", "mulut", "--compat", "-o", "x.h5"], 1, "no option --compat"),
        (["import", "in", "--as", "mulut", "--pattern", "s", "-o", "x.h5"], 1, "no option --pattern NAME:"),
        (["import", "in", "--as", "sr-lut", "--pattern", "q=0,0", "-o", "x.h5"], 1, "no option --pattern NAME=ROW"),
        (["import", "in", "--as", "mulut", "--task", "denoise", "-o", "x.h5"], 1, "denoise does not fit"),
        (["import", "in", "--as", "mulut", "-o", "nowhere/x.h5"], 1, "nowhere"),
        (["import", "in", "--as", "mulut", "-o", "there.h5"], 1, "exists"),
        (["export", "there.h5", "--to", "mulut", "-o", "out"], 1, "there.h5"),
        (["export", "missing", "--to", "mulut", "-o", "out"], 1, "there is no model 'missing'"),
        (["export", "there.h5", "--to", "nonsense", "-o", "out"], 2, "'nonsense' is not one of"),
        (["info", "missing.h5"], 1, "there is no model 'missing.h5'"),
        (["info", "there.h5"], 1, "not a lutkit artefact"),
        (["info"], 2, "Usage"),
        (["verify", "in"], 1, "in is no run folder"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, arguments, code, told):
    save_tables(tmp_path / "in", {"m_s1_s.npy": (5**4, 4)})
    (tmp_path / "there.h5").write_bytes(b"text")
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert code == 2 or result.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "there.h5"]


def test_import_and_export_overwrite_only_when_asked(run, tmp_path):
    tables = save_tables(tmp_path / "in", {"m_s1_s.npy": (5**4, 4)})
    assert run("import", "in", "--as", "mulut", "-o", "m.h5").exit_code == 0
    assert run("import", "in", "--as", "mulut", "-o", "m.h5").exit_code == 1
    assert run("import", "in", "--as", "mulut", "-o", "m.h5", "-y").exit_code == 0
    np.save(tmp_path / "in/m_s1_s.npy", np.zeros((5**4, 4), np.int8))
    assert run("export", "m.h5", "--to", "mulut", "-o", "in").exit_code == 1
    assert run("export", "m.h5", "--to", "mulut", "-o", "in", "-y").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "in/m_s1_s.npy"), tables["m_s1_s.npy"])


def test_a_model_that_a_format_cannot_hold_is_refused(run, tmp_path, tiny_model):
    result = run("export", tiny_model, "--to", "sr-lut", "-o", "x.npy")
    assert result.exit_code == 1
    assert "cannot be said" in result.stderr
    assert not (tmp_path / "x.npy").exists()


def test_denoising_model_of_one_sample_is_described(run, tmp_path):
    program = build_program({"v": NAMED_PATTERNS["v"]}, stages=1, scale=1, interval=4, task="denoise")
    tables = {name: np.zeros((slot.entries, slot.outputs), np.int8) for name, slot in program.slots.items()}
    write_artefact(tmp_path / "d.h5", Artefact(program, tables))
    assert run("info", "d.h5").stdout.startswith("d: mulut for denoise, scale 1\n")
