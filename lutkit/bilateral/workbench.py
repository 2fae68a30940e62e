"""The train side of HDRNet. Imports torch; see `lutkit.workbench.Workbench` for what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.bilateral.lit import LitModel
from lutkit.bilateral.model import BilateralModel, BilateralModule, BilateralTables
from lutkit.bilateral.parts import Values, find_parts, store_values
from lutkit.checkpoints import load_networks
from lutkit.colour.picture_model import PictureModel
from lutkit.colour.picture_workbench import Filled, PictureWorkbench, Reopened, Stored
from lutkit.colour.predictor import export_onnx
from lutkit.configuration import AnyConfig
from lutkit.families.hdrnet import PREDICTOR, build_program
from lutkit.run import Run
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage, TableCoding


class BilateralWorkbench(PictureWorkbench):
    """Answers the four verbs for HDRNet."""

    def check(self, config: AnyConfig) -> None:
        """Raise DataError or ProgramError where a configuration cannot be trained."""
        super().check(config)
        if config.recipe.monotonicity:
            raise DataError(
                f"recipe has monotonicity = {config.recipe.monotonicity}; {self._family.name} has no cubes whose steps "
                "could decrease: set it to 0"
            )
        if config.model.batch_norm and config.recipe.batch < 2:
            raise DataError("a network with batch_norm needs batches of at least 2 pictures: set the recipe's batch")

    def smallest_side(self, config: AnyConfig) -> int:
        """Return how many pixels the sides of a picture must have: as many as the grid has places."""
        return config.model.spatial

    def make_model(self, config: AnyConfig, device: torch.device, *, low_precision: bool) -> BilateralModel:
        """Return a model to be trained."""
        return BilateralModel(BilateralModule(config.model).to(device), low_precision=low_precision)

    def load_model(self, run: Run, config: AnyConfig) -> BilateralModel:
        """Return a run's best networks; raises DataError where there are none or they do not fit."""
        module = BilateralModule(config.model)
        try:
            module.load_state_dict(load_networks(run.network_file))
        except RuntimeError as error:
            raise DataError(f"networks {run.network_file} do not fit {run.config_file}: train again") from error
        return BilateralModel(module.eval())

    def fill(self, model: PictureModel, config: AnyConfig, storage: Storage) -> Filled:
        """Put network, columns and guide into a program."""
        assert isinstance(model, BilateralModel) and isinstance(model.module, BilateralModule)
        graph = export_onnx(model.module.network)
        coding = TableCoding(storage)
        skeleton = build_program(config.model, graph_bytes=len(graph), columns=coding, curves=coding, result=coding)
        return fill_program(skeleton, read_values(model), {PREDICTOR: graph})

    def reopen(self, artefact: Artefact, device: torch.device) -> Reopened:
        """Return an artefact's columns and guide as parameters; raises DataError where its program is another."""
        return reopen_grids(artefact, device)


def reopen_grids(artefact: Artefact, device: torch.device) -> Reopened:
    """Return an artefact's columns and guide as parameters, of one grid or of two that light a picture.

    Raises DataError where its program is another.
    """
    parts = find_parts(artefact.program)
    network = parts.predictor.open(artefact.tables, artefact.program.count_channels(parts.predictor.inputs))
    values = parts.decode(artefact.tables)
    module = BilateralTables(parts.predictor, network, parts.fusion, values, parts.storages).to(device)
    if parts.gamma is None:
        model = BilateralModel(module, strength=parts.strength)
    else:
        model = LitModel(module, parts.gamma, strength=parts.strength)

    def store() -> Stored:
        made = {name: _to_numpy(table) for name, table in module.tables.items()}
        return store_values(artefact.program, made, artefact.tables)

    return Reopened(model, store, max(parts.fusion.rows, parts.fusion.columns))


@torch.no_grad()
def read_values(model: BilateralModel) -> dict[str, NDArray[np.float32]]:
    """Return the tables of a trained model: ``columns``, of some ``illumination``, ``mix``, ``curves`` and ``result``."""
    model.module.eval()
    mix, curves, result = model.module.make_guide([])
    values = {"columns": model.module.make_columns(), "mix": mix, "curves": curves, "result": result}
    if isinstance(model, LitModel):
        values["illumination"] = model.make_illumination()
    return {name: _to_numpy(table) for name, table in values.items()}


def fill_program(skeleton: Program, values: Values, others: Mapping[str, NDArray[Any]]) -> Filled:
    """Return a program with the tables of trained grids, and what storing them costs.

    Parameters
    ----------
    skeleton : Program
        It says how each table is stored.
    values : mapping
        As `read_values` returns them.
    others : mapping of slot to array
        What the other slots hold.
    """
    program, stored = store_values(skeleton, values, others)
    decoded = find_parts(program).decode(stored)
    errors = {name: float(np.abs(decoded[name] - table).max()) for name, table in values.items()}
    details = {f"largest_error_{name}": round(error, 8) for name, error in errors.items()}
    return Filled(program, stored, max(errors.values()), details)


def _to_numpy(table: torch.Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(table.detach().cpu().float().numpy())
