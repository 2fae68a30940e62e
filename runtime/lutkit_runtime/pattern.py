"""Index patterns: which samples around a pixel index a table. Floor 1: imports only errors."""

from __future__ import annotations

import msgspec

from lutkit_runtime.errors import ProgramError

Offset = tuple[int, int]

MAX_SAMPLES = 4
MAX_REACH = 64


class IndexPattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The samples that index one table, as integer offsets from the anchor pixel.

    Parameters
    ----------
    offsets : tuple of (row, column)
        One to four offsets in index order (the first is the slowest axis of the table). Rows grow downwards,
        columns to the right. Any sign; repeated offsets are allowed.
    """

    offsets: tuple[Offset, ...]

    def validate(self) -> None:
        """Raise ProgramError unless there are 1 to 4 offsets within 64 pixels."""
        if not 1 <= len(self.offsets) <= MAX_SAMPLES:
            raise ProgramError(
                f"index pattern has {len(self.offsets)} samples; a table is indexed by 1 to {MAX_SAMPLES}"
            )
        if self.reach > MAX_REACH:
            raise ProgramError(f"index pattern reaches {self.reach} pixels; at most {MAX_REACH} are allowed")

    @property
    def samples(self) -> int:
        """Number of samples, which is the number of axes of the table."""
        return len(self.offsets)

    @property
    def reach(self) -> int:
        """Largest distance in rows or columns of any sample under any rotation, in pixels."""
        return max((max(abs(row), abs(column)) for row, column in self.offsets), default=0)

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels needed outside the plane: ((top, bottom), (left, right)), each at least 0."""
        rows = [row for row, _ in self.offsets]
        columns = [column for _, column in self.offsets]
        return (max(0, -min(rows)), max(0, max(rows))), (max(0, -min(columns)), max(0, max(columns)))

    def rotated(self, turns: int) -> IndexPattern:
        """Return the offsets that see in the unrotated plane what this pattern sees after `turns` of ``rot90``.

        Looking up in ``rot90(plane, turns)`` and turning the result back equals looking up in the plane with offsets
        turned by (row, column) -> (column, -row), `turns` times, and the output block turned back.
        """
        offsets = self.offsets
        for _ in range(turns % 4):
            offsets = tuple((column, -row) for row, column in offsets)
        return IndexPattern(offsets)


NAMED_PATTERNS: dict[str, IndexPattern] = {
    # yhjo09/SR-LUT (Jo and Kim, CVPR 2021, section 3.2) and ddlee-cn/MuLUT (Li et al., ECCV 2022, section 3.2)
    "s": IndexPattern(((0, 0), (0, 1), (1, 0), (1, 1))),
    "d": IndexPattern(((0, 0), (0, 2), (2, 0), (2, 2))),
    "y": IndexPattern(((0, 0), (1, 1), (1, 2), (2, 1))),
    "e": IndexPattern(((0, 0), (0, 3), (3, 0), (3, 3))),
    "h": IndexPattern(((0, 0), (2, 2), (2, 3), (3, 2))),
    "o": IndexPattern(((0, 0), (2, 2), (1, 3), (3, 1))),
    "f": IndexPattern(((0, 0), (0, 1), (0, 2))),
    "v": IndexPattern(((0, 0), (0, 1))),
}
"""Patterns that publications name; a pattern of its own needs no name."""
