"""Train the built-in retouching model and write it into the package.

Example
-------
    python tools/build_retouch.py --data train/photos --val val/photos

The photos are those of CID22 (imazen/codec-corpus, CC BY-SA 4.0). Pairs are made of them: faults drawn at random go in,
a plain development is the aim (`lutkit.colour.defects`, `lutkit.colour.develop`). With --run of a finished training,
only the model is measured and written.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from lutkit.colour.workbench import load_model
from lutkit.configuration import RunConfig
from lutkit.evaluate import make_pairs, mean_delta_e, mean_psnr, mean_ssim, score_pairs
from lutkit.families.adaptive_3dlut import AdaptiveConfig
from lutkit.recipe import ColourRecipe
from lutkit.run import Run
from lutkit.train import train
from lutkit.transfer import transfer
from lutkit.workbench import TransferOptions, Watch
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.engine import Model

NAME = "retouch"
LICENCE = "photographs of CID22 (imazen/codec-corpus), CC BY-SA 4.0"
SUMMARY = "develops photos plainly: exposure, white balance, range, a little contrast and colour"
MODELS = Path(__file__).resolve().parents[1] / "lutkit" / "models"

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


def measure(restore: Any, pairs: Any, config: Any) -> dict[str, float]:
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
    parser.add_argument("--run", type=Path, default=Path("runs/builtin/retouch"))
    options = parser.parse_args()
    run = Run(options.run)
    if not run.network_file.is_file():
        config = RunConfig(
            family="adaptive-3dlut",
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
    figures = {
        "input": measure(lambda image: image, pairs, config),
        "network": measure(load_model(run, config.model).restore, pairs, config),
        "table": measure(model.apply, pairs, config),
    }
    provenance = {
        **artefact.provenance,
        "name": NAME,
        "summary": SUMMARY,
        "data": LICENCE,
        "figures": {"CID22 validation": figures},
        "protocol": "spoilt photos against their plain development: PSNR of RGB, SSIM, CIE 1976 colour difference",
        "machine": "2 CPU cores",
    }
    write_artefact(MODELS / f"{NAME}.h5", dataclasses.replace(artefact, provenance=provenance), overwrite=True)
    print(figures)


if __name__ == "__main__":
    main()
