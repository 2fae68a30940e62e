"""Train the built-in model for dark pictures and write it into the package: PairLIE, compiled and finetuned.

Example
-------
    python tools/build_lowlight.py --data train/photos --val val/photos

The photos are those of CID22 (imazen/codec-corpus, CC BY-SA 4.0), darkened by lutkit's own model of a camera
(`lutkit.colour.exposures`). The networks learn from two such exposures without the photo; the compiled tables are then
finetuned towards the photos. With --run of a finished training, the networks are taken from there.
"""

from __future__ import annotations

from picture_models import CompiledPlan, build_compiled

from lutkit.families.pairlie import FINETUNE, QUICK, PairlieConfig

PLAN = CompiledPlan(
    name="lowlight",
    summary="brightens dark pictures by --gamma: 0 takes all of the darkness away, 1 none of it",
    family="pairlie",
    model=PairlieConfig(),
    recipe=QUICK,
    finetuning=FINETUNE,
    licence="photographs of CID22 (imazen/codec-corpus), CC BY-SA 4.0, darkened by a model of a camera",
    protocol="photos darkened by two to five stops, with noise, against the photos: PSNR of RGB, SSIM, CIE 1976 colour "
    "difference",
    on="CID22 validation",
    machine="1 CPU core",
)

if __name__ == "__main__":
    build_compiled(PLAN, __doc__)
