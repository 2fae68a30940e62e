"""The photos of a run: what it is trained on and what it is validated on. Imports data, generated images, evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lutkit.data import PatchSource, find_images, read_rgb, validation_pairs
from lutkit.degradation import Task
from lutkit.degraded_cache import DegradedCache, find_cache_folder
from lutkit.evaluate import Pair, make_pairs
from lutkit.generated import render_collection
from lutkit_runtime.errors import DataError

GENERATED_PHOTOS = 64
GENERATED_SIDE = 512
VALIDATION_PHOTOS = 20
"""At most so many photos are validated on, which keeps validation a small part of training."""

HELD_OUT = 10
"""Every tenth photo is validated on where no others are given."""

GENERATED_NOTE = "generated images are used; --data DIR trains on your photos instead"


@dataclass(frozen=True)
class Photos:
    """Photos of a run.

    Parameters
    ----------
    source : PatchSource
    pairs : list of Pair
        For validation; none of them is trained on.
    description, pairs_description : str
        Where the photos and the validation pairs come from, for people and for the provenance.
    """

    source: PatchSource
    pairs: list[Pair]
    description: str
    pairs_description: str


def gather_photos(data: Path | None, val: Path | None, task: Task, seed: int) -> Photos:
    """Return photos to train on and to validate on.

    Without `data`, images are generated from the seed. Without `val`, every tenth photo (at least one) is held out of
    `data` and validated on. Photos of `data` that lie in `val` too are not trained on. Raises DataError where a folder
    holds no usable images, or none are left to train on.
    """
    pairs, pairs_description, held = _gather_pairs(data, val, task, seed)
    if data is None:
        source = PatchSource(render_collection(seed, GENERATED_PHOTOS, GENERATED_SIDE), task)
        return Photos(source, pairs, f"{GENERATED_PHOTOS} generated images (seed {seed})", pairs_description)
    paths = [path for path in find_training_photos(data, val) if path not in held]
    source = PatchSource(
        (read_rgb(path) for path in paths),
        task,
        names=[str(path) for path in paths],
        cache=DegradedCache(find_cache_folder()),
    )
    return Photos(source, pairs, f"{len(paths)} photos of {data.name or data}", pairs_description)


def validation_photos(data: Path | None, val: Path | None, task: Task, seed: int) -> tuple[list[Pair], str]:
    """Return the validation pairs that `gather_photos` would give, and what they are."""
    return _gather_pairs(data, val, task, seed)[:2]


def _gather_pairs(data: Path | None, val: Path | None, task: Task, seed: int) -> tuple[list[Pair], str, set[Path]]:
    """Return validation pairs, their description, and the photos of `data` that are held out for them."""
    if val is not None:
        return make_pairs(val, task, seed, VALIDATION_PHOTOS), f"photos of {val.name or val}", set()
    if data is None:
        return generated_pairs(task, seed), "generated images", set()
    held = hold_out(find_images(data), data)
    made = validation_pairs([read_rgb(path) for path in held], task, seed)
    pairs = [Pair(path.stem, *pair) for path, pair in zip(held, made, strict=True)]
    return pairs, f"photos held out of {data.name or data}", set(held)


def find_training_photos(data: Path, val: Path | None) -> list[Path]:
    """Return the photos below `data` that do not lie below `val`; raises DataError where there are none."""
    paths = [path for path in find_images(data) if val is None or not path.resolve().is_relative_to(val.resolve())]
    if not paths:
        raise DataError(f"every photo of {data} lies in {val} too, which leaves none to train on: name another --val")
    return paths


def hold_out(paths: Sequence[Any], data: Path, what: str = "photo") -> Sequence[Any]:
    """Return every tenth photo of `data`, at most 20, to validate on; raises DataError where that leaves none.

    `what` says what one of them is, for the message.
    """
    if len(paths) < 2:
        raise DataError(f"{data} holds one {what}, which leaves none to validate on: add {what}s or give --val DIR")
    return paths[:: max(HELD_OUT, -(-len(paths) // VALIDATION_PHOTOS))]


def generated_pairs(task: Task, seed: int) -> list[Pair]:
    """Return generated validation pairs; they differ from every generated training image."""
    photos = render_collection(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]), 8, 256)
    made = validation_pairs(photos, task, seed)
    return [Pair(f"generated-{number}", *pair) for number, pair in enumerate(made)]
