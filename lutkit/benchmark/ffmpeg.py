"""How FFmpeg applies a colour LUT: its filters inside this process, through PyAV, or an installed program.

Imports PyAV inside a function. The filters read a ``.cube`` file.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from lutkit.benchmark.colour_engines import Prepare, Run
from lutkit.benchmark.pictures import Picture
from lutkit.colour.lut import ColourLut
from lutkit.formats.cube_writer import write_cube
from lutkit_runtime.cube import CubeInterpolation

PACKED = {"uint8": "rgb24", "uint16": "rgb48le", "float32": "gbrpf32le"}
"""How FFmpeg calls pixels of a depth; its floats are planar, so that taking them apart counts."""
PLANAR = {"uint8": "gbrpf32le", "uint16": "gbrp16le"}
"""Planes in which a cube is applied the quickest, with FFmpeg's own conversion before and after: the plain filter has
no vector code for interleaved pixels, and takes more than twice as long."""
WAYS = {CubeInterpolation.TETRAHEDRAL: "tetrahedral", CubeInterpolation.TRILINEAR: "trilinear"}


def has_filters() -> bool:
    """Whether PyAV, which brings FFmpeg's filters, is installed."""
    return importlib.util.find_spec("av") is not None


def has_program() -> bool:
    """Whether FFmpeg itself is installed."""
    return shutil.which("ffmpeg") is not None


def write_look(lut: ColourLut, folder: Path, name: str) -> Path:
    """Write a LUT as a ``.cube`` file for FFmpeg, once, and return its path."""
    path = folder / f"{name}.cube"
    if not path.exists():
        write_cube(lut, path)
    return path


def make_filter(lut: ColourLut, interpolation: CubeInterpolation, path: Path) -> Prepare:
    """Return what applies a LUT with ``lut3d`` or ``lut1d`` in a graph of filters that stays open.

    Parameters
    ----------
    lut : ColourLut
        A cube or curves, over 0 to 1.
    interpolation : CubeInterpolation
    path : Path
        File of the LUT; read when pictures are prepared for.
    """
    in_planes = lut.cube is not None

    def prepare(picture: Picture, threads: int) -> Run:
        av: Any = importlib.import_module("av")
        importlib.import_module("av.filter")
        height, width = picture.shape[:2]
        layout = PACKED[picture.dtype.name]
        planes = PLANAR.get(picture.dtype.name) if in_planes else None
        graph = av.filter.Graph()
        graph.threads = threads
        chain = [graph.add_buffer(width=width, height=height, format=layout, time_base="1/25")]
        if planes:
            chain.append(graph.add("format", pix_fmts=planes))
        if in_planes:
            chain.append(graph.add("lut3d", file=str(path), interp=WAYS[interpolation]))
        else:
            chain.append(graph.add("lut1d", file=str(path), interp="linear"))
        chain += [graph.add("format", pix_fmts=layout), graph.add("buffersink")]
        graph.link_nodes(*chain).configure()

        def run() -> Picture:
            # a filter writes into a frame that nobody else holds: into the picture, were it not held until the end
            held = av.VideoFrame.from_numpy_buffer(picture, format=layout)
            graph.vpush(held)
            result = graph.vpull().to_ndarray()
            del held
            return result

        return run

    return prepare


def make_process(lut: ColourLut, interpolation: CubeInterpolation, path: Path) -> Prepare:
    """Return what applies a LUT with an installed FFmpeg, for uint8 or uint16 RGB: a new process and its pipes count.

    Parameters are those of `make_filter`.
    """
    name = (
        f"lut3d=file={path.name}:interp={WAYS[interpolation]}" if lut.cube else f"lut1d=file={path.name}:interp=linear"
    )

    def prepare(picture: Picture, threads: int) -> Run:
        height, width = picture.shape[:2]
        layout = PACKED[picture.dtype.name]
        raw = ["-f", "rawvideo", "-pix_fmt", layout, "-s", f"{width}x{height}"]
        command = [shutil.which("ffmpeg") or "ffmpeg", "-v", "error", "-nostdin", "-filter_threads", str(threads)]
        command += [*raw, "-i", "pipe:0", "-vf", name, "-frames:v", "1", *raw, "pipe:1"]

        def run() -> Picture:
            done = subprocess.run(command, input=picture.tobytes(), capture_output=True, check=True, cwd=path.parent)
            return np.frombuffer(done.stdout, picture.dtype).reshape(picture.shape)

        return run

    return prepare
