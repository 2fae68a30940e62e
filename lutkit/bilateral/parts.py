"""The parts of a program that slices a bilateral grid, and new values for its tables in place.

Imports the runtime, and what programs of fused tables have in common with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit.colour.parts import find_strength
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import BilateralSlice, GridFusion, Op, Predictor
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage, TableCoding, encode_table

Values = Mapping[str, NDArray[np.float32]]
"""Decoded tables: ``columns``, ``mix``, ``curves`` and ``result``."""


@dataclass(frozen=True)
class Parts:
    """What finetuning needs to know of a program.

    Parameters
    ----------
    predictor : Predictor
    fusion : GridFusion
    slice : BilateralSlice
    strength : float
        By which the result is mixed with the picture where nobody chooses another.
    """

    predictor: Predictor
    fusion: GridFusion
    slice: BilateralSlice
    strength: float

    @property
    def codings(self) -> dict[str, TableCoding]:
        """How each table is stored, by the name of its values."""
        guide = self.slice.guide
        return {
            "columns": self.fusion.coding,
            "mix": TableCoding(),
            "curves": guide.curves.coding,
            "result": guide.result.coding,
        }

    @property
    def slots(self) -> dict[str, str]:
        """Slot of each table, by the name of its values."""
        guide = self.slice.guide
        return {
            "columns": self.fusion.slot,
            "mix": guide.mix,
            "curves": guide.curves.slot,
            "result": guide.result.slot,
        }

    @property
    def storages(self) -> dict[str, Storage]:
        """Type of each table, by the name of its values."""
        return {name: coding.storage for name, coding in self.codings.items()}

    def decode(self, tables: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Return the values of stored tables."""
        return {name: coding.decode(tables[self.slots[name]]) for name, coding in self.codings.items()}


def find_parts(program: Program) -> Parts:
    """Return the parts of a program; raises DataError where it computes anything but what finetuning does."""
    match program.ops:
        case (Predictor() as predictor, GridFusion() as fusion, BilateralSlice() as sliced, *rest) if (
            predictor.input == sliced.input == program.input
        ):
            strength = find_strength(program, sliced.output, rest)
            if strength is not None:
                return Parts(predictor, fusion, sliced, strength)
    raise DataError(
        "finetuning knows models that predict a bilateral grid, slice it and blend; this one does something else: "
        "finetune the model that it was made of"
    )


def store_values(
    program: Program, values: Values, others: Mapping[str, NDArray[Any]]
) -> tuple[Program, dict[str, NDArray[Any]]]:
    """Return a program and its stored tables with new values; all else stays as it is.

    Parameters
    ----------
    program : Program
        Every table keeps its storage; offsets and steps follow the values.
    values : mapping
    others : mapping of slot to array
        What the other slots hold, stored.
    """
    parts = find_parts(program)
    stored = dict(others)
    codings: dict[str, TableCoding] = {}
    for name, storage in parts.storages.items():
        codings[name], stored[parts.slots[name]] = encode_table(values[name], storage)
    guide = parts.slice.guide
    curves = msgspec.structs.replace(guide.curves, coding=codings["curves"])
    result = msgspec.structs.replace(guide.result, coding=codings["result"])
    changes: dict[Op, Op] = {
        parts.fusion: msgspec.structs.replace(parts.fusion, coding=codings["columns"]),
        parts.slice: msgspec.structs.replace(
            parts.slice, guide=msgspec.structs.replace(guide, curves=curves, result=result)
        ),
    }
    changed = msgspec.structs.replace(program, ops=tuple(changes.get(op, op) for op in program.ops))
    changed.validate()
    return changed, stored
