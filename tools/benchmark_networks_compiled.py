"""Time networks of full resolution against their compiled form, and take the memory of both.

Example
-------
    python tools/benchmark_networks_compiled.py exact.h5 compiled.h5 --threads 2

Both run on one picture of the size, with what they need beside it, in one process; medians of several runs, which
alternate. Memory is the most that a process holds, as Linux counts it (VmHWM); each form is measured in a process of its
own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model


def open_with_pictures(name: str, width: int, height: int) -> tuple[Model, np.ndarray[Any, Any], dict[str, Any]]:
    """Return a model with a smooth picture and what it needs beside it."""
    artefact = open_model(find_model(name))
    model = Model(artefact.program, artefact.tables)
    rng = np.random.default_rng(0)

    def paint(channels: int) -> np.ndarray[Any, Any]:
        coarse = rng.random((height // 16 + 1, width // 16 + 1, channels)).repeat(16, 0).repeat(16, 1)[:height, :width]
        return (60 * coarse + 20 * rng.random((height, width, channels))).astype(np.uint8)

    image = paint(3)
    return model, image, {each.name: paint(each.channels) for each in model.program.companions}


def measure_memory(name: str, width: int, height: int, threads: int) -> None:
    """Print by how many MB a process grows while it runs a model once; kernels are compiled and pages touched before."""
    model, image, beside = open_with_pictures(name, width, height)
    small = {key: np.ascontiguousarray(each[:64, :64]) for key, each in beside.items()}
    model.apply(np.ascontiguousarray(image[:64, :64]), threads=threads, **small)
    before = find_peak()
    model.apply(image, threads=threads, **beside)
    print(f"{find_peak() - before:.0f} MB more while it runs, {find_peak():.0f} MB in all")


def find_peak() -> float:
    """Return the most memory that this process has held, in MB; of a child, getrusage would tell the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Print medians, their ratio and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    if options.memory_of:
        measure_memory(options.memory_of, width, height, options.threads)
        return
    opened = {name: open_with_pictures(name, width, height) for name in options.models}
    taken: dict[str, list[float]] = {name: [] for name in opened}
    for run in range(options.runs + 1):
        for name, (model, image, beside) in opened.items():
            started = time.perf_counter()
            model.apply(image, threads=options.threads, **beside)
            if run:  # the first one compiles kernels and lays networks out
                taken[name].append(time.perf_counter() - started)
    slowest = max(statistics.median(each) for each in taken.values())
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        command = [sys.executable, __file__, name, "--memory-of", name, "--size", options.size]
        memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        print(
            f"{name}: {median * 1e3:.1f} ms at {options.size}, {options.threads} threads, {slowest / median:.1f}x; {memory}"
        )


if __name__ == "__main__":
    main()
