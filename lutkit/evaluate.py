"""Scores of models on image pairs, by the field's protocol. Imports metrics, data and degradation; no torch.

Super-resolution is scored on the luma (16 to 235) of RGB images without a border as wide as the scale, SSIM with the
border; denoising and deblocking on 8-bit gray images, whole; retouching, low light and relighting on 8-bit RGB, PSNR over
all channels, SSIM and colour difference as in `colour_metrics` (docs/training.md, "Protocol").
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from lutkit.colour.pictures import read_colours, read_target
from lutkit.colour_metrics import delta_e76, psnr_rgb, ssim_wang
from lutkit.data import convert_to_luma, find_images, read_rgb, validation_pair
from lutkit.degradation import Task
from lutkit.metrics import psnr, psnr_y, ssim, ssim_y
from lutkit.resize import crop_to_multiple
from lutkit_runtime.engine.conversion import halve_depth
from lutkit_runtime.errors import DataError

Image8 = NDArray[np.uint8]
Restore = Callable[..., Image8]
"""A model: uint8 (h, w) or (h, w, 3) to uint8 of the same channels, enlarged by the task's scale.

What a model needs beside the picture follows by name, see `Pair.companions`.
"""

PERFECT_PSNR = 100.0


@dataclass(frozen=True)
class Pair:
    """An image with its known answer.

    Parameters
    ----------
    name : str
    degraded, target : uint8, (h, w[, 3]) and (h * scale, w * scale[, 3])
    companions : mapping of name to array, (h, w[, 3])
        What a model needs beside the degraded image, such as depth.
    """

    name: str
    degraded: Image8
    target: Image8
    companions: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])


ReadPair = Callable[[], Pair]
"""Reads a pair when it is its turn."""


@dataclass(frozen=True)
class Score:
    """Figures of one image.

    Parameters
    ----------
    name : str
    psnr : float
        In dB, infinite where nothing differs.
    ssim : float
        Not a number for images that are too small for its window.
    delta_e : float or None
        Mean colour difference (CIE 1976), for tasks that are scored on colours.
    """

    name: str
    psnr: float
    ssim: float
    delta_e: float | None = None


def make_pairs(folder: Path, task: Task, seed: int, limit: int | None = None) -> list[Pair]:
    """Return the images of a folder, degraded by the task with fixed seeds; raises DataError where there are none."""
    return [read() for read in plan_made_pairs(folder, task, seed, limit)]


def read_pairs(targets: Path, degraded: Path, task: Task) -> list[Pair]:
    """Return images paired by file stem with degraded images made elsewhere; errors as `plan_read_pairs`."""
    return [read() for read in plan_read_pairs(targets, degraded, task)]


def plan_made_pairs(folder: Path, task: Task, seed: int, limit: int | None = None) -> list[ReadPair]:
    """Return what `make_pairs` does as one step for every image, so that they need not be in memory together.

    Sizes are checked at once. Raises DataError where there are no images or one is too small to be scored.
    """
    paths = find_images(folder)[:limit]
    for path in paths:
        size = _read_size(path)
        if size is not None:
            _check_border(path.stem, *size, task)
    return [partial(_make_pair, path, task, seed, index) for index, path in enumerate(paths)]


def plan_read_pairs(targets: Path, degraded: Path, task: Task) -> list[ReadPair]:
    """Pair images by file stem with degraded images made elsewhere; targets are cropped to the task's scale.

    Tasks that are scored on gray images get the luma of both. One step for every image reads it and its partner; sizes
    are checked at once. Raises DataError where a partner is missing, ambiguous or of the wrong size.
    """
    scale = task.scale
    partners: dict[str, Path] = {}
    for path in find_images(degraded):
        if path.stem in partners:
            raise DataError(f"{partners[path.stem]} and {path} have one name: which belongs to {targets} is not clear")
        partners[path.stem] = path
    plan: list[ReadPair] = []
    for path in find_images(targets):
        if path.stem not in partners:
            raise DataError(f"{path.name} has no partner in {degraded}: give every image of {targets} one of that name")
        partner = partners[path.stem]
        size, small = _read_size(path), _read_size(partner)
        if size is not None:
            _check_border(path.stem, *size, task)
            if small is not None and sorted(small) != sorted(side // scale for side in size):
                raise _wrong_size(partner, small, path, size, scale)
        plan.append(partial(_read_pair, path, partner, task))
    return plan


def _make_pair(path: Path, task: Task, seed: int, index: int) -> Pair:
    return Pair(path.stem, *validation_pair(read_rgb(path), task, seed, index))


def _read_pair(path: Path, partner: Path, task: Task) -> Pair:
    scale = task.scale
    if task.scores_colour:
        target, small = read_target(path), read_colours(partner)
    else:
        target, small = crop_to_multiple(read_rgb(path), scale), read_rgb(partner)
    if (small.shape[0] * scale, small.shape[1] * scale) != target.shape[:2]:
        raise _wrong_size(partner, small.shape[:2], path, target.shape[:2], scale)
    if task.scores_luma:
        small, target = convert_to_luma(small), convert_to_luma(target)
    return Pair(path.stem, small, target)


def _wrong_size(partner: Path, small: tuple[int, ...], path: Path, size: tuple[int, ...], scale: int) -> DataError:
    return DataError(
        f"{partner} is {small[1]}x{small[0]}; {path.name} at scale {scale} needs {size[1] // scale}x{size[0] // scale}: "
        "check --scale and the folders"
    )


def _read_size(path: Path) -> tuple[int, int] | None:
    """Return height and width from the head of a file, as stored: turning may swap them. None where it does not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return picture.height, picture.width
    except Exception:
        # Whatever is wrong with the file, reading it whole says so better.
        return None


def validate_size(name: str, target: Image8, task: Task) -> None:
    """Raise DataError where the border that is not scored leaves nothing of a target."""
    _check_border(name, target.shape[0], target.shape[1], task)


def _check_border(name: str, height: int, width: int, task: Task) -> None:
    if not task.scores_luma and min(height, width) // task.scale <= 2:
        raise DataError(
            f"{name} is {width}x{height}, of which a border of {task.scale} pixels leaves nothing to score: use larger "
            "images"
        )


def score_image(name: str, output: Image8, target: Image8, task: Task) -> Score:
    """Score one output against its target; raises DataError as `validate_size`."""
    if task.scores_colour:
        output, target = _to_8_bits(output), _to_8_bits(target)
        return Score(
            name,
            psnr_rgb(output, target),
            _ssim_where_possible(ssim_wang, output, target),
            delta_e76(output, target),
        )
    if task.scores_luma:
        return Score(name, psnr(output, target), _ssim_where_possible(ssim, output, target))
    validate_size(name, target, task)
    return Score(name, psnr_y(output, target, task.scale), _ssim_where_possible(ssim_y, output, target))


def _to_8_bits(image: NDArray[Any]) -> Image8:
    """Return a picture as it would be saved for the published protocol."""
    return image if image.dtype == np.uint8 else halve_depth(image)


def score_pairs(
    restore: Restore, pairs: Iterable[Pair], task: Task, *, total: int | None = None, show_progress: bool = False
) -> list[Score]:
    """Run a model on every pair, one after the other, and score it; a progress bar on stderr counts to `total`."""
    with tqdm(pairs, total=total, unit="image", disable=not show_progress, dynamic_ncols=True) as bar:
        return [score_image(pair.name, restore(pair.degraded, **pair.companions), pair.target, task) for pair in bar]


def mean_psnr(scores: Sequence[Score]) -> float:
    """Return the mean of the images' PSNR in dB."""
    return float(np.mean([score.psnr for score in scores]))


def mean_finite_psnr(scores: Sequence[Score]) -> float:
    """Return the mean PSNR in dB with 100 dB for perfect images, of which a single one would hide all others."""
    return float(np.mean([min(score.psnr, PERFECT_PSNR) for score in scores]))


def mean_delta_e(scores: Sequence[Score]) -> float:
    """Return the mean of the images' colour differences."""
    return float(np.mean([score.delta_e for score in scores if score.delta_e is not None]))


def mean_ssim(scores: Sequence[Score]) -> float:
    """Return the mean of the images' SSIM."""
    return float(np.mean([score.ssim for score in scores]))


def _ssim_where_possible(measure: Callable[[Image8, Image8], float], output: Image8, target: Image8) -> float:
    """Measure the SSIM; images smaller than its window have none (not a number)."""
    return measure(output, target) if min(target.shape[:2]) >= 11 else float("nan")
