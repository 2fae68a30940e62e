"""What `lutkit info` and `lutkit transfer` tell about tables of samples. May import the runtime inside functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lutkit_runtime.artefact import Artefact
    from lutkit_runtime.ops import AxisLookup, Lookup, ReconstructedConvolution
    from lutkit_runtime.program import Program, TableOp

INDENT = " " * 19
"""Of lines that go on about a table, which begin below its description."""


def describe_stages(program: Program) -> list[dict[str, Any]]:
    """Return turns and tables of every op that reads tables, as JSON values; sizes in bytes."""
    from lutkit_runtime.ops import Ensemble
    from lutkit_runtime.ops.ensemble import TURNS
    from lutkit_runtime.program import TableOp

    stages: list[dict[str, Any]] = []
    for op in program.ops:
        inner, turns = (op.body, TURNS) if isinstance(op, Ensemble) else ((op,), 1)
        tables = [_describe(each) for each in inner if isinstance(each, TableOp)]
        if tables or isinstance(op, Ensemble):
            stages.append({"turns": turns, "tables": tables})
    return stages


def _describe(op: TableOp) -> dict[str, Any]:
    from lutkit_runtime.ops import Lookup, ReconstructedConvolution

    match op:
        case Lookup():
            special = _describe_lookup(op)
        case ReconstructedConvolution():
            special = _describe_window(op)
        case _:
            special = _describe_axes(op)
    return {"op": str(op.__struct_config__.tag), "slot": op.slot, **special}


def _describe_lookup(op: Lookup) -> dict[str, Any]:
    diagonal = None
    if op.diagonal is not None:
        diagonal = {
            "width": op.diagonal.width,
            "coarse_step": 1 << op.diagonal.coarse,
            "rows_near": len(op.diagonal.band_rows(op.lattice)),
            "rows": op.entries,
            "rows_of_full": op.lattice.entries,
        }
    return {
        "offsets": [list(offset) for offset in op.pattern.offsets],
        "interval": op.lattice.interval,
        "nodes_per_axis": op.lattice.nodes_per_axis,
        "entries": op.entries,
        "outputs": op.block**2,
        "bytes": op.entries * op.block**2,
        "padding": op.padding.value,
        "interpolation": op.interpolation.value,
        "diagonal": diagonal,
    }


def _describe_window(op: ReconstructedConvolution) -> dict[str, Any]:
    import numpy as np

    slots = op.slots
    return {
        "window": op.window,
        "first": op.first,
        "storage": op.storage,
        "unit": op.unit,
        "entries": slots[op.slot].entries,
        "thresholds": slots[op.post].entries,
        "bytes": sum(slot.entries * slot.outputs * np.dtype(slot.dtype).itemsize for slot in slots.values()),
    }


def _describe_axes(op: AxisLookup) -> dict[str, Any]:
    tables = op.tables
    steps = Counter(step for steps in tables.steps for step in steps)
    return {
        "taps": len(op.taps),
        "depthwise": op.depthwise,
        "offsets": [[tap.channel, tap.row, tap.column] for tap in op.taps],
        "low": tables.low,
        "high": tables.low + tables.size - 1,
        "outputs": op.outputs,
        "steps": {str(step): steps[step] for step in sorted(steps)},
        "entries": tables.entries,
        "bytes": tables.entries,
        "padding": op.padding.value,
    }


def tell_stages(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what `describe_stages` found, with the receptive field and the bytes in all, line by line for people."""
    field = facts["receptive_field"]
    yield f"  sees             {field} x {field} pixels (halo {facts['halo']})"
    yield f"  tables           {facts['table_bytes']:,} bytes"
    for number, stage in enumerate(facts["stages"], 1):
        yield f"stage {number}, {stage['turns']} turns"
        for table in stage["tables"]:
            first, *others = _TELLERS[table["op"]](table)
            yield f"  {table['slot']:<16} {first}"
            yield from (INDENT + line for line in others)


def _tell_lookup(table: dict[str, Any]) -> Iterator[str]:
    yield _join(table["offsets"])
    yield (
        f"{table['nodes_per_axis']} nodes per axis, {table['entries']:,} x {table['outputs']} "
        f"entries, {table['interpolation']}, {table['padding']} padding"
    )
    diagonal = table["diagonal"]
    if diagonal is not None:
        yield (
            f"compressed: nodes every {1 << table['interval']} within {diagonal['width']} of the diagonal, every "
            f"{diagonal['coarse_step']} elsewhere; {diagonal['rows']:,} of {diagonal['rows_of_full']:,} rows"
        )


def _tell_window(table: dict[str, Any]) -> Iterator[str]:
    size, first = table["window"], table["first"]
    yield f"window of {size} x {size} from ({first},{first}) on, its sum to a code"
    yield (
        f"{table['entries']:,} entries of {table['storage']}, {table['thresholds']} thresholds, unit "
        f"{table['unit']:g}, {table['bytes']:,} bytes"
    )


def _tell_axes(table: dict[str, Any]) -> Iterator[str]:
    by_channel: dict[int, list[tuple[int, int]]] = {}
    for channel, row, column in table["offsets"]:
        by_channel.setdefault(channel, []).append((row, column))
    places = list(by_channel.values())
    channels = f"{len(places)} channel{'s' if len(places) > 1 else ''}"
    if all(each == places[0] for each in places):
        yield f"{channels} at {_join(places[0])}"
    else:
        yield f"{channels}, shifted: {_join(place for each in places for place in each)}"
    steps = ", ".join(f"{step} ({count:,} tables)" for step, count in table["steps"].items())
    yield (
        f"values {table['low']} to {table['high']}, {table['outputs']} outputs"
        f"{', each of its channel' if table['depthwise'] else ''}, nodes every {steps}, "
        f"{table['bytes']:,} bytes, {table['padding']} padding"
    )


_TELLERS = {"lookup": _tell_lookup, "reconstructed_convolution": _tell_window, "axis_lookup": _tell_axes}


def _join(offsets: Iterable[Iterable[int]]) -> str:
    return " ".join(f"({','.join(map(str, offset))})" for offset in offsets)


def tell_sizes(artefact: Artefact) -> Iterator[str]:
    """Yield how far a model of single channels sees, and the bytes of every table and of all together, line by line."""
    from lutkit_runtime.program import Colour

    if artefact.program.colour is Colour.EACH_CHANNEL:
        field = 2 * artefact.program.halo + 1
        yield f"receptive field {field} x {field} pixels"
    sizes = {slot: artefact.tables[slot].nbytes for slot in artefact.program.slots}
    total = f"{sum(sizes.values()):,}"
    name_width = max(map(len, ("tables in all", *sizes)))
    yield from (f"{slot:<{name_width}}  {size:>{len(total)},} bytes" for slot, size in sizes.items())
    yield f"{'tables in all':<{name_width}}  {total} bytes"
