"""Render docs/images/before-after.png: the sample picture enlarged by bicubic interpolation and by a model.

Run it again whenever the built-in model or the sample picture changes. May import lutkit.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import lutkit_runtime
from lutkit.resize import resize_bicubic
from lutkit.resolve import find_model

CROPS = ((8, 44, 80, 60), (80, 44, 80, 60))
"""Left, top, width and height of the parts that are shown, in pixels of the sample."""

SAMPLE_WIDTH = 160
GAP = 8
CAPTION = 30


def join_panels(panels: list[tuple[str, NDArray[Any]]]) -> Image.Image:
    """Return the crops of every panel in one row per panel, each row under its caption.

    Parameters
    ----------
    panels : list of (caption, uint8 (H, W, 3))
        All of one size.
    """
    scale = panels[0][1].shape[1] // SAMPLE_WIDTH
    row_height = CROPS[0][3] * scale + CAPTION
    width = sum(crop[2] * scale for crop in CROPS) + GAP * (len(CROPS) - 1)
    page = Image.new("RGB", (width, row_height * len(panels) + GAP * (len(panels) - 1)), "white")
    draw = ImageDraw.Draw(page)
    for number, (caption, pixels) in enumerate(panels):
        top = number * (row_height + GAP)
        draw.text((width / 2, top + CAPTION / 2), caption, "black", ImageFont.load_default(18), anchor="mm")
        left = 0
        for x, y, crop_width, crop_height in CROPS:
            part = pixels[y * scale : (y + crop_height) * scale, x * scale : (x + crop_width) * scale]
            page.paste(Image.fromarray(np.ascontiguousarray(part)), (left, top + CAPTION))
            left += crop_width * scale + GAP
    return page


def main() -> None:
    """Enlarge the sample with the model and write the comparison."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--model", default="sr-x4", help="model of scale 4 [default: %(default)s]")
    arguments.add_argument("--sample", type=Path, default=Path("docs/images/sample.png"))
    arguments.add_argument("--output", type=Path, default=Path("docs/images/before-after.png"))
    wanted = arguments.parse_args()
    sample = np.asarray(Image.open(wanted.sample).convert("RGB"))
    found = find_model(wanted.model)
    enlarged = lutkit_runtime.load(found.path).apply(sample)
    panels = [("bicubic interpolation", resize_bicubic(sample, 4)), (f"lutkit apply -m {found.label}", enlarged)]
    join_panels(panels).save(wanted.output, optimize=True)


if __name__ == "__main__":
    main()
