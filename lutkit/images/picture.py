"""The picture that readers return and writers take, and the limit on its size. Imports numpy only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_MAX_PIXELS = 128 * 1024 * 1024
"""Pixels a picture may have unless the caller says otherwise: room for the 102-megapixel cameras of today."""

DAMAGED = "the file is damaged or cut short: get a new copy of it"
"""The remedy where a decoder finds nonsense."""

PIXEL_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


class RefusalError(Exception):
    """A decoder or encoder will not go on. Internal: `ImageError` with the file's name is made of it."""

    def __init__(self, what: str, remedy: str) -> None:
        """Say in a few words what is wrong and what the user can do about it."""
        super().__init__(f"{what}; {remedy}")


@dataclass(frozen=True)
class Picture:
    """An upright picture with the metadata that belongs to it.

    Attributes
    ----------
    pixels
        (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16 over their whole range,
        or float32 (nominally 0 to 1, values outside kept). Alpha is straight: colours are not multiplied with it.
    exif
        EXIF as a TIFF structure (from its `II` or `MM` on, no `Exif` prefix) with orientation 1, or None.
    icc
        ICC profile whose colour space is that of the pixels, or None.
    notes
        One-line remarks for the user on what reading changed, such as `palette expanded to RGB`.
    """

    pixels: NDArray[Any]
    exif: bytes | None = None
    icc: bytes | None = None
    notes: tuple[str, ...] = ()

    def validate(self) -> None:
        """Raise ValueError where shape or type are not among those that the class describes."""
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] not in (2, 3, 4)):
            raise ValueError(
                f"pixels have shape {shape}; need (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), none of them 0"
            )
        if dtype not in PIXEL_TYPES:
            raise ValueError(f"pixels are {dtype}; need uint8, uint16 or float32")

    @property
    def channels(self) -> int:
        """Samples per pixel: 1, 2, 3 or 4."""
        return 1 if self.pixels.ndim == 2 else int(self.pixels.shape[2])

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)

    def with_pixels(self, pixels: NDArray[Any]) -> Picture:
        """Return the same picture, metadata and all, with other pixels."""
        return replace(self, pixels=pixels)


@dataclass(frozen=True)
class Decoded:
    """What a decoder found, before orientation and metadata are settled.

    `exif` is as stored; `orientation` (1 to 8) is None where the one in `exif` counts.
    """

    pixels: NDArray[Any]
    exif: bytes | None = None
    icc: bytes | None = None
    orientation: int | None = None
    notes: tuple[str, ...] = ()


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise RefusalError unless a picture of this size, as its header gives it, may be decoded."""
    if width < 1 or height < 1:
        raise RefusalError(f"the header gives a size of {width}x{height}", "the file is damaged")
    if width * height > max_pixels:
        count, limit = f"{width * height / 1e6:.1f}", f"{max_pixels / 1e6:.1f}"
        what = f"{width}x{height} pixels are {count} million, over the limit of {limit} million"
        remedy = f"make it smaller or, if you trust the file, give lutkit apply --max-pixels {width * height}"
        raise RefusalError(what, remedy)
