"""A fused stage: parallel lookups under the rotation ensemble, summed and requantised.

Floor 4: imports the ops, the primitives and Numba. The reference is `Ensemble.reference` followed by `Requantise.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba import njit, prange  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.ops import Add, Ensemble, Lookup, Requantise
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import MAX_SAMPLES

MAX_LOOKUPS = 16

STRIDE_BITS = 22
"""A sort key is fraction << 22 | stride: both fit 31 bits on every lattice that `Lattice.validate` accepts."""


@dataclass(frozen=True)
class Stage:
    """A run of two ops that one kernel can do: an ensemble of lookups of one plane, and the requantisation of its sum.

    Parameters
    ----------
    input, output : str
        Names of the plane that the ensemble reads and of the one that the requantisation makes.
    lookups : tuple of Lookup
        1 to 16 of one block size, interval, padding and interpolation; patterns may differ in size.
    requantise : Requantise
    """

    input: str
    output: str
    lookups: tuple[Lookup, ...]
    requantise: Requantise

    @property
    def block(self) -> int:
        """Output pixels per input pixel in each direction."""
        return self.lookups[0].block

    @property
    def interval(self) -> int:
        """Binary logarithm of the step between nodes."""
        return self.lookups[0].lattice.interval

    @property
    def padding(self) -> Padding:
        """What the patterns see outside the plane."""
        return self.lookups[0].padding

    @property
    def interpolation(self) -> Interpolation:
        """How values between nodes are formed."""
        return self.lookups[0].interpolation

    @property
    def reach(self) -> int:
        """Largest distance of any sample from its pixel under any rotation."""
        return max(lookup.pattern.reach for lookup in self.lookups)


def claim_stage(ensemble: Ensemble, requantise: Requantise) -> Stage | None:
    """Return the fused stage that equals these two ops, or None where the kernel cannot do them."""
    lookups = tuple(op for op in ensemble.body if isinstance(op, Lookup))
    rest = ensemble.body[len(lookups) :]
    if requantise.input != ensemble.output or ensemble.body[: len(lookups)] != lookups:
        return None
    if not 1 <= len(lookups) <= MAX_LOOKUPS or any(lookup.input != ensemble.input for lookup in lookups):
        return None
    match rest:
        case ():
            summed = len(lookups) == 1
        case (Add(terms=terms),):
            summed = sorted(terms) == sorted(lookup.output for lookup in lookups)
        case _:
            summed = False
    kinds = {(op.block, op.lattice.interval, op.padding, op.interpolation) for op in lookups}
    if not summed or len(kinds) != 1:
        return None
    return Stage(ensemble.input, requantise.output, lookups, requantise)


def run_stage(
    stage: Stage,
    tables: Mapping[str, NDArray[np.int8]],
    planes: NDArray[np.uint8],
    threads: int | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Run a stage on planes; bit-identical with the reference of its ops.

    Parameters
    ----------
    stage : Stage
    tables : mapping of slot name to int8 (entries, block**2)
    planes : uint8, (N, H, W), C-contiguous
        Codes of N independent planes (channels, or crops of a batch), H and W at least 1.
    threads : int, optional
        How many threads may work; the default is Numba's own setting.
    out : uint8, (N, H * block, W * block), C-contiguous, optional
        Where the result goes; may not overlap `planes`.

    Returns
    -------
    uint8, (N, H * block, W * block)
        `out`, or a new array.
    """
    count, height, width = planes.shape
    if out is None:
        out = np.empty((count, height * stage.block, width * stage.block), np.uint8)
    reach = stage.reach
    rows = stage.padding.index(height, reach, reach)
    columns = stage.padding.index(width, reach, reach)
    padded = planes[:, rows[:, None], columns[None, :]]
    table = np.concatenate([np.ascontiguousarray(tables[lookup.slot]).reshape(-1) for lookup in stage.lookups])
    bases, strides, masks, offsets = _describe(stage, width + 2 * reach)
    before = numba.get_num_threads()
    numba.set_num_threads(before if threads is None else max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
    try:
        _run_rows(
            padded.reshape(-1),
            (count, height, width, reach),
            table,
            bases,
            strides,
            masks,
            offsets,
            _turned_positions(stage.block),
            (stage.block, stage.interval, stage.interpolation is Interpolation.SRLUT),
            (stage.requantise.bias, stage.requantise.divisor),
            out.reshape(-1),
        )
    finally:
        numba.set_num_threads(before)
    return out


def _describe(stage: Stage, row_stride: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return first entry, strides, masks (0 for axes that do not exist) and flat offsets of every lookup and turn."""
    count = len(stage.lookups)
    bases = np.zeros(count, np.int64)
    strides = np.zeros((count, MAX_SAMPLES), np.int32)
    masks = np.zeros((count, MAX_SAMPLES), np.int32)
    offsets = np.zeros((count, TURNS, MAX_SAMPLES), np.int64)
    for place, lookup in enumerate(stage.lookups):
        axes = lookup.lattice.axes
        if place + 1 < count:
            bases[place + 1] = bases[place] + lookup.lattice.entries * stage.block**2
        strides[place, :axes] = lookup.lattice.strides
        masks[place, :axes] = lookup.lattice.step - 1
        for turns in range(TURNS):
            turned = lookup.pattern.rotated(turns).offsets
            offsets[place, turns, :axes] = [row * row_stride + column for row, column in turned]
    return bases, strides, masks, offsets


def _turned_positions(block: int) -> NDArray[np.int64]:
    """Return, for every turn and output position, the position inside the unturned block; (4, block**2)."""
    square = np.arange(block * block).reshape(block, block)
    return np.stack([np.rot90(square, -turns).reshape(-1) for turns in range(TURNS)])


@njit(cache=True, parallel=True, boundscheck=False, error_model="numpy")
def _run_rows(  # pyright: ignore
    padded, extent, table, bases, strides, masks, offsets, turned, arithmetic, rounding, out
):
    """Twin of `Ensemble.reference` and `Requantise.reference` for padded planes."""
    count, height, width, reach = extent
    block, interval, confuse = arithmetic
    bias, divisor = rounding
    outputs = block * block
    row_stride = width + 2 * reach
    step = np.int32(1 << interval)
    for line in prange(count * height):
        plane = line // height
        row = line - plane * height
        anchor = (plane * (height + 2 * reach) + row + reach) * row_stride + reach
        total = np.zeros(outputs, np.int32)
        for x in range(width):
            total[:] = 0
            here = anchor + x
            for m in range(len(bases)):
                for r in range(4):
                    a = np.int32(padded[here + offsets[m, r, 0]])
                    b = np.int32(padded[here + offsets[m, r, 1]])
                    c = np.int32(padded[here + offsets[m, r, 2]])
                    d = np.int32(padded[here + offsets[m, r, 3]])
                    ka = ((a & masks[m, 0]) << 22) | strides[m, 0]
                    kb = ((b & masks[m, 1]) << 22) | strides[m, 1]
                    kc = ((c & masks[m, 2]) << 22) | strides[m, 2]
                    kd = ((d & masks[m, 3]) << 22) | strides[m, 3]
                    first = (
                        (a >> interval) * strides[m, 0]
                        + (b >> interval) * strides[m, 1]
                        + (c >> interval) * strides[m, 2]
                        + (d >> interval) * strides[m, 3]
                    )
                    fa, fb, fc, fd = ka >> 22, kb >> 22, kc >> 22, kd >> 22
                    if confuse and fc > fd and fd >= fa and fa > fb:
                        ka, kb, kc, kd = kc, ka, kd, kb
                    else:
                        if ka < kb:
                            ka, kb = kb, ka
                        if kc < kd:
                            kc, kd = kd, kc
                        if ka < kc:
                            ka, kc = kc, ka
                        if kb < kd:
                            kb, kd = kd, kb
                        if kb < kc:
                            kb, kc = kc, kb
                    i1 = first + (ka & 0x3FFFFF)
                    i2 = i1 + (kb & 0x3FFFFF)
                    i3 = i2 + (kc & 0x3FFFFF)
                    i4 = i3 + (kd & 0x3FFFFF)
                    w0 = step - (ka >> 22)
                    w1 = (ka >> 22) - (kb >> 22)
                    w2 = (kb >> 22) - (kc >> 22)
                    w3 = (kc >> 22) - (kd >> 22)
                    w4 = kd >> 22
                    t0 = bases[m] + first * outputs
                    t1 = bases[m] + i1 * outputs
                    t2 = bases[m] + i2 * outputs
                    t3 = bases[m] + i3 * outputs
                    t4 = bases[m] + i4 * outputs
                    for k in range(outputs):
                        at = turned[r, k]
                        total[k] += np.int32(
                            w0 * table[t0 + at]
                            + w1 * table[t1 + at]
                            + w2 * table[t2 + at]
                            + w3 * table[t3 + at]
                            + w4 * table[t4 + at]
                        )
            for k in range(outputs):
                value = np.int64(total[k]) + bias
                quotient = value // divisor
                twice = 2 * (value - quotient * divisor)
                if twice > divisor or (twice == divisor and (quotient & 1) == 1):
                    quotient += 1
                dy = k // block
                out[(line * block + dy) * width * block + x * block + k - dy * block] = min(max(quotient, 0), 255)
