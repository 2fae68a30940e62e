"""What a MODEL argument means: a built-in name, an artefact, a run folder or a colour LUT file, and opening it.

May import lutkit.models; lutkit.run and lutkit.formats when used. Never torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lutkit import DEFAULT_RUN
from lutkit.lut_suffixes import LUT_KINDS
from lutkit.models import builtin_names, find_builtin
from lutkit_runtime.errors import DataError

if TYPE_CHECKING:
    from lutkit_runtime.artefact import Artefact

DEFAULT_BUILTIN = "sr-x4"

MODEL_KINDS = "a built-in name, an artefact (.h5), a run folder or a colour LUT (.cube, Hald .png)"
"""What can be named, for messages."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model is.

    Parameters
    ----------
    path : Path
        The artefact or the colour LUT file.
    label : str
        Short name for file names: the built-in name, the run's name or the file's stem.
    description : str
        What it is, for people.
    lut_kind : str, optional
        For a colour LUT file the kind of its importer.
    """

    path: Path
    label: str
    description: str
    lut_kind: str | None = None


def find_model(model: str | Path) -> ModelSource:
    """Find the artefact or colour LUT file that a MODEL argument means.

    A built-in name comes first; a file of the same name is reached as ``./name``. Nothing is opened.

    Raises
    ------
    DataError
        Where there is no such model, or a run folder whose networks have not been transferred.
    """
    name = os.fspath(model)
    if not name:  # as a path it would mean the current folder
        raise DataError(f"the name of the model is empty: give {MODEL_KINDS}")
    if name in builtin_names():
        return ModelSource(find_builtin(name), name, f"the built-in model {name}")
    path = Path(name)
    if path.is_dir():
        return _find_in_run(path)
    if path.exists():
        kind = LUT_KINDS.get(path.suffix.lower())
        return ModelSource(path, path.stem, f"the {'colour LUT' if kind else 'artefact'} {path}", kind)
    raise DataError(
        f"there is no model '{name}': name one of {', '.join(builtin_names()) or '(none built in)'}, "
        "an artefact (.h5), a run folder or a colour LUT (.cube, Hald .png)"
    )


def open_model(source: ModelSource) -> Artefact:
    """Read a model that was found: an artefact as it is, a colour LUT file as the model that looks colours up in it.

    Raises
    ------
    ArtefactError
        Where the artefact cannot be used.
    FormatError
        Where the colour LUT file cannot be read.
    """
    if source.lut_kind is None:
        from lutkit_runtime.artefact import read_artefact

        return read_artefact(source.path)
    from lutkit.formats import import_tables

    return import_tables(source.lut_kind, [source.path])


def find_default_model() -> ModelSource:
    """Find the model that is used where none is named: the newest artefact of runs/default, else the built-in sr-x4.

    Raises DataError where neither exists.
    """
    if newest_artefact(DEFAULT_RUN):
        return _find_in_run(DEFAULT_RUN)
    builtin = find_model(DEFAULT_BUILTIN)
    if DEFAULT_RUN.is_dir():
        remark = f"{builtin.description}, because {DEFAULT_RUN} holds no tables yet (lutkit transfer makes them)"
        return ModelSource(builtin.path, builtin.label, remark)
    return builtin


def newest_artefact(folder: Path) -> Path | None:
    """Return the newest artefact of a run folder: finetuned before transferred, or a distillation's; None without one."""
    if not folder.is_dir():
        return None
    from lutkit.run import Run  # only now: most calls need no run, and starting up is time that people wait

    run = Run(folder)
    return next((path for path in (run.finetuned_file, run.table_file, run.student_file) if path.is_file()), None)


def _find_in_run(folder: Path) -> ModelSource:
    from lutkit.run import Run  # only now: most calls need no run, and starting up is time that people wait

    newest = newest_artefact(folder)
    if newest is None:
        if Run(folder).is_run():
            raise DataError(f"the run {folder} has networks but no tables yet: run lutkit transfer {folder}")
        raise DataError(f"{folder} is no run folder: name one, an artefact (.h5) or a built-in model")
    return ModelSource(newest, folder.resolve().name, f"{newest.name} of the run {folder}")
