"""Decode PNG of 1 to 16 bits per sample, metadata first. Imports Pillow where it is used.

The file's chunks are walked here and only those that make the pixels are handed to a library: so text chunks are never
expanded, checksums count, colour chunks change nothing, and 16-bit pictures, which Pillow reduces, can go to OpenCV.
Layout and rules: PNG (Third Edition), sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.opencv_decoder import decode_by_opencv
from lutkit.images.picture import Decoded, RefusalError, check_size
from lutkit.images.pillow_decoder import decode_image, expand_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {
    _GRAY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GRAY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
# The only chunks that are read, with the most bytes each may have; pixels may have as many as the file.
_LARGEST = {b"PLTE": 768, b"tRNS": 256, b"iCCP": 4 << 20, b"eXIf": 4 << 20, b"IDAT": 0x7FFFFFFF, b"IEND": 0}
_LARGEST_PROFILE = 16 << 20
_DAMAGED = "the file is damaged: get a new copy of it"
_SKIPPED = {
    b"acTL": "only the first picture of an animation is used",
    b"cICP": "the cICP colour description is not carried over",
}


@dataclass
class _Chunks:
    """What the walk found: the header's fields, a file of nothing but pixels, and the other chunks' bodies by name."""

    width: int
    height: int
    depth: int
    colour: int
    clean: bytes = b""
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def decode_png(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a PNG picture; palettes and transparent colours are expanded.

    Raises RefusalError, or what the libraries raise.
    """
    chunks = _read_chunks(stream, max_pixels)
    if chunks.depth == 16:
        pixels = _decode_deep(chunks)
    else:
        from PIL.PngImagePlugin import PngImageFile

        decoded = decode_image(PngImageFile(BytesIO(chunks.clean)))
        pixels = decoded.pixels
        chunks.notes.extend(decoded.notes)
    key = chunks.bodies.get(b"tRNS")
    if key and chunks.colour in (_GRAY, _RGB):
        pixels = expand_key(pixels, _scale_key(key, chunks))
        chunks.notes.append("transparent colour expanded to alpha")
    return Decoded(pixels, chunks.bodies.get(b"eXIf"), _expand_profile(chunks), notes=tuple(chunks.notes))


def pack_chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))))


def _read_chunks(stream: BinaryIO, max_pixels: int) -> _Chunks:
    stream.seek(len(SIGNATURE))
    if _read_head(stream) != (b"IHDR", 13):
        raise RefusalError("the PNG header is missing", _DAMAGED)
    header = _read_body(stream, b"IHDR", 13)
    chunks = _parse_header(header, max_pixels)
    parts = [SIGNATURE, pack_chunk(b"IHDR", header)]
    while (found := _read_head(stream))[0] != b"IEND":
        name, length = found
        must_know = name[0] & 0x20 == 0
        if length > _LARGEST.get(name, -1):
            if must_know:
                raise RefusalError(f"the PNG chunk {name!r} of {length} bytes is not valid", _DAMAGED)
            chunks.notes.extend([_SKIPPED[name]] if name in _SKIPPED else [])
            stream.seek(length + 4, 1)
            continue
        try:
            body = _read_body(stream, name, length)
        except RefusalError:
            if must_know or name == b"tRNS":
                raise
            chunks.notes.append(f"damaged PNG chunk {name.decode('ascii')} dropped")
            continue
        chunks.bodies.setdefault(name, b"" if name == b"IDAT" else body)
        if must_know or (name == b"tRNS" and chunks.colour == _PALETTE):
            parts.append(pack_chunk(name, body))
    _read_body(stream, *found)
    for name in (b"IDAT", b"PLTE") if chunks.colour == _PALETTE else (b"IDAT",):
        if name not in chunks.bodies:
            raise RefusalError(f"there is no PNG chunk {name.decode('ascii')}", _DAMAGED)
    chunks.clean = b"".join([*parts, pack_chunk(b"IEND", b"")])
    return chunks


def _read_head(stream: BinaryIO) -> tuple[bytes, int]:
    head = stream.read(8)
    if len(head) < 8:
        raise RefusalError("the file ends before the picture does", _DAMAGED)
    return head[4:], int.from_bytes(head[:4], "big")


def _read_body(stream: BinaryIO, name: bytes, length: int) -> bytes:
    body = stream.read(length)  # never more than the file holds, whatever the length says
    check = stream.read(4)
    if len(body) < length or len(check) < 4:
        raise RefusalError("the file ends before the picture does", _DAMAGED)
    if zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(check, "big"):
        raise RefusalError(f"the checksum of the PNG chunk {name.decode('ascii')} is wrong", _DAMAGED)
    return body


def _parse_header(body: bytes, max_pixels: int) -> _Chunks:
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        what = f"the PNG header asks for colour type {colour} of {depth} bits, interlace {interlace}"
        raise RefusalError(f"{what}, which PNG does not have", _DAMAGED)
    check_size(width, height, max_pixels)
    return _Chunks(width, height, depth, colour)


def _decode_deep(chunks: _Chunks) -> NDArray[Any]:
    found = decode_by_opencv(chunks.clean)
    if found is None or found.dtype != np.uint16 or found.shape[:2] != (chunks.height, chunks.width):
        raise RefusalError("the PNG pixel data is truncated or damaged", _DAMAGED)
    return np.ascontiguousarray(found[..., [0, 3]]) if chunks.colour == _GRAY_ALPHA else found


def _scale_key(key: bytes, chunks: _Chunks) -> tuple[int, ...]:
    """Return the transparent colour in the range of the decoded samples."""
    count = 1 if chunks.colour == _GRAY else 3
    if len(key) != 2 * count:
        raise RefusalError(f"the PNG chunk tRNS has {len(key)} bytes; {2 * count} are needed", _DAMAGED)
    largest = (1 << chunks.depth) - 1
    full = 0xFFFF if chunks.depth == 16 else 0xFF
    return tuple((value & largest) * full // largest for value in struct.unpack(f">{count}H", key))


def _expand_profile(chunks: _Chunks) -> bytes | None:
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
