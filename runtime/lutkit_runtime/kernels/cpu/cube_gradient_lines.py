# pyright: basic
"""The kernels of a colour lookup that is trained: forward and backward. `cube_gradient` prepares their arguments.

Imports Numba, the vectors of four and the dealing of work. A chunk of pixels is located first, in planes, which LLVM
vectorises; then pixel by pixel a node is one vector of four (three channels and a zero). Sums of the cube's gradient
are kept per part of the pictures, never per thread: who works on a part changes nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.four_floats import add_product, load, spread, store, transpose

CHUNK = 128
"""Pixels that are located at once; a multiple of 4."""

BLOCK = 32
"""Chunks that a thread takes at a time on the way forward."""

PLACES, FACTORS, SHADES = 4 * CHUNK, 8 * CHUNK, 8 * CHUNK
"""Scratch per thread: node addresses (int32), fractions or weights and slopes (float32), colours (float32)."""

_I = np.int32
_U = np.uint64
_F = np.float32
_ZERO, _ONE = np.float32(0), np.float32(1)
_1, _2, _3, _4, _5, _6 = (_U(k * CHUNK) for k in range(1, 7))
_FOUR = _U(4)


@njit(inline="always")
def _clip(position, last):
    """Twin of `locate`: not a number counts as 0."""
    return (last if position > last else position) if position > _ZERO else _ZERO


@njit(inline="always")
def _locate(pictures, plane, pixels, start, count, size, scale, last, tetrahedral, places, at, factors, to):
    """Twin of `locate` and `walk_tetrahedron`, for a chunk that is filled up to a multiple of 4 with black.

    Leaves the address of the first node in places[at:]; then for trilinear three fractions in factors[to:], for
    tetrahedral four weights there and the distances to the other three nodes in places.
    """
    cell = _I(size - 2)
    green, blue = _I(4 * size), _I(4 * size * size)
    red_plane = plane + start
    green_plane = red_plane + pixels
    blue_plane = green_plane + pixels
    for x in range(count):
        r = _clip(pictures[red_plane + x] * scale, last)
        g = _clip(pictures[green_plane + x] * scale, last)
        b = _clip(pictures[blue_plane + x] * scale, last)
        i, j, k = min(_I(r), cell), min(_I(g), cell), min(_I(b), cell)
        places[at + x] = _I(_I(_I(i * _I(4)) + _I(j * green)) + _I(k * blue))
        factors[to + x] = r - _F(i)
        factors[to + _1 + x] = g - _F(j)
        factors[to + _2 + x] = b - _F(k)
    for x in range(count, (count + _U(3)) // _FOUR * _FOUR):
        places[at + x] = _I(0)
        factors[to + x] = _ZERO
        factors[to + _1 + x] = _ZERO
        factors[to + _2 + x] = _ZERO
    if tetrahedral:
        for x in range((count + _U(3)) // _FOUR * _FOUR):
            r, g, b = factors[to + x], factors[to + _1 + x], factors[to + _2 + x]
            most, middle, least = r, g, b
            first, second = _I(4), green
            third = blue
            if middle > most:
                most, middle, first, second = middle, most, second, first
            if least > middle:
                middle, least, second, third = least, middle, third, second
            if middle > most:
                most, middle, first, second = middle, most, second, first
            places[at + _1 + x] = first
            places[at + _2 + x] = _I(first + second)
            factors[to + x] = _ONE - most
            factors[to + _1 + x] = most - middle
            factors[to + _2 + x] = middle - least
            factors[to + _3 + x] = least


@njit(inline="always")
def _mix_eight(nodes, address, green, blue, red_share, green_share, blue_share):
    """Twin of `_interpolate_trilinear` for one pixel."""
    near = load(nodes, address)
    near = near + red_share * (load(nodes, address + _FOUR) - near)
    far = load(nodes, address + green)
    far = far + red_share * (load(nodes, address + green + _FOUR) - far)
    below = near + green_share * (far - near)
    address += blue
    near = load(nodes, address)
    near = near + red_share * (load(nodes, address + _FOUR) - near)
    far = load(nodes, address + green)
    far = far + red_share * (load(nodes, address + green + _FOUR) - far)
    above = near + green_share * (far - near)
    return below + blue_share * (above - below)


@njit(inline="always")
def _colour(nodes, base, green, blue, tetrahedral, places, at, factors, to, x):
    """Return the colour of pixel x of a chunk, as four numbers."""
    address = base + _U(places[at + x])
    if tetrahedral:
        total = spread(factors[to + x]) * load(nodes, address)
        total = total + spread(factors[to + _1 + x]) * load(nodes, address + _U(places[at + _1 + x]))
        total = total + spread(factors[to + _2 + x]) * load(nodes, address + _U(places[at + _2 + x]))
        return total + spread(factors[to + _3 + x]) * load(nodes, address + _FOUR + green + blue)
    return _mix_eight(
        nodes,
        address,
        green,
        blue,
        spread(factors[to + x]),
        spread(factors[to + _1 + x]),
        spread(factors[to + _2 + x]),
    )


@compile_kernel(parallel=True)
def look_up_lines(
    pictures: NDArray[np.float32],
    extent: tuple[int, int, int],
    nodes: NDArray[np.float32],
    cube_step: int,
    scale: np.float32,
    last: np.float32,
    tetrahedral: bool,
    places: NDArray[np.int32],
    factors: NDArray[np.float32],
    shades: NDArray[np.float32],
    workers: int,
    counter: NDArray[np.int64],
    result: NDArray[np.float32],
) -> None:
    """Twin of `locate` and `interpolate_cube` for planes.

    Parameters
    ----------
    pictures, result : (N * 3 * pixels,)
    extent
        N, pixels of a picture, nodes per axis.
    nodes : (cubes * size**3 * 4,)
    cube_step
        size**3 * 4 where every picture has its own cube, 0 where all share one.
    scale, last
        Of `locate`, equal for all channels.
    places, factors, shades : (workers * PLACES,) and so on
        Scratch.
    workers
        Threads.
    counter : (1,)
        Of the blocks that have been taken; 0 at the start.
    """
    count_pictures, pixels, size = extent
    chunks = (pixels + CHUNK - 1) // CHUNK
    blocks = (count_pictures * chunks + BLOCK - 1) // BLOCK
    for worker in prange(workers):
        at, to, shade = _U(worker) * _U(PLACES), _U(worker) * _U(FACTORS), _U(worker) * _U(SHADES)
        green, blue = _U(4 * size), _U(4 * size * size)
        block = take_next(counter)
        while block < blocks:
            for chunk in range(block * BLOCK, min((block + 1) * BLOCK, count_pictures * chunks)):
                picture = chunk // chunks
                start = (chunk - picture * chunks) * CHUNK
                count = _U(min(CHUNK, pixels - start))
                plane = _U(picture) * _U(3) * _U(pixels)
                base = _U(picture) * _U(cube_step)
                _locate(
                    pictures,
                    plane,
                    _U(pixels),
                    _U(start),
                    count,
                    size,
                    scale,
                    last,
                    tetrahedral,
                    places,
                    at,
                    factors,
                    to,
                )
                for x in range(_U(0), count, _FOUR):
                    colours = transpose(
                        _colour(nodes, base, green, blue, tetrahedral, places, at, factors, to, x),
                        _colour(nodes, base, green, blue, tetrahedral, places, at, factors, to, x + _U(1)),
                        _colour(nodes, base, green, blue, tetrahedral, places, at, factors, to, x + _U(2)),
                        _colour(nodes, base, green, blue, tetrahedral, places, at, factors, to, x + _U(3)),
                    )
                    store(shades, shade + x, colours[0])
                    store(shades, shade + _1 + x, colours[1])
                    store(shades, shade + _2 + x, colours[2])
                line = plane + _U(start)
                for x in range(count):
                    result[line + x] = shades[shade + x]
                    result[line + _U(pixels) + x] = shades[shade + _1 + x]
                    result[line + _U(2) * _U(pixels) + x] = shades[shade + _2 + x]
            block = take_next(counter)


@njit(inline="always")
def _share_among_four(sums, base, green, blue, places, at, factors, to, x, slope):
    """Add weight times slope to the nodes of a tetrahedron."""
    first = base + _U(places[at + x])
    second, third = first + _U(places[at + _1 + x]), first + _U(places[at + _2 + x])
    fourth = first + _FOUR + green + blue
    store(sums, first, add_product(load(sums, first), spread(factors[to + x]), slope))
    store(sums, second, add_product(load(sums, second), spread(factors[to + _1 + x]), slope))
    store(sums, third, add_product(load(sums, third), spread(factors[to + _2 + x]), slope))
    store(sums, fourth, add_product(load(sums, fourth), spread(factors[to + _3 + x]), slope))


@njit(inline="always")
def _share_along_red(sums, address, red, slope):
    above = spread(red) * slope
    below = slope - above
    store(sums, address, load(sums, address) + below)
    address += _FOUR
    store(sums, address, load(sums, address) + above)


@njit(inline="always")
def _share_among_eight(sums, base, green, blue, places, at, factors, to, x, slope):
    """Add weight times slope to the nodes of a cell; every split into two keeps the sum."""
    address = base + _U(places[at + x])
    red, green_share, blue_share = factors[to + x], spread(factors[to + _1 + x]), spread(factors[to + _2 + x])
    above = blue_share * slope
    below = slope - above
    far = green_share * below
    _share_along_red(sums, address, red, below - far)
    _share_along_red(sums, address + green, red, far)
    address += blue
    far = green_share * above
    _share_along_red(sums, address, red, above - far)
    _share_along_red(sums, address + green, red, far)


@njit(inline="always")
def _differ_among_four(nodes, base, green, blue, places, at, factors, to, x, slope):
    """Return the three steps of the walk through a tetrahedron, each times the slope: most, middle, least."""
    first = base + _U(places[at + x])
    one, two = load(nodes, first + _U(places[at + _1 + x])), load(nodes, first + _U(places[at + _2 + x]))
    most = (one - load(nodes, first)) * slope
    least = (load(nodes, first + _FOUR + green + blue) - two) * slope
    return most, (two - one) * slope, least


@njit(inline="always")
def _differ_among_eight(nodes, base, green, blue, places, at, factors, to, x, slope):
    """Return the derivatives of a trilinear colour along red, green and blue, each times the slope."""
    address = base + _U(places[at + x])
    red, across, deep = spread(factors[to + x]), spread(factors[to + _1 + x]), spread(factors[to + _2 + x])
    near = load(nodes, address)
    near_step = load(nodes, address + _FOUR) - near
    near = add_product(near, red, near_step)
    far = load(nodes, address + green)
    far_step = load(nodes, address + green + _FOUR) - far
    far = add_product(far, red, far_step)
    below_green = far - near
    below = add_product(near, across, below_green)
    below_red = add_product(near_step, across, far_step - near_step)
    address += blue
    near = load(nodes, address)
    near_step = load(nodes, address + _FOUR) - near
    near = add_product(near, red, near_step)
    far = load(nodes, address + green)
    far_step = load(nodes, address + green + _FOUR) - far
    far = add_product(far, red, far_step)
    above_green = far - near
    above = add_product(near, across, above_green)
    above_red = add_product(near_step, across, far_step - near_step)
    along_red = add_product(below_red, deep, above_red - below_red) * slope
    along_green = add_product(below_green, deep, above_green - below_green) * slope
    return along_red, along_green, (above - below) * slope


@njit(inline="always")
def _sum_channels(a, b, c, d):
    red, green, blue, _ = transpose(a, b, c, d)
    return red + green + blue


@njit(inline="always")
def _gate(position, last, slope):
    """The slope inside the domain, its ends included; 0 outside and where the sample is not a number."""
    return slope if (position >= _ZERO) & (position <= last) else _ZERO


@njit(inline="always")
def _pick(stride, first, second, most, middle, least):
    """The step of the walk that goes along the axis of this stride."""
    return most if first == stride else (middle if second - first == stride else least)


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
    pictures, extent, nodes, scale, last, tetrahedral, places, factors, shades, workers, counter
        As in `look_up_lines`; here parts are counted.
    gradient : like pictures
        To the colours.
    cubes : int
        As many as pictures, or 1.
    parts : int
        The pixels of every cube are divided into so many parts.
    wanted
        Whether `sums` and whether `picture_gradient` is wanted.
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
        nothing = spread(_ZERO)
        part = take_next(counter)
        while part < cubes * parts:
            cube = part // parts
            begin = cube * chunks_per_cube + (part - cube * parts) * chunks_per_cube // parts
            end = cube * chunks_per_cube + (part - cube * parts + 1) * chunks_per_cube // parts
            base, own = _U(cube) * _U(entries), _U(part) * _U(entries)
            if with_cubes:
                for entry in range(own, own + _U(entries)):
                    sums[entry] = _ZERO
            for chunk in range(begin, end):
                picture = chunk // chunks
                start = (chunk - picture * chunks) * CHUNK
                count = _U(min(CHUNK, pixels - start))
                plane = _U(picture) * _U(3) * _U(pixels)
                line, step = plane + _U(start), _U(pixels)
                _locate(
                    pictures,
                    plane,
                    _U(pixels),
                    _U(start),
                    count,
                    size,
                    scale,
                    last,
                    tetrahedral,
                    places,
                    at,
                    factors,
                    to,
                )
                for x in range(count):
                    shades[shade + x] = gradient[line + x]
                    shades[shade + _1 + x] = gradient[line + step + x]
                    shades[shade + _2 + x] = gradient[line + _U(2) * step + x]
                for x in range(count, (count + _U(3)) // _FOUR * _FOUR):
                    shades[shade + x] = _ZERO
                    shades[shade + _1 + x] = _ZERO
                    shades[shade + _2 + x] = _ZERO
                for x in range(_U(0), count, _FOUR):
                    slopes = transpose(
                        load(shades, shade + x), load(shades, shade + _1 + x), load(shades, shade + _2 + x), nothing
                    )
                    if with_cubes:
                        if tetrahedral:
                            _share_among_four(sums, own, green, blue, places, at, factors, to, x, slopes[0])
                            _share_among_four(sums, own, green, blue, places, at, factors, to, x + _U(1), slopes[1])
                            _share_among_four(sums, own, green, blue, places, at, factors, to, x + _U(2), slopes[2])
                            _share_among_four(sums, own, green, blue, places, at, factors, to, x + _U(3), slopes[3])
                        else:
                            _share_among_eight(sums, own, green, blue, places, at, factors, to, x, slopes[0])
                            _share_among_eight(sums, own, green, blue, places, at, factors, to, x + _U(1), slopes[1])
                            _share_among_eight(sums, own, green, blue, places, at, factors, to, x + _U(2), slopes[2])
                            _share_among_eight(sums, own, green, blue, places, at, factors, to, x + _U(3), slopes[3])
                    if with_pictures:
                        if tetrahedral:
                            a = _differ_among_four(nodes, base, green, blue, places, at, factors, to, x, slopes[0])
                            b = _differ_among_four(
                                nodes, base, green, blue, places, at, factors, to, x + _U(1), slopes[1]
                            )
                            c = _differ_among_four(
                                nodes, base, green, blue, places, at, factors, to, x + _U(2), slopes[2]
                            )
                            d = _differ_among_four(
                                nodes, base, green, blue, places, at, factors, to, x + _U(3), slopes[3]
                            )
                        else:
                            a = _differ_among_eight(nodes, base, green, blue, places, at, factors, to, x, slopes[0])
                            b = _differ_among_eight(
                                nodes, base, green, blue, places, at, factors, to, x + _U(1), slopes[1]
                            )
                            c = _differ_among_eight(
                                nodes, base, green, blue, places, at, factors, to, x + _U(2), slopes[2]
                            )
                            d = _differ_among_eight(
                                nodes, base, green, blue, places, at, factors, to, x + _U(3), slopes[3]
                            )
                        store(shades, shade + _3 + x, _sum_channels(a[0], b[0], c[0], d[0]))
                        store(shades, shade + _4 + x, _sum_channels(a[1], b[1], c[1], d[1]))
                        store(shades, shade + _5 + x, _sum_channels(a[2], b[2], c[2], d[2]))
                if with_pictures:
                    for x in range(count):
                        r, g, b = shades[shade + _3 + x], shades[shade + _4 + x], shades[shade + _5 + x]
                        if tetrahedral:
                            first, second = places[at + _1 + x], places[at + _2 + x]
                            most, middle, least = r, g, b
                            r = _pick(_I(4), first, second, most, middle, least)
                            g = _pick(_I(4 * size), first, second, most, middle, least)
                            b = _pick(_I(4 * size * size), first, second, most, middle, least)
                        picture_gradient[line + x] = _gate(pictures[line + x] * scale, last, r * scale)
                        green_at, blue_at = line + step + x, line + _U(2) * step + x
                        picture_gradient[green_at] = _gate(pictures[green_at] * scale, last, g * scale)
                        picture_gradient[blue_at] = _gate(pictures[blue_at] * scale, last, b * scale)
            part = take_next(counter)


@compile_kernel(parallel=True)
def pad_lines(planes: NDArray[np.float32], cubes: int, entries: int, nodes: NDArray[np.float32]) -> None:
    """Turn planes (cubes * 3 * entries,) into nodes (cubes * entries * 4,) with a zero behind every three channels."""
    for row in prange(cubes * ((entries + 1023) // 1024)):
        blocks = (entries + 1023) // 1024
        cube = row // blocks
        start = (row - cube * blocks) * 1024
        plane, to = _U(cube * 3 * entries), _U(cube * entries)
        for entry in range(_U(start), _U(min(entries, start + 1024))):
            node = (to + entry) * _FOUR
            nodes[node] = planes[plane + entry]
            nodes[node + _U(1)] = planes[plane + _U(entries) + entry]
            nodes[node + _U(2)] = planes[plane + _U(2 * entries) + entry]
            nodes[node + _U(3)] = _ZERO


@compile_kernel(parallel=True)
def gather_lines(sums: NDArray[np.float32], cubes: int, parts: int, entries: int, planes: NDArray[np.float32]) -> None:
    """Add the sums (cubes * parts * entries * 4,) of a cube's parts, in their order, into planes (cubes * 3 * entries,)."""
    for row in prange(cubes * ((entries + 1023) // 1024)):
        blocks = (entries + 1023) // 1024
        cube = row // blocks
        start = (row - cube * blocks) * 1024
        first, to = _U(cube * parts * entries), _U(cube * 3 * entries)
        for entry in range(_U(start), _U(min(entries, start + 1024))):
            red, green, blue = _ZERO, _ZERO, _ZERO
            for part in range(_U(parts)):
                node = (first + part * _U(entries) + entry) * _FOUR
                red += sums[node]
                green += sums[node + _U(1)]
                blue += sums[node + _U(2)]
            planes[to + entry] = red
            planes[to + _U(entries) + entry] = green
            planes[to + _U(2 * entries) + entry] = blue
