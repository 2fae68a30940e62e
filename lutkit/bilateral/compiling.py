"""Grids that learn what a network answers: how full-resolution networks are compiled. Imports torch and the loop.

What depends on a parameter of the program, such as gamma, stays apart: the answers are what does not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.bilateral.model import BilateralModel
from lutkit.colour.objectives import PairedObjective
from lutkit.evaluate import PERFECT_PSNR
from lutkit.loop import Loop
from lutkit.objective import Loss
from lutkit.recipe import ColourRecipe
from lutkit.workbench import Watch

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Answered:
    """A picture and what a network answers.

    Parameters
    ----------
    given : uint8, (C, H, W)
        Its channels, and those of what is seen beside it.
    answer : float16, (K, H, W)
    """

    given: NDArray[np.uint8]
    answer: NDArray[np.float16]

    def read(self) -> tuple[Float32, Float32]:
        """Return both as float32, the picture 0 to 1."""
        return self.given.astype(np.float32) / np.float32(255), self.answer.astype(np.float32)


class AnsweredSource:
    """Random crops of pictures with their answers.

    Parameters
    ----------
    pictures : sequence of Answered
    recipe : ColourRecipe
        Its `crop_ratio` and `flip` count.
    """

    def __init__(self, pictures: Sequence[Answered], recipe: ColourRecipe) -> None:
        self._pictures = pictures
        self._recipe = recipe

    def sample(self, rng: np.random.Generator) -> tuple[Float32, Float32]:
        """Draw a crop (C, h, w) and its answer (K, h, w), float32."""
        drawn = self._pictures[int(rng.integers(len(self._pictures)))]
        window: list[slice] = []
        for length in drawn.given.shape[1:]:
            kept = max(1, round(length * rng.uniform(*self._recipe.crop_ratio)))
            start = int(rng.integers(length - kept + 1))
            window.append(slice(start, start + kept))
        rows, columns = window
        step = -1 if rng.random() < self._recipe.flip else 1
        given, answer = drawn.given[:, rows, columns][..., ::step], drawn.answer[:, rows, columns][..., ::step]
        return Answered(given, answer).read()


def learn_answers(
    model: BilateralModel,
    pictures: Sequence[Answered],
    held_out: Sequence[Answered],
    recipe: ColourRecipe,
    loss: Loss,
    *,
    measure: Callable[[torch.Tensor], torch.Tensor],
    seed: int,
    watch: Watch,
) -> float:
    """Train grids on a network's answers; return their PSNR to it in dB on pictures that were held out.

    Parameters
    ----------
    model : BilateralModel
        Its outputs are of the kind of the answers. It ends with its best parameters.
    pictures, held_out : sequence of Answered
    recipe : ColourRecipe
    loss : callable
        Of output and answer.
    measure : callable
        Turns an output or an answer (K, H, W) into the picture (3, H, W) whose PSNR is taken.
    seed : int
    watch : Watch

    Raises Interrupted after SIGINT or SIGTERM.
    """

    def validate(_step: int) -> float:
        return float(np.mean([_compare(model, each, measure) for each in held_out]))

    source: Any = AnsweredSource(pictures, recipe)
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(
            objective=PairedObjective(model, recipe, source, loss),
            recipe=recipe,
            unit=1.0,
            validate=validate,
            seed=seed,
            checkpoint=Path(folder) / "checkpoint.pt",
            log=Path(folder) / "log.jsonl",
            show_progress=watch.show_progress,
        )
        progress = loop.run(resume=False)
    model.module.eval()
    return progress.best_psnr


@torch.no_grad()
def _compare(model: BilateralModel, picture: Answered, measure: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Return the PSNR in dB between what the grids and what the network make of a picture."""
    training = model.module.training
    model.module.eval()
    given, answer = (torch.from_numpy(each).to(model.device) for each in picture.read())
    outputs, _ = model.run([given])
    model.module.train(training)
    error = (measure(outputs[0]).clamp(0, 1) - measure(answer).clamp(0, 1)).square().mean().item()
    return min(PERFECT_PSNR, -10 * float(np.log10(max(error, 1e-12))))
