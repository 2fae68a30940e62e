# pyright: basic
"""Illumination in compiled code: the twin of `BoundIllumination.illuminate`. Floor 4: imports `compiling` and the op.

The operations and their order are those of the definition, so that the result has the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel, limit_threads, pass_as_writable
from lutkit_runtime.ops.illuminate import ENTRIES, BoundIllumination

_U = np.uint64
_I = np.int32
_F = np.float32
_LAST = np.float32(ENTRIES - 1)

CHUNK = 1 << 13
"""Pixels that a thread takes at a time."""


def illuminate_pictures(
    bound: BoundIllumination,
    reflectance: NDArray[np.float32],
    illumination: NDArray[np.float32],
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the picture (h, w, 3) of a reflectance and an illumination, float32 (h, w, 3), any strides.

    Parameters
    ----------
    bound : BoundIllumination
    reflectance, illumination : float32, (h, w, 3)
        Of the illumination, the first channel counts.
    threads : int, optional
        How many threads may work; the default is Numba's own setting.
    """
    out = np.empty(reflectance.shape, np.float32)
    given, light, table = (_lie_flat(each) for each in (reflectance, illumination, bound.table))
    with limit_threads(threads):
        _illuminate(given, light, table, bound.is_root, out.reshape(-1), out.size // 3)
    return out


def _lie_flat(array: NDArray[np.float32]) -> NDArray[Any]:
    return pass_as_writable(np.ascontiguousarray(array).reshape(-1))


@njit(error_model="numpy", forceinline=True)
def _find_power(root, table):
    """Return the entry of the table at a fourth root of 0 to 1."""
    position = root * _LAST
    cell = min(_I(position), _I(ENTRIES - 2))
    below, above = table[_U(cell)], table[_U(cell) + _U(1)]
    return below + (position - _F(cell)) * (above - below)


@njit(error_model="numpy", forceinline=True)
def _bound_light(light):
    """Return the light within 0 and 1; comparisons with what is no number are false."""
    return min(light, _F(1)) if light > _F(0) else _F(0)


@compile_kernel(parallel=True)
def _illuminate(
    reflectance: NDArray[np.float32],
    illumination: NDArray[np.float32],
    table: NDArray[np.float32],
    is_root: bool,
    out: NDArray[np.float32],
    pixels: int,
) -> None:
    """Light a reflectance, flat."""
    for chunk in prange((pixels + CHUNK - 1) // CHUNK):
        for pixel in range(_U(chunk * CHUNK), _U(min((chunk + 1) * CHUNK, pixels))):
            at = pixel * _U(3)
            root = _bound_light(illumination[at])
            power = _find_power(root if is_root else np.sqrt(np.sqrt(root)), table)
            out[at] = reflectance[at] * power
            out[at + _U(1)] = reflectance[at + _U(1)] * power
            out[at + _U(2)] = reflectance[at + _U(2)] * power
