"""Which cells of a colour cube pictures visit: counted, and as a short text for provenance. Imports NumPy only.

Entries around a cell that no training colour fell into were shaped by regularisation alone.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import FormatError
from lutkit_runtime.ops.colour_lookup import MAX_CUBE_SIZE

Visits = NDArray[np.int64]

_PIXELS_AT_ONCE = 1 << 22


def count_visits(pixels: NDArray[Any], size: int) -> Visits:
    """Return how many pixels fall into each cell of a cube over 0 to 1.

    Parameters
    ----------
    pixels : uint8, uint16 or float, (..., 3)
        RGB; floats of 0 to 1, what lies outside counts as the nearer end.
    size : int
        Nodes per axis, 2 to 129.

    Returns
    -------
    int64, (size - 1, size - 1, size - 1)
        Indexed [blue][green][red], as the nodes are.
    """
    cells = size - 1
    peak = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    flat = pixels.reshape(-1, 3)
    counts = np.zeros(cells**3, np.int64)
    for start in range(0, len(flat), _PIXELS_AT_ONCE):
        position = flat[start : start + _PIXELS_AT_ONCE] * (cells / peak)
        cell = np.clip(np.nan_to_num(position), 0, cells - 1).astype(np.int64)
        counts += np.bincount(cell @ np.array([1, cells, cells * cells]), minlength=cells**3)
    return counts.reshape(cells, cells, cells)


def pack_visits(visits: Visits) -> dict[str, Any]:
    """Return which cells were visited as JSON values: ``size``, ``share`` of the cells, ``cells`` as text.

    The text is a bit for each cell, red fastest, deflated, in base 64.
    """
    seen = visits > 0
    bits = zlib.compress(np.packbits(seen).tobytes(), 9)
    return {
        "size": len(visits) + 1,
        "share": round(float(seen.mean()), 6),
        "cells": base64.b64encode(bits).decode("ascii"),
    }


def unpack_visits(packed: Mapping[str, Any]) -> Visits:
    """Return 1 for each cell visited and 0 for the others, int64 as `count_visits`; raises FormatError if malformed."""
    match packed:
        case {"size": int() as size, "cells": str() as text} if 2 <= size <= MAX_CUBE_SIZE:
            wanted = ((size - 1) ** 3 + 7) // 8
            try:
                # One byte more than fits is asked for, so that too long a text is noticed without being inflated.
                data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), wanted + 1)
            except (binascii.Error, ValueError, zlib.error):
                data = b""
            if len(data) == wanted:
                bits = np.unpackbits(np.frombuffer(data, np.uint8), count=(size - 1) ** 3)
                return bits.reshape((size - 1,) * 3).astype(np.int64)
    raise FormatError("the visited cells in the provenance are malformed: make the model anew or leave them out")
