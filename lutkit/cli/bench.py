"""`lutkit bench`: measure how fast models run on this machine. May import click; the rest inside functions."""

from __future__ import annotations

import click

from lutkit.cli.options import examples, json_option, print_json


@click.command(
    epilog=examples(
        "lutkit bench",
        "lutkit bench -m sr-x4 --rounds 5",
        "lutkit bench -m look.cube",
        "lutkit bench --json > speed.json",
    )
)
@click.option("-m", "--model", help="Built-in name, artefact, run folder or colour LUT.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=15, show_default=True, help="Runs per engine, at most.")
@json_option
def command(model: str | None, rounds: int, as_json: bool) -> None:
    """Measure how fast models run on this machine.

    Every engine runs on a generated picture; the engines take turns, and the median counts. Speeds are in millions of
    pixels of the result per second.

    Without a model, these are a MuLUT of the published size, and colour LUTs at every depth of pictures, beside Pillow
    and, where they are installed, OpenColorIO and FFmpeg. A new process is part of FFmpeg's time.
    """
    from lutkit.benchmark import run_cases
    from lutkit.benchmark_colour import run_colour_cases
    from lutkit.resolve import find_model, open_model
    from lutkit_runtime.engine import Model

    chosen = None
    if model is not None:
        artefact = open_model(find_model(model))
        chosen = Model(artefact.program, artefact.tables)
    click.echo("Measuring; the reference in NumPy takes most of the time.", err=True)
    rows = run_cases(chosen, rounds)
    if chosen is None:
        rows += run_colour_cases(rounds)
    if as_json:
        print_json(rows)
        return
    case, engine = (max(len(row[column]) for row in rows) for column in ("case", "engine"))
    click.echo(f"{'case':<{case}}  {'engine':<{engine}}  threads  milliseconds  megapixels/s")
    for row in rows:
        click.echo(
            f"{row['case']:<{case}}  {row['engine']:<{engine}}  {row['threads']:>7}  {row['milliseconds']:>12.2f}"
            f"  {row['megapixels_per_second']:>12.2f}"
        )
