"""Kernels that measure a GPU for `check_gpu`: one that waits, and one that copies. Imports numba-cuda."""

from __future__ import annotations

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda, kernel


@kernel("int32, int32[::1]")
def wait(count, turns, out):
    """Keep a thread busy."""
    number = np.int32(cuda.grid(1))
    for turn in range(turns):
        number = np.int32(number ^ np.int32(turn))
        if number > 1 << 20:
            number = np.int32(number >> 1)
    out[0] = number


@kernel("uint32[::1], uint32[::1]")
def copy_words(count, source, out):
    """Copy from one buffer to another; a thread does a word."""
    i = cuda.grid(1)
    if i < count:
        out[i] = source[i]
