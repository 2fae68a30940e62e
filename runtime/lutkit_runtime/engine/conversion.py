"""Images to planes of codes and back: depths, channels, alpha.

Imports errors and tiling, and OpenCV where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.engine.tiling import Span
from lutkit_runtime.errors import InputError

Image = NDArray[Any]
"""uint8, uint16 or float32, (H, W) or (H, W, 2 to 4); `check_image` says what is wrong with any other."""

_DEPTHS = tuple(np.dtype(kind) for kind in (np.uint8, np.uint16, np.float32))

_STRIP_ROWS = 256
"""Rows that are scanned or resized at once, so that the scratch stays small."""


def check_image(image: Image, *, finite: bool = True) -> None:
    """Raise InputError unless an image can be processed: its type, shape, size and, on demand, finite samples."""
    if not isinstance(image, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"image is of type {type(image).__name__}; hand in a NumPy array")
    check_layout(image.shape, image.dtype)
    if finite and image.dtype.kind == "f":
        _check_finite(image)


def check_layout(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise InputError unless an image of such a shape and type can be processed."""
    check_depth(dtype, "image")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (2, 3, 4)):
        raise InputError(
            f"image has shape {shape}; use (H, W) for gray, (H, W, 2) for gray and alpha, "
            "(H, W, 3) for RGB or (H, W, 4) for RGB and alpha"
        )
    if 0 in shape:
        raise InputError(f"image has shape {shape}, which holds no pixels; use one of at least 1 x 1")


def check_depth(dtype: np.dtype[Any], name: str) -> None:
    """Raise InputError unless samples of a type can be processed; `name` says whose they are."""
    if dtype.newbyteorder("=") not in _DEPTHS:
        raise InputError(f"{name} has samples of type {dtype}; use uint8, uint16 or float32")


Layout = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of an image."""


def check_result(out: Layout, wanted: Layout) -> None:
    """Raise InputError unless an array that is to be filled has the shape and type of the result."""
    if out != wanted:
        raise InputError(f"out has {out[1]} samples and shape {out[0]}; the result has {wanted[1]} and {wanted[0]}")


def make_result(image: Image, scale: int, out: Image | None = None) -> Image:
    """Return an array for what becomes of an image, `out` where it is given.

    Raises InputError where `out` cannot be used: another shape or type, not in C order, read-only, or overlapping.
    """
    wanted = (*(side * scale for side in image.shape[:2]), *image.shape[2:]), image.dtype.newbyteorder("=")
    if out is None:
        return np.empty(*wanted)
    if not isinstance(out, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"out is of type {type(out).__name__}; hand in a NumPy array")
    check_result((out.shape, out.dtype), wanted)
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InputError("out is not an array in C order that may be written to; make one with numpy.empty")
    if np.may_share_memory(image, out):
        raise InputError("out overlaps the image; give an array of its own")
    return out


def _check_finite(image: NDArray[Any]) -> None:
    faults = 0
    first: tuple[int, ...] = ()
    for top in range(0, len(image), _STRIP_ROWS):
        faulty = ~np.isfinite(image[top : top + _STRIP_ROWS])
        if not faults and faulty.any():
            row, *rest = np.unravel_index(int(faulty.argmax()), faulty.shape)
            first = (int(row) + top, *(int(place) for place in rest))
        faults += int(np.count_nonzero(faulty))
    if faults:
        where = ", ".join(f"{axis} {place}" for axis, place in zip(("row", "column", "channel"), first, strict=False))
        verb = "sample that is" if faults == 1 else "samples that are"
        raise InputError(f"image has {faults} {verb} not a finite number, the first at {where}; replace them first")


def has_alpha(image: Image) -> bool:
    """Tell whether the last channel of an image is alpha."""
    return image.ndim == 3 and image.shape[2] in (2, 4)


def count_colours(image: Image) -> int:
    """Return the number of channels that are not alpha."""
    return 1 if image.ndim == 2 else image.shape[2] - has_alpha(image)


def to_codes(image: Image) -> NDArray[np.uint8]:
    """Return the colour channels of an image, or of a part of one, as planes of 8-bit codes.

    Parameters
    ----------
    image : uint8, uint16 or float32, (H, W) or (H, W, channels)
        uint16 becomes round(v / 257); float32 round half even(255 v) with v clipped to 0 and 1.

    Returns
    -------
    uint8, (colours, H, W), C-contiguous
    """
    colours = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)[: count_colours(image)]
    codes = np.empty(colours.shape, np.uint8)
    for plane, source in zip(codes, colours, strict=True):
        if source.dtype.kind == "f":
            plane[...] = np.rint(source.clip(0, 1) * np.float32(255))
        elif source.dtype.itemsize == 2:
            plane[...] = halve_depth(source)
        else:
            plane[...] = source
    return codes


def halve_depth(samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return 16-bit samples of any shape as 8-bit codes: round(v / 257)."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def from_codes(codes: NDArray[np.uint8], out: Image) -> None:
    """Write planes of 8-bit codes into the colour channels of an image of any depth: the inverse of `to_codes`.

    Parameters
    ----------
    codes : uint8, (colours, H, W)
    out : uint8, uint16 or float32, (H, W) or (H, W, channels)
        Codes c become c, 257 c or c / 255; alpha is left alone.
    """
    colours = out[None] if out.ndim == 2 else np.moveaxis(out, 2, 0)[: len(codes)]
    for plane, target in zip(codes, colours, strict=True):
        if target.dtype.kind == "f":
            np.divide(plane, np.float32(255), out=target, dtype=np.float32)
        elif target.dtype.itemsize == 2:
            np.multiply(plane, np.uint16(257), out=target, dtype=np.uint16)
        else:
            target[...] = plane


@dataclass(frozen=True)
class Piece:
    """Where the result of one tile belongs.

    Parameters
    ----------
    image : array, (H * scale, W * scale) or (H * scale, W * scale, channels), C-contiguous
        The whole result.
    rows, columns : Span
        The tile.
    scale : int
    """

    image: Image
    rows: Span
    columns: Span
    scale: int

    def kept(self, scale: int) -> tuple[slice, slice]:
        """Rows and columns to keep of planes that are `scale` times as large as what the program read."""
        return self.rows.kept(scale), self.columns.kept(scale)

    def store(self, codes: NDArray[np.uint8]) -> None:
        """Write the planes that came of the extended tile, (colours, rows * scale, columns * scale)."""
        rows, columns = self.kept(self.scale)
        from_codes(codes[:, rows, columns], self.image[self.rows.written(self.scale), self.columns.written(self.scale)])


def scale_alpha(image: Image, scale: int, out: Image) -> None:
    """Write the alpha of `image`, enlarged bilinearly, into the alpha of `out`, at its own depth.

    The strips do not depend on how the colours are tiled, so neither does the result.
    """
    alpha, target = image[..., -1], out[..., -1]
    if scale == 1:
        target[...] = alpha
        return
    import cv2

    height, width = alpha.shape
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        first, last = max(0, top - 1), min(bottom + 1, height)  # the neighbours that bilinear interpolation reads
        strip = np.ascontiguousarray(alpha[first:last]).astype(out.dtype, copy=False)
        larger = cv2.resize(strip, (width * scale, (last - first) * scale), interpolation=cv2.INTER_LINEAR)
        target[top * scale : bottom * scale] = larger[(top - first) * scale : (bottom - first) * scale]
