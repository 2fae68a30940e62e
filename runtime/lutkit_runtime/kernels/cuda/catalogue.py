"""Every CUDA kernel there is, for what must hold for all of them. Imports the kernels, and with them numba-cuda."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lutkit_runtime.kernels.cuda import (
    axis_gradient,
    axis_lookup,
    bilateral_lines,
    colour_float,
    colour_mixing,
    colour_packed,
    fixed_point,
    illumination,
    images,
    plane_lines,
    stage_gradient_lines,
    stage_lines,
    table_fusion,
    window,
    window_gradient,
)
from lutkit_runtime.kernels.cuda.compiling import Kernel, list_kernels


def every_kernel() -> Iterator[Kernel]:
    """Yield every kernel, and of those that are made for a number, one for every number."""
    yield from list_kernels(
        (
            plane_lines,
            stage_lines,
            window,
            axis_lookup,
            images,
            illumination,
            colour_float,
            colour_mixing,
            colour_packed,
            bilateral_lines,
            table_fusion,
            fixed_point,
            stage_gradient_lines,
            window_gradient,
            axis_gradient,
        )
    )


def list_training_cases() -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yield name, group and what compiles it of every kernel: those of training, and whatever programs may hold."""
    for kernel in every_kernel():
        yield kernel.name, "kernels", kernel.compile
