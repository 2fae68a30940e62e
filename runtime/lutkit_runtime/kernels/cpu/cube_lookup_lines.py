# pyright: basic
"""The forward kernel of a colour lookup that is trained: planar float32. `cube_gradient` prepares its arguments.

Imports Numba, the vectors of four and the dealing of work. A chunk of pixels is located first, in planes, which LLVM
vectorises; then, pixel by pixel, a node is one vector of four: three channels and a zero. The parts of a kernel are left
to LLVM to inline: done by Numba, it takes twice as long to compile and gains nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import compile_kernel
from lutkit_runtime.kernels.cpu.dealing import take_next
from lutkit_runtime.kernels.cpu.four_floats import load, spread, store, transpose

CHUNK = 128
"""Pixels that are located at once; a multiple of 4."""

BLOCK = 32
"""Chunks that a thread takes at a time on the way forward."""

PLACES, FACTORS, SHADES = 4 * CHUNK, 4 * CHUNK, 16 * CHUNK
"""Scratch per thread: node addresses (int32), fractions or weights (float32), colours and slopes (float32)."""

NODES_AT_ONCE = 1024

_I = np.int32
_U = np.uint64
_F = np.float32
_ZERO, _ONE = np.float32(0), np.float32(1)
_1, _2, _3 = (_U(k * CHUNK) for k in range(1, 4))
_FOUR = _U(4)


@njit(error_model="numpy")
def _clip(position, last):
    return (last if position > last else position) if position > _ZERO else _ZERO


@njit(error_model="numpy")
def round_up(count):
    """Return the next multiple of 4."""
    return (count + _U(3)) // _FOUR * _FOUR


@njit(error_model="numpy")
def locate_chunk(pictures, line, pixels, count, size, scale, last, places, at, factors, to):
    """Twin of `locate`, for a chunk that is filled up to a multiple of 4 pixels with black.

    Leaves the address of the first node in places[at:] and three planes of fractions in factors[to:].
    """
    cell = _I(size - 2)
    green, blue = _I(4 * size), _I(4 * size * size)
    green_line = line + pixels
    blue_line = green_line + pixels
    for x in range(count):
        r = _clip(pictures[line + x] * scale, last)
        g = _clip(pictures[green_line + x] * scale, last)
        b = _clip(pictures[blue_line + x] * scale, last)
        i, j, k = min(_I(r), cell), min(_I(g), cell), min(_I(b), cell)
        places[at + x] = _I(_I(_I(i * _I(4)) + _I(j * green)) + _I(k * blue))
        factors[to + x] = r - _F(i)
        factors[to + _1 + x] = g - _F(j)
        factors[to + _2 + x] = b - _F(k)
    for x in range(count, round_up(count)):
        places[at + x] = _I(0)
        factors[to + x] = _ZERO
        factors[to + _1 + x] = _ZERO
        factors[to + _2 + x] = _ZERO


@njit(error_model="numpy")
def walk_chunk(count, size, places, at, factors, to):
    """Twin of `walk_tetrahedron`: turns a chunk's fractions into four planes of weights.

    The distances from the first node to the second and the third are left behind the first node's addresses.
    """
    for x in range(round_up(count)):
        most, middle, least = factors[to + x], factors[to + _1 + x], factors[to + _2 + x]
        first, second, third = _I(4), _I(4 * size), _I(4 * size * size)
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


@njit(error_model="numpy")
def _mix_four(nodes, base, green, blue, places, at, factors, to, x):
    """Twin of `_interpolate_tetrahedral` for one pixel."""
    first = base + _U(places[at + x])
    total = spread(factors[to + x]) * load(nodes, first)
    total = total + spread(factors[to + _1 + x]) * load(nodes, first + _U(places[at + _1 + x]))
    total = total + spread(factors[to + _2 + x]) * load(nodes, first + _U(places[at + _2 + x]))
    return total + spread(factors[to + _3 + x]) * load(nodes, first + _FOUR + green + blue)


@njit(error_model="numpy")
def _mix_eight(nodes, base, green, blue, places, at, factors, to, x):
    """Twin of `_interpolate_trilinear` for one pixel."""
    first = base + _U(places[at + x])
    red, across, deep = spread(factors[to + x]), spread(factors[to + _1 + x]), spread(factors[to + _2 + x])
    near = load(nodes, first)
    near = near + red * (load(nodes, first + _FOUR) - near)
    far = load(nodes, first + green)
    far = far + red * (load(nodes, first + green + _FOUR) - far)
    below = near + across * (far - near)
    first += blue
    near = load(nodes, first)
    near = near + red * (load(nodes, first + _FOUR) - near)
    far = load(nodes, first + green)
    far = far + red * (load(nodes, first + green + _FOUR) - far)
    above = near + across * (far - near)
    return below + deep * (above - below)


@compile_kernel(parallel=True)
def look_up_lines(
    pictures: NDArray[np.float32],
    extent: tuple[int, int, int],
    nodes: NDArray[np.float32],
    cubes: int,
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
    cubes
        N, or 1 for all pictures.
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
                step = _U(pixels)
                line = _U(picture * 3 * pixels + start)
                base = _U(picture if cubes > 1 else 0) * blue * _U(size)
                locate_chunk(pictures, line, step, count, size, scale, last, places, at, factors, to)
                if tetrahedral:
                    walk_chunk(count, size, places, at, factors, to)
                    for x in range(round_up(count)):
                        colour = _mix_four(nodes, base, green, blue, places, at, factors, to, x)
                        store(shades, shade + x * _FOUR, colour)
                else:
                    for x in range(round_up(count)):
                        colour = _mix_eight(nodes, base, green, blue, places, at, factors, to, x)
                        store(shades, shade + x * _FOUR, colour)
                for x in range(_U(0), count // _FOUR * _FOUR, _FOUR):
                    own = shade + x * _FOUR
                    reds, greens, blues, _ = transpose(
                        load(shades, own),
                        load(shades, own + _U(4)),
                        load(shades, own + _U(8)),
                        load(shades, own + _U(12)),
                    )
                    store(result, line + x, reds)
                    store(result, line + step + x, greens)
                    store(result, line + _U(2) * step + x, blues)
                for x in range(count // _FOUR * _FOUR, count):
                    result[line + x] = shades[shade + x * _FOUR]
                    result[line + step + x] = shades[shade + x * _FOUR + _U(1)]
                    result[line + _U(2) * step + x] = shades[shade + x * _FOUR + _U(2)]
            block = take_next(counter)


@compile_kernel(parallel=True)
def pad_lines(planes: NDArray[np.float32], cubes: int, entries: int, nodes: NDArray[np.float32]) -> None:
    """Turn planes (cubes * 3 * entries,) into nodes (cubes * entries * 4,) with a zero behind every three channels."""
    blocks = (entries + NODES_AT_ONCE - 1) // NODES_AT_ONCE
    for row in prange(cubes * blocks):
        cube = row // blocks
        start = (row - cube * blocks) * NODES_AT_ONCE
        plane, to = _U(cube * 3 * entries), _U(cube * entries)
        for entry in range(_U(start), _U(min(entries, start + NODES_AT_ONCE))):
            node = (to + entry) * _FOUR
            nodes[node] = planes[plane + entry]
            nodes[node + _U(1)] = planes[plane + _U(entries) + entry]
            nodes[node + _U(2)] = planes[plane + _U(2 * entries) + entry]
            nodes[node + _U(3)] = _ZERO
