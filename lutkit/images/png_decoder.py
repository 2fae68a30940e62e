"""Decode PNG of 1 to 16 bits per sample. Imports Pillow where it is used.

Pillow decodes up to 8 bits; it reduces more, so those go to OpenCV.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.opencv_decoder import decode_by_opencv
from lutkit.images.picture import DAMAGED, Decoded, RefusalError
from lutkit.images.pillow_decoder import decode_image, expand_key
from lutkit.images.png_chunks import GRAY, GRAY_ALPHA, RGB, PngChunks, read_chunks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_PROFILE = 16 << 20


def decode_png(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a PNG picture; palettes and transparent colours are expanded.

    Raises RefusalError, or what the libraries raise.
    """
    chunks = read_chunks(stream, max_pixels)
    if chunks.depth == 16:
        pixels = _decode_deep(chunks)
    else:
        from PIL.PngImagePlugin import PngImageFile

        decoded = decode_image(PngImageFile(BytesIO(chunks.clean)))
        pixels = decoded.pixels
        chunks.notes.extend(decoded.notes)
    key = chunks.bodies.get(b"tRNS")
    if key and chunks.colour in (GRAY, RGB):
        pixels = expand_key(pixels, _scale_key(key, chunks))
        chunks.notes.append("transparent colour expanded to alpha")
    return Decoded(pixels, chunks.bodies.get(b"eXIf"), _expand_profile(chunks), notes=tuple(chunks.notes))


def _decode_deep(chunks: PngChunks) -> NDArray[Any]:
    found = decode_by_opencv(chunks.clean)
    if found is None or found.dtype != np.uint16 or found.shape[:2] != (chunks.height, chunks.width):
        raise RefusalError("the PNG pixel data is damaged", DAMAGED)
    # OpenCV repeats gray with alpha into three colours.
    return np.ascontiguousarray(found[..., [0, 3]]) if chunks.colour == GRAY_ALPHA else found


def _scale_key(key: bytes, chunks: PngChunks) -> tuple[int, ...]:
    """Return the transparent colour in the range of the decoded samples."""
    count = 1 if chunks.colour == GRAY else 3
    if len(key) != 2 * count:
        raise RefusalError(f"the PNG chunk tRNS has {len(key)} bytes; {2 * count} are needed", DAMAGED)
    largest = (1 << chunks.depth) - 1
    full = 0xFFFF if chunks.depth == 16 else 0xFF
    return tuple((value & largest) * full // largest for value in struct.unpack(f">{count}H", key))


def _expand_profile(chunks: PngChunks) -> bytes | None:
    """Return the ICC profile; where it cannot be expanded or is larger than sane, bytes that are no profile."""
    stored = chunks.bodies.get(b"iCCP")
    if stored is None:
        return None
    _, _, rest = stored.partition(b"\0")
    expander = zlib.decompressobj()
    try:
        profile = expander.decompress(rest[1:], _LARGEST_PROFILE)
    except zlib.error:
        return b"?"
    return profile if expander.eof else b"?"
