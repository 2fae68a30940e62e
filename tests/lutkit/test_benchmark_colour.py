"""The benchmark of colour LUTs: every engine really applies the LUT, and the rows say what was measured."""

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from lutkit import benchmark_colour
from lutkit.benchmark_colour import (
    CASES,
    convert_picture,
    has_opencolorio,
    list_contenders,
    open_ffmpeg,
    render_picture,
    run_colour_cases,
)
from lutkit.colour.looks import make_look
from lutkit_runtime.cube import CubeInterpolation

TETRAHEDRAL, TRILINEAR = CubeInterpolation.TETRAHEDRAL, CubeInterpolation.TRILINEAR


@pytest.mark.parametrize(("depth", "channels"), CASES)
@pytest.mark.parametrize("way", CubeInterpolation)
def test_every_engine_applies_the_look(depth: type, channels: int, way: CubeInterpolation) -> None:
    lut = make_look("cool-matte")
    picture = convert_picture(render_picture(60, 90), depth, channels)
    assert picture.dtype == depth
    assert picture.shape == (60, 90, channels)
    peak = 1.0 if picture.dtype.kind == "f" else np.iinfo(picture.dtype).max
    contenders = list_contenders(lut, picture, threads=(1, 10_000), interpolation=way)
    names = [contender.engine for contender in contenders]
    assert names.count("lutkit") == len({1, os.cpu_count()})
    assert ("Pillow" in names) == (depth is np.uint8)
    assert ("OpenColorIO" in names) == has_opencolorio()
    for contender in contenders:
        kind = TRILINEAR if contender.engine == "Pillow" else way
        expected = lut.evaluate(picture[..., :3] / peak, kind) * peak
        found = contender.run()
        assert found.dtype == picture.dtype
        # rounding; Pillow's cube holds 16-bit integers
        step = 1e-6 if picture.dtype.kind == "f" else 1.01
        np.testing.assert_allclose(found[..., :3], expected, rtol=0, atol=step)
        np.testing.assert_array_equal(found[..., 3:], picture[..., 3:])


def test_rows_name_every_case_and_agree_with_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_colour, "HEIGHT", 50)
    monkeypatch.setattr(benchmark_colour, "WIDTH", 64)
    monkeypatch.setattr(benchmark_colour, "render_picture", lambda: render_picture(50, 64))
    monkeypatch.setenv("PATH", "")
    rows = run_colour_cases(rounds=1, threads=(1,))
    assert [row["case"] for row in rows if row["engine"] == "lutkit"] == [
        "LUT 33^3, 64x50 RGB uint8",
        "LUT 33^3, 64x50 RGB uint16",
        "LUT 33^3, 64x50 RGB float32",
        "LUT 33^3, 64x50 RGBA float32",
    ]
    assert {row["engine"] for row in rows} <= {"lutkit", "Pillow", "OpenColorIO"}
    for row in rows:
        assert row["megapixels_per_second"] * row["milliseconds"] == pytest.approx(3.2, rel=0.02)


FAKE = """#!{python} -S
import pathlib, sys
arguments = sys.argv[1:]
assert 'lut3d=file=look.cube:interp=tetrahedral' in arguments, arguments
assert 'LUT_3D_SIZE 33' in pathlib.Path('look.cube').read_text()
assert arguments[arguments.index('-pix_fmt') + 1] == '{layout}', arguments
assert arguments[arguments.index('-s') + 1] == '8x6', arguments
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(data[::-1])
"""


@pytest.mark.skipif(os.name != "posix", reason="an executable script stands in for FFmpeg")
@pytest.mark.parametrize(("depth", "layout"), [(np.uint8, "rgb24"), (np.uint16, "rgb48le")])
def test_ffmpeg_is_given_pixels_and_cube(
    depth: type, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text(FAKE.format(python=sys.executable, layout=layout))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (6, 8, 3), depth, endpoint=True)
    with open_ffmpeg(make_look("warm-film"), TETRAHEDRAL) as ffmpeg:
        assert ffmpeg is not None
        assert ffmpeg(picture, 1).tobytes() == picture.tobytes()[::-1]
        contenders = list_contenders(make_look("warm-film"), picture, ffmpeg=ffmpeg)
    assert contenders[-1].engine == "FFmpeg"


def test_no_ffmpeg_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with open_ffmpeg(make_look("warm-film"), TETRAHEDRAL) as ffmpeg:
        assert ffmpeg is None
