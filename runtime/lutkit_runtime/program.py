"""Program: ops over named planes, with slots for tables. Floor 5: imports ops and the primitives.

A program is what an artefact stores: with its tables it runs on any image, without the family that built it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops import Lookup, Op
from lutkit_runtime.ops.ensemble import Ensemble, body_extent
from lutkit_runtime.planes import LARGEST_CODE, Plane, follow_planes
from lutkit_runtime.quantiser import Quantiser

MAX_SCALE = 16

Tables = Mapping[str, NDArray[np.int8]]
"""Slot name to table, each (entries, outputs) int8."""


class Colour(enum.Enum):
    """What the channels of an image are to the program."""

    EACH_CHANNEL = "each-channel"
    """Every colour channel goes through the program by itself; gray images have one."""


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named place for a function of a few samples: shape of its table.

    Parameters
    ----------
    entries, outputs : int
        Rows and columns of the table.
    quantiser : Quantiser
        How real outputs become entries.
    """

    entries: int
    outputs: int
    quantiser: Quantiser = Quantiser()


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A skeleton of ops whose slots are filled by networks, parameters or tables.

    Parameters
    ----------
    family : str
        Name of the family that built it; running it does not need the family.
    task : str
        What it does, for people: ``sr``, ``denoise``, ``deblock``.
    input, output : str
        Names of the plane that enters and of the one that leaves.
    ops : tuple of ops
    depth : int
        Bits of a sample code; images of other depths are converted in and back.
    colour : Colour
    colour_space : str
        Encoding of the samples that the tables were made for.
    """

    family: str
    task: str
    ops: tuple[Op, ...]
    input: str = "image"
    output: str = "result"
    depth: int = 8
    colour: Colour = Colour.EACH_CHANNEL
    colour_space: str = "sRGB"

    def lookups(self) -> Iterator[Lookup]:
        """Yield every lookup in the order in which it runs."""
        for op in self.ops:
            for inner in op.body if isinstance(op, Ensemble) else (op,):
                if isinstance(inner, Lookup):
                    yield inner

    @property
    def slots(self) -> dict[str, Slot]:
        """Every slot with the table shape that its lookups need."""
        return {op.slot: Slot(op.lattice.entries, op.block * op.block) for op in self.lookups()}

    @property
    def scale(self) -> int:
        """Enlargement from input to output in each direction."""
        return body_extent(self.input, self.ops)[1]

    @property
    def halo(self) -> int:
        """Input pixels around a pixel that its result depends on."""
        return body_extent(self.input, self.ops)[0]

    def validate(self) -> None:
        """Raise ProgramError unless names connect, fields are in range and slots are used consistently."""
        if not self.ops:
            raise ProgramError("program has no ops")
        if self.depth != 8:
            raise ProgramError(f"program works in {self.depth} bits; this version runs 8-bit programs")
        known = {self.input}
        for op in self.ops:
            op.validate()
            for name in op.inputs:
                if name not in known:
                    raise ProgramError(f"op '{op.output}' reads '{name}', which nothing before it makes")
            if op.output in known:
                raise ProgramError(f"program makes '{op.output}' twice; give every result its own name")
            known.add(op.output)
        if self.ops[-1].output != self.output:
            raise ProgramError(f"program declares output '{self.output}' but its last op makes '{self.ops[-1].output}'")
        shapes: dict[str, tuple[int, int]] = {}
        for op in self.lookups():
            shape = (op.lattice.entries, op.block * op.block)
            if shapes.setdefault(op.slot, shape) != shape:
                raise ProgramError(f"slot '{op.slot}' is used as {shapes[op.slot]} and as {shape}; use two slots")
        if self.scale > MAX_SCALE:
            raise ProgramError(f"program enlarges {self.scale} times; at most {MAX_SCALE} times are possible")
        if not follow_planes(self.ops, {self.input: Plane(codes=True, largest=LARGEST_CODE)}).codes:
            raise ProgramError(f"program ends in the sum '{self.output}'; its last op must be a requantise")

    def validate_tables(self, tables: Tables) -> None:
        """Raise ProgramError unless every slot has an int8 table of its shape, and no other tables are there."""
        slots = self.slots
        for name in sorted(slots.keys() ^ tables.keys()):
            problem = "has no table" if name in slots else "is not used by the program"
            raise ProgramError(f"slot '{name}' {problem}; transfer or import the model again")
        for name, slot in slots.items():
            table = tables[name]
            if table.dtype != np.int8:
                raise ProgramError(f"slot '{name}' holds {table.dtype} values; int8 is needed")
            if table.shape != (slot.entries, slot.outputs):
                raise ProgramError(
                    f"slot '{name}' has a table of {table.shape}; its lattice needs ({slot.entries}, {slot.outputs}): "
                    "run lutkit transfer again"
                )
