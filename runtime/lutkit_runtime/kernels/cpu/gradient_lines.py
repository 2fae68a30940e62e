# pyright: basic
"""The kernel of a stage's backward pass. Imports Numba and the stage's kernel; `gradient` prepares its arguments.

Works like the forward kernel, chunk by chunk: addresses of a chunk first (vectorised), then the reads and writes of
table rows, then the slopes of the samples (vectorised).
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.stage_addresses import CHUNK, VERTICES, address_lookup
from lutkit_runtime.kernels.stage_layout import DIAGONAL, STRIDE_BITS

_I = np.int32
_U = np.uint64
_F = np.float32


@njit(inline="always")
def _turn_slopes(gradient, codes, turned, inverse, plane_line, width, start, block, outputs, per_turn, first, count):
    """Twin of `gate_gradient` and of the ensemble's turns: the slopes of a chunk's sums, block by block, per turn."""
    for row in range(block):
        line = ((plane_line * block + row) * width + start) * block
        for x in range(count):
            for column in range(block):
                at = line + x * block + column
                slope = gradient[at] * inverse
                code = codes[at]
                outward = ((code == 0) & (slope > 0)) | ((code == 255) & (slope < 0))
                turned[first + x * outputs + row * block + column] = _F(0) if outward else slope
    end = block - _U(1)
    last = outputs - _U(1)
    one = first + per_turn
    two = one + per_turn
    three = two + per_turn
    for x in range(count):
        to = x * outputs
        for row in range(block):
            for column in range(block):
                turned[one + to + (end - column) * block + row] = turned[first + to + row * block + column]
        for k in range(outputs):
            turned[two + to + k] = turned[first + to + last - k]
        for k in range(outputs):
            turned[three + to + k] = turned[one + to + last - k]


@njit(inline="always")
def _scatter(table, sums, base, part, rows, weights, scratch, turned, first, dots, outputs, count):
    """Add weight times slope to the gradients of the five rows of every pixel; dot the rows with the slopes."""
    for x in range(count):
        at = scratch + x
        slope = first + x * outputs
        for vertex in range(_U(VERTICES)):
            place = at + vertex * _U(CHUNK)
            row = base + _U(rows[place])
            weight = _F(weights[place])
            dot = _F(0)
            for k in range(outputs):
                dot += _F(table[row + k]) * turned[slope + k]
            for k in range(outputs):
                sums[part + row + k] += weight * turned[slope + k]
            dots[place] = dot


@njit(inline="always")
def _spread(rows, dots, scratch, strides, places, outputs, factor, plane_gradient, count):
    """Add to every sample the difference of the vertices between which the walk steps along its axis."""
    for axis in range(4):
        stride = strides[axis] * outputs
        place = places[axis]
        if stride == 0:
            continue
        for x in range(count):
            at = scratch + x
            slope = _F(0)
            for vertex in range(_U(4)):
                low = at + vertex * _U(CHUNK)
                high = low + _U(CHUNK)
                step = rows[high] - rows[low]
                slope += (dots[high] - dots[low]) if step == stride else _F(0)
            plane_gradient[place + x] += factor * slope


@njit(inline="always")
def _spread_diagonal(rows, dots, scratch, strides, bands, lookup, places, outputs, factor, plane_gradient, count):
    """Twin of `_spread` where each pixel has looked into one of two lattices."""
    first_far = bands[lookup, 5] * outputs
    near_factor = factor * _F(1 << bands[lookup, 7])
    for axis in range(4):
        far_stride = strides[axis] * outputs
        near_stride = bands[lookup, axis] * outputs
        place = places[axis]
        if far_stride == 0:
            continue
        for x in range(count):
            at = scratch + x
            near = rows[at] < first_far
            stride = near_stride if near else far_stride
            slope = _F(0)
            for vertex in range(_U(4)):
                low = at + vertex * _U(CHUNK)
                high = low + _U(CHUNK)
                step = rows[high] - rows[low]
                slope += (dots[high] - dots[low]) if step == stride else _F(0)
            plane_gradient[place + x] += slope * (near_factor if near else factor)


@compile_kernel(parallel=True, fastmath={"contract", "nsz", "reassoc"})
def accumulate_lines(
    padded: NDArray[np.uint8],
    extent: tuple[int, int, int, int],
    codes: NDArray[np.uint8],
    gradient: NDArray[np.float32],
    table: NDArray[np.int8],
    bases: NDArray[np.int64],
    strides: NDArray[np.int32],
    masks: NDArray[np.int32],
    offsets: NDArray[np.int64],
    arithmetic: NDArray[np.int32],
    bands: NDArray[np.int32] | None,
    scale: tuple[int, int],
    inverse: np.float32,
    wanted: NDArray[np.bool_],
    side: tuple[int, ...],
    rows: NDArray[np.int32],
    weights: NDArray[np.int32],
    dots: NDArray[np.float32],
    turned: NDArray[np.float32],
    parts: int,
    sums: NDArray[np.float32],
    plane_gradient: NDArray[np.float32],
) -> None:
    """Twin of automatic differentiation of an ensemble and its requantisation, for padded planes.

    Parameters
    ----------
    padded, table, side
        As in `run_lines`.
    extent : (planes, rows, columns, reach)
        Of the planes that are read, and how far they are padded.
    bases, strides, masks, offsets, arithmetic, bands, scale
        See `Layout`.
    codes : (N * H * block * W * block,)
        What the stage gave.
    gradient : like codes
    inverse
        1 / divisor.
    wanted : (lookups,)
        Whether the gradient to the samples of a lookup is.
    rows, weights, dots : (parts * CHUNK * 5,)
    turned : (parts * CHUNK * 4 * block**2,)
        Scratch.
    parts
        The planes are divided into so many parts.
    sums : (parts * len(table),)
        Gradient to the tables, one copy per part; zero at the start.
    plane_gradient : like padded, or empty
        Zero at the start.
    """
    planes, height, width, reach = extent
    row_stride = width + 2 * reach
    for worker in prange(parts):
        block = _U(len(side))
        outputs = block * block
        per_turn = _U(CHUNK) * outputs
        scratch = _U(worker) * _U(CHUNK * VERTICES)
        first = _U(worker) * _U(4) * per_turn
        part = _U(worker) * _U(len(table))
        for line in range(worker * planes // parts * height, (worker + 1) * planes // parts * height):
            plane = line // height
            anchor = (plane * (height + 2 * reach) + line - plane * height + reach) * row_stride + reach
            for start in range(0, width, CHUNK):
                count = _U(min(CHUNK, width - start))
                _turn_slopes(
                    gradient,
                    codes,
                    turned,
                    inverse,
                    _U(line),
                    _U(width),
                    _U(start),
                    block,
                    outputs,
                    per_turn,
                    first,
                    count,
                )
                here = anchor + start
                for lookup in range(len(bases)):
                    for turn in range(4):
                        places = (
                            _U(here + offsets[lookup, turn, 0]),
                            _U(here + offsets[lookup, turn, 1]),
                            _U(here + offsets[lookup, turn, 2]),
                            _U(here + offsets[lookup, turn, 3]),
                        )
                        address_lookup(
                            padded,
                            places,
                            strides,
                            masks,
                            arithmetic,
                            bands,
                            lookup,
                            scale,
                            _I(outputs),
                            rows,
                            weights,
                            scratch,
                            count,
                        )
                        _scatter(
                            table,
                            sums,
                            _U(bases[lookup]),
                            part,
                            rows,
                            weights,
                            scratch,
                            turned,
                            first + _U(turn) * per_turn,
                            dots,
                            outputs,
                            count,
                        )
                        if not wanted[lookup]:
                            continue
                        stride = (strides[lookup, 0], strides[lookup, 1], strides[lookup, 2], strides[lookup, 3])
                        factor = _F(arithmetic[lookup, 1] >> STRIDE_BITS)
                        if bands is None or arithmetic[lookup, 2] != DIAGONAL:
                            _spread(rows, dots, scratch, stride, places, _I(outputs), factor, plane_gradient, count)
                        else:
                            _spread_diagonal(
                                rows,
                                dots,
                                scratch,
                                stride,
                                bands,
                                lookup,
                                places,
                                _I(outputs),
                                factor,
                                plane_gradient,
                                count,
                            )
