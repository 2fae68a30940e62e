"""Objectives: what a training loop lowers, drawn anew at every step. Imports torch, the trainable models and patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from lutkit.data import PatchSource
from lutkit.devices import send
from lutkit.parallel import ALONE, Crew
from lutkit.recipe import Recipe
from lutkit.trainable import Trainable

LARGEST_CODE = 255.0

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

Teach = Callable[[torch.Tensor], torch.Tensor]


class Objective(Protocol):
    """A model with its data and its loss, as the training loop sees it."""

    @property
    def module(self) -> torch.nn.Module:
        """What holds the parameters that are optimised and kept."""
        ...

    def loss(self, rng: np.random.Generator, step: int, crew: Crew = ALONE) -> torch.Tensor:
        """Return the loss of this process's part of a batch drawn from the generator, differentiable in the parameters.

        It is a mean over samples, but for terms that are the same for every part of a batch: the losses of all parts,
        weighted by their shares, are that of the batch. The generator draws the whole batch whatever the part is.
        """
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters for Adam; a group's ``share`` multiplies its learning rate."""
        ...

    def confine(self) -> None:
        """Bring the parameters back into their range after a step."""
        ...

    def helpers(self) -> dict[str, Any]:
        """Return the state of what is trained beside the model, such as a critic, for the checkpoint."""
        ...

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take that state back; raises KeyError or RuntimeError where it is of something else."""
        ...


class PatchObjective:
    """Patches of photos against what a model makes of their degraded versions.

    Parameters
    ----------
    model : Trainable
    recipe : Recipe
    source : PatchSource
    loss : callable
        Of output and target, both 0 to 1.
    teach : callable, optional
        Returns the targets of degraded codes (N, H, W), in codes, in place of the photos.
    """

    def __init__(
        self, model: Trainable, recipe: Recipe, source: PatchSource, loss: Loss, teach: Teach | None = None
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._source = source
        self._loss = loss
        self._teach = teach

    @property
    def module(self) -> torch.nn.Module:
        """The model's parameters."""
        return self.model.module

    def loss(self, rng: np.random.Generator, step: int, crew: Crew = ALONE) -> torch.Tensor:
        """Return the loss of a part of a batch of patches."""
        device = next(self.module.parameters()).device
        batch = self._recipe.batch
        degraded, target = self._source.sample(rng, batch, self._recipe.crop, crew.part_of(batch))
        planes = send(degraded, device).float()
        codes = self.model.run(planes, self._recipe.interval_at(step))
        aim = send(target, device) if self._teach is None else self._teach(planes)
        return self._loss(codes / LARGEST_CODE, aim / LARGEST_CODE)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the model's own groups."""
        return self.model.parameter_groups()

    def confine(self) -> None:
        """Bring the model's parameters back into their range."""
        self.model.confine()

    def helpers(self) -> dict[str, Any]:
        """Return nothing: the model is all that is trained."""
        return {}

    def restore_helpers(self, state: dict[str, Any]) -> None:
        """Take nothing back."""
