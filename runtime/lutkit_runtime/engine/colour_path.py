"""What of a program for colours runs once for a picture, and what then runs for pixels. Imports the program and the ops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from lutkit_runtime.onnx_network import OnnxNetwork, ResizableNetwork
from lutkit_runtime.ops import (
    Blend,
    ColourOp,
    GridFusion,
    Illuminate,
    Network,
    PixelOp,
    Predictor,
    TableFusion,
)
from lutkit_runtime.ops.network import PlanesOfPictures
from lutkit_runtime.program import Program, Tables

Image = NDArray[Any]
Values = dict[str, Any]

Pictures = Mapping[str, Image]
"""The picture (H, W, 3 or 4) and those beside it, (H, W, channels), by name."""


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
        self._predictors: dict[str, OnnxNetwork] = {
            op.output: op.open(tables, program.count_channels(op.inputs))
            for op in program.ops
            if isinstance(op, Predictor)
        }
        self._networks: dict[str, ResizableNetwork] = {
            op.output: op.open(tables, program.count_channels(op.sources))
            for op in program.ops
            if isinstance(op, Network)
        }

    def predict(self, pictures: Pictures, wanted: Collection[str] | None = None) -> Values:
        """Return what predictors make of a picture, and of those beside it: vectors by name.

        There may be no pictures where the program holds no predictor. `wanted` names what is made; all by default.
        """
        return {
            op.output: op.predict(self._predictors[op.output], *self._gather(pictures, op.inputs))
            for op in self._program.ops
            if isinstance(op, Predictor) and (wanted is None or op.output in wanted)
        }

    def evaluate(self, pictures: Pictures, wanted: Collection[str] | None = None) -> Values:
        """Return vectors, fused tables and grids by name; those that are `wanted`, all by default."""
        values = self.predict(pictures, wanted)
        for op in self._program.ops:
            if isinstance(op, TableFusion | GridFusion) and (wanted is None or op.output in wanted):
                values[op.output] = op.reference(values, self._tables)
        return values

    def prepare_planes(self, op: Network, pictures: Pictures) -> PlanesOfPart:
        """Return what gives a network's planes for a part of the picture; for one thread."""
        return PlanesOfPictures(op, self._networks[op.output], self._gather(pictures, op.sources)).read

    def _gather(self, pictures: Pictures, names: tuple[str, ...]) -> list[Image]:
        """Return pictures without alpha."""
        return [pictures[name][..., : self._program.count_channels((name,))] for name in names]


PlanesOfPart = Callable[[slice, slice, int | None], NDArray[Any]]
"""Returns the planes (h, w, n) of rows and columns of the picture, computed by so many threads."""


def find_wanted(program: Program, ops: Iterable[ColourOp]) -> set[str]:
    """Return the names of what these ops need of a picture before they run: predicted, fused or made by a network."""
    wanted = {name for op in ops for name in (op.output, *op.inputs)}
    for op in reversed(program.ops):
        if op.is_global and op.output in wanted:
            wanted.update(op.inputs)
    return wanted


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
        elif isinstance(op, Blend):
            ops.append(_rename(op, base=names.get(op.base, op.base), changed=names.get(op.changed, op.changed)))
        elif isinstance(op, Illuminate):
            reflectance, illumination = (names.get(name, name) for name in (op.reflectance, op.illumination))
            ops.append(_rename(op, reflectance=reflectance, illumination=illumination))
        elif isinstance(op, PixelOp):
            ops.append(_rename(op, input=names.get(op.input, op.input)))
        elif isinstance(op, Network):
            ops.append(op)
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
