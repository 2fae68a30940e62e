# pyright: basic
"""The CUDA kernels of a colour lookup in float32. Imports colour_places, cube_mixing and picture_walk.

The reference is `BoundLookup.finish` and `BoundLookup.look_up`, with `Blend.mix` after them on demand. `VARIANTS` makes
the kernels of all kinds.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.kernels.cuda.colour_places import (
    CODES,
    ENTRIES,
    Depth,
    follow_curves,
    make_alpha,
    make_base,
    make_finish,
    mix,
    place_colour,
)
from lutkit_runtime.kernels.cuda.compiling import Kernel, cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.cube_mixing import mix_cell, mix_tetrahedron
from lutkit_runtime.kernels.cuda.picture_walk import Layout, make_walk

_I, _F = np.int32, np.float32
_GREEN, _BLUE = _I(CODES), _I(2 * CODES)

_WAYS = {CubeInterpolation.TETRAHEDRAL: mix_tetrahedron, CubeInterpolation.TRILINEAR: mix_cell}


def _make_change(depth: Depth, way: CubeInterpolation | None, finishes: bool) -> Any:
    """Return a device function: what becomes of a pixel."""
    from_table, in_cube = depth is Depth.UINT8, way is not None
    mix_nodes = _WAYS[way or CubeInterpolation.TETRAHEDRAL]
    base, finish = make_base(depth), make_finish(depth if finishes else Depth.FLOAT32)

    @device_function
    def change(r, g, b, rest):
        codes, curves, entries, curve_axes, axes, nodes, size, amount, blends = rest
        if from_table:
            red, green, blue = codes[_I(r)], codes[_I(_GREEN + _I(g))], codes[_I(_BLUE + _I(b))]
        else:
            red, green, blue = _F(r), _F(g), _F(b)
            if entries > 0:
                red, green, blue = follow_curves(red, green, blue, curves, entries, curve_axes)
            if in_cube:
                red, green, blue = place_colour(red, green, blue, axes)
        if in_cube:
            red, green, blue = mix_nodes(red, green, blue, nodes, size)
        if blends:
            red, green, blue = mix(base(r), red, amount), mix(base(g), green, amount), mix(base(b), blue, amount)
        return finish(red), finish(green), finish(blue)

    return change


@functools.cache
def make_lookup(depth: Depth, way: CubeInterpolation | None, layout: Layout, finishes: bool) -> Kernel:
    """Return the kernel of a lookup.

    Its arguments, after the number of threads: the number of pixels; samples; for 8 bits the position of every code on
    the axes of the cube, or its value where there is none, one channel after the other; curves likewise, of so many
    entries, 0 for none, and their axes: scale, shift and last position, red, green, blue each; the axes of the cube, its
    nodes in rows of four, and how many there are per axis; a share of the result, the rest being what the samples were,
    and whether that is so; the result.

    Parameters
    ----------
    depth : Depth
        Of the samples.
    way : CubeInterpolation or None
        None where there is no cube.
    layout : Layout
    finishes : bool
        The result has the depth of the samples; else it is float32, with the alpha as it was.
    """
    made = depth if finishes else Depth.FLOAT32
    from_table = depth is Depth.UINT8
    walk = make_walk(layout, _make_change(depth, way, finishes), make_alpha(made))

    @kernel(
        f"int32, {depth.value}[::1], float32[::1], float32[::1], int32, UniTuple(float32, 9), UniTuple(float32, 9), "
        f"float32[::1], int32, float32, int32, {made.value}[::1]",
        name=f"colour lookup, {layout.name} {depth.value} to {made.value}, {way.value if way else 'no cube'}",
    )
    def look_up(count, pixels, samples, positions, curves, entries, curve_axes, axes, nodes, size, amount, blends, out):
        codes = positions
        if from_table:
            codes = cuda.shared.array(ENTRIES, np.float32)
            code = _I(cuda.threadIdx.x)
            while code < ENTRIES:
                codes[code] = positions[code]
                code = _I(code + _I(cuda.blockDim.x))
            cuda.syncthreads()
        thread = _I(cuda.grid(1))
        if thread < count:
            rest = (codes, curves, entries, curve_axes, axes, nodes, size, amount, blends)
            walk(thread, count, pixels, samples, rest, out)

    return look_up


VARIANTS = tuple(
    functools.partial(make_lookup, depth, way, layout, finishes)
    for depth, way, layout, finishes in itertools.product(Depth, (None, *CubeInterpolation), Layout, (True, False))
    if finishes or depth is not Depth.FLOAT32
)
