"""What retouching is learned from: pairs of before and after, two sets, or photos that are spoilt on purpose.

Gathers what a run is trained and validated on. Imports pictures, sampling and the tasks; no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lutkit.colour.pictures import (
    Image,
    PairFolders,
    PictureCache,
    check_sides,
    find_pair_folders,
    match_pairs,
    read_colours,
    read_target,
)
from lutkit.colour.sampling import PictureSource
from lutkit.data import find_images
from lutkit.degradation import Task
from lutkit.evaluate import Pair
from lutkit.generated import render_collection
from lutkit.photos import (
    GENERATED_PHOTOS,
    GENERATED_SIDE,
    VALIDATION_PHOTOS,
    find_training_photos,
    generated_pairs,
    hold_out,
)
from lutkit.recipe import ColourRecipe
from lutkit_runtime.errors import DataError

FindPairs = Callable[[Path], list[tuple[Path, Path]]]
"""Returns inputs and targets of a folder in which pairs are arranged in some way of their own, else nothing."""


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
    smallest: int = 1,
    find_more: FindPairs | None = None,
) -> Pictures:
    """Return pictures to train and to validate on.

    `data` holds pairs (see `find_pair_folders`) or good photos; without it, images are generated. Without `val`, which
    is read in the same way, every tenth picture of `data` is held out. Photos that lie below `val` are not trained on; of
    pairs, `val` may be the same folder, to see how closely they can be met. `find_more` knows further arrangements of
    pairs. Raises DataError or ImageError where pictures
    cannot be used, those with a side below `smallest` pixels among them; photos to train on when they are first drawn.
    """

    def make_source(inputs: PictureCache | None, targets: PictureCache) -> PictureSource:
        return PictureSource(inputs, targets, task, recipe, paired=paired, saturate=saturate)

    if data is None:
        photos = render_collection(seed, GENERATED_PHOTOS, GENERATED_SIDE)
        targets = PictureCache([lambda photo=photo: photo for photo in photos])
        pairs, described = (
            read_validation(val, task, recipe, seed, smallest, find_more) if val else (generated_pairs(task, seed), "")
        )
        described = described or "generated images"
        return Pictures(make_source(None, targets), pairs, f"{len(photos)} generated images (seed {seed})", described)
    folders = find_pair_folders(data)
    found = find_more(data) if folders is None and find_more else []
    if folders is None and not found:
        paths: list[tuple[Path | None, Path]] = [(None, path) for path in find_training_photos(data, val)]
    elif folders is None:
        barred = val.resolve() if val is not None else None
        paths = [each for each in found if barred is None or not each[0].resolve().is_relative_to(barred)]
    else:
        paths = list(match_pairs(folders)) if paired else list(_list_apart(folders))
    are_photos = folders is None and not found
    # a target may have several inputs, exposures of one scene: they are held out together, and the first is scored
    first = {after: (before, after) for before, after in reversed(paths)}
    targets = list(dict.fromkeys(after for _, after in paths))
    targets_held = [] if val or not paired else hold_out(targets, data, "photo" if are_photos else "pair")
    held = [first[target] for target in targets_held]
    kept = [each for each in paths if each[1] not in targets_held]
    pairs, described = read_validation(val, task, recipe, seed, smallest, find_more) if val else ([], "")
    if held:
        pairs = [
            _read_pair(before, after, task, recipe, seed, place, smallest) for place, (before, after) in enumerate(held)
        ]
        described = f"pictures held out of {data.name or data}"
    inputs = [before for before, _ in kept if before is not None]
    targets = [after for _, after in kept] if folders is None or paired else find_images(folders.targets)
    source = make_source(
        _make_cache(inputs, recipe, read_colours, smallest) if inputs else None,
        _make_cache(targets, recipe, read_target, smallest),
    )
    what = "photos" if are_photos else "pairs" if paired else f"and {len(targets)} pictures"
    return Pictures(source, pairs, f"{len(kept)} {what} of {data.name or data}", described)


def _list_apart(folders: PairFolders) -> list[tuple[Path, Path]]:
    """Return the inputs of two sets that are no pairs, each with some target: only the inputs count."""
    target = find_images(folders.targets)[0]
    return [(path, target) for path in find_images(folders.inputs)]


def _make_cache(
    paths: list[Path], recipe: ColourRecipe, read: Callable[[Path, int], Image], smallest: int
) -> PictureCache:
    return PictureCache(
        [lambda path=path: check_sides(path, read(path, recipe.longest_side), smallest) for path in paths]
    )


def read_validation(
    folder: Path,
    task: Task,
    recipe: ColourRecipe,
    seed: int,
    smallest: int = 1,
    find_more: FindPairs | None = None,
) -> tuple[list[Pair], str]:
    """Return the pairs of a folder (see `find_pair_folders`), or its photos as pairs, and what they are.

    Raises DataError or ImageError where pictures cannot be used, those with a side below `smallest` pixels among them.
    """
    folders = find_pair_folders(folder)
    paths: list[tuple[Path | None, Path]]
    if folders is not None:
        paths = list(match_pairs(folders))
    else:
        found = find_more(folder) if find_more else []
        paths = list(found) or [(None, path) for path in find_images(folder)]
    pairs = [
        _read_pair(before, after, task, recipe, seed, place, smallest)
        for place, (before, after) in enumerate(paths[:VALIDATION_PHOTOS])
    ]
    what = "photos" if paths and paths[0][0] is None else "pairs"
    return pairs, f"{what} of {folder.name or folder}"


def _read_pair(
    before: Path | None, after: Path, task: Task, recipe: ColourRecipe, seed: int, place: int, smallest: int
) -> Pair:
    target = check_sides(after, read_target(after, recipe.longest_side), smallest)
    if before is None:
        return Pair(after.stem, task.degrade(target, np.random.default_rng([seed, place])), task.aim(target))
    picture = read_colours(before, recipe.longest_side)
    if picture.shape != target.shape:
        raise DataError(f"{before} and {after} have different sizes; both pictures of a pair must be of one size")
    return Pair(after.stem, picture, target)
