"""What every op has in common: named inputs, one output, slots, validation, extent, reference evaluation."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.quantiser import Quantiser


class Kind(enum.Enum):
    """What flows between the ops of a program whose channels go together."""

    PICTURE = "picture"
    """(H, W, 3): the picture as it came, uint8, uint16 or float32, or what an op made of it, float32."""

    VECTOR = "vector"
    """(size,) float32, such as predicted weights."""

    TABLE = "table"
    """(size**3, 3) float32: a cube made for this picture."""

    GRID = "grid"
    """(rows, columns, depth, 12) float32: a bilateral grid of colour maps made for this picture."""

    SCALAR = "scalar"
    """A parameter of the program."""

    COMPANION = "companion"
    """(H, W, size): a picture, or a depth map, that is given beside the picture; uint8, uint16 or float32."""

    PLANES = "set of planes"
    """(H, W, size) float32: what a network makes of every pixel."""


@dataclass(frozen=True)
class Value:
    """Kind and size of a value.

    Parameters
    ----------
    kind : Kind
    size : int
        Length of a vector, nodes per axis of a table, channels of a companion or of planes, else 0.
    """

    kind: Kind
    size: int = 0

    def expect(self, kind: Kind, op: str, name: str) -> None:
        """Raise ProgramError unless the value is of a kind."""
        if self.kind is not kind:
            raise ProgramError(f"op '{op}' reads '{name}', which is a {self.kind.value}; a {kind.value} is needed")


@dataclass(frozen=True)
class Plane:
    """What can be in a plane of a program for each channel.

    Parameters
    ----------
    codes : bool
        Codes (the image, and what ops make that round to bytes), which may index a table of codes or leave the program.
    low, high : int
        Bounds of the values.
    channels : int
        Length of the third axis from the end.
    """

    codes: bool
    low: int
    high: int
    channels: int = 1

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))


LARGEST_CODE = 255

CODES = Plane(codes=True, low=0, high=LARGEST_CODE)
"""What an image is."""


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named place for a function, filled by a table in the end: the table's shape and type.

    Parameters
    ----------
    axes : tuple of int
        Nodes along each axis.
    outputs : int
        Values per node.
    dtype : str
        NumPy name of the stored type: int8, int16, int32, float32, or uint8 for a file of bytes.
    quantiser : Quantiser
        How real outputs become entries, for int8 tables of samples.
    """

    axes: tuple[int, ...]
    outputs: int
    dtype: str = "int8"
    quantiser: Quantiser = Quantiser()

    @property
    def entries(self) -> int:
        """Rows of the table."""
        return math.prod(self.axes)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the table: (entries, outputs)."""
        return (self.entries, self.outputs)


class OpBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="op"):
    """A step of a program: reads named planes and names its result.

    Parameters
    ----------
    output : str
        Name of the plane that the op makes.
    """

    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the planes that the op reads."""
        raise NotImplementedError

    @property
    def slots(self) -> dict[str, Slot]:
        """Tables that the op reads, by name."""
        return {}

    @property
    def is_global(self) -> bool:
        """Whether the op runs once for a whole picture, before it is cut into pieces."""
        return False

    @property
    def halo(self) -> int:
        """Pixels around a pixel of the input that its result depends on; 0 for a point op."""
        return 0

    @property
    def upscale(self) -> int:
        """How many times larger than its input the output is, in each direction."""
        return 1

    def validate(self) -> None:
        """Raise ProgramError where a field is out of range or two fields contradict each other."""

    def validate_tables(self, fill: Mapping[str, Any]) -> None:
        """Raise ProgramError where tables of the right shape and type hold what the op cannot compute with."""

    def infer(self, values: Mapping[str, Value]) -> Value:
        """Return what the op makes of values of these kinds.

        Raises ProgramError where it cannot read them, or works on single channels only.
        """
        raise ProgramError(f"op '{self.output}' works on single channels; it cannot stand in a program for colours")

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return what the op makes of planes that hold this.

        Raises ProgramError where it cannot read them, or works on colours only.
        """
        raise ProgramError(f"op '{self.output}' works on colours; the program takes each channel by itself")

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Evaluate the op slowly and obviously.

        Parameters
        ----------
        planes : mapping of name to array
            Single channels: integers (..., channels, H, W), of which codes may be uint8; ops that do not mix channels
            take (..., H, W). Colours: see `Kind`.
        fill : mapping of slot name to table (entries, outputs)

        Returns
        -------
        array
            Single channels: (..., channels, H * upscale, W * upscale), codes as uint8, others as int64. Colours: see
            `Kind`.
        """
        raise NotImplementedError
