# pyright: basic
"""The CUDA kernels of a colour lookup in packed integers, for 8-bit pictures. Imports colour_places and picture_walk.

The reference is `BoundLookup.look_up_packed`. A node is a 64-bit word of three channels, which one load fetches and one
multiplication weighs.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.cube import PACKED_SHIFT, PACKED_WEIGHT, pack_nodes
from lutkit_runtime.kernels.cuda.colour_places import CODES, ENTRIES, Depth, make_alpha
from lutkit_runtime.kernels.cuda.compiling import Kernel, cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.picture_walk import Layout, make_walk
from lutkit_runtime.ops.colour_lookup import BoundLookup

FRACTION_BITS = 9
"""Of an entry of the table of codes: row << 9 | fraction; rows are below 2**22."""

STRIDE_BITS = 15
"""Of a sort key: fraction << 15 | distance of neighbours, of which the largest is 129**2."""

_I, _U, _W = np.int32, np.uint32, np.uint64
_GREEN, _BLUE = _I(CODES), _I(2 * CODES)
_WHOLE = _I(PACKED_WEIGHT)
_FRACTION, _STRIDE = _I((1 << FRACTION_BITS) - 1), _I((1 << STRIDE_BITS) - 1)
_HALF = sum(_W(1 << (PACKED_SHIFT - 1)) << _W(21 * channel) for channel in range(3))
_RED_SHIFT, _GREEN_SHIFT, _BLUE_SHIFT = _W(PACKED_SHIFT), _W(PACKED_SHIFT + 21), _W(PACKED_SHIFT + 42)
_BYTE = _W(0xFF)


@device_function
def _sum_nodes(r, g, b, rest):
    """Twin of `interpolate_packed`: a fraction of 1 is taken as 0 of the next cell, which gives the same sum."""
    codes, nodes, size = rest
    plane = _I(size * size)
    red, green, blue = codes[_I(r)], codes[_I(_GREEN + _I(g))], codes[_I(_BLUE + _I(b))]
    row = _I(_I((red >> _I(FRACTION_BITS)) + (green >> _I(FRACTION_BITS))) + (blue >> _I(FRACTION_BITS)))
    red = _I(_I((red & _FRACTION) << _I(STRIDE_BITS)) | _I(1))
    green = _I(_I((green & _FRACTION) << _I(STRIDE_BITS)) | size)
    blue = _I(_I((blue & _FRACTION) << _I(STRIDE_BITS)) | plane)
    high, low = max(red, green), min(red, green)
    most, rest_of = max(high, blue), min(high, blue)
    middle, least = max(low, rest_of), min(low, rest_of)
    second = _I(row + (most & _STRIDE))
    third = _I(second + (middle & _STRIDE))
    fourth = _I(third + (least & _STRIDE))
    most, middle, least = most >> _I(STRIDE_BITS), middle >> _I(STRIDE_BITS), least >> _I(STRIDE_BITS)
    # what is unsigned needs no look at its sign, as other indices do
    total = _W(_HALF + _W(_W(_I(_WHOLE - most)) * nodes[_U(row)]))
    total = _W(total + _W(_W(_I(most - middle)) * nodes[_U(second)]))
    total = _W(total + _W(_W(_I(middle - least)) * nodes[_U(third)]))
    total = _W(total + _W(_W(least) * nodes[_U(fourth)]))
    return (
        np.uint8((total >> _RED_SHIFT) & _BYTE),
        np.uint8((total >> _GREEN_SHIFT) & _BYTE),
        np.uint8((total >> _BLUE_SHIFT) & _BYTE),
    )


@functools.cache
def make_packed_lookup(layout: Layout) -> Kernel:
    """Return the kernel for pictures of a layout.

    Its arguments, after the number of threads: the number of pixels; samples; the table of codes; nodes, and how many
    there are per axis; the result.
    """
    walk = make_walk(layout, _sum_nodes, make_alpha(Depth.UINT8))

    @kernel(
        "int32, uint8[::1], int32[::1], uint64[::1], int32, uint8[::1]", name=f"packed colour lookup, {layout.name}"
    )
    def look_up(count, pixels, samples, table, nodes, size, out):
        codes = cuda.shared.array(ENTRIES, np.int32)
        code = _I(cuda.threadIdx.x)
        while code < ENTRIES:
            codes[code] = table[code]
            code = _I(code + _I(cuda.blockDim.x))
        cuda.syncthreads()
        thread = _I(cuda.grid(1))
        if thread < count:
            walk(thread, count, pixels, samples, (codes, nodes, size), out)

    return look_up


VARIANTS = tuple(functools.partial(make_packed_lookup, layout) for layout in Layout)


def tabulate_codes(bound: BoundLookup) -> NDArray[np.int32]:
    """Return where every code of red, of green and of blue leads, (768,): row << 9 | fraction."""
    assert bound.op.cube is not None
    size = bound.op.cube.size
    cells, fractions = bound.split_codes()
    # curves that are not numbers somewhere must not lead out of the cube
    positions = (cells * PACKED_WEIGHT + fractions).clip(0, (size - 1) * PACKED_WEIGHT)
    rows = (positions // PACKED_WEIGHT) * np.array([1, size, size * size])
    return np.ascontiguousarray((rows << FRACTION_BITS | positions % PACKED_WEIGHT).T).reshape(-1).astype(np.int32)


def join_words(bound: BoundLookup) -> NDArray[np.uint64]:
    """Return the words of the nodes, and what is read beyond the last one with weight 0."""
    assert bound.op.cube is not None and bound.cube is not None
    size = bound.op.cube.size
    beyond: Any = np.zeros(1 + size + size**2, np.uint64)
    return np.concatenate([pack_nodes(bound.cube), beyond])
