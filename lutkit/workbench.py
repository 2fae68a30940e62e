"""Workbenches: the train side of one kind of program, behind the four verbs. Imports the configuration; no torch.

`train`, `transfer`, `finetune` and `eval` are written once; what they need to know about a kind of program (how it is
trained, what becomes of its parts, how it is scored) is what a workbench answers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lutkit.configuration import AnyConfig
from lutkit.degradation import Task
from lutkit.families import FAMILIES, Family, find_family
from lutkit.recipe import Schedule
from lutkit.run import finetuning_checkpoint, finetuning_log
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program

if TYPE_CHECKING:
    import torch

    from lutkit.evaluate import Restore
    from lutkit.objective import Objective
    from lutkit.run import Run


class OptionError(DataError):
    """An option is given that belongs to families of another kind."""


@dataclass(frozen=True)
class Watch:
    """What a caller sees of a long task.

    Parameters
    ----------
    say : callable
        Takes one line for people.
    show_progress : bool
        Draw a progress bar on stderr.
    tensorboard : bool
        Write TensorBoard's event files into the run folder.
    """

    say: Callable[[str], None]
    show_progress: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class Training:
    """A model that is ready to be optimised.

    Parameters
    ----------
    objective : Objective
    validate : callable
        Returns how good the model is as it stands, in dB, given the step.
    measure : str
        What these decibels are, for people.
    count_visits : callable, optional
        Returns which cells of a colour cube the data visit, as JSON values. The run keeps them when training ends, so
        that later steps need no data.
    """

    objective: Objective
    validate: Callable[[int], float]
    measure: str = "validation"
    count_visits: Callable[[], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Fidelity:
    """What a step from one form of a model to the next costs.

    Parameters
    ----------
    before, after : float
        Mean PSNR in dB of the two forms on the same images.
    images : int
    pairs : str
        What the images are, for people and for the provenance.
    table_error : float, optional
        Largest difference that storing makes in an entry of a table of colours, in units of the values.
    full : float, optional
        Mean PSNR of the tables before they were compressed.
    """

    before: float
    after: float
    images: int
    pairs: str = ""
    table_error: float | None = None
    full: float | None = None

    @property
    def gain(self) -> float:
        """PSNR after minus before, in dB; negative where fidelity is lost."""
        return self.after - self.before


@dataclass(frozen=True)
class TransferOptions:
    """What people may choose when networks become tables; None is the run's own.

    Parameters
    ----------
    interval : int or None
        Binary logarithm of the lattice's step, for tables of samples.
    storage : str or None
        float32, int16 or int8, for tables of colours; int16 or int8 for windows of reconstructed convolutions.
    diagonal : int or None
        Compress tables of four samples: so many nodes beside the diagonal are kept, and every second one elsewhere.
    val, degraded : Path or None
        Folders of photos on which both forms are compared, and of their degraded versions.
    exact : bool
        Keep networks of full resolution as they are, in place of compiling them.
    data : Path or None
        Folder of pictures to which compiled forms learn the networks' answers.
    steps : int or None
        For how many steps they learn.
    show_progress : bool
    say : callable
        Takes one line for people.
    """

    interval: int | None = None
    storage: str | None = None
    diagonal: int | None = None
    val: Path | None = None
    degraded: Path | None = None
    exact: bool = False
    data: Path | None = None
    steps: int | None = None
    show_progress: bool = False
    say: Callable[[str], None] = lambda _line: None

    def refuse_compiling(self, family: str) -> None:
        """Raise OptionError where an option is given that is for networks of full resolution."""
        for option, given in (("--exact", self.exact), ("--data", self.data), ("--steps", self.steps)):
            if given:
                raise OptionError(f"{option} is for networks of full resolution, and {family} has none: leave it out")


@dataclass(frozen=True)
class Teacher:
    """A model whose results others are trained to give.

    Parameters
    ----------
    label : str
        For people and for the provenance.
    artefact : Artefact
    """

    label: str
    artefact: Artefact


@dataclass(frozen=True)
class FinetuneJob:
    """What to finetune and with what.

    Parameters
    ----------
    artefact : Artefact
    task : Task
    recipe : Schedule
        Of the family's kind.
    data, val : Path or None
        Folders of photos, as for training.
    seed : int
    output : Path
        Artefact to write; checkpoint and log lie beside it.
    teacher : Teacher, optional
        Whose results are the targets, in place of the photos themselves.
    """

    artefact: Artefact
    task: Task
    recipe: Any
    data: Path | None
    val: Path | None
    seed: int
    output: Path
    teacher: Teacher | None = None

    @property
    def checkpoint(self) -> Path:
        """State from which an interrupted finetuning goes on; removed when it ends."""
        return finetuning_checkpoint(self.output)

    @property
    def log(self) -> Path:
        """JSON lines, one per validation."""
        return finetuning_log(self.output)


@dataclass(frozen=True)
class Finetuning:
    """Tables that are ready to be optimised.

    Parameters
    ----------
    training : Training
    unit : float
        As in `Loop`.
    tables : callable
        Returns the tables as they stand, as the artefact stores them.
    program : callable
        Returns the program for these tables: their coding may have changed.
    data : str
        What is trained on.
    images : int
        How many images are validated on.
    pairs : str
        What these are.
    """

    training: Training
    unit: float
    tables: Callable[[], dict[str, Any]]
    program: Callable[[], Program]
    data: str
    images: int
    pairs: str


@dataclass(frozen=True)
class Trained:
    """Networks of a run, ready to be scored.

    Parameters
    ----------
    restore : callable
        uint8 image to uint8 image.
    details : mapping
        Of the kind; for its own transfer.
    """

    restore: Restore
    details: Mapping[str, Any] = field(default_factory=dict)


class Workbench(Protocol):
    """The train side of one kind of program."""

    def check(self, config: AnyConfig) -> None:
        """Raise DataError or ProgramError where a configuration cannot be trained."""
        ...

    def gather(self, config: AnyConfig, watch: Watch) -> Any:
        """Read what a run is trained and validated on, and say what it is; raises DataError where it cannot be used."""
        ...

    def build(self, config: AnyConfig, materials: Any, device: torch.device) -> Training:
        """Return the run's model with what `gather` gave."""
        ...

    def load(self, run: Run, config: AnyConfig) -> Trained:
        """Return the run's best networks; raises DataError where there are none or they do not fit."""
        ...

    def transfer(self, run: Run, config: AnyConfig, options: TransferOptions) -> tuple[Artefact, Fidelity]:
        """Turn the run's networks into an artefact and measure what that costs."""
        ...

    def prepare_finetuning(self, job: FinetuneJob, device: torch.device, watch: Watch) -> Finetuning:
        """Return an artefact's tables as parameters with what they are trained on."""
        ...

    def finetuning_recipe(self, config: AnyConfig | None, recipe: Schedule, crop: int | None) -> Schedule:
        """Return the recipe with what a run (None: an artefact alone) and the option --crop say about it."""
        ...


def find_workbench(family: Family) -> Workbench:
    """Return the workbench of a family."""
    module, _, name = family.workbench.partition(":")
    return getattr(importlib.import_module(module), name)(family)


def find_family_of(artefact: Artefact) -> Family:
    """Return the family that can train an artefact's tables; raises DataError where there is none."""
    name = artefact.program.family
    if name not in FAMILIES:
        raise DataError(f"a model of family '{name}' has nothing to train: name one of {', '.join(FAMILIES)}")
    return find_family(name)
