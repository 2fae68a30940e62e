"""Measure how fast lutkit applies a 33^3 LUT, against other programs, and say whether the aims are met.

Example
-------
    python tools/benchmark_colour.py --image PHOTO --threads 1

The cases are those of `lutkit bench --cases cube --size 3840x2160`: every engine gets interleaved pixels and gives a new
picture, and every result is compared with the float64 evaluation of the LUT in the same run. Figures of a busy machine
are noisy: the ratios are what to look at. With --first-use the times stand at the end that the first use of a kernel
takes, in new processes: compiled, and loaded from the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from lutkit.benchmark.engines import ENGINES
from lutkit.benchmark.pictures import read_photo
from lutkit.benchmark.rows import LUTKIT, Row
from lutkit.benchmark.running import CASES, run_cases
from lutkit.benchmark.table import format_table
from lutkit_runtime.cube import CubeInterpolation

HEIGHT, WIDTH = 2160, 3840

BARS = {
    "cube-uint8": {"OpenColorIO": 2.0, "Pillow": 3.0},
    "cube-uint16": {"OpenColorIO": 1.5},
    "cube-float32": {"OpenColorIO": 0.8},
    "cube-float32-rgba": {"OpenColorIO": 1.1},
}
"""How many times faster than whom one thread of lutkit has to be."""
STRETCH = 3.0
"""What one may hope for with bytes, against OpenColorIO."""
FURTHEST, EQUAL = 1.0, 0.97
"""Of bytes: levels off at most, and the share of equal ones at least."""
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


def judge_aims(case: str, rows: list[Row]) -> list[str]:
    """Return a line for every aim of a case: what was found, what is wanted, and whether that is met."""
    found = {(row["engine"], row["threads"]): row for row in rows}
    own = found.get((LUTKIT, 1))
    if own is None:
        return []
    lines: list[str] = []
    for other, bar in BARS[case].items():
        if (other, 1) in found:
            ratio = found[other, 1]["milliseconds"] / own["milliseconds"]
            hope = f", {STRETCH:g} hoped for" if (case, other) == ("cube-uint8", "OpenColorIO") else ""
            lines.append(f"{other} / lutkit = {ratio:.2f}, at least {bar:g} wanted{hope}: {_say(ratio >= bar)}")
    if case == "cube-uint8" and own["max_difference"] is not None and own["identical"] is not None:
        met = own["max_difference"] <= FURTHEST and own["identical"] >= EQUAL
        lines.append(
            f"off by {own['max_difference']:g} at most, {own['identical']:.2%} equal; {FURTHEST:g} and {EQUAL:.0%} "
            f"wanted: {_say(met)}"
        )
    if (LUTKIT, 2) in found:
        ratio = own["milliseconds"] / found[LUTKIT, 2]["milliseconds"]
        lines.append(f"1 / 2 threads = {ratio:.2f}, at least {THREADS_BAR:g} wanted: {_say(ratio >= THREADS_BAR)}")
    return lines


def _say(met: bool) -> str:
    return "met" if met else "NOT met"


@click.command()
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Default: generated.")
@click.option("--threads", type=click.Choice(["1", "2", "1,2"]), default="1", show_default=True)
@click.option("--rounds", type=click.IntRange(7), default=9, show_default=True, help="Measurements of each engine.")
@click.option("--trilinear", is_flag=True, help="Instead of tetrahedral interpolation.")
@click.option("--only", type=click.Choice(list(BARS)), help="One case.")
@click.option("--others/--no-others", default=False, help="Measure more than lutkit and OpenColorIO.")
@click.option("--first-use", is_flag=True, help="Measure how long kernels take to compile.")
def main(
    image: Path | None, threads: str, rounds: int, trilinear: bool, only: str | None, others: bool, first_use: bool
) -> None:
    """Print milliseconds, deviations, ratios, and what is wanted of them."""
    way = CubeInterpolation.TRILINEAR if trilinear else CubeInterpolation.TETRAHEDRAL
    photo = None if image is None else read_photo(image)
    engines = [key for key in ENGINES if key != "numpy"] if others else ["lutkit", "opencolorio"]
    click.echo(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    for case in BARS if only is None else (only,):
        assert case in CASES
        rows = run_cases(
            (case,),
            engines=engines,
            threads=tuple(map(int, threads.split(","))),
            size=(HEIGHT, WIDTH),
            photo=photo,
            interpolation=way,
            rounds=rounds,
            seconds=120.0,
        )
        for line in ("", *format_table(rows), *(f"  {line}" for line in judge_aims(case, rows))):
            click.echo(line)
    if first_use:
        click.echo("\nfirst use of a kernel, seconds: compiled, from the cache")
        for use in FIRST_USES:
            cold, warm = measure_first_use(*use)
            click.echo(f"  {' '.join(use):32} {cold:5.2f} {warm:5.2f}")


if __name__ == "__main__":
    main()
