# pyright: basic
"""Padding planes on the GPU. Imports memory and plane_lines."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.memory import Planes, Session, upload
from lutkit_runtime.kernels.cuda.plane_lines import pad_planes
from lutkit_runtime.padding import Padding


def find_sources(session: Session, padding: Padding, length: int, reach: int) -> Any:
    """Return, on the GPU of a run, which pixel stands at each place of a padded line."""
    return _keep_sources(session.gpu, padding, length, reach)


@functools.lru_cache(maxsize=64)
def _keep_sources(gpu: int, padding: Padding, length: int, reach: int) -> Any:
    return upload(padding.index(length, reach, reach).astype(np.int32))


def pad(session: Session, planes: Planes, padding: Padding, reach: int) -> Planes:
    """Return planes with `reach` more pixels on every side; the planes themselves where that is 0."""
    if reach == 0:
        return planes
    height, width = planes.height + 2 * reach, planes.width + 2 * reach
    padded = session.empty_planes(planes.colours, planes.channels, height, width, planes.flat.dtype)
    pad_into(session, planes, padding, reach, padded, 0)
    return padded


def pad_into(session: Session, planes: Planes, padding: Padding, reach: int, padded: Planes, first: int) -> None:
    """Write planes with `reach` more pixels on every side into others, from plane `first` on."""
    pad_planes.launch(
        planes.count * padded.height * padded.width,
        session.stream,
        planes.flat,
        planes.height,
        planes.width,
        find_sources(session, padding, planes.height, reach),
        find_sources(session, padding, planes.width, reach),
        padded.height,
        padded.width,
        first * padded.height * padded.width,
        padded.flat,
    )
