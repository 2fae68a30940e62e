"""Cases of colours: one LUT applied to one picture by every engine that can. Imports `colour_engines` and `ffmpeg`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark import colour_engines, ffmpeg
from lutkit.benchmark.colour_engines import Prepare
from lutkit.benchmark.engines import find_ffmpeg_program_version
from lutkit.benchmark.measuring import Contender
from lutkit.benchmark.pictures import Picture, convert_picture
from lutkit.benchmark.plan import Doer, Plan
from lutkit.benchmark.rows import CUDA, LUTKIT, REFERENCE, Case, Verdict
from lutkit.colour.looks import make_look
from lutkit.colour.lut import ColourLut, Curves
from lutkit_runtime.cube import CubeInterpolation

HEIGHT, WIDTH = 1080, 1920
"""Size of the picture where none is asked for."""

LOOK = "warm-film"

CHECKED_ROWS = 48
"""Rows of the picture that are evaluated in float64."""

TOLERANCES = {"uint8": 1.0, "uint16": 2.0, "float32": 1e-5}
"""Results that are further from the reference are marked: levels of integers, units of 1."""

EQUAL_FLOATS = 1e-6

TRILINEAR = CubeInterpolation.TRILINEAR

CURVE_NODES = 1024


def make_curves() -> ColourLut:
    """Return a LUT of curves: a soft S for each channel, of its own height."""
    nodes = np.linspace(0, 1, CURVE_NODES)
    bent = nodes + 0.35 * nodes * (1 - nodes) * (2 * nodes - 1)
    values = np.stack([bent ** np.float64(power) for power in (0.9, 1.0, 1.15)], axis=1)
    return ColourLut(curves=Curves(values.astype(np.float32)), title="soft S")


def make_cube_case(plan: Plan, depth: type[np.generic], channels: int) -> Case:
    """Return the case of a cube of 33 nodes per axis, on a picture of a depth with 3 or 4 channels."""
    lut = make_look(LOOK)
    assert lut.cube is not None
    picture = convert_picture(plan.make_picture((HEIGHT, WIDTH)), depth, channels)
    size = lut.cube.size
    layout = "RGBA" if channels == 4 else "RGB"
    title = f"LUT {size}^3, {picture.shape[1]}x{picture.shape[0]} {layout} {picture.dtype.name}"
    doers = list_cube_doers(lut, picture, plan)
    return _make_case(title, lut, picture, plan, doers, lut.cube.values.nbytes)


def make_curves_case(plan: Plan) -> Case:
    """Return the case of curves on a picture of 8 bits."""
    lut = make_curves()
    assert lut.curves is not None
    picture = plan.make_picture((HEIGHT, WIDTH))
    title = f"curves {lut.curves.size}, {picture.shape[1]}x{picture.shape[0]} RGB uint8"
    return _make_case(title, lut, picture, plan, list_curves_doers(lut, plan), lut.curves.values.nbytes)


def list_cube_doers(lut: ColourLut, picture: Picture, plan: Plan) -> Iterator[Doer]:
    """Yield every engine of the plan that can apply a LUT of one cube over 0 to 1 to a picture at its own depth."""
    way = plan.interpolation
    rgb, whole = picture.shape[2] == 3, picture.dtype.kind == "u"
    yield from _list_own(lut, plan)
    if "opencolorio" in plan.engines:
        prepare = colour_engines.make_opencolorio(lut, way)
        yield Doer("opencolorio", "OpenColorIO", prepare, interpolation=way.value)
    if "pillow" in plan.engines and rgb and picture.dtype == np.uint8:
        prepare = colour_engines.make_pillow_cube(lut)
        yield Doer("pillow", "Pillow", prepare, parallel=False, interpolation=TRILINEAR.value)
    if "ffmpeg" in plan.engines and rgb:
        yield from _list_ffmpeg(lut, plan, whole)
    if "torch" in plan.engines:
        prepare = colour_engines.make_torch(lut)
        yield Doer("torch", "torch", prepare, colour_engines.settle_torch, interpolation=TRILINEAR.value)


def list_curves_doers(lut: ColourLut, plan: Plan) -> Iterator[Doer]:
    """Yield every engine of the plan that can apply a LUT of curves over 0 to 1 to a picture of bytes."""
    yield from _list_own(lut, plan)
    if "opencolorio" in plan.engines:
        yield Doer("opencolorio", "OpenColorIO", colour_engines.make_opencolorio(lut, plan.interpolation))
    if "opencv" in plan.engines:
        yield Doer("opencv", "OpenCV", colour_engines.make_opencv_curves(lut), colour_engines.settle_opencv)
    if "pillow" in plan.engines:
        yield Doer("pillow", "Pillow", colour_engines.make_pillow_curves(lut), parallel=False)
    if "ffmpeg" in plan.engines:
        yield from _list_ffmpeg(lut, plan, whole=True)


def judge_colours(lut: ColourLut, picture: Picture, way: CubeInterpolation) -> Callable[[Contender, Any], Verdict]:
    """Return what compares a result with the float64 evaluation of a LUT, rounded half up to the picture's depth.

    Some rows of the picture are compared. An engine that interpolates in another way is compared with that, too, and
    the note says how far it is off.
    """
    rows = np.unique(np.linspace(0, len(picture) - 1, CHECKED_ROWS).astype(int))
    whole = picture.dtype.kind == "u"
    peak = float(np.iinfo(picture.dtype).max) if whole else 1.0

    @cache
    def expect(interpolation: CubeInterpolation) -> NDArray[np.float64]:
        values = lut.evaluate(picture[rows, :, :3] / np.float64(peak), interpolation) * peak
        return np.floor(values.clip(0, peak) + 0.5) if whole else values

    def judge(contender: Contender, given: Any) -> Verdict:
        result = np.asarray(given)
        if result.shape != picture.shape or result.dtype != picture.dtype:
            return Verdict(None, None, f"gives {result.dtype} {result.shape}")
        found = result[rows]
        off = np.abs(found[..., :3] - expect(way))
        largest, equal = float(off.max()), float((off <= (0 if whole else EQUAL_FLOATS)).mean())
        note = ""
        if contender.interpolation not in ("", way.value):
            own = CubeInterpolation(contender.interpolation)
            distance = float(np.abs(found[..., :3] - expect(own)).max())
            note = f"{own.value}, not {way.value}; off by {distance:.3g} from float64 {own.value}"
        elif largest > TOLERANCES[picture.dtype.name]:
            note = "differs"
        if not np.array_equal(found[..., 3:], picture[rows][..., 3:]):
            note = "; ".join(filter(None, (note, "changes alpha")))
        return Verdict(largest, equal, note)

    return judge


def _make_case(
    title: str, lut: ColourLut, picture: Picture, plan: Plan, doers: Iterator[Doer], table_bytes: int
) -> Case:
    moved = 2 * picture.nbytes + table_bytes
    contenders = tuple(each for doer in doers for each in doer.contend(plan, picture, moved))
    pixels = picture.shape[0] * picture.shape[1]
    return Case(title, pixels, contenders, judge_colours(lut, picture, plan.interpolation))


def _list_own(lut: ColourLut, plan: Plan) -> Iterator[Doer]:
    way = plan.interpolation

    def make(backend: str) -> Prepare:
        return colour_engines.make_lutkit(lut, way, backend)

    interpolation = way.value if lut.cube else ""
    if "numpy" in plan.engines:
        yield Doer("numpy", REFERENCE, make("numpy"), parallel=False, interpolation=interpolation, patient=False)
    if "lutkit" in plan.engines:
        yield Doer("lutkit", LUTKIT, make("cpu"), interpolation=interpolation)
    if "cuda" in plan.engines:
        yield Doer("cuda", CUDA, make("cuda"), parallel=False, interpolation=interpolation)


def _list_ffmpeg(lut: ColourLut, plan: Plan, whole: bool) -> Iterator[Doer]:
    way = plan.interpolation
    interpolation = way.value if lut.cube else ""
    path = ffmpeg.write_look(lut, plan.folder, "cube" if lut.cube else "curves")
    if ffmpeg.has_filters():
        yield Doer("ffmpeg", "FFmpeg", ffmpeg.make_filter(lut, way, path), interpolation=interpolation)
    if ffmpeg.has_program() and whole:
        prepare, version = ffmpeg.make_process(lut, way, path), find_ffmpeg_program_version()
        yield Doer("ffmpeg", "FFmpeg process", prepare, interpolation=interpolation, version=version)
