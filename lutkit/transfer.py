"""Turn trained networks into tables: a run folder into an artefact. Imports torch through the workbench; family-blind."""

from __future__ import annotations

from lutkit.configuration import AnyConfig
from lutkit.families import find_family
from lutkit.run import Run
from lutkit.workbench import Fidelity, TransferOptions, find_workbench
from lutkit_runtime.artefact import Artefact


def transfer(run: Run, config: AnyConfig, options: TransferOptions) -> tuple[Artefact, Fidelity]:
    """Return the artefact of a run's networks, and what the tables lose against them.

    Raises
    ------
    DataError
        Where the run holds no usable networks, or an option is of another kind of family.
    ProgramError, ArtefactError
        Where the tables that are asked for are impossible.
    """
    return find_workbench(find_family(config.family)).transfer(run, config, options)
