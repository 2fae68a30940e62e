"""Render docs/images/detail.jpg: what the built-in model `detail` makes of pictures, beside its aim and the best colour LUT.

Run it again whenever the model changes. The pictures come with scikit-image (`pip install scikit-image`): ``coffee``
(Rachel Michetti, CC0) and ``rocket`` (SpaceX, CC0). May import lutkit.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
from build_detail import fit_best_lut
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import lutkit_runtime
from lutkit.colour.local_contrast import enhance_detail
from lutkit.colour_metrics import psnr_rgb
from lutkit.evaluate import Pair
from lutkit.resolve import find_model

NAMES = ("coffee.png", "rocket.jpg")
SIDE = 320
GAP = 6
CAPTION = 26

Image8 = NDArray[np.uint8]


def find_pictures() -> Path:
    """Return the folder of scikit-image's pictures; the package is not imported."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("scikit-image is not installed: pip install scikit-image")
    return Path(spec.submodule_search_locations[0]) / "data"


def crop_square(picture: Image8) -> Image8:
    """Return the middle of a picture."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def draw_row(panels: list[tuple[str, Image8]]) -> Image.Image:
    """Return square pictures side by side, each under its caption."""
    page = Image.new("RGB", (len(panels) * (SIDE + GAP) - GAP, SIDE + CAPTION), "white")
    draw = ImageDraw.Draw(page)
    for number, (caption, pixels) in enumerate(panels):
        left = number * (SIDE + GAP)
        draw.text((left + SIDE / 2, CAPTION / 2), caption, "black", ImageFont.load_default(14), anchor="mm")
        page.paste(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, CAPTION))
    return page


def main() -> None:
    """Write the picture and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/detail.jpg"))
    options = parser.parse_args()
    model = lutkit_runtime.load(find_model("detail").path)
    rows: list[Image.Image] = []
    for name in NAMES:
        photo = crop_square(np.asarray(Image.open(find_pictures() / name).convert("RGB")))
        aim = enhance_detail(photo)
        results = {"best colour LUT": fit_best_lut([Pair(name, photo, aim)])(photo), "detail": model.apply(photo)}
        figures = {label: psnr_rgb(result, aim) for label, result in {"photo": photo, **results}.items()}
        print(name, {label: round(figure, 2) for label, figure in figures.items()})
        rows.append(
            draw_row(
                [(f"{label}, {figures[label]:.1f} dB", result) for label, result in {"photo": photo, **results}.items()]
                + [("the operator itself", aim)]
            )
        )
    page = Image.new("RGB", (max(row.width for row in rows), sum(row.height + GAP for row in rows) - GAP), "white")
    top = 0
    for row in rows:
        page.paste(row, ((page.width - row.width) // 2, top))
        top += row.height + GAP
    page.save(options.output, quality=88)


if __name__ == "__main__":
    main()
