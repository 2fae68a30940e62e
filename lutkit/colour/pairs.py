"""Pictures that retouching is learned from: pairs of before and after, two sets, or photos that are spoilt on purpose.

Imports the image readers, the tasks and NumPy; no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.data import find_images
from lutkit.degradation import Task
from lutkit.evaluate import Pair
from lutkit.generated import render_collection
from lutkit.images import read_picture
from lutkit.photos import GENERATED_PHOTOS, GENERATED_SIDE, VALIDATION_PHOTOS, generated_pairs
from lutkit.recipe import ColourRecipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops.blend import to_unit

Image = NDArray[Any]
Float32 = NDArray[np.float32]

INPUT_FOLDER = "input"
CACHE_BYTES = 4 << 30
"""Decoded pictures are kept until they take so much; those after that are read anew whenever they are drawn."""
VARIED = 0.5
"""Part of the scenes that are changed at random before they become a pair."""
HELD_OUT = 10
"""Every tenth picture is validated on where no others are given."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class PairFolders:
    """Two folders of pictures: before and after.

    Parameters
    ----------
    inputs, targets : Path
    """

    inputs: Path
    targets: Path


def find_pair_folders(folder: Path) -> PairFolders | None:
    """Return the folders of pairs below a folder, ``input`` and one other, or None where it holds photos itself.

    Raises DataError where it is not clear which folder holds the targets.
    """
    inputs = folder / INPUT_FOLDER
    if not inputs.is_dir():
        return None
    others = sorted(each for each in folder.iterdir() if each.is_dir() and each != inputs)
    if len(others) != 1:
        found = ", ".join(each.name for each in others) or "none"
        raise DataError(
            f"{folder} holds the folder {INPUT_FOLDER}, and beside it one with the targets is needed; there are: {found}"
        )
    return PairFolders(inputs, others[0])


def match_pairs(folders: PairFolders) -> list[tuple[Path, Path]]:
    """Return the inputs with their targets, matched by file stem; raises DataError where one has no partner."""
    targets: dict[str, Path] = {}
    for path in find_images(folders.targets):
        if path.stem in targets:
            raise DataError(f"{targets[path.stem]} and {path} have one name: which is the target is not clear")
        targets[path.stem] = path
    inputs = find_images(folders.inputs)
    for path in inputs:
        if path.stem not in targets:
            raise DataError(f"{path} has no partner in {folders.targets}: add it, or train with --unpaired")
    return [(path, targets[path.stem]) for path in inputs]


def read_target(path: Path, longest_side: int = 0) -> Image:
    """Return a picture as `read_colours`, (H, W, 3) uint8: targets are 8-bit sRGB."""
    picture = read_colours(path, longest_side)
    return picture if picture.dtype == np.uint8 else ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)


def read_colours(path: Path, longest_side: int = 0) -> Image:
    """Return a picture (H, W, 3) uint8 or uint16, gray ones as three equal channels, without alpha.

    Parameters
    ----------
    path : Path
    longest_side : int
        Larger pictures are reduced to it (area average); 0 keeps them.

    Raises
    ------
    DataError
        Where it is a picture of floats.
    ImageError
        Where it cannot be read.
    """
    pixels = read_picture(path).pixels
    if pixels.dtype.kind == "f":
        raise DataError(f"{path} holds floats; training reads 8- and 16-bit pictures: convert it first")
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    height, width = colours.shape[:2]
    ratio = longest_side / max(height, width)
    if not 0 < ratio < 1:
        return np.ascontiguousarray(colours)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(cv2.resize(np.ascontiguousarray(colours), size, interpolation=cv2.INTER_AREA), colours.dtype)


class PictureCache:
    """Pictures by number, decoded when they are first asked for.

    Parameters
    ----------
    readers : list of callables
        Each returns a picture.
    """

    def __init__(self, readers: list[Callable[[], Image]]) -> None:
        self._readers = readers
        self._kept: dict[int, Image] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._readers)

    def read(self, number: int) -> Image:
        """Return a picture (H, W, 3) uint8 or uint16."""
        if number in self._kept:
            return self._kept[number]
        picture = self._readers[number]()
        if self._bytes + picture.nbytes <= CACHE_BYTES:
            self._kept[number] = picture
            self._bytes += picture.nbytes
        return picture


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
        """Make a pair of a part of a photo, which counts as a photo of its own and may be spoilt before it is one.

        So a hundred photos give far more scenes than a hundred.
        """
        rows, columns, step = self._draw_window(photo, rng)
        scene = np.ascontiguousarray(photo[rows, columns][:, ::step])
        if rng.random() < VARIED:
            scene = self._task.degrade(scene, rng)
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
            gray = (colours @ LUMA)[..., None]
            colours = np.clip(gray + factor * (colours - gray), 0, 1)
        return colours

    def visit(self, rng: np.random.Generator, draws: int) -> list[Image]:
        """Return inputs as they are drawn, without crops and jitter: all of them, or so many spoilt ones."""
        if self._inputs is not None:
            return [self._inputs.read(number) for number in range(len(self._inputs))]
        return [
            self._task.degrade(self._targets.read(int(rng.integers(len(self._targets)))), rng) for _ in range(draws)
        ]


def _to_planes(picture: Image) -> Float32:
    return np.ascontiguousarray(to_unit(picture).transpose(2, 0, 1))


@dataclass(frozen=True)
class Pictures:
    """What a retouching model is trained and validated on.

    Parameters
    ----------
    source : PictureSource
    pairs : list of Pair
        For validation; none of them is trained on.
    description, pairs_description : str
        Where both come from, for people and for the provenance.
    """

    source: PictureSource
    pairs: list[Pair]
    description: str
    pairs_description: str


def gather_pictures(
    data: Path | None,
    val: Path | None,
    task: Task,
    recipe: ColourRecipe,
    seed: int,
    *,
    paired: bool = True,
    saturate: bool = True,
) -> Pictures:
    """Return pictures to train and to validate on.

    `data` holds pairs (see `find_pair_folders`) or good photos; without it, images are generated. Without `val`, which
    is read in the same way, every tenth picture of `data` is held out. Raises DataError or ImageError where pictures
    cannot be used.
    """

    def make_source(inputs: PictureCache | None, targets: PictureCache) -> PictureSource:
        return PictureSource(inputs, targets, task, recipe, paired=paired, saturate=saturate)

    if data is None:
        photos = render_collection(seed, GENERATED_PHOTOS, GENERATED_SIDE)
        targets = PictureCache([lambda photo=photo: photo for photo in photos])
        pairs, described = read_validation(val, task, recipe, seed) if val else (generated_pairs(task, seed), "")
        described = described or "generated images"
        return Pictures(make_source(None, targets), pairs, f"{len(photos)} generated images (seed {seed})", described)
    folders = find_pair_folders(data)
    if folders is None:
        paths: list[tuple[Path | None, Path]] = [(None, path) for path in find_images(data)]
    else:
        paths = list(match_pairs(folders)) if paired else list(_list_apart(folders))
    kept, held = (paths, []) if val or not paired else _hold_out(paths, data)
    pairs, described = read_validation(val, task, recipe, seed) if val else ([], "")
    if held:
        pairs = [_read_pair(before, after, task, recipe, seed, place) for place, (before, after) in enumerate(held)]
        described = f"pictures held out of {data.name or data}"
    inputs = [before for before, _ in kept if before is not None]
    targets = [after for _, after in kept] if folders is None or paired else find_images(folders.targets)
    source = make_source(
        _make_cache(inputs, recipe, read_colours) if inputs else None, _make_cache(targets, recipe, read_target)
    )
    what = "photos" if folders is None else "pairs" if paired else f"and {len(targets)} pictures"
    return Pictures(source, pairs, f"{len(kept)} {what} of {data.name or data}", described)


def _list_apart(folders: PairFolders) -> list[tuple[Path, Path]]:
    """Return the inputs of two sets that are no pairs, each with some target: only the inputs count."""
    target = find_images(folders.targets)[0]
    return [(path, target) for path in find_images(folders.inputs)]


def _hold_out(paths: list[Any], data: Path) -> tuple[list[Any], list[Any]]:
    if len(paths) < 2:
        raise DataError(f"{data} holds one picture, which leaves none to validate on: add pictures or give --val DIR")
    held = paths[:: max(HELD_OUT, -(-len(paths) // VALIDATION_PHOTOS))]
    return [each for each in paths if each not in held], held


def _make_cache(paths: list[Path], recipe: ColourRecipe, read: Callable[[Path, int], Image]) -> PictureCache:
    return PictureCache([lambda path=path: read(path, recipe.longest_side) for path in paths])


def read_validation(folder: Path, task: Task, recipe: ColourRecipe, seed: int) -> tuple[list[Pair], str]:
    """Return the pairs of a folder (see `find_pair_folders`), or its photos as pairs, and what they are."""
    folders = find_pair_folders(folder)
    paths = [(None, path) for path in find_images(folder)] if folders is None else match_pairs(folders)
    pairs = [
        _read_pair(before, after, task, recipe, seed, place)
        for place, (before, after) in enumerate(paths[:VALIDATION_PHOTOS])
    ]
    return pairs, f"{'photos' if folders is None else 'pairs'} of {folder.name or folder}"


def _read_pair(before: Path | None, after: Path, task: Task, recipe: ColourRecipe, seed: int, place: int) -> Pair:
    target = read_target(after, recipe.longest_side)
    if before is None:
        return Pair(after.stem, task.degrade(target, np.random.default_rng([seed, place])), task.aim(target))
    picture = read_colours(before, recipe.longest_side)
    if picture.shape != target.shape:
        raise DataError(f"{before} and {after} have different sizes; both pictures of a pair must be of one size")
    return Pair(after.stem, picture, target)
