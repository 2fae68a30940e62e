"""How the entries of a colour table are stored: as they are, or as integers of a linear scale. Floor 1: imports errors."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError

LARGEST_VALUE = 1e30
"""Of a node, either way: sums of products with it stay finite in float32."""


class Storage(enum.Enum):
    """Type of stored entries."""

    FLOAT32 = "float32"
    INT16 = "int16"
    INT8 = "int8"


class TableCoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stored entries to values: value = offset + step * code, computed in float64 and rounded to float32.

    Parameters
    ----------
    storage : Storage
        With FLOAT32 the entries are the values, and offset and step are not used.
    offset, step : float
        In units of the values.
    """

    storage: Storage = Storage.FLOAT32
    offset: float = 0.0
    step: float = 1.0

    def validate(self, owner: str) -> None:
        """Raise ProgramError, naming `owner`, unless the step is positive and every code means a number in bounds."""
        reach = abs(self.offset) + 32768 * self.step
        if not self.step > 0 or not reach <= LARGEST_VALUE:
            raise ProgramError(
                f"{owner} codes its entries by offset {self.offset} and step {self.step}; a step above 0 and values of "
                f"at most {LARGEST_VALUE:g} are needed"
            )

    def decode(self, entries: NDArray[Any]) -> NDArray[np.float32]:
        """Return the values of stored entries, float32 of the same shape."""
        if self.storage is Storage.FLOAT32:
            return np.asarray(entries, np.float32)
        return (self.offset + self.step * entries.astype(np.float64)).astype(np.float32)


def encode_table(values: NDArray[np.float32], storage: Storage) -> tuple[TableCoding, NDArray[Any]]:
    """Return the coding that spreads the range of a table over all integers of a type, and the stored entries.

    The largest error is half a step: the range divided by 131 070 for int16, by 510 for int8.
    """
    if storage is Storage.FLOAT32:
        return TableCoding(), np.ascontiguousarray(values, np.float32)
    limits = np.iinfo(storage.value)
    low, high = float(values.min()), float(values.max())
    step = (high - low) / (limits.max - limits.min) or 1.0
    offset = low - step * limits.min
    codes = np.rint((values.astype(np.float64) - offset) / step).clip(limits.min, limits.max)
    return TableCoding(storage, offset, step), codes.astype(storage.value)
