"""Measure a trained colour lookup on the CPU, forward and backward, against torch's grid_sample.

Example
-------
    GOMP_SPINCOUNT=10000 python tools/benchmark_colour_training.py

The variable is what the command line sets itself. All contenders take turns, so that a busy machine slows them alike:
the ratios are what to look at. grid_sample does the trilinear lookup only; it stands for what a program without kernels
of its own would use. Needs the extra ``train``.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import torch

from lutkit.allocator import keep_large_buffers
from lutkit.colour.lookup import fuse, look_up
from lutkit.generated import render_dead_leaves
from lutkit.threads import settle_threads
from lutkit_runtime.cube import CubeInterpolation

BATCH, HEIGHT, WIDTH, SIZE = 4, 480, 720, 33

BAR_MILLISECONDS, BAR_RATIO = 25.0, 4.0
"""Trilinear with both gradients on two cores; and how often it should fit into grid_sample's time."""

Step = Callable[[], None]


def make_pictures(content: str) -> torch.Tensor:
    """Return pictures (4, 3, 480, 720) of 0 to 1: generated ones that look like photos, or noise."""
    if content == "noise":
        return torch.from_numpy(np.random.default_rng(0).random((BATCH, 3, HEIGHT, WIDTH), np.float32))
    rendered = [render_dead_leaves(np.random.default_rng(seed), HEIGHT, WIDTH) for seed in range(BATCH)]
    return torch.from_numpy(np.stack(rendered).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))


def make_cubes(shared: bool) -> torch.Tensor:
    """Return smooth cubes near the identity, (4 or 1, 3, 33, 33, 33)."""
    axis = np.linspace(0, 1, SIZE, dtype=np.float32)
    identity = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")[::-1])
    powers = np.linspace(0.7, 1.4, 1 if shared else BATCH, dtype=np.float32)
    return torch.from_numpy(identity[None] ** powers[:, None, None, None, None])


def sample_grid(pictures: torch.Tensor, cubes: torch.Tensor) -> torch.Tensor:
    """Look up with torch's own operation."""
    grid = (pictures * 2 - 1).permute(0, 2, 3, 1)[:, None]
    cubes = cubes.expand(len(pictures), -1, -1, -1, -1)
    return torch.nn.functional.grid_sample(cubes, grid, mode="bilinear", padding_mode="border", align_corners=True)


def make_step(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], pictures: torch.Tensor, shared: bool, both: bool
) -> Step:
    """Return one pass forward and backward; `both`: with the gradient to the pictures."""
    pictures = pictures.clone().requires_grad_(both)
    cubes = make_cubes(shared).requires_grad_()
    with torch.no_grad():
        gradient = torch.randn(function(pictures, cubes).shape, generator=torch.Generator().manual_seed(0))

    def step() -> None:
        function(pictures, cubes).backward(gradient)
        pictures.grad = cubes.grad = None

    return step


def make_fusion() -> Step:
    """Return the fusion of three tables for every picture, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(BATCH, 3, generator=generator).requires_grad_()
    bases = torch.randn(3, 3, SIZE, SIZE, SIZE, generator=generator).requires_grad_()
    gradient = torch.randn(BATCH, 3, SIZE, SIZE, SIZE, generator=generator)

    def step() -> None:
        fuse(weights, bases).backward(gradient)
        weights.grad = bases.grad = None

    return step


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of every step in every round; all take turns."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number:  # the first round compiles and fills buffers
                taken[name].append((time.perf_counter() - start) * 1000)
    return taken


def compare(content: str, rounds: int) -> None:
    """Print medians, minima and the median ratio of rounds for one kind of pictures."""
    pictures = make_pictures(content)
    steps: dict[str, Step] = {}
    for both in (True, False):
        end = "both gradients" if both else "cube gradient"
        for shared in (False, True):
            cubes = "one cube" if shared else "own cubes"
            steps[f"grid_sample, {cubes}, {end}"] = make_step(sample_grid, pictures, shared, both)
            for kind in CubeInterpolation:

                def function(
                    pictures: torch.Tensor, cubes: torch.Tensor, kind: CubeInterpolation = kind
                ) -> torch.Tensor:
                    return look_up(pictures, cubes, kind)

                steps[f"{kind.value}, {cubes}, {end}"] = make_step(function, pictures, shared, both)
    steps["fusion of 3 tables"] = make_fusion()
    taken = measure(steps, rounds)
    click.echo(f"\n{content}, {BATCH} x {HEIGHT} x {WIDTH}, {SIZE} nodes, milliseconds forward + backward")
    click.echo(f"{'':44}{'median':>8}{'least':>8}{'grid_sample / it':>20}")
    for name, times in taken.items():
        rival = taken.get("grid_sample" + name[name.find(",") :])
        ratio = "" if not rival else f"{statistics.median(a / b for a, b in zip(rival, times, strict=True)):20.1f}"
        click.echo(f"{name:44}{statistics.median(times):8.1f}{min(times):8.1f}{ratio}")


@click.command()
@click.option("--threads", type=click.IntRange(min=1), help="Threads of every contender; default: torch's.")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=1), help="Of which the median counts.")
def main(threads: int | None, rounds: int) -> None:
    """Print milliseconds and ratios of colour lookups that are trained."""
    keep_large_buffers()
    settle_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    click.echo(f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    for content in ("photo-like", "noise"):
        compare(content, rounds)
    click.echo(
        f"\nwanted: trilinear with both gradients in {BAR_MILLISECONDS:.0f} ms on two cores and {BAR_RATIO:.0f} times as "
        f"fast as grid_sample; load {os.getloadavg()[0]:.1f} at the end"
    )


if __name__ == "__main__":
    main()
