"""How times are taken: contenders take turns, and quantiles count. Imports NumPy only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Contender:
    """One way of doing a case.

    Parameters
    ----------
    engine : str
        Name of the engine as people read it.
    threads : int
    run : callable
        Does the case once, and returns the result.
    settle : callable, optional
        Runs before `run`, unmeasured: makes ready what is needed once, and tells a library that counts threads for the
        whole process how many there are.
    model : str
        What the engine runs, in cases where that differs.
    interpolation : str
        How the engine interpolates, in cases where that differs.
    bytes_moved : int
        Bytes of the picture, the result and the tables: what has to be moved at least.
    version : str
        Of the engine.
    patient : bool
        False: where the first run took longer than the time there is, it counts, and there is no second.
    """

    engine: str
    threads: int
    run: Callable[[], Any]
    settle: Callable[[], None] | None = None
    model: str = ""
    interpolation: str = ""
    bytes_moved: int = 0
    version: str = ""
    patient: bool = True

    def run_settled(self) -> Any:
        """Settle, run, and return the result."""
        if self.settle is not None:
            self.settle()
        return self.run()


@dataclass(frozen=True)
class Timing:
    """What a contender took, in milliseconds, over so many runs."""

    median: float
    minimum: float
    first_quartile: float
    third_quartile: float
    runs: int

    @classmethod
    def summarise(cls, seconds: Sequence[float]) -> Timing:
        """Return the quantiles of at least one time."""
        minimum, first, median, third = (1000 * np.quantile(seconds, (0, 0.25, 0.5, 0.75))).tolist()
        return cls(median, minimum, first, third, len(seconds))


def measure_times(
    contenders: Sequence[Contender],
    rounds: int,
    seconds: float = 10.0,
    inspect: Callable[[Contender, Any], None] | None = None,
    forgive: Callable[[Contender, Exception], bool] = lambda _contender, _problem: False,
) -> list[Timing]:
    """Return what every contender took.

    They take turns, so that a busy machine slows all of them alike. A contender sits out once it has run for `seconds`.

    Parameters
    ----------
    contenders : sequence of Contender
        Each runs once before, unmeasured, which compiles its kernels.
    rounds : int
        How often each runs at most, at least 1.
    seconds : float
    inspect : callable, optional
        Is given every contender and the result of its unmeasured run.
    forgive : callable
        Is told of a contender whose unmeasured run raised; where it returns True the contender is left out, without an
        entry in the result and unknown to `inspect`, else the exception is raised.
    """
    able: list[Contender] = []
    times: list[list[float]] = []
    done: list[bool] = []
    for contender in contenders:
        try:
            first, result = _run_once(contender)
        except Exception as problem:
            if forgive(contender, problem):
                continue
            raise
        if inspect is not None:
            inspect(contender, result)
        able.append(contender)
        done.append(not contender.patient and first >= seconds)
        times.append([first] if done[-1] else [])
    for _ in range(rounds):
        for contender, taken, enough in zip(able, times, done, strict=True):
            if not enough and sum(taken) < seconds:
                taken.append(_run_once(contender)[0])
    return [Timing.summarise(taken) for taken in times]


def measure_interleaved(contenders: Sequence[Contender], rounds: int, seconds: float = 10.0) -> list[float]:
    """Return the median milliseconds of every contender, as `measure_times` measures."""
    return [timing.median for timing in measure_times(contenders, rounds, seconds)]


def _run_once(contender: Contender) -> tuple[float, Any]:
    if contender.settle is not None:
        contender.settle()
    start = time.perf_counter()
    result = contender.run()
    return time.perf_counter() - start, result
