"""Hald pictures: a colour cube whose nodes are the pixels of a square PNG. Imports pictures and the values.

A Hald picture of level L has L**3 x L**3 pixels for L**2 nodes per axis, row by row with red running fastest, then
green, then blue (Eskil Steenberg, "Hald CLUT"). What it holds lies in 0..1 at 8 or 16 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit.colour.lut import ColourLut, Cube, grid
from lutkit.formats.files import read_file
from lutkit_runtime.errors import FormatError, ImageError

MIN_LEVEL, MAX_LEVEL = 2, 11
"""Levels that are read and written: cubes of 4 to 121 nodes per axis."""
MAX_BYTES = 64 << 20
"""More than a PNG file of the highest level takes, metadata included."""

_PEAKS = {8: 255, 16: 65535}
_TYPES = {8: np.uint8, 16: np.uint16}
_START = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class HaldReport:
    """What a Hald picture could not keep of a LUT.

    Attributes
    ----------
    level : int
        That of the picture.
    clipped : int
        Nodes with a channel outside 0..1, which was moved to the nearer end.
    resampled : bool
        Whether the picture's nodes are others than those of the LUT.
    """

    level: int
    clipped: int
    resampled: bool


def read_hald(path: Path | str) -> ColourLut:
    """Read a Hald picture: an RGB or gray PNG of 8 or 16 bits, whose alpha is ignored.

    Raises FormatError where it is another picture, or not square, or its side is no cube of a whole number of 2 to 11.
    """
    from lutkit.images import decode_picture

    data, name = read_file(path, MAX_BYTES), str(path)
    level = _find_level(data, name)
    try:
        pixels = decode_picture(data, name).pixels
    except ImageError as problem:
        raise FormatError(str(problem)) from None
    if pixels.shape[:2] != (level**3, level**3):  # turned by EXIF it stays square
        raise FormatError(f"{name} decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels; the file is damaged")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    values = colours.astype(np.float64) / np.iinfo(pixels.dtype).max
    size = level**2
    lut = ColourLut(None, Cube(values.astype(np.float32).reshape(size, size, size, 3)), Path(path).stem)
    lut.validate()
    return lut


def write_hald(
    lut: ColourLut, path: Path | str, *, bits: int = 16, level: int | None = None, overwrite: bool = False
) -> HaldReport:
    """Write a LUT as a Hald picture in a PNG file, whole or not at all.

    The picture has its nodes at equal distances over 0..1, so a LUT of another domain, with curves or of another size
    is resampled (tetrahedrally); values are clipped to 0..1 and rounded half to even.

    Parameters
    ----------
    lut : ColourLut
    path : Path or str
        Ends in ``.png``.
    bits : 8 or 16
    level : int, optional
        2 to 11; otherwise the lowest with at least as many nodes as the LUT's cube, 8 for curves alone.
    overwrite : bool

    Raises
    ------
    FormatError
        Where the LUT, the level or the depth is impossible, the suffix is another, or the file cannot be written.
    """
    from lutkit.images import Picture, write_picture

    lut.validate()
    if Path(path).suffix.lower() != ".png":
        raise FormatError(f"{path} is no name of a Hald picture: let it end in .png")
    level = choose_level(lut) if level is None else level
    _check(level, bits)
    size = level**2
    exact = lut.curves is None and lut.cube is not None and lut.cube.size == size
    exact = exact and lut.domain == ((0, 0, 0), (1, 1, 1))
    values = lut.cube.values.astype(np.float64) if exact and lut.cube else lut.evaluate(grid(size))
    clipped = int(((values < 0) | (values > 1)).any(axis=-1).sum())
    try:
        write_picture(path, Picture(_to_pixels(values, level, bits)), overwrite)
    except ImageError as problem:
        raise FormatError(str(problem)) from None
    return HaldReport(level, clipped, not exact)


def identity_hald(level: int, bits: int = 8) -> NDArray[Any]:
    """Return the picture that changes nothing: uint8 or uint16, (level**3, level**3, 3).

    Raises FormatError unless the level is 2 to 11 and the depth 8 or 16 bits.
    """
    _check(level, bits)
    return _to_pixels(grid(level**2), level, bits)


def choose_level(lut: ColourLut) -> int:
    """Return the lowest level whose picture has as many nodes per axis as the cube; 8 for curves alone."""
    size = lut.cube.size if lut.cube else 64
    return next((level for level in range(MIN_LEVEL, MAX_LEVEL) if level**2 >= size), MAX_LEVEL)


def describe_lost_domain(low: Sequence[float], high: Sequence[float]) -> str | None:
    """Return a sentence on what a Hald picture loses of a domain, three floats each; None where that is nothing."""
    if min(low) >= 0 and max(high) <= 1:
        return None
    return (
        f"the domain {min(low):g}..{max(high):g} is lost, as a Hald picture takes inputs of 0..1 only and others for the "
        "nearer end; write a .cube file to keep it"
    )


def _to_pixels(values: NDArray[np.float64], level: int, bits: int) -> NDArray[Any]:
    return np.rint(values.clip(0, 1) * _PEAKS[bits]).astype(_TYPES[bits]).reshape(level**3, level**3, 3)


def _check(level: int, bits: int) -> None:
    if not MIN_LEVEL <= level <= MAX_LEVEL:
        raise FormatError(f"a Hald picture of level {level} is asked for; levels {MIN_LEVEL} to {MAX_LEVEL} exist")
    if bits not in _PEAKS:
        raise FormatError(f"a Hald picture of {bits} bits is asked for; 8 and 16 are possible")


def _find_level(data: bytes, name: str) -> int:
    """Return the level that the size in a PNG header stands for; raise FormatError where it stands for none."""
    if data.startswith(b"\xff\xd8\xff"):
        raise FormatError(f"{name} is a JPEG picture, whose losses change every colour: use the original as PNG")
    if not data.startswith(_START) or data[12:16] != b"IHDR" or len(data) < 24:
        raise FormatError(f"{name} is no PNG picture: Hald pictures are read from PNG files")
    width, height = struct.unpack(">II", data[16:24])
    sides = {level**3: level for level in range(MIN_LEVEL, MAX_LEVEL + 1)}
    if width != height or width not in sides:
        raise FormatError(
            f"{name} has {width}x{height} pixels; a Hald picture is square with a side of {', '.join(map(str, sides))}"
        )
    return sides[width]
