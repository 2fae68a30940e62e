"""Score models for dark pictures on a folder of scenes with references, brightness apart.

Example
-------
    python tools/score_lowlight.py scenes exact.h5 compiled.h5 --gamma 0.2

For each model, and for the picture as it came: the means over scenes of PSNR and SSIM of the 8-bit RGB result as it is, and
after one gain for the whole picture that gives it the mean of the reference. Of each scene, the first exposure is taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.pictures import read_target
from lutkit.colour_metrics import psnr_rgb, ssim_wang
from lutkit.lowlight.exposures import find_scenes
from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model

Image8 = NDArray[np.uint8]


def match_mean(picture: Image8, reference: Image8) -> Image8:
    """Return a picture times the gain that gives it the mean of the reference, rounded and clipped."""
    gain = reference.mean(dtype=np.float64) / max(picture.mean(dtype=np.float64), 1e-6)
    return np.clip(np.rint(picture * gain), 0, 255).astype(np.uint8)


def score(restore: Callable[[Image8], Image8], pairs: Sequence[tuple[Image8, Image8]]) -> list[float]:
    """Return the means of PSNR and SSIM, as it is and with the mean matched."""
    rows: list[list[float]] = []
    for dark, reference in pairs:
        made = restore(dark)
        matched = match_mean(made, reference)
        rows.append(
            [
                psnr_rgb(made, reference),
                ssim_wang(made, reference),
                psnr_rgb(matched, reference),
                ssim_wang(matched, reference),
            ]
        )
    return [float(each) for each in np.mean(rows, axis=0)]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--gamma", type=float)
    options = parser.parse_args()
    pairs = [
        (read_target(scene.exposures[0]), read_target(scene.reference))
        for scene in find_scenes(options.scenes)
        if scene.reference is not None
    ]
    named: dict[str, Any] = {} if options.gamma is None else {"gamma": options.gamma}
    contenders: dict[str, Callable[[Image8], Image8]] = {"input": lambda image: image}
    for name in options.models:
        artefact = open_model(find_model(name))
        model = Model(artefact.program, artefact.tables)
        contenders[name] = lambda image, model=model: model.apply(image, **named)
    width = max(map(len, contenders))
    print(f"{len(pairs)} scenes; {'':{width}}  PSNR   SSIM  | mean matched  PSNR   SSIM")
    for name, restore in contenders.items():
        plain_psnr, plain_ssim, psnr, ssim = score(restore, pairs)
        print(f"{name:<{width}}  {plain_psnr:6.3f}  {plain_ssim:.4f}  {psnr:6.3f}  {ssim:.4f}", flush=True)


if __name__ == "__main__":
    main()
