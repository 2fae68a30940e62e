"""Training patches and validation pairs from folders of photos.

May import `degradation`, `degraded_cache`, `images`, `resize` and the runtime; numpy and OpenCV, no torch. A patch source
hands out uint8 arrays and keeps no state of its own: the generator passed to it is all that resuming has to restore.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from lutkit.degradation import Image8, Task
from lutkit.degraded_cache import DegradedCache, degrade_planes, find_cache_folder
from lutkit.images import read_picture, readable_suffixes
from lutkit.resize import crop_to_multiple
from lutkit_runtime.engine.conversion import to_codes
from lutkit_runtime.errors import DataError, ImageError


def find_images(folder: Path | str) -> list[Path]:
    """List the image files below a folder, sorted; hidden files and folders are passed over.

    Raises
    ------
    DataError
        If the folder does not exist, is no folder, or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"data folder {folder} {found}: pass a folder that holds photos")
    suffixes = readable_suffixes()
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not paths:
        raise DataError(
            f"data folder {folder} holds no images ({', '.join(sorted(suffixes))}): pass a folder that holds photos"
        )
    return paths


def read_rgb(path: Path | str) -> Image8:
    """Read an image file as uint8 (H, W, 3) RGB, upright: the codes that a model is given of it.

    Deeper samples are rounded to 8 bits, alpha is dropped, gray comes three times.

    Raises
    ------
    DataError
        If the file cannot be read or decoded, or has more pixels than `read_picture` takes.
    """
    try:
        picture = read_picture(path)
    except ImageError as problem:
        raise DataError(f"{problem}; or remove it from the folder") from problem
    planes = to_codes(picture.pixels)
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(planes, (3, *planes.shape[1:])), 0, 2))


def load_photos(folder: Path | str) -> list[Image8]:
    """Read every image below a folder, in the order of `find_images`, each uint8 (H, W, 3) RGB.

    Raises
    ------
    DataError
        If the folder has no images or one of them cannot be decoded.
    """
    return [read_rgb(path) for path in find_images(folder)]


def convert_to_luma(photo: Image8) -> Image8:
    """Return full-range BT.601 luma, rounded, (H, W): the gray image that the gray benchmarks were made with."""
    return cv2.cvtColor(np.ascontiguousarray(photo), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


class PatchSource:
    """Random pairs of degraded and clean patches from photos.

    A patch is a square of one plane of one photo. The planes of a photo are R, G, B and its luma (full-range BT.601,
    rounded), each degraded by itself as a gray image. Every photo is equally likely, whatever its size; luma is drawn
    with `luma_probability` and the three colours share the rest evenly.

    Parameters
    ----------
    photos
        Clean photos, uint8 (H, W, 3) RGB, taken one after the other.
    task
        What the network has to undo. Deterministic tasks are computed here, once per photo; others per patch.
    names
        What error messages call the photos; "photo 0" and so on where absent.
    luma_probability
        0 (never, and luma is not kept in memory) to 1.
    cache
        Keeps the degraded photos between runs; without one they are computed every time.

    Raises
    ------
    DataError
        If there is no photo, one smaller than the task's scale, or a probability out of range.
    """

    def __init__(
        self,
        photos: Iterable[Image8],
        task: Task,
        *,
        names: Sequence[str] | None = None,
        luma_probability: float = 0.25,
        cache: DegradedCache | None = None,
    ) -> None:
        """Split the photos into planes and degrade them where the task allows it."""
        if not 0 <= luma_probability <= 1:
            raise DataError(f"luma_probability is {luma_probability}; it must be from 0 to 1")
        self._task = task
        self._luma_probability = luma_probability
        self._names: list[str] = []
        self._clean: list[Image8] = []
        self._degraded: list[Image8] | None = [] if task.cacheable else None
        for index, photo in enumerate(photos):
            self._names.append(names[index] if names is not None else f"photo {index}")
            _validate_size(photo, task.scale, self._names[-1])
            planes = _split_planes(photo, task.scale, luma_probability > 0)
            self._clean.append(planes)
            if self._degraded is not None:
                self._degraded.append(degrade_planes(planes, task) if cache is None else cache.degrade(planes, task))
        if not self._clean:
            raise DataError("there are no photos to train on: pass a folder that holds photos")
        # In degraded pixels, in which crops are measured.
        self._heights = np.array([planes.shape[1] // task.scale for planes in self._clean])
        self._widths = np.array([planes.shape[2] // task.scale for planes in self._clean])

    @classmethod
    def from_folder(
        cls, folder: Path | str, task: Task, *, luma_probability: float = 0.25, cache_folder: Path | None = None
    ) -> Self:
        """Read the photos below a folder and keep what is computed from them on disk.

        Parameters
        ----------
        folder, task, luma_probability
            As in `find_images` and the constructor.
        cache_folder
            Where to keep degraded photos; `find_cache_folder` where absent.

        Raises
        ------
        DataError
            As `load_photos`.
        """
        paths = find_images(folder)
        cache = DegradedCache(cache_folder if cache_folder is not None else find_cache_folder())
        photos = (read_rgb(path) for path in paths)
        return cls(photos, task, names=[str(p) for p in paths], luma_probability=luma_probability, cache=cache)

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self._clean)

    @property
    def task(self) -> Task:
        """What the patches were degraded with."""
        return self._task

    def validate_crop(self, crop: int) -> None:
        """Check that every photo can give a patch.

        Parameters
        ----------
        crop
            Side of a degraded patch in pixels.

        Raises
        ------
        DataError
            If crop is below 1, or a photo is smaller than crop times the task's scale.
        """
        if crop < 1:
            raise DataError(f"crop is {crop}; it must be at least 1")
        for index in np.flatnonzero(np.minimum(self._heights, self._widths) < crop)[:1]:
            _, height, width = self._clean[index].shape
            side = crop * self._task.scale
            raise DataError(
                f"{self._names[index]} is {width}x{height} pixels; a crop of {crop} at scale {self._task.scale} needs "
                f"{side}x{side}: use larger photos or a smaller crop"
            )

    def sample(
        self, rng: np.random.Generator, batch: int, crop: int, part: slice = slice(None)
    ) -> tuple[Image8, Image8]:
        """Draw random patches, each flipped and turned at random (all eight symmetries of the square alike).

        Parameters
        ----------
        rng
            The only state: the same generator state gives the same patches.
        batch
            Number of patches.
        crop
            Side of a degraded patch in pixels.
        part
            Which patches of the batch are wanted; the generator draws for all.

        Returns
        -------
        degraded
            uint8 (batch, crop, crop), or as many as the part holds.
        target
            uint8 (batch, crop * scale, crop * scale).

        Raises
        ------
        DataError
            As `validate_crop`.
        """
        self.validate_crop(crop)
        scale = self._task.scale
        photo = rng.integers(len(self._clean), size=batch)
        plane = rng.integers(3, size=batch)
        plane[rng.random(batch) < self._luma_probability] = 3
        top = rng.integers(self._heights[photo] - crop + 1)
        left = rng.integers(self._widths[photo] - crop + 1)
        symmetry = rng.integers(8, size=batch)

        # What is degraded here takes as many random numbers as there are pixels in the batch: all are made.
        made = slice(None) if self._degraded is None else part
        photo, plane, top, left, symmetry = (draw[made] for draw in (photo, plane, top, left, symmetry))
        target = np.empty((len(photo), crop * scale, crop * scale), np.uint8)
        degraded = np.empty((len(photo), crop, crop), np.uint8)
        draws = zip(*(draw.tolist() for draw in (photo, plane, top, left, symmetry)), strict=True)
        for index, (p, c, y, x, turn) in enumerate(draws):
            y1, x1 = y + crop, x + crop
            target[index] = _turn(self._clean[p][c, y * scale : y1 * scale, x * scale : x1 * scale], turn)
            if self._degraded is not None:
                degraded[index] = _turn(self._degraded[p][c, y:y1, x:x1], turn)
        if self._degraded is None:
            degraded, target = self._task.degrade(target, rng)[part], target[part]
        return degraded, target


def validation_pairs(photos: Sequence[Image8], task: Task, seed: int) -> list[tuple[Image8, Image8]]:
    """Degrade whole photos for validation.

    Parameters
    ----------
    photos
        uint8 (H, W, 3) RGB.
    task
        What to undo. Super-resolution is validated in colour, denoising and deblocking on luma, like the benchmarks.
    seed
        Photo i has its own generator, seeded with (seed, i): a longer list changes nothing for the first ones.

    Returns
    -------
    Pairs of degraded uint8 (h, w, 3) or (h, w), and target uint8 (h * scale, w * scale, 3) or (h * scale, w * scale).

    Raises
    ------
    DataError
        If a photo is smaller than the task's scale.
    """
    return [validation_pair(photo, task, seed, index) for index, photo in enumerate(photos)]


def validation_pair(photo: Image8, task: Task, seed: int, index: int) -> tuple[Image8, Image8]:
    """Degrade the photo that has a place in a list; as `validation_pairs`, one by one."""
    _validate_size(photo, task.scale, f"validation photo {index}")
    clean = crop_to_multiple(convert_to_luma(photo) if task.scores_luma else photo, task.scale)
    return task.degrade(clean, np.random.default_rng([seed, index])), task.aim(clean)


def _validate_size(photo: Image8, scale: int, name: str) -> None:
    height, width = photo.shape[:2]
    if min(height, width) < scale:
        raise DataError(
            f"{name} is {width}x{height} pixels, smaller than the scale of {scale}: remove it from the folder"
        )


def _split_planes(photo: Image8, scale: int, with_luma: bool) -> Image8:
    """Copy R, G, B and perhaps luma into one contiguous uint8 (planes, H, W), sides cropped to multiples of scale."""
    cropped = crop_to_multiple(photo, scale)
    planes = [cropped[:, :, 0], cropped[:, :, 1], cropped[:, :, 2]]
    if with_luma:
        planes.append(convert_to_luma(cropped))
    return np.stack(planes)


def _turn(patch: Image8, symmetry: int) -> Image8:
    """View a square under one of its eight symmetries: bit 0 flips rows, bit 1 flips columns, bit 2 transposes."""
    if symmetry & 1:
        patch = patch[::-1]
    if symmetry & 2:
        patch = patch[:, ::-1]
    return patch.T if symmetry & 4 else patch
