"""Program: ops over named values, with slots for tables. Floor 5: imports ops and the primitives.

A program is what an artefact stores: with its tables it runs on any image, without the family that built it.
"""

from __future__ import annotations

import enum
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops import (
    CODES,
    AxisLookup,
    ChannelOp,
    Ensemble,
    Kind,
    Lookup,
    Network,
    Op,
    ReconstructedConvolution,
    Slot,
    Value,
    follow_planes,
)
from lutkit_runtime.ops.ensemble import body_extent
from lutkit_runtime.table_coding import LARGEST_VALUE

MAX_SCALE = 16

TableOp = Lookup | AxisLookup | ReconstructedConvolution
"""Ops of programs for each channel with a slot, ``op.slot``, that networks or trained tables fill."""

Tables = Mapping[str, NDArray[Any]]
"""Slot name to table, each (entries, outputs) of the slot's type."""


class Colour(enum.Enum):
    """What the channels of an image are to the program."""

    EACH_CHANNEL = "each-channel"
    """Every colour channel goes through the program by itself, as 8-bit codes; gray images have one."""

    RGB = "rgb"
    """The three channels of a pixel go through together, at the image's own depth."""


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A number that people may choose when they run the program.

    Parameters
    ----------
    name : str
    default, low, high : float
        What it is when nobody chooses, and its range, ends included.
    """

    name: str
    default: float
    low: float
    high: float

    def validate(self) -> None:
        """Raise ProgramError unless the numbers are finite and in order."""
        if not self.name.isidentifier():
            raise ProgramError(f"parameter {self.name[:80]!r} needs a name of letters, digits and underscores")
        if not -math.inf < self.low <= self.default <= self.high < math.inf:
            raise ProgramError(
                f"parameter '{self.name}' is {self.default} within {self.low} to {self.high}; these must be finite and "
                "in order"
            )


class Companion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A picture that has to be given beside the picture, of the same size.

    Parameters
    ----------
    name : str
    channels : int
        3 for colours, 1 for a depth map.
    """

    name: str
    channels: int

    def validate(self) -> None:
        """Raise ProgramError unless it has a usable name and 1 or 3 channels."""
        if not self.name.isidentifier() or self.name in RESERVED:
            raise ProgramError(
                f"companion {self.name[:80]!r} needs a name of letters, digits and underscores of its own"
            )
        if self.channels not in (1, 3):
            raise ProgramError(f"companion '{self.name}' has {self.channels} channels; 1 or 3 are possible")


RESERVED = frozenset(
    {"self", "image", "threads", "backend", "tile", "progress", "on_compile", "out", "stream", "frames", "ahead"}
)
"""What `Model.apply` and `Model.stream` call other things."""

STRENGTH = Parameter(name="strength", default=1.0, low=0.0, high=2.0)
"""How much of a look is mixed in; above 1 it is exaggerated. `lutkit apply --strength` sets it."""


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A skeleton of ops whose slots are filled by networks, parameters or tables.

    Parameters
    ----------
    family : str
        Name of the family that built it; running it does not need the family.
    task : str
        What it does, for people: ``sr``, ``denoise``, ``deblock``, ``retouch``, ``look``.
    input, output : str
        Names of the value that enters and of the one that leaves.
    ops : tuple of ops
    depth : int
        Bits of a sample code in programs for each channel; images of other depths are converted in and back. Programs
        for colours keep the depth of the image and do not use it.
    colour : Colour
    colour_space : str
        Encoding of the samples that the tables were made for.
    parameters : tuple of Parameter
        For programs for colours.
    companions : tuple of Companion
        What has to be given beside the picture; for programs for colours.
    """

    family: str
    task: str
    ops: tuple[Op, ...]
    input: str = "image"
    output: str = "result"
    depth: int = 8
    colour: Colour = Colour.EACH_CHANNEL
    colour_space: str = "sRGB"
    parameters: tuple[Parameter, ...] = ()
    companions: tuple[Companion, ...] = ()

    def lookups(self) -> Iterator[Lookup]:
        """Yield every spatial lookup in the order in which it runs."""
        for op in self.inner_ops():
            if isinstance(op, Lookup):
                yield op

    def table_ops(self) -> Iterator[TableOp]:
        """Yield every op of a program for each channel whose slot is trained, in the order in which it runs."""
        for op in self.inner_ops():
            if isinstance(op, TableOp):
                yield op

    def replace_ops(self, change: Callable[[Any], Any]) -> Program:
        """Return the program with every op, those in the bodies of ensembles too, replaced by what `change` makes of it."""
        ops = [
            msgspec.structs.replace(op, body=tuple(map(change, op.body))) if isinstance(op, Ensemble) else change(op)
            for op in self.ops
        ]
        return msgspec.structs.replace(self, ops=tuple(ops))

    def inner_ops(self) -> Iterator[Op]:
        """Yield every op, those of an ensemble's body in place of the ensemble."""
        for op in self.ops:
            yield from op.body if isinstance(op, Ensemble) else (op,)

    @property
    def slots(self) -> dict[str, Slot]:
        """Every slot with the table that its ops need."""
        return {name: slot for op in self.inner_ops() for name, slot in op.slots.items()}

    @property
    def scale(self) -> int:
        """Enlargement from input to output in each direction."""
        return 1 if self.colour is Colour.RGB else body_extent(self.input, self.ops)[1]

    @property
    def halo(self) -> int:
        """Input pixels around a pixel that its result depends on; what sees all of the picture does not count."""
        if self.colour is Colour.RGB:  # no op but a network looks around, and that reads the input
            return max(op.halo for op in self.ops)
        return body_extent(self.input, self.ops)[0]

    def validate(self) -> None:
        """Raise ProgramError unless names connect, fields are in range and slots are used consistently."""
        if not self.ops:
            raise ProgramError("program has no ops")
        if self.depth != 8:
            raise ProgramError(f"program works in {self.depth} bits; this version runs 8-bit programs")
        known = {self.input}
        for given in (*self.parameters, *self.companions):
            given.validate()
            if given.name in known:
                raise ProgramError(f"program has two values named '{given.name}'; give every one its own name")
            known.add(given.name)
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
        self._validate_slots()
        if self.colour is Colour.RGB:
            self._validate_colours()
        else:
            self._validate_channels()

    def _validate_slots(self) -> None:
        seen: dict[str, Slot] = {}
        for op in self.inner_ops():
            for name, slot in op.slots.items():
                if seen.setdefault(name, slot) != slot:
                    raise ProgramError(
                        f"slot '{name}' is used as {_describe(seen[name])} and as {_describe(slot)}; use two slots"
                    )

    def _validate_windows(self) -> None:
        """Check that windows share no tables: their units say what the entries mean."""
        owners: dict[str, str] = {}
        windows = {op.output for op in self.inner_ops() if isinstance(op, ReconstructedConvolution)}
        for op in self.inner_ops():
            for name in op.slots:
                other = owners.setdefault(name, op.output)
                if other != op.output and windows & {other, op.output}:
                    raise ProgramError(
                        f"slot '{name}' is read by '{other}' and by '{op.output}', one of which is a window: use two slots"
                    )

    def _validate_channels(self) -> None:
        """Check what is special to programs through which every channel goes by itself."""
        self._validate_windows()
        if self.parameters:
            raise ProgramError(f"program has the parameter '{self.parameters[0].name}', which no op of it can read")
        if self.companions:
            raise ProgramError(f"program has the companion '{self.companions[0].name}', which no op of it can read")
        for op in self.ops:
            if not isinstance(op, ChannelOp):
                raise ProgramError(f"op '{op.output}' works on colours; the program takes each channel by itself")
        if self.scale > MAX_SCALE:
            raise ProgramError(f"program enlarges {self.scale} times; at most {MAX_SCALE} times are possible")
        result = follow_planes(self.ops, {self.input: CODES})
        if not result.codes:
            raise ProgramError(f"program ends in '{self.output}', which holds no codes 0 to 255: requantise it")
        if result.channels != 1:
            raise ProgramError(f"program ends in '{self.output}' of {result.channels} channels; one is needed")

    def _validate_colours(self) -> None:
        """Check what is special to programs through which the channels go together."""
        values = {self.input: Value(Kind.PICTURE), **{each.name: Value(Kind.SCALAR) for each in self.parameters}}
        values |= {each.name: Value(Kind.COMPANION, each.channels) for each in self.companions}
        for op in self.ops:
            values[op.output] = op.infer(values)
            # what looks around a pixel, or runs once for the whole picture, can only see the picture as it came
            sees_more = op.is_global or isinstance(op, Network)
            if sees_more and any(values[name].kind is Kind.PICTURE and name != self.input for name in op.inputs):
                raise ProgramError(f"op '{op.output}' sees more than one pixel; it must read '{self.input}' itself")
        values[self.output].expect(Kind.PICTURE, "the end of the program", self.output)

    def validate_tables(self, tables: Tables) -> None:
        """Raise ProgramError unless every slot has a table of its shape and type that its ops can compute with.

        No other tables may be there.
        """
        slots = self.slots
        for name in sorted(slots.keys() ^ tables.keys()):
            problem = "has no table" if name in slots else "is not used by the program"
            raise ProgramError(f"slot '{name}' {problem}; transfer or import the model again")
        for name, slot in slots.items():
            table = tables[name]
            if table.dtype != slot.dtype:
                raise ProgramError(f"slot '{name}' holds {table.dtype} values; {slot.dtype} is needed")
            if table.shape != slot.shape:
                raise ProgramError(
                    f"slot '{name}' has a table of {table.shape}; its lattice needs {slot.shape}: "
                    "run lutkit transfer again"
                )
            # the comparison is false for what is no number, too
            if slot.dtype == "float32" and not np.abs(table).max() <= LARGEST_VALUE:
                raise ProgramError(
                    f"slot '{name}' holds values that are not finite numbers of at most {LARGEST_VALUE:g}"
                )
        for op in self.inner_ops():
            op.validate_tables(tables)

    def count_channels(self, names: Iterable[str]) -> int:
        """Return how many channels the picture and those beside it that have these names have, together."""
        channels = {self.input: 3, **{each.name: each.channels for each in self.companions}}
        return sum(channels[name] for name in names)

    def fill_parameters(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """Return the value of every parameter; raises ProgramError for unknown ones, no numbers, and values out of range."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name, value in chosen.items():
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                if self.companions:
                    has += f", and takes {', '.join(each.name for each in self.companions)} beside the image"
                raise ProgramError(f"the model has no parameter '{name}': {has}")
            if not isinstance(value, numbers.Real) and getattr(value, "shape", None) != ():
                raise ProgramError(f"{name} is of type {type(value).__name__}; the model takes a number for it")
            if not known[name].low <= value <= known[name].high:
                raise ProgramError(
                    f"{name} is {value}; the model takes {known[name].low:g} to {known[name].high:g}: choose one of these"
                )
        return {name: float(chosen.get(name, parameter.default)) for name, parameter in known.items()}


def _describe(slot: Slot) -> str:
    return f"{slot.shape}" if slot.dtype == "int8" else f"{slot.shape} {slot.dtype}"
