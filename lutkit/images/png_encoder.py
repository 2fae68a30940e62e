"""Encode PNG in strips, so that a picture of a gigabyte needs little more than itself. Imports numpy only.

Own code because neither Pillow nor OpenCV encodes from RGB rows where they stand: both copy the whole picture first,
and Pillow has no 16-bit RGB. Layout: PNG (Third Edition), sections 5, 9 and 11; deflate blocks of several makers in one
stream: RFC 1951, section 2 and RFC 1950, section 2.2.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lutkit.images.png_chunks import SIGNATURE, pack_chunk

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from lutkit.images.picture import Picture

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
# Bytes of pixels in a strip.
_STRIP_BYTES = 1 << 20
_MOST_THREADS = 8
# Ways to deflate, and how much of a strip is deflated in each to choose.
_STRATEGIES = (zlib.Z_RLE, zlib.Z_DEFAULT_STRATEGY)
_SAMPLE_BYTES = 1 << 15


def encode_png(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write a PNG of 8 or 16 bits per sample with its metadata. The number of threads does not show in the bytes."""
    height, width = picture.pixels.shape[:2]
    depth = 8 * picture.pixels.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[picture.channels], 0, 0, 0)
    stream.write(SIGNATURE + pack_chunk(b"IHDR", header))
    if picture.icc:
        stream.write(pack_chunk(b"iCCP", b"icc\0\0" + zlib.compress(picture.icc)))
    if picture.exif:
        stream.write(pack_chunk(b"eXIf", picture.exif))
    with closing(_deflate(picture.pixels)) as bodies:  # ends the threads too where writing fails
        for body in bodies:
            stream.write(pack_chunk(b"IDAT", body))
    stream.write(pack_chunk(b"IEND", b""))
    return ()


def _deflate(pixels: NDArray[Any]) -> Generator[bytes, None, None]:
    """Yield the pieces of the zlib stream of the filtered rows, compressed a strip at a time by several threads."""
    rows = max(1, _STRIP_BYTES // pixels[0].nbytes)
    tops = range(0, pixels.shape[0], rows)
    threads = min(_MOST_THREADS, len(tops), _count_cores())
    checksum = 1
    yield b"\x78\x01"
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[NDArray[np.uint8], bytes]]] = deque()
        try:
            for top in tops:
                waiting.append(pool.submit(_encode_strip, pixels, top, top + rows))
                if len(waiting) > threads:
                    filtered, body = waiting.popleft().result()
                    checksum = zlib.adler32(filtered.data, checksum)
                    yield body
            while waiting:
                filtered, body = waiting.popleft().result()
                checksum = zlib.adler32(filtered.data, checksum)
                yield body
        finally:  # on an error or interrupt: do not wait for strips that nobody will write
            for future in waiting:
                future.cancel()
    yield struct.pack(">I", checksum)


def _encode_strip(pixels: NDArray[Any], top: int, bottom: int) -> tuple[NDArray[np.uint8], bytes]:
    """Return the filtered rows and their deflate blocks, which end on a byte so that the next strip's can follow."""
    filtered = _filter_rows(pixels, top, bottom)
    data = filtered.reshape(-1)
    middle = max(0, (len(data) - _SAMPLE_BYTES) // 2)
    sample = data[middle : middle + _SAMPLE_BYTES]
    # Matching runs only is quicker and smaller on photographs, matching anything is far smaller on drawings and ramps.
    strategy = min(_STRATEGIES, key=lambda strategy: len(_pack(sample, strategy, zlib.Z_SYNC_FLUSH)))
    return filtered, _pack(data, strategy, zlib.Z_FINISH if bottom >= pixels.shape[0] else zlib.Z_SYNC_FLUSH)


def _pack(data: NDArray[np.uint8], strategy: int, ending: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(data.data) + packer.flush(ending)


def _filter_rows(pixels: NDArray[Any], top: int, bottom: int) -> NDArray[np.uint8]:
    """Return rows as filter number and filtered bytes, each with the filter that leaves the least sum of magnitudes.

    Filters 0 to 3 (none, left, above, mean of both; section 9.2); Paeth's, number 4, is slow and no better here.
    """
    above = max(0, top - 1)
    block = np.ascontiguousarray(pixels[above:bottom]).reshape(min(bottom, len(pixels)) - above, -1)
    distance = block.shape[1] // pixels.shape[1] * block.itemsize
    block = block.astype(block.dtype.newbyteorder(">"), copy=False).view(np.uint8)
    here = block[top - above :]
    up = block[:-1] if top else np.concatenate([np.zeros_like(block[:1]), block[:-1]])
    left = np.zeros_like(here)
    left[:, distance:] = here[:, :-distance]
    # (left + up) // 2 without a ninth bit.
    candidates = (here, here - left, here - up, here - ((left & up) + ((left ^ up) >> 1)))
    costs = [np.abs(rows.view(np.int8)).view(np.uint8).sum(axis=1, dtype=np.uint64) for rows in candidates]
    choice = np.argmin(costs, axis=0)
    filtered = np.empty((len(here), here.shape[1] + 1), np.uint8)
    filtered[:, 0] = choice
    for number, rows in enumerate(candidates):
        filtered[choice == number, 1:] = rows[choice == number]
    return filtered


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
