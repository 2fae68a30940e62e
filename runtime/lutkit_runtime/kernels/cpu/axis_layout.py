"""The tables of an axis network, joined as its kernel reads them.

Floor 4: imports the primitives, the network and its plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.axis_tables import AxisTables, Layout
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork, View
from lutkit_runtime.kernels.cpu.axis_plan import Part, Plan, count_groups, plan_network
from lutkit_runtime.kernels.cpu.axis_sums import LANES

WIDEST_NARROW_SUM = (1 << 15) - 1
CACHE_LINE = 64


@dataclass(frozen=True)
class Prepared:
    """A network with its tables, ready for planes of any size.

    Parameters
    ----------
    plan : Plan
    expanded : dict of output of a lookup to int64, (taps, size, outputs)
        Its tables; see `Layout.expand`.
    table : int16 or int32, one-dimensional
        See `run_network_lines`; int16 where no sum of these entries leaves 16 bits.
    """

    plan: Plan
    expanded: dict[str, NDArray[np.int64]]
    table: NDArray[np.int16 | np.int32]

    @property
    def network(self) -> AxisNetwork:
        """What was planned."""
        return self.plan.network


def prepare_network(
    network: AxisNetwork, tables: Mapping[str, NDArray[np.int8]], apart: frozenset[str] = frozenset()
) -> Prepared:
    """Plan a network and join its tables.

    Parameters
    ----------
    network : AxisNetwork
    tables : mapping of slot name to int8, (entries, 1)
    apart : set of slot names
        See `plan_network`.
    """
    plan = plan_network(network, apart)
    expanded = {lookup.output: lay_out(lookup.tables).expand(tables[lookup.slot]) for lookup in network.lookups}
    wide = join_tables(plan, expanded, np.int32)
    _finish_maps(plan, wide)
    if _bound_sums(plan, wide) > WIDEST_NARROW_SUM:
        return Prepared(plan, expanded, wide.reshape(-1))
    narrow = _align_rows(plan.rows, np.int16)
    narrow[...] = wide
    return Prepared(plan, expanded, narrow.reshape(-1))


@lru_cache(maxsize=64)
def lay_out(tables: AxisTables) -> Layout:
    """Return the layout of tables; training asks for the same ones at every step."""
    return tables.lay_out()


def join_tables(plan: Plan, expanded: Mapping[str, NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    """Return the rows that taps read, (rows, 16), where tables of several add up.

    Parameters
    ----------
    plan : Plan
    expanded : mapping of output of a lookup to (taps, size, outputs)
        For some of the lookups; others count as zero.
    dtype
    """
    joined = _align_rows(plan.rows, dtype)
    joined[...] = 0
    for part in plan.parts:
        values = expanded.get(part.reading.lookup.output)
        if values is not None:
            lanes = find_lanes(part)
            width = lanes.stop - lanes.start
            rows = values[part.tap, show_bytes(part), part.first : part.first + width]
            joined[part.row : part.row + part.rows, lanes] += (rows * part.reading.weight).astype(dtype)
    return joined


def find_lanes(part: Part) -> slice:
    """Return the lanes to which a tap adds."""
    if part.reading.lookup.depthwise:
        return slice(part.lane, part.lane + 1)
    return slice(0, min(LANES, part.reading.lookup.outputs - part.first))


def show_bytes(part: Part) -> NDArray[np.int64]:
    """Return for every byte of a map the place in the expanded table of a lookup that views it.

    Bytes that cannot occur, because a map is clamped to fewer, get some place.
    """
    tables = part.reading.lookup.tables
    return _show_bytes(part.reading.view, tables.low, tables.size, part.rows)


@lru_cache(maxsize=256)
def _show_bytes(view: View, low: int, size: int, count: int) -> NDArray[np.int64]:
    values = ((np.arange(count) >> view.shift) & view.mask) + view.offset
    return np.clip(values - low, 0, size - 1)


def _finish_maps(plan: Plan, joined: NDArray[np.int32]) -> None:
    """Replace the rows of units that only map by the bytes that they make of them: nothing is added to these rows."""
    layers = [layer for layer in plan.network.layers for _ in range(count_groups(layer))]
    for unit, layer in zip(plan.units, layers, strict=True):
        if unit[15]:
            tap = plan.passes[unit[1], 0]
            row = int(plan.starts[tap]) // LANES
            rows = slice(row, row + next(part.rows for part in plan.parts if part.number == tap))
            joined[rows] = layer.requantise.codes(joined[rows].astype(np.int64)) - layer.offset


def _bound_sums(plan: Plan, joined: NDArray[np.int32]) -> int:
    """Return a bound of the magnitude of every sum that occurs on the way, with these entries."""
    largest = np.zeros((len(plan.starts) + 1, LANES), np.int64)
    read = np.flatnonzero(plan.starts)
    if len(read):
        first_rows = (plan.starts[read] // np.uint64(LANES)).astype(np.int64)
        largest[read + 1] = np.maximum.reduceat(np.abs(joined), first_rows, axis=0)
    until = largest.cumsum(axis=0)
    bound = 0
    for unit in plan.units:
        if unit[15]:
            continue
        passes, terms = plan.passes[unit[1] : unit[2]], plan.terms[unit[3] : unit[4]]
        taps = until[passes[-1, 0] + passes[-1, 1]] - until[passes[0, 0]] if len(passes) else np.zeros(1, np.int64)
        bound = max(bound, int(taps.max() + abs(unit[10]) + (terms[:, 4] * terms[:, 5]).sum()))
    return bound


def _align_rows(rows: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Return an empty array (rows, 16) whose rows do not straddle cache lines."""
    size = np.dtype(dtype).itemsize
    flat = np.empty(rows * LANES + CACHE_LINE // size, dtype)
    first = -flat.ctypes.data % CACHE_LINE // size
    return flat[first : first + rows * LANES].reshape(rows, LANES)
