"""A page about a colour LUT as one HTML file that loads nothing: pictures and script are inside. Imports Pillow.

The layout and the script are in plot_page.html beside this file; words between @ are filled in here. Names from files
are escaped, and the page forbids itself to load or send anything.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lutkit.colour.plot_content import STRIP_NAMES, Image8, PlotContent

_TEMPLATE = Path(__file__).with_name("plot_page.html")
_LATTICE_UNIT = 10000
_JPEG_QUALITY = 93
_CHANNELS = ("#ff7b7b", "#6fd08f", "#82a9ff")
_CURVE_STEP = 3
"""Every third point of a curve is drawn: more cannot be seen."""


def render_html(content: PlotContent) -> str:
    """Return a page as HTML: before and after with a slider, a lattice to turn, curves, series of colours, findings."""
    lattice = np.clip(np.rint(content.lattice * _LATTICE_UNIT), -32767, 32767).astype("<i2")
    parts = {
        "label": html.escape(content.label),
        "facts": " &nbsp;·&nbsp; ".join(html.escape(fact) for fact in content.facts),
        "compare": _compare(content),
        "curves": _draw_curves("Along the grays", content, content.grays)
        + _draw_curves("Each channel alone", content, content.ramps),
        "strips": "".join(map(_draw_strip, STRIP_NAMES, content.strips)),
        "weights": _draw_weights(content.weights),
        "findings": _list_findings(content),
        "size": str(len(content.lattice)),
        "outputs": base64.b64encode(lattice.tobytes()).decode("ascii"),
    }
    # In one pass, so that nothing that is filled in is taken for a word to fill.
    return re.sub(r"@([a-z]+)@", lambda found: parts[found[1]], _TEMPLATE.read_text(encoding="utf-8"))


def _compare(content: PlotContent) -> str:
    if content.before is None or content.after is None:
        return ""
    before, after = _embed_photo(content.before), _embed_photo(content.after)
    return (
        '<section class="panel wide"><div class="compare">'
        f'<img src="{after}" alt="after"><img class="over" src="{before}" alt="before">'
        '<input id="cut" type="range" min="0" max="100" step="0.1" value="50" aria-label="Share shown before">'
        '<div class="bar"></div><span class="tag" style="left:10px">before</span>'
        '<span class="tag" style="right:10px">after</span></div></section>'
    )


def _draw_curves(title: str, content: PlotContent, values: NDArray[np.float64]) -> str:
    """Return a panel with the three curves as SVG, in a frame of 280 x 250."""
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    left, top, width, height = 34, 8, 238, 216

    def place(x: float, y: float) -> str:
        return f"{left + x * width:.1f},{top + (high - y) / (high - low) * height:.1f}"

    def line(points: Sequence[str], style: str) -> str:
        return f'<polyline points="{" ".join(points)}" fill="none" {style}/>'

    shapes = []
    for level in (0, 0.25, 0.5, 0.75, 1):
        shapes.append(line([place(0, level), place(1, level)], 'stroke="#fff" stroke-opacity=".12"'))
        shapes.append(line([place(level, low), place(level, high)], 'stroke="#fff" stroke-opacity=".12"'))
    shared = len(set(content.low)) == len(set(content.high)) == 1
    first, last = (content.low[0], content.high[0]) if shared else (0.0, 1.0)
    shapes.append(line([place(0, first), place(1, last)], 'stroke="#fff" stroke-opacity=".4" stroke-dasharray="2 3"'))
    picked = list(range(0, len(values), _CURVE_STEP))
    for channel, colour in enumerate(_CHANNELS):
        points = [place(index / (len(values) - 1), values[index, channel]) for index in picked]
        shapes.append(line(points, f'stroke="{colour}" stroke-width="1.8"'))
    for level in (0, 0.5, 1):
        x, y = place(0, level).split(",")
        shapes.append(f'<text x="{float(x) - 5:.1f}" y="{float(y) + 4:.1f}" text-anchor="end">{level:g}</text>')
        name = first + level * (last - first)
        x, y = place(level, low).split(",")
        shapes.append(f'<text x="{x}" y="{float(y) + 15:.1f}" text-anchor="middle">{name:g}</text>')
    picture = f'<svg viewBox="0 0 280 244" role="img" aria-label="{html.escape(title)}">{"".join(shapes)}</svg>'
    return f'<section class="panel"><h2>{html.escape(title)}</h2>{picture}</section>'


def _draw_strip(name: str, strip: Image8) -> str:
    return f'<span>{name}</span><img src="{_embed(strip, "PNG", optimize=True)}" alt="{name}, before and after">'


def _draw_weights(weights: Sequence[float]) -> str:
    if not weights:
        return ""
    reach = max(1e-6, *map(abs, weights))
    rows = []
    for number, weight in enumerate(weights):
        width = 50 * abs(weight) / reach
        start = 50 if weight >= 0 else 50 - width
        bar = f'<div class="weight" style="margin-left:{start:.1f}%;width:{width:.1f}%"></div>'
        rows.append(f'<tr><td>table {number}</td><td class="chart">{bar}</td><td>{weight:.3f}</td></tr>')
    return f'<section class="panel"><h2>Weights for this picture</h2><table>{"".join(rows)}</table></section>'


def _list_findings(content: PlotContent) -> str:
    rows = [
        f'<li class="{finding.severity.value}"><b>{finding.code.value}</b> ({finding.severity.value}): '
        f"{html.escape(finding.message)}</li>"
        for finding in content.findings
    ]
    return "".join(rows) or "<li>nothing found</li>"


def _embed_photo(image: Image8) -> str:
    return _embed(image, "JPEG", quality=_JPEG_QUALITY, subsampling=0)


def _embed(image: Image8, kind: str, **options: Any) -> str:
    """Return an image as a data URL."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
