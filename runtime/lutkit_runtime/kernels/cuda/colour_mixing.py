# pyright: basic
"""The CUDA kernels of what happens to colours outside of lookups: matrix, blend, depth. Imports colour_places, picture_walk.

References: `ColourMatrix.transform`, `Blend.mix`, `to_unit` and `scale_to_depth`. What leaves a kernel as float32 keeps
the alpha as it was, unscaled, so that the last one can give it back.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

from lutkit_runtime.kernels.cuda.colour_places import Depth, make_alpha, make_base, make_finish, make_unit, mix
from lutkit_runtime.kernels.cuda.compiling import Kernel, cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.picture_walk import Layout, make_walk, make_walk_over_two
from lutkit_runtime.kernels.cuda.rounding import add, multiply

_I = np.int32


@device_function
def _mix_row(red, green, blue, matrix, offset):
    total = add(multiply(red, matrix[0]), multiply(green, matrix[1]))
    return add(add(total, multiply(blue, matrix[2])), offset)


@functools.cache
def make_matrix(depth: Depth, layout: Layout) -> Kernel:
    """Return the kernel of a matrix: pixels, samples, three rows and the offset, float32 result."""
    unit = make_unit(depth)

    @device_function
    def change(r, g, b, rest):
        row_r, row_g, row_b, offset = rest
        red, green, blue = unit(r), unit(g), unit(b)
        return (
            _mix_row(red, green, blue, row_r, offset[0]),
            _mix_row(red, green, blue, row_g, offset[1]),
            _mix_row(red, green, blue, row_b, offset[2]),
        )

    walk = make_walk(layout, change, make_alpha(Depth.FLOAT32))
    triple = "UniTuple(float32, 3)"

    @kernel(
        f"int32, {depth.value}[::1], {triple}, {triple}, {triple}, {triple}, float32[::1]",
        name=f"colour matrix, {layout.name} {depth.value}",
    )
    def transform(count, pixels, samples, row_r, row_g, row_b, offset, out):
        thread = _I(cuda.grid(1))
        if thread < count:
            walk(thread, count, pixels, samples, (row_r, row_g, row_b, offset), out)

    return transform


@functools.cache
def make_conversion(depth: Depth, made: Depth, layout: Layout) -> Kernel:
    """Return the kernel that converts a picture: pixels, samples, result.

    From float32 to codes, or from codes to float32; alpha keeps its number.
    """
    convert = make_unit(depth) if made is Depth.FLOAT32 else make_finish(made)

    @device_function
    def change(r, g, b, rest):
        return convert(r), convert(g), convert(b)

    walk = make_walk(layout, change, make_alpha(made))

    @kernel(
        f"int32, {depth.value}[::1], {made.value}[::1]",
        name=f"colours, {layout.name} {depth.value} to {made.value}",
    )
    def run_conversion(count, pixels, samples, out):
        thread = _I(cuda.grid(1))
        if thread < count:
            walk(thread, count, pixels, samples, (count,), out)

    return run_conversion


@functools.cache
def make_blend(depth: Depth, layout: Layout) -> Kernel:
    """Return the kernel of a blend: pixels, samples of the base, float32 changed ones, amount, result like the base."""
    base, finish = make_base(depth), make_finish(depth)

    @device_function
    def change(r, g, b, red, green, blue, rest):
        (amount,) = rest
        return (
            finish(mix(base(r), red, amount)),
            finish(mix(base(g), green, amount)),
            finish(mix(base(b), blue, amount)),
        )

    walk = make_walk_over_two(layout, change)

    @kernel(
        f"int32, {depth.value}[::1], float32[::1], float32, {depth.value}[::1]",
        name=f"blend, {layout.name} {depth.value}",
    )
    def run_blend(count, pixels, samples, changed, amount, out):
        thread = _I(cuda.grid(1))
        if thread < count:
            walk(thread, count, pixels, samples, changed, (amount,), out)

    return run_blend


CODES_OF = (Depth.UINT8, Depth.UINT16)

VARIANTS = (
    *(functools.partial(make_matrix, *each) for each in itertools.product(Depth, Layout)),
    *(functools.partial(make_blend, *each) for each in itertools.product(Depth, Layout)),
    *(
        functools.partial(make_conversion, *pair, layout)
        for codes, layout in itertools.product(CODES_OF, Layout)
        for pair in ((codes, Depth.FLOAT32), (Depth.FLOAT32, codes))
    ),
)
