"""Colours of videos: which matrix and range stand between a stream's samples and RGB, and the conversion both ways.

swscale (through PyAV) computes; this file tells it exactly what the stream says, and what is taken where it says
nothing. The numbers are those of ISO/IEC 23091-2 (coding-independent code points for video), tables 2 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lutkit.video.library import VideoError

if TYPE_CHECKING:
    from numpy.typing import NDArray

RGB_MATRIX, BT709, UNSPECIFIED, SMPTE170M, BT2020_CONSTANT = 0, 1, 2, 6, 10
LIMITED, FULL = 1, 2

# Code point of the matrix to swscale's number of it; constant luminance is read as if it were not constant.
_SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}

_SWSCALE_WHITE = 255 << 8

_SD_WIDTH, _SD_HEIGHT = 1279, 576
"""Largest frame that players take for standard definition where a stream does not name its matrix."""


@dataclass(frozen=True)
class ColourTags:
    """What a stream says about its colours, as code points.

    Parameters
    ----------
    matrix : int
        Between RGB and luma with colour differences; 0 where samples are RGB.
    extent : int
        1 limited (luma 16 to 235 of 8 bits), 2 full.
    primaries, transfer : int
        Kept as they are: models work on values as they stand.
    """

    matrix: int
    extent: int
    primaries: int
    transfer: int

    @property
    def swscale_matrix(self) -> int:
        """swscale's number of the matrix."""
        return _SWSCALE.get(self.matrix, _SWSCALE[BT709])


def complete_tags(
    matrix: int, extent: int, primaries: int, transfer: int, *, is_rgb: bool, size: tuple[int, int]
) -> ColourTags:
    """Return tags without gaps: what a stream leaves open is what players take it for.

    Parameters
    ----------
    matrix, extent, primaries, transfer : int
        As the stream has them; 2 is unspecified, for the extent 0.
    is_rgb : bool
        Whether its samples are RGB, whatever it says.
    size : (width, height)
        Frames up to 1279 x 576 are taken for standard definition (BT.601), larger ones for BT.709.

    Raises
    ------
    VideoError
        Where the matrix is one that swscale does not know, such as YCgCo.
    """
    if is_rgb:
        return ColourTags(RGB_MATRIX, FULL, primaries, transfer)
    if matrix in (UNSPECIFIED, RGB_MATRIX, 3):
        matrix = SMPTE170M if size[0] <= _SD_WIDTH and size[1] <= _SD_HEIGHT else BT709
    if matrix not in _SWSCALE:
        raise VideoError(
            f"colours are coded by matrix {matrix} of ISO/IEC 23091-2, which is not supported: convert it first"
        )
    return ColourTags(matrix, extent or LIMITED, primaries, transfer)


class ToPixels:
    """Turns decoded frames into arrays of RGB or RGBA.

    Parameters
    ----------
    tags : ColourTags
    deep : bool
        16 bits per sample instead of 8.
    alpha : bool
    """

    def __init__(self, tags: ColourTags, *, deep: bool, alpha: bool) -> None:
        self._tags = tags
        self._format = name_pixels(deep=deep, alpha=alpha)
        self._convert = _make_converter()

    def convert(self, frame: Any) -> NDArray[Any]:
        """Return the pixels of a frame, (H, W, 3) or (H, W, 4), uint8 or uint16, whole range."""
        tags = self._tags
        rgb = self._convert(
            frame,
            format=self._format,
            src_colorspace=tags.swscale_matrix,
            src_color_range=tags.extent,
            dst_color_range=FULL,
        )
        pixels = rgb.to_ndarray()
        if pixels.dtype.itemsize == 2 and tags.matrix != RGB_MATRIX:
            _spread_white(pixels[..., :3])
        return pixels


class ToFrames:
    """Turns arrays of RGB or RGBA into frames to encode.

    Parameters
    ----------
    tags : ColourTags
        Of the stream that is written.
    pixel_format : str
        FFmpeg's name.
    """

    def __init__(self, tags: ColourTags, pixel_format: str) -> None:
        self._tags = tags
        self._format = pixel_format
        self._convert = _make_converter()

    def convert(self, pixels: NDArray[Any]) -> Any:
        """Return the frame of an image, (H, W, 3) or (H, W, 4), uint8 or uint16."""
        import av

        tags = self._tags
        name = name_pixels(deep=pixels.dtype.itemsize == 2, alpha=pixels.shape[2] == 4)
        if pixels.dtype.itemsize == 2 and tags.matrix != RGB_MATRIX:
            pixels = _shrink_white(pixels)
        frame: Any = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format=name)
        frame.color_range = FULL
        frame.colorspace = RGB_MATRIX
        converted = self._convert(
            frame,
            format=self._format,
            dst_colorspace=tags.swscale_matrix,
            src_color_range=FULL,
            dst_color_range=tags.extent,
        )
        converted.colorspace, converted.color_range = tags.matrix, tags.extent
        converted.color_primaries, converted.color_trc = tags.primaries, tags.transfer
        return converted


def name_pixels(*, deep: bool, alpha: bool) -> str:
    """Return FFmpeg's name of an array's format."""
    return ("rgba64le" if alpha else "rgb48le") if deep else ("rgba" if alpha else "rgb24")


def _spread_white(colours: NDArray[np.uint16]) -> None:
    """Scale 16-bit RGB that swscale made of luma and colour differences: its white is 255 * 256, not 65535.

    This is so only between RGB of 16 bits and samples with a matrix; RGB to RGB is right as it is.
    """
    np.minimum(colours, _SWSCALE_WHITE, out=colours)
    colours += colours >> 8


def _shrink_white(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return pixels as `_spread_white` undoes; alpha stays."""
    shrunk = pixels.copy()
    colours = shrunk[..., :3]
    colours -= ((colours.astype(np.uint32) + 128) // 257).astype(np.uint16)
    return shrunk


def _make_converter() -> Any:
    """Return a function that converts frames with exact rounding and colour differences of every pixel."""
    from functools import partial

    from av.video.reformatter import Interpolation, VideoReformatter

    flags = (
        Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    )
    return partial(VideoReformatter().reformat, interpolation=flags)
