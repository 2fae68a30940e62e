"""The text of .cube files: encoding, keywords, numbers, and which tables they announce. Imports NumPy and the values."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lutkit.colour.lut import MAX_CUBE_SIZE, MAX_CURVE_SIZE, ONES, ZEROS, Triple, check_domain
from lutkit_runtime.errors import FormatError
from lutkit_runtime.table_coding import LARGEST_VALUE

MAX_HEADER_BYTES = 1 << 20
"""Where values must have begun; also what comments may add to a table."""
MAX_TOKEN = 64
"""Characters of one number."""
MAX_NUMBER = float(f"{np.float32(LARGEST_VALUE):.9g}")
"""The largest value that models take, as float32 in as many digits as tell it apart: rounded up, yet rounding to it."""
MAX_TITLE = 250
"""Characters of a title that are kept: what the specification allows a line."""

_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(rb"[+-]?(?:nan|inf|infinity|[0-9]+\.?[0-9]*#.*)(?:\(.*\))?", re.IGNORECASE)
_SIZES = {"LUT_1D_SIZE": MAX_CURVE_SIZE, "LUT_3D_SIZE": MAX_CUBE_SIZE}
_NUMBERS = {"DOMAIN_MIN": 3, "DOMAIN_MAX": 3, "LUT_1D_INPUT_RANGE": 2, "LUT_3D_INPUT_RANGE": 2}

KEYWORDS = ("TITLE", *_SIZES, *_NUMBERS)
"""Every keyword that is understood."""


@dataclass(frozen=True)
class _Entry:
    """A keyword's numbers and where it stands."""

    line: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Header:
    """Keywords of a file, and the title that goes with them."""

    title: str
    entries: dict[str, _Entry]


@dataclass(frozen=True)
class Table:
    """A table that a header announces."""

    size: int
    low: Triple
    high: Triple


@dataclass(frozen=True)
class Layout:
    """The tables of a file, in the order of their rows."""

    curves: Table | None
    cube: Table | None

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return (self.curves.size if self.curves else 0) + (self.cube.size**3 if self.cube else 0)

    @property
    def demand(self) -> str:
        """Which lines ask for so many rows."""
        curves = f"LUT_1D_SIZE {self.curves.size}" if self.curves else ""
        cube = f"LUT_3D_SIZE {self.cube.size}" if self.cube else ""
        return " with ".join(filter(None, (curves, cube))) + f" needs {self.rows}"


def refuse(name: str, line: int, cause: str) -> FormatError:
    """Return the error that names the file, the line and the cause."""
    return FormatError(f"{name}, line {line}: {cause}")


def show(text: bytes) -> str:
    """Return a little of what a file holds, such that it can be shown anywhere."""
    shown = repr(text[:49])[2:-1]
    return f"'{shown}'" if len(shown) <= 48 and len(text) < 49 else f"'{shown[:45]}...'"


def check_encoding(data: bytes, name: str) -> bytes:
    """Return the text without byte order mark and with line ends of one kind; raise FormatError where it is no text."""
    if not data or data.isspace():
        raise FormatError(f"{name} is empty: get a new copy of it")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FormatError(f"{name} is text in UTF-16: save it as UTF-8 or ASCII")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    nothing = data.find(b"\0")
    if nothing >= 0:
        line = data.count(b"\n", 0, nothing) + 1
        raise refuse(name, line, "there is a NUL byte, so this is a binary file or text in UTF-16; save it as UTF-8")
    return data


def read_header(text: bytes, name: str) -> tuple[Header, int, int]:
    """Return the header, and the place and the number of the line after it."""
    title: _Entry | None = None
    shown_title = ""
    entries: dict[str, _Entry] = {}
    place, line = 0, 1
    while place < len(text):
        if place > MAX_HEADER_BYTES:
            raise refuse(name, line, f"no values within the first {MAX_HEADER_BYTES} bytes; shorten the comments")
        end = text.find(b"\n", place)
        end = len(text) if end < 0 else end
        content = text[place:end].strip()
        if content and not content.startswith(b"#"):
            word, _, rest = content.replace(b"\t", b" ").partition(b" ")
            if not (word[:1].isalpha() or word[:1] == b"_") or _NOT_FINITE.fullmatch(word):
                break
            keyword = word[:MAX_TOKEN].decode("ascii", "replace").upper()
            if keyword not in KEYWORDS:
                raise refuse(name, line, f"unknown keyword {show(word)}; the known ones are {', '.join(KEYWORDS)}")
            earlier = title if keyword == "TITLE" else entries.get(keyword)
            if earlier:
                raise refuse(name, line, f"{keyword} stands in line {earlier.line} already; keep one of them")
            if keyword == "TITLE":
                title, shown_title = _Entry(line, ()), _tidy_title(rest)
            else:
                entries[keyword] = _Entry(line, _read_numbers(keyword, rest, name, line))
        place, line = end + 1, line + 1
    return Header(shown_title, entries), place, line


def _tidy_title(text: bytes) -> str:
    """Return a title without its quotes, with nothing that steers a terminal, in a length one can show."""
    text = text.strip()
    try:
        title = text.decode("utf-8")
    except UnicodeDecodeError:
        title = text.decode("latin-1")
    if title.startswith('"'):
        title = title[1:].removesuffix('"')
    return "".join(each if each.isprintable() else " " for each in title[:MAX_TITLE]).strip()


def _read_numbers(keyword: str, text: bytes, name: str, line: int) -> tuple[float, ...]:
    """Return the numbers after a keyword."""
    tokens = text.split(maxsplit=4)
    wanted = _NUMBERS.get(keyword, 1)
    if len(tokens) != wanted:
        what = f"{len(tokens)} values" if len(tokens) <= 4 else "more than 4 values"
        raise refuse(name, line, f"{keyword} has {what}; it takes {wanted}")
    if keyword not in _SIZES:
        return tuple(read_number(token, name, line) for token in tokens)
    (token,) = tokens
    limit = _SIZES[keyword]
    if not re.fullmatch(rb"[0-9]{1,9}", token) or not 2 <= int(token) <= limit:
        raise refuse(name, line, f"{keyword} is {show(token)}; it is a whole number from 2 to {limit}")
    return (int(token),)


def read_number(token: bytes, name: str, line: int) -> float:
    """Return one number that models can take."""
    if len(token) > MAX_TOKEN:
        raise refuse(name, line, f"{show(token)} has {len(token)} characters; numbers have at most {MAX_TOKEN}")
    if _NUMBER.fullmatch(token):
        number = float(token)
        if abs(number) <= MAX_NUMBER:
            return number
        raise refuse(name, line, f"{show(token)} is too large; values go from {-LARGEST_VALUE:g} to {LARGEST_VALUE:g}")
    if _NOT_FINITE.fullmatch(token):
        raise refuse(name, line, f"{show(token)} is not finite; replace it by a number")
    comma = "; write decimals with a point" if b"," in token else ""
    raise refuse(name, line, f"{show(token)} is no decimal number{comma}")


def plan_tables(header: Header, line: int, name: str) -> Layout:
    """Return which tables the file holds over which domains; raise FormatError where the keywords disagree."""
    entries = header.entries
    shaper, size = entries.get("LUT_1D_SIZE"), entries.get("LUT_3D_SIZE")
    if not shaper and not size:
        raise refuse(name, line, "no line LUT_1D_SIZE or LUT_3D_SIZE before this; it is no complete .cube file")
    curve_range, cube_range = entries.get("LUT_1D_INPUT_RANGE"), entries.get("LUT_3D_INPUT_RANGE")
    domain = entries.get("DOMAIN_MIN") or entries.get("DOMAIN_MAX")
    if domain and (curve_range or cube_range):
        raise refuse(name, domain.line, "DOMAIN_MIN or DOMAIN_MAX beside an INPUT_RANGE; keep one kind of line")
    if domain and shaper and size:
        raise refuse(name, domain.line, "DOMAIN_MIN or DOMAIN_MAX fits no file with two tables; use INPUT_RANGE lines")
    if cube_range and not size:
        raise refuse(name, cube_range.line, "LUT_3D_INPUT_RANGE without LUT_3D_SIZE; remove it")
    if curve_range and not shaper:
        if cube_range:
            raise refuse(name, curve_range.line, "LUT_1D_INPUT_RANGE without LUT_1D_SIZE; remove it")
        cube_range = curve_range
    return Layout(
        _plan_table(shaper, curve_range, entries, name) if shaper else None,
        _plan_table(size, cube_range, entries, name) if size else None,
    )


def _plan_table(size: _Entry, span: _Entry | None, entries: dict[str, _Entry], name: str) -> Table:
    """Return a table over the domain that its INPUT_RANGE or else the DOMAIN lines give."""
    if span:
        ends = [(end, end, end) for end in span.values]
        line = span.line
    else:
        pair = (entries.get("DOMAIN_MIN"), entries.get("DOMAIN_MAX"))
        ends = [entry.values if entry else usual for entry, usual in zip(pair, (ZEROS, ONES), strict=True)]
        line = max(entry.line for entry in (size, *pair) if entry)
    (low_red, low_green, low_blue), (high_red, high_green, high_blue) = ends
    low, high = (low_red, low_green, low_blue), (high_red, high_green, high_blue)
    check_domain(f"{name}, line {line}", low, high)
    return Table(int(size.values[0]), low, high)
