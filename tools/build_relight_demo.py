"""Train the built-in model that relights pictures and write it into the package: S3Net, compiled and finetuned.

Example
-------
    python tools/build_relight_demo.py

The scenes are rendered by lutkit (`lutkit.relighting.rendering`). The network learns from them, a grid learns from the
network, and its tables are then finetuned towards the scenes. With --run of a finished training, the network is taken
from there; with --data, from a folder of scenes.
"""

from __future__ import annotations

from picture_models import CompiledPlan, build_compiled

from lutkit.families.s3net import FINETUNE, QUICK, S3netConfig

PLAN = CompiledPlan(
    name="relight-demo",
    summary="shows a picture as the light of a guide picture would show it, from the depth of both; for rendered scenes",
    family="s3net",
    model=S3netConfig(),
    recipe=QUICK,
    finetuning=FINETUNE,
    licence="scenes rendered by lutkit",
    protocol="rendered scenes that were not trained on, under eight directions and five colours of light: PSNR of RGB, "
    "SSIM, CIE 1976 colour difference",
    on="rendered scenes",
    machine="1 CPU core",
)

if __name__ == "__main__":
    build_compiled(PLAN, __doc__)
