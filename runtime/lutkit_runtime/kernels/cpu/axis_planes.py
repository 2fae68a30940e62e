"""Running a prepared axis network on planes. Floor 4: imports the primitives, the network and its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.axis_layout import Prepared
from lutkit_runtime.kernels.cpu.axis_lines import CHUNK, run_network_lines
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork
from lutkit_runtime.kernels.cpu.axis_plan import Maps
from lutkit_runtime.kernels.cpu.axis_sums import LANES
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.kernels.cpu.dealing import new_counter
from lutkit_runtime.kernels.cpu.stage import Target
from lutkit_runtime.ops.ensemble import TURNS

BAND_BYTES = 1 << 20
"""About how many bytes the maps of a band have: they fit the second-level cache."""

LEAST_BAND = 16

PIECES = 4
"""How many bands every thread has at least, where they are not too low for it: the last ones end at about one time."""


@dataclass(frozen=True)
class Geometry:
    """Where the maps of planes of one size stand.

    Parameters
    ----------
    band : int
        Rows of results that are made together.
    layout, rows, columns
        See `run_network_lines`.
    slot : int
        Bytes of all maps of a band.
    """

    band: int
    layout: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    slot: int


def place_maps(
    network: AxisNetwork, height: int, width: int, band: int | None = None, margin: int = 0, most: int = 1 << 30
) -> Geometry:
    """Return where the maps of a network stand for planes of a size.

    Parameters
    ----------
    network : AxisNetwork
    height, width : int
    band : int, optional
        Rows at once; a suitable number without it, but not more than `most`.
    margin : int
        Pixels around every plane beyond those that taps reach.
    """
    maps = Maps(network)
    if band is None:
        band = min(most, max(LEAST_BAND, BAND_BYTES // (width * sum(maps.step(name) for name in maps.names))))
    layout = np.zeros((len(maps.names), 7), np.int64)
    rows: list[NDArray[Any]] = []
    columns: list[NDArray[Any]] = []
    slot = first_row = first_column = 0
    for number, name in enumerate(maps.names):
        step, reach, need = (maps.step(name), network.reach(name) + margin, network.need(name))
        stride = (width + 2 * reach) * step
        layout[number] = step, reach, need, slot, stride, first_row, first_column
        slot += min(height, band + 2 * need) * stride
        rows.append(network.padding(name).index(height, reach, reach))
        columns.append(network.padding(name).index(width, reach, reach))
        first_row += len(rows[-1])
        first_column += len(columns[-1])
    return Geometry(band, layout, np.concatenate(rows), np.concatenate(columns), slot)


def run_network(
    prepared: Prepared, planes: NDArray[np.uint8], threads: int | None = None, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Run a network on planes; bit-identical with the reference of its ops.

    Parameters
    ----------
    prepared : Prepared
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
    block = prepared.network.block
    if out is None:
        out = np.empty((count, height * block, width * block), np.uint8)
    target = Target(out.reshape(-1), 0, *(stride for stride in out.strides))
    run_network_window(prepared, planes, threads, (slice(0, height), slice(0, width)), target)
    return out


def run_network_window(
    prepared: Prepared, planes: NDArray[np.uint8], threads: int | None, window: tuple[slice, slice], target: Target
) -> None:
    """Run a network for a part of its planes only, and write the result anywhere: see `stage.run_window`."""
    if np.shares_memory(planes, target.flat):
        raise ValueError("the target overlaps the planes; give an array of its own")
    height = window[0].stop - window[0].start
    with limit_threads(threads) as workers:
        most = max(LEAST_BAND, -(-height * len(planes) // (PIECES * workers)))
        geometry = place_maps(prepared.network, *planes.shape[1:], most=most)
        maps = np.empty(workers * geometry.slot, np.uint8)
        _run(prepared, geometry, planes, window, target, maps, workers)


def run_keeping_maps(
    prepared: Prepared, planes: NDArray[np.uint8], threads: int | None = None, margin: int = 0
) -> tuple[NDArray[np.uint8], Geometry, NDArray[np.uint8]]:
    """Run a network on whole planes and keep what its layers made, for the backward pass.

    Returns
    -------
    result : uint8, (N, H * block, W * block)
    geometry : Geometry
        Of one band.
    maps : uint8, (N, turns, slot)
    """
    count, height, width = planes.shape
    block = prepared.network.block
    geometry = place_maps(prepared.network, height, width, band=height, margin=margin)
    maps = np.empty((count, TURNS, geometry.slot), np.uint8)
    out = np.empty((count, height * block, width * block), np.uint8)
    target = Target(out.reshape(-1), 0, *(stride for stride in out.strides))
    with limit_threads(threads) as workers:
        _run(prepared, geometry, planes, (slice(0, height), slice(0, width)), target, maps.reshape(-1), workers, True)
    return out, geometry, maps


def _run(
    prepared: Prepared,
    geometry: Geometry,
    planes: NDArray[np.uint8],
    window: tuple[slice, slice],
    target: Target,
    maps: NDArray[np.uint8],
    workers: int,
    keep: bool = False,
) -> None:
    network, plan = prepared.network, prepared.plan
    rounding = network.requantise
    bias = rounding.bias + TURNS * network.layers[-1].offset
    (top, bottom), (left, right) = ((span.start, span.stop) for span in window)
    scratch = workers * CHUNK * LANES
    totals: int = workers * geometry.band * planes.shape[2] * network.block**2
    run_network_lines(
        planes.reshape(-1),
        (planes.shape[0], planes.shape[1], planes.shape[2]),
        (top, bottom, left, right),
        geometry.band,
        _cut_planes(len(planes), top, bottom, geometry.band),
        (target.first, target.plane, target.row, target.pixel),
        prepared.table,
        plan.units,
        plan.inverses,
        plan.taps,
        plan.starts,
        plan.passes,
        plan.terms,
        geometry.layout,
        geometry.rows,
        geometry.columns,
        (
            np.float32(bias),
            np.float32(1 / rounding.divisor),
            rounding.low,
            rounding.high,
            int(rounding.residual is not None),
        ),
        (0,) * network.block,
        (geometry.slot, int(keep)),
        np.empty(workers * len(plan.starts), np.uint64),
        np.empty(scratch, prepared.table.dtype),
        np.empty(scratch, np.uint8),
        np.empty(scratch, np.uint16),
        np.empty(totals, np.int16),
        maps,
        workers,
        new_counter(),
        target.flat,
    )


def _cut_planes(count: int, top: int, bottom: int, band: int) -> NDArray[np.int64]:
    """Return the bands of planes that `run_network_lines` deals out, (bands, 3)."""
    starts = range(top, bottom, band)
    return np.array([(plane, start, min(start + band, bottom)) for plane in range(count) for start in starts], np.int64)
