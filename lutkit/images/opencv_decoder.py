"""Decode deep pixels with OpenCV, which is imported where it is used: its libpng and libtiff keep 16 bits and float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lutkit.images.quiet import quiet_descriptor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 64


def decode_by_opencv(data: bytes) -> NDArray[Any] | None:
    """Return the pixels of a whole file as it stores them, RGB(A), (H, W) or (H, W, C); None where they are damaged.

    Orientation is not applied. Where the file has gray with alpha, gray comes three times.
    """
    import cv2

    try:
        with quiet_descriptor():
            pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None or pixels.ndim == 2:
        return pixels
    code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    for top in range(0, pixels.shape[0], _ROWS):  # in strips, as OpenCV copies what it converts in place
        rows = pixels[top : top + _ROWS]
        cv2.cvtColor(rows, code, dst=rows)
    return pixels
