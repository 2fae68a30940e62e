"""The train side of models that look at a whole picture: what is the same for adaptive 3D LUTs and bilateral grids.

Imports torch; see `lutkit.workbench.Workbench` for what it answers. A family's own workbench says how its model is made,
stored and reopened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from lutkit.colour.objectives import PairedObjective
from lutkit.colour.pairs import Pictures, gather_pictures, read_validation
from lutkit.colour.picture_model import PictureModel
from lutkit.configuration import AnyConfig, describe_training
from lutkit.evaluate import Pair, Restore, mean_finite_psnr, score_pairs
from lutkit.families import Family
from lutkit.photos import GENERATED_NOTE
from lutkit.precision import takes_bfloat16
from lutkit.recipe import ColourRecipe, Schedule
from lutkit.run import Run
from lutkit.workbench import Fidelity, FinetuneJob, Finetuning, OptionError, Trained, Training, TransferOptions, Watch
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage

Stored = tuple[Program, dict[str, NDArray[Any]]]
"""A program and its tables as an artefact holds them."""


@dataclass(frozen=True)
class Filled:
    """A trained model as a program with tables.

    Parameters
    ----------
    program : Program
    tables : mapping of slot to array
    table_error : float
        Largest difference that storing makes in an entry, in units of the values.
    details : mapping
        Further figures for the provenance.
    """

    program: Program
    tables: Mapping[str, NDArray[Any]]
    table_error: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reopened:
    """An artefact whose tables can be trained.

    Parameters
    ----------
    model : PictureModel
    store : callable
        Returns the program and its tables as they stand.
    smallest : int
        How many pixels the sides of a picture must have.
    """

    model: PictureModel
    store: Callable[[], Stored]
    smallest: int = 1


class PictureWorkbench(ABC):
    """Answers the four verbs for models of whole pictures.

    Parameters
    ----------
    family : Family
    """

    def __init__(self, family: Family) -> None:
        self._family = family

    @abstractmethod
    def make_model(self, config: AnyConfig, device: torch.device, *, low_precision: bool) -> PictureModel:
        """Return a model to be trained."""

    @abstractmethod
    def load_model(self, run: Run, config: AnyConfig) -> PictureModel:
        """Return a run's best networks; raises DataError where there are none or they do not fit."""

    @abstractmethod
    def fill(self, model: PictureModel, config: AnyConfig, storage: Storage) -> Filled:
        """Turn a trained model into a program with tables."""

    @abstractmethod
    def reopen(self, artefact: Artefact, device: torch.device) -> Reopened:
        """Return an artefact's tables as parameters; raises DataError where its program is another."""

    def smallest_side(self, config: AnyConfig) -> int:
        """Return how many pixels the sides of a picture must have."""
        return 1

    def learns_from_pairs(self, config: AnyConfig) -> bool:
        """Whether a model is trained on pictures with their retouched versions, not on two sets."""
        return True

    def may_saturate(self, config: AnyConfig) -> bool:
        """Whether the saturation of pictures may be changed."""
        return True

    def find_visits(self, run: Run, config: AnyConfig, options: TransferOptions) -> Mapping[str, Any] | None:
        """Return which cells of a cube training visited, for models that hold cubes."""
        return None

    def check(self, config: AnyConfig) -> None:
        """Raise DataError or ProgramError where a configuration cannot be trained."""
        self._family.configure("quick", config.model.task)
        self._family.skeleton(config.model)

    def gather(self, config: AnyConfig, watch: Watch) -> Pictures:
        """Read pictures to train and to validate on; raises DataError where they cannot be used."""
        pictures = self.gather_pictures(config)
        if config.data is None:
            watch.say(GENERATED_NOTE)
        watched = f"{len(pictures.pairs)} {pictures.pairs_description}" if pictures.pairs else "their mean and contrast"
        watch.say(f"training on {pictures.description}, validating on {watched}")
        return pictures

    def gather_pictures(self, config: AnyConfig) -> Pictures:
        """Return what a configuration is trained and validated on; raises DataError where it cannot be used."""
        recipe: ColourRecipe = config.recipe
        return gather_pictures(
            Path(config.data) if config.data else None,
            Path(config.val) if config.val else None,
            config.task,
            recipe,
            config.seed,
            paired=self.learns_from_pairs(config),
            saturate=self.may_saturate(config),
            smallest=self.smallest_side(config),
        )

    def _find_pairs(self, config: AnyConfig, val: Path | None) -> tuple[list[Pair], str]:
        """Return the pairs to compare on and what they are, without the training data where that can be."""
        val = val or (Path(config.val) if config.val else None)
        if val is not None:
            return read_validation(val, config.task, config.recipe, config.seed, self.smallest_side(config))
        if config.data and not self.learns_from_pairs(config):
            return [], ""
        if config.data and not Path(config.data).is_dir():
            raise DataError(
                f"{config.data} is gone, of which pictures were held out to compare network and table on: give --val DIR"
            )
        pictures = self.gather_pictures(config)
        return pictures.pairs, pictures.pairs_description

    def build(self, config: AnyConfig, materials: Pictures, device: torch.device) -> Training:
        """Return the run's model with its pictures."""
        low = takes_bfloat16(config.precision, device, bears=False)
        model = self.make_model(config, device, low_precision=low)
        objective = PairedObjective(model, config.recipe, materials.source, self._family.loss)
        return Training(objective, lambda _step: score(model.restore, materials.pairs, config))

    def load(self, run: Run, config: AnyConfig) -> Trained:
        """Return the run's best networks; raises DataError where there are none or they do not fit."""
        return Trained(self.load_model(run, config).restore)

    def transfer(self, run: Run, config: AnyConfig, options: TransferOptions) -> tuple[Artefact, Fidelity]:
        """Put the networks and tables into an artefact and measure what their storage costs."""
        options.refuse_compiling(self._family.name)
        if options.interval is not None:
            raise OptionError(f"{self._family.name} has no lattice of samples: leave --interval out")
        if options.diagonal is not None:
            raise OptionError(f"{self._family.name} has no tables of samples, which --dfc compresses: leave it out")
        if options.degraded is not None:
            raise OptionError("--lr belongs to other families: give --val a folder with input and targets")
        model = self.load_model(run, config)
        storage = Storage(options.storage or "float32")
        pairs, described = self._find_pairs(config, options.val)
        filled = self.fill(model, config, storage)
        applied = Model(filled.program, filled.tables)
        before = score(model.restore, pairs, config) if pairs else float("nan")
        after = score(apply_here(applied), pairs, config) if pairs else float("nan")
        fidelity = Fidelity(before, after, len(pairs), described, filled.table_error)
        provenance = describe_training(config)
        step: dict[str, Any] = {
            "step": "transfer",
            "storage": storage.value,
            "largest_table_error": filled.table_error,
            **filled.details,
        }
        if pairs:
            step |= {
                "images": len(pairs),
                "on": described,
                "network_psnr": round(before, 4),
                "table_psnr": round(after, 4),
            }
        provenance["history"].append(step)
        visits = self.find_visits(run, config, options)
        if visits is not None:
            provenance["visits"] = visits
        return Artefact(filled.program, filled.tables, provenance), fidelity

    def finetuning_recipe(self, config: AnyConfig | None, recipe: Schedule, crop: int | None) -> Schedule:
        """Return the recipe as it is; raises DataError for an option that belongs to other families."""
        if crop is not None:
            raise OptionError(f"{self._family.name} trains on crops of random size: leave --crop out")
        return recipe

    def prepare_finetuning(self, job: FinetuneJob, device: torch.device, watch: Watch) -> Finetuning:
        """Return an artefact's tables as parameters with pictures; the predictor stays as it is."""
        if job.teacher is not None:
            raise OptionError(f"{self._family.name} learns from pairs: leave --teacher out")
        reopened = self.reopen(job.artefact, device)
        saturate = job.artefact.program.colour_space != "XYZ"
        pictures = gather_pictures(
            job.data, job.val, job.task, job.recipe, job.seed, saturate=saturate, smallest=reopened.smallest
        )
        if not pictures.pairs:
            raise DataError("finetuning needs pairs to validate on: give --val DIR")
        if job.data is None:
            watch.say(GENERATED_NOTE)
        watch.say(
            f"finetuning on {pictures.description}, validating on {len(pictures.pairs)} {pictures.pairs_description}"
        )

        def validate(_step: int) -> float:
            restore = apply_here(Model(*reopened.store()))
            return mean_finite_psnr(score_pairs(restore, pictures.pairs, job.task))

        objective = PairedObjective(reopened.model, job.recipe, pictures.source, self._family.loss)
        return Finetuning(
            Training(objective, validate),
            unit=1.0,
            tables=lambda: reopened.store()[1],
            program=lambda: reopened.store()[0],
            data=pictures.description,
            images=len(pictures.pairs),
            pairs=pictures.pairs_description,
        )


def score(restore: Restore, pairs: Sequence[Pair], config: AnyConfig) -> float:
    """Return the mean PSNR of pairs in dB, as the configuration's task scores them."""
    return mean_finite_psnr(score_pairs(restore, pairs, config.task))


def apply_here(model: Model) -> Restore:
    """Return what applies a model with the threads that torch may use."""
    return lambda image, **companions: model.apply(image, threads=torch.get_num_threads(), **companions)
