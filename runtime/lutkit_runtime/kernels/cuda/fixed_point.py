# pyright: basic
"""Sums of gradients that do not depend on the order of additions. Imports compiling and rounding.

On a GPU thousands of threads add to one place in an order that differs from run to run. Sums of float32 would differ, too;
sums of integers do not. So gradients become integers of 32 bits once, and all that follows is exact in 64 bits: weights,
differences of table entries and powers of two are integers themselves. The sums become float32 in the end.

**Scale.** The largest magnitude of all given gradients is below some power of two, which becomes 2**bits; it is found on
the GPU, so that nothing waits for it. An error is at most half an integer for each gradient: 2**-31 of the largest with 30
bits, where a float32 of that size has 24.

**Bound.** A sum is at most 2**bits times the sum of the magnitudes of the factors that can meet at one place. `find_bits`
is told these, and chooses `bits` so that every sum is below 2**62.

Where a gradient is not finite, every result is NaN, so that training notices it as it does on the CPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.compiling import cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.device import is_simulated
from lutkit_runtime.kernels.cuda.rounding import multiply, round_half_even

MOST_BITS = 30
"""Of integers that stand for gradients."""

SUM_BITS = 62
"""Of sums of them."""

PIECE = 64
"""Numbers that one thread clears, or among which it looks for the largest."""

_I, _L, _F = np.int32, np.int64, np.float32
_MAGNITUDE = _I(0x7FFFFFFF)
_INFINITY = _I(0x7F800000)
_NAN = _F(np.nan)
_EXPONENT = 23
_LARGEST_FRACTION = _F(2.0**22)
_LARGEST_INTEGER = _F(2.0**MOST_BITS)


def find_bits(*factors: int) -> int:
    """Return how many bits integers may have, given the magnitudes of factors that may meet at one place of each sum."""
    return min(MOST_BITS, SUM_BITS - max(factors).bit_length())


@kernel("int32, int64[::1]")
def clear_sums(count, size, sums):
    """Set sums to 0."""
    i = _I(cuda.grid(1))
    if i < count:
        for place in range(i, size, count):
            sums[place] = _L(0)


@kernel("float32[::1]")
def clear_gradient(count, gradient):
    """Set gradients to 0."""
    i = _I(cuda.grid(1))
    if i < count:
        gradient[i] = _F(0)


@kernel("int32[::1]")
def clear_largest(count, largest):
    """Set the largest magnitude to 0."""
    if _I(cuda.grid(1)) < count:
        largest[0] = _I(0)


@kernel("int32[::1], int32, int32[::1]")
def find_largest(count, patterns, size, largest):
    """Find the largest magnitude of float32 numbers, all as patterns of bits, whose order is that of the magnitudes."""
    i = _I(cuda.grid(1))
    if i < count:
        found = _I(0)
        for place in range(i, size, count):
            found = max(found, _I(patterns[place] & _MAGNITUDE))
        if found > 0:
            cuda.atomic.max(largest, 0, found)


def _make_power() -> Any:
    """Return a function: the power of two of an exponent. Python's does not take integers of NumPy."""
    power = np.ldexp if is_simulated() else math.ldexp

    @device_function
    def raise_two(exponent):
        return _F(power(_F(1), exponent))

    return raise_two


_raise_two = _make_power()


@device_function
def _find_exponent(largest, bits):
    """Return the binary logarithm of the scale, within what float32 can hold and invert."""
    return min(max(_I(_I(126 + bits) - _I(largest >> _EXPONENT)), _I(-126)), _I(126))


@device_function
def find_scale(largest, bits):
    """Return the power of two by which gradients are multiplied."""
    return _raise_two(_find_exponent(largest, bits))


@device_function
def find_step(largest, bits):
    """Return what one integer stands for: 1 / scale; NaN where a gradient was not finite."""
    return _raise_two(_I(-_find_exponent(largest, bits))) if largest < _INFINITY else _NAN


@device_function
def quantise(value, scale):
    """Return a gradient as an integer, rounded to nearest; 0 where it is not finite."""
    scaled = multiply(value, scale)
    if not abs(scaled) <= _LARGEST_INTEGER:
        return _I(0)
    return _I(round_half_even(scaled) if abs(scaled) < _LARGEST_FRACTION else scaled)


@kernel("float32[::1], int32[::1], int32, int32[::1]")
def quantise_all(count, gradient, largest, bits, out):
    """Turn gradients into integers."""
    i = _I(cuda.grid(1))
    if i < count:
        out[i] = quantise(gradient[i], find_scale(largest[0], bits))


@kernel("int64[::1], int64, int32[::1], int32, int32, int32[::1], int32, float32, float32[::1]")
def settle(count, sums, first, rows, has_rows, outputs, largest, bits, factor, out):
    """Turn sums into float32, times a factor.

    `rows` says which row of `outputs` sums each row of the result is, from sum `first` on; without `has_rows` they follow
    each other.
    """
    i = _I(cuda.grid(1))
    if i < count:
        at = _L(first) + _L(i)
        if has_rows:
            at = _L(first) + _L(rows[_I(i // outputs)]) * _L(outputs) + _L(i % outputs)
        out[i] = multiply(multiply(_F(sums[at]), find_step(largest[0], bits)), factor)
