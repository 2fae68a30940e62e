"""Measure how fast lutkit applies a 33^3 LUT, against other programs, all taking turns on one picture of 3840 x 2160.

Example
-------
    python tools/benchmark_colour.py --picture PHOTO

Every engine gets interleaved pixels and gives a new picture, and every result is compared with the float64 evaluation of
the LUT in the same run. Figures of a busy machine are noisy: the ratios are what to look at. At the end stand the times
that the first use of a kernel takes, in new processes: compiled, and loaded from the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark import measure_interleaved
from lutkit.benchmark_colour import CASES, LOOK, convert_picture, list_contenders, open_ffmpeg, render_picture
from lutkit.colour.looks import make_look
from lutkit.colour.lut import ColourLut
from lutkit_runtime.cube import CubeInterpolation

HEIGHT, WIDTH = 2160, 3840

CHECKED_ROWS = 24
"""Rows of the picture that are evaluated in float64."""

LUTKIT = ("lutkit", 1)
BARS = {
    ("uint8", 3): ((("OpenColorIO", 1), 1.6), (("Pillow", 1), 3.0)),
    ("uint16", 3): ((("OpenColorIO", 1), 1.2),),
    ("float32", 3): ((("OpenColorIO", 1), 0.8),),
    ("float32", 4): ((("OpenColorIO", 1), 0.8),),
}
"""How many times faster than whom one thread of lutkit has to be, for a depth and a number of channels."""
THREADS_BAR = 1.8

FIRST_USE = """
import sys, time
import numpy as np
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.kernels.cpu.colour import CompiledLooker
from lutkit_runtime.ops.colour_lookup import BoundLookup, ColourLookup, Cube
depth, channels, arithmetic, way = sys.argv[1:]
cube = Cube("cube", 2, interpolation=CubeInterpolation(way))
op = ColourLookup(input="image", cube=cube, arithmetic=Arithmetic(arithmetic), output="result")
picture = np.zeros((2, 2, int(channels)), depth)
start = time.perf_counter()
CompiledLooker(BoundLookup(op, None, np.zeros((8, 3), np.float32))).finish(picture, np.empty_like(picture), 1)
print(time.perf_counter() - start)
"""
FIRST_USES = (
    ("uint8", "3", "packed", "tetrahedral"),
    ("uint8", "3", "float32", "trilinear"),
    ("uint16", "3", "float32", "tetrahedral"),
    ("float32", "4", "float32", "tetrahedral"),
)


def read_picture(path: Path | None) -> NDArray[np.uint8]:
    """Return a picture, (2160, 3840, 3): a photo repeated or cut to that size, or a generated one."""
    if path is None:
        return render_picture(HEIGHT, WIDTH)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise click.BadParameter(f"{path} is no picture")
    repeats = (-(-HEIGHT // image.shape[0]), -(-WIDTH // image.shape[1]), 1)
    return np.ascontiguousarray(np.tile(image, repeats)[:HEIGHT, :WIDTH], dtype=np.uint8)


def compare(result: NDArray[Any], picture: NDArray[Any], lut: ColourLut, way: CubeInterpolation) -> tuple[float, float]:
    """Return the largest deviation from float64, in steps of the depth, and the share of equal samples.

    Floats count as equal when they are off by 1e-6 or less; their deviation is in units of 1.
    """
    rows = np.linspace(0, len(picture) - 1, CHECKED_ROWS).astype(int)
    whole = picture.dtype.kind == "u"
    peak = float(np.iinfo(picture.dtype).max) if whole else 1.0
    expected = lut.evaluate(picture[rows, :, :3] / np.float64(peak), way) * peak
    if whole:
        expected = np.floor(expected.clip(0, peak) + 0.5)
    deviation = np.abs(result[rows, :, :3] - expected)
    return float(deviation.max()), float((deviation <= (0 if whole else 1e-6)).mean())


def measure_first_use(*case: str) -> tuple[float, float]:
    """Return the seconds of a kernel's first use where it has to be compiled, and where it is in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST_USE, *case],
                    env={**os.environ, "NUMBA_CACHE_DIR": folder},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for _ in range(2)
        )
    return cold, warm


def report_case(
    lut: ColourLut, picture: NDArray[Any], way: CubeInterpolation, rounds: int, ffmpeg: Any, others: bool
) -> None:
    """Measure and print one depth."""
    contenders = [
        it
        for it in list_contenders(lut, picture, interpolation=way, ffmpeg=ffmpeg)
        if others or it.engine in ("lutkit", "OpenColorIO")
    ]
    medians = measure_interleaved(contenders, rounds, seconds=120.0)
    click.echo(f"\n{picture.dtype.name}, {picture.shape[2]} channels, {way.value}")
    named: dict[tuple[str, int], float] = {}
    for contender, taken in zip(contenders, medians, strict=True):
        # Pillow is always trilinear
        kind = CubeInterpolation.TRILINEAR if contender.engine == "Pillow" else way
        furthest, equal = compare(contender.run(), picture, lut, kind)
        named[contender.engine, contender.threads] = taken
        click.echo(
            f"  {contender.engine:12} {contender.threads} thread{'s' if contender.threads > 1 else ' '} {taken:8.2f} ms"
            f" {HEIGHT * WIDTH / taken / 1000:7.1f} MP/s   off by at most {furthest:.3g}, equal {equal:.2%}"
        )
    for other, bar in BARS[picture.dtype.name, picture.shape[2]]:
        if other in named:
            click.echo(f"  {other[0]} / lutkit = {named[other] / named[LUTKIT]:.2f}   (at least {bar} wanted)")
    if ("lutkit", 2) in named:
        click.echo(f"  1 / 2 threads = {named[LUTKIT] / named['lutkit', 2]:.2f}   (at least {THREADS_BAR} wanted)")


@click.command()
@click.option("--picture", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Default: generated.")
@click.option("--rounds", type=click.IntRange(7), default=9, show_default=True, help="Measurements of each engine.")
@click.option("--trilinear", is_flag=True, help="Instead of tetrahedral interpolation.")
@click.option("--only", type=click.Choice(["uint8", "uint16", "float32"]), help="One depth.")
@click.option("--others/--no-others", default=True, help="Measure more than lutkit and OpenColorIO.")
def main(picture: Path | None, rounds: int, trilinear: bool, only: str | None, others: bool) -> None:
    """Print milliseconds, deviations and ratios."""
    way = CubeInterpolation.TRILINEAR if trilinear else CubeInterpolation.TETRAHEDRAL
    lut = make_look(LOOK)
    source = read_picture(picture)
    click.echo(f"33^3, {WIDTH}x{HEIGHT}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    with open_ffmpeg(lut, way) as ffmpeg:
        for depth, channels in CASES:
            if only in (None, np.dtype(depth).name):
                report_case(lut, convert_picture(source, depth, channels), way, rounds, ffmpeg, others)
    click.echo("\nfirst use of a kernel, seconds: compiled, from the cache")
    for case in FIRST_USES:
        cold, warm = measure_first_use(*case)
        click.echo(f"  {' '.join(case):32} {cold:5.2f} {warm:5.2f}")


if __name__ == "__main__":
    main()
