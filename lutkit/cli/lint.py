"""`lutkit lint`: look for faults in a model's colour cubes. May import click; the rest inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutkit.cli.options import PATH, examples, json_option, model_argument, print_json

if TYPE_CHECKING:
    from lutkit.colour.findings import Finding


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit lint look.cube",
        "lutkit lint retouch --image photo.jpg",
        "lutkit lint look.cube --bits 10 --json",
    ),
)
@model_argument
@click.option("--image", type=PATH, help="Picture for which an adaptive model makes the cube that is checked.")
@click.option(
    "--bits",
    type=click.IntRange(8, 16),
    default=8,
    show_default=True,
    help="Depth of the pictures for which bands are judged.",
)
@json_option
def command(model: str, image: Path | None, bits: int, as_json: bool) -> None:
    """Look for faults in a model's colour cubes.

    MODEL is a built-in name, an artefact, a run folder or a colour LUT file. Found are clipping, channels that fall
    where their input rises, bands, tinted grays, colours turned inside out, and cells that training never visited; each
    with figures and the input colour where it is worst. Of an adaptive model without --image each basis table is
    checked. Findings are no errors: the exit code is 0.
    """
    from lutkit.colour.model_lint import lint_model
    from lutkit.resolve import find_model, open_model

    pixels = None
    if image is not None:
        from lutkit.images import read_picture
        from lutkit.images.expansion import expand_gray

        pixels = expand_gray(read_picture(image)).pixels
    source = find_model(model)
    tables = lint_model(open_model(source), pixels, bits=bits)
    if as_json:
        described = [{"name": table.name, "findings": [_describe(each) for each in table.findings]} for table in tables]
        print_json({"model": source.label, "tables": described})
        return
    for table in tables:
        for finding in table.findings:
            click.echo(f"{table.name}: {finding.severity.value}: {finding.code.value}: {finding.message}")
        if not table.findings:
            click.echo(f"{table.name}: nothing found")


def _describe(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values."""
    return {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "message": finding.message,
        "numbers": dict(finding.numbers),
    }
