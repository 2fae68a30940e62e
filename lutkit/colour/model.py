"""Image-adaptive 3D LUTs as torch modules: a predictor and basis tables, evaluated as the runtime evaluates them.

Imports torch, the differentiable lookup and the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.colour.lookup import fuse, look_up
from lutkit.colour.picture_model import PictureModel
from lutkit.colour.predictor import THUMBNAIL_SIDE, shrink
from lutkit.families.adaptive_3dlut import PUBLISHED_STRETCH, AdaptiveConfig, name_basis, network
from lutkit.losses import measure_decreases, measure_smoothness
from lutkit.recipe import ColourRecipe
from lutkit.straight import store_straight
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.onnx_network import OnnxNetwork
from lutkit_runtime.table_coding import Storage


class AdaptiveModule(torch.nn.Module):
    """Predictor and basis tables with trainable parameters.

    Parameters
    ----------
    config : AdaptiveConfig
    """

    def __init__(self, config: AdaptiveConfig) -> None:
        super().__init__()
        self.side = THUMBNAIL_SIDE
        self.predictor = network(config, self.side, config.luts)
        self.bases = torch.nn.Parameter(start_tables(config.luts, config.size))

    def predict(self, thumbnails: torch.Tensor) -> torch.Tensor:
        """Return the weights (N, luts) for thumbnails (N, 3, 256, 256)."""
        return self.predictor(thumbnails)

    def tables(self) -> torch.Tensor:
        """Return the basis tables as they are applied, (luts, 3, n, n, n)."""
        return self.bases


class TablesModule(torch.nn.Module):
    """Basis tables with trainable entries behind a predictor that stays as it is.

    Parameters
    ----------
    network : OnnxNetwork
        The predictor as `lutkit apply` runs it.
    bases : float32 tensor, (K, 3, n, n, n)
    storages : sequence of Storage
        Of each table in the artefact that they come from and go to.
    side : int
        Of the thumbnails that the network takes.
    """

    def __init__(
        self, network: OnnxNetwork, bases: torch.Tensor, storages: Sequence[Storage], side: int = THUMBNAIL_SIDE
    ) -> None:
        super().__init__()
        self.side = side
        self._network = network
        self._storages = tuple(storages)
        self.bases = torch.nn.Parameter(bases)

    def predict(self, thumbnails: torch.Tensor) -> torch.Tensor:
        """Return the weights (N, K) for thumbnails (N, 3, side, side), which carry no gradient."""
        rows = [self._network.run(thumbnail[None].detach().cpu().numpy()).reshape(-1) for thumbnail in thumbnails]
        return torch.from_numpy(np.stack(rows)).to(self.bases.device)

    def tables(self) -> torch.Tensor:
        """Return the basis tables as they are applied, (K, 3, n, n, n): rounded to their storage, straight through."""
        if set(self._storages) == {Storage.FLOAT32}:
            return self.bases
        tables = zip(self.bases, self._storages, strict=True)
        return torch.stack([store_straight(table, storage) for table, storage in tables])


class AdaptiveModel(PictureModel):
    """An image-adaptive 3D LUT that can be trained.

    Parameters
    ----------
    module : AdaptiveModule or TablesModule
    interpolation : CubeInterpolation
    stretch : float
        As in `lutkit_runtime.ops.colour_lookup.Cube`.
    strength, low_precision
        As in `PictureModel`.
    """

    module: AdaptiveModule | TablesModule

    def __init__(
        self,
        module: AdaptiveModule | TablesModule,
        interpolation: CubeInterpolation,
        *,
        stretch: float = PUBLISHED_STRETCH,
        strength: float = 1.0,
        low_precision: bool = False,
    ) -> None:
        super().__init__(module, strength=strength, low_precision=low_precision)
        self._interpolation = interpolation
        self._stretch = stretch

    @property
    def bases(self) -> torch.Tensor:
        """The basis tables, (K, 3, n, n, n)."""
        return self.module.bases

    def run(self, pictures: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return outputs, unclipped, and weights (N, K), for pictures of any sizes."""
        thumbnails = torch.cat([shrink(picture[None], self.module.side) for picture in pictures])
        with self.predicting(thumbnails):
            weights = self.module.predict(thumbnails).float()
        cubes = fuse(weights, self.module.tables())
        outputs = [
            self.mix(picture, look_up(picture[None], cube[None], self._interpolation, self._stretch)[0])
            for picture, cube in zip(pictures, cubes, strict=True)
        ]
        return outputs, weights

    def regularise(self, predicted: torch.Tensor, recipe: ColourRecipe) -> torch.Tensor:
        """Return what keeps tables smooth and monotone and weights small (Zeng et al., eqs. 7 and 8)."""
        smooth = predicted.square().mean() + measure_smoothness(self.bases)
        return recipe.smoothness * smooth + recipe.monotonicity * measure_decreases(self.bases)

    def list_tables(self) -> list[torch.nn.Parameter]:
        """Return the basis tables."""
        return [self.module.bases]


def start_tables(luts: int, size: int) -> torch.Tensor:
    """Return basis tables to start from, (luts, 3, n, n, n): the identity, then zeros (Zeng et al., section 4.1)."""
    tables = torch.zeros(luts, 3, size, size, size)
    axis = torch.linspace(0, 1, size)
    tables[0, 0] = axis[None, None, :]
    tables[0, 1] = axis[None, :, None]
    tables[0, 2] = axis[:, None, None]
    return tables


def flatten_tables(bases: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """Return basis tables by slot as the runtime has them, each (n**3, 3) float32."""
    plain = bases.detach().cpu().float().numpy()
    return {name_basis(number): np.ascontiguousarray(table.reshape(3, -1).T) for number, table in enumerate(plain)}


def stack_tables(tables: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    """Undo `flatten_tables`: (K, 3, n, n, n) of tables (n**3, 3)."""
    size = round(len(tables[0]) ** (1 / 3))
    return torch.from_numpy(np.stack([table.T.reshape(3, size, size, size) for table in tables]).copy())
