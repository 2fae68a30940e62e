"""Pictures of colours for training and scoring: folders of pairs, reading at full depth. Imports the image readers; no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.data import find_images
from lutkit.images import read_picture
from lutkit_runtime.engine.conversion import halve_depth
from lutkit_runtime.errors import DataError

Image = NDArray[Any]

INPUT_FOLDER = "input"
CACHE_BYTES = 4 << 30
"""Decoded pictures are kept until they take so much; those after that are read anew whenever they are drawn."""


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
            raise DataError(
                f"{path} has no partner in {folders.targets}: add it (lutkit train --unpaired alone needs no partners)"
            )
    return [(path, targets[path.stem]) for path in inputs]


def read_target(path: Path, longest_side: int = 0) -> Image:
    """Return a picture as `read_colours`, (H, W, 3) uint8: targets are 8-bit sRGB."""
    picture = read_colours(path, longest_side)
    return picture if picture.dtype == np.uint8 else halve_depth(picture)


def check_sides(path: Path, picture: Image, smallest: int) -> Image:
    """Return a picture (H, W, 3); raises DataError, naming its file, where a side is shorter than `smallest` pixels."""
    height, width = picture.shape[:2]
    if min(height, width) < smallest:
        raise DataError(
            f"{path} has {width}x{height} pixels once it is reduced, and a grid of {smallest} x {smallest} places needs as "
            "many: leave it out, or set model.spatial or recipe.longest_side in a --config file"
        )
    return picture


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
