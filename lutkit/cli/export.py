"""`lutkit export`: write a model in another format. May import click; the rest inside functions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from lutkit.cli.options import PATH, LazyChoice, examples, model_argument, overwrite_option


def _list_kinds() -> Iterable[str]:
    from lutkit.formats import EXPORTERS

    return EXPORTERS


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit export runs/default --to mulut -o tables",
        "lutkit export sr-lut.h5 --to sr-lut -o Model_S_x4_4bit_int8.npy",
    ),
)
@model_argument
@click.option("--to", "kind", type=LazyChoice("kind", _list_kinds), required=True, help="Format to write.")
@click.option("-o", "--output", type=PATH, required=True, help="File or folder to write.")
@overwrite_option
def command(model: str, kind: str, output: Path, overwrite: bool) -> None:
    """Write a model in another format.

    MODEL is a built-in name, an artefact or a run folder.
    """
    from lutkit.formats import export_tables
    from lutkit.resolve import find_model
    from lutkit_runtime.artefact import read_artefact

    artefact = read_artefact(find_model(model).path)
    for path in export_tables(kind, artefact, output, overwrite=overwrite):
        click.echo(f"wrote {path}", err=True)
