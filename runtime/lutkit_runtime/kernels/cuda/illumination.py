# pyright: basic
"""Illumination on the GPU: the kernel, and what prepares and runs it. Imports memory, mixing and the pieces of kernels.

The reference is `BoundIllumination.illuminate`. The table is one of rows of a node and the step to the next one, as those
of a guide are: one access, and no bound on the last cell.
"""

from __future__ import annotations

import functools

import numpy as np

from lutkit_runtime.kernels.cuda.bilateral_guide import follow, saturate, tabulate_steps
from lutkit_runtime.kernels.cuda.colour import count_threads, make_like
from lutkit_runtime.kernels.cuda.compiling import Kernel, cuda, device_function, kernel
from lutkit_runtime.kernels.cuda.memory import Picture, Session, upload
from lutkit_runtime.kernels.cuda.mixing import widen
from lutkit_runtime.kernels.cuda.picture_walk import Layout, make_walk_over_two
from lutkit_runtime.kernels.cuda.rounding import multiply, take_root
from lutkit_runtime.ops.illuminate import ENTRIES, BoundIllumination

_I = np.int32
_CELLS = np.int32(ENTRIES - 1)


@device_function
def _light(red, green, blue, light, _green_light, _blue_light, rest):
    """Twin of `BoundIllumination.illuminate` for a pixel."""
    rows, is_root = rest
    root = saturate(light)
    if not is_root:
        root = take_root(take_root(root))
    power = follow(root, rows, _I(0), _CELLS)
    return multiply(red, power), multiply(green, power), multiply(blue, power)


@functools.cache
def make_illumination(layout: Layout) -> Kernel:
    """Return the kernel: pixels, reflectance, illumination, rows of the table, whether roots are given, result; float32."""
    walk = make_walk_over_two(layout, _light)

    @kernel(
        "int32, float32[::1], float32[::1], float32[::1], int32, float32[::1]",
        name=f"illumination, {layout.name}",
    )
    def run_illumination(count, pixels, reflectance, illumination, rows, is_root, out):
        thread = _I(cuda.grid(1))
        if thread < count:
            walk(thread, count, pixels, reflectance, illumination, (rows, is_root), out)

    return run_illumination


VARIANTS = tuple(functools.partial(make_illumination, layout) for layout in Layout)


class LightOnDevice:
    """An illumination with the table of a gamma on the GPU; may be used from several threads.

    Parameters
    ----------
    bound : BoundIllumination
    """

    def __init__(self, bound: BoundIllumination) -> None:
        self._rows = upload(tabulate_steps(bound.table[:, None]))
        self._is_root = int(bound.is_root)

    def illuminate(self, session: Session, reflectance: Picture, illumination: Picture) -> Picture:
        """Return the lit picture in float32; alpha is that of the reflectance, unscaled."""
        first, second = (widen(session, each) for each in (reflectance, illumination))
        out = make_like(session, first)
        make_illumination(Layout(first.channels)).launch(
            count_threads(first),
            session.stream,
            first.pixels,
            first.flat,
            second.flat,
            self._rows,
            self._is_root,
            out.flat,
        )
        return out
