"""The report of a distillation as one HTML file that loads nothing: pictures are inside. Imports Pillow and the report.

The layout is in report.html beside this file; words between @ are filled in here. Names are escaped, and the page forbids
itself to load, send or run anything.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lutkit.distil.fidelity import Figures, PictureFigures
from lutkit.distil.ladder import Climbed
from lutkit.distil.report import Report
from lutkit.evaluate import PERFECT_PSNR

Image8 = NDArray[np.uint8]

SHOWN = 6
"""Pictures that are shown: the worst, the best, and between."""
LONGEST_SIDE = 420
SCALES = (4, 8, 16, 32, 64, 128, 255)
"""Levels that may be the upper end of the error maps."""

_TEMPLATE = Path(__file__).with_name("report.html")
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Shown:
    """A held-out picture as the page shows it.

    Parameters
    ----------
    figures : PictureFigures
    photo, answer, result : uint8, (H, W, 3)
    """

    figures: PictureFigures
    photo: Image8
    answer: Image8
    result: Image8

    @property
    def error(self) -> Image8:
        """Largest error of a pixel's samples, uint8 (H, W), in levels."""
        return np.abs(self.result.astype(np.int16) - self.answer).max(axis=2).astype(np.uint8)


def choose_shown(report: Report, restore: Callable[[Image8], Image8]) -> list[Shown]:
    """Return held-out pictures of the chosen student from the worst to the best, with what `restore` makes of them."""
    figures = report.outcome.chosen.held_out.pictures
    order = sorted(range(len(figures)), key=lambda number: figures[number].psnr)
    places = sorted({round(place) for place in np.linspace(0, len(order) - 1, min(SHOWN, len(order)))})
    shown = []
    for place in places:
        number = order[place]
        photo, answer = report.pairs.held_out[number].read_8_bits()
        shown.append(Shown(figures[number], photo, answer, restore(photo)))
    return shown


def render_html(report: Report, shown: Sequence[Shown]) -> str:
    """Return the page: figures of every rung, why each was climbed, pictures with errors, a row for every photo."""
    chosen = report.outcome.chosen
    scale = choose_scale([each.error for each in shown])
    parts = {
        "title": html.escape(f"{report.teacher.label} as {chosen.name}"),
        "facts": _join_facts(report),
        "warnings": "".join(f'<p class="warning">{html.escape(each)}</p>' for each in report.outcome.warnings),
        "tiles": _draw_tiles(report),
        "rungs": _list_rungs(report),
        "chart": _draw_chart(report),
        "reasons": "".join(f"<li>{html.escape(each)}</li>" for each in report.outcome.reasons),
        "explained": _tell_explained(report),
        "pictures": "".join(_show(each, scale) for each in shown),
        "scale": _draw_scale(scale),
        "unseen": _list_pictures(chosen.held_out),
        "fitted": _list_pictures(chosen.seen),
        "counts": f"{len(chosen.seen.pictures)}",
        "protocol": html.escape(report.protocol),
        "speed": html.escape(report.speed_protocol),
    }
    # In one pass, so that nothing that is filled in is taken for a word to fill.
    return re.sub(r"@([a-z]+)@", lambda found: parts[found[1]], _TEMPLATE.read_text(encoding="utf-8"))


def choose_scale(errors: Sequence[Image8]) -> int:
    """Return the levels at which error maps end, one for all: above all but a hundredth of the errors."""
    reach = max((float(np.percentile(error, 99)) for error in errors), default=0.0)
    return next(scale for scale in SCALES if scale >= min(reach, SCALES[-1]))


def draw_error(error: NDArray[Any], scale: int) -> Image8:
    """Return an error map (H, W) in colours, uint8 (H, W, 3): black is none, pale yellow `scale` levels or more."""
    share = np.rint(np.minimum(error.astype(np.float64) / scale, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.asarray(cv2.applyColorMap(share, cv2.COLORMAP_INFERNO), np.uint8)[..., ::-1])


def _join_facts(report: Report) -> str:
    settings = report.settings
    facts = [
        f"teacher: {report.teacher.description}",
        f"fitted to {report.pairs.description}"
        + (f" in {1 + settings.variants} versions each" if settings.variants else ""),
        f"measured on {report.pairs.held_out_description}",
        f"tolerance {report.outcome.tolerance:g} dB",
    ]
    return " &nbsp;·&nbsp; ".join(html.escape(fact) for fact in facts)


def _draw_tiles(report: Report) -> str:
    chosen, teacher = report.outcome.chosen, report.milliseconds.get("teacher")
    time = report.milliseconds.get(chosen.name)
    faster = f"teacher {_name_time(teacher)}" if teacher else "the teacher fails on such a picture"
    tiles = [
        (f"{chosen.held_out.psnr:.1f} dB", "PSNR to the teacher, unseen photos"),
        (f"{chosen.held_out.delta_e:.2f}", f"mean dE; largest {chosen.held_out.largest_delta_e:.1f}"),
        (f"{chosen.held_out.largest_error}", "largest error, levels of 255"),
        (_name_bytes(chosen.bytes), f"teacher {_name_bytes(report.teacher.bytes)}"),
        (_name_time(time), f"{faster}; 1920 x 1080"),
    ]
    return "".join(f"<div><b>{value}</b><span>{html.escape(what)}</span></div>" for value, what in tiles)


def _list_rungs(report: Report) -> str:
    untouched, teacher = report.known.untouched, report.milliseconds.get("teacher")
    rows = [_row("photo as it is", _cells(untouched), "", "", "", "")]
    for rung in report.outcome.climbed:
        marked = rung is report.outcome.chosen
        gap = f"{rung.seen.psnr:.2f} ({rung.gap:+.2f})"
        time = _name_time(report.milliseconds.get(rung.name))
        rows.append(_row(rung.name, _cells(rung.held_out), gap, _name_bytes(rung.bytes), time, _note(rung), marked))
    rows.append(
        _row("teacher", [""] * 4, "", _name_bytes(report.teacher.bytes), _name_time(teacher), report.teacher.engine)
    )
    return "".join(rows)


def _cells(figures: Figures) -> list[str]:
    return [
        f"{figures.psnr:.2f}",
        f"{figures.delta_e:.2f}",
        f"{figures.largest_delta_e:.1f}",
        f"{figures.largest_error}",
    ]


def _row(name: str, cells: list[str], gap: str, size: str, time: str, note: str, marked: bool = False) -> str:
    texts = [*cells, gap, size, time]
    kind = ' class="chosen"' if marked else ""
    return (
        f"<tr{kind}><th>{html.escape(name)}</th>"
        + "".join(f"<td>{html.escape(text)}</td>" for text in texts)
        + f'<td class="note">{html.escape(note)}</td></tr>'
    )


def _note(rung: Climbed) -> str:
    notes = rung.fitted.notes
    parts = [f"fitted in {rung.seconds:.0f} s"] if rung.seconds >= 1 else []
    if "cells_never_hit" in notes:
        share = notes["cells_never_hit"] / notes["cells"]
        there = notes["held_out_pixels_there"]
        parts.append(f"{share:.0%} of the cells never hit, {there:.2%} of the unseen pixels lie there")
    return "; ".join(parts)


def _draw_chart(report: Report) -> str:
    """Return the rungs as bars over decibels, with the tolerance as a line."""
    outcome, known = report.outcome, report.known
    bars = [("photo as it is", known.untouched.psnr, None, None)]
    ceilings = {"set": known.of_set.ceiling, "picture": known.ceiling_of_pictures, "place": None}
    bars += [(each.name, each.held_out.psnr, each.seen.psnr, ceilings[each.scope.value]) for each in outcome.climbed]
    # ceilings far beyond what was reached would leave no room for the rest
    values = [value for _, unseen, seen, _ in bars for value in (unseen, seen, outcome.tolerance) if value is not None]
    low = 5 * math.floor((min(values) - 3) / 5)
    high = 5 * math.ceil((max(values) + 4) / 5)
    left, width, step = 130, 560, 34
    bottom = 8 + step * len(bars)

    def place(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * width

    shapes = []
    for level in range(low, high + 1, 5 if high - low <= 50 else 10):
        shapes.append(f'<line x1="{place(level):.1f}" x2="{place(level):.1f}" y1="6" y2="{bottom}" class="grid"/>')
        shapes.append(f'<text x="{place(level):.1f}" y="{bottom + 15}" text-anchor="middle">{level}</text>')
    for number, (name, unseen, seen, ceiling) in enumerate(bars):
        top = 10 + step * number
        shapes.append(f'<text x="{left - 10}" y="{top + 16}" text-anchor="end" class="name">{html.escape(name)}</text>')
        kind = "bar plain" if seen is None else "bar"
        shapes.append(f'<rect x="{left}" y="{top}" width="{place(unseen) - left:.1f}" height="14" class="{kind}"/>')
        if seen is not None:
            shapes.append(f'<rect x="{left}" y="{top + 16}" width="{place(seen) - left:.1f}" height="5" class="seen"/>')
        if ceiling is not None and ceiling <= high:
            x = place(ceiling)
            shapes.append(
                f'<path d="M{x:.1f} {top - 3}v27" class="ceiling"><title>at best {ceiling:.1f} dB</title></path>'
            )
        shapes.append(f'<text x="{place(unseen) + 6:.1f}" y="{top + 12}" class="value">{unseen:.1f}</text>')
    x = place(outcome.tolerance)
    shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}" class="tolerance"/>')
    return (
        f'<svg viewBox="0 0 740 {bottom + 22}" role="img" aria-label="PSNR of every rung in dB">{"".join(shapes)}</svg>'
    )


def _tell_explained(report: Report) -> str:
    known = report.known
    if known.of_set.share is None:
        return "<p>No colour occurs twice in these photos: what a colour map can explain is not known.</p>"
    share = min(max(known.of_set.share, 0), 1)
    ceiling = known.of_set.ceiling
    exact = ceiling is None or math.isinf(ceiling)
    best = "exactly" if exact else f"to {ceiling:.1f} dB over all pixels at best"
    each = known.ceiling_of_pictures
    adaptive = (
        ""
        if each is None or exact
        else " A colour map of its own for each picture could meet it "
        + ("exactly." if each > PERFECT_PSNR - 0.05 else f"to {each:.1f} dB on average.")
    )
    return (
        f'<div class="share"><div style="width:{100 * share:.2f}%"></div></div>'
        f"<p><b>{share:.1%}</b> of the variance of the teacher's answers is explained by colours alone: one "
        f"colour map for all photos could meet it {best}.{adaptive} "
        f"From the {known.of_set.counted:.0%} of the pixels whose colour occurs more than once.</p>"
    )


def _show(shown: Shown, scale: int) -> str:
    figures = shown.figures
    caption = (
        f"<b>{html.escape(figures.name)}</b> &nbsp; {_name_psnr(figures)} dB, mean dE {figures.delta_e:.2f}, largest error "
        f"{_count_levels(figures.largest_error)}"
    )
    images = [("input", shown.photo), ("teacher", shown.answer), ("student", shown.result)]
    cells = [f'<figure><img src="{_embed(_shrink(image))}" alt="{name}"></figure>' for name, image in images]
    error = draw_error(_shrink_error(shown.error), scale)
    cells.append(f'<figure><img src="{_embed(error)}" alt="error"></figure>')
    return f'<p class="caption">{caption}</p><div class="four">{"".join(cells)}</div>'


def _count_levels(levels: int) -> str:
    return f"{levels} level{'' if levels == 1 else 's'}"


def _draw_scale(scale: int) -> str:
    ramp = draw_error(np.tile(np.linspace(0, scale, 256), (12, 1)), scale)
    steps = "".join(f"<span>{scale * step / 4:g}</span>" for step in range(4)) + f"<span>{scale} or more</span>"
    return f'<div class="scale"><img src="{_embed(ramp)}" alt=""><div>{steps}</div></div>'


def _list_pictures(figures: Figures) -> str:
    return "".join(
        f"<tr><th>{html.escape(each.name)}</th><td>{_name_psnr(each)}</td><td>{each.delta_e:.3f}</td>"
        f"<td>{each.largest_delta_e:.2f}</td><td>{each.largest_error}</td></tr>"
        for each in figures.pictures
    )


def _name_psnr(figures: PictureFigures) -> str:
    return f"{figures.psnr:.2f}" if math.isfinite(figures.psnr) else "equal"


def _name_bytes(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _name_time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 2000 else f"{milliseconds:.3g} ms"


def _shrink(image: Image8) -> Image8:
    """Return an image whose longer side is at most `LONGEST_SIDE`, by averaging."""
    factor = LONGEST_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shrink_error(error: Image8) -> Image8:
    """Return an error map no larger than the pictures; the largest of the errors that fall together stays."""
    factor = max(1, math.ceil(max(error.shape) / LONGEST_SIDE))
    rows, columns = (-(-length // factor) for length in error.shape)
    padded = np.zeros((rows * factor, columns * factor), np.uint8)
    padded[: error.shape[0], : error.shape[1]] = error
    return padded.reshape(rows, factor, columns, factor).max(axis=(1, 3))


def _embed(image: Any) -> str:
    """Return an image as a data URL."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
