"""`lutkit resize`: a LUT with another number of nodes. May import click; the rest inside functions."""

from __future__ import annotations

from pathlib import Path

import click

from lutkit.cli.lut_options import (
    check_output,
    choose_interpolation,
    describe_stored,
    lut_interpolation_option,
    lut_output_option,
    open_named,
    write_named,
)
from lutkit.cli.options import examples, overwrite_option


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit resize film.cube --size 17 -o small.cube",
        "lutkit resize film.cube --size 64 -o film.png",
    ),
)
@click.argument("lut")
@click.option(
    "--size", type=click.IntRange(min=2), required=True, help="Nodes per axis of the cube, or of curves without a cube."
)
@lut_output_option
@lut_interpolation_option
@overwrite_option
def command(lut: str, size: int, output: Path, interpolation: str | None, overwrite: bool) -> None:
    """Change how many nodes a colour LUT has.

    LUT is a .cube file, a Hald picture, a file that OpenColorIO reads, or a model that is one LUT. How far the result
    is off at random colours is said on stderr.
    """
    from lutkit.colour.algebra import resize

    check_output(output, overwrite)
    opened = open_named(lut, interpolation)
    derived = resize(opened.lut, size, choose_interpolation(interpolation), opened.interpolation)
    stored = derived.store_as(write_named(derived.lut, output, overwrite))
    describe_stored(stored.lut, output, f"off by up to {stored.largest:.2g}, {stored.mean:.2g} on average")
