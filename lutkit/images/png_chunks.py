"""Walk the chunks of a PNG file and check its pixel data, before any library sees them. Imports numpy only.

Only the chunks that make the pixels are handed on: so text is never expanded, checksums count, and colour chunks change
nothing. The pixel data is inflated once and thrown away here, as decoders differ in what they do about too little of it:
Pillow leaves black rows, OpenCV's libpng writes to standard error. Layout and rules: PNG (Third Edition), sections 5, 8, 11.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from itertools import accumulate
from typing import BinaryIO

import numpy as np

from lutkit.images.picture import DAMAGED, RefusalError, check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
_DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
# The only chunks that are read, with the most bytes each may have; pixels may have as many as the file.
_LARGEST = {b"PLTE": 768, b"tRNS": 256, b"iCCP": 4 << 20, b"eXIf": 4 << 20, b"IDAT": 0x7FFFFFFF, b"IEND": 0}
_SKIPPED = {
    b"acTL": "only the first picture of an animation is used",
    b"cICP": "the cICP colour description is not carried over",
}
# Start column, start row, column step, row step of the interlaced passes (section 8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_DEFLATED_BYTES = 1 << 16
_INFLATED_BYTES = 1 << 20
_LAST_FILTER = 4


@dataclass
class PngChunks:
    """What is in a PNG file.

    Attributes
    ----------
    width, height, depth, colour, interlace
        Fields of the header; depth in bits per sample, colour as PNG numbers it.
    clean
        A PNG file of nothing but the pixels, checked; palettes keep their transparency, other transparent colours go.
    bodies
        Bodies of the other chunks that were read, by name.
    notes
        Remarks for the user.
    """

    width: int
    height: int
    depth: int
    colour: int
    interlace: int
    clean: bytes = b""
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_chunks(stream: BinaryIO, max_pixels: int) -> PngChunks:
    """Read a PNG file from its start on. Raises RefusalError where it is damaged or larger than `max_pixels`."""
    stream.seek(len(SIGNATURE))
    if _read_head(stream) != (b"IHDR", 13):
        raise RefusalError("the PNG header is missing", DAMAGED)
    header = _read_body(stream, b"IHDR", 13)
    chunks = _parse_header(header, max_pixels)
    checker = _PixelChecker(chunks)
    pixels: list[bytes] = []
    while (found := _read_head(stream))[0] != b"IEND":
        name, length = found
        body = _read_known(stream, name, length, chunks.notes)
        if name == b"IDAT" and body:
            checker.feed(body)
            pixels.append(pack_chunk(name, body))
        elif body:
            chunks.bodies.setdefault(name, body)
    _read_body(stream, *found)
    checker.finish()
    palette: list[bytes] = []
    if chunks.colour == PALETTE:
        if b"PLTE" not in chunks.bodies:
            raise RefusalError("the palette is missing", DAMAGED)
        palette = [pack_chunk(name, chunks.bodies[name]) for name in (b"PLTE", b"tRNS") if name in chunks.bodies]
    chunks.clean = b"".join([SIGNATURE, pack_chunk(b"IHDR", header), *palette, *pixels, pack_chunk(b"IEND", b"")])
    return chunks


def pack_chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))))


def _read_known(stream: BinaryIO, name: bytes, length: int, notes: list[str]) -> bytes | None:
    """Return the body of a chunk that is wanted; pass over any other, None."""
    if length > _LARGEST.get(name, -1):
        if _must_know(name):
            raise RefusalError(f"the PNG chunk {name!r} of {length} bytes is not valid", DAMAGED)
        notes.extend([_SKIPPED[name]] if name in _SKIPPED else [])
        stream.seek(length + 4, 1)
        return None
    try:
        return _read_body(stream, name, length)
    except RefusalError:
        if _must_know(name) or name == b"tRNS":
            raise
        notes.append(f"damaged PNG chunk {name.decode('ascii')} dropped")
        return None


def _must_know(name: bytes) -> bool:
    return name[0] & 0x20 == 0


def _read_head(stream: BinaryIO) -> tuple[bytes, int]:
    head = stream.read(8)
    if len(head) < 8:
        raise RefusalError("the file ends before the picture does", DAMAGED)
    return head[4:], int.from_bytes(head[:4], "big")


def _read_body(stream: BinaryIO, name: bytes, length: int) -> bytes:
    body = stream.read(length)  # never more than the file holds, whatever the length says
    check = stream.read(4)
    if len(body) < length or len(check) < 4:
        raise RefusalError("the file ends before the picture does", DAMAGED)
    if zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(check, "big"):
        raise RefusalError(f"the checksum of the PNG chunk {name.decode('ascii')} is wrong", DAMAGED)
    return body


def _parse_header(body: bytes, max_pixels: int) -> PngChunks:
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        what = f"the PNG header asks for colour type {colour} of {depth} bits, interlace {interlace}"
        raise RefusalError(f"{what}, which PNG does not have", DAMAGED)
    check_size(width, height, max_pixels)
    return PngChunks(width, height, depth, colour, interlace)


class _PixelChecker:
    """Inflates pixel data as it arrives and keeps none: its amount, checksum and row filters must be right."""

    def __init__(self, chunks: PngChunks) -> None:
        passes = _PASSES if chunks.interlace else ((0, 0, 1, 1),)
        bits = _SAMPLES[chunks.colour] * chunks.depth
        sizes = [
            (-(-(chunks.width - left) // across), -(-(chunks.height - top) // down))
            for left, top, across, down in passes
        ]
        # Bytes in a row with its filter, and rows, for each pass that has pixels.
        self._runs = [(1 + (bits * columns + 7) // 8, rows) for columns, rows in sizes if columns > 0 and rows > 0]
        self._starts = list(accumulate((stride * rows for stride, rows in self._runs), initial=0))
        self._place = 0
        self._inflater = zlib.decompressobj()

    def feed(self, body: bytes) -> None:
        """Take the body of the next pixel chunk; what follows the end of the compressed stream is ignored."""
        view = memoryview(body)
        # In small pieces, as what is not consumed of a piece is copied.
        for start in range(0, len(view), _DEFLATED_BYTES):
            rest = bytes(view[start : start + _DEFLATED_BYTES])
            while rest and not self._inflater.eof:
                try:
                    self._check_filters(self._inflater.decompress(rest, _INFLATED_BYTES))
                except zlib.error as error:
                    raise RefusalError("the PNG pixel data is damaged", DAMAGED) from error
                rest = self._inflater.unconsumed_tail

    def finish(self) -> None:
        """Raise RefusalError unless the data were complete."""
        if not self._inflater.eof or self._place != self._starts[-1]:
            raise RefusalError("the PNG pixel data is truncated", DAMAGED)

    def _check_filters(self, inflated: bytes) -> None:
        data = np.frombuffer(inflated, np.uint8)
        end = self._place + len(data)
        if end > self._starts[-1]:
            raise RefusalError("there is more PNG pixel data than pixels", DAMAGED)
        for start, (stride, rows) in zip(self._starts, self._runs, strict=False):
            first = max(start, start + -(-(self._place - start) // stride) * stride)
            last = min(end, start + stride * rows)
            if first < last and data[first - self._place : last - self._place : stride].max() > _LAST_FILTER:
                raise RefusalError("the PNG pixel data has an unknown row filter", DAMAGED)
        self._place = end
