"""How fast teacher and students are, on one picture and in turns. Imports the benchmark's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark.measuring import Contender, measure_times

WIDTH, HEIGHT = 1920, 1080
THREADS = 2
ROUNDS = 9
SECONDS = 8.0
"""Of each at most, so that a slow teacher does not hold the report up."""

Image8 = NDArray[np.uint8]


def measure_speed(
    runs: Mapping[str, Callable[[Image8], object]], photo: Image8, multiples: Mapping[str, int]
) -> dict[str, float | None]:
    """Return the median milliseconds that each takes for a picture of 1920 x 1080 of 8 bits, with two threads.

    Parameters
    ----------
    runs : mapping of name to callable
        Each takes the picture, and must keep to two threads.
    photo : uint8, (H, W, 3)
        Enlarged to that size: its content hardly matters.
    multiples : mapping of name to int
        Of those whose sides must be multiples of a number: they get as much of the picture as fits.

    Returns
    -------
    dict of name to float or None
        None for those that fail on such a picture, as some networks need more memory than there is.
    """
    large = np.asarray(cv2.resize(photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    contenders = []
    for name, run in runs.items():
        multiple = multiples.get(name, 1)
        part = np.ascontiguousarray(large[: HEIGHT // multiple * multiple, : WIDTH // multiple * multiple])
        contenders.append(
            Contender(engine=name, threads=THREADS, run=lambda run=run, part=part: run(part), patient=False)
        )
    failed: list[str] = []

    def forgive(contender: Contender, _problem: Exception) -> bool:
        failed.append(contender.engine)
        return True

    times = measure_times(contenders, ROUNDS, SECONDS, forgive=forgive)
    able = [name for name in runs if name not in failed]
    medians = {name: timing.median for name, timing in zip(able, times, strict=True)}
    return {name: medians.get(name) for name in runs}
