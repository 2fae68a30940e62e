"""`lutkit apply` with what a model needs beside a picture, and with the power of light; `lutkit eval` on scenes."""

import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from illumination_models import make_exact
from PIL import Image
from relighting_models import COMPANIONS, make_relighting, mix_by_hand
from small_videos import make_smooth, write_video

from lutkit.cli import main
from lutkit.distil.teacher import open_teacher
from lutkit.relighting.pairs import make_pairs
from lutkit.relighting.scenes import read_scenes
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.engine import Model, load
from lutkit_runtime.errors import DataError

OPTIONS = ("--guide", "guide.png", "--depth", "depth.png", "--guide-depth", "guide_depth.png")
HEIGHT, WIDTH = 6, 9


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model of relighting, one of low light, and a picture with all that belongs to it."""
    monkeypatch.chdir(tmp_path)
    write_artefact(tmp_path / "relight.h5", make_relighting())
    write_artefact(tmp_path / "dark.h5", make_exact())
    for name, pixels in make_set(0).items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def make_set(seed, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(seed)
    made = {name: rng.integers(0, 256, (height, width, 3), np.uint8) for name in ("photo", "guide")}
    return made | {name: rng.integers(0, 65536, (height, width), np.uint16) for name in ("depth", "guide_depth")}


def answer_to(pictures):
    parts = [picture / np.iinfo(picture.dtype).max for picture in pictures.values()]
    return mix_by_hand(parts[0], parts[1], parts[2], parts[3])


def call(*arguments, stdin=None):
    return CliRunner().invoke(main, [*map(str, arguments)], input=stdin)


def apply(*arguments, model="relight.h5", stdin=None):
    return call("apply", *arguments, "-m", model, stdin=stdin)


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def assert_near(result, expected):
    assert result.shape == expected.shape and np.abs(result.astype(int) - expected).max() <= 1


def refused(result, *told, code=1):
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    for words in told:
        assert any(words in line for line in lines), (words, lines)
    return lines


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_stands_beside_the_picture_reaches_the_model(folder):
    result = apply("photo.png", *OPTIONS, "-o", "out.png")
    assert result.exit_code == 0, result.stderr
    assert_near(read("out.png"), answer_to(make_set(0)))
    assert np.abs(read("out.png").astype(int) - read("photo.png")).max() > 20


def test_stdin_takes_files_too(folder):
    result = apply("-", *OPTIONS, stdin=(folder / "photo.png").read_bytes())
    assert result.exit_code == 0, result.stderr
    assert_near(read(io.BytesIO(result.stdout_bytes)), answer_to(make_set(0)))


def test_folders_have_a_file_with_the_stem_of_every_picture(folder):
    sets = {"x": make_set(1), "sub/y": make_set(2, 8, 5)}
    for stem, pictures in sets.items():
        for name, pixels in pictures.items():
            suffix = ".tif" if name == "depth" else ".png"
            path = folder / f"{name}s" / f"{stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    beside = ("--guide", "guides", "--depth", "depths", "--guide-depth", "guide_depths")
    result = apply("photos", *beside, "-o", "out")
    assert result.exit_code == 0, result.stderr
    for stem, pictures in sets.items():
        assert_near(read(folder / "out" / f"{stem}.png"), answer_to(pictures))
    # A missing one concerns its picture, and is found before the work.
    (folder / "depths" / "x.tif").unlink()
    lines = refused(apply("photos", *beside, "-o", "again"), "there is no picture x.* in depths for --depth")
    assert sum("x.png" in line for line in lines) == 1
    assert (folder / "again/sub/y.png").is_file() and not (folder / "again/x.png").exists()
    refused(apply("photos", *beside, "-o", "dry", "--dry-run"), "there is no picture x.*")
    for suffix in ("png", "tif"):
        Image.fromarray(sets["x"]["depth"]).save(folder / "depths" / f"x.{suffix}")
    refused(apply("photos", *beside, "-o", "more"), "there are x.png and x.tif in depths for --depth")


@pytest.mark.parametrize("given", [(), ("--guide",), ("--guide", "--depth")])
def test_what_is_missing_is_named_and_nothing_written(folder, given):
    before = list_names(folder)
    chosen = [each for name in given for each in OPTIONS[OPTIONS.index(name) : OPTIONS.index(name) + 2]]
    options = ["--guide", "--depth", "--guide-depth"]
    missing = [option for option in options if option not in given]
    names = ", ".join(option.removeprefix("--").replace("-", "_") for option in missing)
    wanted = " ".join(f"{option} FILE" for option in missing)
    lines = refused(apply("photo.png", *chosen))
    assert lines[-1].endswith(f"photo.png: the model needs {names} beside the picture: give {wanted}")
    assert len(lines) == 1 and list_names(folder) == before


def test_several_pictures_need_folders(folder):
    refused(apply("photo.png", "guide.png"), "relight.h5 needs guide, depth, guide_depth beside each picture", "FOLDER")
    refused(apply("photo.png", "guide.png", *OPTIONS), "--guide guide.png is no folder, but there are 2 pictures")


def test_pictures_of_another_kind_are_refused(folder):
    before = list_names(folder)
    Image.fromarray(make_set(0, 5, 9)["depth"]).save("depth.png")
    refused(apply("photo.png", *OPTIONS), "depth.png (--depth) has 9x5 pixels and the picture 9x6")
    Image.fromarray(make_set(3)["photo"]).save("depth.png")
    refused(apply("photo.png", *OPTIONS), "depth.png (--depth) has colours; a gray picture is needed")
    (folder / "depth.png").unlink()
    refused(apply("photo.png", *OPTIONS), "photo.png: depth.png")
    (folder / "depth.png").write_bytes(b"no picture")
    refused(apply("photo.png", *OPTIONS), "photo.png: depth.png")
    assert list_names(folder) == before


def test_equal_channels_count_as_gray_and_gray_as_colours(folder):
    gray = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    Image.fromarray(np.dstack([gray] * 3)).save("depth.png")
    Image.fromarray(gray).save("guide.png")
    assert apply("photo.png", *OPTIONS, "-o", "out.png").exit_code == 0
    pictures = make_set(0) | {"depth": gray, "guide": np.dstack([gray] * 3)}
    assert_near(read("out.png"), answer_to(pictures))
    # Alpha of what stands beside is passed over.
    Image.fromarray(np.dstack([gray] * 3 + [255 - gray])).save("guide.png")
    assert apply("photo.png", *OPTIONS, "-o", "alpha.png").exit_code == 0
    np.testing.assert_array_equal(read("alpha.png"), read("out.png"))


@pytest.mark.parametrize("option", ["--guide", "--depth", "--guide-depth"])
def test_models_that_take_the_picture_alone_refuse_more(folder, option):
    lines = refused(apply("photo.png", option, "depth.png", model="dark.h5"))
    assert f"dark.h5 takes no {option}: leave it out; it takes the picture alone" in lines[-1]


def test_videos_have_nothing_beside_them(folder):
    write_video(folder / "clip.mp4", make_smooth(2))
    refused(apply("clip.mp4", *OPTIONS), "clip.mp4: the model needs guide, depth, guide_depth", "for pictures only")
    refused(apply("clip.mp4"), "clip.mp4: the model needs guide, depth, guide_depth", "a video has none")
    refused(
        apply("-", "--rawvideo", "4x4", stdin=b"\0" * 48), "a stream of frames has no place; it is for pictures only"
    )
    lines = refused(apply("-", "--rawvideo", "4x4", "--depth", "depth.png", stdin=b"\0" * 48), code=2)
    assert "--depth is not for --rawvideo" in lines[-1]
    assert not list(folder.glob("clip_*"))


def test_gamma_is_a_parameter_like_strength(folder):
    model = load(folder / "dark.h5")
    for gamma in (0.0, 0.14, 1.0):
        assert apply("photo.png", "--gamma", gamma, "-o", "out.png", "-y", model="dark.h5").exit_code == 0
        np.testing.assert_array_equal(read("out.png"), model.apply(read("photo.png"), gamma=gamma))
    both = apply("photo.png", "--gamma", "0.5", "--strength", "0.25", "-o", "both.png", model="dark.h5")
    assert both.exit_code == 0
    np.testing.assert_array_equal(read("both.png"), model.apply(read("photo.png"), gamma=0.5, strength=0.25))
    assert apply("photo.png", "-o", "plain.png", model="dark.h5").exit_code == 0
    np.testing.assert_array_equal(read("plain.png"), model.apply(read("photo.png"), gamma=0.2))


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.01", "inf"])
def test_gamma_out_of_range_is_refused(folder, value):
    lines = refused(apply("photo.png", f"--gamma={value}", model="dark.h5"))
    assert f"gamma is {float(value)}; the model takes 0 to 1" in lines[-1]
    refused(apply("-", "--rawvideo", "4x4", f"--gamma={value}", model="dark.h5"), "the model takes 0 to 1")


def test_gamma_belongs_to_models_that_have_it(folder):
    lines = refused(apply("photo.png", *OPTIONS, "--gamma", "0.2"))
    assert "has no --gamma: leave it out; it takes --strength" in lines[-1]


def test_gamma_reaches_raw_frames_and_videos(folder):
    frame = make_set(4, 4, 6)["photo"]
    result = apply("-", "--rawvideo", "6x4", "--gamma", "0.6", model="dark.h5", stdin=frame.tobytes())
    assert result.exit_code == 0, result.stderr
    expected = load(folder / "dark.h5").apply(frame, gamma=0.6)
    assert result.stdout_bytes == expected.tobytes()
    write_video(folder / "clip.mp4", make_smooth(2))
    for name, gamma in (("a", 0.0), ("b", 1.0)):
        made = apply("clip.mp4", "--gamma", gamma, "-o", f"{name}.mkv", "--lossless", model="dark.h5")
        assert made.exit_code == 0, made.stderr
    frames = [cv2.VideoCapture(f"{name}.mkv").read()[1].astype(int) for name in "ab"]
    assert np.abs(frames[0] - frames[1]).max() > 10


def write_scenes(folder):
    rng = np.random.default_rng(8)
    for scene in ("one", "two"):
        (folder / scene).mkdir(parents=True)
        cv2.imwrite(str(folder / scene / "depth.png"), rng.integers(0, 65536, (16, 20), np.uint16))
        for light in ("N", "E", "S"):
            cv2.imwrite(str(folder / scene / f"light_{light}.png"), rng.integers(0, 256, (16, 20, 3), np.uint8))


def test_eval_reads_scenes(folder):
    write_scenes(folder / "scenes")
    result = call("eval", "relight.h5", "--hr", "scenes", "--json")
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    pairs = make_pairs(read_scenes(folder / "scenes"), 0)
    assert [each["name"] for each in scores["images"]] == [pair.name for pair in pairs] and len(pairs) == 6
    model = load(folder / "relight.h5")
    for pair, each in zip(pairs, scores["images"], strict=True):
        error = np.square(model.apply(pair.degraded, **pair.companions) - pair.target.astype(float)).mean()
        assert each["psnr"] == pytest.approx(10 * np.log10(255**2 / error))
        assert set(each) == {"name", "psnr", "ssim", "delta_e"}
    assert scores["psnr"] == pytest.approx(np.mean([each["psnr"] for each in scores["images"]]))
    other = call("eval", "relight.h5", "--hr", "scenes", "--json", "--seed", "5")
    assert json.loads(other.stdout)["psnr"] != scores["psnr"]
    plain = call("eval", "relight.h5", "--hr", "scenes", "--task", "relight")
    assert plain.exit_code == 0 and "one-" in plain.stdout and "mean" in plain.stdout and "dE" in plain.stdout


def test_eval_of_relighting_refuses_photos_and_degraded_ones(folder):
    write_scenes(folder / "scenes")
    refused(
        call("eval", "relight.h5", "--hr", "scenes", "--lr", "scenes"), "--lr scenes: task relight", "leave --lr out"
    )
    (folder / "photos").mkdir()
    refused(call("eval", "relight.h5", "--hr", "photos"), "photos holds no scenes")


def test_verify_gives_models_what_they_need(folder):
    result = call("verify", "relight.h5")
    assert result.exit_code == 0, result.stderr
    assert "agree on" in result.stdout


def test_distilling_refuses_teachers_that_need_more_than_photos(folder):
    with pytest.raises(DataError, match=r"relight\.h5 needs guide, depth, guide_depth beside a picture") as refusal:
        open_teacher([str(folder / "relight.h5")])
    assert "\n" not in str(refusal.value)


def test_the_model_of_these_tests_is_what_it_says():
    artefact = make_relighting()
    pictures = make_set(6)
    image = pictures.pop("photo")
    assert [each.name for each in COMPANIONS] == list(pictures)
    assert_near(
        Model(artefact.program, artefact.tables).apply(image, **pictures), answer_to({"photo": image} | pictures)
    )


def test_help_starts_without_loading_what_computes():
    code = "import sys; from lutkit.cli.apply import command; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
