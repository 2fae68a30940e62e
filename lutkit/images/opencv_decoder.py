"""Decode deep pixels with OpenCV, which is imported where it is used: its libpng and libtiff keep 16 bits and float."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lutkit.images.quiet import SharedChange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_ROWS = 64


def decode_by_opencv(data: bytes) -> NDArray[Any] | None:
    """Return the pixels of a whole file as it stores them, RGB(A), (H, W) or (H, W, C); None where they are damaged.

    Orientation is not applied. Where the file has gray with alpha, gray comes three times.
    """
    import cv2

    try:
        with _SILENCE.hold():
            pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None or pixels.ndim == 2:
        return pixels
    for top in range(0, pixels.shape[0], _ROWS):  # in strips: exchanging needs a copy
        rows = pixels[top : top + _ROWS]
        rows[..., :3] = rows[..., 2::-1].copy()
    return pixels


@contextmanager
def _silence_log() -> Iterator[None]:
    from cv2.utils import logging

    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


_SILENCE = SharedChange(_silence_log)
