"""What `lutkit info` tells about models of colours, op by op. May import the runtime inside functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lutkit_runtime.artefact import Artefact
    from lutkit_runtime.cube import Float32
    from lutkit_runtime.ops import ColourLookup, Op
    from lutkit_runtime.ops.colour_lookup import Domain
    from lutkit_runtime.table_coding import TableCoding


def describe_colours(artefact: Artefact) -> dict[str, Any]:
    """Return parameters, companions and steps of a model of colours as JSON values; sizes in bytes."""
    return {
        "parameters": [
            {"name": each.name, "default": each.default, "low": each.low, "high": each.high}
            for each in artefact.program.parameters
        ],
        "companions": [{"name": each.name, "channels": each.channels} for each in artefact.program.companions],
        "steps": [{"op": _tag(op), "makes": op.output, **_describe(op, artefact)} for op in artefact.program.ops],
    }


def _tag(op: Op) -> str:
    return str(op.__struct_config__.tag)


def _describe(op: Op, artefact: Artefact) -> dict[str, Any]:
    from lutkit_runtime.ops import (
        BilateralSlice,
        Blend,
        ColourLookup,
        ColourMatrix,
        GridFusion,
        Illuminate,
        Network,
        Predictor,
        SelectPlanes,
        TableFusion,
    )
    from lutkit_runtime.table_coding import TableCoding

    match op:
        case Predictor():
            return {
                "slot": op.slot,
                "bytes": op.graph_bytes,
                "thumbnail": op.side,
                "outputs": op.outputs,
                "sampling": op.sampling.value,
                "companions": list(op.companions),
            }
        case Network():
            return {
                "slot": op.slot,
                "bytes": op.graph_bytes,
                "sources": list(op.sources),
                "planes": op.planes,
                "reach": op.reach,
                "multiple": op.multiple,
                "smallest": op.smallest,
            }
        case SelectPlanes():
            return {"input": op.input, "planes": list(op.planes)}
        case Illuminate():
            return {
                "reflectance": op.reflectance,
                "illumination": op.illumination,
                "gamma": op.gamma,
                "is_root": op.is_root,
            }
        case GridFusion():
            return {
                "grid": [op.rows, op.columns, op.depth],
                "terms": op.terms,
                "table": _describe_table(op.slot, op.coding, artefact),
            }
        case BilateralSlice():
            curves, result = op.guide.curves, op.guide.result
            codings = {op.guide.mix: TableCoding(), curves.slot: curves.coding, result.slot: result.coding}
            return {
                "guide": {
                    "curves": op.guide.count,
                    "entries": curves.entries,
                    "result_entries": result.entries,
                    "tables": [_describe_table(slot, coding, artefact) for slot, coding in codings.items()],
                }
            }
        case TableFusion():
            tables = [_describe_table(basis.slot, basis.coding, artefact) for basis in op.bases]
            return {"size": op.size, "tables": tables}
        case ColourLookup():
            return _describe_lookup(op, artefact)
        case ColourMatrix():
            return {"matrix": [list(row) for row in op.matrix], "offset": list(op.offset)}
        case Blend():
            return {"base": op.base, "changed": op.changed, "amount": op.amount}
        case _:
            return {}


def _describe_table(slot: str, coding: TableCoding, artefact: Artefact) -> dict[str, Any]:
    stored = artefact.tables[slot]
    return {
        "slot": slot,
        "storage": coding.storage.value,
        "bytes": stored.nbytes,
        **_span(coding.decode(stored)),
    }


def _describe_lookup(op: ColourLookup, artefact: Artefact) -> dict[str, Any]:
    curves = cube = None
    if op.curves:
        values = op.curves.coding.decode(artefact.tables[op.curves.slot])
        curves = {
            "slot": op.curves.slot,
            "entries": op.curves.entries,
            "domain": _ends(op.curves.domain),
            "storage": op.curves.coding.storage.value,
            **_span(values),
        }
    if op.cube:
        cube = {
            "slot": None if op.cube.fused else op.cube.table,
            "size": op.cube.size,
            "domain": _ends(op.cube.domain),
            "interpolation": op.cube.interpolation.value,
            "stretch": op.cube.stretch,
        }
        if not op.cube.fused:
            values = op.cube.coding.decode(artefact.tables[op.cube.table])
            cube |= {"storage": op.cube.coding.storage.value, **_span(values)}
    return {"curves": curves, "cube": cube, "arithmetic": _tell_arithmetic(op, artefact)}


def _tell_arithmetic(op: ColourLookup, artefact: Artefact) -> dict[str, str | None]:
    """Return the arithmetic for every depth, and why 8-bit pictures have no packed integers where they have none."""
    from lutkit.colour.arithmetic import find_obstacle
    from lutkit_runtime.cube import Arithmetic

    reason = None
    if op.arithmetic is not Arithmetic.PACKED:
        reason = find_obstacle(op, artefact.tables)
    elif op.input != artefact.program.input:
        reason = f"'{op.input}' is no picture of 8 bits"
    packed = op.arithmetic is Arithmetic.PACKED and reason is None
    return {"uint8": "packed" if packed else "float32", "uint16": "float32", "float32": "float32", "reason": reason}


def _span(values: Float32) -> dict[str, float]:
    return {"lowest": float(values.min()), "highest": float(values.max())}


def _ends(domain: Domain) -> list[list[float]]:
    return [list(domain.low), list(domain.high)]


def tell_colours(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what `describe_colours` found as text for people."""
    for each in facts["parameters"]:
        yield f"  --{each['name']:<14} {each['low']:g} to {each['high']:g}, default {each['default']:g}"
    for each in facts["companions"]:
        kind = "a photo" if each["channels"] == 3 else "a map of one channel"
        yield f"  --{each['name'].replace('_', '-'):<14} needed beside the picture and of its size: {kind}"
    for number, step in enumerate(facts["steps"], 1):
        yield f"step {number}, {step['op'].replace('_', ' ')}"
        yield from (f"  {name:<16} {text}" for name, text in _TELLERS[step["op"]](step))


def _tell_predictor(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "network", f"{step['bytes']:,} bytes of ONNX"
    seen = " and ".join(("the whole picture", *step["companions"]))
    yield "sees", f"{seen} at {step['thumbnail']} x {step['thumbnail']} pixels, {step['sampling']} samples"
    yield "gives", f"{step['outputs']} numbers"


def _tell_network(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "network", f"{step['bytes']:,} bytes of ONNX, run on the processor"
    reach = "the whole picture" if step["reach"] is None else f"up to {step['reach']} px around each pixel"
    yield "sees", f"{' and '.join(step['sources'])}, {reach}"
    if step["multiple"] > 1:
        yield "sides", f"extended to multiples of {step['multiple']}"
    yield "gives", f"{step['planes']} planes"


def _tell_planes(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "takes", f"of {step['input']} the planes {', '.join(map(str, step['planes']))}"


def _tell_light(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    root = ", which holds fourth roots" if step["is_root"] else ""
    yield "lights", f"{step['reflectance']} with {step['illumination']}{root}, to the power of {step['gamma']}"


def _tell_fusion(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "cube", f"{step['size']} nodes per axis, a weighted sum of {len(step['tables'])} tables"
    yield from _tell_tables(step["tables"])


def _tell_tables(tables: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for table in tables:
        yield table["slot"], f"{table['storage']}, {table['bytes']:,} bytes, {_say_span(table)}"


def _tell_grid(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    rows, columns, depth = step["grid"]
    yield (
        "grid",
        f"{rows} x {columns} places, {depth} levels, a weighted sum of {step['terms']} columns and a constant one",
    )
    yield from _tell_tables([step["table"]])


def _tell_slice(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    guide = step["guide"]
    yield (
        "guide",
        f"{guide['curves']} curves of {guide['entries']} nodes, their sum by one of {guide['result_entries']}",
    )
    yield from _tell_tables(guide["tables"])


def _tell_lookup(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if curves := step["curves"]:
        yield "curves", f"{curves['entries']} nodes, {curves['storage']}, {_say_span(curves)}"
        yield "  domain", _say_domain(curves["domain"])
    if cube := step["cube"]:
        stored = f"{cube['storage']}, {_say_span(cube)}" if cube["slot"] else "made for every picture"
        yield "cube", f"{cube['size']} nodes per axis, {stored}"
        yield "  domain", _say_domain(cube["domain"])
        stretch = f", nodes {cube['stretch']} / {cube['size'] - 1} apart" if cube["stretch"] != 1 else ""
        yield "  interpolation", f"{cube['interpolation']}{stretch}"
    arithmetic = step["arithmetic"]
    if arithmetic["uint8"] == "packed":
        yield "arithmetic", "packed integers for 8-bit pictures, float32 for others"
    else:
        because = f" (8-bit pictures too: {arithmetic['reason']})" if arithmetic["reason"] else ""
        yield "arithmetic", f"float32{because}"


def _tell_matrix(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for channel, row, offset in zip(("red", "green", "blue"), step["matrix"], step["offset"], strict=True):
        yield channel, " ".join(f"{number:9.6g}" for number in row) + f"  plus {offset:g}"


def _tell_blend(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "mixes", f"{step['changed']} into {step['base']} by {step['amount']}"


_TELLERS = {
    "predictor": _tell_predictor,
    "network": _tell_network,
    "select_planes": _tell_planes,
    "illuminate": _tell_light,
    "table_fusion": _tell_fusion,
    "grid_fusion": _tell_grid,
    "bilateral_slice": _tell_slice,
    "colour_lookup": _tell_lookup,
    "colour_matrix": _tell_matrix,
    "blend": _tell_blend,
}


def _say_span(part: dict[str, Any]) -> str:
    return f"values {part['lowest']:.6g} to {part['highest']:.6g}"


def _say_domain(ends: list[list[float]]) -> str:
    """Return one range for all channels where they have the same, else three."""
    ranges = [f"{low:g} to {high:g}" for low, high in zip(*ends, strict=True)]
    return ranges[0] if len(set(ranges)) == 1 else ", ".join(ranges)
