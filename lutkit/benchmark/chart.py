"""Rows of a benchmark as bars, one panel for every case. Imports matplotlib inside a function: it is the extra `plot`.

Figures are drawn on a canvas of their own: nothing global of matplotlib is touched, and no display is needed.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from lutkit.benchmark.rows import CUDA, LUTKIT, Row
from lutkit_runtime.errors import LutkitError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")

OWN, OTHERS, ANOTHER = ("#9ecae8", "#1f77b4", "#0b3c61"), ("#d4d4d4", "#9a9a9a", "#5c5c5c"), "#c98a2b"
"""Lighter bars for fewer threads, in blue those of lutkit; the edge of those that compute something else."""

LOGARITHMIC_FROM = 12
"""Speeds that differ by more than this factor are drawn on a logarithmic scale."""

BAR, PANEL_WIDTH, DOTS_PER_INCH = 0.2, 7.0, 110
"""Inches of a bar's height and a panel's width."""


def render_chart(rows: Sequence[Row], suffix: str) -> bytes:
    """Return the speeds of all rows as a picture.

    Parameters
    ----------
    rows : sequence of Row
        At least one.
    suffix : str
        ``.png`` or ``.svg``.

    Raises
    ------
    LutkitError
        Where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise LutkitError("a chart needs matplotlib: run pip install 'lutkit[plot]', or leave --plot out") from None
    # Missing glyphs and the like are remarks about fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    panels = [list(block) for _, block in groupby(rows, lambda row: row["case"])]
    across = 1 if len(panels) == 1 else 2
    lines = [panels[start : start + across] for start in range(0, len(panels), across)]
    heights = [BAR * max(map(len, line)) + 0.9 for line in lines]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(PANEL_WIDTH * across, sum(heights) + 0.7), dpi=DOTS_PER_INCH, layout="constrained")
        grid = figure.add_gridspec(len(lines), across, height_ratios=heights)
        for down, line in enumerate(lines):
            for right, panel in enumerate(line):
                _draw_panel(figure.add_subplot(grid[down, right]), panel)
        figure.suptitle("Speed in megapixels of the result per second: longer is faster", fontsize=13, weight="bold")
        figure.supxlabel(f"{rows[0]['machine']}. Orange edges: other results than the reference.", fontsize=9)
        stream = io.BytesIO()
        figure.savefig(stream, format=suffix.lstrip("."), facecolor="white")
    return stream.getvalue()


def _draw_panel(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the bars of a case from top to bottom, those of an engine together and named once."""
    counts = sorted({row["threads"] for row in rows})
    speeds = [row["megapixels_per_second"] for row in rows]
    logarithmic = max(speeds) > LOGARITHMIC_FROM * min(speeds)
    lowest = 10.0 ** math.floor(math.log10(min(speeds))) if logarithmic else 0.0
    places: list[float] = []
    ticks: list[tuple[float, str, bool]] = []
    place = 0.0
    for name, block in groupby(rows, lambda row: f"{row['engine']} {row['model']}".rstrip()):
        group = list(block)
        ticks.append((place + (len(group) - 1) / 2, name, group[0]["engine"] in (LUTKIT, CUDA)))
        places += [place + number for number in range(len(group))]
        place += len(group) + 0.5
    for row, speed, at in zip(rows, speeds, places, strict=True):
        shades = OWN if row["engine"] in (LUTKIT, CUDA) else OTHERS
        shade = shades[min(counts.index(row["threads"]), len(shades) - 1)]
        edge = ANOTHER if row["note"] else "none"
        axes.barh(at, speed - lowest, left=lowest, height=0.92, color=shade, edgecolor=edge, linewidth=1.4)
        label = f"{shorten(speed)}   {shorten(row['milliseconds'])} ms, {row['threads']} thr."
        axes.annotate(label, (speed, at), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _position: shorten(value))
        # room for the labels, which stand right of the bars
        axes.set_xlim(lowest, max(speeds) * (max(speeds) / lowest) ** 0.42)
    else:
        axes.set_xlim(0, max(speeds) * 1.42)
    axes.set_ylim(place - 0.9, -0.7)
    labels = axes.set_yticks([at for at, _, _ in ticks], [name for _, name, _ in ticks], fontsize=9)
    for label, (_, _, own) in zip(labels, ticks, strict=True):
        label.label1.set_fontweight("bold" if own else "normal")
    scale = " (logarithmic)" if logarithmic else ""
    axes.set_title(f"{rows[0]['case']}{scale}", fontsize=10, loc="left")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def shorten(value: float) -> str:
    """Return a number with three digits that count, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
