"""`lutkit compose`: one LUT for two in a row. May import click; the rest inside functions."""

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
        "lutkit compose log-to-video.cube film.cube -o both.cube",
        "lutkit compose shaper.spi1d film.png -o both.cube --size 65",
    ),
)
@click.argument("first")
@click.argument("second")
@lut_output_option
@click.option(
    "--size", type=click.IntRange(min=2), help="Nodes per axis of the cube; default: such that nodes of both LUTs meet."
)
@lut_interpolation_option
@overwrite_option
def command(
    first: str, second: str, output: Path, size: int | None, interpolation: str | None, overwrite: bool
) -> None:
    """Join two colour LUTs into one.

    The result does what FIRST does and then what SECOND does, unclipped. Each is a .cube file, a Hald picture, a file
    that OpenColorIO reads, or a model that is one LUT. How far the result is off at random colours is said on stderr.
    """
    from lutkit.colour.algebra import compose

    check_output(output, overwrite)
    one, other = (open_named(name, interpolation) for name in (first, second))
    ways = (one.interpolation, other.interpolation)
    derived = compose(one.lut, other.lut, size, choose_interpolation(interpolation), ways)
    stored = derived.store_as(write_named(derived.lut, output, overwrite))
    describe_stored(stored.lut, output, f"off by up to {stored.largest:.2g}, {stored.mean:.2g} on average")
