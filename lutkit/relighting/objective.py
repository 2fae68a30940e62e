"""What training a relighting network lowers. Imports torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lutkit.devices import send
from lutkit.parallel import ALONE, Crew
from lutkit.recipe import RelightingRecipe
from lutkit.relighting.losses import LossWeights, relighting_loss
from lutkit.relighting.networks import RelightingNetwork
from lutkit.relighting.pairs import RelightingSource
from lutkit.relighting.vgg import PerceptualLoss


class RelightingObjective:
    """Scenes under the light of a guide against what the network makes of them.

    Parameters
    ----------
    network : RelightingNetwork
    recipe : RelightingRecipe
    source : RelightingSource
    perceptual : PerceptualLoss, optional
        None where there are no weights of VGG19.
    """

    def __init__(
        self,
        network: RelightingNetwork,
        recipe: RelightingRecipe,
        source: RelightingSource,
        perceptual: PerceptualLoss | None = None,
    ) -> None:
        self.module = network
        self._recipe = recipe
        self._source = source
        self._perceptual = perceptual
        self._weights = LossWeights(recipe.charbonnier, recipe.wavelet, recipe.perceptual)

    def loss(self, rng: np.random.Generator, step: int, crew: Crew = ALONE) -> torch.Tensor:
        """Return the loss of a part of a batch of pictures."""
        batch = self._recipe.batch
        drawn = [self._source.sample(rng) for _ in range(batch)][crew.part_of(batch)]
        device = next(self.module.parameters()).device
        pictures, targets = (send(np.stack(each), device) for each in zip(*drawn, strict=True))
        return relighting_loss(self.module(pictures), targets, self._perceptual, self._weights)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return all parameters."""
        return [{"params": list(self.module.parameters())}]

    def confine(self) -> None:
        """Do nothing: weights have no range."""

    def helpers(self) -> dict[str, Any]:
        """Return nothing: the network is all that is trained."""
        return {}

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take nothing back."""
