"""`lutkit invert`: the LUT that undoes a LUT. May import click; the rest inside functions."""

from __future__ import annotations

from pathlib import Path

import click

from lutkit.cli.lut_options import check_output, describe_stored, lut_output_option, open_named, write_named
from lutkit.cli.options import examples, overwrite_option


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit invert log-to-video.cube -o video-to-log.cube",
        "lutkit invert look.cube --size 33 -o undo.cube",
    ),
)
@click.argument("lut")
@lut_output_option
@click.option(
    "--size",
    type=click.IntRange(min=2),
    help="Nodes per axis of the cube, or of curves; default: 65, or what curves need.",
)
@overwrite_option
def command(lut: str, output: Path, size: int | None, overwrite: bool) -> None:
    """Make the colour LUT that undoes another.

    LUT is a .cube file, a Hald picture, a file that OpenColorIO reads, or a model that is one LUT. Curves must rise or
    fall throughout and cubes must not fold colours over. Colours that LUT never gives are taken for the nearest that it
    does. How far from the start going there and back ends is said on stderr.
    """
    from lutkit.colour.inversion import invert

    check_output(output, overwrite)
    opened = open_named(lut)
    inverse = invert(opened.lut, size, opened.interpolation)
    inverse = inverse.store_as(write_named(inverse.lut, output, overwrite))
    residual = f"there and back is off by up to {inverse.largest:.2g}, {inverse.mean:.2g} on average"
    if inverse.outside:
        residual += f"; {inverse.outside:.1%} of its nodes are colours that {lut} never gives"
    describe_stored(inverse.lut, output, residual)
