"""Write colour LUTs as .cube files that every reader of the dialect takes. Imports NumPy and the values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lutkit.colour.lut import CHANNELS, ONES, ZEROS, ColourLut, Cube, Curves, Float32
from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.errors import FormatError
from lutkit_runtime.table_coding import LARGEST_VALUE

MAX_TITLE = 200
"""Characters of a title that are written; the specification allows a line 250."""
_ROWS_AT_ONCE = 4096


def write_cube(lut: ColourLut, path: Path | str, *, overwrite: bool = False) -> None:
    """Write a colour LUT as a .cube file, whole or not at all; reading it gives the same float32 values.

    Raises FormatError where the LUT is invalid or the format cannot hold it, a file exists and `overwrite` is not set,
    or the system refuses.
    """
    write_atomically(path, encode_cube(lut), overwrite=overwrite, error=FormatError)


def encode_cube(lut: ColourLut) -> bytes:
    """Return the bytes of a .cube file: unclipped values with 9 digits, which is float32 without loss, line feeds.

    Curves or a cube alone are written as Iridas and Adobe do, with DOMAIN lines unless the domain is 0..1; both
    together as Resolve does, with the range of each.

    Raises
    ------
    FormatError
        Where the LUT is invalid, has values that no model takes, or has curves and a cube and one of them a domain
        that differs between channels.
    """
    lut.validate()
    lines = [f'TITLE "{title}"'] if (title := _tidy_title(lut.title)) else []
    tables: list[Float32] = []
    alone = not (lut.curves and lut.cube)
    for keyword, part in (("LUT_1D", lut.curves), ("LUT_3D", lut.cube)):
        if part is not None:
            lines.append(f"{keyword}_SIZE {part.size}")
            lines += _say_domain(part) if alone else _say_range(keyword, part)
            if np.abs(part.values).max() > np.float32(LARGEST_VALUE):
                raise FormatError(
                    f"a colour LUT has values beyond {LARGEST_VALUE:g}, which no model takes: scale it down"
                )
            tables.append(part.values.reshape(-1, 3))
    return "\n".join([*lines, ""]).encode() + b"".join(map(_encode_rows, tables))


def _tidy_title(title: str) -> str:
    """Return a title that can stand between double quotes on one line."""
    tidy = "".join(each if each.isprintable() else " " for each in title.replace('"', "'"))
    return " ".join(tidy.encode("utf-8", "replace").decode()[:MAX_TITLE].split())


def _say_domain(part: Curves | Cube) -> list[str]:
    """Return the DOMAIN lines of a table that stands alone."""
    if (tuple(part.low), tuple(part.high)) == (ZEROS, ONES):
        return []
    ends = {"DOMAIN_MIN": part.low, "DOMAIN_MAX": part.high}
    return [f"{keyword} {' '.join(map(_say_number, values))}" for keyword, values in ends.items()]


def _say_range(keyword: str, part: Curves | Cube) -> list[str]:
    """Return the INPUT_RANGE line of one of two tables."""
    if len(set(part.low)) > 1 or len(set(part.high)) > 1:
        spans = (f"{name} {low:g}..{high:g}" for name, low, high in zip(CHANNELS, part.low, part.high, strict=True))
        raise FormatError(
            f"a .cube file with curves and a cube has one input range for all channels, but here they are "
            f"{', '.join(spans)}: write a Hald picture, or a LUT with a cube only"
        )
    return [f"{keyword}_INPUT_RANGE {_say_number(part.low[0])} {_say_number(part.high[0])}"]


def _say_number(number: float) -> str:
    """Return a float64 with as many digits as it takes to read it back."""
    return repr(float(number))


def _encode_rows(rows: Float32) -> bytes:
    """Return rows as lines of three numbers."""
    pieces: list[bytes] = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = rows[start : start + _ROWS_AT_ONCE].astype(np.float64)
        text = ("%.9g %.9g %.9g\n" * len(block)) % tuple(block.ravel().tolist())
        pieces.append(text.encode("ascii"))
    return b"".join(pieces)
