# pyright: basic
"""Blending in compiled code: the twin of `Blend.mix` followed by `scale_to_depth`. Floor 4: imports `compiling` and the op.

The operations and their order are those of the definition, so that the result has the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel, limit_threads, pass_as_writable
from lutkit_runtime.ops.blend import LARGEST_BASE

_U = np.uint64

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
    channels = (0,) * base.shape[2]
    pixels = base.size // base.shape[2]
    arguments = (pass_as_writable(base.reshape(-1)), changed.reshape(-1), np.float32(amount))
    with limit_threads(threads):
        if base.dtype.kind == "f":
            _blend_floats(*arguments, LARGEST_BASE, out.reshape(-1), channels, pixels)
        else:
            peak = np.float32(np.iinfo(base.dtype).max)
            _blend_codes(*arguments, peak, out.reshape(-1), channels, pixels)
    return True


@njit(error_model="numpy", forceinline=True)
def _blend_code(base, changed, amount, peak):
    """Twin of `Blend.mix` and `scale_to_depth` for one sample."""
    start = np.float32(base) / peak
    mixed = start + amount * (changed - start)
    return np.int32(min(max(mixed * peak + np.float32(0.5), np.float32(0)), peak))


@njit(error_model="numpy", forceinline=True)
def _blend_float(base, changed, amount, largest):
    """Twin of `Blend.mix` for one sample; comparisons with what is no number are false."""
    start = min(max(base, -largest), largest) if base == base else np.float32(0)
    return start + amount * (changed - start)


@compile_kernel(parallel=True)
def _blend_codes(
    base: NDArray[Any],
    changed: NDArray[np.float32],
    amount: np.float32,
    peak: np.float32,
    out: NDArray[Any],
    channels: tuple[int, ...],
    pixels: int,
) -> None:
    """Blend integer pictures, flat; alpha is copied. `channels` is as long as a pixel has samples."""
    for chunk in prange((pixels + CHUNK - 1) // CHUNK):
        begin, end = _U(chunk * CHUNK), _U(min((chunk + 1) * CHUNK, pixels))
        if len(channels) == 3:
            for at in range(begin * _U(3), end * _U(3)):
                out[at] = _blend_code(base[at], changed[at], amount, peak)
        else:
            for pixel in range(begin, end):
                at, of = pixel * _U(4), pixel * _U(3)
                out[at] = _blend_code(base[at], changed[of], amount, peak)
                out[at + _U(1)] = _blend_code(base[at + _U(1)], changed[of + _U(1)], amount, peak)
                out[at + _U(2)] = _blend_code(base[at + _U(2)], changed[of + _U(2)], amount, peak)
                out[at + _U(3)] = base[at + _U(3)]


@compile_kernel(parallel=True)
def _blend_floats(
    base: NDArray[np.float32],
    changed: NDArray[np.float32],
    amount: np.float32,
    largest: np.float32,
    out: NDArray[np.float32],
    channels: tuple[int, ...],
    pixels: int,
) -> None:
    """Blend pictures of floats, flat; alpha is copied. `channels` is as long as a pixel has samples."""
    for chunk in prange((pixels + CHUNK - 1) // CHUNK):
        begin, end = _U(chunk * CHUNK), _U(min((chunk + 1) * CHUNK, pixels))
        if len(channels) == 3:
            for at in range(begin * _U(3), end * _U(3)):
                out[at] = _blend_float(base[at], changed[at], amount, largest)
        else:
            for pixel in range(begin, end):
                at, of = pixel * _U(4), pixel * _U(3)
                out[at] = _blend_float(base[at], changed[of], amount, largest)
                out[at + _U(1)] = _blend_float(base[at + _U(1)], changed[of + _U(1)], amount, largest)
                out[at + _U(2)] = _blend_float(base[at + _U(2)], changed[of + _U(2)], amount, largest)
                out[at + _U(3)] = base[at + _U(3)]
