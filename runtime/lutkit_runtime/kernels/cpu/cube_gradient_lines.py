# pyright: basic
"""The backward kernel of a colour lookup that is trained. `cube_gradient` prepares its arguments.

Imports Numba, the forward kernel's parts, the vectors of four and the dealing of work. Sums of the cube's gradient are
kept per part of the pictures, never per thread: who works on a part changes nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.cube_lookup_lines import (
    CHUNK,
    FACTORS,
    NODES_AT_ONCE,
    PLACES,
    SHADES,
    locate_chunk,
    round_up,
    walk_chunk,
)
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.four_floats import add_product, load, spread, store, transpose

_I = np.int32
_U = np.uint64
_ZERO = np.float32(0)
_1, _2, _3 = (_U(k * CHUNK) for k in range(1, 4))
_FOUR, _8, _12 = _U(4), _U(8), _U(12)
_STEPS = (_U(4 * CHUNK), _U(8 * CHUNK), _U(12 * CHUNK))
"""Where the derivatives along the three axes, or steps of the walk, stand behind the slopes."""


@njit(error_model="numpy")
def _read_slopes(gradient, line, step, count, shades, shade):
    """Turn a chunk of the gradient to the colours into vectors of four, filled up with zeros."""
    nothing = spread(_ZERO)
    whole = count // _FOUR * _FOUR
    for x in range(_U(0), whole, _FOUR):
        a, b, c, d = transpose(
            load(gradient, line + x), load(gradient, line + step + x), load(gradient, line + _U(2) * step + x), nothing
        )
        own = shade + x * _FOUR
        store(shades, own, a)
        store(shades, own + _FOUR, b)
        store(shades, own + _8, c)
        store(shades, own + _12, d)
    for x in range(whole, round_up(count)):
        own = shade + x * _FOUR
        store(shades, own, nothing)
        if x < count:
            shades[own] = gradient[line + x]
            shades[own + _U(1)] = gradient[line + step + x]
            shades[own + _U(2)] = gradient[line + _U(2) * step + x]


@njit(error_model="numpy")
def _share_among_four(sums, first, green, blue, places, at, factors, to, x, slope):
    """Add weight times slope to the nodes of a tetrahedron."""
    second, third = first + _U(places[at + _1 + x]), first + _U(places[at + _2 + x])
    fourth = first + _FOUR + green + blue
    store(sums, first, add_product(load(sums, first), spread(factors[to + x]), slope))
    store(sums, second, add_product(load(sums, second), spread(factors[to + _1 + x]), slope))
    store(sums, third, add_product(load(sums, third), spread(factors[to + _2 + x]), slope))
    store(sums, fourth, add_product(load(sums, fourth), spread(factors[to + _3 + x]), slope))


@njit(error_model="numpy")
def _share_along_red(sums, near, red, slope):
    above = red * slope
    store(sums, near, load(sums, near) + (slope - above))
    store(sums, near + _FOUR, load(sums, near + _FOUR) + above)


@njit(error_model="numpy")
def _share_among_eight(sums, first, green, blue, factors, to, x, slope):
    """Add weight times slope to the nodes of a cell, split in two along one axis after the other."""
    red, across, deep = spread(factors[to + x]), spread(factors[to + _1 + x]), spread(factors[to + _2 + x])
    above = deep * slope
    below = slope - above
    far = across * below
    _share_along_red(sums, first, red, below - far)
    _share_along_red(sums, first + green, red, far)
    far = across * above
    _share_along_red(sums, first + blue, red, above - far)
    _share_along_red(sums, first + blue + green, red, far)


@njit(error_model="numpy")
def _differ_among_four(nodes, first, green, blue, places, at, x, slope, shades, own):
    """Leave the three steps of the walk through a tetrahedron, each times the slope: most, middle, least."""
    second, third = load(nodes, first + _U(places[at + _1 + x])), load(nodes, first + _U(places[at + _2 + x]))
    store(shades, own + _STEPS[0], (second - load(nodes, first)) * slope)
    store(shades, own + _STEPS[1], (third - second) * slope)
    store(shades, own + _STEPS[2], (load(nodes, first + _FOUR + green + blue) - third) * slope)


@njit(error_model="numpy")
def _differ_on_side(nodes, first, green, red, across):
    """Return the colour between four nodes and its derivatives along red and green."""
    near = load(nodes, first)
    near_step = load(nodes, first + _FOUR) - near
    near = add_product(near, red, near_step)
    far = load(nodes, first + green)
    far_step = load(nodes, first + green + _FOUR) - far
    along_green = add_product(far, red, far_step) - near
    return add_product(near, across, along_green), add_product(near_step, across, far_step - near_step), along_green


@njit(error_model="numpy")
def _differ_among_eight(nodes, first, green, blue, factors, to, x, slope, shades, own):
    """Leave the derivatives of a trilinear colour along red, green and blue, each times the slope."""
    red, across, deep = spread(factors[to + x]), spread(factors[to + _1 + x]), spread(factors[to + _2 + x])
    below, below_red, below_green = _differ_on_side(nodes, first, green, red, across)
    above, above_red, above_green = _differ_on_side(nodes, first + blue, green, red, across)
    store(shades, own + _STEPS[0], add_product(below_red, deep, above_red - below_red) * slope)
    store(shades, own + _STEPS[1], add_product(below_green, deep, above_green - below_green) * slope)
    store(shades, own + _STEPS[2], (above - below) * slope)


@njit(error_model="numpy")
def _sum_channels(shades, own):
    red, green, blue, _ = transpose(
        load(shades, own), load(shades, own + _FOUR), load(shades, own + _8), load(shades, own + _12)
    )
    return red + green + blue


@njit(error_model="numpy")
def _gate(position, last, slope):
    """The slope inside the domain, its ends included; 0 outside and where the sample is not a number."""
    return slope if (position >= _ZERO) & (position <= last) else _ZERO


@njit(error_model="numpy")
def _pick(stride, first, second, most, middle, least):
    """The step of the walk that goes along the axis of this stride."""
    return most if first == stride else (middle if second - first == stride else least)


@njit(error_model="numpy")
def _write_slopes(pictures, line, step, count, size, scale, last, tetrahedral, places, at, shades, shade, result):
    """Write the gradient to the samples of a chunk from its pixels' derivatives."""
    for x in range(_U(0), count, _FOUR):
        own = shade + x * _FOUR
        r = _sum_channels(shades, own + _STEPS[0])
        g = _sum_channels(shades, own + _STEPS[1])
        b = _sum_channels(shades, own + _STEPS[2])
        # The slopes have been used: their room takes three planes.
        store(shades, shade + x, r)
        store(shades, shade + _1 + x, g)
        store(shades, shade + _2 + x, b)
    for x in range(count):
        r, g, b = shades[shade + x], shades[shade + _1 + x], shades[shade + _2 + x]
        if tetrahedral:
            first, second = places[at + _1 + x], places[at + _2 + x]
            most, middle, least = r, g, b
            r = _pick(_I(4), first, second, most, middle, least)
            g = _pick(_I(4 * size), first, second, most, middle, least)
            b = _pick(_I(4 * size * size), first, second, most, middle, least)
        green_at, blue_at = line + step + x, line + _U(2) * step + x
        result[line + x] = _gate(pictures[line + x] * scale, last, r * scale)
        result[green_at] = _gate(pictures[green_at] * scale, last, g * scale)
        result[blue_at] = _gate(pictures[blue_at] * scale, last, b * scale)


@compile_kernel(parallel=True)
def accumulate_lines(
    pictures: NDArray[np.float32],
    extent: tuple[int, int, int],
    nodes: NDArray[np.float32],
    gradient: NDArray[np.float32],
    cubes: int,
    parts: int,
    scale: np.float32,
    last: np.float32,
    tetrahedral: bool,
    wanted: tuple[bool, bool],
    places: NDArray[np.int32],
    factors: NDArray[np.float32],
    shades: NDArray[np.float32],
    workers: int,
    counter: NDArray[np.int64],
    sums: NDArray[np.float32],
    picture_gradient: NDArray[np.float32],
) -> None:
    """Twin of automatic differentiation of a colour lookup.

    Parameters
    ----------
    pictures, extent, nodes, cubes, scale, last, tetrahedral, places, factors, shades, workers
        As in `look_up_lines`.
    gradient : like pictures
        To the colours.
    parts : int
        The pixels of every cube are divided into so many parts.
    wanted
        Whether `sums` and whether `picture_gradient` is wanted.
    counter : (1,)
        Of the parts that have been taken; 0 at the start.
    sums : (cubes * parts * size**3 * 4,), or empty
        Gradient to the nodes, one copy per part; need not be zero at the start.
    picture_gradient : like pictures, or empty
    """
    count_pictures, pixels, size = extent
    with_cubes, with_pictures = wanted
    chunks = (pixels + CHUNK - 1) // CHUNK
    chunks_per_cube = count_pictures // cubes * chunks
    entries = 4 * size * size * size
    for worker in prange(workers):
        at, to, shade = _U(worker) * _U(PLACES), _U(worker) * _U(FACTORS), _U(worker) * _U(SHADES)
        green, blue = _U(4 * size), _U(4 * size * size)
        part = take_next(counter)
        while part < cubes * parts:
            cube = part // parts
            piece = part - cube * parts
            base, sum_base = _U(cube) * _U(entries), _U(part) * _U(entries)
            if with_cubes:
                for entry in range(sum_base, sum_base + _U(entries)):
                    sums[entry] = _ZERO
            for number in range(piece * chunks_per_cube // parts, (piece + 1) * chunks_per_cube // parts):
                chunk = cube * chunks_per_cube + number
                picture = chunk // chunks
                start = (chunk - picture * chunks) * CHUNK
                count, step = _U(min(CHUNK, pixels - start)), _U(pixels)
                line = _U(picture * 3 * pixels + start)
                locate_chunk(pictures, line, step, count, size, scale, last, places, at, factors, to)
                _read_slopes(gradient, line, step, count, shades, shade)
                if tetrahedral:
                    walk_chunk(count, size, places, at, factors, to)
                    for x in range(round_up(count)):
                        own = shade + x * _FOUR
                        slope, place = load(shades, own), _U(places[at + x])
                        if with_cubes:
                            _share_among_four(sums, sum_base + place, green, blue, places, at, factors, to, x, slope)
                        if with_pictures:
                            _differ_among_four(nodes, base + place, green, blue, places, at, x, slope, shades, own)
                else:
                    for x in range(round_up(count)):
                        own = shade + x * _FOUR
                        slope, place = load(shades, own), _U(places[at + x])
                        if with_cubes:
                            _share_among_eight(sums, sum_base + place, green, blue, factors, to, x, slope)
                        if with_pictures:
                            _differ_among_eight(nodes, base + place, green, blue, factors, to, x, slope, shades, own)
                if with_pictures:
                    _write_slopes(
                        pictures,
                        line,
                        step,
                        count,
                        size,
                        scale,
                        last,
                        tetrahedral,
                        places,
                        at,
                        shades,
                        shade,
                        picture_gradient,
                    )
            part = take_next(counter)


@compile_kernel(parallel=True)
def gather_lines(sums: NDArray[np.float32], cubes: int, parts: int, entries: int, planes: NDArray[np.float32]) -> None:
    """Add the sums (cubes * parts * entries * 4,) of a cube's parts, in order, into planes (cubes * 3 * entries,)."""
    blocks = (entries + NODES_AT_ONCE - 1) // NODES_AT_ONCE
    for row in prange(cubes * blocks):
        cube = row // blocks
        start = (row - cube * blocks) * NODES_AT_ONCE
        first, to = _U(cube * parts * entries), _U(cube * 3 * entries)
        for entry in range(_U(start), _U(min(entries, start + NODES_AT_ONCE))):
            node = (first + entry) * _FOUR
            red, green, blue = sums[node], sums[node + _U(1)], sums[node + _U(2)]
            for _ in range(1, parts):
                node += _U(entries) * _FOUR
                red += sums[node]
                green += sums[node + _U(1)]
                blue += sums[node + _U(2)]
            planes[to + entry] = red
            planes[to + _U(entries) + entry] = green
            planes[to + _U(2 * entries) + entry] = blue
