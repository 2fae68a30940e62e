"""Train the tables themselves, starting from transferred ones. Imports torch; family-blind.

The forward pass is what `lutkit apply` computes, bit for bit: fused kernels where the device has them, else the ops in
torch.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import torch

import lutkit_runtime
from lutkit.allocator import keep_large_buffers
from lutkit.checkpoints import load_checkpoint
from lutkit.colour.programs import FAMILY as COLOUR_LUT
from lutkit.configuration import AnyConfig
from lutkit.degradation import find_task
from lutkit.families import FAMILIES
from lutkit.loop import Loop
from lutkit.models import builtin_names, find_builtin
from lutkit.parallel import ALONE, Crew
from lutkit.recipe import Schedule
from lutkit.resolve import ModelSource, find_model, open_model
from lutkit.run import Run
from lutkit.workbench import Fidelity, FinetuneJob, Teacher, Watch, find_family_of, find_workbench
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.errors import DataError


@dataclass(frozen=True)
class Finetuned:
    """Result of finetuning: the best tables, what they gained on the validation images, and the data's description."""

    best: Artefact
    fidelity: Fidelity
    best_step: int
    data: str


def find_job(
    source: str | Path,
    recipe: Schedule | None,
    *,
    data: Path | None,
    val: Path | None,
    sigma: float | None,
    quality: int | None,
    seed: int | None,
    output: Path | None,
    crop: int | None = None,
) -> FinetuneJob:
    """Return what finetuning a built-in name, a run folder or an artefact means; a run supplies what options leave open.

    Raises DataError where there are no tables, or none that can be trained; ArtefactError where they cannot be read.
    """
    name = os.fspath(source)
    builtin = name in builtin_names()
    if not builtin and not Path(name).exists():
        raise DataError(
            f"there is no {source}: name a built-in model, an artefact (.h5) or a run, or run lutkit train and lutkit "
            "transfer"
        )
    run = Run(Path(name))
    if builtin or not run.folder.is_dir():
        found = find_model(name)
        artefact = open_model(found)
        _refuse_look(artefact, found)  # before its task, which is one that nothing undoes
        find_family_of(artefact)
        known = artefact.provenance.get("task")
        task = find_task(
            artefact.program.task, artefact.program.scale, known if isinstance(known, str) else None, sigma, quality
        )
        default = _find_folder(found) / f"{found.path.stem}-finetuned.h5"
        chosen = _choose_recipe(artefact, None, recipe, crop)
        return FinetuneJob(artefact, task, chosen, data, val, seed or 0, output or default)
    config = run.read_config()
    if not run.table_file.is_file():
        raise DataError(f"{source} holds no {run.table_file.name}: run lutkit transfer {source} first")
    artefact = read_artefact(run.table_file)
    return FinetuneJob(
        artefact=artefact,
        task=find_task(config.model.task, config.model.scale, config.task.name, sigma, quality),
        recipe=_choose_recipe(artefact, config, recipe, crop),
        data=data or (Path(config.data) if config.data else None),
        val=val or (Path(config.val) if config.val and not data else None),
        seed=config.seed if seed is None else seed,
        output=output or run.finetuned_file,
    )


def find_teacher(name: str) -> Teacher:
    """Return the model of a name as a teacher; raises DataError or ArtefactError where there is none."""
    found = find_model(name)
    return Teacher(found.label, open_model(found))


def _refuse_look(artefact: Artefact, found: ModelSource) -> None:
    """Raise DataError for a model that is a colour LUT."""
    if artefact.program.family == COLOUR_LUT:
        raise DataError(
            f"{found.description} is one fixed look (family {COLOUR_LUT}) with nothing to train: finetune a model of "
            f"{', '.join(FAMILIES)}, or learn a look from pairs with lutkit train adaptive-3dlut"
        )


def _find_folder(found: ModelSource) -> Path:
    """Return where the finetuned artefact goes: beside its source, of a built-in model into the current folder."""
    builtin = any(found.path.samefile(find_builtin(name)) for name in builtin_names())
    return Path() if builtin else found.path.parent


def _choose_recipe(artefact: Artefact, config: AnyConfig | None, recipe: Schedule | None, crop: int | None) -> Schedule:
    family = find_family_of(artefact)
    return find_workbench(family).finetuning_recipe(config, recipe or family.presets["finetune"], crop)


def finetune(
    job: FinetuneJob, device: torch.device, watch: Watch, *, resume: bool = False, crew: Crew = ALONE
) -> Finetuned:
    """Optimise tables; returns the ones given where no step was better.

    The processes of a crew do this together, each with the same job, and each returns the result.

    Raises
    ------
    Interrupted
        After SIGINT or SIGTERM; the checkpoint is written.
    DataError
        Where recipe, photos or checkpoint cannot be used.
    """
    crew.check_batch(job.recipe.batch)
    if resume:
        load_checkpoint(job.checkpoint)  # refused before photos are read, which takes long
    job.recipe.validate()
    keep_large_buffers()
    workbench = find_workbench(find_family_of(job.artefact))
    finetuning = workbench.prepare_finetuning(job, device, watch)
    validate = finetuning.training.validate
    before = crew.ask_leader(lambda: validate(0))
    loop = Loop(
        objective=finetuning.training.objective,
        recipe=job.recipe,
        unit=finetuning.unit,
        validate=validate,
        seed=job.seed,
        checkpoint=job.checkpoint,
        log=job.log,
        belongs_to=describe_job(job),
        show_progress=watch.show_progress,
        crew=crew,
    )
    progress = loop.run(resume=resume)
    if progress.best_psnr < before:
        tables = {slot: np.array(table) for slot, table in job.artefact.tables.items()}
        fidelity = Fidelity(before, before, finetuning.images, finetuning.pairs)
        return Finetuned(Artefact(job.artefact.program, tables), fidelity, 0, finetuning.data)
    fidelity = Fidelity(before, progress.best_psnr, finetuning.images, finetuning.pairs)
    best = Artefact(finetuning.program(), finetuning.tables())
    return Finetuned(best, fidelity, progress.best_step, finetuning.data)


def check_free(job: FinetuneJob, *, resume: bool, overwrite: bool) -> None:
    """Raise DataError where an interrupted finetuning would be lost that nobody asked to give up."""
    if job.checkpoint.exists() and not resume and not overwrite:
        raise DataError(
            f"an interrupted finetuning lies in {job.checkpoint}: go on with --resume, or start anew with -y"
        )


def describe_job(job: FinetuneJob) -> dict[str, str]:
    """Return what makes a job another one than its recipe and seed tell: tables, task and photos."""
    program = job.artefact.program
    digest = hashlib.sha256(repr(program).encode())
    for name in sorted(program.slots):
        digest.update(job.artefact.tables[name].tobytes())
    folders = {"data": job.data, "val": job.val}
    return {
        "tables": digest.hexdigest()[:16],
        "task": job.task.name,
        "teacher": "none" if job.teacher is None else job.teacher.label,
        **{name: str(folder.resolve()) if folder else "none" for name, folder in folders.items()},
    }


def write_finetuned(job: FinetuneJob, result: Finetuned, *, overwrite: bool) -> None:
    """Write the finetuned artefact; its provenance goes on where the source's ended. Removes the checkpoint."""
    provenance = dict(job.artefact.provenance)
    step = {
        "step": "finetune",
        **msgspec.to_builtins(job.recipe),
        "data": result.data,
        "seed": job.seed,
        **({} if job.teacher is None else {"teacher": job.teacher.label}),
        "best_step": result.best_step,
        "images": result.fidelity.images,
        "on": result.fidelity.pairs,
        "table_psnr": round(result.fidelity.before, 4),
        "finetuned_psnr": round(result.fidelity.after, 4),
    }
    history = provenance.get("history")
    provenance["history"] = [*(history if isinstance(history, list) else []), step]
    provenance["lutkit_version"] = lutkit_runtime.__version__
    provenance["task"] = job.task.name
    write_artefact(job.output, replace(result.best, provenance=provenance), overwrite=overwrite)
    job.checkpoint.unlink(missing_ok=True)
