"""`lutkit export` of colour models to .cube files and Hald pictures, and what they lose against the model."""

import re

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from colour_models import TETRAHEDRAL, TRILINEAR, identity_nodes, make_adaptive, make_chain, make_look, make_program
from PIL import Image

from lutkit.cli import main
from lutkit.colour.baking import bake_lut, find_interpolation, make_colours, measure_residuals, needs_picture
from lutkit.colour.lut import ColourLut, Cube, Curves
from lutkit.colour.programs import make_lut_artefact
from lutkit.formats.cube import read_cube
from lutkit.formats.cube_export import export_cube, export_hald
from lutkit.formats.cube_writer import write_cube
from lutkit.formats.hald import read_hald
from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import FormatError
from lutkit_runtime.ops import Blend, ColourLookup
from lutkit_runtime.ops.colour_lookup import Cube as CubeField
from lutkit_runtime.ops.colour_lookup import Domain
from lutkit_runtime.table_coding import Storage


def make_pixels(height=40, width=50, seed=0, dtype=np.uint8):
    random = np.random.default_rng(seed)
    if dtype == np.float32:
        return random.random((height, width, 3), dtype=np.float32)
    return random.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def make_nodes(size, low=0.0, high=1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (size**3, 3)).astype(np.float32)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize("storage", Storage)
@pytest.mark.parametrize("size", [2, 3, 33])
def test_a_plain_lut_is_written_as_it_is(tmp_path, size, storage):
    artefact = make_look(make_nodes(size, -0.4, 1.6), storage=storage)
    export_cube(artefact, tmp_path / "x.cube")
    lut = read_cube(tmp_path / "x.cube")
    coding = artefact.program.ops[0].cube.coding
    np.testing.assert_array_equal(lut.cube.values.reshape(-1, 3), coding.decode(artefact.tables["cube"]))
    assert lut.cube.values.min() < 0
    assert lut.title == "a look"


def test_a_file_survives_import_and_export(run, tmp_path):
    curves = Curves(np.linspace(0, 1.5, 30, dtype=np.float32).reshape(10, 3), (-0.5,) * 3, (2.0,) * 3)
    cube = Cube(make_nodes(4, -1, 2).reshape(4, 4, 4, 3), (0.0,) * 3, (1.5,) * 3)
    for name, lut in {
        "both": ColourLut(curves, cube, "T"),
        "1d": ColourLut(curves),
        "3d": ColourLut(None, cube),
    }.items():
        write_cube(lut, tmp_path / f"{name}.cube")
        assert run("import", f"{name}.cube", "--as", "cube", "-o", f"{name}.h5").exit_code == 0
        done = run("export", f"{name}.h5", "--to", "cube", "-o", f"{name}-again.cube")
        assert done.exit_code == 0, done.stderr
        assert (tmp_path / f"{name}-again.cube").read_bytes() == (tmp_path / f"{name}.cube").read_bytes()
        assert "100.0000% equal" in done.stderr


@pytest.mark.parametrize("way", [TRILINEAR, TETRAHEDRAL])
def test_an_adaptive_model_is_the_cube_of_the_picture(way):
    artefact = make_adaptive(9, way)
    pixels = make_pixels()
    lut = bake_lut(artefact, pixels)
    fused = Model(artefact.program, artefact.tables).adapt(pixels)["cube"]
    np.testing.assert_array_equal(lut.cube.values.reshape(-1, 3), fused)
    assert (fused < 0).any()
    assert (fused > 1).any()
    own, other = measure_residuals(artefact, lut, pixels)
    assert (own.interpolation, find_interpolation(artefact.program)) == (way, way)
    # what is left is the stretch of the published kernels, and positions rounded to float32
    assert own.psnr > 100
    assert own.psnr_8bit > 60
    assert own.most_levels <= 1
    assert other.psnr < 60


def test_clipping_is_what_a_hald_picture_loses(tmp_path):
    artefact = make_adaptive(9)
    pixels = make_pixels()
    export_hald(artefact, tmp_path / "x.png", image=pixels)
    lut = read_hald(tmp_path / "x.png")
    fused = bake_lut(artefact, pixels)
    np.testing.assert_allclose(lut.cube.values, fused.cube.values.clip(0, 1), atol=0.5001 / 65535)
    hald = next(measure_residuals(artefact, lut, pixels))
    cube = next(measure_residuals(artefact, fused, pixels))
    assert hald.psnr < cube.psnr - 20


def test_residuals_are_what_they_say():
    """A cube that adds 10 levels against the identity, on a picture where nothing clips."""
    identity = make_look(identity_nodes(2))
    shifted = ColourLut(cube=Cube((identity_nodes(2) + np.float32(10 / 255)).reshape(2, 2, 2, 3)))
    pixels = make_pixels() // 2
    for residual in measure_residuals(identity, shifted, pixels):
        assert residual.psnr == pytest.approx(20 * np.log10(25.5), abs=1e-3)
        assert residual.psnr_8bit == pytest.approx(20 * np.log10(25.5), abs=1e-3)
        assert (residual.most_levels, residual.equal) == (10, 0.0)
    same = next(measure_residuals(identity, bake_lut(identity), pixels.astype(np.uint16) * 257))
    assert (same.psnr, same.psnr_8bit, same.most_levels, same.equal) == (float("inf"), float("inf"), 0, 1.0)
    black = np.zeros((1, 2, 3), np.uint8)
    half = np.concatenate([black, black + 100], axis=1)
    darker = ColourLut(cube=Cube((identity_nodes(2) * np.float32(0.5)).reshape(2, 2, 2, 3)))
    assert next(measure_residuals(identity, darker, half)).equal == 0.5


def test_chains_are_sampled_over_the_domain_of_their_first_lookup():
    artefact = make_chain()
    lut = bake_lut(artefact, size=17)
    assert (lut.cube.size, lut.domain) == (17, ((0.0,) * 3, (1.0,) * 3))
    nodes = lut.cube.values
    places = np.linspace(0, 1, 17, dtype=np.float32)
    picture = np.stack([places[[3, 9]], places[[0, 16]], places[[5, 1]]], axis=-1)[None]
    expected = Model(artefact.program, artefact.tables).apply(picture, backend="numpy")[0]
    np.testing.assert_allclose([nodes[5, 0, 3], nodes[1, 16, 9]], expected, atol=1e-6)
    wide = ColourLookup(
        input="image",
        cube=CubeField("cube", 3, domain=Domain((-1.0,) * 3, (2.0,) * 3)),
        output="graded",
    )
    twice = msgspec.structs.replace(wide, input="graded", output="result")
    sampled = bake_lut(Artefact(make_program(wide, twice), {"cube": make_nodes(3)}))
    assert (sampled.cube.size, sampled.domain) == (33, ((-1.0,) * 3, (2.0,) * 3))


def test_another_size_is_sampled_as_the_model_interpolates():
    for way in (TRILINEAR, TETRAHEDRAL):
        artefact = make_look(make_nodes(5), way)
        same = bake_lut(artefact, size=5)
        np.testing.assert_array_equal(same.cube.values.reshape(-1, 3), artefact.tables["cube"])
        finer = bake_lut(artefact, size=9)  # every second node is one of the model's
        np.testing.assert_allclose(finer.cube.values[::2, ::2, ::2], same.cube.values, atol=1e-6)
        exact = same.cube.evaluate(finer.cube.evaluate(np.zeros(3)) * 0 + [1 / 8, 3 / 8, 5 / 8], way)
        np.testing.assert_allclose(finer.cube.values[5, 3, 1], exact, atol=1e-6)


def test_parameters_are_at_their_defaults():
    artefact = make_look(make_nodes(3))
    half = msgspec.structs.replace(artefact.program.parameters[0], default=0.5)
    program = msgspec.structs.replace(artefact.program, parameters=(half,))
    lut = bake_lut(Artefact(program, artefact.tables), size=3)
    expected = (artefact.tables["cube"] + identity_nodes(3)) / 2
    np.testing.assert_allclose(lut.cube.values.reshape(-1, 3), expected, atol=1e-6)


def test_a_blend_of_something_else_is_not_taken_for_the_lookup():
    """The sole lookup is found through blends of parameters that are 1, not through others."""
    artefact = make_look(1 - identity_nodes(3))
    lookup, blend = artefact.program.ops
    odd = Blend(base="graded", changed="image", amount=blend.amount, output="result")
    program = msgspec.structs.replace(artefact.program, ops=(lookup, odd))
    lut = bake_lut(Artefact(program, artefact.tables), size=3)
    np.testing.assert_allclose(lut.cube.values.reshape(-1, 3), identity_nodes(3), atol=1e-6)


def test_only_models_that_look_at_pictures_need_one(tiny_model):
    assert needs_picture(make_adaptive().program)
    assert not needs_picture(make_chain().program)
    with pytest.raises(FormatError, match="another LUT for every picture: name one with --image"):
        bake_lut(make_adaptive())


def test_generated_colours_reach_the_ends():
    colours = make_colours(64)
    assert (colours.min(), colours.max()) == (0, 1)
    assert {tuple(corner) for corner in colours[1]} == set(np.ndindex(2, 2, 2))
    np.testing.assert_array_equal(colours, make_colours(64))


def test_export_prints_what_a_file_loses(run, tmp_path):
    write_artefact(tmp_path / "m.h5", make_adaptive(5))
    Image.fromarray(make_pixels()).save(tmp_path / "photo.png")
    done = run("export", "m.h5", "--to", "cube", "--image", "photo.png", "-o", "photo.cube")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    wrote, nodes, against, own, other = done.stderr.splitlines()
    assert wrote == "wrote photo.cube"
    assert re.fullmatch(r"  5 nodes per axis, values -\d\.\d{4} to \d\.\d{4}", nodes)
    assert against == "  against the model on photo.png:"
    assert re.fullmatch(r"    trilinear +\d{3}\.\d\d dB in float, .* at most [01] levels?, (99|100)\.\d{4}% equal", own)
    assert other.startswith("    tetrahedral ")
    hald = run("export", "m.h5", "--to", "hald", "--image", "photo.png", "-o", "photo-hald.png", "--size", "9")
    assert hald.exit_code == 0, hald.stderr
    assert "9 nodes per axis, values 0.0000 to 1.0000" in hald.stderr
    assert read_hald(tmp_path / "photo-hald.png").cube.size == 9
    assert "domain" not in hald.stderr
    ends = (-1.0,) * 3, (2.0,) * 3
    write_cube(ColourLut(cube=Cube(np.zeros((4, 4, 4, 3), np.float32), *ends)), tmp_path / "wide.cube")
    assert "  the domain -1..2 is lost, " in run("export", "wide.cube", "--to", "hald", "-o", "wide.png").stderr
    assert "is lost" not in run("export", "wide.cube", "--to", "cube", "-o", "narrow.cube").stderr


def test_the_exported_cube_does_to_the_picture_what_the_model_does(run, tmp_path):
    write_artefact(tmp_path / "m.h5", make_adaptive(9, TETRAHEDRAL))
    Image.fromarray(make_pixels()).save(tmp_path / "photo.png")
    assert run("export", "m.h5", "--to", "cube", "--image", "photo.png", "-o", "photo.cube").exit_code == 0
    for model in ("m.h5", "photo.cube"):
        assert run("apply", "photo.png", "-m", model, "-o", f"{model}.png").exit_code == 0
    difference = np.asarray(Image.open("m.h5.png")).astype(int) - np.asarray(Image.open("photo.cube.png"))
    assert np.abs(difference).max() <= 1
    assert (difference == 0).mean() > 0.999


def test_gray_pictures_can_be_exported_for(run, tmp_path):
    write_artefact(tmp_path / "m.h5", make_adaptive(5))
    Image.fromarray(make_pixels()[..., 0]).save(tmp_path / "gray.png")
    assert run("export", "m.h5", "--to", "cube", "--image", "gray.png", "-o", "gray.cube").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["m.h5", "--to", "cube", "-o", "x.cube"], 1, "another LUT for every picture: name one with --image"),
        (["m.h5", "--to", "cube", "-o", "x.cube", "--image", "missing.png"], 1, "missing.png"),
        (["m.h5", "--to", "cube", "-o", "x.cube", "--image", "m.h5"], 1, "m.h5: not a picture"),
        (["look.h5", "--to", "cube", "-o", "x.txt"], 1, "let it end in .cube"),
        (["look.h5", "--to", "hald", "-o", "x.cube"], 1, "let it end in .png"),
        (["look.h5", "--to", "cube", "-o", "there.cube"], 1, "there.cube exists already"),
        (["look.h5", "--to", "hald", "-o", "there.png"], 1, "there.png"),
        (["look.h5", "--to", "cube", "-o", "no/x.cube"], 1, "there is no folder no"),
        (["look.h5", "--to", "cube", "-o", "x.cube", "--size", "130"], 1, "size 130 is asked for; 2 to 129"),
        (["look.h5", "--to", "hald", "-o", "x.png", "--size", "33"], 1, "nodes per axis, not 33"),
        (["look.h5", "--to", "cube", "-o", "x.cube", "--size", "1"], 2, "--size"),
        (["look.h5", "--to", "mulut", "-o", "x"], 1, "cannot be said"),
        (["look.h5", "--to", "npy", "-o", "x"], 1, ""),
        (["tiny", "--to", "cube", "-o", "x.cube"], 1, "each channel and its neighbours: no colour LUT can do that"),
        (["tiny", "--to", "npy", "-o", "x", "--size", "9"], 1, "'npy' has no option --size"),
        (["tiny", "--to", "mulut", "-o", "x", "--image", "photo.png"], 1, "'mulut' has no option --image"),
    ],
)
def test_bad_exports_are_one_line(run, tmp_path, tiny_model, arguments, code, told):
    write_artefact(tmp_path / "m.h5", make_adaptive())
    write_artefact(tmp_path / "look.h5", make_look(identity_nodes(3)))
    Image.fromarray(make_pixels()).save(tmp_path / "photo.png")
    (tmp_path / "there.cube").touch()
    (tmp_path / "there.png").touch()
    before = sorted(tmp_path.iterdir())
    done = run("export", *(tiny_model if each == "tiny" else each for each in arguments))
    assert done.exit_code == code, done.output
    assert told in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_export_overwrites_when_asked(run, tmp_path):
    write_cube(ColourLut(cube=Cube(make_nodes(2).reshape(2, 2, 2, 3))), tmp_path / "a.cube")
    (tmp_path / "b.cube").touch()
    assert run("export", "a.cube", "--to", "cube", "-o", "b.cube", "-y").exit_code == 0
    made = make_lut_artefact(read_cube(tmp_path / "b.cube"))
    np.testing.assert_array_equal(made.tables["cube"], make_nodes(2))
