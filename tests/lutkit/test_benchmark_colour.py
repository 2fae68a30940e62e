"""The benchmark of colour LUTs: every engine really applies the LUT and leaves the picture alone; verdicts are just."""

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from lutkit.benchmark import colour_cases, ffmpeg
from lutkit.benchmark.colour_cases import judge_colours, list_cube_doers, make_cube_case, make_curves, make_curves_case
from lutkit.benchmark.engines import ENGINES, find_present, list_obstacles
from lutkit.benchmark.measuring import Contender
from lutkit.benchmark.pictures import convert_picture, fit_picture, read_photo, render_picture
from lutkit.benchmark.plan import Plan
from lutkit.benchmark.running import count_threads, run_cases
from lutkit.colour.looks import make_look
from lutkit_runtime.cube import CubeInterpolation

TETRAHEDRAL, TRILINEAR = CubeInterpolation.TETRAHEDRAL, CubeInterpolation.TRILINEAR
CASES = ((np.uint8, 3), (np.uint16, 3), (np.float32, 3), (np.float32, 4))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(find_present(ENGINES), tmp_path, (1, 2), size=(60, 90))


@pytest.mark.parametrize(("depth", "channels"), CASES)
@pytest.mark.parametrize("way", CubeInterpolation)
def test_every_engine_applies_the_look(depth: type, channels: int, way: CubeInterpolation, plan: Plan) -> None:
    lut = make_look("cool-matte")
    plan = Plan(plan.engines, plan.folder, plan.threads, interpolation=way)
    picture = convert_picture(render_picture(60, 90), depth, channels)
    given = picture.copy()
    assert picture.dtype == depth
    assert picture.shape == (60, 90, channels)
    peak = 1.0 if picture.dtype.kind == "f" else np.iinfo(picture.dtype).max
    contenders = [each for doer in list_cube_doers(lut, picture, plan) for each in doer.contend(plan, picture, 1)]
    names = {contender.engine for contender in contenders}
    assert {"lutkit", "NumPy"} <= names
    assert ("Pillow" in names) == (depth is np.uint8)
    for key, title in (("opencolorio", "OpenColorIO"), ("torch", "torch")):
        assert (title in names) == (key in plan.engines)
    assert ("FFmpeg" in names) == (ffmpeg.has_filters() and channels == 3)
    assert sorted(it.threads for it in contenders if it.engine == "lutkit") == [1, 2]
    for contender in contenders:
        expected = lut.evaluate(given[..., :3] / peak, CubeInterpolation(contender.interpolation)) * peak
        for _ in range(2):  # engines keep buffers from one run to the next
            found = np.asarray(contender.run_settled())
            assert found.dtype == picture.dtype
            # rounding, and what single precision leaves of 16 bits; Pillow's cube holds 16-bit integers
            step = 1e-6 if picture.dtype.kind == "f" else 1.02
            np.testing.assert_allclose(found[..., :3], expected, rtol=0, atol=step, err_msg=contender.engine)
            np.testing.assert_array_equal(found[..., 3:], given[..., 3:])
            np.testing.assert_array_equal(picture, given, err_msg=f"{contender.engine} writes into its picture")


def test_every_engine_applies_the_curves(plan: Plan) -> None:
    case = make_curves_case(plan)
    lut = make_curves()
    lut.validate()
    names = {contender.engine for contender in case.contenders}
    assert {"lutkit", "NumPy", "OpenCV", "Pillow"} <= names
    picture = plan.make_picture((1, 1))
    expected = lut.evaluate(picture / 255) * 255
    assert np.abs(expected - picture).max() > 3  # they change something
    for contender in case.contenders:
        contender.run_settled()
        found = contender.run_settled()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1.01, err_msg=contender.engine)
        verdict = case.judge(contender, found)
        assert verdict.max_difference <= 1
        assert verdict.note == ""


def test_verdicts_count_levels_and_equal_samples() -> None:
    lut = make_look("warm-film")
    picture = render_picture(20, 30)
    right = np.floor(lut.evaluate(picture / 255) * 255 + 0.5).clip(0, 255).astype(np.uint8)
    judge = judge_colours(lut, picture, TETRAHEDRAL)
    engine = Contender("engine", 1, int, interpolation="tetrahedral")
    assert (judge(engine, right).max_difference, judge(engine, right).identical) == (0, 1)
    wrong = right.copy()
    wrong[:, :15] ^= 1
    verdict = judge(engine, wrong)
    assert (verdict.max_difference, verdict.identical, verdict.note) == (1, 0.5, "")
    wrong[0, 0, 0] ^= 4
    assert judge(engine, wrong).note == "differs"
    trilinear = Contender("engine", 1, int, interpolation="trilinear")
    assert judge(trilinear, wrong).note.startswith("trilinear, not tetrahedral; off by ")
    assert "gives float64" in judge(engine, right.astype(np.float64)).note


def test_a_changed_alpha_is_noted() -> None:
    lut = make_look("warm-film")
    picture = convert_picture(render_picture(4, 5), np.float32, 4)
    result = picture.copy()
    result[..., :3] = lut.evaluate(picture[..., :3])
    judge = judge_colours(lut, picture, TETRAHEDRAL)
    engine = Contender("engine", 1, int)
    assert judge(engine, result).note == ""
    result[..., 3] += 0.5
    assert judge(engine, result).note == "changes alpha"


def test_rows_of_every_depth_agree_with_themselves() -> None:
    rows = run_cases(
        ("cube-uint8", "cube-uint16", "cube-float32", "cube-float32-rgba"),
        engines=("lutkit", "opencolorio"),
        threads=(1,),
        size=(50, 64),
        rounds=1,
    )
    assert [row["case"] for row in rows if row["engine"] == "lutkit"] == [
        "LUT 33^3, 64x50 RGB uint8",
        "LUT 33^3, 64x50 RGB uint16",
        "LUT 33^3, 64x50 RGB float32",
        "LUT 33^3, 64x50 RGBA float32",
    ]
    cube = 33**3 * 3 * 4
    assert [row["bytes_moved"] for row in rows if row["engine"] == "lutkit"] == [
        3200 * 6 + cube,
        3200 * 12 + cube,
        3200 * 24 + cube,
        3200 * 32 + cube,
    ]
    for row in rows:
        assert row["megapixels_per_second"] * row["milliseconds"] == pytest.approx(3.2, rel=0.02)
        assert row["minimum"] <= row["first_quartile"] <= row["milliseconds"] <= row["third_quartile"]
        assert row["identical"] >= 0.97
        assert row["max_difference"] <= 1
        assert row["note"] == ""
        assert row["engine_version"]


def test_a_case_in_trilinear_marks_nobody_for_being_trilinear(plan: Plan) -> None:
    plan = Plan(plan.engines, plan.folder, (1,), size=(40, 50), interpolation=TRILINEAR)
    case = make_cube_case(plan, np.uint8, 3)
    for contender in case.contenders:
        assert contender.interpolation == "trilinear"
        assert case.judge(contender, contender.run_settled()).note == ""


def test_threads_beyond_the_cores_are_left_out() -> None:
    assert count_threads((2, 1, 10_000, 10_000)) == tuple(sorted({1, min(2, os.cpu_count() or 1), os.cpu_count() or 1}))


def test_a_photo_is_cut_in_the_middle_or_repeated(tmp_path: Path) -> None:
    import cv2

    photo = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    np.testing.assert_array_equal(fit_picture(photo, 2, 4), photo[1:3, 1:5])
    assert fit_picture(photo, 9, 7).shape == (9, 7, 3)
    deep = np.array([[[0, 257, 514], [65535, 128, 129]]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    np.testing.assert_array_equal(read_photo(tmp_path / "deep.png"), [[[0, 1, 2], [255, 0, 1]]])
    cv2.imwrite(str(tmp_path / "gray.png"), photo[..., 0])
    assert read_photo(tmp_path / "gray.png").shape == (4, 6, 3)


def test_a_simulated_gpu_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert "cuda" not in find_present(("cuda", "lutkit"))
    (sentence,) = list_obstacles(("cuda", "lutkit"))
    assert "simulated" in sentence


def test_what_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lutkit.benchmark.engines.importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")
    assert "torch: not installed" in list_obstacles(("torch", "numpy"))
    assert "FFmpeg: not installed" in list_obstacles(("ffmpeg",))
    assert find_present(("torch", "ffmpeg", "numpy")) == {"numpy": np.__version__}


FAKE = """#!{python} -S
import pathlib, sys
arguments = sys.argv[1:]
assert 'lut3d=file=cube.cube:interp=tetrahedral' in arguments, arguments
assert 'LUT_3D_SIZE 33' in pathlib.Path('cube.cube').read_text()
assert arguments[arguments.index('-pix_fmt') + 1] == '{layout}', arguments
assert arguments[arguments.index('-s') + 1] == '8x6', arguments
assert arguments[arguments.index('-filter_threads') + 1] == '2', arguments
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(data[::-1])
"""


@pytest.mark.skipif(os.name != "posix", reason="an executable script stands in for FFmpeg")
@pytest.mark.parametrize(("depth", "layout"), [(np.uint8, "rgb24"), (np.uint16, "rgb48le")])
def test_a_program_ffmpeg_is_given_pixels_and_cube(
    depth: type, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text(FAKE.format(python=sys.executable, layout=layout))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (6, 8, 3), depth, endpoint=True)
    lut = make_look("warm-film")
    path = ffmpeg.write_look(lut, tmp_path, "cube")
    assert ffmpeg.has_program()
    assert ffmpeg.make_process(lut, TETRAHEDRAL, path)(picture, 2)().tobytes() == picture.tobytes()[::-1]


def test_ffmpeg_takes_part_in_every_form_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = Plan({"ffmpeg": "1"}, tmp_path)
    picture = render_picture(6, 8)
    for filters, program, names in (
        (False, False, []),
        (False, True, ["FFmpeg process"]),
    ):
        monkeypatch.setattr(ffmpeg, "has_filters", lambda there=filters: there)
        monkeypatch.setattr(ffmpeg, "has_program", lambda there=program: there)
        monkeypatch.setattr(colour_cases, "find_ffmpeg_program_version", lambda: "7.1")
        doers = list(list_cube_doers(make_look("warm-film"), picture, plan))
        assert [doer.title for doer in doers] == names
        assert all(doer.version == "7.1" for doer in doers)
