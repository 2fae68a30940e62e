"""Measure everything that docs/benchmarks.md shows on this machine, and write the figures into the page.

Example
-------
    python tools/benchmark_report.py docs/benchmarks.md --plot docs/images/benchmarks.png

What stands between the two markers of the page is replaced: the comparison with OpenColorIO on 3840 x 2160 pixels and one
thread, then every case of `lutkit bench`. It takes two minutes on two free cores; on a busy machine the figures say little.
"""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import click

from lutkit.benchmark.chart import render_chart, shorten
from lutkit.benchmark.engines import ENGINES, find_present
from lutkit.benchmark.rows import Row
from lutkit.benchmark.running import CASES, run_cases

START, END = "<!-- figures of one machine: tools/benchmark_report.py -->", "<!-- end of the figures -->"

CUBES = tuple(name for name in CASES if name.startswith("cube"))
LARGE = (2160, 3840)

HEADER = """| engine | threads | ms | first to third quartile | MP/s | roofline | × lutkit | off at most | identical | |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"""


BUSY = 1.0
"""Load from which times say little: the measured programs need the cores for themselves."""


def format_case(title: str, rows: list[Row]) -> list[str]:
    """Return a heading and the table of a case."""
    lines = [f"### {title.replace('^3', '³')}", "", HEADER]
    for row in rows:
        roofline, ratio = row["roofline_percent"], row["times_lutkit"]
        off, identical = row["max_difference"], row["identical"]
        cells = (
            f"{row['engine']} {row['model']}".rstrip(),
            str(row["threads"]),
            f"{row['milliseconds']:.2f}",
            f"{row['first_quartile']:.2f} – {row['third_quartile']:.2f}" if row["runs"] > 1 else "one run",
            shorten(row["megapixels_per_second"]),
            "" if roofline is None else f"{shorten(roofline)} %",
            "" if ratio is None else f"{ratio:.2f}",
            "" if off is None else f"{off:.3g}",
            "" if identical is None else f"{100 * identical:.2f} %",
            row["note"],
        )
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return [*lines, ""]


def format_page(rows: list[Row], load: float) -> str:
    """Return all figures in Markdown."""
    versions = find_present(ENGINES)
    named = ", ".join(f"{ENGINES[key].title} {version}" for key, version in versions.items())
    lines = [f"{rows[0]['machine']}. {named}. Load when it began: {load:.1f}.", ""]
    if load > BUSY:
        lines += [
            "**The machine was busy with other work while these were measured: the times are several times too long, those of two "
            "threads most of all, and single runs say little. What is equal and what is off holds.**",
            "",
        ]
    for title, block in groupby(rows, lambda row: row["case"]):
        lines += format_case(title, list(block))
    return "\n".join(lines)


@click.command()
@click.argument("page", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the cases as .png or .svg.")
@click.option("--rounds", default=25, show_default=True, help="Measurements of each engine, at most.")
@click.option("--seconds", default=1.5, show_default=True, help="Time for each engine in a case.")
def main(page: Path, plot: Path | None, rounds: int, seconds: float) -> None:
    """Replace the figures in PAGE by those of this machine."""
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(START)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise click.ClickException(f"{page} has no figures between '{START}' and '{END}'")

    def say(line: str) -> None:
        click.echo(line, err=True)

    load = os.getloadavg()[0]
    large = run_cases(
        CUBES,
        engines=("lutkit", "opencolorio"),
        threads=(1,),
        size=LARGE,
        rounds=rounds,
        seconds=4 * seconds,
        announce=say,
    )
    usual = run_cases(rounds=rounds, seconds=seconds, announce=say)
    page.write_text(f"{before}{START}\n\n{format_page([*large, *usual], load)}{END}{after}", encoding="utf-8")
    if plot is not None:
        plot.write_bytes(render_chart(usual, plot.suffix.lower()))


if __name__ == "__main__":
    main()
