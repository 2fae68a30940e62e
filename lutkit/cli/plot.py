"""`lutkit plot`: draw what a model does to colours. May import click; the rest inside functions."""

from __future__ import annotations

from pathlib import Path

import click

from lutkit.cli.options import PATH, examples, model_argument, overwrite_option

SUFFIXES = (".png", ".html")


@click.command(
    no_args_is_help=True,
    epilog=examples(
        "lutkit plot warm-film -o warm-film.png",
        "lutkit plot look.cube --image photo.jpg -o look.html",
        "lutkit plot retouch --image photo.jpg -o retouch.html",
    ),
)
@model_argument
@click.option("--image", type=PATH, help="Picture to show before and after; an adaptive model makes its LUT for it.")
@click.option("-o", "--output", type=PATH, required=True, help="File to write: .png, or .html to turn and compare.")
@overwrite_option
def command(model: str, image: Path | None, output: Path, overwrite: bool) -> None:
    """Draw what a model does to colours.

    MODEL is a built-in name, an artefact, a run folder or a colour LUT file. On one page are shown where a grid of
    colours ends up, the curves along the grays and of each channel, series of colours before and after, what
    `lutkit lint` finds, and with --image the picture before and after, and the weights of an adaptive model. The .html
    page is one file that loads nothing from elsewhere. A .png needs matplotlib: pip install 'lutkit[plot]'.
    """
    from lutkit.colour.plot_content import collect_content
    from lutkit.resolve import find_model, open_model
    from lutkit_runtime.atomic import check_target, write_atomically

    suffix = output.suffix.lower()
    if suffix not in SUFFIXES:
        raise click.UsageError(f"-o is '{output}'; name a file that ends in {' or '.join(SUFFIXES)}")
    check_target(output, overwrite=overwrite)
    pixels = None
    if image is not None:
        from lutkit.images import read_picture
        from lutkit.images.expansion import expand_gray

        pixels = expand_gray(read_picture(image)).pixels
    source = find_model(model)
    content = collect_content(open_model(source), source.label, pixels)
    if suffix == ".html":
        from lutkit.colour.plot_page import render_html

        data = render_html(content).encode("utf-8")
    else:
        from lutkit.colour.plots import render_png

        data = render_png(content)
    write_atomically(output, data, overwrite=overwrite)
    click.echo(f"wrote {output}", err=True)
