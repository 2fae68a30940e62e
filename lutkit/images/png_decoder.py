"""Decode PNG of 1 to 16 bits per sample, metadata first. Imports Pillow and OpenCV where they are used.

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

from lutkit.images.picture import Decoded, RefusalError, check_size
from lutkit.images.pillow_decoder import decode_image, expand_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA = 0, 2, 3, 4
_DEPTHS = {_GRAY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GRAY_ALPHA: (8, 16), 6: (8, 16)}
# Chunks worth keeping; others are passed over unread. Largest sizes in bytes for those that are not pixels.
_KEPT = {b"PLTE": 768, b"tRNS": 256, b"iCCP": 4 << 20, b"eXIf": 4 << 20}
_LARGEST_PROFILE = 16 << 20
_DAMAGED = "the file is damaged: get a new copy of it"


@dataclass
class _Chunks:
    """What the walk found. `data` holds the compressed pixels; `kept` the other chunks by name."""

    width: int
    height: int
    depth: int
    colour: int
    interlace: int
    data: bytearray = field(default_factory=bytearray)
    kept: dict[bytes, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def decode_png(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a PNG picture; palettes and transparent colours are expanded. Raises RefusalError, or what the libraries raise."""
    chunks = _read_chunks(stream, max_pixels)
    key = chunks.kept.pop(b"tRNS", b"") if chunks.colour in (_GRAY, _RGB) else b""
    clean = _rebuild(chunks)
    if chunks.depth == 16:
        pixels = _decode_deep(clean, chunks)
    else:
        from PIL.PngImagePlugin import PngImageFile

        decoded = decode_image(PngImageFile(BytesIO(clean)))
        pixels = decoded.pixels
        chunks.notes.extend(decoded.notes)
    if key:
        pixels = expand_key(pixels, _scale_key(key, chunks))
        chunks.notes.append("transparent colour expanded to alpha")
    return Decoded(pixels, chunks.kept.get(b"eXIf"), _profile(chunks), notes=tuple(chunks.notes))


def _read_chunks(stream: BinaryIO, max_pixels: int) -> _Chunks:
    stream.seek(len(SIGNATURE))
    if _next_chunk(stream) != (b"IHDR", 13):
        raise RefusalError("the PNG header is missing", _DAMAGED)
    chunks = _parse_header(_read_chunk(stream, b"IHDR", 13), max_pixels)
    while True:
        name, length = _next_chunk(stream)
        if name == b"IEND":
            _read_chunk(stream, name, length)
            break
        if name == b"IDAT":
            chunks.data += _read_chunk(stream, name, length)
        elif name in _KEPT and length <= _KEPT[name]:
            chunks.kept[name] = _read_chunk(stream, name, length)
        elif name[0] & 0x20 == 0:  # a chunk that decoders must understand
            raise RefusalError(f"the PNG chunk {name!r} of {length} bytes is not valid here", _DAMAGED)
        else:
            _note_skipped(name, chunks.notes)
            stream.seek(length + 4, 1)
    if not chunks.data:
        raise RefusalError("there is no pixel data", _DAMAGED)
    if chunks.colour == _PALETTE and b"PLTE" not in chunks.kept:
        raise RefusalError("the palette is missing", _DAMAGED)
    return chunks


def _next_chunk(stream: BinaryIO) -> tuple[bytes, int]:
    head = stream.read(8)
    if len(head) < 8:
        raise RefusalError("the file ends before the picture does", _DAMAGED)
    return head[4:], int.from_bytes(head[:4], "big")


def _read_chunk(stream: BinaryIO, name: bytes, length: int) -> bytes:
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
        what = f"the PNG header asks for colour type {colour}, {depth} bits, interlace {interlace}, which PNG does not know"
        raise RefusalError(what, _DAMAGED)
    check_size(width, height, max_pixels)
    return _Chunks(width, height, depth, colour, interlace)


def _note_skipped(name: bytes, notes: list[str]) -> None:
    if name == b"acTL":
        notes.append("only the first picture of an animation is used")
    if name == b"cICP":
        notes.append("the cICP colour description is not carried over")


def _rebuild(chunks: _Chunks) -> bytes:
    header = struct.pack(">IIBBBBB", chunks.width, chunks.height, chunks.depth, chunks.colour, 0, 0, chunks.interlace)
    parts = [SIGNATURE, pack_chunk(b"IHDR", header)]
    parts += [pack_chunk(name, chunks.kept[name]) for name in (b"PLTE", b"tRNS") if name in chunks.kept]
    # A chunk's length has 31 bits.
    step = 1 << 30
    view = memoryview(chunks.data)
    parts += [pack_chunk(b"IDAT", view[start : start + step]) for start in range(0, len(view), step)]
    return b"".join([*parts, pack_chunk(b"IEND", b"")])


def pack_chunk(name: bytes, body: bytes | memoryview) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))))


def _decode_deep(clean: bytes, chunks: _Chunks) -> NDArray[Any]:
    import cv2

    found: NDArray[Any] | None = cv2.imdecode(np.frombuffer(clean, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.shape[:2] != (chunks.height, chunks.width):
        raise RefusalError("the PNG pixel data is truncated or damaged", _DAMAGED)
    if chunks.colour == _GRAY_ALPHA:  # OpenCV repeats gray into blue, green and red
        return np.ascontiguousarray(found[..., [0, 3]])
    if found.ndim == 3:
        cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA if found.shape[2] == 4 else cv2.COLOR_BGR2RGB, dst=found)
    return found


def _scale_key(key: bytes, chunks: _Chunks) -> tuple[int, ...]:
    count = 1 if chunks.colour == _GRAY else 3
    if len(key) != 2 * count:
        raise RefusalError(f"the PNG chunk tRNS has {len(key)} bytes; {2 * count} are needed", _DAMAGED)
    largest = (1 << chunks.depth) - 1
    full = 0xFFFF if chunks.depth == 16 else 0xFF
    return tuple((value & largest) * full // largest for value in struct.unpack(f">{count}H", key))


def _profile(chunks: _Chunks) -> bytes | None:
    """Return the ICC profile, expanded to no more than a sane size; bytes that are no profile where it cannot be expanded."""
    stored = chunks.kept.get(b"iCCP")
    if stored is None:
        return None
    _, _, rest = stored.partition(b"\0")
    expander = zlib.decompressobj()
    try:
        profile = expander.decompress(rest[1:], _LARGEST_PROFILE)
    except zlib.error:
        return b"?"
    return profile if expander.eof else b"?"
