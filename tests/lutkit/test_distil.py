"""Distillation from command to report: where it stops, why it climbs, what it refuses, and that it can be resumed."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("scipy")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from onnx_teachers import save_blur, save_exposure, save_gamma, save_halving
from small_training import ONE_THREAD, write_photos

from lutkit.cli import main
from lutkit.distil import cube_rung, ladder, speed
from lutkit.families import FAMILIES
from lutkit_runtime import load


@pytest.fixture(scope="module")
def runner():
    return CliRunner()


@pytest.fixture(scope="module", autouse=True)
def small_clock():
    """Time a small picture, once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WIDTH", 96), ("HEIGHT", 64), ("ROUNDS", 1)):
            patch.setattr(speed, name, value)
        yield


@pytest.fixture
def small_cube(monkeypatch):
    """Fit a small cube, where what it is like does not matter."""
    monkeypatch.setattr(cube_rung, "SIZE", 5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("distil-photos"), count=11, side=64)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Folder of photos that are as few and as small as will do; not to be changed."""
    return write_photos(tmp_path_factory.mktemp("distil-few"), count=3, side=32)


@pytest.fixture(scope="module")
def film(tmp_path_factory, runner, data, small_clock):
    """Folder of a distillation of a built-in look; not to be changed."""
    run = tmp_path_factory.mktemp("distil-film") / "run"
    result = distil(runner, "warm-film", "--data", data, "--to", "cube", "--variants", 1, "--run", run)
    assert result.exit_code == 0, result.stderr
    return run


def distil(runner, *arguments):
    return runner.invoke(main, ["distil", *map(str, arguments)], catch_exceptions=False)


def read_report(run):
    return json.loads((run / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_colour_map_stops_at_the_first_rung(tmp_path, runner, data):
    run = tmp_path / "run"
    result = distil(runner, save_gamma(tmp_path / "gamma.onnx"), "--data", data, "--run", run, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    report = read_report(run)
    assert [rung["name"] for rung in report["rungs"]] == ["cube"]
    (cube,) = report["rungs"]
    assert cube["held_out"]["psnr"] >= 45 and cube["within_tolerance"]
    assert report["explained"]["by_one_map"]["share"] == 1
    # nine photos show few of all colours
    assert [line.split(" dB ")[0] for line in report["warnings"]] == [f"cube is worth {cube['gap']:.1f}"] * (
        cube["gap"] > 1
    )
    assert all(f"warning: {line}" in result.stderr for line in report["warnings"])
    assert report["photos"]["fitted"] == 9 and report["photos"]["held_out"] == 2
    assert "within the tolerance of 40 dB: done" in report["reasons"][0] and report["reasons"][0] in result.stderr
    student = load(run / "student.h5")
    photo = cv2.imread(str(data / "photo5.png"))[..., ::-1].copy()  # a fitted one
    wanted = 255 * (photo / 255) ** 0.7
    assert np.sqrt(np.square(student.apply(photo) - wanted).mean()) < 1.4  # 45 dB
    step = student.provenance["history"][-1]
    assert step["teacher"] == "gamma" and step["teacher_sha256"] == report["teacher"]["sha256"]
    assert step["held_out_psnr"] == cube["held_out"]["psnr"]
    assert student.provenance["data"] == report["photos"]["description"] == f"9 photos of {data.name}"
    assert 0 < cube["notes"]["cells_never_hit"] < cube["notes"]["cells"]
    assert report["teacher"]["milliseconds"] > 0 and cube["milliseconds"] > 0


def test_a_built_in_look_is_met_to_45_db(film):
    assert read_report(film)["rungs"][0]["held_out"]["psnr"] >= 45


def test_what_is_no_colour_map_climbs_and_says_why(tmp_path, runner, data):
    run = tmp_path / "run"
    teacher = save_exposure(tmp_path / "exposure.onnx")
    options = (
        "--data",
        data,
        "--run",
        run,
        "--to",
        "adaptive-3dlut",
        "--steps",
        3,
        "--variants",
        1,
        "--device",
        "cpu",
    )
    result = distil(runner, teacher, *options)
    assert result.exit_code == 0, result.stderr
    report = read_report(run)
    assert [rung["name"] for rung in report["rungs"]] == ["cube", "adaptive-3dlut"]
    assert report["explained"]["by_one_map"]["share"] < 0.99
    assert report["explained"]["by_a_map_for_each_picture"]["ceiling_psnr"] > 60
    first, second = report["reasons"]
    assert "a colour map for the whole set can explain" in first and first.endswith("climbing to adaptive-3dlut")
    assert "a colour map for each picture can reach" in second and second.endswith("there is no rung above")
    chosen = max(report["rungs"], key=lambda rung: rung["held_out"]["psnr"])
    assert report["student"]["rung"] == chosen["name"]
    missed = f"misses it by {40 - chosen['held_out']['psnr']:.1f} dB"
    assert missed in report["warnings"][0] and missed in result.stderr
    assert load(run / "student.h5").program.family in ("colour-lut", "adaptive-3dlut")
    page = (run / "report.html").read_text()
    assert missed in page and "adaptive-3dlut" in page

    before = {path: path.stat().st_mtime_ns for path in (run / "pairs").rglob("*.png")}
    assert len(before) == 2 * 18
    again = distil(runner, teacher, *options)
    assert again.exit_code == 1 and "go on with --resume, name another folder with --run" in again.stderr
    (run / "pairs" / "target" / "00003.png").unlink()
    resumed = distil(runner, teacher, *options, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    changed = [path for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert sorted(path.name for path in changed) == ["00003.png"] * 2
    other = read_report(run)
    for kept, new in zip(report["rungs"], other["rungs"], strict=True):
        assert kept["held_out"] == new["held_out"]
    refused = distil(runner, teacher, *options, "--seed", 5, "--resume")
    assert refused.exit_code == 1 and "was begun with seed 0, not 5" in refused.stderr
    refused = distil(runner, save_blur(teacher), *options, "--resume")
    assert refused.exit_code == 1 and "was begun with another teacher" in refused.stderr


def test_every_family_of_the_ladder_can_be_trained_on_pairs():
    from lutkit.families import find_family
    from lutkit.recipe import ColourRecipe

    names = [rung.name for rung in ladder.list_rungs()]
    assert names[:2] == ["cube", "adaptive-3dlut"]
    for name in names[1:]:
        assert name in FAMILIES
        family = find_family(name)
        assert isinstance(family.presets["quick"], ColourRecipe) and family.configure("quick", None).task == "retouch"


def test_sides_follow_what_the_teacher_takes(tmp_path, runner, small_cube):
    data = tmp_path / "photos"
    data.mkdir()
    for number in range(3):
        cv2.imwrite(str(data / f"{number}.png"), np.full((33, 47, 3), 50 * number + 20, np.uint8))
    run = tmp_path / "run"
    result = distil(runner, save_halving(tmp_path / "halving.onnx"), "--data", data, "--to", "cube", "--run", run)
    assert result.exit_code == 0, result.stderr
    assert cv2.imread(str(run / "held-out" / "target" / "00000.png")).shape == (32, 46, 3)
    assert read_report(run)["teacher"]["multiple_of_sides"] == 2


def test_bad_photos_are_refused_before_the_teacher_is_asked(tmp_path, runner, data):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in data.iterdir():
        (photos / path.name).write_bytes(path.read_bytes())
    broken = photos / "zz.png"
    for content, said in (
        (b"\x89PNG\r\n\x1a\nnothing", "zz.png"),
        (_png(8, 40), "zz.png is 40x8 pixels; at least 16x16"),
    ):
        broken.write_bytes(content)
        run = tmp_path / said.split()[-1]
        result = distil(runner, "warm-film", "--data", photos, "--to", "cube", "--run", run)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert said in line and "remove it from the folder" in line
        assert not run.exists()  # the same command works once the photo is gone


def _png(height, width):
    return cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()


def test_nothing_is_overwritten_unasked(tmp_path, runner, few, small_cube):
    options = ("warm-film", "--data", few, "--to", "cube", "--variants", 0)
    mine = tmp_path / "mine"
    (mine / "pairs").mkdir(parents=True)
    (mine / "pairs" / "note.txt").write_text("mine")
    for more in ((), ("-y",)):
        result = distil(runner, *options, "--run", mine, *more)
        assert result.exit_code == 1 and "holds pairs, which is of no distillation" in result.stderr
    assert (mine / "pairs" / "note.txt").read_text() == "mine"
    output = tmp_path / "student.h5"
    output.write_text("mine")
    result = distil(runner, *options, "--run", tmp_path / "run", "-o", output)
    assert result.exit_code == 1 and "student.h5 exists" in result.stderr and not (tmp_path / "run").exists()
    result = distil(runner, *options, "--run", tmp_path / "run", "-o", output, "-y")
    assert result.exit_code == 0, result.stderr
    load(output)
    result = distil(runner, *options, "--run", tmp_path / "run", "-y")
    assert result.exit_code == 0 and (tmp_path / "run" / "student.h5").is_file()
    result = distil(runner, *options, "--run", tmp_path / "none", "--resume")
    assert result.exit_code == 1 and "holds no distillation to go on with" in result.stderr


def test_photos_and_the_folder_of_a_distillation_are_kept_apart(tmp_path, runner, small_cube):
    """Pairs would be taken for photos, or photos deleted as the pairs of before."""
    photos = write_photos(tmp_path / "photos", count=3, side=32)
    options = ("warm-film", "--to", "cube", "--variants", 0)
    result = distil(runner, *options, "--data", photos, "--run", photos / "runs")
    assert result.exit_code == 1 and "would be taken for photos" in result.stderr and not (photos / "runs").exists()
    run = tmp_path / "run"
    assert distil(runner, *options, "--data", photos, "--run", run).exit_code == 0
    kept = sorted(run.rglob("*"))
    for option in ("--data", "--val"):
        others = () if option == "--data" else ("--data", photos)
        result = distil(runner, *options, *others, option, run / "pairs" / "input", "--run", run, "-y")
        assert result.exit_code == 1 and f"the folder of {option} lies in" in result.stderr
    assert sorted(run.rglob("*")) == kept


def test_a_distillation_can_be_applied_but_its_parts_are_no_teacher_and_no_output(tmp_path, runner, data, film):
    run = film
    first = ("--data", data, "--to", "cube", "--variants", 1, "--run", run)
    applied = runner.invoke(main, ["apply", str(data / "photo5.png"), "-m", str(run), "-o", str(tmp_path / "made.png")])
    assert applied.exit_code == 0 and (tmp_path / "made.png").is_file()
    before = (run / "student.h5").read_bytes()
    for teacher in (run, run / "student.h5", run / "cube" / "lut.h5"):
        refused = distil(runner, teacher, *first, "-y")
        assert refused.exit_code == 1 and "is a part of the distillation in" in refused.stderr
    for output in ("distil.json", "pairs/input/x.h5", "report.json"):
        refused = distil(runner, "warm-film", *first, "-y", "-o", run / output)
        assert refused.exit_code == 1, refused.stderr
    assert (run / "student.h5").read_bytes() == before


def test_names_of_photos_may_be_any_bytes(tmp_path, runner, small_cube):
    photos = write_photos(tmp_path / "photos", count=3, side=32)
    try:
        (photos / "photo0.png").rename(photos / os.fsdecode(b"a\xff.png"))
    except OSError:
        pytest.skip("this file system knows no such names")
    run = tmp_path / "run"
    result = distil(runner, "warm-film", "--to", "cube", "--variants", 0, "--data", photos, "--run", run)
    assert result.exit_code == 0, result.stderr
    assert read_report(run)["rungs"][0]["held_out"]["images"][0]["name"] == "a\ufffd.png"
    assert "a\ufffd.png" in (run / "report.html").read_text(encoding="utf-8")


def test_the_lowest_rung_needs_no_torch(tmp_path, few):
    hide = "import sys; sys.modules['torch'] = None; from lutkit.cli import main; main(prog_name='lutkit')"
    command = [sys.executable, "-c", hide, "distil", "warm-film", "--data", str(few), "--variants", "0"]
    environment = {**os.environ, **ONE_THREAD}
    for more, code, said in (
        ("cube", 0, "wrote"),
        ("adaptive-3dlut", 1, "needs torch: run pip install 'lutkit[train]'"),
    ):
        done = subprocess.run(
            [*command, "--to", more, "--run", more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code and said in done.stderr, done.stderr
    assert not (tmp_path / "adaptive-3dlut").exists()


def test_wrong_usage(tmp_path, runner):
    assert "need --as" in distil(runner, "warm-film", "retouch").stderr
    result = distil(runner, "warm-film", "--to", "no-rung")
    assert result.exit_code == 2 and "is not one of cube, adaptive-3dlut" in result.stderr
    result = distil(runner, "warm-film", "--tolerance", "nan")
    assert result.exit_code == 2 and "nan is no number" in result.stderr
    result = distil(runner, "warm-film", "-o", tmp_path / "look.cube")
    assert result.exit_code == 1 and "distil writes an artefact" in result.stderr
    assert distil(runner, "sr-x2", "--to", "cube", "--run", tmp_path / "run").exit_code == 1


def test_an_interrupted_teacher_leaves_what_can_be_resumed(tmp_path, runner, data, monkeypatch, small_cube):
    from lutkit.distil import pairs

    asked = []
    write = pairs._write

    def stop(pair, photo, teacher):
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(pair)
        write(pair, photo, teacher)

    monkeypatch.setattr(pairs, "_write", stop)
    options = ("warm-film", "--data", data, "--to", "cube", "--variants", 0, "--run", tmp_path / "run")
    assert distil(runner, *options).exit_code == 130
    monkeypatch.setattr(pairs, "_write", lambda *given: (asked.append(given[0]), write(*given)))
    asked.clear()
    result = distil(runner, *options, "--resume")
    assert result.exit_code == 0, result.stderr
    assert len(asked) == 11 - 4
