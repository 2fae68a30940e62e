"""Measure training steps on the CPU: of tables against one pass of a plain loop, of networks against the published form.

Example
-------
    python tools/benchmark_training.py FOLDER

FOLDER holds plain_mulut.py with ``run(image, first, last)``, an independent MuLUT; without it the step of tables is
measured alone. All contenders take turns, so that a busy machine slows them alike: the ratios are what to look at.
Needs the extra ``train``. Imports lutkit; the published form runs in a process of its own (published_training.py).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numba
import numpy as np
import torch
from benchmark_runtime import import_file
from numpy.typing import NDArray

from lutkit.allocator import keep_large_buffers
from lutkit.benchmark import Contender, measure_interleaved
from lutkit.families import mulut
from lutkit.generated import render_dead_leaves
from lutkit.precision import has_fast_bfloat16
from lutkit.threads import settle_threads
from lutkit.trainable import NetworkModel, TableModel, Trainable
from lutkit_runtime.engine import Model

BATCH, CROP, SCALE = 8, 48, 4
PATTERNS = "sdy"
HEIGHT, WIDTH = 64, 96
"""Of the picture for the plain loop: with three channels it has as many pixels as a batch."""

TABLE_BAR, NETWORK_BAR = 7.0, 3.0
"""A step of tables should take at most 7 passes of the plain loop; one of networks a third of the published form's."""


def make_smooth_tables() -> dict[str, NDArray[np.int8]]:
    """Return tables that pass a picture through: what stage 2 reads then looks like a picture, as with real tables."""
    tables: dict[str, NDArray[np.int8]] = {}
    for lookup in mulut.skeleton(mulut.defaults).lookups():
        anchor = lookup.lattice.node_samples()[:, :1].astype(np.int64)
        inner = lookup.slot.startswith("stage1/")
        entries = np.minimum(anchor - 127, 127) if inner else (anchor // 4).repeat(SCALE**2, axis=1)
        tables[lookup.slot] = entries.astype(np.int8)
    return tables


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return degraded codes (8, 48, 48) and targets (8, 192, 192), float32, of a generated picture."""
    picture = render_dead_leaves(np.random.default_rng(0), CROP * 2, CROP * 4)[:, :, 1]
    patches = picture.reshape(2, CROP, 4, CROP).transpose(0, 2, 1, 3).reshape(BATCH, CROP, CROP)
    planes = torch.from_numpy(patches.astype(np.float32))
    return planes, planes.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2)


def make_step(model: Trainable, rate: float) -> Callable[[], None]:
    """Return a whole training step as the loop does it: forward, backward, Adam, confinement."""
    optimiser = torch.optim.Adam(model.module.parameters(), lr=rate, fused=True)
    planes, targets = make_batch()

    def step() -> None:
        loss = ((model.run(planes, None) - targets) / 255).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        model.confine()
        loss.item()

    return step


def make_plain_pass(folder: Path, tables: dict[str, NDArray[np.int8]], threads: int) -> Callable[[], Any]:
    """Return one pass of the plain loop; raises where its bytes differ from the runtime's."""
    plain = import_file(folder / "plain_mulut.py")
    first = np.stack([tables[f"stage1/{pattern}"][:, 0] for pattern in PATTERNS])
    last = np.stack([tables[f"stage2/{pattern}"] for pattern in PATTERNS])
    picture = render_dead_leaves(np.random.default_rng(1), HEIGHT, WIDTH)

    def run() -> NDArray[np.uint8]:
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        result = plain.run(picture, first, last)
        numba.set_num_threads(before)
        return result

    if not np.array_equal(run(), Model(mulut.skeleton(mulut.defaults), tables).apply(picture)):
        raise click.ClickException("the independent implementation gives other bytes")
    return run


@contextmanager
def published_form(threads: int):
    """Give a function that lets the other process take one step and returns the seconds that it took."""
    script = Path(__file__).with_name("published_training.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def step() -> float:
            child.stdin.write("\n")
            child.stdin.flush()
            return float(child.stdout.readline())

        yield step
        child.stdin.close()


def compare_tables(folder: Path | None, threads: int, rounds: int) -> None:
    """Print what a step of tables takes, in passes of the plain loop."""
    tables = make_smooth_tables()
    model = TableModel(mulut.skeleton(mulut.defaults), tables)
    contenders = [Contender("finetune step", threads, make_step(model, 0.1))]
    if folder is not None:
        contenders.append(Contender("plain Numba loop", threads, make_plain_pass(folder, tables, threads)))
    medians = measure_interleaved(contenders, rounds, seconds=60)
    for contender, taken in zip(contenders, medians, strict=True):
        click.echo(f"{contender.engine:24} {taken:9.1f} ms")
    if len(medians) == 2:
        click.echo(f"finetune step / plain Numba loop = {medians[0] / medians[1]:.2f}, at most {TABLE_BAR:.0f} wanted")


def compare_networks(threads: int, rounds: int) -> None:
    """Print what a step of networks takes, and the published form's."""
    low = has_fast_bfloat16(torch.device("cpu"))
    step = make_step(NetworkModel(mulut, mulut.defaults, low_precision=low), 1e-3)
    own: list[float] = []
    published: list[float] = []
    with published_form(threads) as other:
        step()
        other()
        for _ in range(rounds):
            start = time.perf_counter()
            step()
            own.append(time.perf_counter() - start)
            published.append(other())
    medians = [statistics.median(taken) for taken in (own, published)]
    click.echo(f"{'network step, ' + ('bfloat16' if low else 'float32'):24} {medians[0] * 1000:9.1f} ms")
    click.echo(f"{'published form, float32':24} {medians[1] * 1000:9.1f} ms")
    click.echo(f"published form / network step = {medians[1] / medians[0]:.2f}, at least {NETWORK_BAR:.0f} wanted")


@click.command()
@click.argument("yardsticks", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of every contender; default: torch's.")
@click.option(
    "--rounds", default=15, show_default=True, help="Measurements of table steps, of which the median counts."
)
@click.option("--network-rounds", default=5, show_default=True, help="Measurements of network steps.")
def main(yardsticks: Path | None, threads: int | None, rounds: int, network_rounds: int) -> None:
    """Print milliseconds and ratios of training steps, batch 8 of 48 x 48, MuLUT-SDY-X2 at scale 4."""
    keep_large_buffers()
    settle_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    count = torch.get_num_threads()
    click.echo(f"{count} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    compare_tables(yardsticks, count, rounds)
    compare_networks(count, network_rounds)


if __name__ == "__main__":
    main()
