# pyright: basic
"""Numbers on the GPU that equal the CPU's to the bit. Imports numba-cuda and NumPy.

A product and a sum that stand beside each other become one fused operation on a GPU, which rounds once instead of twice.
The functions for exact products and sums are never fused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda, device_function
from lutkit_runtime.kernels.cuda.device import is_simulated

_MAGIC = np.float32(1.5 * 2**23)
"""Adding it to a float32 below 2**22 in magnitude leaves no room for a fraction: the sum is rounded, half to even."""


@device_function
def round_half_even(value):
    """Return a float32 of magnitude below 2**22 rounded to an integer, as a float32."""
    return np.float32(np.float32(value + _MAGIC) - _MAGIC)


@cuda.jit(device=True)
def _multiply(one, other):
    return np.float32(one * other)


@cuda.jit(device=True)
def _add(one, other):
    return np.float32(one + other)


@cuda.jit(device=True)
def _subtract(one, other):
    return np.float32(one - other)


@cuda.jit(device=True)
def _take_root(value):
    return np.sqrt(np.float32(value))


def _find_exact() -> tuple[Any, Any, Any, Any]:
    if is_simulated():
        return _multiply, _add, _subtract, _take_root
    from numba.cuda import libdevice

    return libdevice.fmul_rn, libdevice.fadd_rn, libdevice.fsub_rn, libdevice.fsqrt_rn


multiply, add, subtract, take_root = _find_exact()
"""Product, sum and difference of two float32, and the square root of one, each rounded by itself."""
