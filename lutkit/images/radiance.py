"""Read Radiance HDR pictures through OpenCV, write them here. Imports numpy only.

Format: G. Ward, Real Pixels, Graphics Gems II (1991), and the header that Radiance's programs write.
"""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np

from lutkit.images.opencv_decoder import decode_by_opencv
from lutkit.images.picture import DAMAGED, Decoded, Picture, RefusalError, check_size

_SIZE = re.compile(rb"\n\n-Y (\d{1,9}) \+X (\d{1,9})\n")
_LONGEST_HEADER = 1 << 16
_ROWS = 64


def decode_hdr(stream: BinaryIO, max_pixels: int) -> Decoded:
    """Decode a Radiance picture of standard orientation to float32 RGB. Raises RefusalError, or what OpenCV raises."""
    found = _SIZE.search(stream.read(_LONGEST_HEADER).replace(b"\r\n", b"\n"))
    if found is None:
        raise RefusalError("no size of the form '-Y height +X width' is in the header", DAMAGED)
    height, width = int(found[1]), int(found[2])
    check_size(width, height, max_pixels)
    stream.seek(0)
    pixels = decode_by_opencv(stream.read())
    if pixels is None or pixels.shape != (height, width, 3):
        raise RefusalError("the pixel data is truncated or damaged", DAMAGED)
    return Decoded(pixels)


def encode_hdr(stream: BinaryIO, picture: Picture) -> tuple[str, ...]:
    """Write RGB as shared-exponent pixels, not run-length coded; negative samples, which have no place there, as 0."""
    height, width = picture.pixels.shape[:2]
    stream.write(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width))
    for top in range(0, height, _ROWS):
        colours = np.maximum(picture.pixels[top : top + _ROWS], 0)
        # The largest sample of a pixel lies in [0.5, 1) · 2^exponent; 8 bits of each sample are kept at that exponent.
        _, exponents = np.frexp(colours.max(axis=2))
        scaled = np.ldexp(colours, (8 - exponents)[..., None])
        strip = np.concatenate([scaled, (exponents + 128)[..., None]], axis=2)
        strip[(exponents < -127) | (colours.max(axis=2) == 0)] = 0
        stream.write(np.clip(np.rint(strip), 0, 255).astype(np.uint8).tobytes())
    negative = "negative samples are stored as 0" if picture.pixels.min() < 0 else ""
    return tuple(filter(None, ("HDR keeps 8 significant bits per pixel", negative)))
