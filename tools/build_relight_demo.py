"""Train the built-in model that relights pictures and write it into the package: S3Net, compiled and finetuned.

Example
-------
    python tools/build_relight_demo.py

The scenes are rendered by lutkit (`lutkit.relighting.rendering`). The network learns from them, a grid learns from the
network, and its tables are then finetuned towards the scenes. With --run of a finished training, the network is taken
from there; with --data, from a folder of scenes. All forms are measured on scenes of another seed than those, 128 pixels a side.
"""

from __future__ import annotations

import msgspec
from picture_models import CompiledPlan, build_compiled

from lutkit.evaluate import Pair
from lutkit.families.s3net import FINETUNE, QUICK, S3netConfig
from lutkit.relighting.pairs import plan_pairs
from lutkit.relighting.scenes import render_scenes

SEED, SCENES, PAIRS, SIDE = 20_000, 20, 60, 128
"""Of what is measured."""


def render_pairs() -> list[Pair]:
    """Return pairs of scenes that nothing was trained on."""
    return [read() for read in plan_pairs(render_scenes(SEED, SCENES, SIDE), 0, PAIRS)]


PLAN = CompiledPlan(
    name="relight-demo",
    summary="shows a picture as the light of a guide picture would show it, from the depth of both; for rendered scenes",
    family="s3net",
    model=S3netConfig(),
    recipe=QUICK,
    finetuning=msgspec.structs.replace(FINETUNE, steps=1200, longest_side=SIDE),
    licence="scenes rendered by lutkit",
    protocol="60 pairs of 20 rendered scenes that were not trained on, 128 pixels a side, under eight directions and five colours "
    "of light: PSNR of RGB, SSIM, CIE 1976 colour difference",
    on="rendered scenes",
    machine="1 CPU core",
    find_pairs=render_pairs,
)

if __name__ == "__main__":
    build_compiled(PLAN, __doc__)
