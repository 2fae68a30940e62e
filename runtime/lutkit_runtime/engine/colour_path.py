"""What of a program for colours runs once for a picture, and what then runs for pixels. Imports the program and the ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from lutkit_runtime.onnx_network import OnnxNetwork
from lutkit_runtime.ops import (
    BilateralSlice,
    Blend,
    ColourLookup,
    ColourMatrix,
    ColourOp,
    GridFusion,
    Predictor,
    TableFusion,
)
from lutkit_runtime.program import Program, Tables

Image = NDArray[Any]
Values = dict[str, Any]


class GlobalOps:
    """The ops that see the whole picture, with their networks.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to table
    """

    def __init__(self, program: Program, tables: Tables) -> None:
        self._program = program
        self._tables = tables
        self._networks: dict[str, OnnxNetwork] = {
            op.output: op.open(tables) for op in program.ops if isinstance(op, Predictor)
        }

    def predict(self, image: Image | None) -> Values:
        """Return what the networks make of a picture (H, W, 3 or 4): vectors by name.

        The picture may be missing where the program holds no network.
        """
        values: Values = {}
        for op in self._program.ops:
            if isinstance(op, Predictor):
                assert image is not None
                values[op.output] = op.predict(self._networks[op.output], image[..., :3])
        return values

    def evaluate(self, image: Image) -> Values:
        """Return vectors, fused tables and grids by name."""
        values = self.predict(image)
        for op in self._program.ops:
            if isinstance(op, TableFusion | GridFusion):
                values[op.output] = op.reference(values, self._tables)
        return values


def trace_colours(program: Program, parameters: Mapping[str, float]) -> tuple[list[ColourOp], str]:
    """Return the ops for pixels that the result needs, and the value that leaves the program.

    A blend with amount 1 is what it blends in, so that the lookup before it may be the last op and finish in its own
    arithmetic; one with amount 0 is what it started from.
    """
    names: dict[str, str] = {}
    ops: list[ColourOp] = []
    for op in program.ops:
        if isinstance(op, Blend) and parameters[op.amount] in (0, 1):
            kept_input = op.changed if parameters[op.amount] else op.base
            names[op.output] = names.get(kept_input, kept_input)
        elif isinstance(op, ColourLookup | ColourMatrix | BilateralSlice):
            ops.append(_rename(op, input=names.get(op.input, op.input)))
        elif isinstance(op, Blend):
            ops.append(_rename(op, base=names.get(op.base, op.base), changed=names.get(op.changed, op.changed)))
    leaving = names.get(program.output, program.output)
    needed = {leaving}
    kept: list[ColourOp] = []
    for op in reversed(ops):
        if op.output in needed:
            needed.update(op.inputs)
            kept.insert(0, op)
    return kept, leaving


def _rename(op: Any, **names: str) -> Any:
    return msgspec.structs.replace(op, **names)
