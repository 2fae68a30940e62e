# pyright: basic
"""Blending in compiled code: the twin of `Blend.mix` followed by `scale_to_depth`. Floor 4: imports `compiling` and the op.

The operations and their order are those of the definition, so that the result has the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel, limit_threads, pass_as_writable
from lutkit_runtime.ops.blend import LARGEST_BASE

CHUNK = 1 << 14
"""Pixels that a thread takes at a time."""


def blend_pictures(
    base: NDArray[Any], changed: NDArray[np.float32], amount: float, out: NDArray[Any], threads: int | None = None
) -> bool:
    """Write base + amount (changed - base) at the depth of the base, and its alpha, into `out`.

    Parameters
    ----------
    base, out : uint8, uint16 or float32, (H, W, 3) or (H, W, 4)
        Of one shape and type.
    changed : float32, (H, W, 3)
    amount : float
    threads : int, optional

    Returns
    -------
    bool
        False, with nothing written, where an array is not contiguous: the definition has to do it.
    """
    if not (base.flags.c_contiguous and changed.flags.c_contiguous and out.flags.c_contiguous):
        return False
    channels = base.shape[2]
    pixels = base.size // channels
    arguments = (pass_as_writable(base.reshape(-1)), changed.reshape(-1), np.float32(amount))
    with limit_threads(threads):
        if base.dtype.kind == "f":
            _blend_floats(*arguments, LARGEST_BASE, out.reshape(-1), channels, pixels)
        else:
            peak = np.float32(np.iinfo(base.dtype).max)
            _blend_codes(*arguments, peak, out.reshape(-1), channels, pixels)
    return True


@compile_kernel(parallel=True)
def _blend_codes(
    base: NDArray[Any],
    changed: NDArray[np.float32],
    amount: np.float32,
    peak: np.float32,
    out: NDArray[Any],
    channels: int,
    pixels: int,
) -> None:
    """Twin of `Blend.mix` and `scale_to_depth` for integer pictures, flat; alpha is copied."""
    for chunk in prange((pixels + CHUNK - 1) // CHUNK):
        for pixel in range(chunk * CHUNK, min((chunk + 1) * CHUNK, pixels)):
            at, of = pixel * channels, pixel * 3
            for channel in range(3):
                start = np.float32(base[at + channel]) / peak
                mixed = start + amount * (changed[of + channel] - start)
                code = min(max(mixed * peak + np.float32(0.5), np.float32(0)), peak)
                out[at + channel] = int(code)
            if channels == 4:
                out[at + 3] = base[at + 3]


@compile_kernel(parallel=True)
def _blend_floats(
    base: NDArray[np.float32],
    changed: NDArray[np.float32],
    amount: np.float32,
    largest: np.float32,
    out: NDArray[np.float32],
    channels: int,
    pixels: int,
) -> None:
    """Twin of `Blend.mix` for pictures of floats, flat; alpha is copied."""
    for chunk in prange((pixels + CHUNK - 1) // CHUNK):
        for pixel in range(chunk * CHUNK, min((chunk + 1) * CHUNK, pixels)):
            at, of = pixel * channels, pixel * 3
            for channel in range(3):
                # comparisons with what is no number are false
                bounded = base[at + channel]
                start = min(max(bounded, -largest), largest) if bounded == bounded else np.float32(0)
                out[at + channel] = start + amount * (changed[of + channel] - start)
            if channels == 4:
                out[at + 3] = base[at + 3]
