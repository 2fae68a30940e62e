"""Read picture files: choose a decoder by content, refuse what is damaged or too large, turn pictures upright."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.exif import tidy_exif
from lutkit.images.icc import matching_profile
from lutkit.images.netpbm import decode_netpbm, decode_pfm
from lutkit.images.picture import DEFAULT_MAX_PIXELS, Decoded, Picture, RefusalError
from lutkit.images.pillow_decoder import decode_bmp, decode_gif, decode_jpeg, decode_webp
from lutkit.images.png_decoder import decode_png
from lutkit.images.quiet import quiet_messages
from lutkit.images.radiance import decode_hdr
from lutkit.images.tiff_decoder import decode_tiff
from lutkit_runtime.errors import ImageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class _Format:
    name: str
    suffixes: tuple[str, ...]
    start: re.Pattern[bytes]
    decode: Callable[[BinaryIO, int], Decoded]


_FORMATS = (
    _Format("PNG", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), decode_png),
    _Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), re.compile(rb"\xff\xd8\xff"), decode_jpeg),
    _Format("WebP", (".webp",), re.compile(rb"RIFF....WEBP", re.DOTALL), decode_webp),
    _Format("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]"), decode_tiff),
    _Format("BMP", (".bmp",), re.compile(rb"BM"), decode_bmp),
    _Format("GIF", (".gif",), re.compile(rb"GIF8[79]a"), decode_gif),
    _Format("PNM", (".ppm", ".pgm", ".pbm", ".pnm"), re.compile(rb"P[1-6][\s#]"), decode_netpbm),
    _Format("PFM", (".pfm",), re.compile(rb"P[Ff]\s"), decode_pfm),
    _Format("HDR", (".hdr",), re.compile(rb"#\?(RADIANCE|RGBE)"), decode_hdr),
)
# Bytes a file may have beyond its pixels at their widest, 4 doubles each: metadata, further pages.
_ALLOWANCE = 1 << 30

# What to do with the array for each EXIF orientation (Exif 2.32, section 4.6.4): transpose, then flip rows, columns.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def readable_suffixes() -> tuple[str, ...]:
    """Return the usual suffixes of the files that can be read, lower case with their dot."""
    return tuple(suffix for form in _FORMATS for suffix in form.suffixes)


def read_picture(path: str | os.PathLike[str], max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture file, upright, at its own depth, with its metadata.

    The content decides on the format, not the suffix. The size in the header is checked before pixels are decoded.

    Parameters
    ----------
    path
        A PNG, JPEG, WebP, TIFF, BMP, GIF, PNM, PFM or Radiance HDR file.
    max_pixels
        Refuse pictures with more pixels than this.

    Raises
    ------
    ImageError
        The file cannot be read, is no picture, damaged, truncated or too large, or holds NaN or infinite samples.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as stream:
            if not stream.seekable():
                return decode_picture(stream.read(), name, max_pixels)
            size = stream.seek(0, 2)
            stream.seek(0)
            return _decode_stream(stream, size, name, max_pixels)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{name}: cannot be read: {reason}; check the path and its permissions") from error


def decode_picture(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Decode the bytes of a picture file; `name` stands for it in messages. Otherwise as `read_picture`."""
    return _decode_stream(BytesIO(data), len(data), name, max_pixels)


def _decode_stream(stream: BinaryIO, size: int, name: str, max_pixels: int) -> Picture:
    form = _find_format(stream.read(32), name)
    stream.seek(0)
    if size > max_pixels * 32 + _ALLOWANCE:
        raise ImageError(
            f"{name}: {size} bytes are more than {max_pixels} pixels need; make it smaller or, if you trust the file, "
            "raise the limit of lutkit apply with --max-pixels"
        )
    try:
        with quiet_messages():
            return _finish(form.decode(stream, max_pixels))
    except ImportError:  # a library is missing: nothing is wrong with the file
        raise
    except RefusalError as refusal:
        raise ImageError(f"{name}: {refusal}") from refusal
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode it; free some, or use a smaller picture") from error
    except Exception as error:  # decoders meet hostile bytes and raise whatever their parsers stumble over
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ImageError(
            f"{name}: damaged or unsupported {form.name} file ({reason}); get a new copy of it, or save it as PNG"
        ) from error


def _find_format(head: bytes, name: str) -> _Format:
    if not head:
        raise ImageError(f"{name}: the file is empty; get a new copy of it")
    for form in _FORMATS:
        if form.start.match(head):
            return form
    known = ", ".join(form.name for form in _FORMATS)
    raise ImageError(f"{name}: not a picture of a known format; convert it to one of {known}")


def _finish(decoded: Decoded) -> Picture:
    pixels = decoded.pixels
    if pixels.dtype == np.float32 and not all(np.isfinite(row).all() for row in pixels):
        raise RefusalError("there are NaN or infinite samples", "replace them by finite ones")
    notes = list(decoded.notes)
    exif, orientation = tidy_exif(decoded.exif) if decoded.exif else (None, 1)
    if decoded.exif and exif is None:
        notes.append("unusable EXIF dropped")
    pixels = turn_upright(pixels, decoded.orientation or orientation)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    icc, icc_notes = matching_profile(decoded.icc, channels)
    picture = Picture(pixels, exif, icc, (*notes, *icc_notes))
    picture.validate()
    return picture


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return the pixels as they should be shown, given the EXIF orientation (1 to 8) that they were stored with."""
    transpose, rows, columns = _TURNS[orientation]
    if transpose:
        pixels = pixels.swapaxes(0, 1)
    if rows:
        pixels = pixels[::-1]
    if columns:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
