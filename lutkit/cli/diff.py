"""`lutkit diff`: how much two LUTs differ. May import click; the rest inside functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lutkit.cli.lut_options import lut_interpolation_option, open_named
from lutkit.cli.options import examples, json_option, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit diff film.cube small.cube",
        "lutkit diff film.cube film.png --json",
    ),
)
@click.argument("first")
@click.argument("second")
@lut_interpolation_option
@json_option
def command(first: str, second: str, interpolation: str | None, as_json: bool) -> None:
    """Measure how much two colour LUTs differ.

    Each is a .cube file, a Hald picture, a file that OpenColorIO reads, or a model that is one LUT. They are compared
    over a dense grid of colours; differences are in units of the values, of which 0 to 1 is black to white, and the
    colour difference (CIE 1976) takes values for sRGB.
    """
    import dataclasses

    from lutkit.colour.difference import diff

    one, other = (open_named(name, interpolation) for name in (first, second))
    difference = diff(one.lut, other.lut, one.interpolation, other.interpolation)
    if as_json:
        print_json(dataclasses.asdict(difference))
        return
    if not difference.largest:
        click.echo(f"no difference at {difference.inputs} colours")
        return
    results = f"{_show(difference.first)} and {_show(difference.second)}"
    click.echo(f"largest difference  {difference.largest:.3g} in {difference.channel}")
    click.echo(f"  where             {_show(difference.place)} becomes {results}")
    click.echo(f"mean difference     {difference.mean:.3g}")
    click.echo(f"PSNR                {difference.psnr:.2f} dB")
    click.echo(
        f"colour difference   {difference.delta_e_mean:.3f} on average, {difference.delta_e_largest:.2f} at most"
    )


def _show(colour: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.4g}' for value in colour)})"
