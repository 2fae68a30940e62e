"""What the commands that make colour LUTs from colour LUTs share. May import click; the rest inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lutkit.cli.options import PATH

if TYPE_CHECKING:
    from lutkit.colour.lut import ColourLut
    from lutkit.colour.opening import OpenedLut
    from lutkit_runtime.cube import CubeInterpolation

lut_output_option = click.option(
    "-o", "--output", type=PATH, required=True, help="LUT to write: .cube, or .png for a Hald picture of 16 bits."
)
lut_interpolation_option = click.option(
    "--interpolation",
    type=click.Choice(["trilinear", "tetrahedral"]),
    help="How cubes are interpolated; default: as each file says, else tetrahedral, and so the result.",
)


def echo_note(note: str) -> None:
    """Print a remark on stderr."""
    click.echo(note, err=True)


def open_named(source: str, interpolation: str | None = None) -> OpenedLut:
    """Open a LUT argument, printing remarks on stderr."""
    from lutkit.colour.opening import open_lut

    asked = None if interpolation is None else choose_interpolation(interpolation)
    return open_lut(source, echo_note, interpolation=asked)


def choose_interpolation(name: str | None) -> CubeInterpolation:
    """Return the interpolation of a result: that of a name the option lets through, else how .cube files are read."""
    from lutkit_runtime.cube import CubeInterpolation

    return CubeInterpolation.TETRAHEDRAL if name is None else CubeInterpolation(name)


def check_output(output: Path, overwrite: bool) -> None:
    """Raise FormatError unless the LUT can be written there, click.UsageError where no LUT has such a name."""
    from lutkit.colour.opening import check_lut_target, find_fault_of_name

    problem = find_fault_of_name(output)
    if problem:
        raise click.UsageError(problem)
    check_lut_target(output, overwrite=overwrite)


def write_named(lut: ColourLut, output: Path, overwrite: bool) -> ColourLut:
    """Write a LUT, printing remarks on stderr, and return it as the file holds it."""
    from lutkit.colour.opening import save_lut

    return save_lut(lut, output, overwrite=overwrite, note=echo_note)


def describe_stored(lut: ColourLut, output: Path, residual: str) -> None:
    """Print on stderr what a file holds and how far it is off."""
    parts = [f"curves of {lut.curves.size} nodes"] if lut.curves else []
    parts += [f"a cube of {lut.cube.size} nodes per axis"] if lut.cube else []
    echo_note(f"{output}: {' and '.join(parts)}; {residual}")
