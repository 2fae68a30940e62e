"""The photos of a distillation: which are fitted, which are held out, and other versions of the fitted ones.

Imports pictures, generated images and photos' rules; no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.defects import LUMA
from lutkit.colour.pictures import PictureCache, read_target
from lutkit.data import find_images
from lutkit.generated import render_collection
from lutkit.photos import (
    GENERATED_PHOTOS,
    GENERATED_SIDE,
    HELD_OUT,
    VALIDATION_PHOTOS,
    find_training_photos,
    hold_out,
)
from lutkit_runtime.errors import DataError, ImageError

Image8 = NDArray[np.uint8]
Image16 = NDArray[np.uint16]

SMALLEST_SIDE = 16
"""Cells along a side of a bilateral grid: a smaller photo has not a pixel for each."""

CROP = (0.6, 1.0)
CHANGE = (0.8, 1.2)
"""Of brightness and of saturation."""

_VARIANTS = 4  # the generator of a version is seeded with the run's seed, this, and its numbers


@dataclass(frozen=True)
class Photos:
    """Photos by name, read when they are asked for and then kept as far as memory goes.

    Parameters
    ----------
    names : tuple of str
    cache : PictureCache
        Of uint8 (H, W, 3).
    description : str
        Where they come from, for people and for the provenance.
    stamp : str
        Differs where other photos, or changed ones, are meant; hexadecimal.
    """

    names: tuple[str, ...]
    cache: PictureCache
    description: str
    stamp: str

    def __len__(self) -> int:
        """Return their number."""
        return len(self.names)

    def read(self, number: int) -> Image8:
        """Return a photo."""
        return self.cache.read(number)


def choose_photos(
    data: Path | None, val: Path | None, *, seed: int, longest_side: int, multiple: int = 1
) -> tuple[Photos, Photos]:
    """Return photos to fit to and photos that are held out.

    Every tenth photo of `data` is held out, at most 20, or the first 20 of `val` are; photos of `data` that lie in `val` are
    left out. Without `data`, images are generated.

    Parameters
    ----------
    data, val : Path or None
    seed : int
        Of generated images.
    longest_side : int
        Larger photos are reduced to it.
    multiple : int
        Sides are cut to multiples of it, in equal parts on both sides.

    Raises
    ------
    DataError
        Where a folder holds no photos, or none are left.
    """

    def gather(paths: Sequence[Path], folder: Path, description: str) -> Photos:
        names = tuple(make_text(path.relative_to(folder).as_posix()) for path in paths)
        readers = [lambda path=path: _read(path, longest_side, multiple) for path in paths]
        return Photos(names, PictureCache(readers), description, _stamp(paths))

    if data is None:
        made = render_collection(seed, GENERATED_PHOTOS, GENERATED_SIDE)
        numbers = range(len(made))
        held = list(numbers[::HELD_OUT]) if val is None else []
        fitted = _name_generated([each for each in numbers if each not in held], made, longest_side, multiple, seed)
        if val is None:
            return fitted, _name_generated(held, made, longest_side, multiple, seed)
    else:
        paths = find_training_photos(data, val)
        out = list(hold_out(paths, data)) if val is None else []
        kept = [path for path in paths if path not in out]
        fitted = gather(kept, data, f"{_count(len(kept))} of {_name(data)}")
        if val is None:
            return fitted, gather(out, data, f"{_count(len(out))} held out of {_name(data)}")
    shown = find_images(val)[:VALIDATION_PHOTOS]
    return fitted, gather(shown, val, f"{_count(len(shown))} of {_name(val)}")


def make_text(name: str) -> str:
    """Return a name of a file as text that can be written anywhere: names may hold bytes that are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _name(folder: Path) -> str:
    """Return the name of a folder, of the current one too, without the folders around it."""
    return make_text(folder.resolve().name or str(folder))


def _count(photos: int) -> str:
    return f"{photos} photo{'' if photos == 1 else 's'}"


def _name_generated(
    numbers: Sequence[int], made: Sequence[Image8], longest_side: int, multiple: int, seed: int
) -> Photos:
    readers = [lambda number=number: _fit(made[number], longest_side, multiple) for number in numbers]
    description = f"{len(numbers)} generated images (seed {seed})"
    names = tuple(f"generated-{number}" for number in numbers)
    return Photos(names, PictureCache(readers), description, hashlib.sha256(repr((names, seed)).encode()).hexdigest())


def _stamp(paths: Sequence[Path]) -> str:
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def read_all(photos: Photos, tell: Callable[[], None]) -> None:
    """Read every photo once, so that one that cannot be used is named before hours of work; `tell` is called after each."""
    for number in range(len(photos)):
        photos.read(number)
        tell()


def make_variant(photo: Image8, seed: int, number: int, version: int, multiple: int = 1) -> Image16:
    """Return another version of a photo, uint16 (h, w, 3): a crop, perhaps mirrored, of other brightness and saturation.

    A teacher that looks at the whole picture sees it as a picture of its own, so that it has to be asked anew.

    Parameters
    ----------
    photo : uint8, (H, W, 3)
    seed, number, version : int
        Decide, together, on what is changed.
    multiple : int
        Sides are cut to multiples of it.
    """
    rng = np.random.default_rng([seed, _VARIANTS, number, version])
    window: list[slice] = []
    for length in photo.shape[:2]:
        least = min(length, -(-SMALLEST_SIDE // multiple) * multiple)
        kept = max(least, round(length * rng.uniform(*CROP)) // multiple * multiple)
        start = int(rng.integers(length - kept + 1))
        window.append(slice(start, start + kept))
    step = -1 if rng.random() < 0.5 else 1
    colours = photo[window[0], window[1]][:, ::step].astype(np.float32) / 255
    colours = np.clip(colours * np.float32(rng.uniform(*CHANGE)), 0, 1)
    gray = (colours @ LUMA.astype(np.float32))[..., None]
    colours = np.clip(gray + np.float32(rng.uniform(*CHANGE)) * (colours - gray), 0, 1)
    return np.rint(colours * 65535).astype(np.uint16)


def _read(path: Path, longest_side: int, multiple: int) -> Image8:
    try:
        photo = read_target(path)
    except ImageError as problem:
        raise DataError(f"{problem}; or remove it from the folder") from problem
    fitted = _fit(photo, longest_side, multiple)
    if min(fitted.shape[:2]) < SMALLEST_SIDE:
        height, width = photo.shape[:2]
        least = max(SMALLEST_SIDE, multiple)
        reduced = f", {fitted.shape[1]}x{fitted.shape[0]} once it is reduced" if fitted.shape != photo.shape else ""
        raise DataError(
            f"{path} is {width}x{height} pixels{reduced}; at least {least}x{least} are needed, a pixel for each cell of a "
            "grid: remove it from the folder"
        )
    return fitted


def _fit(photo: Image8, longest_side: int, multiple: int) -> Image8:
    """Return a photo, reduced to a longest side by averaging, its sides cut to multiples."""
    height, width = photo.shape[:2]
    ratio = longest_side / max(height, width)
    if ratio < 1:
        size = max(1, round(width * ratio)), max(1, round(height * ratio))
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    rows, columns = (_cut(length, multiple) for length in photo.shape[:2])
    return np.ascontiguousarray(photo[rows, columns])


def _cut(length: int, multiple: int) -> slice:
    kept = length // multiple * multiple
    return slice((length - kept) // 2, (length - kept) // 2 + kept)
