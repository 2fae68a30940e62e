"""Colour models on the command line: apply, info, verify, import; what can be said wrongly about them."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bilateral_models import make_bilateral
from click.testing import CliRunner
from colour_models import break_network, expect_weights, identity_nodes, make_adaptive, make_chain, make_look
from fast_backends import FAST_BACKENDS
from PIL import Image, ImageCms

from lutkit.cli import main
from lutkit.colour.lut import ColourLut, Cube, Curves
from lutkit.formats.cube_writer import write_cube
from lutkit.formats.hald import write_hald
from lutkit.resolve import find_model, open_model
from lutkit_runtime.artefact import read_artefact, write_artefact
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.engine import Model
from lutkit_runtime.ops.predictor import sample_thumbnail

BACKENDS = [name for name in FAST_BACKENDS if name != "cuda"]


def make_lut(size=5, seed=0, low=0.0, high=1.0) -> ColourLut:
    """Return a look: an identity bent by a smooth wave and some noise."""
    nodes = identity_nodes(size)
    wave = 0.3 * np.sin(nodes[:, ::-1] * 5) + 0.05 * np.random.default_rng(seed).random(nodes.shape)
    values = (nodes * 0.7 + wave).astype(np.float32)
    values = (values - values.min()) / (values.max() - values.min()) * np.float32(high - low) + np.float32(low)
    return ColourLut(cube=Cube(values.clip(low, high).reshape(size, size, size, 3)), title="A Look")


def make_pixels(height=6, width=7, channels=3, seed=0, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, channels), dtype, endpoint=True).squeeze()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a command in a fresh folder, which holds look.cube and in.png."""
    monkeypatch.chdir(tmp_path)
    write_cube(make_lut(), tmp_path / "look.cube")
    Image.fromarray(make_pixels()).save(tmp_path / "in.png")
    return lambda *arguments, stdin=None: CliRunner().invoke(main, list(map(str, arguments)), input=stdin)


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def apply_lut(pixels, lut=None, **options):
    artefact = open_model(find_model("look.cube"))
    return Model(artefact.program, artefact.tables).apply(pixels, backend="numpy", **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cube_file_is_a_model(run, tmp_path, backend):
    done = run("apply", "in.png", "-m", "look.cube", "--backend", backend)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["in.png -> in_look.png"]
    exact = make_lut().evaluate(make_pixels() / 255)
    found = read("in_look.png")
    np.testing.assert_array_equal(found, apply_lut(make_pixels()))
    assert np.abs(found - np.floor(exact * 255 + 0.5)).max() <= 1


def test_a_hald_picture_is_a_model(run, tmp_path):
    lut = make_lut(size=16)
    write_cube(lut, tmp_path / "same.cube")
    write_hald(lut, tmp_path / "hald.png")
    for model in ("same.cube", "hald.png"):
        assert run("apply", "in.png", "-m", model, "-o", f"{model}.out.png").exit_code == 0
    difference = read("same.cube.out.png").astype(int) - read("hald.png.out.png")
    assert np.abs(difference).max() <= 1
    assert (difference == 0).mean() > 0.95


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_depth_is_kept_without_a_word(run, tmp_path, dtype):
    pixels = make_pixels(dtype=np.uint16)
    pixels = (pixels / 65535).astype(dtype) if dtype == np.float32 else pixels.astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb")
    done = run("apply", "in.tif", "-m", "look.cube", "-o", "out.tif")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines() == ["in.tif -> out.tif"]
    found = tifffile.imread("out.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, apply_lut(pixels))


@pytest.mark.parametrize(
    "options", [["--backend", "numpy"], ["--tile", "2"], ["--backend", "cpu", "--threads", "1", "--tile", "3"]]
)
def test_options_of_the_computation_change_nothing(run, tmp_path, options):
    for strength in ([], ["--strength", "0.4"]):
        assert run("apply", "in.png", "-m", "look.cube", "-o", "plain.png", "-y", *strength).exit_code == 0
        assert run("apply", "in.png", "-m", "look.cube", "-o", "other.png", "-y", *strength, *options).exit_code == 0
        np.testing.assert_array_equal(read("plain.png"), read("other.png"))


def test_strength_0_gives_the_input_back_and_1_is_no_option(run, tmp_path):
    for model in (make_look(1 - identity_nodes(3)), make_adaptive()):
        write_artefact(tmp_path / "m.h5", model, overwrite=True)
        outputs = {}
        for name, options in {"0": ["--strength", "0"], "1": ["--strength", "1"], "": []}.items():
            done = run("apply", "in.png", "-m", "m.h5", "-o", f"out{name}.png", "-y", *options)
            assert done.exit_code == 0, done.stderr
            outputs[name] = read(f"out{name}.png")
        np.testing.assert_array_equal(outputs["0"], make_pixels())
        np.testing.assert_array_equal(outputs["1"], outputs[""])
        assert not np.array_equal(outputs["1"], outputs["0"])


def test_strength_is_how_far_a_picture_goes(run, tmp_path):
    assert run("apply", "in.png", "-m", "look.cube", "-o", "out.png", "--strength", "0.25").exit_code == 0
    exact = make_pixels() / 255
    exact = exact + 0.25 * (make_lut().evaluate(exact) - exact)
    assert np.abs(read("out.png") - np.floor(exact * 255 + 0.5)).max() <= 1


def test_interpolation_overrides_that_of_the_model(run, tmp_path):
    for way in CubeInterpolation:
        assert (
            run("apply", "in.png", "-m", "look.cube", "-o", "o.png", "-y", "--interpolation", way.value).exit_code == 0
        )
        exact = make_lut().evaluate(make_pixels() / 255, way)
        assert np.abs(read("o.png") - np.floor(exact * 255 + 0.5)).max() <= 1
        if way is CubeInterpolation.TETRAHEDRAL:
            np.testing.assert_array_equal(read("o.png"), apply_lut(make_pixels()))
    write_artefact(tmp_path / "m.h5", make_adaptive())
    outputs = {}
    for way in CubeInterpolation:
        done = run("apply", "in.png", "-m", "m.h5", "-o", f"{way.value}.png", "--interpolation", way.value)
        assert done.exit_code == 0, done.stderr
        outputs[way] = read(f"{way.value}.png")
    assert run("apply", "in.png", "-m", "m.h5", "-o", "own.png").exit_code == 0
    np.testing.assert_array_equal(read("own.png"), outputs[CubeInterpolation.TRILINEAR])
    assert not np.array_equal(read("own.png"), outputs[CubeInterpolation.TETRAHEDRAL])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-m", "tiny", "--strength", "0.5"], "has no --strength: leave it out; it is for colour models"),
        (["-m", "tiny", "--interpolation", "trilinear"], "no cube to interpolate in: leave --interpolation out"),
        (["-m", "look.cube", "--strength", "2.5"], "strength is 2.5; the model takes 0 to 2"),
        (["-m", "look.cube", "--strength", "-0.1"], "strength is -0.1"),
        (["-m", "look.cube", "--strength", "nan"], "strength is nan"),
        (["-m", "curves.cube", "--interpolation", "trilinear"], "no cube to interpolate in"),
        (["-m", "bad.cube"], "bad.cube"),
        (["-m", "missing.cube"], "there is no model 'missing.cube'"),
        (["-m", "in.png"], "7x6 pixels; a Hald picture is square"),
        (["-m", "in.tif"], "is no PNG picture"),
        (["-m", "in.jpg"], "JPEG picture, whose losses"),
        (["-m", "network.h5"], "network 'predictor' cannot be used"),
    ],
)
def test_what_does_not_fit_the_model_is_one_line_before_any_picture(run, tmp_path, tiny_model, options, told):
    write_cube(ColourLut(curves=Curves(np.zeros((2, 3), np.float32))), tmp_path / "curves.cube")
    (tmp_path / "bad.cube").write_text("LUT_3D_SIZE 2\n0 0 0\n")
    tifffile.imwrite(tmp_path / "in.tif", make_pixels())
    Image.fromarray(make_pixels()).save(tmp_path / "in.jpg")
    write_artefact(tmp_path / "network.h5", break_network(make_adaptive()))
    before = sorted(tmp_path.iterdir())
    arguments = [str(tiny_model) if option == "tiny" else option for option in options]
    done = run("apply", "in.png", "look.cube", "-o", "out", *arguments)
    assert done.exit_code == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("options", [["--interpolation", "cubic"], ["--strength", "much"]])
def test_wrong_words_are_wrong_usage(run, options):
    assert run("apply", "in.png", "-m", "look.cube", *options).exit_code == 2


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("LA", 4)])
def test_gray_pictures_become_rgb_and_that_is_said_once(run, tmp_path, mode, channels):
    gray = make_pixels(channels=len(mode), seed=1)
    for name in ("a.png", "b.png"):
        Image.fromarray(gray, mode=None).save(tmp_path / name)
    done = run("apply", "a.png", "b.png", "-m", "look.cube", "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("this model changes colours; gray pictures become RGB") == 1
    found = read("out/b.png")
    assert found.shape == (6, 7, channels)
    plain = gray if mode == "L" else gray[..., 0]
    np.testing.assert_array_equal(found[..., :3], apply_lut(np.dstack([plain] * 3)))
    if mode == "LA":
        np.testing.assert_array_equal(found[..., 3], gray[..., 1])


def test_alpha_is_untouched(run, tmp_path):
    pixels = make_pixels(channels=4)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert run("apply", "a.png", "-m", "look.cube", "-o", "out.png", "--strength", "1.5").exit_code == 0
    np.testing.assert_array_equal(read("out.png")[..., 3], pixels[..., 3])


def test_palettes_and_cmyk_are_looked_up_as_rgb(run, tmp_path):
    picture = Image.fromarray(make_pixels())
    picture.quantize(4).save(tmp_path / "palette.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.tif")
    for name in ("palette.png", "cmyk.tif"):
        done = run("apply", name, "-m", "look.cube", "-o", "out.png", "-y")
        assert done.exit_code == 0, done.stderr
        assert read("out.png").shape == (6, 7, 3)
        with Image.open(name) as image:
            expected = apply_lut(np.asarray(image.convert("RGB")))
        if name == "palette.png":
            np.testing.assert_array_equal(read("out.png"), expected)


def test_the_colour_profile_is_kept_and_the_values_are_taken_as_they_are(run, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    rgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert profile.tobytes() != rgb
    Image.fromarray(make_pixels()).save(tmp_path / "a.png", icc_profile=bytes(rgb))
    assert run("apply", "a.png", "-m", "look.cube", "-o", "out.png").exit_code == 0
    with Image.open("out.png") as image:
        assert image.info["icc_profile"] == bytes(rgb)
    np.testing.assert_array_equal(read("out.png"), apply_lut(make_pixels()))


def test_the_profile_of_a_gray_picture_is_dropped_with_a_word(run, tmp_path):
    gray = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    gray[16:20] = b"GRAY"
    Image.fromarray(make_pixels(channels=1)).save(tmp_path / "a.png", icc_profile=bytes(gray))
    done = run("apply", "a.png", "-m", "look.cube", "-o", "out.png")
    assert done.exit_code == 0, done.stderr
    assert "colour profile for GRAY dropped: the pixels are RGB" in done.stderr
    with Image.open("out.png") as image:
        assert "icc_profile" not in image.info


def test_pipes_work_with_looks(run):
    stream = io.BytesIO()
    Image.fromarray(make_pixels()).save(stream, "PNG")
    done = run("apply", "-", "-m", "look.cube", stdin=stream.getvalue())
    assert done.exit_code == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(done.stdout_bytes))), apply_lut(make_pixels()))


def test_an_adaptive_model_looks_at_every_picture_by_itself(run, tmp_path):
    write_artefact(tmp_path / "m.h5", make_adaptive())
    dark = make_pixels(20, 30) // 4
    Image.fromarray(dark).save(tmp_path / "dark.png")
    assert run("apply", "in.png", "dark.png", "-m", "m.h5", "-o", "out").exit_code == 0
    artefact = make_adaptive()
    model = Model(artefact.program, artefact.tables)
    for name, pixels in (("in.png", make_pixels()), ("dark.png", dark)):
        np.testing.assert_array_equal(read(f"out/{name}"), model.apply(pixels, backend="numpy"))
        weights = expect_weights(sample_thumbnail(pixels, 4))
        np.testing.assert_allclose(model.adapt(pixels)["weights"], weights, atol=1e-6)


def test_info_tells_what_a_look_is(run):
    facts = json.loads(run("info", "look.cube", "--json").stdout)
    assert (facts["family"], facts["task"], facts["colour"], facts["depth"]) == ("colour-lut", "look", "rgb", None)
    assert facts["parameters"] == [{"name": "strength", "default": 1.0, "low": 0.0, "high": 2.0}]
    lookup, blend = facts["steps"]
    assert (lookup["cube"]["size"], lookup["cube"]["interpolation"]) == (5, "tetrahedral")
    assert (lookup["cube"]["lowest"], lookup["cube"]["highest"]) == (0.0, 1.0)
    assert lookup["arithmetic"] == {"uint8": "packed", "uint16": "float32", "float32": "float32", "reason": None}
    assert blend["op"] == "blend"
    assert facts["provenance"]["title"] == "A Look"
    text = run("info", "look.cube").stdout
    for words in ("look: colour-lut for look\n", "A Look", "5 nodes per axis", "tetrahedral", "0 to 2, default 1"):
        assert words in text
    assert "packed integers for 8-bit pictures, float32 for others" in text


def test_info_says_why_8_bit_pictures_fall_back_to_floats(run, tmp_path):
    write_cube(make_lut(low=-0.25, high=1.5), tmp_path / "wide.cube")
    text = run("info", "wide.cube").stdout
    assert "float32 (8-bit pictures too: nodes from -0.25 to 1.5 lie outside 0 to 1)" in text
    assert run("import", "look.cube", "--as", "cube", "--interpolation", "trilinear", "-o", "t.h5").exit_code == 0
    assert "8-bit pictures too: the interpolation is trilinear" in run("info", "t.h5").stdout
    write_cube(ColourLut(curves=Curves(np.zeros((9, 3), np.float32))), tmp_path / "curves.cube")
    assert "8-bit pictures too: there is no cube" in run("info", "curves.cube").stdout


def test_info_tells_the_parts_of_adaptive_models_and_chains(run, tmp_path):
    write_artefact(tmp_path / "m.h5", make_adaptive())
    predictor, fusion, lookup, _ = json.loads(run("info", "m.h5", "--json").stdout)["steps"]
    assert (predictor["thumbnail"], predictor["outputs"]) == (4, 2)
    assert [(table["slot"], table["storage"]) for table in fusion["tables"]] == [
        ("basis/0", "float32"),
        ("basis/1", "int16"),
    ]
    assert lookup["cube"]["slot"] is None
    text = run("info", "m.h5").stdout
    for words in ("629 bytes of ONNX", "4 x 4 pixels", "a weighted sum of 2 tables", "made for every picture"):
        assert words in text
    write_artefact(tmp_path / "c.h5", make_chain())
    text = run("info", "c.h5").stdout
    for words in ("step 2, colour matrix", "17 nodes", "-0.1 to 1.2, 0 to 1, 0 to 1.5", "int8"):
        assert words in text


def test_info_tells_grids_and_guides_with_every_table(run, tmp_path):
    artefact = make_bilateral()
    write_artefact(tmp_path / "m.h5", artefact)
    predictor, fusion, sliced, _ = json.loads(run("info", "m.h5", "--json").stdout)["steps"]
    named = {table["slot"]: table["bytes"] for table in (fusion["table"], *sliced["guide"]["tables"])}
    assert named | {predictor["slot"]: predictor["bytes"]} == {
        slot: table.nbytes for slot, table in artefact.tables.items()
    }
    text = run("info", "m.h5").stdout
    for words in ("step 3, bilateral slice", "3 x 2 places, 4 levels", *artefact.tables.keys() - {"predictor"}):
        assert words in text


@pytest.mark.parametrize(
    "command",
    [
        ["export", "m.h5", "--to", "cube", "-o", "made.cube"],
        ["lint", "m.h5"],
        ["resize", "m.h5", "--size", "5", "-o", "made.cube"],
        ["diff", "m.h5", "m.h5"],
    ],
    ids=lambda words: words[0],
)
def test_no_lut_holds_a_model_of_places(run, tmp_path, command):
    write_artefact(tmp_path / "m.h5", make_bilateral())
    result = run(*command)
    assert result.exit_code == 1
    assert "changes a colour by its place in the picture" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("made*"))


def test_info_shows_models_whose_network_is_broken(run, tmp_path):
    write_artefact(tmp_path / "m.h5", break_network(make_adaptive()))
    assert run("info", "m.h5").exit_code == 0
    refused = run("verify", "m.h5")
    assert refused.exit_code == 1
    assert "network 'predictor' cannot be used" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("make", [make_adaptive, make_chain])
def test_verify_runs_models_of_colours_at_every_depth(run, tmp_path, make):
    write_artefact(tmp_path / "m.h5", make())
    for model in ("m.h5", "look.cube"):
        done = run("verify", model)
        assert done.exit_code == 0, done.stderr
        assert f"{model}: intact" in done.stdout
        assert "agree on 46,620 samples" in done.stdout


def test_verify_finds_a_backend_that_computes_colours_wrongly(run, monkeypatch):
    right = Model.apply

    def wrong(self, image, *, backend="auto", **options):
        result = right(self, image, backend=backend, **options)
        if backend == "cpu" and image.dtype == np.float32:
            result[0, 0, 0] = np.nextafter(result[0, 0, 0], np.float32(9))
        return result

    monkeypatch.setattr(Model, "apply", wrong)
    done = run("verify", "look.cube")
    assert done.exit_code == 1
    assert "differs from the reference in 1 of 6660 samples (float32, tile None)" in done.stderr


def test_import_makes_the_artefact_that_the_file_is(run, tmp_path):
    done = run("import", "look.cube", "--as", "cube", "-o", "look.h5")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == "look.h5: colour-lut for look\n"
    imported, opened = read_artefact(tmp_path / "look.h5"), open_model(find_model("look.cube"))
    assert imported.program == opened.program
    np.testing.assert_array_equal(imported.tables["cube"], opened.tables["cube"])
    assert imported.program.ops[0].arithmetic is Arithmetic.PACKED
    write_hald(make_lut(size=9), tmp_path / "hald.png")
    assert run("import", "hald.png", "--as", "hald", "-o", "hald.h5", "--interpolation", "trilinear").exit_code == 0
    assert read_artefact(tmp_path / "hald.h5").program.ops[0].cube.interpolation is CubeInterpolation.TRILINEAR


@pytest.mark.parametrize("name", ["cc.cube", "look.cube", "x.png", "x.TIF", "x.ppm", "x.clf"])
def test_artefacts_get_no_name_of_a_lut_or_a_picture(run, tmp_path, name):
    before = (tmp_path / "look.cube").read_bytes()
    done = run("import", "look.cube", "--as", "cube", "-o", name, "-y")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert f"name it {Path(name).stem}.h5" in done.stderr
    assert (tmp_path / "look.cube").read_bytes() == before
    assert name == "look.cube" or not (tmp_path / name).exists()


CORRECTIONS = """<ColorCorrectionCollection xmlns="urn:ASC:CDL:v1.2">
<ColorCorrection id="one"><SOPNode><Slope>0.5 1 1</Slope><Offset>0 0 0</Offset><Power>1 1 1</Power></SOPNode>
</ColorCorrection>
<ColorCorrection id="two"><SOPNode><Slope>1 1 1</Slope><Offset>0 0 0</Offset><Power>1.2 1 1</Power></SOPNode>
</ColorCorrection></ColorCorrectionCollection>
"""


def test_one_correction_of_several_is_imported_by_its_id(run, tmp_path):
    pytest.importorskip("PyOpenColorIO", reason="needs OpenColorIO: pip install 'lutkit[ocio]'")
    (tmp_path / "shots.ccc").write_text(CORRECTIONS)
    for arguments in (["apply", "in.png", "-m", "shots.ccc"], ["import", "shots.ccc", "--as", "ocio", "-o", "x.h5"]):
        told = run(*arguments).stderr
        assert "shots.ccc holds 2 corrections (one, two)" in told and "--correction ID" in told
    done = run("import", "shots.ccc", "--as", "ocio", "--correction", "one", "-o", "one.h5")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == "one.h5: colour-lut for look\n"
    model = Model((artefact := read_artefact("one.h5")).program, artefact.tables)
    np.testing.assert_allclose(model.apply(np.ones((1, 1, 3), np.float32)), [[[0.5, 1, 1]]], atol=1e-6)
    assert artefact.provenance["imported"]["correction"] == "one"
    assert run("import", "shots.ccc", "--as", "ocio", "--correction", "0", "-o", "first.h5").exit_code == 0
    assert read_artefact("first.h5").program == artefact.program
    for file, kind, words in (
        ("shots.ccc", "ocio", "OpenColorIO refuses it"),
        ("look.cube", "cube", "'cube' has no option --correction"),
    ):
        done = run("import", file, "--as", kind, "--correction", "three", "-o", "x.h5")
        assert done.exit_code == 1 and words in done.stderr
    (tmp_path / "mix.spimtx").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n")
    assert (
        "leave --correction out"
        in run("import", "mix.spimtx", "--as", "ocio", "--correction", "a", "-o", "x.h5").stderr
    )


def test_approximations_are_said_once(run, tmp_path):
    pytest.importorskip("PyOpenColorIO", reason="needs OpenColorIO: pip install 'lutkit[ocio]'")
    (tmp_path / "shots.ccc").write_text(CORRECTIONS)
    done = run("import", "shots.ccc", "--as", "ocio", "--correction", "two", "-o", "two.h5")
    assert done.stderr.count("two.h5: approximated by curves: CDL over 0..1 to ") == 1
    correction = CORRECTIONS.partition('<ColorCorrection id="two">')[2].partition("</ColorCorrection>")[0]
    (tmp_path / "two.cc").write_text(f'<ColorCorrection id="two">{correction}</ColorCorrection>')
    for name in ("b.png", "c.png"):
        Image.fromarray(make_pixels()).save(tmp_path / name)
    done = run("apply", "in.png", "b.png", "c.png", "-m", "two.cc", "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("two.cc: approximated by curves: CDL over 0..1 to ") == 1


def test_gray_files_whose_format_holds_no_colours_become_others(run, tmp_path):
    Image.fromarray(make_pixels(channels=1)).save(tmp_path / "x.pgm")
    done = run("apply", "x.pgm", "-m", "look.cube")
    assert done.exit_code == 0, done.stderr
    assert "x.pgm: becomes x_look.ppm, because .pgm files hold no colours" in done.stderr
    assert read("x_look.ppm").shape == (6, 7, 3)
    (tmp_path / "in").mkdir()
    Image.fromarray(make_pixels(channels=1)).save(tmp_path / "in" / "y.pgm")
    assert run("apply", "in", "-m", "look.cube", "-o", "out").exit_code == 0
    assert read("out/y.ppm").shape == (6, 7, 3)
    assert "PGM files cannot hold" in run("apply", "x.pgm", "-m", "look.cube", "-o", "y.pgm").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["look.cube", "look.cube", "--as", "cube"], 1, "a colour LUT is one file but 2 sources"),
        (["look.cube", "--as", "hald"], 1, "look.cube is no PNG picture"),
        (["in.png", "--as", "cube"], 1, "in.png"),
        (["look.cube", "--as", "cube", "--scale", "2"], 1, "'cube' has no option --scale: it takes --interpolation"),
        (["look.cube", "--as", "cube", "--colour-space", "XYZ"], 1, "'cube' has no option --colour-space"),
        (["look.cube", "--as", "cube", "--interpolation", "cubic"], 2, "cubic"),
        (["look.cube", "--as", "adaptive-3dlut"], 1, "adaptive-3dlut has 2 files, LUTs.pth and classifier.pth, not 1"),
        (["w.pth", "--as", "adaptive-3dlut"], 1, "adaptive-3dlut has 2 files"),
        (["w.pth", "--as", "cube"], 1, "w.pth"),
        (
            ["look.cube", "look.cube", "--as", "adaptive-3dlut"],
            1,
            "look.cube holds no readable arrays, as it is no file",
        ),
    ],
)
def test_bad_imports_are_one_line(run, tmp_path, arguments, code, told):
    (tmp_path / "w.pth").write_bytes(b"no weights")
    done = run("import", *arguments, "-o", "out.h5")
    assert done.exit_code == code
    assert told in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1
    assert not (tmp_path / "out.h5").exists()


def test_names_of_models_tell_files_apart(run, tmp_path):
    source = find_model("look.cube")
    assert (source.label, source.lut_kind, source.description) == ("look", "cube", "the colour LUT look.cube")
    (tmp_path / "LOOK2.CUBE").write_bytes((tmp_path / "look.cube").read_bytes())
    assert find_model("LOOK2.CUBE").lut_kind == "cube"
    assert find_model("in.png").lut_kind == "hald"


def test_looks_need_neither_torch_nor_what_they_do_not_use(run, tmp_path):
    code = (
        "import sys\n"
        "from lutkit.cli import main\n"
        "main(['apply', 'in.png', '-m', 'look.cube', '-o', 'out.png', '--backend', 'numpy'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'numba', 'h5py', 'scipy', 'PyOpenColorIO') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
