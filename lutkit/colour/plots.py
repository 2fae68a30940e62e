"""A page about a colour LUT as a PNG picture. Imports matplotlib inside functions: it is the extra `plot`.

Figures are drawn on a canvas of their own: nothing global of matplotlib is touched, and no display is needed.
"""

from __future__ import annotations

import io
import logging
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.plot_content import STRIP_NAMES, PlotContent
from lutkit_runtime.errors import LutkitError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PAPER = "#f3f3f1"
_INK = "#26272a"
_FAINT = "#9b9c9f"
_PANEL = "#5d5e62"
_NAMES = ("red", "green", "blue")
_CHANNELS = ("#d43d3d", "#2f9e54", "#3a6fd8")
_BRIGHT = ("#ff8f8f", "#8fe3a8", "#a4c2ff")
_DOTS_PER_INCH = 110
_POINTS = 9
"""Points of the lattice per axis that are drawn; more would hide each other."""
_FINDINGS = 6


def render_png(content: PlotContent) -> bytes:
    """Return a page as a PNG file: lattice, curves, series of colours, findings, the picture before and after.

    Raises
    ------
    LutkitError
        Where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise LutkitError(
            "a plot as .png needs matplotlib: run pip install 'lutkit[plot]', or write an .html file, which needs "
            "nothing more"
        ) from None
    # Missing glyphs and the like are remarks about fonts: they concern nobody who wants to see a LUT.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = io.BytesIO()
        figure = Figure(dpi=_DOTS_PER_INCH, facecolor=_PAPER)
        FigureCanvasAgg(figure)
        _lay_out(figure, content)
        figure.savefig(stream, format="png", metadata={"Software": "lutkit"})
    return stream.getvalue()


def _lay_out(figure: Figure, content: PlotContent) -> None:
    """Draw everything: pictures above, where there are any, then the lattice with what belongs to it beside it."""
    width = 14.0
    heading, body = 0.85, 6.85
    pictures = 0.0 if content.before is None else _find_picture_height(content, width)
    height = heading + pictures + body
    figure.set_size_inches(width, height)

    def span(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """Return inches from the upper left corner as matplotlib takes them."""
        return left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height

    figure.text(0.35 / width, 1 - 0.38 / height, content.label, size=19, color=_INK, weight="bold", parse_math=False)
    facts = "   ·   ".join(content.facts)
    figure.text(0.35 / width, 1 - 0.66 / height, facts, size=10, color=_INK, alpha=0.75, parse_math=False)
    if content.before is not None and content.after is not None:
        half = (width - 0.9) / 2
        for left, image, name in ((0.35, content.before, "before"), (0.55 + half, content.after, "after")):
            axes = figure.add_axes(span(left, heading + 0.22, left + half, heading + pictures - 0.12))
            axes.imshow(image, interpolation="antialiased")
            axes.set_title(name, loc="left", size=10, color=_INK, pad=4)
            axes.set_anchor("NW")
            axes.axis("off")
    top = heading + pictures
    panel = figure.add_axes(span(0.35, top + 0.08, 6.45, top + body - 0.3), facecolor=_PANEL)
    panel.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    panel.spines[:].set_visible(False)
    panel.set_title("Where colours end up", loc="left", size=10, color="white", x=0.02, y=0.94)
    _draw_lattice(figure.add_axes(span(0.35, top + 0.1, 6.45, top + body - 0.2), projection="3d"), content)
    curves = (("Along the grays", content.grays), ("Each channel alone", content.ramps))
    for number, (title, values) in enumerate(curves):
        left = 7.15 + number * 3.45
        _draw_curves(figure.add_axes(span(left, top + 0.3, left + 2.95, top + 2.65)), content, values, title)
    strips_right = 13.55 if not content.weights else 10.6
    _draw_strips(figure.add_axes(span(7.75, top + 3.35, strips_right, top + 4.8)), content)
    if content.weights:
        _draw_weights(figure.add_axes(span(11.5, top + 3.35, 13.55, top + 4.6)), content)
    _write_findings(figure.add_axes(span(6.95, top + 5.2, 13.65, top + body - 0.1)), content)


def _find_picture_height(content: PlotContent, width: float) -> float:
    """Return inches for the two pictures with their titles; tall ones are limited."""
    assert content.before is not None
    rows, columns = content.before.shape[:2]
    return min((width - 0.9) / 2 * rows / columns, 6.0) + 0.34


def _draw_lattice(axes: Any, content: PlotContent) -> None:
    """Draw the colours of a grid where they end up, with lines on the six faces of the grid and along the grays."""
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    lattice = content.lattice
    step = max(1, (len(lattice) - 1) // (_POINTS - 1))
    points = lattice[::step, ::step, ::step].reshape(-1, 3)
    segments, colours = _collect_faces(lattice)
    axes.add_collection3d(Line3DCollection(_unit_cube(), colors="#b9babd", linewidths=0.9, linestyles=":"))
    axes.add_collection3d(Line3DCollection(segments, colors=colours, linewidths=0.8, alpha=0.75))
    axes.scatter(*points.T, c=points.clip(0, 1), s=17, linewidths=0, depthshade=False)
    axes.plot(*content.grays.T, color="white", linewidth=1.4, alpha=0.9)
    low, high = np.minimum(lattice.min(axis=(0, 1, 2)), 0), np.maximum(lattice.max(axis=(0, 1, 2)), 1)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_zlim(low[2], high[2])
    axes.set_box_aspect(high - low, zoom=1.0)
    axes.view_init(elev=24, azim=-62)
    axes.set_facecolor((0, 0, 0, 0))
    for axis, name, colour in zip((axes.xaxis, axes.yaxis, axes.zaxis), _NAMES, _BRIGHT, strict=True):
        axis.set_pane_color((0, 0, 0, 0))
        axis.set_label_text(name, color=colour, size=10)
        axis.labelpad = -8
        axis.set_ticks([0, 1])  # the name stands between
        axis.set_tick_params(labelsize=8, colors="#dedfe2")
        axis.line.set_color((1, 1, 1, 0.35))
    axes.grid(visible=False)


def _collect_faces(lattice: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the segments of the six faces of a lattice, every second line, and their colours."""
    parts = []
    for axis in range(3):
        for end in (0, -1):
            face = np.moveaxis(lattice, axis, 0)[end]
            lines = (face[::2], face.transpose(1, 0, 2)[::2])
            parts += [np.stack([each[:, :-1], each[:, 1:]], axis=-2).reshape(-1, 2, 3) for each in lines]
    segments = np.concatenate(parts)
    return segments, segments.mean(axis=1).clip(0, 1)


def _unit_cube() -> NDArray[np.float64]:
    """Return the twelve edges (12, 2, 3) of what can be shown."""
    corners = np.stack(np.meshgrid([0.0, 1.0], [0.0, 1.0], [0.0, 1.0], indexing="ij"), axis=-1)
    sides = [np.moveaxis(corners, axis, 2).reshape(-1, 2, 3) for axis in range(3)]
    return np.concatenate(sides)


def _draw_curves(axes: Axes, content: PlotContent, values: NDArray[np.float64], title: str) -> None:
    shared = len(set(content.low)) == len(set(content.high)) == 1
    low, high = (content.low[0], content.high[0]) if shared else (0.0, 1.0)
    inputs = np.linspace(low, high, len(values))
    axes.plot([low, high], [low, high], color=_FAINT, linewidth=0.9, linestyle=":")
    for channel, colour in enumerate(_CHANNELS):
        axes.plot(inputs, values[:, channel], color=colour, linewidth=1.5)
    _dress(axes, title)
    axes.set_xlim(low, high)
    axes.set_ylim(min(0, values.min()) - 0.02, max(1, values.max()) + 0.02)
    axes.axhspan(0, 1, color="white", zorder=-2)
    axes.set_xlabel("input" if shared else "share of the domain", size=8, color=_INK, labelpad=2)
    axes.grid(color=(0, 0, 0, 0.07), linewidth=0.7)


def _draw_strips(axes: Axes, content: PlotContent) -> None:
    """Draw each series of colours, before above after, with gaps between the series."""
    rows = []
    for strip in content.strips:
        rows += [np.repeat(strip, 6, axis=0), np.full((3, *strip.shape[1:]), 243, np.uint8)]
    axes.imshow(np.concatenate(rows), aspect="auto", interpolation="nearest")
    axes.set_yticks([6 + 15 * number for number in range(len(STRIP_NAMES))], STRIP_NAMES)
    axes.set_xticks([])
    _dress(axes, "Colours: before above, after below")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_weights(axes: Axes, content: PlotContent) -> None:
    every = np.arange(len(content.weights))
    axes.barh(every, content.weights, color="#6d7480", height=0.62)
    axes.axvline(0, color=_INK, linewidth=0.8)
    reach = max(1e-6, *np.abs(content.weights))
    axes.set_xlim(-1.75 * reach, 1.75 * reach)
    axes.set_ylim(len(every) - 0.4, -0.6)
    shown = len(every) <= 8
    if shown:
        for number, weight in enumerate(content.weights):
            side = 1 if weight >= 0 else -1
            align = "left" if side > 0 else "right"
            axes.text(weight + side * 0.08 * reach, number, f"{weight:.3f}", size=8, va="center", ha=align, color=_INK)
    axes.set_yticks(every if shown else [], [f"table {number}" for number in every] if shown else [])
    axes.set_xticks([])
    _dress(axes, "Weights for this picture")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _write_findings(axes: Axes, content: PlotContent) -> None:
    axes.axis("off")
    axes.set_title("Findings (lutkit lint)", loc="left", size=10, color=_INK, pad=3)
    lines = []
    for finding in content.findings[:_FINDINGS]:
        text = f"{finding.severity.value}: {finding.code.value}: {finding.message}"
        lines += textwrap.wrap(text, 122, subsequent_indent="   ")
    axes.text(0, 0.97, "\n".join(lines) or "nothing found", size=7.6, color=_INK, va="top", linespacing=1.35)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", size=10, color=_INK, pad=5)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.set_facecolor(_PAPER)
    for spine in axes.spines.values():
        spine.set_color(_FAINT)
        spine.set_linewidth(0.7)
