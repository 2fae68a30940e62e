"""Axis lookup: taps of a plane with channels, each through one-dimensional tables of its own, summed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops.base import OpBase, Plane, Slot
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import MAX_REACH

LARGEST_ENTRY = 128
MAX_TAPS = 1024
MAX_OUTPUTS = 256
MAX_VALUES = 1 << 20


class Tap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample that a pixel reads.

    Parameters
    ----------
    channel : int
        From 0.
    row, column : int
        Distance from the pixel: rows grow downwards, columns to the right.
    """

    channel: int = 0
    row: int = 0
    column: int = 0


class AxisLookup(OpBase, frozen=True, tag="axis_lookup"):
    """Sum over taps of tables of one sample each: output o = sum over t of T[t, o](value at tap t), times a denominator.

    Nine taps around a pixel make a depthwise 3 x 3 convolution whose products are tables, one tap for every channel a
    pointwise one; taps of a channel that stand aside shift it (Jonas-KD/TinyLUT; Sailor-t/ShiftLUT).

    Parameters
    ----------
    input : str
        Plane whose values are low to low + size - 1 of `tables`.
    slot : str
        Name of the slot: int8, (tables.entries, 1); tap by tap, within a tap output by output, within that node by node.
    taps : tuple of Tap
        1 to 1024.
    tables : AxisTables
        Steps for every tap and output; with `depthwise` one output per tap.
    outputs : int
        Channels of the result.
    depthwise : bool
        A tap of channel c adds to output c only, and the result has as many channels as the input.
    padding : Padding
        What taps see outside the plane.
    """

    input: str
    slot: str
    taps: tuple[Tap, ...]
    tables: AxisTables
    outputs: int
    depthwise: bool = False
    padding: Padding = Padding.EDGE

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one plane."""
        return (self.input,)

    @property
    def slots(self) -> dict[str, Slot]:
        """The tables, end to end."""
        return {self.slot: Slot((self.tables.entries,), 1)}

    @property
    def halo(self) -> int:
        """The largest distance of a tap under any rotation."""
        return max(max(abs(tap.row), abs(tap.column)) for tap in self.taps)

    @property
    def outputs_per_tap(self) -> int:
        """How many outputs a tap adds to."""
        return 1 if self.depthwise else self.outputs

    @property
    def taps_per_output(self) -> int:
        """How many tables are summed for an output, at most."""
        channels = [tap.channel for tap in self.taps]
        return max(map(channels.count, set(channels))) if self.depthwise else len(self.taps)

    def validate(self) -> None:
        """Raise ProgramError unless taps, tables and outputs agree."""
        if not 1 <= len(self.taps) <= MAX_TAPS or not 1 <= self.outputs <= MAX_OUTPUTS:
            raise ProgramError(
                f"op '{self.output}' has {len(self.taps)} taps and {self.outputs} outputs; at most {MAX_TAPS} and "
                f"{MAX_OUTPUTS} are possible, and at least one"
            )
        self.tables.validate(self.output)
        values = len(self.taps) * self.outputs_per_tap * self.tables.size
        if values > MAX_VALUES:
            raise ProgramError(
                f"op '{self.output}' has tables of {values} values in all; at most {MAX_VALUES} are possible"
            )
        shape = (len(self.taps), self.outputs_per_tap)
        found = [len(steps) for steps in self.tables.steps]
        if found != [shape[1]] * shape[0]:
            raise ProgramError(
                f"op '{self.output}' has steps for {len(found)} taps of {sorted(set(found))} outputs; {shape[0]} of "
                f"{shape[1]} are needed"
            )
        if any(tap.channel < 0 for tap in self.taps) or self.halo > MAX_REACH:
            raise ProgramError(
                f"op '{self.output}' has a tap of a channel below 0 or further away than {MAX_REACH} pixels"
            )

    def follow(self, planes: Mapping[str, Plane]) -> Plane:
        """Return the bounds of the sums; raises ProgramError where a value of the plane has no entry."""
        plane = planes[self.input]
        last = self.tables.low + self.tables.size - 1
        if plane.low < self.tables.low or plane.high > last:
            raise ProgramError(
                f"op '{self.output}' has tables for {self.tables.low} to {last}, but '{self.input}' holds {plane.low} "
                f"to {plane.high}: requantise it first"
            )
        highest = max(tap.channel for tap in self.taps)
        if highest >= plane.channels or (self.depthwise and self.outputs != plane.channels):
            raise ProgramError(
                f"op '{self.output}' reads channel {highest} for {self.outputs} outputs of '{self.input}', which has "
                f"{plane.channels} channels"
            )
        largest = LARGEST_ENTRY * self.tables.denominator * self.taps_per_output
        return Plane(codes=False, low=-largest, high=largest, channels=self.outputs)

    def gather(self, plane: NDArray[Any], tap: Tap) -> NDArray[Any]:
        """Return what a tap sees, (..., H, W), of a plane (..., channels, H, W)."""
        height, width = plane.shape[-2:]
        rows = self.padding.index(height, max(0, -tap.row), max(0, tap.row))
        columns = self.padding.index(width, max(0, -tap.column), max(0, tap.column))
        top, left = max(0, tap.row), max(0, tap.column)
        channel = plane[..., tap.channel, :, :]
        return channel[..., rows[top : top + height, None], columns[None, left : left + width]]

    def reference(self, planes: Mapping[str, Any], fill: Mapping[str, Any]) -> Any:
        """Return the sums, (..., outputs, H, W), int64, times the tables' denominator."""
        plane = planes[self.input]
        values = self.tables.lay_out().expand(fill[self.slot])
        total = np.zeros((*plane.shape[:-3], self.outputs, *plane.shape[-2:]), np.int64)
        for number, tap in enumerate(self.taps):
            seen = values[number][self.gather(plane, tap).astype(np.int64) - self.tables.low]
            if self.depthwise:
                total[..., tap.channel, :, :] += seen[..., 0]
            else:
                total += np.moveaxis(seen, -1, -3)
        return total
