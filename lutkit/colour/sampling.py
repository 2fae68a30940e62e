"""Random crops of pictures before and after retouching: what a training step draws. Imports NumPy and the tasks; no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.defects import LUMA, random_defect
from lutkit.colour.pictures import PictureCache
from lutkit.degradation import Task
from lutkit.recipe import ColourRecipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops.blend import to_unit

Image = NDArray[Any]
Float32 = NDArray[np.float32]

VARIED = 0.5
"""Part of the scenes that are changed at random, in exposure, colour and contrast, before they become a pair."""


class PictureSource:
    """Random crops of pictures before and after retouching, with the published augmentation.

    Parameters
    ----------
    inputs, targets : PictureCache or None
        Without `inputs`, the targets are photos: a part of one that is drawn is spoilt by the task, and what the task
        aims at is its target.
    task : Task
    recipe : ColourRecipe
    paired : bool
        Whether input and target of one draw are one picture; else they are drawn apart.
    saturate : bool
        Whether saturation may be changed: not for XYZ.
    """

    def __init__(
        self,
        inputs: PictureCache | None,
        targets: PictureCache,
        task: Task,
        recipe: ColourRecipe,
        *,
        paired: bool,
        saturate: bool,
    ) -> None:
        self._inputs = inputs
        self._targets = targets
        self._task = task
        self._recipe = recipe
        self._paired = paired
        self._saturate = saturate

    def sample(self, rng: np.random.Generator) -> tuple[Float32, Float32]:
        """Draw a crop before and one after, each (3, h, w) float32 of 0 to 1; of one size where they are a pair."""
        if self._paired:
            before, after = self._draw_pair(rng)
        else:
            before, after = self._draw_apart(rng)
        if self._inputs is not None:
            before = self._jitter(before, rng)
        return _to_planes(before), _to_planes(after)

    def _draw_pair(self, rng: np.random.Generator) -> tuple[Image, Image]:
        number = int(rng.integers(len(self._targets)))
        if self._inputs is None:
            return self._spoil(self._targets.read(number), rng)
        before, after = self._inputs.read(number), self._targets.read(number)
        if before.shape != after.shape:
            raise DataError(
                f"pair {number} has {before.shape[1]}x{before.shape[0]} and {after.shape[1]}x{after.shape[0]} pixels; "
                "both pictures of a pair must be of one size"
            )
        rows, columns, step = self._draw_window(after, rng)
        return before[rows, columns][:, ::step], after[rows, columns][:, ::step]

    def _spoil(self, photo: Image, rng: np.random.Generator) -> tuple[Image, Image]:
        """Make a pair of a part of a photo, which counts as a photo of its own and may be changed before it is one.

        So a hundred photos give far more scenes than a hundred.
        """
        rows, columns, step = self._draw_window(photo, rng)
        scene = np.ascontiguousarray(photo[rows, columns][:, ::step])
        if rng.random() < VARIED:
            scene = random_defect(rng).apply(scene)
        return self._task.degrade(scene, rng), self._task.aim(scene)

    def _draw_apart(self, rng: np.random.Generator) -> tuple[Image, Image]:
        after = self._targets.read(int(rng.integers(len(self._targets))))
        source = self._targets if self._inputs is None else self._inputs
        before = source.read(int(rng.integers(len(source))))
        crops = []
        for picture in (before, after):
            rows, columns, step = self._draw_window(picture, rng)
            crops.append(picture[rows, columns][:, ::step])
        before, after = crops
        return (before, after) if self._inputs is not None else (self._task.degrade(before, rng), self._task.aim(after))

    def _draw_window(self, picture: Image, rng: np.random.Generator) -> tuple[slice, slice, int]:
        """Draw a crop: rows, columns, and 1 or -1 for whether it is mirrored."""
        window: list[slice] = []
        for length in picture.shape[:2]:
            kept = max(1, round(length * rng.uniform(*self._recipe.crop_ratio)))
            start = int(rng.integers(length - kept + 1))
            window.append(slice(start, start + kept))
        return window[0], window[1], -1 if rng.random() < self._recipe.flip else 1

    def _jitter(self, picture: Image, rng: np.random.Generator) -> Float32:
        """Change brightness, then saturation, each clipped to 0 and 1."""
        colours = np.clip(to_unit(picture) * np.float32(rng.uniform(*self._recipe.brightness)), 0, 1)
        if self._saturate:
            factor = np.float32(rng.uniform(*self._recipe.saturation))
            gray = (colours @ LUMA.astype(np.float32))[..., None]
            colours = np.clip(gray + factor * (colours - gray), 0, 1)
        return colours

    def visit(self, rng: np.random.Generator, draws: int) -> list[Image]:
        """Return inputs: all of them, whole and without jitter, or so many spoilt parts of photos."""
        if self._inputs is not None:
            return [self._inputs.read(number) for number in range(len(self._inputs))]
        return [self._spoil(self._targets.read(int(rng.integers(len(self._targets)))), rng)[0] for _ in range(draws)]


def _to_planes(picture: Image) -> Float32:
    return np.ascontiguousarray(to_unit(picture).transpose(2, 0, 1))
