"""Write picture files: choose an encoder by suffix, refuse what its format cannot hold, replace files whole."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.exif import resize_exif
from lutkit.images.icc import matching_profile
from lutkit.images.netpbm import encode_netpbm, encode_pfm
from lutkit.images.picture import Picture, RefusalError
from lutkit.images.pillow_encoder import encode_bmp, encode_jpeg, encode_webp
from lutkit.images.png_encoder import encode_png
from lutkit.images.radiance import encode_hdr
from lutkit.images.tiff_encoder import encode_tiff
from lutkit_runtime import atomic
from lutkit_runtime.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

_U8, _U16, _F32 = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)
_DEPTH_NAMES = {_U8: "8-bit", _U16: "16-bit", _F32: "float"}
_CHANNEL_NAMES = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}
# Gray becomes RGB where a format has no gray.
_WIDER = {1: 3, 2: 4}


@dataclass(frozen=True)
class _Format:
    name: str
    suffixes: tuple[str, ...]
    dtypes: tuple[np.dtype[Any], ...]
    channels: tuple[int, ...]
    longest_side: int
    metadata: bool
    encode: Callable[[BinaryIO, Picture], tuple[str, ...]]


_ANY = (1, 2, 3, 4)
_FORMATS = (
    _Format("PNG", (".png",), (_U8, _U16), _ANY, 2**31 - 1, True, encode_png),
    _Format("JPEG", (".jpg", ".jpeg"), (_U8,), (1, 3), 65500, True, encode_jpeg),
    _Format("WebP", (".webp",), (_U8,), (3, 4), 16383, True, encode_webp),
    _Format("TIFF", (".tif", ".tiff"), (_U8, _U16, _F32), _ANY, 2**31 - 1, True, encode_tiff),
    _Format("BMP", (".bmp",), (_U8,), (1, 3), 2**31 - 1, False, encode_bmp),
    _Format("PPM", (".ppm",), (_U8, _U16), (3,), 2**31 - 1, False, encode_netpbm),
    _Format("PGM", (".pgm",), (_U8, _U16), (1,), 2**31 - 1, False, encode_netpbm),
    _Format("PFM", (".pfm",), (_F32,), (1, 3), 2**31 - 1, False, encode_pfm),
    _Format("HDR", (".hdr",), (_F32,), (3,), 2**31 - 1, False, encode_hdr),
)
_BY_SUFFIX = {suffix: form for form in _FORMATS for suffix in form.suffixes}


def supported_suffixes() -> tuple[str, ...]:
    """Return the suffixes that pictures can be written with, lower case with their dot."""
    return tuple(_BY_SUFFIX)


def check_target(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise ImageError unless a picture can be written there, by suffix, folder and permissions; before long work."""
    _find_format(Path(path))
    atomic.check_target(Path(path), overwrite=overwrite, error=ImageError)


def check_suffix(path: str | os.PathLike[str], dtype: DTypeLike, channels: int) -> None:
    """Raise ImageError where the suffix stands for a format without this depth, or without alpha where there is alpha.

    Parameters
    ----------
    path
        Only its suffix counts.
    dtype
        uint8, uint16 or float32.
    channels
        1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
    """
    form, kind = _find_format(Path(path)), np.dtype(dtype)
    if not _holds(form, kind, channels):
        able = ", ".join(suffix for suffix, other in _BY_SUFFIX.items() if _holds(other, kind, channels))
        what = f"{_DEPTH_NAMES.get(kind, str(kind))} {_CHANNEL_NAMES.get(channels, f'{channels}-channel')} pixels"
        raise ImageError(f"{path}: {form.name} files cannot hold {what}; use one of {able}")


def write_picture(path: str | os.PathLike[str], picture: Picture, overwrite: bool = False) -> tuple[str, ...]:
    """Write a picture in the format of the suffix, whole or not at all.

    PNG, TIFF, WebP, BMP, PPM, PGM and PFM keep the pixels as they are; JPEG has quality 95 and full colour resolution.
    EXIF (orientation 1, size set) and profile are carried over where the format has a place for them.

    Parameters
    ----------
    path
        Where to write; see `supported_suffixes`.
    picture
        What to write.
    overwrite
        Whether a file there may be replaced.

    Returns
    -------
    notes
        One-line remarks for the user on what the format could not keep.

    Raises
    ------
    ImageError
        The format cannot hold the picture, a file exists, or writing failed. No file, nor part of one, is made then.
    """
    place = Path(path)
    form, fitted, notes = _prepare(place, picture)
    try:
        with atomic.open_atomically(place, overwrite=overwrite, error=ImageError) as stream:
            return notes + _encode(form, stream, fitted, place)
    except MemoryError as error:
        raise ImageError(f"{path}: not enough memory to encode it; use .png or .tif, which need least") from error


def encode_picture(picture: Picture, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the bytes of a picture file in the format of the suffix, and notes as from `write_picture`."""
    place = Path(f"picture{suffix}")
    form, fitted, notes = _prepare(place, picture)
    stream = BytesIO()
    notes += _encode(form, stream, fitted, place)
    return stream.getvalue(), notes


def _encode(form: _Format, stream: BinaryIO, picture: Picture, place: Path) -> tuple[str, ...]:
    try:
        return form.encode(stream, picture)
    except RefusalError as refusal:
        raise ImageError(f"{place}: {refusal}") from refusal
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{place}: cannot be encoded ({reason}); choose another format") from error


def _find_format(path: Path) -> _Format:
    form = _BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        shown = f"the suffix {path.suffix}" if path.suffix else "a name without suffix"
        raise ImageError(f"{path}: {shown} stands for no format lutkit writes; use one of {', '.join(_BY_SUFFIX)}")
    return form


def _holds(form: _Format, dtype: np.dtype[Any], channels: int) -> bool:
    return dtype in form.dtypes and (channels in form.channels or _WIDER.get(channels) in form.channels)


def _prepare(path: Path, picture: Picture) -> tuple[_Format, Picture, tuple[str, ...]]:
    """Return the format and the picture as it can be written: gray widened where needed, metadata that fits."""
    picture.validate()
    form = _find_format(path)
    check_suffix(path, picture.pixels.dtype, picture.channels)
    height, width = picture.pixels.shape[:2]
    if max(height, width) > form.longest_side:
        what = f"{width}x{height} pixels are too many for {form.name}, which ends at {form.longest_side} a side"
        raise ImageError(f"{path}: {what}; use .png or .tif")
    notes: list[str] = []
    icc, icc_notes = matching_profile(picture.icc, picture.channels)
    notes.extend(icc_notes)
    exif = resize_exif(picture.exif, width, height) if picture.exif else None
    if not form.metadata and (icc or exif):
        found = " and ".join(name for name, block in (("EXIF", exif), ("colour profile", icc)) if block)
        notes.append(f"{form.name} files have no place for {found}")
        icc = exif = None
    pixels = picture.pixels
    if picture.channels not in form.channels:
        planes = pixels[..., None] if pixels.ndim == 2 else pixels
        pixels = np.concatenate([np.repeat(planes[..., :1], 3, axis=2), planes[..., 1:]], axis=2)
        notes.append(f"gray is stored as RGB in {form.name} files")
        if icc:
            icc = None
            notes.append("colour profile for gray dropped")
    return form, replace(picture, pixels=pixels, exif=exif, icc=icc), tuple(notes)
