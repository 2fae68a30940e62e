"""What `eval` scores, and on what: an artefact through the runtime, or the networks of a run that was not transferred yet.

Imports the runtime; torch only for networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.degradation import Darken, Relight, Task, find_task
from lutkit.evaluate import ReadPair, Restore, plan_made_pairs, plan_read_pairs
from lutkit.resolve import find_model, newest_artefact, open_model
from lutkit.run import Run
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError

LOOK = "look"
"""Task of colour LUTs: they are scored on pairs as retouching is."""


@dataclass(frozen=True)
class Restorer:
    """A model that undoes a task.

    Parameters
    ----------
    restore : callable
        uint8 image, and what the model needs beside it by name, to uint8 image.
    task : Task
    description : str
        What it is, for people.
    """

    restore: Restore
    task: Task
    description: str


def open_restorer(
    model: str,
    *,
    task: str | None,
    sigma: float | None,
    quality: int | None,
    backend: str = "auto",
    threads: int | None = None,
) -> Restorer:
    """Open a MODEL argument for scoring; options left None are the model's own.

    Raises
    ------
    DataError
        Where there is no such model or the task does not fit it.
    """
    path = Path(model)
    if path.is_dir() and newest_artefact(path) is None and Run(path).is_run():
        from lutkit.workbench import find_family, find_workbench

        run = Run(path)
        config = run.read_config()
        _check_task(task, config.model.task)
        known = find_task(config.model.task, config.model.scale, config.task.name, sigma, quality)
        trained = find_workbench(find_family(config.family)).load(run, config)
        return Restorer(trained.restore, known, f"networks of the run {path}")
    source = find_model(model)
    artefact = open_model(source)
    loaded = Model(artefact.program, artefact.tables, artefact.provenance)
    own = loaded.provenance.get("task")
    kind = "retouch" if loaded.program.task == LOOK else loaded.program.task
    _check_task(task, kind)
    known = find_task(kind, loaded.program.scale, own if isinstance(own, str) else None, sigma, quality)

    def restore(image: NDArray[np.uint8], **companions: Any) -> NDArray[np.uint8]:
        return loaded.apply(image, backend=backend, threads=threads, **companions)

    return Restorer(restore, known, source.description)


def plan_pairs(targets: Path, degraded: Path | None, task: Task, seed: int) -> list[ReadPair]:
    """Return what a model is scored on, as one step for every pair that reads or makes it.

    Parameters
    ----------
    targets : Path
        Folder of pictures as they should come out; for relighting, of scenes; for low light, of these or of scenes in
        several exposures, of which the first one is scored against the reference.
    degraded : Path or None
        Folder of degraded versions; None where they are made.
    task : Task
    seed : int

    Raises
    ------
    DataError
        Where the folders cannot be used.
    """
    if isinstance(task, Darken) and not degraded:
        from lutkit.lowlight.exposures import plan_scene_pairs

        planned = plan_scene_pairs(targets)
        if planned:
            return planned
    if not isinstance(task, Relight):
        return plan_read_pairs(targets, degraded, task) if degraded else plan_made_pairs(targets, task, seed)
    if degraded:
        raise DataError(
            f"--lr {degraded}: task relight takes its pictures from the scenes of --hr alone: leave --lr out"
        )
    from lutkit.relighting.pairs import plan_pairs as plan_relighting
    from lutkit.relighting.scenes import read_scenes

    return plan_relighting(read_scenes(targets), seed)


def _check_task(asked: str | None, own: str) -> None:
    if asked is not None and asked != own:
        raise DataError(f"the model's task is {own}, not {asked}: leave --task out or name another model")
