"""Ensemble: run a body under the four quarter turns and sum the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.add import Add
from lutkit_runtime.ops.axis_lookup import AxisLookup
from lutkit_runtime.ops.base import OpBase, Plane, Slot
from lutkit_runtime.ops.bit_field import BitField
from lutkit_runtime.ops.lookup import Lookup
from lutkit_runtime.ops.pixel_shuffle import PixelShuffle
from lutkit_runtime.ops.reconstructed_convolution import ReconstructedConvolution
from lutkit_runtime.ops.requantise import Requantise

BodyOp = Lookup | Add | Requantise | AxisLookup | BitField | PixelShuffle | ReconstructedConvolution

TURNS = 4


class Ensemble(OpBase, frozen=True, tag="ensemble"):
    """Turn the input by 0, 1, 2 and 3 quarter turns, run the body on each, turn back, sum.

    Parameters
    ----------
    input : str
        Plane that is turned; the body reads it by this name.
    body : tuple of ops
        Run in order; the last one's output is the result of the body.
    """

    input: str
    body: tuple[BodyOp, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane that is turned."""
        return (self.input,)

    @property
    def slots(self) -> dict[str, Slot]:
        """The tables of the body."""
        return {name: slot for op in self.body for name, slot in op.slots.items()}

    @property
    def halo(self) -> int:
        """The largest reach along any path through the body, in input pixels."""
        return body_extent(self.input, self.body)[0]

    @property
    def upscale(self) -> int:
        """The enlargement of the body."""
        return body_extent(self.input, self.body)[1]

    def validate(self) -> None:
        """Raise ProgramError unless the body is a closed, consistent run of ops."""
        if not self.body:
            raise ProgramError(f"ensemble '{self.output}' has no body")
        known = {self.input}
        for op in self.body:
            op.validate()
            for name in op.inputs:
                if name not in known:
                    raise ProgramError(
                        f"op '{op.output}' reads '{name}', which nothing before it in '{self.output}' makes"
                    )
            if op.output in known:
                raise ProgramError(
                    f"ensemble '{self.output}' makes '{op.output}' twice; give every result its own name"
                )
            known.add(op.output)
        body_extent(self.input, self.body)

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return four times the bounds of the body; raises ProgramError where an op of it cannot read its planes."""
        result = follow_planes(self.body, {self.input: planes[self.input]})
        return Plane(codes=False, low=TURNS * result.low, high=TURNS * result.high, channels=result.channels)

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the sum over the four turns, int64."""
        total: Any = 0
        for turns in range(TURNS):
            local: dict[str, Any] = {self.input: np.rot90(planes[self.input], turns, axes=(-2, -1))}
            for op in self.body:
                local[op.output] = op.reference(local, fill)
            # a body may end in bytes, whose sum would wrap around
            total = total + np.rot90(local[self.body[-1].output], -turns, axes=(-2, -1)).astype(np.int64)
        return total


def follow_planes(ops: Sequence[Any], planes: dict[str, Plane]) -> Plane:
    """Return what the last of the ops makes; `planes` gains what each op makes.

    Raises ProgramError where an op cannot read its planes, could read outside its table, or a sum overflow 32 bits.
    """
    result = next(iter(planes.values()))
    for op in ops:
        result = planes[op.output] = op.follow(planes)
        if result.largest >= 2**31:
            raise ProgramError(f"op '{op.output}' can reach {result.largest}; sums must stay below {2**31}")
    return result


def body_extent(source: str, ops: tuple[Any, ...]) -> tuple[int, int]:
    """Return (halo in pixels of `source`, enlargement) of the last output of a run of ops that starts at `source`.

    Raises ProgramError where an op joins planes of different sizes.
    """
    extents: dict[str, tuple[int, int]] = {source: (0, 1)}
    for op in ops:
        before = [extents[name] for name in op.inputs if name in extents]
        scales = {scale for _, scale in before}
        if len(scales) != 1:
            raise ProgramError(
                f"op '{op.output}' joins planes enlarged {sorted(scales)} times; they must be of one size"
            )
        scale = scales.pop()
        halo = max(halo for halo, _ in before) + -(-op.halo // scale)
        extents[op.output] = (halo, scale * op.upscale)
    return extents[ops[-1].output]
