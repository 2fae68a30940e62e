"""The train side of spatial-LUT families: networks of a few samples, and tables on lattices. Imports torch."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from lutkit.checkpoints import load_networks
from lutkit.configuration import AnyConfig
from lutkit.evaluate import Pair, mean_finite_psnr, read_pairs, score_pairs, validate_size
from lutkit.families import Family, find_family
from lutkit.families.spatial import check_task
from lutkit.objective import PatchObjective, Teach
from lutkit.photos import GENERATED_NOTE, Photos, gather_photos, validation_photos
from lutkit.precision import takes_bfloat16
from lutkit.recipe import Recipe, Schedule
from lutkit.run import Run
from lutkit.spatial_transfer import make_artefact, measure_transfer, transfer_in_full, transfer_networks
from lutkit.trainable import NetworkModel, TableModel, add_thresholds, round_tables, validate_tables
from lutkit.workbench import (
    Fidelity,
    FinetuneJob,
    Finetuning,
    OptionError,
    Teacher,
    Trained,
    Training,
    TransferOptions,
    Watch,
)
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.reconstructed_convolution import STORAGES
from lutkit_runtime.program import Program

NETWORK_VALIDATION_SIDE = 48
"""Networks are validated on crops of this side (before enlargement): evaluating them at every sample is slow."""


class SpatialWorkbench:
    """Answers the four verbs for programs of spatial lookups; see `lutkit.workbench.Workbench`.

    Parameters
    ----------
    family : Family
    """

    def __init__(self, family: Family) -> None:
        self._family = family

    def check(self, config: AnyConfig) -> None:
        """Raise DataError or ProgramError where a configuration cannot be trained."""
        check_task(config.model.task)
        _ = config.task
        for phase in config.recipe.phases:
            interval = config.model.interval if phase.interval is None else phase.interval
            self._family.skeleton(msgspec.structs.replace(config.model, interval=interval))

    def gather(self, config: AnyConfig, watch: Watch) -> Photos:
        """Read photos to train and to validate on; raises DataError where they cannot be used."""
        task = config.task
        photos = gather_photos(_path(config.data), _path(config.val), task, config.seed)
        photos.source.validate_crop(config.recipe.crop)
        for pair in photos.pairs:
            validate_size(pair.name, pair.target, task)
        _tell(photos, config.data is None, "training", watch)
        last = config.recipe.phases[-1].interval
        if last not in (None, config.model.interval):
            watch.say(
                f"training ends at interval {last}, but lutkit transfer makes tables of interval "
                f"{config.model.interval}"
            )
        return photos

    def build(self, config: AnyConfig, materials: Photos, device: torch.device) -> Training:
        """Return the run's networks with its photos."""
        task, recipe = config.task, config.recipe
        model = NetworkModel(
            self._family, config.model, low_precision=takes_bfloat16(config.precision, device, bears=True)
        )
        model.module.to(device)
        crops = [_crop_pair(pair, task.scale, NETWORK_VALIDATION_SIDE) for pair in materials.pairs]

        def validate(step: int) -> float:
            interval = model.table_interval(recipe.interval_at(step - 1))
            if interval is None:
                return mean_finite_psnr(score_pairs(model.restore, crops, task))
            with torch.no_grad():
                program = model.program_at(interval)
                tables = add_thresholds(program, round_tables(program, model.tables(interval)))
            return validate_tables(program, tables, materials.pairs, task)

        return Training(PatchObjective(model, recipe, materials.source, self._family.loss), validate)

    def load(self, run: Run, config: AnyConfig) -> Trained:
        """Return the run's best networks; raises DataError where there are none or they do not fit."""
        return Trained(load_model(run, config).restore)

    def transfer(self, run: Run, config: AnyConfig, options: TransferOptions) -> tuple[Artefact, Fidelity]:
        """Evaluate the run's networks at every node and measure what that costs."""
        options.refuse_compiling(self._family.name)
        model = load_model(run, config)
        windows = any(isinstance(op, ReconstructedConvolution) for op in model.program.table_ops())
        if options.storage is not None and not (windows and options.storage in STORAGES):
            takes = "int16 or int8, for its windows" if windows else "int8 always: leave --storage out"
            raise OptionError(f"tables of {self._family.name} are {takes}")
        interval = config.model.interval if options.interval is None else options.interval
        program, tables = transfer_networks(
            model,
            interval,
            storage=options.storage,
            diagonal=options.diagonal,
            show_progress=options.show_progress,
        )
        smaller = options.diagonal is not None or options.storage == "int8"
        full = transfer_in_full(model, interval) if smaller else None
        if options.val is not None and options.degraded is not None:
            pairs = read_pairs(options.val, options.degraded, config.task)
            description = f"photos of {options.val.name}"
        else:
            val = options.val or _path(config.val)
            pairs, description = validation_photos(_path(config.data), val, config.task, config.seed)
        fidelity = measure_transfer(
            model, program, tables, pairs, config.task, description, full=full, show_progress=options.show_progress
        )
        return make_artefact(config, interval, program, tables, fidelity), fidelity

    def finetuning_recipe(self, config: AnyConfig | None, recipe: Schedule, crop: int | None) -> Schedule:
        """Return the recipe with the crop of the option, else of the run."""
        chosen = crop if crop is not None or config is None else config.recipe.crop
        return recipe if chosen is None else msgspec.structs.replace(recipe, crop=chosen)

    def prepare_finetuning(self, job: FinetuneJob, device: torch.device, watch: Watch) -> Finetuning:
        """Return an artefact's tables as parameters with photos."""
        recipe: Recipe = job.recipe
        photos = gather_photos(job.data, job.val, job.task, job.seed)
        photos.source.validate_crop(recipe.crop)
        _tell(photos, job.data is None, "finetuning", watch)
        program = job.artefact.program
        model = TableModel(program, job.artefact.tables)
        model.module.to(device)

        def validate(_step: int) -> float:
            return validate_tables(program, model.entries(), photos.pairs, job.task)

        teach = None if job.teacher is None else teach_by(job.teacher, program, device)
        training = Training(PatchObjective(model, recipe, photos.source, self._family.loss, teach), validate)
        return Finetuning(
            training,
            unit=127.0,
            tables=model.entries,
            program=lambda: program,
            data=photos.description,
            images=len(photos.pairs),
            pairs=photos.pairs_description,
        )


def teach_by(teacher: Teacher, program: Program, device: torch.device) -> Teach:
    """Return what gives a teacher's results; raises OptionError where it does another thing than the program."""
    given = teacher.artefact.program
    if (given.colour, given.scale, given.task) != (program.colour, program.scale, program.task):
        raise OptionError(
            f"teacher {teacher.label} is for {given.task} at scale {given.scale}, the model for {program.task} at scale "
            f"{program.scale}: name a teacher for the same"
        )
    model = TableModel(given, teacher.artefact.tables)
    model.module.to(device)

    @torch.no_grad()
    def teach(planes: torch.Tensor) -> torch.Tensor:
        return model.run(planes, None)

    return teach


def load_model(run: Run, config: AnyConfig) -> NetworkModel:
    """Return the run's best networks; raises DataError where there are none or they do not fit the configuration."""
    model = NetworkModel(find_family(config.family), config.model)
    try:
        model.load(load_networks(run.network_file))
    except RuntimeError as error:
        raise DataError(f"networks {run.network_file} do not fit {run.config_file}: train again") from error
    return model


def _tell(photos: Photos, generated: bool, doing: str, watch: Watch) -> None:
    if generated:
        watch.say(GENERATED_NOTE)
    watch.say(f"{doing} on {photos.description}, validating on {len(photos.pairs)} {photos.pairs_description}")


def _crop_pair(pair: Pair, scale: int, side: int) -> Pair:
    """Return the middle of a pair."""
    height, width = (min(side, length) for length in pair.degraded.shape[:2])
    top, left = (pair.degraded.shape[0] - height) // 2, (pair.degraded.shape[1] - width) // 2
    return Pair(
        pair.name,
        pair.degraded[top : top + height, left : left + width],
        pair.target[top * scale : (top + height) * scale, left * scale : (left + width) * scale],
    )


def _path(folder: str | None) -> Path | None:
    return Path(folder) if folder is not None else None
