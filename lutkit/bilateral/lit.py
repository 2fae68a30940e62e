"""Two bilateral grids of one predictor: one maps colours to reflectance, one to the root of the illumination.

Imports torch, the differentiable slice and the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lutkit.bilateral.model import BilateralModel, BilateralModule, BilateralTables, make_start
from lutkit.bilateral.slicing import evaluate_guides, slice_and_apply
from lutkit.families.hdrnet import HdrnetConfig
from lutkit_runtime.ops.illuminate import ENTRIES, ROOT, tabulate_power

DARKEST_ROOT = 1e-3
"""Roots below this have the gradient of it: that of a power is infinite at 0."""


class LitModule(BilateralModule):
    """Coefficient network, the columns of two grids, and their guide with trainable parameters.

    Parameters
    ----------
    config : HdrnetConfig
    """

    def __init__(self, config: HdrnetConfig) -> None:
        super().__init__(config)
        self.illumination = torch.nn.Parameter(make_start(config))


class LitModel(BilateralModel):
    """Reflectance times illumination to a power, from two grids.

    Parameters
    ----------
    module : LitModule or BilateralTables
        Of the latter, the tables must hold ``illumination``.
    gamma : float
        The power.
    shows_parts : bool
        Return reflectance and root of the illumination, (4, H, W), in place of the picture: what grids learn from
        networks.
    strength, low_precision
        As in `PictureModel`.
    """

    def __init__(
        self,
        module: LitModule | BilateralTables,
        gamma: float,
        *,
        shows_parts: bool = False,
        strength: float = 1.0,
        low_precision: bool = False,
    ) -> None:
        super().__init__(module, strength=strength, low_precision=low_precision)
        self.gamma = gamma
        self.shows_parts = shows_parts

    def make_illumination(self) -> torch.Tensor:
        """Return the columns of the illumination's grid as they are applied."""
        if isinstance(self.module, BilateralTables):
            return self.module.make_table("illumination")
        assert isinstance(self.module, LitModule)
        return self.module.illumination

    def run(self, pictures: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return outputs, unclipped, and the grids (N, rows, columns, levels, 24), for pictures of any sizes."""
        weights = self.predict(pictures)
        grids = [self.fuse(weights, columns) for columns in (self.module.make_columns(), self.make_illumination())]
        tables = self.module.make_guide(pictures)
        outputs: list[torch.Tensor] = []
        for picture, *pair in zip(pictures, *grids, strict=True):
            guide = evaluate_guides(picture[None], *tables)
            reflectance, light = (slice_and_apply(picture[None], guide, grid[None])[0] for grid in pair)
            root = light[:1]
            lit = torch.cat((reflectance, root)) if self.shows_parts else illuminate(reflectance, root, self.gamma)
            outputs.append(lit if self.shows_parts else self.mix(picture, lit))
        return outputs, torch.cat(grids, dim=-1)

    def list_tables(self) -> list[torch.nn.Parameter]:
        """Return the columns and, where it is made of tables, the guide."""
        if isinstance(self.module, LitModule):
            return [self.module.columns, self.module.illumination]
        return super().list_tables()


def illuminate(reflectance: torch.Tensor, root: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return reflectance times illumination to a power: the values of `lutkit_runtime.ops.Illuminate`, bit for bit.

    The gradient is that of the power itself, which the runtime's table follows closely.

    Parameters
    ----------
    reflectance : float32, (..., 3, H, W)
    root : float32, (..., 1, H, W)
        Fourth root of the illumination; counts within 0 and 1, and has no gradient beyond.
    gamma : float
    """
    return reflectance * _Power.apply(root, gamma)


@cache
def _make_table(gamma: float) -> torch.Tensor:
    return torch.from_numpy(tabulate_power(gamma))


class _Power(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, root: torch.Tensor, gamma: float) -> torch.Tensor:
        ctx.save_for_backward(root)
        ctx.exponent = ROOT * gamma
        table = _make_table(gamma).to(root)
        position = torch.where(root > 0, root.clamp(max=1), 0) * (ENTRIES - 1)
        cell = position.int().clamp(max=ENTRIES - 2)
        below, above = table[cell], table[cell + 1]
        return below + (position - cell) * (above - below)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        (root,) = ctx.saved_tensors
        slope = ctx.exponent * root.clamp(DARKEST_ROOT, 1) ** (ctx.exponent - 1)
        return gradient * torch.where((root >= 0) & (root <= 1), slope, 0), None
