"""Train the built-in model for local contrast and write it into the package.

Example
-------
    python tools/build_detail.py --data train/photos --val val/photos

The photos are those of CID22 (imazen/codec-corpus, CC BY-SA 4.0). The aim is what an operator of lutkit's own makes of
them (`lutkit.colour.local_contrast`). With --run of a finished training, only the model is measured and written.
"""

from __future__ import annotations

from collections.abc import Sequence

from picture_models import Plan, build

from lutkit.colour.lut import ColourLut
from lutkit.colour.programs import make_lut_artefact
from lutkit.distil.cube_fit import CubeFit
from lutkit.evaluate import Pair, Restore
from lutkit.families.hdrnet import HdrnetConfig
from lutkit.recipe import ColourRecipe
from lutkit_runtime.engine import Model

CONFIG = HdrnetConfig(start="identity", task="detail")
RECIPE = ColourRecipe(
    steps=6000,
    batch=4,
    learning_rate=1e-3,
    final_rate=5e-6,
    warmup=100,
    validate_every=500,
    average=0.995,
    smoothness=0.0,
    monotonicity=0.0,
    longest_side=400,
    crop_ratio=(0.5, 1.0),
)


def fit_best_lut(pairs: Sequence[Pair]) -> Restore:
    """Return the colour LUT of 33 nodes that is nearest to these very pairs: no other does better on them."""
    fit = CubeFit(33)
    for pair in pairs:
        fit.add(pair.degraded / 255, pair.target / 255)
    artefact = make_lut_artefact(ColourLut(cube=fit.solve()))
    return Model(artefact.program, artefact.tables).apply


PLAN = Plan(
    name="detail",
    summary="local contrast: brings out detail and evens out light, as dodging and burning does",
    family="hdrnet",
    model=CONFIG,
    recipe=RECIPE,
    protocol="photos against what the operator makes of them: PSNR of RGB, SSIM, CIE 1976 colour difference",
    machine="1 CPU core",
    rivals={"best colour LUT": fit_best_lut},
)

if __name__ == "__main__":
    build(PLAN, __doc__)
