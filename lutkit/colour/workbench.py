"""The train side of image-adaptive 3D LUTs. Imports torch; see `lutkit.workbench.Workbench` for what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.checkpoints import load_networks
from lutkit.colour.model import AdaptiveModel, AdaptiveModule, TablesModule, flatten_tables, stack_tables
from lutkit.colour.objectives import PairedObjective, UnpairedObjective
from lutkit.colour.pairs import Pictures
from lutkit.colour.parts import decode_basis, find_parts, store_tables
from lutkit.colour.picture_model import PictureModel
from lutkit.colour.picture_workbench import Filled, PictureWorkbench, Reopened, Stored, score
from lutkit.colour.predictor import export_onnx
from lutkit.colour.sampling import PictureSource
from lutkit.colour.visits import count_visits, pack_visits
from lutkit.configuration import AnyConfig
from lutkit.families.adaptive_3dlut import PREDICTOR, AdaptiveConfig, build_program
from lutkit.precision import takes_bfloat16
from lutkit.run import Run
from lutkit.workbench import Training, TransferOptions
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import DataError, ImageError
from lutkit_runtime.table_coding import Storage, TableCoding

VISITED_DRAWS = 256
"""How many spoilt photos are looked at to tell which cells of a cube training visits."""

STATISTICS_PICTURES = 24


class ColourWorkbench(PictureWorkbench):
    """Answers the four verbs for image-adaptive 3D LUTs."""

    def make_model(self, config: AnyConfig, device: torch.device, *, low_precision: bool) -> AdaptiveModel:
        """Return a model to be trained."""
        module = AdaptiveModule(config.model).to(device)
        return AdaptiveModel(module, CubeInterpolation(config.model.interpolation), low_precision=low_precision)

    def load_model(self, run: Run, config: AnyConfig) -> AdaptiveModel:
        """Return a run's best networks; raises DataError where there are none or they do not fit."""
        return load_model(run, config.model)

    def learns_from_pairs(self, config: AnyConfig) -> bool:
        """Whether a model is trained on pictures with their retouched versions, not on two sets."""
        return config.model.training == "paired"

    def may_saturate(self, config: AnyConfig) -> bool:
        """Whether the saturation of pictures may be changed: not that of XYZ."""
        return config.model.colour_space != "XYZ"

    def build(self, config: AnyConfig, materials: Pictures, device: torch.device) -> Training:
        """Return the run's model with its pictures."""
        low = takes_bfloat16(config.precision, device, bears=False)
        model = self.make_model(config, device, low_precision=low)
        if config.model.training == "unpaired":
            objective = UnpairedObjective(model, config.recipe, materials.source, config.seed)
        else:
            objective = PairedObjective(model, config.recipe, materials.source, self._family.loss)

        def validate(_step: int) -> float:
            if materials.pairs:
                return score(model.restore, materials.pairs, config)
            return measure_resemblance(model, materials.source, config.seed)

        def count() -> dict[str, Any]:
            return pack_visits(count_training_visits(materials.source, config.model.size, config.seed))

        measure = "validation" if materials.pairs else "likeness of mean and contrast"
        return Training(objective, validate, measure, count)

    def fill(self, model: PictureModel, config: AnyConfig, storage: Storage) -> Filled:
        """Put predictor and basis tables into a program."""
        assert isinstance(model, AdaptiveModel) and isinstance(model.module, AdaptiveModule)
        tables = flatten_tables(model.bases)
        graph = export_onnx(model.module.predictor)
        codings = (TableCoding(storage),) * config.model.luts
        skeleton = build_program(config.model, graph_bytes=len(graph), codings=codings)
        program, stored = store_tables(skeleton, tables, {PREDICTOR: graph})
        table_error = max(
            float(np.abs(values - decode_basis(program, stored, slot)).max()) for slot, values in tables.items()
        )
        return Filled(program, stored, table_error)

    def reopen(self, artefact: Artefact, device: torch.device) -> Reopened:
        """Return an artefact's basis tables as parameters; raises DataError where its program is another."""
        parts = find_parts(artefact.program)
        bases, cube = parts.fusion.bases, parts.cube
        tables = stack_tables([basis.coding.decode(artefact.tables[basis.slot]) for basis in bases])
        network = parts.predictor.open(artefact.tables)
        module = TablesModule(network, tables, [basis.coding.storage for basis in bases], parts.predictor.side)
        model = AdaptiveModel(module.to(device), cube.interpolation, stretch=cube.stretch, strength=parts.strength)

        def store() -> Stored:
            values = flatten_tables(model.bases).values()
            changed = {basis.slot: table for basis, table in zip(bases, values, strict=True)}
            return store_tables(artefact.program, changed, artefact.tables)

        return Reopened(model, store)

    def find_visits(self, run: Run, config: AnyConfig, options: TransferOptions) -> Mapping[str, Any] | None:
        """Return which cells training visited: as it counted, or of runs that kept nothing counted now, or None."""
        kept = run.read_visits()
        if kept is not None:
            return kept
        try:
            return pack_visits(
                count_training_visits(self.gather_pictures(config).source, config.model.size, config.seed)
            )
        except (DataError, ImageError) as error:
            options.say(f"which colours training visited is not known, the artefact goes without: {error}")
            return None


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
            output = model.run([torch.from_numpy(before).to(model.device)])[0][0]
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
