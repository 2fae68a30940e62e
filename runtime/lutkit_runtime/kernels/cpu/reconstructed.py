"""Reconstructed convolution under the rotation ensemble: codes of the four turns at once, and their gradients.

Floor 4: imports the op and the primitives. The reference is `ReconstructedConvolution.reference` under `Ensemble`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.reconstructed_convolution import CENTRE, HIGHEST, VALUES, ReconstructedConvolution
from lutkit_runtime.padding import Padding


def code_maps(
    op: ReconstructedConvolution,
    table: NDArray[Any],
    thresholds: NDArray[np.int32],
    planes: NDArray[np.uint8],
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """Return the codes of every turn (4, N, H, W), turned back; bit-identical with the op on turned planes."""
    return code_maps_and_sums(op, table, thresholds, planes, threads)[0]


def code_maps_and_sums(
    op: ReconstructedConvolution,
    table: NDArray[Any],
    thresholds: NDArray[np.int32],
    planes: NDArray[np.uint8],
    threads: int | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the codes of every turn and the sums that they stand for, both (4, N, H, W)."""
    sums = np.stack(
        [np.rot90(op.sums(np.rot90(planes, turn, axes=(-2, -1)), table), -turn, axes=(-2, -1)) for turn in range(TURNS)]
    ).astype(np.int32)
    return np.searchsorted(thresholds.reshape(-1), sums, side="right").astype(np.uint8), sums


def code_maps_gradient(
    op: ReconstructedConvolution,
    table: NDArray[Any],
    planes: NDArray[np.uint8],
    maps: NDArray[np.uint8],
    sums: NDArray[np.int32],
    gradient: NDArray[np.float32],
    *,
    parts: int = 2,
    with_planes: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradients to the tables (N**2 * 256, 1) and to the planes (N, H, W)."""
    outward = ((maps == 0) & (gradient > 0)) | ((maps == HIGHEST) & (gradient < 0))
    slopes = np.where(outward, 0, gradient * (CENTRE / op.unit) * (1 - np.tanh(sums / op.unit) ** 2))
    values = table.reshape(op.positions, VALUES).astype(np.float64)
    rises = np.gradient(values, axis=1)
    to_table = np.zeros(values.shape)
    to_planes = np.zeros(planes.shape)
    height, width = planes.shape[1:]
    for turn in range(TURNS):
        for position, (row, column) in enumerate(op.offsets):
            for _ in range(turn):
                row, column = column, -row
            rows = np.clip(np.arange(height) + row, 0, height - 1)
            columns = np.clip(np.arange(width) + column, 0, width - 1)
            read = planes[:, rows[:, None], columns]
            to_table[position] += np.bincount(read.reshape(-1), slopes[turn].reshape(-1), VALUES)
            if with_planes:
                np.add.at(to_planes, (slice(None), rows[:, None], columns), slopes[turn] * rises[position][read])
    planes_part = to_planes if with_planes else np.zeros((0, 0, 0))
    return to_table.reshape(-1, 1).astype(np.float32), planes_part.astype(np.float32)
