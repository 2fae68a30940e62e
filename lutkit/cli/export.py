"""`lutkit export`: write a model in another format. May import click; the rest inside functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutkit.cli.options import PATH, LazyChoice, examples, model_argument, overwrite_option

if TYPE_CHECKING:
    from lutkit.colour.baking import Residual
    from lutkit_runtime.artefact import Artefact

COLOUR_KINDS = ("cube", "hald")
"""Kinds of colour LUTs: what they lose against the model is measured."""


def _list_kinds() -> Iterable[str]:
    from lutkit.formats import EXPORTERS

    return EXPORTERS


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit export runs/default --to mulut -o tables",
        "lutkit export sr-lut.h5 --to sr-lut -o Model_S_x4_4bit_int8.npy",
        "lutkit export retouch.h5 --to cube --image photo.jpg -o photo.cube",
        "lutkit export look.cube --to hald -o look.png",
    ),
)
@model_argument
@click.option("--to", "kind", type=LazyChoice("kind", _list_kinds), required=True, help="Format to write.")
@click.option("-o", "--output", type=PATH, required=True, help="File or folder to write.")
@click.option(
    "--image", type=PATH, help="Picture for which an adaptive model makes its colour LUT; losses are measured on it."
)
@click.option("--size", type=click.IntRange(min=2), help="Nodes per axis of a colour LUT; default: the model's.")
@overwrite_option
def command(model: str, kind: str, output: Path, image: Path | None, size: int | None, overwrite: bool) -> None:
    """Write a model in another format.

    MODEL is a built-in name, an artefact, a run folder or a colour LUT file. Of colour LUTs is said how far they lie
    from the model: on --image, else on generated colours. A .cube file keeps values outside 0 to 1, a Hald picture not.
    """
    from lutkit.formats import export_tables
    from lutkit.resolve import find_model, open_model

    artefact = open_model(find_model(model))
    pixels = None if image is None else read_colours(image)
    options = {"image": pixels, "size": size}
    for path in export_tables(kind, artefact, output, overwrite=overwrite, options=options):
        click.echo(f"wrote {path}", err=True)
        if kind in COLOUR_KINDS:
            name = "generated colours" if image is None else str(image)
            for line in describe_losses(artefact, kind, path, pixels, name):
                click.echo(line, err=True)


def read_colours(path: Path) -> Any:
    """Return the pixels of a picture, gray ones as RGB; raises ImageError where it cannot be read."""
    from lutkit.images import read_picture
    from lutkit.images.expansion import expand_gray

    return expand_gray(read_picture(path)).pixels


def describe_losses(artefact: Artefact, kind: str, path: Path, pixels: Any, name: str) -> Iterator[str]:
    """Yield what a colour LUT file holds and how far it lies from the model on a picture of this name, line by line."""
    from lutkit.colour.baking import find_domain, make_colours, measure_residuals
    from lutkit.formats.cube_export import read_back
    from lutkit.formats.hald import describe_lost_domain

    lut = read_back(kind, path)
    table = lut.cube or lut.curves
    assert table is not None
    nodes = f"{lut.cube.size} nodes per axis" if lut.cube else f"curves of {table.size} nodes"
    yield f"  {nodes}, values {table.values.min():.4f} to {table.values.max():.4f}"
    if kind == "hald" and (lost := describe_lost_domain(*find_domain(artefact.program))):
        yield f"  {lost}"
    yield f"  against the model on {name}:"
    for residual in measure_residuals(artefact, lut, make_colours() if pixels is None else pixels):
        name = residual.interpolation.value if lut.cube else "linear"
        yield f"    {name:<12} {_say_residual(residual)}"


def _say_residual(residual: Residual) -> str:
    levels = f"{residual.most_levels} level{'s' if residual.most_levels != 1 else ''}"
    return (
        f"{residual.psnr:6.2f} dB in float, {residual.psnr_8bit:6.2f} dB in 8 bits, "
        f"at most {levels}, {residual.equal:.4%} equal"
    )
