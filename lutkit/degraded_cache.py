"""Degraded photos kept on disk between runs, so that a training run starts at once.

May import `degradation`, the error tree and atomic writing; numpy and platformdirs.
"""

import hashlib
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from lutkit.degradation import Image8, Task
from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.errors import DataError

# Part of every key: raise it when a change to `degradation` or `resize` changes what is computed.
_RECIPE = 1

_log = logging.getLogger(__name__)


def find_cache_folder() -> Path:
    """Return the folder that keeps degraded photos: ``LUTKIT_CACHE`` where it is set, else the user's cache folder."""
    return Path(os.environ.get("LUTKIT_CACHE") or platformdirs.user_cache_dir("lutkit", appauthor=False))


@dataclass(frozen=True)
class DegradedCache:
    """Degraded planes kept on disk, one file per photo, task and recipe.

    A damaged entry is computed again; a folder that cannot be written costs time, not the run.

    Attributes
    ----------
    folder
        Where the files lie; created when the first one is written.
    """

    folder: Path

    def degrade(self, planes: Image8, task: Task) -> Image8:
        """Degrade planes with a cacheable task, or read what was computed before.

        Parameters
        ----------
        planes
            uint8 (planes, H, W), contiguous.
        task
            A task with ``cacheable``.

        Returns
        -------
        uint8 (planes, H // scale, W // scale).
        """
        key = hashlib.sha256(f"{_RECIPE} {task.name} {planes.shape}".encode())
        key.update(planes.data)
        path = self.folder / "degraded" / f"{key.hexdigest()}.planes"
        count, height, width = planes.shape
        degraded = _read_entry(path, (count, height // task.scale, width // task.scale))
        if degraded is None:
            degraded = degrade_planes(planes, task)
            _write_entry(path, degraded)
        return degraded


# An entry is the SHA-256 of the array's bytes and then these bytes. Its shape follows from the planes and the task.
_DIGEST_BYTES = hashlib.sha256().digest_size


def _read_entry(path: Path, shape: tuple[int, int, int]) -> Image8 | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("cache entry %s cannot be read (%s): it is computed again", path, error)
        return None
    digest, pixels = content[:_DIGEST_BYTES], memoryview(content)[_DIGEST_BYTES:]
    if len(pixels) != math.prod(shape) or hashlib.sha256(pixels).digest() != digest:
        _log.warning("cache entry %s is damaged: it is computed again", path)
        return None
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _write_entry(path: Path, degraded: Image8) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two runs may meet here: each writes the same bytes, and the last one stays.
        content = hashlib.sha256(degraded.data).digest() + degraded.tobytes()
        write_atomically(path, content, overwrite=True, error=DataError)
    except (OSError, DataError) as error:
        _log.warning("cache entry %s is not kept (%s): set LUTKIT_CACHE to another folder", path, error)


def degrade_planes(planes: Image8, task: Task) -> Image8:
    """Degrade each plane by itself as a gray image.

    Parameters
    ----------
    planes
        uint8 (planes, H, W).
    task
        A task with ``cacheable``.

    Returns
    -------
    uint8 (planes, H // scale, W // scale).
    """
    unused = np.random.default_rng(0)  # cacheable tasks draw nothing
    return np.stack([task.degrade(plane, unused) for plane in planes])
