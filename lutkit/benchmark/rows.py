"""Rows of a benchmark: what was measured, as one flat record for each engine of a case. Imports `measuring`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from lutkit.benchmark.measuring import Contender, Timing

LUTKIT = "lutkit"
"""Engine that the others are compared with: the compiled kernels."""
CUDA = "lutkit CUDA"
REFERENCE = "NumPy"
"""lutkit's other backends: kernels for GPUs, and the definitions of the ops, slow and obvious."""


class Row(TypedDict):
    """One line of a benchmark.

    Attributes
    ----------
    case, engine, engine_version, model, interpolation, machine : str
        ``model`` and ``interpolation`` are empty where there is nothing to choose.
    threads, runs : int
    milliseconds, minimum, first_quartile, third_quartile : float
        ``milliseconds`` is the median.
    megapixels_per_second : float
        Pixels of the result.
    bytes_moved : int
        Of the picture, the result and the tables.
    roofline_percent : float or None
        Time in which this machine copies so many bytes with these threads, in percent of the median; None for GPUs.
    times_lutkit : float or None
        Median over that of the first row of lutkit with the same threads in the case.
    max_difference : float or None
        From the reference in float64, in levels of integers, or in units of 1; None for another method.
    identical : float or None
        Share of samples that are equal to the rounded reference (floats: within 1e-6).
    note : str
        What the reader has to know, above all why a result differs.
    """

    case: str
    engine: str
    engine_version: str
    model: str
    interpolation: str
    threads: int
    milliseconds: float
    minimum: float
    first_quartile: float
    third_quartile: float
    runs: int
    megapixels_per_second: float
    bytes_moved: int
    roofline_percent: float | None
    times_lutkit: float | None
    max_difference: float | None
    identical: float | None
    note: str
    machine: str


@dataclass(frozen=True)
class Verdict:
    """How far a result is from the reference: see `Row`."""

    max_difference: float | None
    identical: float | None
    note: str = ""


@dataclass(frozen=True)
class Case:
    """What several engines do with one picture.

    Parameters
    ----------
    title : str
        What is done with what picture.
    pixels : int
        Of the result.
    contenders : tuple of Contender
    judge : callable
        Compares a result of a contender with the reference.
    """

    title: str
    pixels: int
    contenders: tuple[Contender, ...]
    judge: Callable[[Contender, Any], Verdict]


def tabulate(
    case: Case,
    contenders: Sequence[Contender],
    timings: Sequence[Timing],
    verdicts: Sequence[Verdict],
    bandwidths: Mapping[int, float],
    machine: str,
) -> list[Row]:
    """Return the rows of a case.

    Parameters
    ----------
    case : Case
    contenders, timings, verdicts : sequences
        Those that were measured, what they took, and what their results are like.
    bandwidths : mapping of threads to float
        Bytes read and written per second of a copy; none of a thread count: no roofline.
    machine : str
    """
    base: dict[int, float] = {}
    for contender, timing in zip(contenders, timings, strict=True):
        if contender.engine == LUTKIT:
            base.setdefault(contender.threads, timing.median)
    rows: list[Row] = []
    for contender, timing, verdict in zip(contenders, timings, verdicts, strict=True):
        bandwidth = bandwidths.get(contender.threads)
        compared = base.get(contender.threads)
        rows.append(
            Row(
                case=case.title,
                engine=contender.engine,
                engine_version=contender.version,
                model=contender.model,
                interpolation=contender.interpolation,
                threads=contender.threads,
                milliseconds=round(timing.median, 3),
                minimum=round(timing.minimum, 3),
                first_quartile=round(timing.first_quartile, 3),
                third_quartile=round(timing.third_quartile, 3),
                runs=timing.runs,
                megapixels_per_second=round(case.pixels / timing.median / 1000, 6),
                bytes_moved=contender.bytes_moved,
                roofline_percent=None
                if contender.engine == CUDA or not bandwidth
                else round(100_000 * contender.bytes_moved / bandwidth / timing.median, 2),
                times_lutkit=None if compared is None else round(timing.median / compared, 3),
                max_difference=verdict.max_difference,
                identical=verdict.identical,
                note=verdict.note,
                machine=machine,
            )
        )
    return rows
