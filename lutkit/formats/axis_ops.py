"""Steps that the published networks of one-dimensional tables share. Imports the runtime only.

Both split a byte less 128 into its upper six and lower two bits, look 3 x 3 pixels up, mix channels, round means half
to even and sum four turns (Jonas-KD/TinyLUT: Li et al., NeurIPS 2024, section 3; Sailor-t/ShiftLUT: Zeng et al.,
arXiv 2603.00906).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.ops import AxisLookup, BitField, BodyOp, Ensemble, Op, PixelShuffle, Requantise, Tap
from lutkit_runtime.padding import Padding

FAMILY = "tiny-lut"
IMAGE = "image"
RESULT = "result"
WINDOW = 9
MIDDLE = 128
LARGEST = 127

Steps = tuple[tuple[int, ...], ...]
"""Distance between nodes for every tap and output."""


@dataclass(frozen=True)
class Half:
    """Some bits of a byte less 128, as a number.

    Parameters
    ----------
    name : str
    shift, bits : int
    low : int
        The smallest number.
    """

    name: str
    shift: int
    bits: int
    low: int

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return 1 << self.bits

    @property
    def high(self) -> int:
        """The largest number."""
        return self.low + self.size - 1

    def split(self) -> BitField:
        """Return the op that takes these bits of the image; its result has the half's name."""
        return BitField(input=IMAGE, output=self.name, shift=self.shift, bits=self.bits, offset=self.low)

    def clamp(self, source: str, output: str, divisor: int = 1, residual: str | None = None) -> Requantise:
        """Return the op that divides, rounds, adds a plane and clamps to what the half can be."""
        return Requantise(
            input=source, output=output, bias=0, divisor=divisor, residual=residual, low=self.low, high=self.high
        )

    def tables(self, steps: Steps) -> AxisTables:
        """Return where the nodes of tables for the half stand."""
        return AxisTables(low=self.low, size=self.size, steps=steps)


HIGH = Half("high", shift=2, bits=6, low=-32)
LOW = Half("low", shift=0, bits=2, low=0)
HALVES = (HIGH, LOW)


def every_value(taps: int, outputs: int) -> Steps:
    """Return the steps of tables with an entry for every value."""
    return ((1,) * outputs,) * taps


def look_around(
    source: str, name: str, half: Half, steps: Steps, *, first: int, channels: int = 1, padding: Padding
) -> AxisLookup:
    """Return the lookup of 3 x 3 pixels whose top left one is `first` pixels below and right of the pixel itself.

    Of one channel, every output reads it; of several, output c reads channel c, and taps go channel by channel.
    The slot has the name, the result its name and /sum.
    """
    window = [(row, column) for row in range(first, first + 3) for column in range(first, first + 3)]
    taps = tuple(Tap(channel, row, column) for channel in range(channels) for row, column in window)
    depthwise = channels > 1
    return AxisLookup(
        input=source,
        output=f"{name}/sum",
        slot=name,
        taps=taps,
        tables=half.tables(steps),
        outputs=channels if depthwise else len(steps[0]),
        depthwise=depthwise,
        padding=padding,
    )


def mix_channels(source: str, name: str, half: Half, steps: Steps) -> AxisLookup:
    """Return the lookup of every channel of a pixel for every output; slot and result as in `look_around`."""
    taps = tuple(Tap(channel) for channel in range(len(steps)))
    tables = half.tables(steps)
    return AxisLookup(input=source, output=f"{name}/sum", slot=name, taps=taps, tables=tables, outputs=len(steps[0]))


def map_channels(
    source: str, name: str, half: Half, steps: Steps, shifts: Sequence[tuple[int, int]] | None = None
) -> AxisLookup:
    """Return the lookup of every channel by itself, each at its (row, column); slot and result as in `look_around`."""
    places = shifts or [(0, 0)] * len(steps)
    return AxisLookup(
        input=source,
        output=f"{name}/sum",
        slot=name,
        taps=tuple(Tap(channel, row, column) for channel, (row, column) in enumerate(places)),
        tables=half.tables(steps),
        outputs=len(steps),
        depthwise=True,
    )


def sum_turns(body: Sequence[BodyOp], scale: int, *, onto_image: bool) -> tuple[Op, ...]:
    """Return the ops of a program from its body, which ends in scale**2 channels.

    The sum of four turns is added to the image, or to 128, and clamped to bytes.
    """
    shuffled = PixelShuffle(input=body[-1].output, output="turned", block=scale)
    total = Ensemble(input=IMAGE, output="sum", body=(*body, shuffled))
    bias, residual = (0, IMAGE) if onto_image else (MIDDLE, None)
    return (total, Requantise(input="sum", output=RESULT, bias=bias, divisor=1, residual=residual))


def lay_out(tables: Sequence[NDArray[np.int64]]) -> NDArray[np.int8]:
    """Return the table of a slot from its one-dimensional tables, tap by tap, within a tap output by output."""
    return np.concatenate(tables).astype(np.int8)[:, None]
