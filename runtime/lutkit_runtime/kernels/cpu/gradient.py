"""Backward pass of a fused stage (rotation ensemble of lookups, requantised), for finetuning tables.

Floor 4: imports ops and the primitives. The reference is automatic differentiation of the ops with these rules:
rounding passes gradients unchanged; a code at 0 or 255 passes only gradients that would move it back inside.

The gradient to a table entry is its interpolation weight times the gradient of the sum. The gradient to a sample is the
difference of the two vertices between which the simplex walk steps along that sample's axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.gradient_lines import accumulate_lines
from lutkit_runtime.kernels.cpu.stage import Stage, describe_lookups, pad_planes
from lutkit_runtime.kernels.cpu.stage_lines import CHUNK, VERTICES
from lutkit_runtime.ops.ensemble import TURNS


def stage_gradient(
    stage: Stage,
    tables: Sequence[NDArray[np.int8]],
    planes: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    gradient: NDArray[np.float32],
    *,
    parts: int = 2,
    with_planes: bool = True,
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the gradients to the tables and to the input planes of one stage.

    Parameters
    ----------
    stage : Stage
    tables : sequence of int8, (entries, block**2)
        One per lookup, in their order.
    planes : uint8, (N, H, W)
        What the stage read.
    codes : uint8, (N, H * block, W * block)
        What it made of it.
    gradient : float32, (N, H * block, W * block), C-contiguous
        Gradient to the codes.
    parts : int
        The planes are worked on in this many parts at once; the order of additions depends on it alone.
    with_planes : bool
        Whether the gradient to the planes is wanted; otherwise it is an empty array.

    Returns
    -------
    table_gradients : list of float32, (entries, block**2)
        One per lookup.
    plane_gradient : float32, (N, H, W)
    """
    count, height, width = planes.shape
    reach = stage.reach
    parts = max(1, min(parts, count))
    padded = pad_planes(planes, reach, stage.padding)
    joined = np.concatenate([table.reshape(-1) for table in tables])
    sums = np.zeros((parts, joined.size), np.float32)
    plane_sums = np.zeros(padded.shape if with_planes else (0, 0, 0), np.float32)
    with limit_threads(parts):
        accumulate_lines(
            padded.reshape(-1),
            (count, height, width, reach),
            codes.reshape(-1),
            gradient.reshape(-1),
            joined,
            *describe_lookups(stage, width + 2 * reach),
            (stage.interval, int(stage.interpolation is Interpolation.SRLUT)),
            np.float32(1.0 / stage.requantise.divisor),
            with_planes,
            (0,) * stage.block,
            np.empty(parts * CHUNK * VERTICES, np.int32),
            np.empty(parts * CHUNK * VERTICES, np.int32),
            np.empty(parts * CHUNK * VERTICES, np.float32),
            np.empty(parts * CHUNK * TURNS * stage.block**2, np.float32),
            parts,
            sums.reshape(-1),
            plane_sums.reshape(-1),
        )
    total = sums[0]
    for part in sums[1:]:
        total += part
    ends = np.cumsum([table.size for table in tables])[:-1]
    to_tables = [part.reshape(table.shape) for part, table in zip(np.split(total, ends), tables, strict=True)]
    return to_tables, _fold(plane_sums, stage, height, width)


def _fold(padded: NDArray[np.float32], stage: Stage, height: int, width: int) -> NDArray[np.float32]:
    """Add what padding pixels received to the pixels they stand for."""
    if padded.size == 0:
        return padded
    reach = stage.reach
    rows = stage.padding.index(height, reach, reach)
    columns = stage.padding.index(width, reach, reach)
    half = padded[:, reach : reach + height].copy()
    for source in (*range(reach), *range(reach + height, height + 2 * reach)):
        half[:, rows[source]] += padded[:, source]
    whole = half[:, :, reach : reach + width].copy()
    for source in (*range(reach), *range(reach + width, width + 2 * reach)):
        whole[:, :, columns[source]] += half[:, :, source]
    return whole
