"""How fast colour LUTs are applied on this machine, beside other programs. May import the runtime; never torch.

Every engine gets pixels as they lie in a picture, (H, W, channels), and gives a new picture: what its user pays. So the
time to make room for the result counts for all of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark import Contender, Row, measure_interleaved, tabulate
from lutkit.colour.looks import make_look
from lutkit.colour.lut import ColourLut
from lutkit.colour.programs import make_lut_artefact
from lutkit.generated import render_dead_leaves
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.engine import Model

Picture = NDArray[Any]

HEIGHT, WIDTH = 1080, 1920
"""Size of the picture that `lutkit bench` measures with."""

TILES = 3
"""The picture repeats a rendered one so often in each direction: rendering takes longer than everything measured."""

CASES = ((np.uint8, 3), (np.uint16, 3), (np.float32, 3), (np.float32, 4))
"""Depths and channels that are measured."""

LOOK = "warm-film"
SECONDS = 1.0
"""How long one engine may run in a case of `lutkit bench`."""


def render_picture(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Return a generated picture with the texture of a photo, uint8 (height, width, 3)."""
    part = render_dead_leaves(np.random.default_rng(0), -(-height // TILES), -(-width // TILES))
    return np.ascontiguousarray(np.tile(part, (TILES, TILES, 1))[:height, :width])


def convert_picture(picture: Picture, depth: type[np.generic], channels: int, seed: int = 0) -> Picture:
    """Return an 8-bit picture at another depth, with codes between those of 8 bits, and with an alpha for four channels."""
    dtype = np.dtype(depth)
    rng = np.random.default_rng(seed)
    if dtype != np.uint8:
        fine = picture.astype(np.uint16) * np.uint16(256) + rng.integers(0, 256, picture.shape, np.uint16)
        picture = fine if dtype == np.uint16 else fine.astype(np.float32) / np.float32(65535)
    if channels == 4:
        picture = np.concatenate([picture, picture[..., :1]], axis=2)
    return np.ascontiguousarray(picture)


def make_lutkit(lut: ColourLut, interpolation: CubeInterpolation) -> Callable[[Picture, int], Picture]:
    """Return what applies a LUT with lutkit's compiled kernels, given a picture and a number of threads."""
    artefact = make_lut_artefact(lut, interpolation=interpolation)
    model = Model(artefact.program, artefact.tables)
    return lambda picture, threads: model.apply(picture, backend="cpu", threads=threads)


def make_pillow(lut: ColourLut) -> Callable[[Picture], Picture]:
    """Return what applies a LUT's cube with Pillow, for uint8 RGB: trilinear, its only way."""
    from PIL import Image, ImageFilter

    assert lut.cube is not None
    table = ImageFilter.Color3DLUT(lut.cube.values.shape[0], lut.cube.values.reshape(-1))
    return lambda picture: np.asarray(Image.fromarray(picture).filter(table))


def has_opencolorio() -> bool:
    """Whether OpenColorIO can be imported."""
    return importlib.util.find_spec("PyOpenColorIO") is not None


def make_opencolorio(
    lut: ColourLut, interpolation: CubeInterpolation, picture: Picture, fresh: bool = True
) -> Callable[[], Picture]:
    """Return what applies a LUT's cube to a picture with OpenColorIO's CPU processor, at the picture's depth.

    Unless `fresh`, every result is written into one and the same array.
    """
    ocio: Any = importlib.import_module("PyOpenColorIO")
    assert lut.cube is not None
    ways = {
        CubeInterpolation.TETRAHEDRAL: ocio.INTERP_TETRAHEDRAL,
        CubeInterpolation.TRILINEAR: ocio.INTERP_LINEAR,
    }
    depths = {"uint8": ocio.BIT_DEPTH_UINT8, "uint16": ocio.BIT_DEPTH_UINT16, "float32": ocio.BIT_DEPTH_F32}
    depth = depths[picture.dtype.name]
    transform = ocio.Lut3DTransform(gridSize=lut.cube.values.shape[0], interpolation=ways[interpolation])
    # OpenColorIO's tables run blue first
    transform.setData(np.ascontiguousarray(lut.cube.values.transpose(2, 1, 0, 3)).reshape(-1))
    whole = ocio.Config.CreateRaw().getProcessor(transform)
    processor = whole.getOptimizedCPUProcessor(depth, depth, ocio.OPTIMIZATION_DEFAULT)
    height, width, channels = picture.shape

    def describe(pixels: Picture) -> Any:
        strides = (ocio.AutoStride,) * 3
        return ocio.PackedImageDesc(pixels, width, height, channels, depth, *strides)

    given = np.empty_like(picture)

    def run() -> Picture:
        out = np.empty_like(picture) if fresh else given
        processor.apply(describe(picture), describe(out))
        return out

    return run


@contextmanager
def open_ffmpeg(lut: ColourLut, interpolation: CubeInterpolation) -> Iterator[Callable[[Picture, int], Picture] | None]:
    """Yield what applies a LUT's cube with the filter lut3d of an installed FFmpeg, or None where there is none.

    It takes a uint8 or uint16 RGB picture and a number of threads. The time of a new process and of its pipes counts.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        yield None
        return
    from lutkit.formats.cube_writer import write_cube

    way = {CubeInterpolation.TETRAHEDRAL: "tetrahedral", CubeInterpolation.TRILINEAR: "trilinear"}[interpolation]
    with tempfile.TemporaryDirectory() as folder:
        write_cube(lut, Path(folder) / "look.cube")

        def run(picture: Picture, threads: int) -> Picture:
            height, width = picture.shape[:2]
            layout = {"uint8": "rgb24", "uint16": "rgb48le"}[picture.dtype.name]
            raw = ["-f", "rawvideo", "-pix_fmt", layout, "-s", f"{width}x{height}"]
            command = [program, "-v", "error", "-nostdin", "-filter_threads", str(threads), *raw, "-i", "pipe:0"]
            command += ["-vf", f"lut3d=file=look.cube:interp={way}", "-frames:v", "1", *raw, "pipe:1"]
            done = subprocess.run(command, input=picture.tobytes(), capture_output=True, check=True, cwd=folder)
            return np.frombuffer(done.stdout, picture.dtype).reshape(picture.shape)

        yield run


def list_contenders(
    lut: ColourLut,
    picture: Picture,
    threads: Sequence[int] = (1, 2),
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL,
    ffmpeg: Callable[[Picture, int], Picture] | None = None,
) -> list[Contender]:
    """Return every engine on this machine that can apply a LUT of one cube to a picture at its own depth.

    Parameters
    ----------
    lut : ColourLut
        A cube over 0 to 1.
    picture : uint8, uint16 or float32 (H, W, 3 or 4)
    threads : sequence of int
        Of lutkit; counts beyond the machine's cores are left out.
    interpolation : CubeInterpolation
        Pillow is always trilinear.
    ffmpeg : callable, optional
        From `open_ffmpeg`.

    Returns
    -------
    list of Contender
        Each gives the new picture.
    """
    lutkit = make_lutkit(lut, interpolation)
    usable = sorted({min(count, os.cpu_count() or 1) for count in threads})
    contenders = [Contender("lutkit", count, lambda count=count: lutkit(picture, count)) for count in usable]
    rgb = picture.shape[2] == 3
    if picture.dtype == np.uint8 and rgb:
        pillow = make_pillow(lut)
        contenders.append(Contender("Pillow", 1, lambda: pillow(picture)))
    if has_opencolorio():
        contenders.append(Contender("OpenColorIO", 1, make_opencolorio(lut, interpolation, picture)))
    if ffmpeg is not None and rgb and picture.dtype.kind == "u":
        contenders.append(Contender("FFmpeg", 1, lambda: ffmpeg(picture, 1)))
    return contenders


def run_colour_cases(rounds: int = 15, threads: Sequence[int] = (1, 2)) -> list[Row]:
    """Measure the engines on a generated picture with a LUT of 33 nodes per axis, at every depth.

    Parameters
    ----------
    rounds : int
        Measurements per engine, of which the median counts; slow engines are measured less often.
    threads : sequence of int

    Returns
    -------
    list of Row
        Case by case.
    """
    lut = make_look(LOOK)
    picture = render_picture()
    rows: list[Row] = []
    with open_ffmpeg(lut, CubeInterpolation.TETRAHEDRAL) as ffmpeg:
        for depth, channels in CASES:
            samples = convert_picture(picture, depth, channels)
            contenders = list_contenders(lut, samples, threads, ffmpeg=ffmpeg)
            case = f"LUT 33^3, {WIDTH}x{HEIGHT} {'RGBA' if channels == 4 else 'RGB'} {np.dtype(depth).name}"
            rows += tabulate(case, HEIGHT * WIDTH, contenders, measure_interleaved(contenders, rounds, SECONDS))
    return rows
