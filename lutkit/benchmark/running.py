"""Cases by name, and what measures those that somebody wants. Imports the cases; each is made when it is measured."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark.colour_cases import make_cube_case, make_curves_case
from lutkit.benchmark.engines import ENGINES, find_present
from lutkit.benchmark.machine import describe_machine, measure_copying
from lutkit.benchmark.measuring import Contender, measure_times
from lutkit.benchmark.pictures import Size
from lutkit.benchmark.plan import Plan
from lutkit.benchmark.rows import LUTKIT, REFERENCE, Case, Row, Verdict, tabulate
from lutkit.benchmark.spatial import make_denoising_case, make_enlarging_case, make_model_case
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.engine import Model

CASES: dict[str, Callable[[Plan], Case]] = {
    "cube-uint8": partial(make_cube_case, depth=np.uint8, channels=3),
    "cube-uint16": partial(make_cube_case, depth=np.uint16, channels=3),
    "cube-float32": partial(make_cube_case, depth=np.float32, channels=3),
    "cube-float32-rgba": partial(make_cube_case, depth=np.float32, channels=4),
    "curves-uint8": make_curves_case,
    "enlarge": make_enlarging_case,
    "denoise": make_denoising_case,
}
"""Names to what makes a case, in the order in which they are measured."""

SECONDS = 0.4
"""How long one engine may run in a case."""


def count_threads(wanted: Sequence[int]) -> tuple[int, ...]:
    """Return the counts, rising, none beyond what compiled kernels may use: the cores, or NUMBA_NUM_THREADS."""
    from lutkit_runtime.kernels.cpu.compiling import count_threads as count_usable

    return tuple(sorted({count_usable(count) for count in wanted}))


def measure_case(
    case: Case,
    rounds: int,
    seconds: float,
    bandwidths: Mapping[int, float],
    machine: str,
    announce: Callable[[str], None] = lambda _line: None,
) -> list[Row]:
    """Return the rows of a case; every result is compared with the reference.

    Parameters
    ----------
    case : Case
    rounds : int
        Measurements per engine, of which the median counts; slow engines are measured less often.
    seconds : float
        How long one engine may run.
    bandwidths : mapping of threads to bytes per second
    machine : str
    announce : callable
        Is told of other programs that fail, which are left out.
    """
    able: list[Contender] = []
    verdicts: list[Verdict] = []

    def inspect(contender: Contender, result: Any) -> None:
        able.append(contender)
        verdicts.append(case.judge(contender, result))

    def forgive(contender: Contender, problem: Exception) -> bool:
        if contender.engine in (LUTKIT, REFERENCE):
            return False
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:160]
        announce(f"Left out: {contender.engine} {contender.model}".rstrip() + f", {case.title}: {reason}")
        return True

    timings = measure_times(case.contenders, rounds, seconds, inspect, forgive)
    return tabulate(case, able, timings, verdicts, bandwidths, machine)


def run_cases(
    cases: Sequence[str] = tuple(CASES),
    *,
    model: Model | None = None,
    engines: Sequence[str] = tuple(ENGINES),
    threads: Sequence[int] = (1, 2),
    size: Size | None = None,
    photo: NDArray[np.uint8] | None = None,
    interpolation: CubeInterpolation = CubeInterpolation.TETRAHEDRAL,
    rounds: int = 15,
    seconds: float = SECONDS,
    announce: Callable[[str], None] = lambda _line: None,
) -> list[Row]:
    """Measure engines beside each other.

    Parameters
    ----------
    cases : sequence of str
        Names from `CASES`.
    model : Model, optional
        Measured in place of the cases.
    engines : sequence of str
        Keys of `ENGINES`; those that cannot run here are left out.
    threads : sequence of int
        For the engines that can use several; counts beyond the machine's cores count as all.
    size : (height, width), optional
        Of the results; every case has its own otherwise.
    photo : uint8 (H, W, 3), optional
        In place of generated pictures.
    interpolation : CubeInterpolation
        Of cubes; some engines are always trilinear, and their rows say so.
    rounds : int
        Measurements per engine, of which the median counts; slow engines are measured less often.
    seconds : float
        How long one engine may run in a case.
    announce : callable
        Is given a line before every case, and of other programs that fail.

    Returns
    -------
    list of Row
        Case by case.
    """
    counts = count_threads(threads)
    makers = [CASES[name] for name in cases] if model is None else [partial(make_model_case, model=model)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, _kept_threads():
        plan = Plan(find_present(engines), Path(folder), counts, size, photo, interpolation)
        bandwidths = measure_copying(sorted({1, *counts}))
        machine = describe_machine()
        for make in makers:
            case = make(plan)
            if case.contenders:
                announce(f"Measuring {case.title}")
                rows += measure_case(case, rounds, seconds, bandwidths, machine, announce)
    return rows


@contextmanager
def _kept_threads() -> Iterator[None]:
    """Set back at the end what counts threads for the whole process."""
    cv2 = importlib.import_module("cv2")
    before = cv2.getNumThreads()
    torch = sys.modules.get("torch")
    torch_before = torch.get_num_threads() if torch else None
    try:
        yield
    finally:
        cv2.setNumThreads(before)
        torch = sys.modules.get("torch")
        if torch is not None and torch_before is not None:
            torch.set_num_threads(torch_before)
