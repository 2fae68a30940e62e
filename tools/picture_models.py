"""What the tools that build the built-in models of whole pictures share: train, measure, write into the package."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from lutkit.configuration import AnyConfig, RunConfig
from lutkit.evaluate import Pair, Restore, make_pairs, mean_delta_e, mean_psnr, mean_ssim, score_pairs
from lutkit.families import find_family
from lutkit.finetune import finetune, write_finetuned
from lutkit.recipe import ColourRecipe
from lutkit.run import Run
from lutkit.train import train
from lutkit.transfer import transfer
from lutkit.workbench import FinetuneJob, TransferOptions, Watch, find_workbench
from lutkit_runtime.artefact import read_artefact, write_artefact
from lutkit_runtime.engine import Model

LICENCE = "photographs of CID22 (imazen/codec-corpus), CC BY-SA 4.0"
MODELS = Path(__file__).resolve().parents[1] / "lutkit" / "models"

Rival = Callable[[Sequence[Pair]], Restore]
"""Makes something to compare with of the very pairs that are measured."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A built-in model.

    Attributes
    ----------
    name, summary : str
    family : str
    model, recipe : records of the family's
    protocol, machine : str
        How it is measured, and on what it was trained; for people.
    rivals : mapping of name to callable
    """

    name: str
    summary: str
    family: str
    model: Any
    recipe: Any
    protocol: str
    machine: str
    rivals: Mapping[str, Rival] = dataclasses.field(default_factory=dict)


def build(plan: Plan, description: str | None) -> None:
    """Train what a plan says, unless the run is there, then transfer, measure and write; options come from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/builtin") / plan.name)
    options = parser.parse_args()
    run = Run(options.run)
    if not run.network_file.is_file():
        config = RunConfig(
            family=plan.family,
            model=plan.model,
            recipe=plan.recipe,
            data=str(options.data.resolve()),
            val=str(options.val.resolve()),
        )
        train(run, config, torch.device("cpu"), Watch(say=lambda line: print(line, file=sys.stderr)))
    config = run.read_config()
    artefact, _ = transfer(run, config, TransferOptions(storage="int16"))
    pairs = make_pairs(options.val, config.task, config.seed)
    contenders = {
        "input": lambda image: image,
        **{name: make(pairs) for name, make in plan.rivals.items()},
        "network": find_workbench(find_family(plan.family)).load(run, config).restore,
        "table": Model(artefact.program, artefact.tables).apply,
    }
    figures = {name: measure(restore, pairs, config) for name, restore in contenders.items()}
    provenance = {
        **artefact.provenance,
        "name": plan.name,
        "summary": plan.summary,
        "data": LICENCE,
        "figures": {"CID22 validation": figures},
        "protocol": plan.protocol,
        "machine": plan.machine,
    }
    write_artefact(MODELS / f"{plan.name}.h5", dataclasses.replace(artefact, provenance=provenance), overwrite=True)
    print(figures)


@dataclasses.dataclass(frozen=True)
class CompiledPlan:
    """A built-in model that was a network of full resolution.

    Attributes
    ----------
    name, summary : str
    family : str
    model, recipe : records of the family's
        Of the training.
    finetuning : ColourRecipe
        Of the compiled tables.
    licence : str
        What it is trained on.
    protocol, on, machine : str
        How and on what it is measured, and on what it was trained; for people.
    find_pairs : callable, optional
        Returns what it is measured on; by default what the network was validated on.
    """

    name: str
    summary: str
    family: str
    model: Any
    recipe: Any
    finetuning: ColourRecipe
    licence: str
    protocol: str
    on: str
    machine: str
    find_pairs: Callable[[], list[Pair]] | None = None


def build_compiled(plan: CompiledPlan, description: str | None) -> None:
    """Train, compile, finetune, measure and write what a plan says; options come from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--val", type=Path)
    parser.add_argument("--run", type=Path, default=Path("runs/builtin") / plan.name)
    parser.add_argument("--no-finetuning", action="store_true")
    options = parser.parse_args()
    run, watch = Run(options.run), Watch(say=lambda line: print(line, file=sys.stderr))
    folders = {
        name: str(path.resolve()) if path else None for name, path in vars(options).items() if name in ("data", "val")
    }
    if not run.network_file.is_file():
        config: AnyConfig = RunConfig(family=plan.family, model=plan.model, recipe=plan.recipe, **folders)
        train(run, config, torch.device("cpu"), watch)
    config = msgspec.structs.replace(run.read_config(), **folders)
    workbench: Any = find_workbench(find_family(plan.family))
    artefact, fidelity = transfer(run, config, TransferOptions(storage="int16", say=watch.say))
    watch.say(f"network {fidelity.before:.3f} dB, compiled {fidelity.after:.3f} dB")
    write_artefact(run.table_file, artefact, overwrite=True)
    forms = {"network": workbench.load(run, config).restore, "table": Model(artefact.program, artefact.tables).apply}
    if not options.no_finetuning:
        job = FinetuneJob(
            artefact, config.task, plan.finetuning, options.data, options.val, config.seed, run.finetuned_file
        )
        write_finetuned(job, finetune(job, torch.device("cpu"), watch), overwrite=True)
        artefact = read_artefact(run.finetuned_file)
        forms["finetuned"] = Model(artefact.program, artefact.tables).apply
    pairs = plan.find_pairs() if plan.find_pairs else workbench.read_materials(config).pairs
    contenders: dict[str, Restore] = {"input": lambda image, **_: image, **forms}
    figures = {name: measure(restore, pairs, config) for name, restore in contenders.items()}
    provenance = {
        **artefact.provenance,
        "name": plan.name,
        "summary": plan.summary,
        "data": plan.licence,
        "figures": {plan.on: figures},
        "protocol": plan.protocol,
        "machine": plan.machine,
    }
    write_artefact(MODELS / f"{plan.name}.h5", dataclasses.replace(artefact, provenance=provenance), overwrite=True)
    print(figures)


def measure(restore: Restore, pairs: Sequence[Pair], config: AnyConfig) -> dict[str, float]:
    """Return the means of PSNR, SSIM and colour difference."""
    scores = score_pairs(restore, pairs, config.task)
    return {
        "psnr": round(mean_psnr(scores), 3),
        "ssim": round(mean_ssim(scores), 4),
        "delta_e": round(mean_delta_e(scores), 3),
    }
