"""Gray pictures as RGB, for models that change colours, and back, for what is gray. Imports NumPy and this package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.images.icc import matching_profile
from lutkit.images.picture import Picture


def expand_gray(picture: Picture) -> Picture:
    """Return a gray picture as RGB of the same depth, with its alpha; others as they are.

    A profile of gray says nothing about RGB pixels: it is dropped, which is noted.
    """
    if picture.channels > 2:
        return picture
    gray = picture.pixels.reshape(*picture.pixels.shape[:2], picture.channels)
    pixels = np.concatenate([gray[..., :1]] * 3 + [gray[..., 1:]], axis=2)
    icc, notes = matching_profile(picture.icc, pixels.shape[2])
    return replace(picture, pixels=pixels, icc=icc, notes=(*picture.notes, *notes))


def as_gray(pixels: NDArray[Any]) -> NDArray[Any] | None:
    """Return pixels (H, W[, channels]) as (H, W), without alpha; None where there are colours."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] <= 2:
        return np.ascontiguousarray(pixels[..., 0])
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return np.ascontiguousarray(red) if np.array_equal(red, green) and np.array_equal(green, blue) else None
