"""Train the tables themselves, starting from transferred ones. Imports torch; family-blind.

The forward pass is what `lutkit apply` computes, bit for bit: fused kernels on the CPU, the ops in torch on CUDA.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

import lutkit_runtime
from lutkit.allocator import keep_large_buffers
from lutkit.checkpoints import load_checkpoint
from lutkit.configuration import Recipe
from lutkit.degradation import Task, find_task
from lutkit.loop import Loop
from lutkit.photos import GENERATED_NOTE, gather_photos
from lutkit.run import Run, finetuning_checkpoint, finetuning_log
from lutkit.train import Watch, validate_tables
from lutkit.trainable import TableModel
from lutkit.transfer import Fidelity
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.errors import DataError


@dataclass(frozen=True)
class FinetuneJob:
    """What to finetune and with what.

    Parameters
    ----------
    artefact : Artefact
    task : Task
    recipe : Recipe
        Its phases are not used.
    data, val : Path or None
        Folders of photos, as for training.
    seed : int
    output : Path
        Artefact to write; checkpoint and log lie beside it.
    """

    artefact: Artefact
    task: Task
    recipe: Recipe
    data: Path | None
    val: Path | None
    seed: int
    output: Path

    @property
    def checkpoint(self) -> Path:
        """State from which an interrupted finetuning goes on; removed when it ends."""
        return finetuning_checkpoint(self.output)

    @property
    def log(self) -> Path:
        """JSON lines, one per validation."""
        return finetuning_log(self.output)

    def check_free(self, *, resume: bool, overwrite: bool) -> None:
        """Raise DataError where an interrupted finetuning would be lost that nobody asked to give up."""
        if self.checkpoint.exists() and not resume and not overwrite:
            raise DataError(
                f"an interrupted finetuning lies in {self.checkpoint}: go on with --resume, or start anew with -y"
            )

    def describe(self) -> dict[str, str]:
        """Return what makes this job another one than its recipe and seed tell: tables, task and photos."""
        program = self.artefact.program
        digest = hashlib.sha256(repr(program).encode())
        for name in sorted(program.slots):
            digest.update(self.artefact.tables[name].tobytes())
        folders = {"data": self.data, "val": self.val}
        return {
            "tables": digest.hexdigest()[:16],
            "task": self.task.name,
            **{name: str(folder.resolve()) if folder else "none" for name, folder in folders.items()},
        }


@dataclass(frozen=True)
class Finetuned:
    """Result of finetuning: the best tables, what they gained on the validation images, and the data's description."""

    tables: dict[str, NDArray[np.int8]]
    fidelity: Fidelity
    best_step: int
    data: str


def find_job(
    source: Path,
    recipe: Recipe,
    *,
    data: Path | None,
    val: Path | None,
    sigma: float | None,
    quality: int | None,
    seed: int | None,
    output: Path | None,
    crop: int | None = None,
) -> FinetuneJob:
    """Return what finetuning a run folder or an artefact means; a run supplies what the options leave open.

    Raises DataError where there are no tables, ArtefactError where they cannot be read.
    """
    run = Run(source)
    if not source.exists():
        raise DataError(
            f"there is no {source}: name an artefact (.h5) or a run, or run lutkit train and lutkit transfer"
        )
    if crop is not None:
        recipe = msgspec.structs.replace(recipe, crop=crop)
    if not source.is_dir():
        artefact = read_artefact(source)
        known = artefact.provenance.get("task")
        task = find_task(
            artefact.program.task, artefact.program.scale, known if isinstance(known, str) else None, sigma, quality
        )
        default = source.with_name(f"{source.stem}-finetuned.h5")
        return FinetuneJob(artefact, task, recipe, data, val, seed or 0, output or default)
    config = run.read_config()
    if not run.table_file.is_file():
        raise DataError(f"{source} holds no {run.table_file.name}: run lutkit transfer {source} first")
    return FinetuneJob(
        artefact=read_artefact(run.table_file),
        task=find_task(config.model.task, config.model.scale, config.task.name, sigma, quality),
        recipe=recipe if crop is not None else msgspec.structs.replace(recipe, crop=config.recipe.crop),
        data=data or (Path(config.data) if config.data else None),
        val=val or (Path(config.val) if config.val and not data else None),
        seed=config.seed if seed is None else seed,
        output=output or run.finetuned_file,
    )


def finetune(job: FinetuneJob, device: torch.device, watch: Watch, *, resume: bool = False) -> Finetuned:
    """Optimise tables; returns the ones given where no step was better.

    Raises
    ------
    Interrupted
        After SIGINT or SIGTERM; the checkpoint is written.
    DataError
        Where recipe, photos or checkpoint cannot be used.
    """
    if resume:
        load_checkpoint(job.checkpoint)  # refused before photos are read, which takes long
    job.recipe.validate()
    keep_large_buffers()
    photos = gather_photos(job.data, job.val, job.task, job.seed)
    photos.source.validate_crop(job.recipe.crop)
    if job.data is None:
        watch.say(GENERATED_NOTE)
    watch.say(f"finetuning on {photos.description}, validating on {len(photos.pairs)} {photos.pairs_description}")
    program = job.artefact.program
    model = TableModel(program, job.artefact.tables)
    model.module.to(device)

    def validate(_step: int) -> float:
        return validate_tables(program, model.entries(), photos.pairs, job.task)

        job.checkpoint.unlink(missing_ok=True)

    before = validate(0)
    loop = Loop(
        model=model,
        recipe=job.recipe,
        unit=127.0,
        source=photos.source,
        validate=validate,
        seed=job.seed,
        checkpoint=job.checkpoint,
        log=job.log,
        belongs_to=job.describe(),
        show_progress=watch.show_progress,
    )
    progress = loop.run(resume=resume)
    if progress.best_psnr < before:
        tables = {slot: np.array(table) for slot, table in job.artefact.tables.items()}
        return Finetuned(
            tables, Fidelity(before, before, len(photos.pairs), photos.pairs_description), 0, photos.description
        )
    fidelity = Fidelity(before, progress.best_psnr, len(photos.pairs), photos.pairs_description)
    return Finetuned(model.entries(), fidelity, progress.best_step, photos.description)


def write_finetuned(job: FinetuneJob, result: Finetuned, *, overwrite: bool) -> None:
    """Write the finetuned artefact; its provenance goes on where the source's ended. Removes the checkpoint."""
    provenance = dict(job.artefact.provenance)
    step = {
        "step": "finetune",
        **msgspec.to_builtins(job.recipe),
        "data": result.data,
        "seed": job.seed,
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
    write_artefact(job.output, Artefact(job.artefact.program, result.tables, provenance), overwrite=overwrite)
    job.checkpoint.unlink(missing_ok=True)
