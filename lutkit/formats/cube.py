"""Read colour LUTs from .cube files, in the dialects of Iridas and Adobe and of Resolve. Imports NumPy and the values.

The text is what others made, hostile perhaps: nothing is allocated that the file's own size does not warrant, and
whatever is not understood is refused with the line where it stands.

Adobe, "Cube LUT Specification", version 1.0, 2013. Resolve's dialect, as in Blackmagic Design's text on its LUTs, may
hold a 1-D LUT, the shaper, and a 3-D LUT in one file, and gives one input range for all channels.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from lutkit.colour.lut import ColourLut, Cube, Curves, Float32
from lutkit.formats.cube_header import (
    KEYWORDS,
    MAX_HEADER_BYTES,
    MAX_NUMBER,
    MAX_TOKEN,
    Layout,
    check_encoding,
    plan_tables,
    read_header,
    read_number,
    refuse,
    show,
)
from lutkit.formats.files import read_file
from lutkit_runtime.errors import FormatError

MAX_BYTES = 256 << 20
"""No file has more: 129 cubed rows with 120 bytes each."""
BYTES_PER_ROW = 256
"""Digits, blanks and comments that a row may take on average."""

_BLOCK = 1 << 16  # bytes of text that are Python objects at a time
_ROW_BYTES = 6  # "0 0 0" and a line end: no row is shorter
_NUMERIC_BYTES = b"0123456789+-.eE \t\n"


def read_cube(path: Path | str) -> ColourLut:
    """Read a .cube file; raises FormatError, with line and cause, where it is not complete and unambiguous."""
    return decode_cube(read_file(path, MAX_BYTES), str(path))


def decode_cube(data: bytes, name: str) -> ColourLut:
    """Return the colour LUT that the bytes of a .cube file hold; `name` stands for the file in messages.

    Keywords may be in lower case, line ends those of any system, and titles in UTF-8 or Latin-1. Values outside 0..1
    are kept. A file with `LUT_3D_SIZE` whose only range line is `LUT_1D_INPUT_RANGE` means the range of its cube.

    Raises
    ------
    FormatError
        With the line and the cause.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{name}: {len(data)} bytes are more than the {MAX_BYTES} of the largest LUT")
    text = check_encoding(data, name)
    header, place, line = read_header(text, name)
    layout = plan_tables(header, line, name)
    _check_length(text, place, line, layout, name)
    rows = _read_rows(text, place, line, layout, name)
    curves = cube = None
    if layout.curves:
        curves = Curves(rows[: layout.curves.size], layout.curves.low, layout.curves.high)
    if layout.cube:
        size = layout.cube.size
        nodes = rows[len(rows) - size**3 :].reshape(size, size, size, 3)
        cube = Cube(nodes, layout.cube.low, layout.cube.high)
    lut = ColourLut(curves, cube, header.title)
    lut.validate()
    return lut


def _check_length(text: bytes, place: int, line: int, layout: Layout, name: str) -> None:
    """Raise FormatError where the rest of the file can't hold the rows, or is much longer than they are."""
    left = len(text) - place
    if left + 1 < layout.rows * _ROW_BYTES:
        cause = f"{layout.demand} rows, but only {max(left, 0)} bytes follow; the file is cut short or damaged"
        raise refuse(name, line, cause)
    if left > MAX_HEADER_BYTES + layout.rows * BYTES_PER_ROW:
        raise refuse(name, line, f"{layout.demand} rows, but {left} bytes follow; the file is damaged")


def _read_rows(text: bytes, place: int, line: int, layout: Layout, name: str) -> Float32:
    """Return all rows, float32 (rows, 3)."""
    rows = np.empty((layout.rows, 3), np.float32)
    filled = 0
    while place < len(text):
        end = text.rfind(b"\n", place, place + _BLOCK)
        if end < 0:
            end = text.find(b"\n", place + _BLOCK)
        end = len(text) if end < 0 else end
        block = text[place:end]
        values = _read_block(block)
        if values is None or len(values) > layout.rows - filled:
            values = _read_lines(block, line, layout, filled, name)
        rows[filled : filled + len(values)] = values
        filled += len(values)
        place, line = end + 1, line + block.count(b"\n") + 1
    if filled < layout.rows:
        last = line - 1
        raise refuse(name, last, f"the file ends after {filled} rows; {layout.demand}: it is cut short or damaged")
    return rows


def _read_block(block: bytes) -> Float32 | None:
    """Return the rows of lines that are blank or hold three good numbers each, quickly; None where others are there."""
    if block.translate(None, _NUMERIC_BYTES):
        return None
    lines = [line.split() for line in block.split(b"\n")]
    if not set(map(len, lines)) <= {0, 3}:
        return None
    tokens = list(chain.from_iterable(lines))
    if tokens and len(max(tokens, key=len)) > MAX_TOKEN:
        return None
    try:
        # Of what these characters can form, Python reads decimal numbers only.
        values = np.array(list(map(float, tokens)), np.float64)
    except ValueError:
        return None
    if values.size and np.abs(values).max() > MAX_NUMBER:
        return None
    return values.astype(np.float32).reshape(-1, 3)


def _read_lines(block: bytes, line: int, layout: Layout, filled: int, name: str) -> list[tuple[float, ...]]:
    """Return the rows of lines, or raise FormatError for the first that is neither row nor comment, or too many."""
    rows: list[tuple[float, ...]] = []
    for number, each in enumerate(block.split(b"\n"), line):
        content = each.strip(b" \t")
        if not content or content.startswith(b"#"):
            continue
        if any(byte < 32 and byte != 9 for byte in content[:4096]):
            raise refuse(name, number, "there is a control character; the file is damaged or binary")
        tokens = content.split(maxsplit=4)
        if tokens[0][:MAX_TOKEN].decode("ascii", "replace").upper() in KEYWORDS:
            raise refuse(name, number, f"{show(tokens[0])} after the first value; keywords come before all values")
        values = tuple(read_number(token, name, number) for token in tokens[:4])
        if len(tokens) != 3:
            count = {1: "1 value", 2: "2 values"}.get(len(tokens), "more than 3 values")
            raise refuse(name, number, f"the row has {count}; it takes 3")
        if filled + len(rows) == layout.rows:
            raise refuse(name, number, f"row {layout.rows + 1} is one too many; {layout.demand} rows")
        rows.append(values)
    return rows
