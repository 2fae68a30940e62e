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
from lutkit_runtime.ops import BilateralSlice, GridFusion, Illuminate, Op, Predictor
from lutkit_runtime.ops.bilateral_slice import Guide
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import Storage, TableCoding, encode_table

Values = Mapping[str, NDArray[np.float32]]
"""Decoded tables: ``columns``, for some ``illumination``, ``mix``, ``curves`` and ``result``."""


@dataclass(frozen=True)
class Parts:
    """What finetuning needs to know of a program.

    Parameters
    ----------
    predictor : Predictor
    fusions : mapping of name to GridFusion
        By the name of the values of its columns: ``columns``, and of programs that light a picture ``illumination``.
    slices : tuple of BilateralSlice
        One for each fusion, all with one guide.
    strength : float
        By which the result is mixed with the picture where nobody chooses another.
    gamma : float or None
        Power of the illumination where nobody chooses another; None where the program has none.
    """

    predictor: Predictor
    fusions: Mapping[str, GridFusion]
    slices: tuple[BilateralSlice, ...]
    strength: float
    gamma: float | None = None

    @property
    def fusion(self) -> GridFusion:
        """The first fusion: all of them are of one shape."""
        return self.fusions["columns"]

    @property
    def guide(self) -> Guide:
        """The guide of all slices."""
        return self.slices[0].guide

    @property
    def codings(self) -> dict[str, TableCoding]:
        """How each table is stored, by the name of its values."""
        guide = self.guide
        return {
            **{name: fusion.coding for name, fusion in self.fusions.items()},
            "mix": TableCoding(),
            "curves": guide.curves.coding,
            "result": guide.result.coding,
        }

    @property
    def slots(self) -> dict[str, str]:
        """Slot of each table, by the name of its values."""
        guide = self.guide
        return {
            **{name: fusion.slot for name, fusion in self.fusions.items()},
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
                return Parts(predictor, {"columns": fusion}, (sliced,), strength)
        case (
            Predictor() as predictor,
            GridFusion() as reflectance,
            GridFusion() as illumination,
            BilateralSlice() as first,
            BilateralSlice() as second,
            Illuminate(is_root=True) as lit,
            *rest,
        ) if (
            predictor.input == first.input == second.input == program.input
            and first.guide == second.guide
            and (first.grid, second.grid) == (reflectance.output, illumination.output)
            and (first.output, second.output) == (lit.reflectance, lit.illumination)
        ):
            strength = find_strength(program, lit.output, rest)
            gamma = next((each.default for each in program.parameters if each.name == lit.gamma), None)
            if strength is not None:
                fusions = {"columns": reflectance, "illumination": illumination}
                return Parts(predictor, fusions, (first, second), strength, gamma)
    raise DataError(
        "finetuning knows models that predict bilateral grids, slice them and blend; this one does something else: "
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
    curves = msgspec.structs.replace(parts.guide.curves, coding=codings["curves"])
    result = msgspec.structs.replace(parts.guide.result, coding=codings["result"])
    guide = msgspec.structs.replace(parts.guide, curves=curves, result=result)
    changes: dict[Op, Op] = {
        **{each: msgspec.structs.replace(each, coding=codings[name]) for name, each in parts.fusions.items()},
        **{each: msgspec.structs.replace(each, guide=guide) for each in parts.slices},
    }
    changed = msgspec.structs.replace(program, ops=tuple(changes.get(op, op) for op in program.ops))
    changed.validate()
    return changed, stored
