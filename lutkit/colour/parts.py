"""The parts of a model of fused tables, and new values for its tables in place. Imports the runtime only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import Blend, ColourLookup, Op, Predictor, TableFusion
from lutkit_runtime.ops.colour_lookup import Cube, Domain
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.program import Program
from lutkit_runtime.table_coding import encode_table


@dataclass(frozen=True)
class Parts:
    """What finetuning needs to know of a program.

    Parameters
    ----------
    predictor : Predictor
    fusion : TableFusion
    cube : Cube
        Over 0 to 1.
    strength : float
        By which the result is mixed with the picture where nobody chooses another.
    """

    predictor: Predictor
    fusion: TableFusion
    cube: Cube
    strength: float


def find_parts(program: Program) -> Parts:
    """Return the parts of a program; raises DataError where it computes anything but what finetuning does."""
    match program.ops:
        case (
            Predictor() as predictor,
            TableFusion() as fusion,
            ColourLookup(curves=None, cube=Cube(fused=True) as cube) as lookup,
            *rest,
        ) if predictor.input == lookup.input == program.input and cube.domain == Domain():
            strength = find_strength(program, lookup.output, rest)
            if strength is not None:
                return Parts(predictor, fusion, cube, strength)
    raise DataError(
        "finetuning knows models that predict weights, fuse tables, look the picture up over 0 to 1 and blend; this one "
        "does something else: finetune the model that it was made of"
    )


def find_strength(program: Program, changed: str, rest: list[Op]) -> float | None:
    """Return how strongly a changed picture is mixed in by default, None where the last ops do something else."""
    match rest:
        case []:
            return 1.0
        case [Blend() as blend] if (blend.base, blend.changed) == (program.input, changed):
            return program.fill_parameters({})[blend.amount]
    return None


def store_tables(
    program: Program, tables: Mapping[str, NDArray[np.float32]], others: Mapping[str, NDArray[Any]]
) -> tuple[Program, dict[str, NDArray[Any]]]:
    """Return a program and its stored tables with new values in its basis tables; all else stays as it is.

    Parameters
    ----------
    program : Program
        Every basis table keeps its storage; offsets and steps follow the values.
    tables : mapping of slot to float32, (n**3, 3)
    others : mapping of slot to array
        What the other slots hold, stored.
    """
    fusion = next(op for op in program.ops if isinstance(op, TableFusion))
    bases: list[BasisTable] = []
    stored = dict(others)
    for basis in fusion.bases:
        coding, stored[basis.slot] = encode_table(tables[basis.slot], basis.coding.storage)
        bases.append(msgspec.structs.replace(basis, coding=coding))
    filled = msgspec.structs.replace(fusion, bases=tuple(bases))
    changed = msgspec.structs.replace(program, ops=tuple(filled if op is fusion else op for op in program.ops))
    changed.validate()
    return changed, stored


def decode_basis(program: Program, tables: Mapping[str, NDArray[Any]], slot: str) -> NDArray[np.float32]:
    """Return the values of a stored basis table."""
    fusion = next(op for op in program.ops if isinstance(op, TableFusion))
    coding = next(basis.coding for basis in fusion.bases if basis.slot == slot)
    return coding.decode(tables[slot])
