"""What models of whole pictures have in common on the train side: run on pictures, kept in order, applied to 8 bits.

Imports torch and the runtime's conversions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.recipe import ColourRecipe
from lutkit_runtime.cube import scale_to_depth
from lutkit_runtime.ops.blend import to_unit


class PictureModel(ABC):
    """A model that looks at a picture, makes tables for it, and changes its colours with them.

    Parameters
    ----------
    module : torch.nn.Module
        Its parameters.
    strength : float
        How strongly pictures are changed, as `lutkit_runtime.ops.blend.Blend` mixes them.
    low_precision : bool
        Let training compute the predictor in bfloat16; evaluation and transfer never do.
    """

    def __init__(self, module: torch.nn.Module, *, strength: float = 1.0, low_precision: bool = False) -> None:
        self.module = module
        self._strength = strength
        self._low_precision = low_precision

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @abstractmethod
    def run(self, pictures: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return outputs and what the predictor gave for pictures of any sizes.

        Parameters
        ----------
        pictures : sequence of float32 (3, H, W), 0 to 1

        Returns
        -------
        outputs : list of float32 (3, H, W), unclipped
        predicted : float32 (N, ...)
        """

    @abstractmethod
    def regularise(self, predicted: torch.Tensor, recipe: ColourRecipe) -> torch.Tensor:
        """Return what is added to the loss to keep the tables in order."""

    @abstractmethod
    def list_tables(self) -> list[torch.nn.Parameter]:
        """Return the parameters that are entries of tables, which may learn at a rate of their own."""

    def group_parameters(self, recipe: ColourRecipe) -> list[dict[str, Any]]:
        """Return groups of parameters for Adam: the network that predicts, where it is trained, and the tables."""
        tables = self.list_tables()
        known = {id(each) for each in tables}
        others = [each for each in self.module.parameters() if id(each) not in known]
        groups: list[dict[str, Any]] = [{"params": others}] if others else []
        return [*groups, {"params": tables, "share": recipe.table_rate}]

    def predicting(self, thumbnails: torch.Tensor) -> torch.autocast:
        """Return the context in which the predictor sees thumbnails: in low precision where training may."""
        low = self._low_precision and torch.is_grad_enabled()
        return torch.autocast(thumbnails.device.type, torch.bfloat16, enabled=low)

    def mix(self, picture: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        """Return a changed picture mixed with the one it came from by the model's strength."""
        return changed if self._strength == 1 else picture + self._strength * (changed - picture)

    @torch.no_grad()
    def restore(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return what becomes of a picture (H, W, 3) uint8 or uint16, at its depth, as `lutkit apply` would."""
        training = self.module.training
        self.module.eval()
        try:
            planes = torch.from_numpy(np.ascontiguousarray(to_unit(image).transpose(2, 0, 1)))
            outputs, _ = self.run([planes.to(self.device)])
        finally:
            self.module.train(training)
        return scale_to_depth(np.ascontiguousarray(outputs[0].cpu().numpy().transpose(1, 2, 0)), image.dtype)
