"""Scores of models on image pairs, by the field's protocol. Imports metrics, data and degradation; no torch.

Super-resolution is scored on the luma (16 to 235) of RGB images without a border as wide as the scale, SSIM with the
border; denoising and deblocking on 8-bit gray images, whole (docs/training.md, "Protocol").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lutkit.data import convert_to_luma, find_images, read_rgb, validation_pairs
from lutkit.degradation import Task
from lutkit.metrics import psnr, psnr_y, ssim, ssim_y
from lutkit.resize import crop_to_multiple
from lutkit_runtime.errors import DataError

Image8 = NDArray[np.uint8]
Restore = Callable[[Image8], Image8]
"""A model: uint8 (h, w) or (h, w, 3) to uint8 of the same channels, enlarged by the task's scale."""

PERFECT_PSNR = 100.0


@dataclass(frozen=True)
class Pair:
    """An image with its known answer.

    Parameters
    ----------
    name : str
    degraded, target : uint8, (h, w[, 3]) and (h * scale, w * scale[, 3])
    """

    name: str
    degraded: Image8
    target: Image8


@dataclass(frozen=True)
class Score:
    """Figures of one image: PSNR in dB (infinite where nothing differs) and SSIM."""

    name: str
    psnr: float
    ssim: float


def make_pairs(folder: Path, task: Task, seed: int, limit: int | None = None) -> list[Pair]:
    """Return the images of a folder, degraded by the task with fixed seeds; raises DataError where there are none."""
    paths = find_images(folder)[:limit]
    made = validation_pairs([read_rgb(path) for path in paths], task, seed)
    return [Pair(path.stem, degraded, target) for path, (degraded, target) in zip(paths, made, strict=True)]


def read_pairs(targets: Path, degraded: Path, task: Task) -> list[Pair]:
    """Return images paired by file stem with degraded images made elsewhere; targets are cropped to the task's scale.

    Tasks that are scored on gray images get the luma of both. Raises DataError where a partner is missing, ambiguous or
    of the wrong size.
    """
    scale = task.scale
    partners: dict[str, Path] = {}
    for path in find_images(degraded):
        if path.stem in partners:
            raise DataError(f"{partners[path.stem]} and {path} have one name: which belongs to {targets} is not clear")
        partners[path.stem] = path
    pairs: list[Pair] = []
    for path in find_images(targets):
        if path.stem not in partners:
            raise DataError(f"{path.name} has no partner in {degraded}: give every image of {targets} one of that name")
        target = crop_to_multiple(read_rgb(path), scale)
        small = read_rgb(partners[path.stem])
        if (small.shape[0] * scale, small.shape[1] * scale) != target.shape[:2]:
            raise DataError(
                f"{partners[path.stem]} is {small.shape[1]}x{small.shape[0]}; {path.name} at scale {scale} needs "
                f"{target.shape[1] // scale}x{target.shape[0] // scale}: check --scale and the folders"
            )
        if task.scores_luma:
            small, target = convert_to_luma(small), convert_to_luma(target)
        pairs.append(Pair(path.stem, small, target))
    return pairs


def validate_size(name: str, target: Image8, task: Task) -> None:
    """Raise DataError where the border that is not scored leaves nothing of a target."""
    if not task.scores_luma and min(target.shape[:2]) <= 2 * task.scale:
        raise DataError(
            f"{name} is {target.shape[1]}x{target.shape[0]}, of which a border of {task.scale} pixels leaves nothing to "
            "score: use larger images"
        )


def score_image(name: str, output: Image8, target: Image8, task: Task) -> Score:
    """Score one output against its target; raises DataError as `validate_size`."""
    if task.scores_luma:
        return Score(name, psnr(output, target), _ssim_where_possible(ssim, output, target))
    validate_size(name, target, task)
    return Score(name, psnr_y(output, target, task.scale), _ssim_where_possible(ssim_y, output, target))


def score_pairs(restore: Restore, pairs: Sequence[Pair], task: Task) -> list[Score]:
    """Run a model on every pair and score it."""
    return [score_image(pair.name, restore(pair.degraded), pair.target, task) for pair in pairs]


def mean_psnr(scores: Sequence[Score]) -> float:
    """Return the mean of the images' PSNR in dB."""
    return float(np.mean([score.psnr for score in scores]))


def mean_finite_psnr(scores: Sequence[Score]) -> float:
    """Return the mean PSNR in dB with 100 dB for perfect images, of which a single one would hide all others."""
    return float(np.mean([min(score.psnr, PERFECT_PSNR) for score in scores]))


def mean_ssim(scores: Sequence[Score]) -> float:
    """Return the mean of the images' SSIM."""
    return float(np.mean([score.ssim for score in scores]))


def _ssim_where_possible(measure: Callable[[Image8, Image8], float], output: Image8, target: Image8) -> float:
    """Measure the SSIM; images smaller than its window have none (not a number)."""
    return measure(output, target) if min(target.shape[:2]) >= 11 else float("nan")
