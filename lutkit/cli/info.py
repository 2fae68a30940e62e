"""`lutkit info`: show what a model is made of. May import click; the runtime inside functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lutkit.cli.group import escape_controls
from lutkit.cli.options import examples, json_option, model_argument, print_json

if TYPE_CHECKING:
    from lutkit.resolve import ModelSource
    from lutkit_runtime.artefact import Artefact

LONGEST_TEXT = 300
"""Texts of the provenance with more characters are left out where people read."""


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit info sr-x4", "lutkit info runs/default", "lutkit info look.cube", "lutkit info model.h5 --json"
    ),
)
@model_argument
@json_option
def command(model: str, as_json: bool) -> None:
    """Show what a model is made of.

    MODEL is a built-in name, an artefact, a run folder or a colour LUT file. Shown are family, task, scale, the index
    patterns of every stage or the steps that change colours, the sizes of tables, how far the model sees, and where it
    came from.
    """
    from lutkit.resolve import find_model, open_model

    source = find_model(model)
    facts = describe_model(source, open_model(source))
    if as_json:
        print_json(facts)
    else:
        click.echo("\n".join(escape_controls(line) for line in _lines(facts)))


def describe_model(source: ModelSource, artefact: Artefact) -> dict[str, Any]:
    """Return the facts of a model as JSON values; sizes in bytes, halo and receptive field in input pixels.

    Models of single channels have ``stages``, those of colours ``steps``, ``parameters`` and ``companions``; their
    depth is null, because they keep that of the picture.
    """
    from lutkit.cli.colour_info import describe_colours
    from lutkit.cli.table_info import describe_stages
    from lutkit_runtime.program import Colour

    program = artefact.program
    colours = program.colour is Colour.RGB
    common = {
        "model": source.label,
        "file": str(source.path),
        "file_bytes": source.path.stat().st_size,
        "family": program.family,
        "task": program.task,
        "scale": program.scale,
        "depth": None if colours else program.depth,
        "colour": program.colour.value,
        "colour_space": program.colour_space,
        "halo": program.halo,
        "receptive_field": 2 * program.halo + 1,
        "table_bytes": sum(table.nbytes for table in artefact.tables.values()),
    }
    special = describe_colours(artefact) if colours else {"stages": describe_stages(program)}
    return {**common, **special, "provenance": dict(artefact.provenance)}


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the facts as text for people."""
    from lutkit.cli.colour_info import tell_colours
    from lutkit.cli.table_info import tell_stages

    scale = f", scale {facts['scale']}" if "stages" in facts else ""
    yield f"{facts['model']}: {facts['family']} for {facts['task']}{scale}"
    yield f"  file             {facts['file']} ({facts['file_bytes']:,} bytes)"
    depth = "the picture's depth" if facts["depth"] is None else f"{facts['depth']} bits"
    yield f"  works in         {depth}, {facts['colour_space']}, {facts['colour']}"
    if "stages" in facts:
        yield from tell_stages(facts)
    else:
        yield f"  tables           {facts['table_bytes']:,} bytes"
        yield from tell_colours(facts)
    if facts["provenance"]:
        yield "provenance"
        yield from (f"  {name:<24} {_shorten(value)}" for name, value in _flatten(facts["provenance"]))


def _shorten(value: Any) -> Any:
    """Return a value as people read it: long texts, such as packed bits, are for programs."""
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{len(value):,} characters, see --json"
    return value


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings, and of lists of them, under names joined by dots."""
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        value = {str(number): inner for number, inner in enumerate(value, 1)}
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
