"""Local contrast: an operator of our own that brings out detail and evens out light, as photographers do by dodging and burning.

A pixel's luma is split into a base, which is smooth but for strong edges, and detail around it; the base is compressed,
the detail is boosted. What a colour becomes depends on its surroundings: no colour LUT can do that. It is the aim of the
built-in model `detail`. Imports OpenCV and the luma of `defects`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.defects import LUMA

Image8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

REACH = 1 / 10
"""Radius of the surroundings as a part of the longer side: a picture looks the same at every size."""
EDGE = 0.1
"""Variance of luma above which a change is an edge that the base keeps (epsilon of the guided filter)."""
PIVOT = 0.45
"""Luma that the compression of the base leaves where it is."""
COMPRESSION = 0.65
"""Slope of the base's curve."""
BOOST = 1.8
"""Factor of the detail."""
SOFTNESS = 0.5
"""Detail saturates towards this magnitude, so that strong contrasts are not driven to black and white."""


def split_luma(luma: Float32, radius: int) -> Float32:
    """Return the base of a luma plane (H, W): a self-guided filter (He, Sun, Tang, "Guided Image Filtering", 2013, eq. 5)."""
    window = (2 * radius + 1, 2 * radius + 1)

    def average(plane: Any) -> Any:
        return cv2.blur(plane, window, borderType=cv2.BORDER_REFLECT)

    mean = average(luma)
    variance = np.maximum(average(luma * luma) - mean * mean, 0)
    share = variance / (variance + EDGE)
    return average(share) * luma + average((1 - share) * mean)


def enhance_detail(image: Image8) -> Image8:
    """Return a photo, uint8 (H, W, 3) sRGB, with its detail brought out and its light evened out, of the same shape."""
    colours = image.astype(np.float32) / 255
    luma: Any = np.ascontiguousarray(colours @ LUMA.astype(np.float32))
    base = split_luma(luma, max(1, round(REACH * max(luma.shape))))
    detail = BOOST * (luma - base)
    detail = SOFTNESS * np.tanh(detail / SOFTNESS)
    wanted = PIVOT + COMPRESSION * (base - PIVOT) + detail
    # colours keep their differences, scaled where the luma rises or falls: hue stays, dark parts do not turn gray
    gain = np.clip(wanted, 0, 1) / np.maximum(luma, 1e-3)
    gain = np.clip(gain, 0.3, 2.2)[..., None]
    changed = wanted[..., None] + np.sqrt(gain) * (colours - luma[..., None])
    return np.clip(np.rint(changed * 255), 0, 255).astype(np.uint8)
