"""Degraded photos kept on disk between runs, so that a training run starts at once.

May import `degradation` and the error tree; numpy and platformdirs.
"""

import hashlib
import logging
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from lutkit.degradation import Task

Image8 = NDArray[np.uint8]

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
        path = self.folder / "degraded" / f"{key.hexdigest()}.npz"
        degraded = _read_entry(path)
        if degraded is None:
            degraded = degrade_planes(planes, task)
            _write_entry(path, degraded)
        return degraded


def _read_entry(path: Path) -> Image8 | None:
    try:
        # An .npz carries checksums, which are compared when its array is read to the end.
        with np.load(path, allow_pickle=False) as entry:
            return entry["degraded"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("cache entry %s is damaged (%s): it is computed again", path, error)
        return None


def _write_entry(path: Path, degraded: Image8) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, degraded=degraded)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        _log.warning("cache entry %s cannot be written (%s): set LUTKIT_CACHE to another folder", path, error)


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
