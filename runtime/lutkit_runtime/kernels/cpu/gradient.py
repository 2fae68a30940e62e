"""Backward pass of a fused stage (rotation ensemble of lookups, requantised), for finetuning tables.

Floor 4: imports ops and the primitives. The reference is automatic differentiation of the ops with these rules:
rounding passes gradients unchanged; a code at 0 or 255 passes only gradients that would move it back inside.

The gradient to a table entry is its interpolation weight times the gradient of the sum. The gradient to a sample is the
difference of the two vertices between which the simplex walk steps along that sample's axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, prange  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.cpu.stage import Stage
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.pattern import MAX_SAMPLES


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
    lookups = stage.lookups
    count, height, width = planes.shape
    reach = stage.reach
    rows = stage.padding.index(height, reach, reach)
    columns = stage.padding.index(width, reach, reach)
    padded = np.ascontiguousarray(planes[:, rows[:, None], columns[None, :]])
    offsets = np.zeros((len(lookups), TURNS, MAX_SAMPLES), np.int32)
    strides = np.zeros((len(lookups), MAX_SAMPLES), np.int32)
    starts = np.cumsum([0, *(op.lattice.entries for op in lookups)]).astype(np.int32)
    for number, op in enumerate(lookups):
        strides[number, : op.pattern.samples] = op.lattice.strides
        for turns in range(TURNS):
            for axis, (row, column) in enumerate(op.pattern.rotated(turns).offsets):
                offsets[number, turns, axis] = row * padded.shape[2] + column
    parts = max(1, min(parts, count))
    table_parts = np.zeros((parts, int(starts[-1]), stage.block**2), np.float32)
    padded_gradient = np.zeros(padded.shape if with_planes else (0, 0, 0), np.float32)
    _accumulate(
        padded,
        codes,
        gradient,
        np.concatenate(tables),
        offsets,
        strides,
        starts,
        _turned_blocks(stage.block),
        stage.block,
        reach,
        stage.interval,
        stage.interpolation is Interpolation.SRLUT,
        np.float32(1.0 / stage.requantise.divisor),
        with_planes,
        table_parts,
        padded_gradient,
    )
    total = table_parts[0]
    for part in table_parts[1:]:
        total += part
    return np.split(total, starts[1:-1]), _fold(padded_gradient, rows, columns, height, width)


def _turned_blocks(block: int) -> NDArray[np.int64]:
    """Return, per turn, where each value of a looked-up block lands in the upright block; shape (4, block**2)."""
    upright = np.arange(block * block).reshape(block, block)
    return np.stack([np.rot90(upright, turns).ravel() for turns in range(TURNS)])


def _fold(padded: Any, rows: NDArray[np.intp], columns: NDArray[np.intp], height: int, width: int) -> Any:
    """Add what padding pixels received to the pixels they stand for."""
    if padded.size == 0:
        return padded
    half = np.zeros((padded.shape[0], height, padded.shape[2]), np.float32)
    for source, row in enumerate(rows):
        half[:, row] += padded[:, source]
    whole = np.zeros((padded.shape[0], height, width), np.float32)
    for source, column in enumerate(columns):
        whole[:, :, column] += half[:, :, source]
    return whole


@njit(parallel=True, cache=True, boundscheck=False, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def _accumulate(  # type: ignore[no-untyped-def]
    padded,
    codes,
    gradient,
    table,
    offsets,
    strides,
    starts,
    turns,
    block,
    reach,
    interval,
    srlut,
    inverse,
    with_planes,
    table_parts,
    padded_gradient,
):  # pragma: no cover (compiled)
    """Twin of automatic differentiation of `Ensemble` and `Requantise`; see the module's docstring."""
    parts = table_parts.shape[0]
    count, padded_height, padded_width = padded.shape
    height = padded_height - 2 * reach
    width = padded_width - 2 * reach
    outputs = block * block
    step = 1 << interval
    mask = step - 1
    number_of_lookups = offsets.shape[0]
    for part in prange(parts):
        turned = np.zeros((4, outputs), np.float32)
        rows = np.zeros(5, np.int32)
        weights = np.zeros(5, np.float32)
        axes = np.zeros(4, np.int32)
        dots = np.zeros(5, np.float32)
        sums = table_parts[part]
        for plane in range(part * count // parts, (part + 1) * count // parts):
            pixels = padded[plane].reshape(-1)
            for y in range(height):
                for x in range(width):
                    alive = False
                    for k in range(outputs):
                        row = y * block + k // block
                        column = x * block + k % block
                        slope = gradient[plane, row, column] * inverse
                        code = codes[plane, row, column]
                        if (code == 0 and slope > 0) or (code == 255 and slope < 0):
                            slope = np.float32(0)
                        turned[0, k] = slope
                        alive |= slope != 0
                    if not alive:
                        continue
                    for turn in range(1, 4):
                        for k in range(outputs):
                            turned[turn, k] = turned[0, turns[turn, k]]
                    position = (y + reach) * padded_width + x + reach
                    for lookup in range(number_of_lookups):
                        for turn in range(4):
                            base = starts[lookup]
                            a = np.int32(pixels[position + offsets[lookup, turn, 0]])
                            b = np.int32(pixels[position + offsets[lookup, turn, 1]])
                            c = np.int32(pixels[position + offsets[lookup, turn, 2]])
                            d = np.int32(pixels[position + offsets[lookup, turn, 3]])
                            base += (a >> interval) * strides[lookup, 0]
                            base += (b >> interval) * strides[lookup, 1]
                            base += (c >> interval) * strides[lookup, 2]
                            base += (d >> interval) * strides[lookup, 3]
                            fa = a & mask
                            fb = b & mask
                            fc = c & mask
                            fd = d & mask
                            if strides[lookup, 1] == 0:
                                fb = np.int32(0)
                            if strides[lookup, 2] == 0:
                                fc = np.int32(0)
                            if strides[lookup, 3] == 0:
                                fd = np.int32(0)
                            # Ties keep the axes in order, as the reference's stable sort does.
                            ka = (fa << 2) | 3
                            kb = (fb << 2) | 2
                            kc = (fc << 2) | 1
                            kd = fd << 2
                            if srlut and fc > fd and fd >= fa and fa > fb:
                                ka, kb, kc, kd = kc, ka, kd, kb
                            else:
                                ka, kb = max(ka, kb), min(ka, kb)
                                kc, kd = max(kc, kd), min(kc, kd)
                                ka, kc = max(ka, kc), min(ka, kc)
                                kb, kd = max(kb, kd), min(kb, kd)
                                kb, kc = max(kb, kc), min(kb, kc)
                            axes[0] = 3 - (ka & 3)
                            axes[1] = 3 - (kb & 3)
                            axes[2] = 3 - (kc & 3)
                            axes[3] = 3 - (kd & 3)
                            weights[0] = step - (ka >> 2)
                            weights[1] = (ka >> 2) - (kb >> 2)
                            weights[2] = (kb >> 2) - (kc >> 2)
                            weights[3] = (kc >> 2) - (kd >> 2)
                            weights[4] = kd >> 2
                            rows[0] = base
                            for corner in range(4):
                                rows[corner + 1] = rows[corner] + strides[lookup, axes[corner]]
                            for corner in range(5):
                                weight = weights[corner]
                                if weight != 0:
                                    line = sums[rows[corner]]
                                    for k in range(outputs):
                                        line[k] += weight * turned[turn, k]
                            if with_planes:
                                for corner in range(5):
                                    entry = table[rows[corner]]
                                    dot = np.float32(0)
                                    for k in range(outputs):
                                        dot += np.float32(entry[k]) * turned[turn, k]
                                    dots[corner] = dot
                                flat = padded_gradient[plane].reshape(-1)
                                for corner in range(4):
                                    axis = axes[corner]
                                    flat[position + offsets[lookup, turn, axis]] += dots[corner + 1] - dots[corner]
