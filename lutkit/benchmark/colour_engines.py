"""How other programs, and lutkit's backends, apply a colour LUT. Imports each of them inside a function.

Every engine gets pixels as they lie in a picture, (H, W, channels), and gives a new picture: what its user pays. So the
time to make room for the result counts for all of them. Pillow, which keeps pixels in a way of its own, gets an image
and gives one: from and to arrays it would take up to six times as long, which its users never pay.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from lutkit.benchmark.pictures import Picture
from lutkit.colour.lut import ColourLut
from lutkit.colour.programs import make_lut_artefact
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.engine import Model

Run = Callable[[], Any]
"""Gives a picture, or what NumPy takes for one."""
Prepare = Callable[[Picture, int], Run]
"""Takes a picture and a number of threads."""


def make_lutkit(lut: ColourLut, interpolation: CubeInterpolation, backend: str = "cpu") -> Prepare:
    """Return what applies a LUT with a backend of lutkit."""
    artefact = make_lut_artefact(lut, interpolation=interpolation)
    return prepare_model(Model(artefact.program, artefact.tables), backend)


def prepare_model(model: Model, backend: str) -> Prepare:
    """Return what applies a model with a backend."""
    return lambda picture, threads: lambda: model.apply(picture, backend=backend, threads=threads)


def make_pillow_cube(lut: ColourLut) -> Prepare:
    """Return what applies a LUT's cube with Pillow, for uint8 RGB: trilinear, its only way."""
    from PIL import Image, ImageFilter

    assert lut.cube is not None
    table = ImageFilter.Color3DLUT(lut.cube.values.shape[0], lut.cube.values.reshape(-1))

    def prepare(picture: Picture, _threads: int) -> Run:
        image = Image.fromarray(picture)
        return lambda: image.filter(table)

    return prepare


def tabulate_bytes(lut: ColourLut) -> Picture:
    """Return what a LUT of curves makes of the 256 values of a byte, uint8 (256, 3), correctly rounded."""
    values = lut.evaluate(np.arange(256)[:, None].repeat(3, axis=1) / 255)
    return np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def make_pillow_curves(lut: ColourLut) -> Prepare:
    """Return what applies a LUT of curves with Pillow, for uint8 RGB."""
    from PIL import Image

    table: list[int] = tabulate_bytes(lut).T.reshape(-1).tolist()

    def prepare(picture: Picture, _threads: int) -> Run:
        image = Image.fromarray(picture)
        return lambda: image.point(table)

    return prepare


def make_opencv_curves(lut: ColourLut) -> Prepare:
    """Return what applies a LUT of curves with OpenCV, for uint8 RGB."""
    import cv2

    table = tabulate_bytes(lut)[None]
    return lambda picture, _threads: lambda: np.asarray(cv2.LUT(picture, table))


def settle_opencv(threads: int) -> None:
    """Let OpenCV use so many threads in this process."""
    import cv2

    cv2.setNumThreads(threads)


def settle_torch(threads: int) -> None:
    """Let torch use so many threads in this process."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)


def make_torch(lut: ColourLut) -> Prepare:
    """Return what applies a LUT's cube with torch's grid_sample: trilinear. Conversion from and to integers counts."""
    assert lut.cube is not None
    values = np.ascontiguousarray(lut.cube.values.transpose(3, 0, 1, 2))[None]

    def prepare(picture: Picture, _threads: int) -> Run:
        torch: Any = importlib.import_module("torch")
        cube = torch.from_numpy(values)
        sample = torch.nn.functional.grid_sample
        whole = picture.dtype.kind == "u"
        peak = float(np.iinfo(picture.dtype).max) if whole else 1.0

        def run() -> Picture:
            pixels = torch.from_numpy(picture)
            with torch.inference_mode():
                places = pixels[..., :3].to(torch.float32).mul(2 / peak).sub_(1)[None, None]
                found = sample(cube, places, mode="bilinear", padding_mode="border", align_corners=True)
                colours = found[0, :, 0].permute(1, 2, 0)
                if whole:
                    colours = colours.mul(peak).round_().clamp_(0, peak)
                out = torch.empty_like(pixels)
                out[..., :3] = colours
                out[..., 3:] = pixels[..., 3:]
            return out.numpy()

        return run

    return prepare


def make_opencolorio(lut: ColourLut, interpolation: CubeInterpolation) -> Prepare:
    """Return what applies a LUT with OpenColorIO's CPU processor, at the picture's depth.

    It works in the thread that calls it; several threads call it for a band of rows each.
    """

    def prepare(picture: Picture, threads: int) -> Run:
        ocio: Any = importlib.import_module("PyOpenColorIO")
        depths = {"uint8": ocio.BIT_DEPTH_UINT8, "uint16": ocio.BIT_DEPTH_UINT16, "float32": ocio.BIT_DEPTH_F32}
        depth = depths[picture.dtype.name]
        whole = ocio.Config.CreateRaw().getProcessor(_make_opencolorio_transform(ocio, lut, interpolation))
        processor = whole.getOptimizedCPUProcessor(depth, depth, ocio.OPTIMIZATION_DEFAULT)
        height, width, channels = picture.shape
        cuts = np.linspace(0, height, threads + 1).astype(int).tolist()
        bands = [slice(start, stop) for start, stop in pairwise(cuts) if stop > start]
        pool = ThreadPoolExecutor(threads) if threads > 1 else None

        def describe(pixels: Picture) -> Any:
            return ocio.PackedImageDesc(pixels, width, len(pixels), channels, depth, *(ocio.AutoStride,) * 3)

        def run() -> Picture:
            out = np.empty_like(picture)
            if pool is None:
                processor.apply(describe(picture), describe(out))
            else:
                list(pool.map(lambda rows: processor.apply(describe(picture[rows]), describe(out[rows])), bands))
            return out

        return run

    return prepare


def _make_opencolorio_transform(ocio: Any, lut: ColourLut, interpolation: CubeInterpolation) -> Any:
    """Return the transform of a LUT of one part, over 0 to 1."""
    if lut.cube is None:
        assert lut.curves is not None
        transform = ocio.Lut1DTransform(lut.curves.size, False)
        transform.setData(np.ascontiguousarray(lut.curves.values).reshape(-1))
        return transform
    ways = {
        CubeInterpolation.TETRAHEDRAL: ocio.INTERP_TETRAHEDRAL,
        CubeInterpolation.TRILINEAR: ocio.INTERP_LINEAR,
    }
    transform = ocio.Lut3DTransform(gridSize=lut.cube.size, interpolation=ways[interpolation])
    # OpenColorIO's tables run blue first
    transform.setData(np.ascontiguousarray(lut.cube.values.transpose(2, 1, 0, 3)).reshape(-1))
    return transform
