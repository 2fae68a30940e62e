"""Render docs/images/lowlight-*.png and relight-eight.png: what the models of light make of pictures.

Run it again whenever `lowlight` or `relight-demo` changes. The photo comes with scikit-image (`pip install scikit-image`):
``coffee`` (Rachel Michetti, CC0), darkened by lutkit's own model of a camera. The scenes are rendered by lutkit. May
import lutkit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from render_detail_picture import find_pictures

import lutkit_runtime
from lutkit.colour.exposures import Exposure
from lutkit.relighting.pairs import fit_picture
from lutkit.relighting.scenes import render_scenes
from lutkit.resolve import find_model

Image8 = NDArray[np.uint8]

GAP = 6
CAPTION = 26
SIDE = 300
SMALL = 160
STOPS = 3.5
AZIMUTHS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
GAMMAS = (0.0, 0.1, 0.2, 0.4, 1.0)
SEED = 20_000
"""Of scenes that no training has seen."""
WARMTHS = {"N": 4500, "NE": 3500, "E": 2500, "SE": 3500, "S": 4500, "SW": 5500, "W": 6500, "NW": 5500}
"""Colour temperature of the guide's light from each direction, in kelvin."""


def draw_row(panels: list[tuple[str, Image8]], side: int) -> Image.Image:
    """Return square pictures side by side, each under its caption."""
    page = Image.new("RGB", (len(panels) * (side + GAP) - GAP, side + CAPTION), "white")
    draw = ImageDraw.Draw(page)
    for number, (caption, pixels) in enumerate(panels):
        left = number * (side + GAP)
        draw.text((left + side / 2, CAPTION / 2), caption, "black", ImageFont.load_default(13), anchor="mm")
        page.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS), (left, CAPTION))
    return page


def stack(rows: list[Image.Image]) -> Image.Image:
    """Return rows below each other."""
    page = Image.new("RGB", (max(row.width for row in rows), sum(row.height + GAP for row in rows) - GAP), "white")
    top = 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height + GAP
    return page


def shrink(page: Image.Image) -> Image.Image:
    """Return a page in 256 colours, which takes half of the bytes."""
    return page.quantize(256, method=Image.Quantize.MEDIANCUT)


def draw_low_light(folder: Path) -> None:
    """Write the pictures of a dark photo."""
    with Image.open(find_pictures() / "coffee.png") as file:
        photo = np.array(file.convert("RGB"))
    photo = fit_picture(photo, 400, 400)
    dark = Exposure(stops=STOPS).take(photo, np.random.default_rng(0))
    model = lutkit_runtime.load(find_model("lowlight").path)
    row = draw_row([("dark photo", dark), ("lowlight", model.apply(dark)), ("the photo before", photo)], SIDE)
    shrink(row).save(folder / "lowlight-before-after.png", optimize=True)
    panels = [(f"--gamma {gamma:g}", model.apply(dark, gamma=gamma)) for gamma in GAMMAS]
    shrink(draw_row(panels, 2 * SMALL - 130)).save(folder / "lowlight-gamma.png", optimize=True)


def draw_relighting(folder: Path) -> None:
    """Write the picture of one scene in the light of eight guides."""
    scenes = render_scenes(SEED, 2, 256)
    model = lutkit_runtime.load(find_model("relight-demo").path)
    lights = {azimuth: scenes.lights.index(f"{azimuth}_{WARMTHS[azimuth]}") for azimuth in AZIMUTHS}
    start = scenes.picture(0, scenes.lights.index("N_6500"))
    guides = [(f"guide, {azimuth}", scenes.picture(1, light)) for azimuth, light in lights.items()]
    made = [
        ("relight-demo", model.apply(start, guide=guide, depth=scenes.depth(0), guide_depth=scenes.depth(1)))
        for _, guide in guides
    ]
    truth = [("as rendered", scenes.picture(0, light)) for light in lights.values()]
    first = draw_row(
        [("the picture", start), ("its depth", np.stack([scenes.depth(0) >> 8] * 3, -1).astype(np.uint8))], SMALL
    )
    shrink(stack([first, *(draw_row(panels, SMALL) for panels in (guides, made, truth))])).save(
        folder / "relight-eight.png", optimize=True
    )


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    draw_low_light(options.folder)
    draw_relighting(options.folder)


if __name__ == "__main__":
    main()
