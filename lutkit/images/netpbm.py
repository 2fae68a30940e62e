"""Read and write PBM, PGM, PPM and PFM. Imports numpy only.

Own code because Pillow reduces 16-bit PPM to 8 bits and reads no colour PFM. Formats: netpbm's manual pages pbm(5),
pgm(5), ppm(5) and pfm(5).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.picture import DAMAGED, Decoded, Picture, RefusalError, check_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Longest header read: three fields and comments.
_LONGEST_HEADER = 4096
_FIELD = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])*([^\s#]+)")
_ROWS = 256
_TEXT_BYTES = 1 << 20


def decode_netpbm(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode PBM, PGM or PPM, plain or raw; samples are scaled to all of 8 or 16 bits. Raises RefusalError."""
    magic = stream.read(2)
    fields = 2 if magic in (b"P1", b"P4") else 3
    width, height, *rest = (_parse_count(text) for text in _read_fields(stream, fields))
    check_size(width, height, max_pixels)
    largest = rest[0] if rest else 1
    if not 1 <= largest <= 0xFFFF:
        raise RefusalError(f"the header gives {largest} as the largest sample; 1 to 65535 are possible", DAMAGED)
    shape = (height, width, 3) if magic in (b"P3", b"P6") else (height, width)
    if magic == b"P4":
        packed = np.empty((height, (width + 7) // 8), np.uint8)
        _read_samples(stream, packed, "u1")
        samples = 1 - np.unpackbits(packed, axis=1)[:, :width]
    elif magic in (b"P1", b"P2", b"P3"):
        samples = _read_plain(stream, shape, bits=magic == b"P1")
    else:
        samples = np.empty(shape, np.uint8 if largest < 256 else np.uint16)
        _read_samples(stream, samples, "u1" if largest < 256 else ">u2")
    return Decoded(_scale_samples(samples, largest))


def decode_pfm(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode PFM: float32 gray or RGB, of either byte order. Raises RefusalError."""
    channels = 3 if stream.read(2) == b"PF" else 1
    *size, scale_text = _read_fields(stream, 3)
    width, height = (_parse_count(text) for text in size)
    check_size(width, height, max_pixels)
    try:
        scale = float(scale_text)
    except ValueError:
        scale = 0.0
    if scale == 0 or not math.isfinite(scale):
        raise RefusalError("the PFM header has no usable scale", DAMAGED)
    pixels = np.empty((height, width, channels), np.float32)
    _read_samples(stream, pixels[::-1], "<f4" if scale < 0 else ">f4")  # rows are stored from the bottom up
    return Decoded(pixels if channels == 3 else pixels[..., 0])


def encode_netpbm(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write raw PGM or PPM, 8 or 16 bits, by the picture's channels."""
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    magic = b"P5" if pixels.ndim == 2 else b"P6"
    stream.write(b"%s\n%d %d\n%d\n" % (magic, width, height, np.iinfo(pixels.dtype).max))
    for top in range(0, height, _ROWS):
        stream.write(pixels[top : top + _ROWS].astype(pixels.dtype.newbyteorder(">")).tobytes())
    return ()


def encode_pfm(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write PFM, little endian, gray or RGB."""
    height, width = picture.pixels.shape[:2]
    stream.write(b"%s\n%d %d\n-1.0\n" % (b"Pf" if picture.pixels.ndim == 2 else b"PF", width, height))
    for bottom in range(height, 0, -_ROWS):
        stream.write(picture.pixels[max(0, bottom - _ROWS) : bottom][::-1].astype("<f4").tobytes())
    return ()


def _read_fields(stream: BinaryIO, count: int) -> list[bytes]:
    """Return the header's next fields and leave the stream after the one white space that ends them."""
    start = stream.tell()
    head = stream.read(_LONGEST_HEADER)
    fields: list[bytes] = []
    place = 0
    for _ in range(count):
        found = _FIELD.match(head, place)
        if found is None or found.end() >= len(head):
            raise RefusalError("the header is not complete", DAMAGED)
        fields.append(found[1])
        place = found.end()
    stream.seek(start + place + 1)
    return fields


def _parse_count(text: bytes) -> int:
    if not text.isdigit() or len(text) > 9:
        raise RefusalError(f"the header has {text[:20]!r} where a number belongs", DAMAGED)
    return int(text)


def _read_samples(stream: BinaryIO, samples: NDArray[Any], kind: str) -> None:
    """Fill the samples, stored as this kind, in blocks: a short file is noticed before memory for all is touched."""
    for top in range(0, samples.shape[0], _ROWS):
        block = samples[top : top + _ROWS]
        body = stream.read(block.nbytes)
        if len(body) < block.nbytes:
            raise RefusalError("the file ends before the picture does", DAMAGED)
        block[...] = np.frombuffer(body, kind).reshape(block.shape)


def _read_plain(stream: BinaryIO, shape: tuple[int, ...], bits: bool) -> NDArray[Any]:
    """Return samples that are written as decimal numbers, or as the digits 0 (white) and 1 with or without space."""
    text = re.sub(rb"#[^\n\r]*", b"", stream.read())
    if bits:
        digits = np.frombuffer(text, np.uint8)
        samples = 1 - (digits[(digits == ord("0")) | (digits == ord("1"))] - ord("0"))
    else:
        samples = np.concatenate([_parse_numbers(part) for part in _cut_at_space(text)] or [np.empty(0, np.uint16)])
    if samples.size < math.prod(shape):
        raise RefusalError("the file ends before the picture does", DAMAGED)
    return samples[: math.prod(shape)].reshape(shape)


def _cut_at_space(text: bytes) -> Iterator[bytes]:
    """Yield the text in pieces that split no number: a list of all words at once would take many times the text."""
    start = 0
    while start < len(text):
        end = min(start + _TEXT_BYTES, len(text))
        while end < len(text) and not text[end : end + 1].isspace():
            end += 1
        yield text[start:end]
        start = end


def _parse_numbers(text: bytes) -> NDArray[np.uint16]:
    try:
        return np.array([int(word) for word in text.split()], np.uint16)
    except (ValueError, OverflowError) as error:
        raise RefusalError("there is something that is no sample among the samples", DAMAGED) from error


def _scale_samples(samples: NDArray[Any], largest: int) -> NDArray[Any]:
    """Scale from 0 … `largest` to the whole range of uint8, or of uint16 where `largest` is above 255."""
    kind, full = (np.uint8, 0xFF) if largest < 256 else (np.uint16, 0xFFFF)
    if samples.max() > largest:
        raise RefusalError(f"a sample is {samples.max()}, above the {largest} that the header allows", DAMAGED)
    if largest == full:
        return samples.astype(kind, copy=False)
    table = (np.arange(largest + 1, dtype=np.uint64) * full + largest // 2) // largest
    return table.astype(kind)[samples]
