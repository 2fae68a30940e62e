"""Running a fused stage: parallel lookups under the rotation ensemble, summed and requantised.

Floor 4: imports stage_claim, stage_layout and the kernel. The reference is `Ensemble.reference` followed by
`Requantise.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.reconstructed import Window, prepare_window, run_reconstruction
from lutkit_runtime.kernels.cpu.stage_addresses import CHUNK, VERTICES
from lutkit_runtime.kernels.cpu.stage_lines import count_lanes, run_lines
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.kernels.stage_layout import Maps, join_tables, lay_out, pad_sources
from lutkit_runtime.ops.ensemble import TURNS


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


def run_stage(
    stage: Stage,
    tables: Mapping[str, NDArray[Any]],
    planes: NDArray[np.uint8],
    threads: int | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Run a stage on planes; bit-identical with the reference of its ops.

    Parameters
    ----------
    stage : Stage
    tables : mapping of slot name to table
        Of the lookups, int8 (entries, block**2), and of the convolutions.
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
    maps = make_maps(prepare_windows(stage, tables), planes, threads)
    return run_joined(stage, join_tables(stage, tables), planes, threads, out, maps)


def prepare_windows(stage: Stage, tables: Mapping[str, NDArray[Any]]) -> tuple[Window, ...]:
    """Return the convolutions of a stage with their tables, ready for planes of any size."""
    return tuple(prepare_window(op, tables[op.slot], tables[op.post]) for op in stage.convolutions)


def make_maps(windows: tuple[Window, ...], planes: NDArray[np.uint8], threads: int | None = None) -> Maps:
    """Return the codes that the convolutions of a stage make of planes (N, H, W): (4 turns, N, H, W) of each."""
    return [run_reconstruction(window, planes, threads)[0] for window in windows]


def run_joined(
    stage: Stage,
    joined: NDArray[np.int8],
    planes: NDArray[np.uint8],
    threads: int | None = None,
    out: NDArray[np.uint8] | None = None,
    maps: Maps = (),
) -> NDArray[np.uint8]:
    """Run a stage whose tables `join_tables` has joined, with the `maps` of `make_maps`; otherwise as `run_stage`."""
    count, height, width = planes.shape
    if out is None:
        out = np.empty((count, height * stage.block, width * stage.block), np.uint8)
    target = Target(out.reshape(-1), 0, *(stride for stride in out.strides))
    run_window(stage, joined, planes, threads, (slice(0, height), slice(0, width)), target, maps)
    return out


def run_window(
    stage: Stage,
    joined: NDArray[np.int8],
    planes: NDArray[np.uint8],
    threads: int | None,
    window: tuple[slice, slice],
    target: Target,
    maps: Maps = (),
) -> None:
    """Run a stage for a part of its planes only, and write the result anywhere.

    Parameters
    ----------
    stage, joined, planes, threads, maps
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
    padded = pad_sources(stage, planes, maps)
    _, plane_read, row_read, _ = padded.strides
    layout = lay_out(stage, padded.shape)
    sums_type = np.int16 if stage.largest_sum < 2**15 else np.int32
    with limit_threads(threads) as workers:
        run_lines(
            padded.reshape(-1),
            (len(planes), bottom - top, right - left),
            ((top + reach) * row_read + left + reach, plane_read, row_read),
            (target.first, target.plane, target.row, target.pixel),
            joined,
            layout.bases,
            layout.strides,
            layout.masks,
            layout.offsets,
            layout.arithmetic,
            layout.bands,
            layout.scale,
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
