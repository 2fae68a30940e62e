"""Backward pass of an axis network (rotation ensemble of tables of one sample, requantised), for training its tables.

Floor 4: imports the primitives, the network and its kernels. The reference is automatic differentiation of the ops with
these rules: rounding passes gradients unchanged; a value at a bound of its clamp passes only gradients that would move it
back inside; the bits of a code pass none. The gradient to a sample is half the difference of its neighbours in the table
(at an end, the difference to the only one), the gradient to a tap's shift half that of its neighbours in the plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.kernels.cpu.axis_gradient_lines import accumulate_network_lines
from lutkit_runtime.kernels.cpu.axis_layout import Prepared, find_lanes, join_tables, lay_out, show_bytes
from lutkit_runtime.kernels.cpu.axis_lines import CHUNK
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork, Layer, View
from lutkit_runtime.kernels.cpu.axis_plan import Plan, count_groups
from lutkit_runtime.kernels.cpu.axis_planes import Geometry, run_keeping_maps
from lutkit_runtime.kernels.cpu.axis_sums import LANES
from lutkit_runtime.kernels.cpu.compiling import limit_threads
from lutkit_runtime.ops import AxisLookup

TABLE_ONLY, TABLE_AND_SAMPLES, ALSO_SHIFT = 0, 1, 2


@dataclass(frozen=True)
class Trace:
    """What a forward pass keeps for the backward pass.

    Parameters
    ----------
    prepared : Prepared
    shifted : set of slot names
        Whose taps' shifts get gradients.
    geometry : Geometry
    maps : uint8, (N, turns, slot)
    result : uint8, (N, H * block, W * block)
    size : (N, H, W)
    """

    prepared: Prepared
    shifted: frozenset[str]
    geometry: Geometry
    maps: NDArray[np.uint8]
    result: NDArray[np.uint8]
    size: tuple[int, int, int]


@dataclass(frozen=True)
class Slopes:
    """Gradients.

    Parameters
    ----------
    tables : dict of slot name to float32, (entries, 1)
    shifts : dict of slot name to float32, (taps, 2)
        To the rows and columns of the taps.
    """

    tables: dict[str, NDArray[np.float32]]
    shifts: dict[str, NDArray[np.float32]]


def trace_network(
    prepared: Prepared,
    planes: NDArray[np.uint8],
    shifted: frozenset[str],
    threads: int | None = None,
) -> Trace:
    """Run a network on planes (N, H, W) and keep what the backward pass needs.

    `prepared` has kept apart the slots in `shifted`; these are of dense lookups of layers.
    """
    result, geometry, maps = run_keeping_maps(prepared, planes, threads, margin=1 if shifted else 0)
    count, height, width = planes.shape
    return Trace(prepared, shifted, geometry, maps, result, (count, height, width))


def network_gradient(trace: Trace, gradient: NDArray[np.float32], *, parts: int = 2) -> Slopes:
    """Return the gradients to the tables and shifts of a network.

    Parameters
    ----------
    trace : Trace
    gradient : float32, like trace.result, C-contiguous
        Gradient to the codes.
    parts : int
        The planes are worked on in this many parts at once; the order of additions depends on it alone.
    """
    plan, geometry = trace.prepared.plan, trace.geometry
    network = plan.network
    count, height, width = trace.size
    parts = max(1, min(parts, count))
    expanded = trace.prepared.expanded
    steep = join_tables(plan, {name: _slope(expanded[name]) for name in _sampled(network)}, np.float32)
    sums = np.zeros((parts, *steep.shape), np.float32)
    shifts = np.zeros((parts, len(plan.starts), 2))
    rounding = network.requantise
    with limit_threads(parts):
        accumulate_network_lines(
            trace.maps.reshape(-1),
            trace.size,
            trace.result.reshape(-1),
            gradient.reshape(-1),
            (np.float32(1 / rounding.divisor), rounding.low, rounding.high),
            network.block,
            plan.units,
            plan.inverses,
            plan.taps,
            plan.starts,
            _kinds(plan, trace.shifted),
            plan.passes,
            plan.terms,
            _flows(network),
            geometry.layout,
            geometry.rows,
            geometry.columns,
            geometry.slot,
            steep.reshape(-1),
            parts,
            np.empty(parts * 2 * LANES, np.uint64),
            np.empty(parts * CHUNK * LANES, np.float32),
            np.empty(parts * height * width * network.block * network.block, np.float32),
            np.empty(parts * CHUNK * 4, np.float32),
            np.empty(parts * geometry.slot, np.float32),
            sums.reshape(-1),
            shifts.reshape(-1),
        )
    total = sums[0]
    for part in sums[1:]:
        total += part
    return Slopes(_separate_tables(plan, expanded, total), _separate_shifts(plan, trace.shifted, shifts.sum(axis=0)))


def _slope(values: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return half the difference of the neighbours of every value of tables (taps, size, outputs)."""
    padded = np.concatenate([values[:, :1], values, values[:, -1:]], axis=1)
    distances = np.full(values.shape[1], 2)
    distances[[0, -1]] = 1
    return ((padded[:, 2:] - padded[:, :-2]) / distances[:, None]).astype(np.float32)


def _passes(view: View, network: AxisNetwork) -> bool:
    """Tell whether gradients pass through a view: to a layer, of which it shows every bit."""
    return view.map != network.input and not view.split


def _sampled(network: AxisNetwork) -> set[str]:
    """Return the outputs of the lookups whose samples get gradients."""
    readings = (reading for layer in network.layers for reading in layer.readings)
    return {reading.lookup.output for reading in readings if _passes(reading.view, network)}


def _kinds(plan: Plan, shifted: frozenset[str]) -> NDArray[np.int64]:
    """Return what of each of the plan's taps gets a gradient."""
    kinds = np.full(len(plan.starts), TABLE_ONLY, np.int64)
    for part in plan.parts:
        if _passes(part.reading.view, plan.network):
            kind = ALSO_SHIFT if part.reading.lookup.slot in shifted else TABLE_AND_SAMPLES
            kinds[part.number] = max(kinds[part.number], kind)
    return kinds


def _flows(network: AxisNetwork) -> NDArray[np.int64]:
    """Return for every unit whether gradients pass to its residual, and to each of its terms."""

    def list_flows(layer: Layer) -> list[bool]:
        residual = layer.residual is not None and _passes(layer.residual, network)
        return [residual, *(_passes(term.view, network) for term in layer.terms)]

    flows = [list_flows(layer) for layer in network.layers for _ in range(count_groups(layer))]
    table = np.zeros((len(flows), max(map(len, flows))), np.int64)
    for row, each in zip(table, flows, strict=True):
        row[: len(each)] = each
    return table


def _separate_tables(
    plan: Plan, expanded: Mapping[str, NDArray[Any]], joined: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Return the gradients to the entries of every slot, of gradients to the joined table."""
    values = {name: np.zeros(table.shape, np.float32) for name, table in expanded.items()}
    for part in plan.parts:
        lanes = find_lanes(part)
        rows = joined[part.row : part.row + part.rows, lanes] * np.float32(part.reading.weight)
        own = values[part.reading.lookup.output][part.tap, :, part.first : part.first + lanes.stop - lanes.start]
        places = show_bytes(part)
        if places[-1] - places[0] == part.rows - 1:
            own[places[0] : places[-1] + 1] += rows
        else:
            # many bytes show the same bits, or some cannot occur
            own += (np.arange(len(own))[:, None] == places).astype(np.float32) @ rows
    slots: dict[str, NDArray[np.float32]] = {}
    for lookup in plan.network.lookups:
        slope = _gather_entries(lookup, values[lookup.output])
        slots[lookup.slot] = slots[lookup.slot] + slope if lookup.slot in slots else slope
    return slots


def _gather_entries(lookup: AxisLookup, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return gradients to entries (entries, 1) of gradients to the values between which they are interpolated."""
    layout = lay_out(lookup.tables)
    entries = lookup.tables.entries
    flat = values.reshape(-1)
    weight = layout.weight.reshape(-1)
    total = np.bincount(layout.lower.reshape(-1), flat * (layout.denominator - weight), entries)
    if weight.any():
        total += np.bincount(layout.upper.reshape(-1), flat * weight, entries)
    return total.astype(np.float32)[:, None]


def _separate_shifts(
    plan: Plan, shifted: frozenset[str], shifts: NDArray[np.float64]
) -> dict[str, NDArray[np.float32]]:
    slots = {
        lookup.slot: np.zeros((len(lookup.taps), 2), np.float32)
        for lookup in plan.network.lookups
        if lookup.slot in shifted
    }
    for part in plan.parts:
        if part.reading.lookup.slot in slots:
            slots[part.reading.lookup.slot][part.tap] += shifts[part.number]
    return slots
