"""`lutkit compose`: one LUT for two in a row. May import click; the rest inside functions."""

from __future__ import annotations

from pathlib import Path

import click

from lutkit.cli.lut_options import (
    check_output,
    choose_interpolation,
    lut_interpolation_option,
    lut_output_option,
    open_named,
    write_named,
)
from lutkit.cli.options import examples, overwrite_option


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit compose log-to-video.cube film.cube -o both.cube",
        "lutkit compose shaper.spi1d film.png -o both.cube --size 65",
    ),
)
@click.argument("first")
@click.argument("second")
@lut_output_option
@click.option("--size", type=int, help="Nodes per axis of the cube; default: such that nodes of both LUTs meet.")
@lut_interpolation_option
@overwrite_option
def command(first: str, second: str, output: Path, size: int | None, interpolation: str, overwrite: bool) -> None:
    """Join two colour LUTs into one.

    The result does what FIRST does and then what SECOND does, unclipped. Each is a .cube file, a Hald picture, a file
    that OpenColorIO reads, or a model that is one LUT. How far the result is off at random colours is said on stderr.
    """
    from lutkit.colour.algebra import compose

    check_output(output, overwrite)
    luts = (open_named(name, interpolation) for name in (first, second))
    derived = compose(*luts, size=size, interpolation=choose_interpolation(interpolation))
    residual = f"off by up to {derived.largest:.2g}, {derived.mean:.2g} on average"
    write_named(derived.lut, output, overwrite, residual)
