"""Train the built-in model for local contrast and write it into the package.

Example
-------
    python tools/build_detail.py --data train/photos --val val/photos

The photos are those of CID22 (imazen/codec-corpus, CC BY-SA 4.0). The aim is what an operator of lutkit's own makes of
them (`lutkit.colour.local_contrast`). With --run of a finished training, only the model is measured and written.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lutkit.bilateral.workbench import BilateralWorkbench
from lutkit.colour.lut import ColourLut
from lutkit.colour.programs import make_lut_artefact
from lutkit.configuration import RunConfig
from lutkit.distil.cube_fit import CubeFit
from lutkit.evaluate import Pair, Restore, make_pairs, mean_delta_e, mean_psnr, mean_ssim, score_pairs
from lutkit.families import find_family
from lutkit.families.hdrnet import HdrnetConfig
from lutkit.recipe import ColourRecipe
from lutkit.run import Run
from lutkit.train import train
from lutkit.transfer import transfer
from lutkit.workbench import TransferOptions, Watch
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.engine import Model

NAME = "detail"
LICENCE = "photographs of CID22 (imazen/codec-corpus), CC BY-SA 4.0"
SUMMARY = "local contrast: brings out detail and evens out light, as dodging and burning does"
MODELS = Path(__file__).resolve().parents[1] / "lutkit" / "models"

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


def measure(restore: Restore, pairs: Sequence[Pair], config: Any) -> dict[str, float]:
    """Return the means of PSNR, SSIM and colour difference."""
    scores = score_pairs(restore, pairs, config.task)
    return {
        "psnr": round(mean_psnr(scores), 3),
        "ssim": round(mean_ssim(scores), 4),
        "delta_e": round(mean_delta_e(scores), 3),
    }


def main() -> None:
    """Train, transfer, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/builtin/detail"))
    options = parser.parse_args()
    run = Run(options.run)
    if not run.network_file.is_file():
        config = RunConfig(
            family="hdrnet",
            model=CONFIG,
            recipe=RECIPE,
            data=str(options.data.resolve()),
            val=str(options.val.resolve()),
        )
        train(run, config, torch.device("cpu"), Watch(say=lambda line: print(line, file=sys.stderr)))
    config = run.read_config()
    artefact, _ = transfer(run, config, TransferOptions(storage="int16"))
    pairs = make_pairs(options.val, config.task, config.seed)
    model = Model(artefact.program, artefact.tables)
    network = BilateralWorkbench(find_family("hdrnet")).load_model(run, config)
    figures = {
        "input": measure(lambda image: image, pairs, config),
        "best colour LUT": measure(fit_best_lut(pairs), pairs, config),
        "network": measure(network.restore, pairs, config),
        "table": measure(model.apply, pairs, config),
    }
    provenance = {
        **artefact.provenance,
        "name": NAME,
        "summary": SUMMARY,
        "data": LICENCE,
        "figures": {"CID22 validation": figures},
        "protocol": "photos against what the operator makes of them: PSNR of RGB, SSIM, CIE 1976 colour difference",
        "machine": "1 CPU core",
    }
    write_artefact(MODELS / f"{NAME}.h5", dataclasses.replace(artefact, provenance=provenance), overwrite=True)
    print(figures)


def fit_best_lut(pairs: Sequence[Pair]) -> Restore:
    """Return the colour LUT of 33 nodes that is nearest to these very pairs: no other does better on them."""
    fit = CubeFit(33)
    for pair in pairs:
        fit.add(pair.degraded / 255, pair.target / 255)
    artefact = make_lut_artefact(ColourLut(cube=fit.solve()))
    return Model(artefact.program, artefact.tables).apply


if __name__ == "__main__":
    main()
