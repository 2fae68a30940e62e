"""HDRNet as torch modules: network, columns and guide, evaluated as the runtime evaluates them.

Imports torch, the differentiable slice and the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.function import once_differentiable

from lutkit.bilateral.networks import CurveGuide, PointwiseGuide, start_columns
from lutkit.bilateral.slicing import evaluate_guides, slice_and_apply
from lutkit.colour.picture_model import PictureModel
from lutkit.families.hdrnet import CURVE_ENTRIES, RESULT_ENTRIES, SIDE, HdrnetConfig, network
from lutkit.recipe import ColourRecipe
from lutkit.straight import store_straight
from lutkit_runtime.bilateral import COEFFICIENTS
from lutkit_runtime.errors import DataError
from lutkit_runtime.onnx_network import OnnxNetwork
from lutkit_runtime.ops import GridFusion, Predictor
from lutkit_runtime.ops.predictor import hold_positions, sample_thumbnail
from lutkit_runtime.table_coding import Storage

COLOURS = 3
"""Channels of a picture; what is seen beside it follows them."""

IDENTITY_SPREAD = 0.1
"""Part of the published spread of the columns with which training near the identity starts."""

GuideTensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Mix (4, count), curves (entries, count) and result (entries, 1), as `lutkit_runtime.bilateral.GuideTables`."""


class BilateralModule(torch.nn.Module):
    """Coefficient network, columns and guide with trainable parameters.

    Parameters
    ----------
    config : HdrnetConfig
    channels : int
        Of pictures: 3, and those of what is seen beside them.
    """

    def __init__(self, config: HdrnetConfig, channels: int = 3) -> None:
        super().__init__()
        places = config.spatial**2
        self.grid_shape = (config.spatial, config.spatial, config.levels)
        self._normalises = config.batch_norm
        self.network = network(config, SIDE, config.terms * places, channels)
        self.columns = torch.nn.Parameter(make_start(config))
        if config.guide == "curves":
            self.guide: torch.nn.Module = CurveGuide(entries=CURVE_ENTRIES)
        else:
            self.guide = PointwiseGuide(hidden=config.guide_shape[0], entries=RESULT_ENTRIES)

    def predict(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the weights (N, terms, places) of pictures.

        Raises DataError where a network with batch normalisation is to be trained on one picture: several processes
        share a batch, and each normalises its own part.
        """
        if self._normalises and self.training and len(pictures) < 2:
            raise DataError(
                "a network with batch_norm needs at least 2 pictures of a batch in each process: raise the recipe's batch, "
                "or start fewer processes"
            )
        return self.network(torch.stack([shrink_nearest(picture, SIDE) for picture in pictures])).flatten(2)

    def make_columns(self) -> torch.Tensor:
        """Return the columns as they are applied, (terms + 1, levels * 12)."""
        return self.columns

    def make_guide(self, pictures: Sequence[torch.Tensor]) -> GuideTensors:
        """Return the guide's tables as they are applied; while training, a normalisation sees the pictures."""
        return self.guide.tables(pictures)  # type: ignore[operator]


class BilateralTables(torch.nn.Module):
    """Columns and guide with trainable entries behind a network that stays as it is.

    Parameters
    ----------
    predictor : Predictor
    network : OnnxNetwork
        The network as `lutkit apply` runs it.
    fusion : GridFusion
    tables : mapping of name to float32 array
        ``columns``, ``mix``, ``curves`` and ``result``, decoded.
    storages : mapping of name to Storage
        Of the artefact that they come from and go to.
    """

    def __init__(
        self,
        predictor: Predictor,
        network: OnnxNetwork,
        fusion: GridFusion,
        tables: Mapping[str, NDArray[np.float32]],
        storages: Mapping[str, Storage],
    ) -> None:
        super().__init__()
        self._predictor, self._network, self._terms = predictor, network, fusion.terms
        self._storages = dict(storages)
        self.grid_shape = (fusion.rows, fusion.columns, fusion.depth)
        self.tables = torch.nn.ParameterDict({name: torch.from_numpy(each.copy()) for name, each in tables.items()})

    def predict(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the weights (N, terms, places) of pictures, which carry no gradient."""
        rows = [self._run(picture.detach().permute(1, 2, 0).cpu().numpy()) for picture in pictures]
        weights = torch.from_numpy(np.stack(rows)).to(self.tables["columns"].device)
        return weights.reshape(len(rows), self._terms, -1)

    def _run(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        thumbnail = sample_thumbnail(picture, self._predictor.side, self._predictor.sampling)
        return self._network.run(np.ascontiguousarray(thumbnail.transpose(2, 0, 1)[None])).reshape(-1)

    def make_columns(self) -> torch.Tensor:
        """Return the columns as they are applied: rounded to their storage, straight through."""
        return self.make_table("columns")

    def make_guide(self, pictures: Sequence[torch.Tensor]) -> GuideTensors:
        """Return the guide's tables as they are applied: rounded to their storage, straight through."""
        return self.make_table("mix"), self.make_table("curves"), self.make_table("result")

    def make_table(self, name: str) -> torch.Tensor:
        """Return a table as it is applied: rounded to its storage, straight through."""
        return store_straight(self.tables[name], self._storages[name])


class BilateralModel(PictureModel):
    """An HDRNet that can be trained.

    Parameters
    ----------
    module : BilateralModule or BilateralTables
    strength, low_precision
        As in `PictureModel`.
    """

    module: BilateralModule | BilateralTables

    def __init__(
        self, module: BilateralModule | BilateralTables, *, strength: float = 1.0, low_precision: bool = False
    ) -> None:
        super().__init__(module, strength=strength, low_precision=low_precision)

    def run(self, pictures: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return outputs, unclipped, and grids (N, rows, columns, levels, 12), for pictures of any sizes.

        What is seen beside a picture follows its three channels.
        """
        seen = [picture[:COLOURS] for picture in pictures]
        grids = self.fuse(self.predict(pictures), self.module.make_columns())
        tables = self.module.make_guide(seen)
        outputs = [
            self.mix(picture, slice_and_apply(picture[None], evaluate_guides(picture[None], *tables), grid[None])[0])
            for picture, grid in zip(seen, grids, strict=True)
        ]
        return outputs, grids

    def predict(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the weights (N, terms, places) float32 of pictures."""
        with self.predicting(pictures[0]):
            return self.module.predict(pictures).float()

    def fuse(self, weights: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return the grids (N, rows, columns, levels, 12) of weights and a table of columns."""
        return fuse_grids(weights, columns).reshape(len(weights), *self.module.grid_shape, COEFFICIENTS)

    def regularise(self, predicted: torch.Tensor, recipe: ColourRecipe) -> torch.Tensor:
        """Return what keeps neighbouring maps alike: the mean squared step along each axis of the grids."""
        if not recipe.smoothness:
            return predicted.new_zeros(())
        steps = [predicted.diff(dim=axis).square() for axis in (1, 2, 3) if predicted.shape[axis] > 1]
        return recipe.smoothness * sum((step.mean() for step in steps), predicted.new_zeros(()))

    def list_tables(self) -> list[torch.nn.Parameter]:
        """Return the columns and, where it is made of tables, the guide."""
        if isinstance(self.module, BilateralTables):
            return list(self.module.tables.parameters())
        return [self.module.columns]


def make_start(config: HdrnetConfig) -> torch.Tensor:
    """Return the columns (terms + 1, levels * 12) that training starts from, drawn from torch's generator."""
    near = config.start == "identity"
    return start_columns(config.terms, config.levels, identity=near, spread=IDENTITY_SPREAD if near else 1.0)


def shrink_nearest(picture: torch.Tensor, side: int) -> torch.Tensor:
    """Return a picture (C, H, W) sampled to (C, side, side): the pixels that the runtime's predictor takes."""
    rows, columns = (torch.from_numpy(hold_positions(length, side)).to(picture.device) for length in picture.shape[1:])
    return picture[:, rows][:, :, columns]


def fuse_grids(weights: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return the constant column plus the sum of weight times column, for every place: what `GridFusion` computes.

    The sum is taken in float64, in the order of the columns, and rounded to float32 once.

    Parameters
    ----------
    weights : float32, (N, terms, places)
    columns : float32, (terms + 1, length)

    Returns
    -------
    float32, (N, places, length)
    """
    return _Fuse.apply(weights, columns)  # type: ignore[no-any-return]


class _Fuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weights, columns)
        constant, *others = columns.double()
        total = constant.expand(weights.shape[0], weights.shape[2], -1).clone()
        for weight, column in zip(weights.double().unbind(1), others, strict=True):
            total += weight[..., None] * column
        return total.to(torch.promote_types(weights.dtype, columns.dtype))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        weights, columns = ctx.saved_tensors
        # No matrix products: how a BLAS adds up may depend on where memory happens to lie, and a seed shall repeat a run.
        to_weights = to_columns = None
        if ctx.needs_input_grad[0]:
            to_weights = torch.stack([(gradient * column).sum(2) for column in columns[1:]], dim=1)
        if ctx.needs_input_grad[1]:
            rows = [(gradient * weight[..., None]).sum((0, 1)) for weight in weights.unbind(1)]
            to_columns = torch.stack([gradient.sum((0, 1)), *rows])
        return to_weights, to_columns
