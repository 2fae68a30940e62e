"""`lutkit bench`: measure how fast models run on this machine. May import click; the rest inside functions."""

from __future__ import annotations

import click

from lutkit.cli.options import examples, json_option, print_json


@click.command(epilog=examples("lutkit bench", "lutkit bench -m sr-x4 --rounds 5", "lutkit bench --json > speed.json"))
@click.option("-m", "--model", help="Built-in name, artefact or run folder; default: a MuLUT of the published size.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=15, show_default=True, help="Runs per engine, at most.")
@json_option
def command(model: str | None, rounds: int, as_json: bool) -> None:
    """Measure how fast models run on this machine.

    Every engine enlarges a generated picture; the engines take turns, and the median counts. Speeds are in millions of
    pixels of the result per second.
    """
    from lutkit.benchmark import run_cases
    from lutkit.resolve import find_model
    from lutkit_runtime.engine import load

    chosen = None if model is None else load(find_model(model).path)
    click.echo("Measuring; the reference in NumPy takes most of the time.", err=True)
    rows = run_cases(chosen, rounds)
    if as_json:
        print_json(rows)
        return
    width = max(len(row["case"]) for row in rows)
    click.echo(f"{'case':<{width}}  engine  threads  milliseconds  megapixels/s")
    for row in rows:
        click.echo(
            f"{row['case']:<{width}}  {row['engine']:<6}  {row['threads']:>7}  {row['milliseconds']:>12.2f}"
            f"  {row['megapixels_per_second']:>12.2f}"
        )
