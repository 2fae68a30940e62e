"""Train the built-in models and write them into the package, with their recipe and measured figures.

The whole pipeline on the CPU: networks through the lattice, transfer, finetuning. Photos: the training and validation
photographs of CID22 (imazen/codec-corpus, CC BY-SA 4.0). Figures on benchmark folders are measured afterwards; nothing is
chosen by them.

    python tools/build_builtin_models.py sr-x4 --data PHOTOS --val VALIDATION --set5 SET5 --work runs/builtin
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from lutkit.configuration import RunConfig
from lutkit.evaluate import Pair, make_pairs, mean_psnr, mean_ssim, score_pairs
from lutkit.families import find_family
from lutkit.families.spatial import QUICK
from lutkit.finetune import find_job, finetune, write_finetuned
from lutkit.recipe import Phase
from lutkit.run import Run
from lutkit.spatial_transfer import make_artefact, measure_transfer, transfer_networks
from lutkit.spatial_workbench import load_model
from lutkit.train import train
from lutkit.workbench import Watch
from lutkit_runtime.artefact import read_artefact, write_artefact
from lutkit_runtime.engine import load

LICENCE = "photographs of CID22 (imazen/codec-corpus), CC BY-SA 4.0"
MODELS = Path(__file__).resolve().parents[1] / "lutkit" / "models"


@dataclasses.dataclass(frozen=True)
class BuiltIn:
    """What a built-in model is and how long it is trained.

    Parameters
    ----------
    task : str
    scale : int
    network_steps, finetune_steps : int
    phases : tuple of Phase
    family : str
    fields : mapping
        Of the family's configuration, where they differ from `quick`.
    batch : int
        Patches per step of the networks.
    """

    task: str
    scale: int
    network_steps: int
    finetune_steps: int
    phases: tuple[Phase, ...] = QUICK.phases
    family: str = "mulut"
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    batch: int = QUICK.batch


BUILT_IN = {
    "sr-x2": BuiltIn("sr", 2, 3000, 8000),
    "sr-x3": BuiltIn("sr", 3, 2000, 5000),
    "sr-x4": BuiltIn("sr", 4, 11000, 16000, (Phase(interval=5, share=0.2), Phase(interval=4, share=0.8))),
    "denoise-25": BuiltIn("denoise", 1, 3000, 8000),
    "sr-x4-tiny": BuiltIn("sr", 4, 9000, 9000, (Phase(),), "tiny-lut", {"interval": 1, "points": 2}, 8),
}


def build(name: str, data: Path, val: Path, set5: Path | None, work: Path) -> None:
    """Train one model and write it into the package."""
    plan = BUILT_IN[name]
    family = find_family(plan.family)
    model = msgspec.structs.replace(family.configure("quick", plan.task), scale=plan.scale, **plan.fields)
    recipe = msgspec.structs.replace(
        family.presets["quick"], steps=plan.network_steps, phases=plan.phases, batch=plan.batch, validate_every=300
    )
    config = RunConfig(family=plan.family, model=model, recipe=recipe, data=str(data), val=str(val))
    run = Run(work / name)
    run.clear()
    run.write_config(config)
    watch = Watch(say=lambda line: print(line, file=sys.stderr), show_progress=sys.stderr.isatty())
    device = torch.device("cpu")
    started = time.perf_counter()
    train(run, config, device, watch)
    networks = load_model(run, config)
    program, tables = transfer_networks(networks, model.interval)
    pairs = make_pairs(val, config.task, config.seed)
    fidelity = measure_transfer(networks, program, tables, pairs, config.task, "photos of CID22, validation")
    write_artefact(run.table_file, make_artefact(config, model.interval, program, tables, fidelity))
    tuning = msgspec.structs.replace(family.presets["finetune"], steps=plan.finetune_steps, validate_every=300)
    job = find_job(run.folder, tuning, data=None, val=None, sigma=None, quality=None, seed=config.seed, output=None)
    write_finetuned(job, finetune(job, device, watch), overwrite=True)
    minutes = (time.perf_counter() - started) / 60
    publish(name, run, val, set5, minutes)


def publish(name: str, run: Run, val: Path, set5: Path | None, minutes: float) -> None:
    """Measure every form of a run's model and write the finetuned one into the package."""
    config = run.read_config()
    folders = {"CID22 validation": val} | ({"Set5": set5} if set5 else {})
    figures: dict[str, Any] = {}
    for title, folder in folders.items():
        pairs = make_pairs(folder, config.task, 0)
        forms = {
            "network": load_model(run, config).restore,
            "table": load(run.table_file).apply,
            "finetuned": load(run.finetuned_file).apply,
        }
        figures[title] = {form: _measure(restore, pairs, config) for form, restore in forms.items()}
        print(name, title, figures[title], file=sys.stderr)
    artefact = read_artefact(run.finetuned_file)
    provenance = {
        **artefact.provenance,
        "name": name,
        "data": LICENCE,
        "figures": figures,
        "protocol": "PSNR and SSIM of luma, border of the scale" if config.model.scale > 1 else "PSNR and SSIM of gray",
        "minutes": round(minutes, 1),
        "machine": "2 CPU cores",
    }
    write_artefact(MODELS / f"{name}.h5", dataclasses.replace(artefact, provenance=provenance), overwrite=True)


def _measure(restore: Any, pairs: list[Pair], config: RunConfig) -> dict[str, float]:
    scores = score_pairs(restore, pairs, config.task)
    return {"psnr": round(mean_psnr(scores), 3), "ssim": round(mean_ssim(scores), 4)}


def main() -> None:
    """Build the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(BUILT_IN))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--set5", type=Path, help="Folder of the Set5 pictures in full size.")
    parser.add_argument("--work", type=Path, default=Path("runs/builtin"))
    options = parser.parse_args()
    for name in options.names:
        build(name, options.data, options.val, options.set5, options.work)


if __name__ == "__main__":
    main()
