"""What training a PairLIE lowers: the loss of two exposures of one scene. Imports torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lutkit.devices import send
from lutkit.lowlight.exposures import ExposureSource
from lutkit.lowlight.losses import retinex_loss
from lutkit.lowlight.networks import RetinexNetwork
from lutkit.parallel import ALONE, Crew
from lutkit.recipe import ExposureRecipe

WATCHED = 16
"""Crops on which training is watched."""


class ExposureObjective:
    """Two exposures of scenes against each other; no well lit picture is needed.

    Parameters
    ----------
    network : RetinexNetwork
    recipe : ExposureRecipe
    source : ExposureSource
    """

    def __init__(self, network: RetinexNetwork, recipe: ExposureRecipe, source: ExposureSource) -> None:
        self.module = network
        self._recipe = recipe
        self._source = source

    def loss(self, rng: np.random.Generator, step: int, crew: Crew = ALONE) -> torch.Tensor:
        """Return the loss of a part of a batch of crops."""
        drawn = [self._source.sample(rng) for _ in range(self._recipe.batch)]
        return self._measure(drawn[crew.part_of(self._recipe.batch)])

    def _measure(self, drawn: list[tuple[Any, Any]]) -> torch.Tensor:
        device = next(self.module.parameters()).device
        losses: list[torch.Tensor] = []
        for pair in drawn:  # pictures may be smaller than the crop, and so of several sizes
            first, second = (send(each, device)[None] for each in pair)
            losses.append(retinex_loss(first, self.module.decompose(first), self.module.decompose(second)))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def watch(self, held_out: ExposureSource) -> float:
        """Return the loss of crops that are the same every time, in decibels: -10 log10."""
        rng = np.random.default_rng(0)
        drawn = [held_out.sample(rng) for _ in range(WATCHED)]
        return -10 * math.log10(max(self._measure(drawn).item(), 1e-12))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters, network by network, as the recipe says how fast each of them learns."""
        return [
            {"params": list(self.module.L_net.parameters())},
            {"params": list(self.module.R_net.parameters()), "share": self._recipe.reflectance_rate},
            {"params": list(self.module.N_net.parameters()), "share": self._recipe.cleaning_rate},
        ]

    def confine(self) -> None:
        """Do nothing: weights have no range."""

    def helpers(self) -> dict[str, Any]:
        """Return nothing: the networks are all that is trained."""
        return {}

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take nothing back."""
