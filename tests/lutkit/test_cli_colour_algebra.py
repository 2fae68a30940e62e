"""The commands compose, resize, invert and diff: what they write, say and refuse, and what they take for a LUT."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lutkit.cli import main
from lutkit.colour.chain import ColourChain, Matrix
from lutkit.colour.chain_programs import make_chain_artefact
from lutkit.colour.lut import ColourLut, Cube, grid, identity_cube, identity_curves
from lutkit.colour.opening import check_lut_target, open_lut
from lutkit.colour.programs import make_lut_artefact
from lutkit.formats import import_tables
from lutkit.formats.cube import read_cube
from lutkit.formats.cube_writer import write_cube
from lutkit.formats.hald import read_hald, write_hald
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError, LutkitError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a command in a fresh folder with some LUTs."""
    monkeypatch.chdir(tmp_path)
    bend = (grid(9) ** 1.2).astype(np.float32)
    write_cube(ColourLut(None, Cube(bend), "bend"), "bend.cube")
    write_cube(ColourLut(None, identity_cube(2)), "same.cube")
    write_cube(ColourLut(identity_curves(5)), "curves.cube")
    write_cube(ColourLut(None, Cube(np.abs(grid(5) - 0.5).astype(np.float32))), "fold.cube")
    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


def refusal(result):
    assert result.exit_code == 1, result.output
    assert result.stdout == "" and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    return result.stderr


def test_compose_writes_what_both_do(run):
    result = run("compose", "bend.cube", "bend.cube", "-o", "both.cube")
    assert result.exit_code == 0 and result.stdout == ""
    assert result.stderr.startswith("both.cube: a cube of 33 nodes per axis; off by up to ")
    lut, bend = read_cube("both.cube"), read_cube("bend.cube")
    colours = np.random.default_rng(0).random((500, 3))
    assert np.abs(lut.evaluate(colours) - bend.evaluate(bend.evaluate(colours))).max() < 0.003
    assert "exists already" in refusal(run("compose", "bend.cube", "same.cube", "-o", "both.cube"))
    assert run("compose", "curves.cube", "same.cube", "-o", "both.cube", "-y").exit_code == 0
    assert (read_cube("both.cube").curves.size, read_cube("both.cube").cube.size) == (5, 2)


def test_resize_writes_as_many_nodes(run):
    result = run("resize", "bend.cube", "--size", 5, "-o", "small.cube")
    assert result.exit_code == 0 and "off by up to 0." in result.stderr
    assert read_cube("small.cube").cube.size == 5 and read_cube("small.cube").title == "bend"
    assert "a size of 200 nodes" in refusal(run("resize", "bend.cube", "--size", 200, "-o", "large.cube"))
    assert run("resize", "bend.cube", "-o", "x.cube").exit_code == 2
    assert run("resize", "bend.cube", "--size", 1, "-o", "x.cube").exit_code == 2


def test_invert_writes_what_leads_back(run):
    result = run("invert", "bend.cube", "-o", "back.cube", "--size", 33)
    assert result.exit_code == 0 and "there and back is off by up to 0.0" in result.stderr
    run("compose", "bend.cube", "back.cube", "-o", "nothing.cube")
    assert json.loads(run("diff", "nothing.cube", "same.cube", "--json").stdout)["largest"] < 0.02
    assert "folds colours over" in refusal(run("invert", "fold.cube", "-o", "x.cube"))


def test_diff_tells_figures(run):
    shown = run("diff", "bend.cube", "same.cube")
    assert shown.exit_code == 0 and shown.stderr == ""
    assert [line.split("  ")[0] for line in shown.stdout.splitlines()] == [
        "largest difference", "", "mean difference", "PSNR", "colour difference"
    ]  # fmt: skip
    facts = json.loads(run("diff", "bend.cube", "same.cube", "--json").stdout)
    keys = "largest mean channel place first second psnr delta_e_mean delta_e_largest inputs"
    assert list(facts) == keys.split()
    assert 0.05 < facts["largest"] < 0.08
    assert run("diff", "bend.cube", "bend.cube").stdout.startswith("no difference at ")
    assert json.loads(run("diff", "same.cube", "same.cube", "--json").stdout)["psnr"] is None


def test_trilinear_differs(run):
    kinds = [
        run("diff", "bend.cube", "fold.cube", "--json", "--interpolation", kind).stdout
        for kind in ("trilinear", "tetrahedral")
    ]
    write_cube(ColourLut(None, Cube(np.random.default_rng(0).random((3, 3, 3, 3), np.float32))), "noise.cube")
    noise = [
        run("diff", "noise.cube", "same.cube", "--json", "--interpolation", kind).stdout
        for kind in ("trilinear", "tetrahedral")
    ]
    assert json.loads(noise[0])["mean"] != json.loads(noise[1])["mean"]
    assert all(json.loads(each)["largest"] > 0 for each in kinds)


def test_suffixes_decide_on_formats(run):
    assert run("resize", "bend.cube", "--size", 9, "-o", "bend.png").exit_code == 0
    assert np.abs(read_hald("bend.png").cube.values - read_cube("bend.cube").cube.values).max() < 1e-5
    assert json.loads(run("diff", "bend.png", "bend.cube", "--json").stdout)["largest"] < 1e-5
    for name in ("x.jpg", "x", "x.h5"):
        wrong = run("resize", "bend.cube", "--size", 9, "-o", name)
        assert wrong.exit_code == 2 and "no format for a colour LUT" in wrong.output
    clipped = ColourLut(None, Cube(identity_cube(4).values * 2, high=(2.0, 2.0, 2.0)))
    write_cube(clipped, "wide.cube")
    result = run("resize", "wide.cube", "--size", 4, "-o", "wide.png")
    assert "resampled to 4 nodes per axis over 0..1" in result.stderr and "nodes clipped to 0..1" in result.stderr


def test_nothing_is_computed_where_nothing_can_be_written(run, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("lutkit.colour.opening.open_lut", fail)
    for command in (["compose", "a", "b"], ["resize", "a", "--size", "3"], ["invert", "a"]):
        assert "there is no folder" in refusal(run(*command, "-o", "no/x.cube"))
        assert "exists already" in refusal(run(*command, "-o", "bend.cube"))


def test_artefacts_and_pictures_are_opened(run):
    lut = read_cube("bend.cube")
    write_artefact("bend.h5", make_lut_artefact(lut))
    write_hald(lut, "bend.png")
    for name in ("bend.h5", "bend.png", "bend.cube"):
        assert np.abs(open_lut(name).lut.cube.values - lut.cube.values).max() < 1e-5
    assert json.loads(run("diff", "bend.h5", "bend.cube", "--json").stdout)["largest"] == 0


@pytest.mark.parametrize("name", ["missing.cube", "missing.png", "missing.h5", "missing.clf", "missing", ""])
def test_missing_files_are_one_line(run, name):
    refusal(run("diff", name, "same.cube"))


def test_models_that_are_no_lut_are_refused(run, tiny_model):
    for command in (["diff"], ["compose", "-o", "x.cube"]):
        told = refusal(run(*command, tiny_model, "same.cube"))
        assert "no colour LUT can do that" in told and "--image" not in told
    matrix = Matrix(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    fold = read_cube("fold.cube")
    write_artefact("chain.h5", make_chain_artefact(ColourChain((matrix, fold, matrix, fold))))
    told = refusal(run("diff", "chain.h5", "same.cube"))
    assert "no single colour LUT: lutkit export --to cube makes one" in told


TRILINEAR = """<?xml version="1.0" encoding="UTF-8"?>
<ProcessList id="x" compCLFversion="3"><LUT3D inBitDepth="32f" outBitDepth="32f" interpolation="trilinear">
<Array dim="2 2 2 3">0 0 0 0 0 1 0 1 0 1 0 0 1 0 0 0 1 0 0 0 1 1 1 1</Array></LUT3D></ProcessList>
"""


def test_a_trilinear_file_is_trilinear_in_every_command(run):
    pytest.importorskip("PyOpenColorIO", reason="needs OpenColorIO: pip install 'lutkit[ocio]'")
    Path("x.clf").write_text(TRILINEAR)
    opened = open_lut("x.clf")
    assert opened.interpolation is CubeInterpolation.TRILINEAR
    write_cube(opened.lut, "x.cube")
    # The same nodes, each file in its own way; then both in the way that was asked for.
    assert json.loads(run("diff", "x.clf", "x.cube", "--json").stdout)["largest"] > 0.2
    for kind in ("trilinear", "tetrahedral"):
        facts = run("diff", "x.clf", "x.cube", "--json", "--interpolation", kind).stdout
        assert json.loads(facts)["largest"] < 1e-6
    colours = np.random.default_rng(1).random((4000, 3))
    expected = opened.lut.evaluate(colours, CubeInterpolation.TRILINEAR)
    for arguments in (
        ["resize", "x.clf", "--size", "33"], ["compose", "x.clf", "same.cube"], ["compose", "same.cube", "x.clf"],
        ["compose", "curves.cube", "x.clf"],
    ):  # fmt: skip
        assert run(*arguments, "-o", "y.cube", "-y").exit_code == 0
        assert np.abs(read_cube("y.cube").evaluate(colours) - expected).max() < 0.02, arguments
    same = run("resize", "x.clf", "--size", "2", "-o", "y.cube", "-y").stderr
    assert float(same.split("off by up to ")[1].split(",")[0]) > 0.2


def test_trilinear_cubes_are_inverted_as_such(run):
    generator = np.random.default_rng(3)
    values = identity_cube(3).values + generator.uniform(-0.12, 0.12, (3, 3, 3, 3)).astype(np.float32)
    artefact = make_lut_artefact(ColourLut(None, Cube(values)), interpolation=CubeInterpolation.TRILINEAR)
    write_artefact("bent.h5", artefact)
    told = run("invert", "bent.h5", "-o", "back.cube").stderr
    lut, back = open_lut("bent.h5").lut, read_cube("back.cube")
    there = lut.evaluate(generator.random((2000, 3)), CubeInterpolation.TRILINEAR)
    off = np.abs(lut.evaluate(back.evaluate(there), CubeInterpolation.TRILINEAR) - there)
    assert off.mean() < 2e-3
    assert float(told.split(", ")[1].split(" on average")[0]) == pytest.approx(off.mean(), rel=0.3)


def test_what_is_said_is_what_the_file_holds(run):
    wide = ColourLut(
        None, Cube((grid(9, (-1.0,) * 3, (2.0,) * 3) ** 3 / 8).astype(np.float32), (-1.0,) * 3, (2.0,) * 3)
    )
    write_cube(wide, "wide.cube")
    for command in (["resize", "wide.cube", "--size", "9"], ["compose", "wide.cube", "same.cube"]):
        result = run(*command, "-o", "x.png", "-y")
        said = result.stderr.splitlines()
        assert "the domain -1..2 is lost" in result.stderr and "write a .cube" in result.stderr
        size = read_hald("x.png").cube.size
        assert f"x.png: a cube of {size} nodes per axis" in said[-1]
        colours = np.random.default_rng(2).uniform(-1, 2, (20000, 3))
        expected = wide.evaluate(colours) if command[0] == "resize" else wide.evaluate(colours).clip(0, 1)
        off = np.abs(read_hald("x.png").evaluate(colours) - expected).max()
        assert off > 0.1
        assert float(said[-1].split("off by up to ")[1].split(",")[0]) == pytest.approx(off, rel=0.1)
    bent = ColourLut(None, Cube((grid(9) ** 1.2 * 2 - 0.5).astype(np.float32)))
    write_cube(bent, "bent.cube")
    result = run("invert", "bent.cube", "-o", "x.png", "-y", "--size", "9")
    assert "the domain -0.5..1.5 is lost" in result.stderr
    assert float(result.stderr.split("off by up to ")[1].split(",")[0]) > 0.4


def test_importers_give_models_that_compute_the_file(run):
    from lutkit_runtime.engine import Model

    write_hald(read_cube("bend.cube"), "bend.png")
    image = np.random.default_rng(0).random((9, 11, 3), np.float32)
    expected = read_cube("bend.cube").evaluate(image)
    for kind in ("cube", "hald"):
        artefact = import_tables(kind, [f"bend.{'png' if kind == 'hald' else kind}"])
        assert artefact.provenance["imported"]["kind"] == kind
        result = Model(artefact.program, artefact.tables).apply(image, backend="numpy")
        assert np.abs(result - expected).max() < 2e-5
    trilinear = import_tables("cube", ["bend.cube"], {"interpolation": "trilinear"})
    assert trilinear.program != import_tables("cube", ["bend.cube"]).program
    with pytest.raises(FormatError, match="unknown interpolation 'cubic'"):
        import_tables("cube", ["bend.cube"], {"interpolation": "cubic"})
    with pytest.raises(FormatError, match="2 sources are given"):
        import_tables("cube", ["bend.cube", "same.cube"])


def test_formats_of_others_are_opened(run):
    pytest.importorskip("PyOpenColorIO")
    Path("mix.spimtx").write_text("0.5 0.5 0 0\n0 1 0 0\n0 0.25 0.75 6553.5\n", "ascii")
    notes = []
    lut = open_lut("mix.spimtx", notes.append).lut
    assert lut.cube.size == 65 and len(notes) == 1 and "became one LUT" in notes[0]
    assert np.abs(lut.evaluate([0.5, 0.25, 1]) - [0.375, 0.25, 0.9125]).max() < 1e-6
    assert run("compose", "mix.spimtx", "bend.cube", "-o", "both.cube").exit_code == 0
    artefact = import_tables("ocio", ["mix.spimtx"])
    assert artefact.provenance["imported"]["file"] == "mix.spimtx"


def test_every_refusal_is_a_known_error(tmp_path):
    for name in ("x.cube", "x.png", "x.clf", "x.h5"):
        (tmp_path / name).write_bytes(b"\xff\x00rubbish")
        with pytest.raises(LutkitError):
            open_lut(tmp_path / name)
    check_lut_target(tmp_path / "y.cube")
