"""Decode JPEG, WebP, BMP and GIF, and turn any Pillow image of 8 bits into an array. Imports Pillow where it is used.

Pillow decodes whatever has 8 bits because it refuses truncated data. Its format classes are used directly: `Image.open`
applies a pixel limit that belongs to the process, lutkit's belongs to the call.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.picture import DAMAGED, Decoded, RefusalError, check_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image, ImageFile

# Rows converted at a time: Pillow keeps RGB in 4 bytes, so converting a whole picture would take two more copies of it.
_STRIP_BYTES = 4 << 20

# Pillow's mode to the mode whose bytes lutkit takes; the second table is for pictures with a transparent index.
_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
}
_MODES_WITH_KEY = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}
_NOTES = {
    "P": "palette expanded to RGB",
    "PA": "palette expanded to RGB",
    "La": "premultiplied alpha divided out",
    "RGBa": "premultiplied alpha divided out",
    "CMYK": "CMYK converted to sRGB",
    "LAB": "CIELAB converted to sRGB",
}
_ANIMATED = "only the first picture of an animation is used"


def decode_jpeg(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a JPEG picture: 8-bit gray, RGB or CMYK. Raises RefusalError, or what Pillow raises."""
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(stream)
    check_size(*image.size, max_pixels)
    return decode_image(image)


def decode_webp(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode the first picture of a WebP file. Raises RefusalError, or what Pillow raises."""
    from PIL.WebPImagePlugin import WebPImageFile

    check_size(*_webp_size(stream.read(30)), max_pixels)  # before libwebp reserves its canvas
    stream.seek(0)
    image = WebPImageFile(stream)
    return decode_image(image, *([_ANIMATED] if image.is_animated else []))


def decode_bmp(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a BMP picture. Raises RefusalError, or what Pillow raises."""
    from PIL.BmpImagePlugin import BmpImageFile

    image = BmpImageFile(stream)
    check_size(*image.size, max_pixels)
    return decode_image(image)


def decode_gif(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode the first picture of a GIF file. Raises RefusalError, or what Pillow raises."""
    from PIL.GifImagePlugin import GifImageFile

    image = GifImageFile(stream)
    check_size(*image.size, max_pixels)
    decoded = decode_image(image)
    return Decoded(decoded.pixels, notes=decoded.notes + ((_ANIMATED,) if image.is_animated else ()))


def decode_image(image: ImageFile.ImageFile, *notes: str) -> Decoded:
    """Return a Pillow image of 8 bits per sample as gray or RGB, with or without alpha, and with its metadata."""
    image.load()
    mode = _MODES_WITH_KEY.get(image.mode) if "transparency" in image.info else None
    mode = mode or _MODES.get(image.mode)
    if mode is None:
        raise RefusalError(f"pixels of the kind {image.mode} are not supported", "convert the file to RGB")
    convert = _conversion(image, mode)
    height, width = image.height, image.width
    channels = len(mode)
    pixels = np.empty((height, width) if channels == 1 else (height, width, channels), np.uint8)
    rows = max(1, _STRIP_BYTES // (width * channels))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(convert(image.crop((0, top, width, bottom))))
    found = (_NOTES[image.mode],) if image.mode in _NOTES else ()
    return Decoded(pixels, image.info.get("exif"), image.info.get("icc_profile"), notes=found + notes)


def expand_key(pixels: NDArray[Any], key: tuple[int, ...]) -> NDArray[Any]:
    """Append an alpha channel that is 0 where a pixel equals the key and the largest value elsewhere.

    Parameters
    ----------
    pixels
        (H, W) or (H, W, 3), uint8 or uint16.
    key
        The transparent value, one number per channel.
    """
    planes = pixels if pixels.ndim == 3 else pixels[..., None]
    clear = (planes == np.array(key, pixels.dtype)).all(axis=2)
    alpha = np.where(clear, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return np.concatenate([planes, alpha[..., None]], axis=2)


def _conversion(image: Image.Image, mode: str) -> Callable[[Image.Image], Image.Image]:
    if image.mode == mode:
        return lambda strip: strip
    if image.mode in ("CMYK", "LAB"):
        return _conversion_by_profile(image)
    return lambda strip: strip.convert(mode)


def _conversion_by_profile(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Convert to sRGB from CIELAB, or through the file's own CMYK profile, or from CMYK without one plainly."""
    from io import BytesIO

    from PIL import ImageCms

    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, image.mode, "RGB")
    except (KeyError, OSError, ImageCms.PyCMSError):
        if image.mode == "LAB":
            raise
        return lambda strip: strip.convert("RGB")
    return transform.apply


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height from a WebP file's first chunk (WebP container specification; RFC 6386, section 9.1)."""
    kind = head[12:16]
    try:
        if kind == b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        if kind == b"VP8L":
            bits = struct.unpack_from("<I", head, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", head, 26)
            return width & 0x3FFF, height & 0x3FFF
    except struct.error:
        pass
    raise RefusalError("the WebP header is damaged", DAMAGED)
