# pyright: basic
"""The kernel of a reconstructed convolution's backward pass. Imports Numba only; `reconstructed` prepares its arguments.

As forwards, a pixel is looked up once for all turns: the slopes of all sums that read it at one position of the window
are added first. A pixel beyond the border is the nearest one of the plane, which gets its slopes in the same way.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel

_F = np.float32
_U = np.uint64


@njit(inline="always")
def _gather(slopes, line, shift, gathered, to, width):
    """Add to the pixels of a row the slopes of those that read them, `shift` columns to the left."""
    begin, end = max(0, shift), min(width, width + shift)
    if begin < end:
        target, source = _U(to + begin), _U(line + begin - shift)
        for x in range(_U(end - begin)):
            gathered[target + x] += slopes[source + x]
    for x in range(min(width, -shift)):
        gathered[_U(to)] += slopes[_U(line + x)]
    for x in range(max(0, width - shift), width):
        gathered[_U(to + width - 1)] += slopes[_U(line + x)]


@njit(inline="always")
def _scatter(planes, pixel, gathered, scratch, size, sums, entry, width):
    """Add the slopes of a row of pixels at a row of positions to the entries that they read."""
    for x in range(width):
        code = entry + _U(planes[pixel + x])
        # every position has a table of its own, so that these additions do not wait for each other
        for right in range(size):
            sums[code + (right << _U(8))] += gathered[scratch + right * width + x]


@njit(inline="always")
def _climb(planes, pixel, gathered, scratch, size, rises, entry, plane_gradient, width):
    """Add what a row of positions gives to the gradient of a row of pixels."""
    for x in range(width):
        code = entry + _U(planes[pixel + x])
        slope = _F(0)
        for right in range(size):
            slope += gathered[scratch + right * width + x] * rises[code + (right << _U(8))]
        plane_gradient[pixel + x] += slope


@compile_kernel(parallel=True, fastmath={"contract", "nsz"})
def scatter_lines(
    planes: NDArray[np.uint8],
    extent: tuple[int, int, int],
    slopes: NDArray[np.float32],
    offsets: NDArray[np.int64],
    size: int,
    rises: NDArray[np.float32],
    with_planes: bool,
    gathered: NDArray[np.float32],
    parts: int,
    sums: NDArray[np.float32],
    plane_gradient: NDArray[np.float32],
) -> None:
    """Twin of automatic differentiation of the sums of the four turns.

    Parameters
    ----------
    planes : (planes * H * W,)
    extent : (planes, H, W)
    slopes : (4 * planes * H * W,)
        Gradient to the sums.
    offsets : (4 * N * N * 2,)
        Row and column of every position in every turn.
    size
        N.
    rises : (N * N * 256,)
        By how much the sum grows when a code grows by 1.
    with_planes
        Whether `plane_gradient` is wanted.
    gathered : (parts * N * W,)
        Scratch.
    parts
        The planes are divided into so many parts.
    sums : (parts * N * N * 256,)
        Gradient to the tables, one copy per part; zero at the start.
    plane_gradient : like planes, or empty
        Zero at the start.
    """
    count, height, width = extent
    for part in prange(parts):
        scratch = part * size * width
        for plane in range(part * count // parts, (part + 1) * count // parts):
            for row in range(height):
                pixel = _U((plane * height + row) * width)
                for down in range(size):
                    for i in range(_U(scratch), _U(scratch + size * width)):
                        gathered[i] = _F(0)
                    for right in range(size):
                        for turn in range(4):
                            at = ((turn * size + down) * size + right) * 2
                            # rows that read this one; at the border also those that would read beyond it
                            nearest = row - offsets[at]
                            first = 0 if row == 0 else max(0, nearest)
                            last = height - 1 if row == height - 1 else min(height - 1, nearest)
                            for reader in range(first, last + 1):
                                line = ((turn * count + plane) * height + reader) * width
                                _gather(slopes, line, offsets[at + 1], gathered, scratch + right * width, width)
                    entry = down * size * 256
                    to = _U(part * size * size * 256 + entry)
                    _scatter(planes, pixel, gathered, _U(scratch), _U(size), sums, to, _U(width))
                    if with_planes:
                        _climb(
                            planes, pixel, gathered, _U(scratch), _U(size), rises, _U(entry), plane_gradient, _U(width)
                        )
