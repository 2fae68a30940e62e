"""Reconstructed convolution under the rotation ensemble: codes of the four turns at once, and their gradients.

Floor 4: imports the op, the primitives and its kernels. The reference is `ReconstructedConvolution.reference` on the
plane turned by ``rot90``, turned back.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.reconstructed_gradient_lines import scatter_lines
from lutkit_runtime.kernels.cpu.reconstructed_lines import BAND, CHUNK, LANE_BITS, LANES, SPREAD, reconstruct_lines
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.reconstructed_convolution import CENTRE, HIGHEST, VALUES

LARGEST_SHIFT = 22
"""A bucket's step is below 2**8 times its width; with this one it still fits 31 bits."""


@dataclass(frozen=True)
class Steps:
    """Thresholds as a table of sums, coarse enough to be small and exact nevertheless.

    A sum, confined to `low` to `high`, less `low`, is bucket << shift | rest; its code is (steps[bucket] + rest) >> shift.

    Parameters
    ----------
    steps : int32, one-dimensional
    low, high : int
    shift : int
    """

    steps: NDArray[np.int32]
    low: int
    high: int
    shift: int


def find_steps(thresholds: NDArray[np.int32], largest: int) -> Steps:
    """Return the coarsest table that gives exactly the number of thresholds that a sum has reached.

    Parameters
    ----------
    thresholds : int32, (254, 1)
        Ascending.
    largest : int
        Bound of the magnitude of sums.
    """
    places = thresholds.reshape(-1).astype(np.int64)
    # thresholds beyond the bound need no place in the table: above it none is reached, below it all are
    low, high = (max(-largest, min(int(end), largest)) for end in (places[0] - 1, places[-1]))
    shift = _find_shift(places[(places > low) & (places <= high)] - low)
    starts = low + (np.arange(((high - low) >> shift) + 1) << shift)
    reached = np.searchsorted(places, starts, side="right")
    following = places[np.minimum(reached, HIGHEST - 1)] - starts
    # from the one threshold within a bucket on, if there is one, the rest carries over into the code
    carry = np.where((following > 0) & (following < 1 << shift), (1 << shift) - following, 0)
    return Steps(((reached << shift) + carry).astype(np.int32), low, high, shift)


def _find_shift(places: NDArray[np.int64]) -> int:
    """Return the largest shift with which no bucket holds two thresholds, not counting those at its start."""
    for shift in range(LARGEST_SHIFT, 0, -1):
        inside = places[places & ((1 << shift) - 1) != 0] >> shift
        if (np.diff(inside) > 0).all():
            return shift
    return 0


def pack_words(op: ReconstructedConvolution, table: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the tables as words of three lanes (N * groups * 256,); lanes beyond the window are 0."""
    groups = -(-op.window // LANES)
    entries = np.zeros((op.window, groups * LANES, VALUES), np.uint64)
    entries[:, : op.window] = table.reshape(op.window, op.window, VALUES).astype(np.int64) + _find_bias(op)
    lanes = entries.reshape(op.window, groups, LANES, VALUES) << (
        np.arange(LANES, dtype=np.uint64)[:, None] * np.uint64(LANE_BITS)
    )
    return np.bitwise_or.reduce(lanes, axis=2).reshape(-1)


def _find_bias(op: ReconstructedConvolution) -> int:
    """Return what makes every entry positive."""
    return -int(np.iinfo(op.storage).min)


def code_maps(
    op: ReconstructedConvolution,
    table: NDArray[Any],
    thresholds: NDArray[np.int32],
    planes: NDArray[np.uint8],
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """Return the codes of planes in each of the four turns; bit-identical with the reference.

    Parameters
    ----------
    op : ReconstructedConvolution
    table : int16 or int8 as the op says, (N**2 * 256, 1)
    thresholds : int32, (254, 1)
        Ascending.
    planes : uint8, (P, H, W)
        Codes of P independent planes, H and W at least 1.
    threads : int, optional
        How many threads may work; the default is Numba's own setting.

    Returns
    -------
    uint8, (4, P, H, W), 0 to 254
        For turn r, what the op makes of ``rot90(planes, r)``, turned back.
    """
    return run_reconstruction(prepare_window(op, table, thresholds), planes, threads)[0]


def code_maps_and_sums(
    op: ReconstructedConvolution,
    table: NDArray[Any],
    thresholds: NDArray[np.int32],
    planes: NDArray[np.uint8],
    threads: int | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the codes as `code_maps` does, and the sums that they stand for; int32, (4, P, H, W)."""
    return run_reconstruction(prepare_window(op, table, thresholds), planes, threads, with_sums=True)


@dataclass(frozen=True)
class Window:
    """A reconstructed convolution with its tables, ready for planes of any size.

    Parameters
    ----------
    op : ReconstructedConvolution
    words : uint64, (N * groups * 256,)
        See `pack_words`.
    steps : Steps
    """

    op: ReconstructedConvolution
    words: NDArray[np.uint64]
    steps: Steps


def prepare_window(op: ReconstructedConvolution, table: NDArray[Any], thresholds: NDArray[np.int32]) -> Window:
    """Return a window with its tables and thresholds; see `code_maps`."""
    return Window(op, pack_words(op, table), find_steps(thresholds, op.largest))


def run_reconstruction(
    window: Window, planes: NDArray[np.uint8], threads: int | None = None, *, with_sums: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the codes of planes (P, H, W) in each turn, as `code_maps` does, and on demand the sums: else none."""
    op, steps = window.op, window.steps
    groups = -(-op.window // LANES)
    count, height, width = planes.shape
    halo = op.halo + SPREAD
    padded = np.pad(planes, ((0, 0), (halo, halo), (halo, halo)), "edge")
    codes = np.empty((TURNS, *planes.shape), np.uint8)
    sums = np.empty(codes.shape if with_sums else (0, 0, 0, 0), np.int32)
    with limit_threads(threads) as workers:
        reconstruct_lines(
            padded.reshape(-1),
            (count, height, width, halo),
            cut_planes(count, height, width),
            window.words,
            (op.window, groups, op.first),
            np.int32(_find_bias(op) * op.positions),
            steps.steps,
            (np.int32(steps.low), np.int32(steps.high), np.int32(steps.shift)),
            with_sums,
            np.empty(workers * op.window * groups * (CHUNK + 2 * halo), np.uint64),
            np.empty(workers * TURNS * (BAND + SPREAD) * (CHUNK + SPREAD), np.uint64),
            workers,
            new_counter(),
            codes.reshape(-1),
            sums.reshape(-1),
        )
    return codes, sums


def cut_planes(count: int, height: int, width: int) -> NDArray[np.int64]:
    """Return the pieces of planes that `reconstruct_lines` deals out, (pieces, 5).

    All are of about one size: a small one at the end would have as much of a border to look up for less of a result.
    """
    pieces: list[tuple[int, ...]] = []
    rows = np.linspace(0, height, -(-height // BAND) + 1).astype(int)
    columns = np.linspace(0, width, -(-width // CHUNK) + 1).astype(int)
    for plane in range(count):
        for top, bottom in itertools.pairwise(rows.tolist()):
            pieces += [(plane, top, bottom, left, right - left) for left, right in itertools.pairwise(columns.tolist())]
    return np.array(pieces, np.int64)


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
    """Return the gradients to the tables and to the planes.

    A code is 127 tanh(sum / unit) + 127 but for its rounding, which passes gradients unchanged; a code at 0 or 254
    passes only gradients that would move it back inside. Between codes a table is as steep as the line through its
    neighbours, at 0 and 255 as the last step. What a position beyond the border receives goes to the nearest pixel.

    Parameters
    ----------
    op, table, planes
        As for `code_maps`.
    maps, sums
        What `code_maps_and_sums` made of them.
    gradient : float32, (4, P, H, W)
        Gradient to the codes.
    parts : int
        The planes are worked on in this many parts at once; the order of additions depends on it alone.
    with_planes : bool
        Whether the gradient to the planes is wanted; otherwise it is an empty array.

    Returns
    -------
    table_gradient : float32, (N**2 * 256, 1)
    plane_gradient : float32, (P, H, W)
    """
    count, width = len(planes), int(planes.shape[-1])
    parts = max(1, min(parts, count))
    to_tables = np.zeros((parts, op.positions * VALUES), np.float32)
    to_planes = np.zeros(planes.shape if with_planes else (0, 0, 0), np.float32)
    with limit_threads(parts):
        scatter_lines(
            planes.reshape(-1),
            planes.shape,
            _find_slopes(op, maps, sums, gradient).reshape(-1),
            _turn_offsets(op).reshape(-1),
            op.window,
            _find_rises(op, table).reshape(-1),
            with_planes,
            np.empty(parts * op.window * width, np.float32),
            parts,
            to_tables.reshape(-1),
            to_planes.reshape(-1),
        )
    return to_tables.sum(axis=0)[:, None], to_planes


def _find_slopes(
    op: ReconstructedConvolution, maps: NDArray[np.uint8], sums: NDArray[np.int32], gradient: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the gradient to the sums, float32 (4, P, H, W)."""
    slopes = sums.astype(np.float32)
    slopes *= np.float32(1 / op.unit)
    np.tanh(slopes, out=slopes)
    slopes *= slopes
    np.subtract(1, slopes, out=slopes)
    slopes *= np.float32(CENTRE / op.unit)
    slopes *= gradient
    slopes[((maps == 0) & (gradient > 0)) | ((maps == HIGHEST) & (gradient < 0))] = 0
    return slopes


def _find_rises(op: ReconstructedConvolution, table: NDArray[Any]) -> NDArray[np.float32]:
    """Return how steep every table is at every code, float32 (N**2, 256)."""
    values = table.reshape(op.positions, VALUES).astype(np.float32)
    codes = np.arange(VALUES)
    above, below = np.minimum(codes + 1, VALUES - 1), np.maximum(codes - 1, 0)
    return (values[:, above] - values[:, below]) / (above - below).astype(np.float32)


def _turn_offsets(op: ReconstructedConvolution) -> NDArray[np.int64]:
    """Return row and column of every position in every turn, (4, N**2, 2), as `IndexPattern.rotated` turns them."""
    offsets = [np.array(op.offsets, np.int64)]
    for _ in range(1, TURNS):
        row, column = offsets[-1].T
        offsets.append(np.stack([column, -row], axis=1))
    return np.stack(offsets)
