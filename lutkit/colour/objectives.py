"""What training models of whole pictures lowers: on pairs, and on two sets of pictures. Imports torch.

Zeng et al., "Learning Image-Adaptive 3D Lookup Tables", TPAMI 2020, section 3.3; constants of the released code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lutkit.colour.picture_model import PictureModel
from lutkit.colour.predictor import divide_dropout, make_discriminator, shrink
from lutkit.colour.sampling import PictureSource
from lutkit.devices import send
from lutkit.losses import penalise_gradient
from lutkit.objective import Loss
from lutkit.parallel import ALONE, Crew
from lutkit.recipe import ColourRecipe


class PairedObjective:
    """The loss to the retouched picture, with what keeps the tables in order.

    Parameters
    ----------
    model : PictureModel
    recipe : ColourRecipe
    source : PictureSource
    loss : callable
        Of output and target, both 0 to 1.
    """

    def __init__(self, model: PictureModel, recipe: ColourRecipe, source: PictureSource, loss: Loss) -> None:
        self.model = model
        self.recipe = recipe
        self.source = source
        self._loss = loss

    @property
    def module(self) -> torch.nn.Module:
        """The model's parameters."""
        return self.model.module

    def loss(self, rng: np.random.Generator, step: int, crew: Crew = ALONE) -> torch.Tensor:
        """Return the loss of a part of a batch of pictures."""
        inputs, targets = draw_batch(self.source, rng, self.recipe.batch, self.model, crew)
        outputs, weights = self.model.run(inputs)
        errors = [self._loss(output, target) for output, target in zip(outputs, targets, strict=True)]
        return torch.stack(errors).mean() + self.model.regularise(weights, self.recipe)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the predictor's parameters and the tables, which may learn at another rate."""
        return self.model.group_parameters(self.recipe)

    def confine(self) -> None:
        """Do nothing: tables and weights have no range."""

    def helpers(self) -> dict[str, Any]:
        """Return the state of torch's random numbers, which dropout draws from."""
        return {"dropout": find_random_state(self.model.device)}

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take that state back."""
        set_random_state(state["dropout"], self.model.device)


class UnpairedObjective:
    """A critic that tells outputs from good pictures (WGAN-GP), with outputs held near their inputs.

    Critic and penalty work on thumbnails: that is all the critic ever sees of a picture.

    Parameters
    ----------
    model : PictureModel
    recipe : ColourRecipe
    source : PictureSource
    seed : int
        Of the penalty's random points.
    """

    def __init__(self, model: PictureModel, recipe: ColourRecipe, source: PictureSource, seed: int) -> None:
        self.model = model
        self.recipe = recipe
        self.source = source
        self._critic = make_discriminator().to(model.device)
        self._optimiser = torch.optim.Adam(self._critic.parameters(), lr=recipe.learning_rate)
        self._points = torch.Generator().manual_seed(seed)

    @property
    def module(self) -> torch.nn.Module:
        """The model's parameters; the critic's are not kept."""
        return self.model.module

    def loss(self, rng: np.random.Generator, step: int, crew: Crew = ALONE) -> torch.Tensor:
        """Update the critic, then return the generator's loss of a part of a batch."""
        for _ in range(self.recipe.critic_steps - 1):
            _, good, outputs, _ = self._run(rng, crew)
            self._update_critic(good, outputs, crew)
        inputs, good, outputs, weights = self._run(rng, crew)
        self._update_critic(good, outputs, crew)
        verdict = self._critic(torch.cat([shrink(output[None]) for output in outputs])).mean()
        changes = [(output - before).square().mean() for output, before in zip(outputs, inputs, strict=True)]
        content = self.recipe.content * torch.stack(changes).mean()
        return content - verdict + self.model.regularise(weights, self.recipe)

    def _run(
        self, rng: np.random.Generator, crew: Crew
    ) -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor], torch.Tensor]:
        inputs, targets = draw_batch(self.source, rng, self.recipe.batch, self.model, crew)
        outputs, weights = self.model.run(inputs)
        return inputs, torch.cat([shrink(target[None]) for target in targets]), outputs, weights

    def _update_critic(self, good: torch.Tensor, outputs: list[torch.Tensor], crew: Crew) -> None:
        made = torch.cat([shrink(output[None]) for output in outputs]).detach()
        batch = self.recipe.batch
        points = torch.rand((batch, 1, 1, 1), generator=self._points)[crew.part_of(batch)]
        penalty = penalise_gradient(self._critic, good, made, send(points, good.device))
        loss = self._critic(made).mean() - self._critic(good).mean() + self.recipe.gradient_penalty * penalty
        if crew.size > 1:
            loss = loss * crew.share_of(batch)
        self._optimiser.zero_grad()
        loss.backward()
        crew.add_up_gradients(self._critic.parameters())
        self._optimiser.step()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the predictor's parameters and the tables, which may learn at another rate."""
        return self.model.group_parameters(self.recipe)

    def confine(self) -> None:
        """Do nothing: tables and weights have no range."""

    def helpers(self) -> dict[str, Any]:
        """Return the critic, its optimiser, and the state of random numbers."""
        return {
            "critic": self._critic.state_dict(),
            "critic_optimiser": self._optimiser.state_dict(),
            "points": self._points.get_state(),
            "dropout": find_random_state(self.model.device),
        }

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take these back."""
        self._critic.load_state_dict(state["critic"])
        self._optimiser.load_state_dict(state["critic_optimiser"])
        self._points.set_state(state["points"])
        set_random_state(state["dropout"], self.model.device)


def draw_batch(
    source: PictureSource, rng: np.random.Generator, batch: int, model: PictureModel, crew: Crew
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return inputs and targets of this process's part of a batch, lists of float32 (3, h, w), for the model to run.

    All pictures of the batch are drawn: how many random numbers one takes is known only when it is made.
    """
    part = crew.part_of(batch)
    if crew.size > 1:
        divide_dropout(model.module, batch, part)
    drawn = [source.sample(rng) for _ in range(batch)][part]
    device = model.device
    return [send(before, device) for before, _ in drawn], [send(after, device) for _, after in drawn]


def find_random_state(device: torch.device) -> torch.Tensor:
    """Return the state of the random numbers that torch draws on a device, uint8 on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: torch.Tensor, device: torch.device) -> None:
    """Take such a state back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
