"""Train the built-in retouching model and write it into the package.

Example
-------
    python tools/build_retouch.py --data train/photos --val val/photos

The photos are those of CID22 (imazen/codec-corpus, CC BY-SA 4.0). Pairs are made of them: faults drawn at random go in,
a plain development is the aim (`lutkit.colour.defects`, `lutkit.colour.develop`). With --run of a finished training,
only the model is measured and written.
"""

from __future__ import annotations

from picture_models import Plan, build

from lutkit.families.adaptive_3dlut import AdaptiveConfig
from lutkit.recipe import ColourRecipe

CONFIG = AdaptiveConfig(predictor="pooled", luts=5, spread=0.1, dropout=0.0)
RECIPE = ColourRecipe(
    steps=5000,
    batch=4,
    learning_rate=6e-4,
    final_rate=2e-6,
    warmup=50,
    validate_every=400,
    monotonicity=1.0,
    longest_side=400,
    crop_ratio=(0.35, 1.0),
)

PLAN = Plan(
    name="retouch",
    summary="develops photos plainly: exposure, white balance, range, a little contrast and colour",
    family="adaptive-3dlut",
    model=CONFIG,
    recipe=RECIPE,
    protocol="spoilt photos against their plain development: PSNR of RGB, SSIM, CIE 1976 colour difference",
    machine="2 CPU cores",
)

if __name__ == "__main__":
    build(PLAN, __doc__)
