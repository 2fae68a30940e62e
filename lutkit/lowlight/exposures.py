"""Two exposures of one scene: what PairLIE is trained on. Imports pictures, generated images and tasks; no torch.

A folder of scenes holds a folder for each, with two or more exposures; a picture named ``ref``, ``reference`` or ``gt``
shows the scene well lit and is never trained on. Of photos, two dark exposures are made whenever one is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.pictures import PictureCache, find_pair_folders, read_colours, read_target
from lutkit.data import find_images
from lutkit.degradation import Darken
from lutkit.evaluate import Pair, ReadPair
from lutkit.generated import render_collection
from lutkit.photos import GENERATED_PHOTOS, GENERATED_SIDE, VALIDATION_PHOTOS, find_training_photos, hold_out
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops.blend import to_unit

Image = NDArray[Any]
Float32 = NDArray[np.float32]

REFERENCES = frozenset({"ref", "reference", "gt"})
"""Names, without suffix, of pictures that show a scene well lit."""


@dataclass(frozen=True)
class Scene:
    """Exposures of one scene.

    Parameters
    ----------
    name : str
    exposures : tuple of Path
        Two or more.
    reference : Path or None
        The scene well lit.
    """

    name: str
    exposures: tuple[Path, ...]
    reference: Path | None


def find_scenes(folder: Path) -> list[Scene]:
    """Return the scenes below a folder in order of their names; none where what is below it are photos.

    Pictures that lie in the folder itself belong to no scene and are passed over.

    Raises DataError where a scene has a single exposure.
    """
    scenes: list[Scene] = []
    groups: dict[Path, list[Path]] = {}
    for path in find_images(folder):
        if path.parent != folder:
            groups.setdefault(path.parent, []).append(path)
    with_references = {each for each, paths in groups.items() if any(path.stem.lower() in REFERENCES for path in paths)}
    for place, paths in sorted(groups.items()):
        references = [path for path in paths if path.stem.lower() in REFERENCES]
        exposures = tuple(path for path in paths if path not in references)
        if with_references and len(exposures) < 2:
            raise DataError(f"{place} holds {len(exposures)} exposures of a scene; at least 2 are needed: add one")
        scenes.append(Scene(place.name, exposures, references[0] if references else None))
    is_scenes = with_references or (
        len(scenes) > 1 and all(2 <= len(each.exposures) <= MOST_EXPOSURES for each in scenes)
    )
    return scenes if is_scenes else []


SMALLEST_SIDE = 3
"""Pixels of a side, of which the smoothness of light is measured: it compares what is two apart."""

MOST_EXPOSURES = 12
"""A folder with more pictures, and no reference among them, holds photos."""


class ExposureSource:
    """Crops of two exposures of a scene, drawn at random.

    Parameters
    ----------
    scenes : list of callables
        Each draws two different exposures of one scene from a generator, uint8 (H, W, 3) of one size.
    crop : int
        Side in pixels; smaller pictures are taken whole.
    flip : float
        Probability that both are mirrored.
    """

    def __init__(
        self, scenes: list[Callable[[np.random.Generator], tuple[Image, Image]]], crop: int, flip: float
    ) -> None:
        self._scenes = scenes
        self._crop = crop
        self._flip = flip

    def sample(self, rng: np.random.Generator) -> tuple[Float32, Float32]:
        """Draw two exposures, each (3, h, w) float32 of 0 to 1."""
        pair = self._scenes[int(rng.integers(len(self._scenes)))](rng)
        height, width = pair[0].shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise DataError(
                f"a picture has {width}x{height} pixels once it is reduced; training needs {SMALLEST_SIDE} or more a side: "
                "leave it out, or raise recipe.longest_side in a --config file"
            )
        top, left = (int(rng.integers(max(length - self._crop, 0) + 1)) for length in (height, width))
        step = -1 if rng.random() < self._flip else 1
        first, second = (_to_planes(each[top : top + self._crop, left : left + self._crop][:, ::step]) for each in pair)
        return first, second


@dataclass(frozen=True)
class Exposures:
    """What a PairLIE is trained, compiled and compared on.

    Parameters
    ----------
    source, held_out : ExposureSource
        To train on, and to watch training.
    dark : list of callables
        Each returns a dark picture, uint8 (H, W, 3), of what is trained on: the compiled form learns from the networks'
        answers to them.
    dark_held_out : list of callables
        Likewise of what is not trained on.
    pairs : list of Pair
        Dark pictures with their well lit version, where there is one; not trained on.
    description, held_out_description : str
        What they are, for people and for the provenance.
    """

    source: ExposureSource
    held_out: ExposureSource
    dark: list[Callable[[], Image]]
    dark_held_out: list[Callable[[], Image]]
    pairs: list[Pair]
    description: str
    held_out_description: str


def gather_exposures(
    data: Path | None, val: Path | None, *, crop: int, flip: float, longest_side: int, seed: int
) -> Exposures:
    """Return what to train and to validate on; without `val`, every tenth scene or photo of `data` is held out.

    Raises DataError or ImageError where pictures cannot be used.
    """

    def gather(scenes: list[_Scene], held: list[_Scene], description: str, held_description: str) -> Exposures:
        return Exposures(
            ExposureSource([each.draw for each in scenes], crop, flip),
            ExposureSource([each.draw for each in held], crop, 0.0),
            [dark for each in scenes for dark in each.list_dark()],
            [dark for each in held for dark in each.list_dark()[:1]],
            [pair for each in held if (pair := each.make_pair()) is not None],
            description,
            held_description,
        )

    if data is None:
        rendered = render_collection(seed, GENERATED_PHOTOS, GENERATED_SIDE // 2)
        cache = PictureCache([lambda photo=photo: photo for photo in rendered])
        photos: list[_Scene] = [
            _Photo(f"generated-{number}", cache, seed, number) for number in range(GENERATED_PHOTOS)
        ]
        held = photos[-8:] if val is None else _open_folder(val, longest_side, seed)[0][:VALIDATION_PHOTOS]
        kept = photos[:-8] if val is None else photos
        described = "generated images" if val is None else f"pictures of {val.name or val}"
        return gather(kept, held, f"{len(kept)} generated images (seed {seed})", described)
    scenes, what = _open_folder(data, longest_side, seed, val)
    if val is not None:
        held = _open_folder(val, longest_side, seed)[0][:VALIDATION_PHOTOS]
        return gather(scenes, held, f"{len(scenes)} {what} of {data.name or data}", f"pictures of {val.name or val}")
    held = list(hold_out(scenes, data, what.removesuffix("s")))
    kept = [each for each in scenes if each not in held]
    name = data.name or data
    return gather(kept, held, f"{len(kept)} {what} of {name}", f"{what} held out of {name}")


def find_scene_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return every exposure of the scenes of a folder with the scene's reference; empty where there are no scenes.

    Raises DataError where a scene cannot be used, or none of them has a reference.
    """
    return [
        (exposure, scene.reference)
        for scene in _find_referenced(folder)
        if scene.reference is not None
        for exposure in scene.exposures
    ]


def plan_scene_pairs(folder: Path) -> list[ReadPair]:
    """Return for each scene of a folder that has a reference what reads its first exposure and it; else nothing.

    Raises DataError where a scene cannot be used, or none of them has a reference.
    """
    return [each.read_pair for each in _open_scenes(_find_referenced(folder), 0)]


def _find_referenced(folder: Path) -> list[Scene]:
    """Return the scenes of a folder that have a reference; raises DataError where there are scenes and none has."""
    scenes = find_scenes(folder)
    referenced = [each for each in scenes if each.reference is not None]
    if scenes and not referenced:
        raise DataError(
            f"{folder} holds scenes in several exposures, and none shows the scene well lit: add a picture named ref to "
            "them, or put photos into a single folder"
        )
    return referenced


class _Stack:
    """A scene whose exposures are files; all of them share one cache, in which its own begin at `first`."""

    def __init__(self, scene: Scene, cache: PictureCache, first: int, longest_side: int) -> None:
        self._scene = scene
        self._cache = cache
        self._first = first
        self._longest_side = longest_side

    def _read(self, number: int) -> Image:
        return self._cache.read(self._first + number)

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image]:
        """Draw two different exposures; raises DataError where their sizes differ."""
        one, other = (int(each) for each in rng.permutation(len(self._scene.exposures))[:2])
        first, second = self._read(one), self._read(other)
        _check_sizes(self._scene.exposures[one], first, self._scene.exposures[other], second)
        return first, second

    def list_dark(self) -> list[Callable[[], Image]]:
        """Return readers of the exposures."""
        return [lambda number=number: self._read(number) for number in range(len(self._scene.exposures))]

    def make_pair(self) -> Pair | None:
        """Return the first exposure with the reference, or None where there is none."""
        return None if self._scene.reference is None else self.read_pair()

    def read_pair(self) -> Pair:
        """Return the first exposure with the reference, which must be there."""
        assert self._scene.reference is not None
        dark, target = read_colours(self._scene.exposures[0], self._longest_side), self._read_reference()
        _check_sizes(self._scene.exposures[0], dark, self._scene.reference, target)
        return Pair(self._scene.name, dark, target)

    def _read_reference(self) -> Image:
        assert self._scene.reference is not None
        return read_target(self._scene.reference, self._longest_side)


class _Photo:
    """A photo, of which dark exposures are made; all of them share one cache, which bounds what they take."""

    def __init__(self, name: str, cache: PictureCache, seed: int, number: int) -> None:
        self._name = name
        self._cache = cache
        self._number = number
        self._seed = [seed, number]

    def _read(self) -> Image:
        return self._cache.read(self._number)

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image]:
        """Make two different exposures."""
        return Darken().expose_twice(self._read(), rng)

    def list_dark(self) -> list[Callable[[], Image]]:
        """Return makers of two exposures, the same whenever they are asked for."""
        return [lambda version=version: self._expose(version) for version in range(2)]

    def _expose(self, version: int) -> Image:
        return Darken().degrade(self._read(), np.random.default_rng([*self._seed, version]))

    def make_pair(self) -> Pair | None:
        """Return an exposure with the photo itself."""
        return Pair(self._name, self._expose(0), Darken().aim(self._read()))


_Scene = _Stack | _Photo


def _open_folder(folder: Path, longest_side: int, seed: int, without: Path | None = None) -> tuple[list[_Scene], str]:
    """Return the scenes or photos of a folder but for those below another, and what they are called."""
    if folder.is_dir() and find_pair_folders(folder) is not None:
        raise DataError(
            f"{folder} holds pairs, and pairlie learns from two exposures of a scene: give a folder for each scene, or "
            "photos; lutkit finetune takes pairs"
        )
    found = find_scenes(folder)
    if found:
        barred = without.resolve() if without is not None else None
        kept = [each for each in found if barred is None or not each.exposures[0].resolve().is_relative_to(barred)]
        if not kept:
            raise DataError(f"every scene of {folder} lies in {without} too: name another --val")
        return list(_open_scenes(kept, longest_side)), "scenes"
    paths = find_training_photos(folder, without)
    cache = PictureCache([lambda path=path: read_target(path, longest_side) for path in paths])
    return [_Photo(path.stem, cache, seed, number) for number, path in enumerate(paths)], "photos"


def _open_scenes(scenes: list[Scene], longest_side: int) -> list[_Stack]:
    """Return scenes whose exposures are read when they are asked for, and kept in one cache."""
    paths = [path for each in scenes for path in each.exposures]
    cache = PictureCache([lambda path=path: read_target(path, longest_side) for path in paths])
    firsts = accumulate((len(each.exposures) for each in scenes), initial=0)
    return [_Stack(each, cache, first, longest_side) for each, first in zip(scenes, firsts, strict=False)]


def _check_sizes(path: Path, picture: Image, other: Path, second: Image) -> None:
    if picture.shape != second.shape:
        sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (picture, second)]
        raise DataError(
            f"{path} is {sizes[0]} and {other} {sizes[1]}; exposures of one scene must be of one size: "
            "crop or resize them"
        )


def _to_planes(picture: Image) -> Float32:
    return np.ascontiguousarray(to_unit(picture).transpose(2, 0, 1))
