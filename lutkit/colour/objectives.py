"""What training an image-adaptive 3D LUT lowers: on pairs, and on two sets of pictures. Imports torch.

Zeng et al., "Learning Image-Adaptive 3D Lookup Tables", TPAMI 2020, section 3.3; constants of the released code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lutkit.colour.model import AdaptiveModel
from lutkit.colour.predictor import make_discriminator, shrink
from lutkit.colour.sampling import PictureSource
from lutkit.losses import measure_decreases, measure_smoothness, penalise_gradient
from lutkit.objective import Loss
from lutkit.recipe import ColourRecipe


class PairedObjective:
    """Mean squared error to the retouched picture, with smooth and monotone basis tables.

    Parameters
    ----------
    model : AdaptiveModel
    recipe : ColourRecipe
    source : PictureSource
    loss : callable
        Of output and target, both 0 to 1.
    """

    def __init__(self, model: AdaptiveModel, recipe: ColourRecipe, source: PictureSource, loss: Loss) -> None:
        self.model = model
        self.recipe = recipe
        self.source = source
        self._loss = loss

    @property
    def module(self) -> torch.nn.Module:
        """The model's parameters."""
        return self.model.module

    def loss(self, rng: np.random.Generator, step: int) -> torch.Tensor:
        """Return the loss of a batch of pictures."""
        device = self.model.bases.device
        inputs, targets = draw_batch(self.source, rng, self.recipe.batch, device)
        outputs, weights = self.model.run(inputs)
        errors = [self._loss(output, target) for output, target in zip(outputs, targets, strict=True)]
        return torch.stack(errors).mean() + regularise(self.model, weights, self.recipe)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the predictor's parameters and the basis tables, which may learn at another rate."""
        return group_parameters(self.model, self.recipe)

    def confine(self) -> None:
        """Do nothing: tables and weights have no range."""

    def helpers(self) -> dict[str, Any]:
        """Return the state of torch's random numbers, which dropout draws from."""
        return {"dropout": torch.get_rng_state()}

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take that state back."""
        torch.set_rng_state(state["dropout"])


class UnpairedObjective:
    """A critic that tells outputs from good pictures (WGAN-GP), with outputs held near their inputs.

    Critic and penalty work on thumbnails: that is all the critic ever sees of a picture.

    Parameters
    ----------
    model : AdaptiveModel
    recipe : ColourRecipe
    source : PictureSource
    seed : int
        Of the penalty's random points.
    """

    def __init__(self, model: AdaptiveModel, recipe: ColourRecipe, source: PictureSource, seed: int) -> None:
        self.model = model
        self.recipe = recipe
        self.source = source
        self._critic = make_discriminator().to(model.bases.device)
        self._optimiser = torch.optim.Adam(self._critic.parameters(), lr=recipe.learning_rate)
        self._points = torch.Generator().manual_seed(seed)

    @property
    def module(self) -> torch.nn.Module:
        """The model's parameters; the critic's are not kept."""
        return self.model.module

    def loss(self, rng: np.random.Generator, step: int) -> torch.Tensor:
        """Update the critic, then return the generator's loss of a batch."""
        for _ in range(self.recipe.critic_steps - 1):
            _, good, outputs, _ = self._run(rng)
            self._update_critic(good, outputs)
        inputs, good, outputs, weights = self._run(rng)
        self._update_critic(good, outputs)
        verdict = self._critic(torch.cat([shrink(output[None]) for output in outputs])).mean()
        changes = [(output - before).square().mean() for output, before in zip(outputs, inputs, strict=True)]
        content = self.recipe.content * torch.stack(changes).mean()
        return content - verdict + regularise(self.model, weights, self.recipe)

    def _run(
        self, rng: np.random.Generator
    ) -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor], torch.Tensor]:
        inputs, targets = draw_batch(self.source, rng, self.recipe.batch, self.model.bases.device)
        outputs, weights = self.model.run(inputs)
        return inputs, torch.cat([shrink(target[None]) for target in targets]), outputs, weights

    def _update_critic(self, good: torch.Tensor, outputs: list[torch.Tensor]) -> None:
        made = torch.cat([shrink(output[None]) for output in outputs]).detach()
        penalty = penalise_gradient(self._critic, good, made, self._points)
        loss = self._critic(made).mean() - self._critic(good).mean() + self.recipe.gradient_penalty * penalty
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the predictor's parameters and the basis tables, which may learn at another rate."""
        return group_parameters(self.model, self.recipe)

    def confine(self) -> None:
        """Do nothing: tables and weights have no range."""

    def helpers(self) -> dict[str, Any]:
        """Return the critic, its optimiser, and the state of random numbers."""
        return {
            "critic": self._critic.state_dict(),
            "critic_optimiser": self._optimiser.state_dict(),
            "points": self._points.get_state(),
            "dropout": torch.get_rng_state(),
        }

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take these back."""
        self._critic.load_state_dict(state["critic"])
        self._optimiser.load_state_dict(state["critic_optimiser"])
        self._points.set_state(state["points"])
        torch.set_rng_state(state["dropout"])


def group_parameters(model: AdaptiveModel, recipe: ColourRecipe) -> list[dict[str, Any]]:
    """Return groups of parameters for Adam: the network behind the weights, where it is trained, and the tables."""
    tables = {"params": [model.bases], "share": recipe.table_rate}
    others = [value for value in model.module.parameters() if value is not model.bases]
    return [{"params": others}, tables] if others else [tables]


def draw_batch(
    source: PictureSource, rng: np.random.Generator, batch: int, device: torch.device
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return inputs and targets, lists of float32 (3, h, w)."""
    drawn = [source.sample(rng) for _ in range(batch)]
    inputs = [torch.from_numpy(before).to(device) for before, _ in drawn]
    return inputs, [torch.from_numpy(after).to(device) for _, after in drawn]


def regularise(model: AdaptiveModel, weights: torch.Tensor, recipe: ColourRecipe) -> torch.Tensor:
    """Return what keeps tables smooth and monotone and weights small (eqs. 7 and 8)."""
    smooth = weights.square().mean() + measure_smoothness(model.bases)
    return recipe.smoothness * smooth + recipe.monotonicity * measure_decreases(model.bases)
