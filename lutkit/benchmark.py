"""How fast models run on this machine, and how that is measured. May import the runtime; never torch."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from lutkit.families.mulut import build_program
from lutkit.families.spatial import read_patterns
from lutkit.generated import render_dead_leaves
from lutkit_runtime.engine import Model
from lutkit_runtime.program import Colour

HEIGHT, WIDTH = 180, 320
"""Size of the image that is enlarged: to 1280 x 720 at scale 4."""
COLOUR_HEIGHT, COLOUR_WIDTH = 720, 1280
"""Size of the image whose colours are changed."""


class Row(TypedDict):
    """One line of a benchmark.

    The speed counts the pixels of the result, in millions per second.
    """

    case: str
    engine: str
    threads: int
    milliseconds: float
    megapixels_per_second: float


@dataclass(frozen=True)
class Contender:
    """One way of doing a case.

    Parameters
    ----------
    engine : str
        Name of the backend, or of another program.
    threads : int
    run : callable
        Does the case once.
    """

    engine: str
    threads: int
    run: Callable[[], Any]


def make_mulut(seed: int = 0, scale: int = 4) -> Model:
    """Return a MuLUT of the published size, patterns s, d and y in two stages, with tables filled at random.

    How long it takes does not depend on what stands in the tables.
    """
    program = build_program(read_patterns(("s", "d", "y")), stages=2, scale=scale, interval=4)
    rng = np.random.default_rng(seed)
    tables = {
        name: rng.integers(-127, 128, (slot.entries, slot.outputs), dtype=np.int8)
        for name, slot in program.slots.items()
    }
    return Model(program, tables)


def measure_interleaved(contenders: Sequence[Contender], rounds: int, seconds: float = 10.0) -> list[float]:
    """Return the median milliseconds of every contender.

    They take turns, so that a busy machine slows all of them alike. A contender sits out once it has run for `seconds`.

    Parameters
    ----------
    contenders : sequence of Contender
        Each runs once before, unmeasured, which compiles its kernels.
    rounds : int
        How often each runs at most, at least 1.
    seconds : float
    """
    for contender in contenders:
        contender.run()
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, taken in zip(contenders, times, strict=True):
            if sum(taken) < seconds:
                start = time.perf_counter()
                contender.run()
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) * 1000 for taken in times]


def tabulate(case: str, pixels: int, contenders: Sequence[Contender], medians: Sequence[float]) -> list[Row]:
    """Return the rows of a case of so many pixels, from the milliseconds of its contenders."""
    return [
        Row(
            case=case,
            engine=contender.engine,
            threads=contender.threads,
            milliseconds=round(milliseconds, 3),
            megapixels_per_second=round(pixels / milliseconds / 1000, 3),
        )
        for contender, milliseconds in zip(contenders, medians, strict=True)
    ]


def make_contenders(model: Model, image: NDArray[np.uint8], threads: Sequence[int] = (1, 2)) -> list[Contender]:
    """Return every engine that can run `model` on `image`; `threads` beyond the machine's cores are left out."""

    def contend(engine: str, count: int) -> Contender:
        return Contender(engine, count, lambda: model.apply(image, backend=engine, threads=count))

    usable = sorted({min(count, os.cpu_count() or 1) for count in threads})
    return [contend("numpy", 1), *(contend("cpu", count) for count in usable)]


def run_cases(model: Model | None = None, rounds: int = 15, threads: Sequence[int] = (1, 2)) -> list[Row]:
    """Measure the engines on a generated image.

    Parameters
    ----------
    model : Model, optional
        What is measured; a MuLUT with random tables by default.
    rounds : int
        Measurements per engine, of which the median counts; slow engines are measured less often.
    threads : sequence of int
        For the engines that can use several.

    Returns
    -------
    list of Row
        In the order numpy, cpu.
    """
    model = model or make_mulut()
    in_colour = model.program.colour is Colour.RGB
    height, width = (COLOUR_HEIGHT, COLOUR_WIDTH) if in_colour else (HEIGHT, WIDTH)
    image = render_dead_leaves(np.random.default_rng(0), height, width)
    contenders = make_contenders(model, image, threads)
    case = f"{model.program.family} x{model.scale}, {width}x{height} RGB"
    medians = measure_interleaved(contenders, rounds)
    return tabulate(case, height * width * model.scale**2, contenders, medians)
