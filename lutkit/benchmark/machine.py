"""The machine that a benchmark runs on: what it is called, and how fast it copies memory. Imports NumPy only."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

COPIED_BYTES = 64 << 20
"""Of each of the two buffers: more than what caches hold."""
COPIES = 9


def name_processor(listing: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model of the processor as the system calls it."""
    try:
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown processor"


def describe_machine() -> str:
    """Return processor, cores and system in one line."""
    return f"{name_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def measure_copying(threads: Iterable[int], size: int = COPIED_BYTES, copies: int = COPIES) -> dict[int, float]:
    """Return bytes read and written per second by so many threads that copy memory, for each number of threads.

    The fastest of some copies, as it is a bound, into pages that were touched before; every thread copies a band with
    NumPy.

    Parameters
    ----------
    threads : iterable of int
    size : int
        Bytes of each of the two buffers.
    copies : int
        How many are measured for each number of threads.
    """
    source = np.ones(size, np.uint8)
    target = np.zeros(size, np.uint8)
    found: dict[int, float] = {}
    for count in threads:
        cuts = np.linspace(0, size, count + 1).astype(int).tolist()
        bands = [slice(start, stop) for start, stop in pairwise(cuts)]

        def copy_band(band: slice) -> None:
            np.copyto(target[band], source[band])

        with ThreadPoolExecutor(count) as pool:
            taken: list[float] = []
            for _ in range(copies):
                start = time.perf_counter()
                list(pool.map(copy_band, bands))
                taken.append(time.perf_counter() - start)
        found[count] = 2 * size / min(taken)
    return found
