# pyright: basic
"""Guides whose curves are trained: the kernels, forward and backward. `guide_gradient` prepares arguments.

Imports Numba, and the pieces of the kernel that applies. Sums are kept in float64 per part of the pictures, never per
thread: who works on a part changes nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.guide_places import add_curve, bound, find_guides, place_arguments

_D = np.float64
_F = np.float32
_I = np.int32
_U = np.uint64
_0, _1 = np.float32(0), np.float32(1)
_CHUNK = _U(CHUNK)
_2CHUNKS = _U(2 * CHUNK)
_BY_LANES = {"contract", "nsz", "reassoc"}
"""Sums whose order LLVM may choose: by lanes of vectors. It is the same in every run of one machine."""


@njit(error_model="numpy", forceinline=True)
def _read_units(pictures, first, step, units, at, count):
    """Copy a chunk of planes as a guide sees it: within 0 and 1, not a number as 0."""
    for channel in range(3):
        source, target = first + _U(channel) * step, at + _U(channel) * _CHUNK
        for x in range(count):
            value = pictures[source + x]
            value = value if value > _0 else _0
            units[target + x] = value if value < _1 else _1


@njit(error_model="numpy", forceinline=True)
def _split(position, cells):
    """Twin of `split_position`."""
    inside = bound(position, _F(cells))
    cell = min(_I(inside), _I(cells - _I(1)))
    return cell, _F(inside - _F(cell))


@njit(error_model="numpy", forceinline=True)
def _share_cells(nodes, base, cells, positions, to, slopes, steps, at, places, products, sums, first, twin, count):
    """Go back through a curve of several cells.

    Adds slopes, and slopes times fraction, to the two sums of the cell that each position lies in (`sums` from `first` on, or
    `twin` later), and writes the gradient
    to the arguments, 0 beyond the curve's ends. `steps` may be `slopes`.
    """
    high = _F(cells)
    for x in range(count):
        position = positions[to + x]
        cell, fraction = _split(position, cells)
        places[at + x] = cell
        products[at + x] = slopes[at + x] * fraction
    # neighbours, mostly in one cell, take turns between two sums: adding to one twice running has to wait
    even = count // _U(2) * _U(2)
    for x in range(_U(0), even, _U(2)):
        own = first + _U(2) * _U(places[at + x])
        other = first + twin + _U(2) * _U(places[at + x + _U(1)])
        sums[own] += _D(slopes[at + x])
        sums[own + _U(1)] += _D(products[at + x])
        sums[other] += _D(slopes[at + x + _U(1)])
        sums[other + _U(1)] += _D(products[at + x + _U(1)])
    for x in range(even, count):
        own = first + _U(2) * _U(places[at + x])
        sums[own] += _D(slopes[at + x])
        sums[own + _U(1)] += _D(products[at + x])
    for x in range(count):
        position = positions[to + x]
        row = base + _U(places[at + x])
        step = slopes[at + x] * (high * (nodes[row + _U(1)] - nodes[row]))
        steps[at + x] = step if (position >= _0) & (position <= high) else _0


@njit(error_model="numpy", forceinline=True, fastmath=_BY_LANES)
def _share_one_cell(nodes, base, positions, to, slopes, steps, at, sums, first, count):
    """What `_share_cells` does, for a curve of one cell: it vectorises."""
    step = nodes[base + _U(1)] - nodes[base]
    near, far = _0, _0
    for x in range(count):
        position, slope = positions[to + x], slopes[at + x]
        near += slope
        far += slope * bound(position, _1)
        steps[at + x] = slope * step if (position >= _0) & (position <= _1) else _0
    sums[first] += _D(near)
    sums[first + _U(1)] += _D(far)


@njit(error_model="numpy", forceinline=True)
def _share_curve(nodes, base, cells, positions, to, slopes, steps, at, places, products, sums, first, twin, count):
    if cells == _I(1):
        _share_one_cell(nodes, base, positions, to, slopes, steps, at, sums, first, count)
    else:
        _share_cells(nodes, base, cells, positions, to, slopes, steps, at, places, products, sums, first, twin, count)


@njit(error_model="numpy", forceinline=True, fastmath=_BY_LANES)
def _share_mix(units, at, steps, to, sums, first, count):
    """Add steps times red, green, blue and one to four sums."""
    red, green, blue, one = _0, _0, _0, _0
    for x in range(count):
        step = steps[to + x]
        red += step * units[at + x]
        green += step * units[at + _CHUNK + x]
        blue += step * units[at + _2CHUNKS + x]
        one += step
    sums[first] += _D(red)
    sums[first + _U(1)] += _D(green)
    sums[first + _U(2)] += _D(blue)
    sums[first + _U(3)] += _D(one)


@compile_kernel(parallel=True)
def find_picture_guides(
    pictures: NDArray[np.float32],
    extent: tuple[int, int],
    mix: NDArray[np.float32],
    curves: NDArray[np.float32],
    result: NDArray[np.float32],
    units: NDArray[np.float32],
    places: NDArray[np.float32],
    seen: NDArray[np.float32],
    workers: int,
    counter: NDArray[np.int64],
    guides: NDArray[np.float32],
) -> None:
    """Twin of `GuideTables.evaluate` after `see`.

    Parameters
    ----------
    pictures : (N * 3 * pixels,)
        Planes.
    extent
        Number of pictures, and of pixels of each.
    mix, curves, result
        (curves * 4,), (curves * entries,), (entries,).
    units : (workers * CHUNK * 3,)
    places, seen : (workers * CHUNK,)
        Scratch.
    workers
        How many take part.
    counter
        From `new_counter`: deals out chunks of pixels.
    guides : (N * pixels,)
    """
    count_pictures, pixels = extent
    chunks = (pixels + CHUNK - 1) // CHUNK
    for worker in prange(workers):
        at, to = _U(3 * CHUNK) * _U(worker), _CHUNK * _U(worker)
        while True:
            chunk = take_next(counter)
            if chunk >= count_pictures * chunks:
                break
            picture = chunk // chunks
            start = (chunk - picture * chunks) * CHUNK
            count = _U(min(CHUNK, pixels - start))
            _read_units(pictures, _U(picture * 3 * pixels + start), _U(pixels), units, at, count)
            find_guides(units, at, _1, mix, curves, result, places, seen, to, count)
            first = _U(picture * pixels + start)
            for x in range(count):
                guides[first + x] = seen[to + x]


@compile_kernel(parallel=True)
def differentiate_guides(
    pictures: NDArray[np.float32],
    extent: tuple[int, int],
    mix: NDArray[np.float32],
    curves: NDArray[np.float32],
    result: NDArray[np.float32],
    gradient: NDArray[np.float32],
    parts: int,
    units: NDArray[np.float32],
    positions: NDArray[np.float32],
    slopes: NDArray[np.float32],
    steps: NDArray[np.float32],
    products: NDArray[np.float32],
    places: NDArray[np.int32],
    workers: int,
    counter: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """Twin of automatic differentiation of `GuideTables.evaluate`.

    Parameters
    ----------
    pictures, extent, mix, curves, result, workers
        As in `find_picture_guides`.
    gradient : (N * pixels,)
        To the guides.
    parts
        The chunks of pixels are divided into so many parts.
    units : (workers * CHUNK * 3,)
    positions : (workers * CHUNK * (curves + 1),)
    slopes, steps, products, places : (workers * CHUNK,)
        Scratch.
    counter
        From `new_counter`: deals out the parts.
    sums : (parts * 2 * (curves * 4 + curves * cells * 2 + cells of the result * 2),)
        Of every part, in two portions to be added: the gradient to the mix; for every cell of the curves, and of the result,
        the sum of the gradients to values in it and the sum of these times their fractions. Need not be zero at the start.
    """
    count_pictures, pixels = extent
    chunks = (pixels + CHUNK - 1) // CHUNK
    total = count_pictures * chunks
    number = _U(len(mix)) // _U(4)
    entries = _U(len(curves)) // number
    twin = _U(len(sums) // parts // 2)
    cells, last = _I(entries - _U(1)), _I(len(result) - 1)
    for worker in prange(workers):
        at, to = _U(3 * CHUNK) * _U(worker), _CHUNK * _U(worker)
        place = to * (number + _U(1))
        totals = place + number * _CHUNK
        while True:
            part = take_next(counter)
            if part >= parts:
                break
            first = _U(part) * _U(2) * twin
            of_curves = first + _U(4) * number
            of_result = of_curves + _U(2) * number * _U(cells)
            for x in range(first, first + _U(2) * twin):
                sums[x] = _D(0)
            for chunk in range(part * total // parts, (part + 1) * total // parts):
                picture = chunk // chunks
                start = (chunk - picture * chunks) * CHUNK
                count = _U(min(CHUNK, pixels - start))
                guide = _U(picture * pixels + start)
                _read_units(pictures, _U(picture * 3 * pixels + start), _U(pixels), units, at, count)
                for x in range(count):
                    slopes[to + x] = gradient[guide + x]
                for curve in range(number):
                    own = place + curve * _CHUNK
                    place_arguments(units, at, _1, mix, curve * _U(4), _F(cells), positions, own, count)
                    add_curve(curves, curve * entries, cells, positions, own, positions, totals, count, curve == _U(0))
                for x in range(count):
                    positions[totals + x] = positions[totals + x] * _F(last)
                _share_curve(
                    result,
                    _U(0),
                    last,
                    positions,
                    totals,
                    slopes,
                    slopes,
                    to,
                    places,
                    products,
                    sums,
                    of_result,
                    twin,
                    count,
                )
                for curve in range(number):
                    _share_curve(
                        curves,
                        curve * entries,
                        cells,
                        positions,
                        place + curve * _CHUNK,
                        slopes,
                        steps,
                        to,
                        places,
                        products,
                        sums,
                        of_curves + _U(2) * curve * _U(cells),
                        twin,
                        count,
                    )
                    _share_mix(units, at, steps, to, sums, first + curve * _U(4), count)
