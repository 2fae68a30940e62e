"""Measure slicing a bilateral grid and applying its maps on the CPU against the form composed of torch's operations.

Example
-------
    python tools/benchmark_bilateral.py --threads 2

Both take a picture of bytes and give one. The composed form samples a grid of 12 channels at every pixel (grid_sample),
then multiplies; its guide is made beforehand and not measured, lutkit makes it itself. They take turns, so that a busy
machine slows them alike: the ratio is what to look at. Memory is what NumPy and torch allocate while they run, beyond
picture and result. Needs the extra ``train``.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.benchmark.measuring import Contender, measure_times
from lutkit.generated import render_dead_leaves
from lutkit.threads import settle_threads
from lutkit_runtime.bilateral import GuideTables, Place
from lutkit_runtime.kernels.cpu.bilateral import CompiledSlicer
from lutkit_runtime.ops.bilateral_slice import BoundSlice

GRID = (16, 16, 8)
BAR = 20.0
"""How often it should fit into the time of the composed form, at 3840x2160 on two cores."""

Image8 = NDArray[np.uint8]


def make_slice(guide: str) -> BoundSlice:
    """Return a grid of maps near the identity, and a guide of either kind."""
    rng = np.random.default_rng(0)
    grid = rng.normal(0, 0.2, (*GRID, 3, 4)).astype(np.float32)
    grid[..., range(3), range(3)] += 1
    if guide == "curves":
        mix = np.vstack([np.eye(3), np.zeros(3)]).astype(np.float32)
        curves = (np.linspace(0, 1, 257)[:, None] ** rng.uniform(0.5, 2, 3) / 3).astype(np.float32)
        result = np.array([[0], [1]], np.float32)
    else:
        mix = rng.normal(0, 0.3, (4, 16)).astype(np.float32)
        curves = np.stack([np.zeros(16), rng.normal(0, 0.2, 16)]).astype(np.float32)
        result = (1 / (1 + np.exp(-np.linspace(-8, 8, 1025))))[:, None].astype(np.float32)
    return BoundSlice(GuideTables(mix, curves, result), grid.reshape(*GRID, 12))


def compose(bound: BoundSlice, image: Image8) -> Callable[[], Image8]:
    """Return the form composed of torch's operations, for a guide that is made beforehand."""
    height, width = image.shape[:2]
    guide = torch.from_numpy(bound.guide.evaluate(image / np.float32(255)))
    grid = torch.from_numpy(bound.grid).permute(3, 2, 0, 1)[None].contiguous()

    def run() -> Image8:
        picture = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        rows = (torch.arange(height) + 0.5) / height * 2 - 1
        columns = (torch.arange(width) + 0.5) / width * 2 - 1
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        places = torch.stack([x, y, guide * 2 - 1], dim=-1)[None, None]
        maps = torch.nn.functional.grid_sample(grid, places, padding_mode="border", align_corners=False)
        maps = maps[0, :, 0].view(3, 4, height, width)
        made = (maps[:, :3] * picture).sum(1) + maps[:, 3]
        return (made * 255 + 0.5).clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()

    return run


def measure_memory(run: Callable[[], Any]) -> float:
    """Return the most MB that NumPy allocates during a run."""
    run()
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


@click.command()
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(min=1), help="Of which the median counts.")
def main(threads: int, rounds: int) -> None:
    """Print milliseconds, ratios and memory."""
    settle_threads()
    torch.set_num_threads(threads)
    click.echo(f"{threads} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    for width, height in ((1920, 1080), (3840, 2160)):
        image = render_dead_leaves(np.random.default_rng(0), height, width)
        for kind in ("curves", "pointwise"):
            bound = make_slice(kind)
            slicer, out = CompiledSlicer(bound), np.empty_like(image)

            def apply(slicer: CompiledSlicer = slicer, image: Image8 = image, out: Image8 = out) -> Image8:
                slicer.finish(image, Place(0, 0, *image.shape[:2]), out, threads)
                return out

            composed = compose(bound, image)
            difference = np.abs(apply().astype(int) - composed()).max()
            ours, theirs = measure_times(
                [Contender("lutkit", threads, apply), Contender("torch", threads, composed)], rounds, 60.0
            )
            click.echo(
                f"{width}x{height}, guide of {kind}: lutkit {ours.median:.1f} ms ({measure_memory(apply):.2f} MB), torch "
                f"{theirs.median:.0f} ms, {theirs.median / ours.median:.1f} times as fast; largest difference "
                f"{difference} levels"
            )
    click.echo(f"wanted: {BAR:.0f} times at 3840x2160; load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
