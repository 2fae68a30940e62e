# pyright: basic
"""Colour lookup without a cube: the kernels. Imports Numba and `colour_places`; `colour` prepares arguments."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.colour_places import CHUNK, follow_curves, split_pixels
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next

_U = np.uint64
_CHUNK = _U(CHUNK)


@compile_kernel(parallel=True)
def replace_codes(
    samples: NDArray[np.uint8 | np.uint16],
    source: tuple[int, ...],
    table: NDArray[np.uint8 | np.uint16 | np.float32],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.uint8 | np.uint16 | np.float32],
    target: tuple[int, ...],
) -> None:
    """Twin of `BoundLookup.finish` and of `look_up` without a cube, for integer samples.

    Parameters
    ----------
    samples, source, workers, counter, out, target
        As for `mix_colours`.
    table : (3 * codes,)
        What every code of red, of green and of blue becomes.
    """
    for _worker in prange(workers):
        step, pixel = _U(len(source)), _U(len(target))
        pixels = _U(len(out)) // pixel
        codes = _U(len(table)) // _U(3)
        while True:
            begin = _U(take_next(counter)) * _CHUNK
            if begin >= pixels:
                break
            for x in range(begin, min(begin + _CHUNK, pixels)):
                to, at = x * pixel, x * step
                out[to] = table[_U(samples[at])]
                out[to + _U(1)] = table[codes + _U(samples[at + _U(1)])]
                out[to + _U(2)] = table[codes + codes + _U(samples[at + _U(2)])]
                if len(target) == 4:
                    out[to + _U(3)] = samples[at + _U(3)]


@compile_kernel(parallel=True)
def bend_colours(
    samples: NDArray[np.float32],
    source: tuple[int, ...],
    curves: NDArray[np.float32],
    axes: tuple[np.float32, ...],
    planes: NDArray[np.float32],
    values: NDArray[np.float32],
    workers: int,
    counter: NDArray[np.int64],
    out: NDArray[np.float32],
    target: tuple[int, ...],
) -> None:
    """Twin of `BoundLookup.look_up` without a cube, for float32 samples.

    Parameters
    ----------
    samples, source, workers, counter, out, target
        As for `mix_colours`.
    curves : (3 * entries,)
    axes : (scale, shift, last), red, green, blue each
    planes : (workers * CHUNK * 4,)
    values : (workers * CHUNK * 3,)
        Scratch.
    """
    for worker in prange(workers):
        pixel = _U(len(target))
        pixels = _U(len(out)) // pixel
        plane, at = _U(4) * _CHUNK * _U(worker), _U(3) * _CHUNK * _U(worker)
        while True:
            begin = _U(take_next(counter)) * _CHUNK
            if begin >= pixels:
                break
            count = min(_CHUNK, pixels - begin)
            first, here = begin * _U(len(source)), begin * pixel
            split_pixels(samples, first, source, planes, plane, count)
            follow_curves(planes, plane, curves, axes, values, at, count)
            for x in range(count):
                to = here + x * pixel
                out[to] = values[at + x]
                out[to + _U(1)] = values[at + _CHUNK + x]
                out[to + _U(2)] = values[at + _CHUNK + _CHUNK + x]
                if len(target) == 4:
                    out[to + _U(3)] = planes[plane + _CHUNK + _CHUNK + _CHUNK + x]
