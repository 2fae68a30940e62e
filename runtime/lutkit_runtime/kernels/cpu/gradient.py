"""Backward pass of a fused stage (rotation ensemble of lookups, requantised), for finetuning tables.

Floor 4: imports ops and the primitives. The reference is automatic differentiation of the ops with these rules:
rounding passes gradients unchanged; a code at 0 or 255 passes only gradients that would move it back inside.

The gradient to a table entry is its interpolation weight times the gradient of the sum. The gradient to a sample is the
difference of the two vertices between which the simplex walk steps along that sample's axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.gradient_lines import accumulate_lines
from lutkit_runtime.kernels.cpu.stage_addresses import CHUNK, VERTICES
from lutkit_runtime.kernels.stage_bands import count_rows, gather_gradient
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.kernels.stage_layout import Maps, fold_sources, join_entries, lay_out, pad_sources
from lutkit_runtime.ops.ensemble import TURNS


@dataclass(frozen=True)
class StageGradient:
    """Gradients to what a stage reads.

    Parameters
    ----------
    tables : list of float32, (entries, block**2)
        One per lookup.
    planes : float32, (N, H, W)
        Through the lookups that read the planes themselves; empty where it was not wanted.
    maps : list of float32, (4 turns, N, H, W)
        One per convolution.
    """

    tables: list[NDArray[np.float32]]
    planes: NDArray[np.float32]
    maps: list[NDArray[np.float32]]


def stage_gradient(
    stage: Stage,
    tables: Sequence[NDArray[np.int8]],
    planes: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    gradient: NDArray[np.float32],
    *,
    maps: Maps = (),
    parts: int = 2,
    with_planes: bool = True,
) -> StageGradient:
    """Return the gradients to the tables, to the input planes and to the maps of the convolutions of one stage.

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
    maps : sequence of uint8, (4 turns, N, H, W)
        What the convolutions made of the planes, one per convolution.
    parts : int
        The planes are worked on in this many parts at once; the order of additions depends on it alone.
    with_planes : bool
        Whether the gradient to the planes is wanted.
    """
    count, height, width = planes.shape
    parts = max(1, min(parts, count))
    padded = pad_sources(stage, planes, maps)
    layout = lay_out(stage, padded.shape)
    joined = join_entries(stage, tables)
    sums = np.zeros((parts, joined.size), np.float32)
    wanted = np.array([with_planes or lookup.input != stage.input for lookup in stage.lookups])
    source_sums = np.zeros(padded.shape if wanted.any() else (0, 0, 0, 0), np.float32)
    with limit_threads(parts):
        accumulate_lines(
            padded.reshape(-1),
            (count, height, width, stage.reach),
            codes.reshape(-1),
            gradient.reshape(-1),
            joined,
            layout.bases,
            layout.strides,
            layout.masks,
            layout.offsets,
            layout.arithmetic,
            layout.bands,
            layout.scale,
            np.float32(1.0 / stage.requantise.divisor),
            wanted,
            (0,) * stage.block,
            np.empty(parts * CHUNK * VERTICES, np.int32),
            np.empty(parts * CHUNK * VERTICES, np.int32),
            np.empty(parts * CHUNK * VERTICES, np.float32),
            np.empty(parts * CHUNK * TURNS * stage.block**2, np.float32),
            parts,
            sums.reshape(-1),
            source_sums.reshape(-1),
        )
    total = sums[0]
    for part in sums[1:]:
        total += part
    outputs = stage.block**2
    ends = np.cumsum([count_rows(lookup) * outputs for lookup in stage.lookups])
    parted = (part.reshape(-1, outputs) for part in np.split(total, ends)[:-1])
    to_tables = [gather_gradient(*given) for given in zip(stage.lookups, parted, strict=True)]
    to_planes, to_maps = _split_sources(stage, source_sums, with_planes)
    return StageGradient(to_tables, to_planes, to_maps)


def _split_sources(
    stage: Stage, padded: NDArray[np.float32], with_planes: bool
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return the gradient to the planes and those to the maps from the gradients to the padded sources."""
    if padded.size == 0:
        return padded[0:0].reshape(0, 0, 0), []
    direct = int(stage.reads_input)
    whole = fold_sources(stage, padded[0 if with_planes else direct :])
    maps = len(stage.convolutions)
    to_maps = np.split(whole[len(whole) - TURNS * maps :], maps) if maps else []
    if not with_planes:
        return np.zeros((0, 0, 0), np.float32), to_maps
    return whole[0] if direct else np.zeros(whole.shape[1:], np.float32), to_maps
