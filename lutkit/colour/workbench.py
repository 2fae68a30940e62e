"""The train side of image-adaptive 3D LUTs. Imports torch; see `lutkit.workbench.Workbench` for what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.checkpoints import load_networks
from lutkit.colour.model import AdaptiveModel, AdaptiveModule, TablesModule, flatten_tables, stack_tables
from lutkit.colour.objectives import PairedObjective, UnpairedObjective
from lutkit.colour.pairs import Pictures, gather_pictures, read_validation
from lutkit.colour.parts import decode_basis, find_parts, store_tables
from lutkit.colour.predictor import export_onnx
from lutkit.colour.sampling import PictureSource
from lutkit.colour.visits import count_visits, pack_visits
from lutkit.configuration import AnyConfig, describe_training
from lutkit.evaluate import Pair, Restore, mean_finite_psnr, score_pairs
from lutkit.families import Family
from lutkit.families.adaptive_3dlut import PREDICTOR, AdaptiveConfig, build_program, check_task
from lutkit.photos import GENERATED_NOTE
from lutkit.precision import takes_bfloat16
from lutkit.recipe import ColourRecipe, Schedule
from lutkit.run import Run
from lutkit.workbench import Fidelity, FinetuneJob, Finetuning, OptionError, Trained, Training, TransferOptions, Watch
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError, ImageError
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage, TableCoding

VISITED_DRAWS = 256
"""How many spoilt photos are looked at to tell which cells of a cube training visits."""

STATISTICS_PICTURES = 24


class ColourWorkbench:
    """Answers the four verbs for image-adaptive 3D LUTs.

    Parameters
    ----------
    family : Family
    """

    def __init__(self, family: Family) -> None:
        self._family = family

    def check(self, config: AnyConfig) -> None:
        """Raise DataError or ProgramError where a configuration cannot be trained."""
        check_task(config.model.task)
        self._family.skeleton(config.model)

    def gather(self, config: AnyConfig, watch: Watch) -> Pictures:
        """Read pictures to train and to validate on; raises DataError where they cannot be used."""
        pictures = _gather(config, paired=config.model.training == "paired")
        if config.data is None:
            watch.say(GENERATED_NOTE)
        watched = f"{len(pictures.pairs)} {pictures.pairs_description}" if pictures.pairs else "their mean and contrast"
        watch.say(f"training on {pictures.description}, validating on {watched}")
        return pictures

    def build(self, config: AnyConfig, materials: Pictures, device: torch.device) -> Training:
        """Return the run's model with its pictures."""
        module = AdaptiveModule(config.model).to(device)
        low = takes_bfloat16(config.precision, device, bears=False)
        model = AdaptiveModel(module, CubeInterpolation(config.model.interpolation), low_precision=low)
        if config.model.training == "unpaired":
            objective = UnpairedObjective(model, config.recipe, materials.source, config.seed)
        else:
            objective = PairedObjective(model, config.recipe, materials.source, self._family.loss)

        def validate(_step: int) -> float:
            if materials.pairs:
                return _score(model.restore, materials.pairs, config)
            return measure_resemblance(model, materials.source, config.seed)

        def count() -> dict[str, Any]:
            return pack_visits(count_training_visits(materials.source, config.model.size, config.seed))

        measure = "validation" if materials.pairs else "likeness of mean and contrast"
        return Training(objective, validate, measure, count)

    def load(self, run: Run, config: AnyConfig) -> Trained:
        """Return the run's best networks; raises DataError where there are none or they do not fit."""
        return Trained(load_model(run, config.model).restore)

    def transfer(self, run: Run, config: AnyConfig, options: TransferOptions) -> tuple[Artefact, Fidelity]:
        """Put predictor and basis tables into an artefact and measure what their storage costs."""
        if options.interval is not None:
            raise OptionError(f"{self._family.name} has no lattice of samples: leave --interval out")
        if options.diagonal is not None:
            raise OptionError(f"{self._family.name} has no tables of samples, which --dfc compresses: leave it out")
        if options.degraded is not None:
            raise OptionError("--lr belongs to other families: give --val a folder with input and targets")
        model = load_model(run, config.model)
        storage = Storage(options.storage or "float32")
        pairs, described = _find_pairs(config, options.val)
        tables = flatten_tables(model.bases)
        assert isinstance(model.module, AdaptiveModule)
        graph = export_onnx(model.module.predictor)
        codings = (TableCoding(storage),) * config.model.luts
        skeleton = build_program(config.model, graph_bytes=len(graph), codings=codings)
        program, stored = store_tables(skeleton, tables, {PREDICTOR: graph})
        applied = Model(program, stored)
        before = _score(model.restore, pairs, config) if pairs else float("nan")
        after = _score(_apply(applied), pairs, config) if pairs else float("nan")
        table_error = max(
            float(np.abs(values - decode_basis(program, stored, slot)).max()) for slot, values in tables.items()
        )
        fidelity = Fidelity(before, after, len(pairs), described, table_error)
        provenance = describe_training(config)
        step: dict[str, Any] = {
            "step": "transfer",
            "storage": storage.value,
            "largest_table_error": table_error,
        }
        if pairs:
            step |= {
                "images": len(pairs),
                "on": described,
                "network_psnr": round(before, 4),
                "table_psnr": round(after, 4),
            }
        provenance["history"].append(step)
        visits = _find_visits(run, config, options)
        if visits is not None:
            provenance["visits"] = visits
        return Artefact(program, stored, provenance), fidelity

    def finetuning_recipe(self, config: AnyConfig | None, recipe: Schedule, crop: int | None) -> Schedule:
        """Return the recipe as it is; raises DataError for an option that belongs to other families."""
        if crop is not None:
            raise OptionError(f"{self._family.name} trains on crops of random size: leave --crop out")
        return recipe

    def prepare_finetuning(self, job: FinetuneJob, device: torch.device, watch: Watch) -> Finetuning:
        """Return an artefact's basis tables as parameters with pictures; the predictor stays as it is."""
        if job.teacher is not None:
            raise OptionError(f"{self._family.name} learns from pairs: leave --teacher out")
        artefact, recipe = job.artefact, job.recipe
        program = artefact.program
        parts = find_parts(program)
        pictures = gather_pictures(
            job.data, job.val, job.task, recipe, job.seed, saturate=program.colour_space != "XYZ"
        )
        if not pictures.pairs:
            raise DataError("finetuning needs pairs to validate on: give --val DIR")
        if job.data is None:
            watch.say(GENERATED_NOTE)
        watch.say(
            f"finetuning on {pictures.description}, validating on {len(pictures.pairs)} {pictures.pairs_description}"
        )
        bases, cube = parts.fusion.bases, parts.cube
        tables = stack_tables([basis.coding.decode(artefact.tables[basis.slot]) for basis in bases])
        network = parts.predictor.open(artefact.tables)
        module = TablesModule(network, tables, [basis.coding.storage for basis in bases], parts.predictor.side)
        model = AdaptiveModel(module.to(device), cube.interpolation, stretch=cube.stretch, strength=parts.strength)

        def store() -> tuple[Program, dict[str, NDArray[Any]]]:
            values = flatten_tables(model.bases).values()
            changed = {basis.slot: table for basis, table in zip(bases, values, strict=True)}
            return store_tables(program, changed, artefact.tables)

        def validate(_step: int) -> float:
            applied = Model(*store())
            return mean_finite_psnr(score_pairs(_apply(applied), pictures.pairs, job.task))

        objective = PairedObjective(model, recipe, pictures.source, self._family.loss)
        return Finetuning(
            Training(objective, validate),
            unit=1.0,
            tables=lambda: store()[1],
            program=lambda: store()[0],
            data=pictures.description,
            images=len(pictures.pairs),
            pairs=pictures.pairs_description,
        )


def load_model(run: Run, config: AdaptiveConfig) -> AdaptiveModel:
    """Return a run's best networks; raises DataError where there are none or they do not fit the configuration."""
    module = AdaptiveModule(config)
    try:
        module.load_state_dict(load_networks(run.network_file))
    except RuntimeError as error:
        raise DataError(f"networks {run.network_file} do not fit {run.config_file}: train again") from error
    return AdaptiveModel(module.eval(), CubeInterpolation(config.interpolation))


def measure_resemblance(model: AdaptiveModel, source: PictureSource, seed: int) -> float:
    """Return how near the outputs' mean and contrast are to those of good pictures, in dB; for sets without pairs.

    Mean and standard deviation are taken per channel over pixels of the same drawn pictures at every call; the figure
    is -10 log10 of the mean squared difference of these six numbers, 0 to 1.
    """
    rng = np.random.default_rng([seed, 2])
    outputs, good = [], []
    model.module.eval()
    with torch.no_grad():
        for _ in range(STATISTICS_PICTURES):
            before, after = source.sample(rng)
            output = model.run([torch.from_numpy(before).to(model.bases.device)])[0][0]
            outputs.append(output.clamp(0, 1).flatten(1).cpu().numpy())
            good.append(after.reshape(3, -1))
    model.module.train()
    difference = _statistics(outputs) - _statistics(good)
    return float(-10 * np.log10(np.mean(difference**2) + 1e-12))


def _statistics(pictures: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the mean over pictures of each channel's mean and standard deviation, (6,)."""
    return np.mean([np.concatenate([each.mean(axis=1), each.std(axis=1)]) for each in pictures], axis=0)


def count_training_visits(source: PictureSource, size: int, seed: int) -> NDArray[np.int64]:
    """Return how many pixels of training's inputs fall into each cell of a cube, (n-1, n-1, n-1) [blue][green][red]."""
    visits = np.zeros((size - 1,) * 3, np.int64)
    for picture in source.visit(np.random.default_rng([seed, 3]), VISITED_DRAWS):
        visits += count_visits(picture, size)
    return visits


def _find_pairs(config: AnyConfig, val: Path | None) -> tuple[list[Pair], str]:
    """Return the pairs to compare on and what they are, without the training data where that can be."""
    val = val or (Path(config.val) if config.val else None)
    if val is not None:
        return read_validation(val, config.task, config.recipe, config.seed)
    if config.data and config.model.training == "unpaired":
        return [], ""
    if config.data and not Path(config.data).is_dir():
        raise DataError(
            f"{config.data} is gone, of which pictures were held out to compare network and table on: give --val DIR"
        )
    pictures = _gather(config, paired=config.model.training == "paired")
    return pictures.pairs, pictures.pairs_description


def _find_visits(run: Run, config: AnyConfig, options: TransferOptions) -> Mapping[str, Any] | None:
    """Return which cells training visited: as it counted, or of runs that kept nothing counted now; None if that fails."""
    kept = run.read_visits()
    if kept is not None:
        return kept
    try:
        source = _gather(config, paired=config.model.training == "paired").source
        return pack_visits(count_training_visits(source, config.model.size, config.seed))
    except (DataError, ImageError) as error:
        options.say(f"which colours training visited is not known, the artefact goes without: {error}")
        return None


def _gather(config: AnyConfig, *, paired: bool) -> Pictures:
    recipe: ColourRecipe = config.recipe
    return gather_pictures(
        Path(config.data) if config.data else None,
        Path(config.val) if config.val else None,
        config.task,
        recipe,
        config.seed,
        paired=paired,
        saturate=config.model.colour_space != "XYZ",
    )


def _score(restore: Restore, pairs: Sequence[Pair], config: AnyConfig) -> float:
    return mean_finite_psnr(score_pairs(restore, pairs, config.task))


def _apply(model: Model) -> Restore:
    return lambda image: model.apply(image, threads=torch.get_num_threads())
