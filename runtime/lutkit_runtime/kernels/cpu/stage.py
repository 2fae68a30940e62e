"""A fused stage: parallel lookups under the rotation ensemble, summed and requantised.

Floor 4: imports the ops, the primitives and its kernel. The reference is `Ensemble.reference` followed by
`Requantise.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.stage_lines import CHUNK, LANES, VERTICES, count_lanes, run_lines
from lutkit_runtime.ops import Add, Ensemble, Lookup, Requantise
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import MAX_SAMPLES

MAX_LOOKUPS = 16

EXACT_SUM = 1 << 24
EXACT_DIVISOR = 1 << 15
"""The kernel divides in float32 and rounds half to even. That is exact while sum and bias are float32 integers and no
quotient below 256 can fall onto a tie: it lies 1 / (2 divisor) or more from the next one, and float32 errs by 2**-17.
"""


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
    def largest_sum(self) -> int:
        """Bound of the magnitude of the sum over lookups and turns."""
        return TURNS * sum(lookup.largest for lookup in self.lookups)

    @property
    def reach(self) -> int:
        """Largest distance of any sample from its pixel under any rotation."""
        return max(lookup.pattern.reach for lookup in self.lookups)


@dataclass(frozen=True)
class Target:
    """Where a stage writes: planes one after the other, or the channels of an image, or a part of one.

    Parameters
    ----------
    flat : uint8, one-dimensional, C-contiguous
    first : int
        Place of the first result of the first plane.
    plane, row, pixel : int
        Distances of planes, rows and pixels.
    """

    flat: NDArray[np.uint8]
    first: int
    plane: int
    row: int
    pixel: int


def claim_stage(ensemble: Ensemble, requantise: Requantise) -> Stage | None:
    """Return the fused stage that equals these two ops, or None where the kernel cannot do them."""
    lookups = tuple(op for op in ensemble.body if isinstance(op, Lookup))
    rest = ensemble.body[len(lookups) :]
    plain = requantise.makes_codes and (requantise.low, requantise.high, requantise.residual) == (0, 255, None)
    if not plain or requantise.input != ensemble.output or ensemble.body[: len(lookups)] != lookups:
        return None
    if not 1 <= len(lookups) <= MAX_LOOKUPS or any(lookup.input != ensemble.input for lookup in lookups):
        return None
    match rest:
        case ():
            summed = len(lookups) == 1
        case (Add(terms=terms, weights=()),):
            summed = sorted(terms) == sorted(lookup.output for lookup in lookups)
        case _:
            summed = False
    kinds = {(op.block, op.lattice.interval, op.padding, op.interpolation) for op in lookups}
    if not summed or len(kinds) != 1 or any(lookup.diagonal for lookup in lookups):
        return None
    stage = Stage(ensemble.input, requantise.output, lookups, requantise)
    fits = (
        stage.largest_sum + abs(requantise.bias) <= EXACT_SUM
        and requantise.divisor <= EXACT_DIVISOR
        and all(op.lattice.entries * op.block**2 < 2**31 for op in lookups)
    )
    return stage if fits else None


def join_tables(stage: Stage, tables: Mapping[str, NDArray[np.int8]]) -> NDArray[np.int8]:
    """Return the tables of a stage one after the other, as `run_joined` wants them; int8, one-dimensional."""
    # the kernel reads whole lanes, and so a little past the last row
    return np.concatenate([*(tables[lookup.slot].reshape(-1) for lookup in stage.lookups), np.zeros(LANES, np.int8)])


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
    return run_joined(stage, join_tables(stage, tables), planes, threads, out)


def run_joined(
    stage: Stage,
    joined: NDArray[np.int8],
    planes: NDArray[np.uint8],
    threads: int | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Run a stage whose tables `join_tables` has joined; otherwise as `run_stage`."""
    count, height, width = planes.shape
    if out is None:
        out = np.empty((count, height * stage.block, width * stage.block), np.uint8)
    target = Target(out.reshape(-1), 0, *(stride for stride in out.strides))
    run_window(stage, joined, planes, threads, (slice(0, height), slice(0, width)), target)
    return out


def run_window(
    stage: Stage,
    joined: NDArray[np.int8],
    planes: NDArray[np.uint8],
    threads: int | None,
    window: tuple[slice, slice],
    target: Target,
) -> None:
    """Run a stage for a part of its planes only, and write the result anywhere.

    Parameters
    ----------
    stage, joined, planes, threads
        As for `run_joined`.
    window : (rows, columns)
        Slices with start and stop: the pixels of the planes that are wanted.
    target : Target
        Where their results go; may not overlap `planes`.
    """
    if np.shares_memory(planes, target.flat):
        raise ValueError("the target overlaps the planes; give an array of its own")
    (top, bottom), (left, right) = ((span.start, span.stop) for span in window)
    reach = stage.reach
    lanes = count_lanes(stage.block)
    padded = pad_planes(planes, reach, stage.padding)
    plane_read, row_read, _ = padded.strides
    sums_type = np.int16 if stage.largest_sum < 2**15 else np.int32
    with limit_threads(threads) as workers:
        run_lines(
            padded.reshape(-1),
            (len(planes), bottom - top, right - left),
            ((top + reach) * row_read + left + reach, plane_read, row_read),
            (target.first, target.plane, target.row, target.pixel),
            joined,
            *describe_lookups(stage, row_read),
            (stage.interval, int(stage.interpolation is Interpolation.SRLUT)),
            (np.float32(stage.requantise.bias), np.float32(stage.requantise.divisor)),
            (0,) * stage.block,
            np.empty(workers * CHUNK * VERTICES, np.int32),
            np.empty(workers * CHUNK * VERTICES, np.int32),
            np.empty(workers * CHUNK * TURNS * lanes, sums_type),
            np.empty(workers * CHUNK * lanes, np.uint8),
            workers,
            new_counter(),
            target.flat,
        )


def pad_planes(planes: NDArray[np.uint8], reach: int, padding: Padding) -> NDArray[np.uint8]:
    """Return planes (N, H, W) with `reach` more pixels on every side; C-contiguous."""
    count, height, width = planes.shape
    padded = np.empty((count, height + 2 * reach, width + 2 * reach), np.uint8)
    inside = slice(reach, reach + height)
    padded[:, inside, reach : reach + width] = planes
    columns = padding.index(width, reach, reach) + reach
    rows = padding.index(height, reach, reach) + reach
    # columns first, within the rows that hold pixels; then whole rows, corners included
    padded[:, inside, :reach] = padded[:, inside, columns[:reach]]
    padded[:, inside, reach + width :] = padded[:, inside, columns[reach + width :]]
    padded[:, :reach] = padded[:, rows[:reach]]
    padded[:, reach + height :] = padded[:, rows[reach + height :]]
    return padded


def describe_lookups(
    stage: Stage, row_stride: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
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
