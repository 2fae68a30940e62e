"""Rows of a benchmark as a table for people. Imports `rows` only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from lutkit.benchmark.rows import Row

COLUMNS = ("threads", "ms", "quartiles", "MP/s", "roofline", "x lutkit", "max off", "identical")


def format_table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table: a block for every case, its title above the engines."""
    if not rows:
        return []
    cells = [_list_cells(row) for row in rows]
    first = max(len(text) for row in rows for text in (row["case"], _name(row)))
    widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
    lines: list[str] = []
    for case, block in groupby(zip(rows, cells, strict=True), lambda pair: pair[0]["case"]):
        if lines:
            lines.append("")
        lines.append(_align(case, COLUMNS, first, widths))
        for row, columns in block:
            line = _align(_name(row), columns, first, widths)
            lines.append(f"{line}  {row['note']}".rstrip())
    return lines


def _name(row: Row) -> str:
    return f"  {row['engine']} {row['model']}".rstrip()


def _align(name: str, columns: Iterable[str], first: int, widths: Sequence[int]) -> str:
    return "  ".join([name.ljust(first), *(text.rjust(width) for text, width in zip(columns, widths, strict=True))])


def _list_cells(row: Row) -> tuple[str, ...]:
    roofline, ratio = row["roofline_percent"], row["times_lutkit"]
    off, identical = row["max_difference"], row["identical"]
    return (
        str(row["threads"]),
        f"{row['milliseconds']:.2f}",
        f"{row['first_quartile']:.2f}-{row['third_quartile']:.2f}",
        f"{row['megapixels_per_second']:.2f}",
        "-" if roofline is None else f"{roofline:.1f}%",
        "-" if ratio is None else f"{ratio:.2f}",
        "-" if off is None else f"{off:.3g}",
        "-" if identical is None else f"{100 * identical:.2f}%",
    )
