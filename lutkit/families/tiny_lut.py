"""Networks of one-dimensional tables: TinyLUT (Li et al., NeurIPS 2024) and ShiftLUT (Sailor-t/ShiftLUT), with options.

A picture's bytes are split into high and low bits; every sample goes through a table of its own, and the values are
summed, so that size grows with the number of samples, not with its exponent. The skeleton needs the runtime only; torch
is imported when a network is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lutkit.families.spatial import WORKBENCH, check_task
from lutkit.recipe import Recipe
from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import Add, AxisLookup, BitField, BodyOp, Ensemble, PixelShuffle, Requantise, Tap
from lutkit_runtime.padding import Padding
from lutkit_runtime.program import Program

if TYPE_CHECKING:
    import torch

BITS = 8

START_SHIFTS = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 1), (2, 2), (0, 0))
"""Where learned shifts start: under four turns these cover 5 x 5 pixels."""


class TinyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration of a network of one-dimensional tables; `--config` files hold these fields.

    Parameters
    ----------
    channels : int
        Of the maps between layers, 4 to 64.
    depth : int
        Depthwise layers, 1 to 4.
    points : int
        Pointwise layers behind each, 1 to 4; one as published.
    low_bits : int
        Bits of a byte that are split off, 1 to 4.
    apart : bool
        The low bits have layers of their own as far as the end (TinyLUT); else they join the high ones behind the first
        layer (ShiftLUT).
    centred : bool
        The pixel is the middle of the 3 x 3 samples of a depthwise layer (ShiftLUT), else their last (TinyLUT).
    reach : int
        Largest shift of a channel before a pointwise layer, in pixels, 0 to 4; shifts are learned (ShiftLUT). 0: none.
    interval : int
        Binary logarithm of the distance between stored nodes of the tables of high bits, 0 to 4; values between are
        interpolated.
    width : int
        Hidden features of the networks.
    scale : int
        Enlargement, 1 to 4.
    task : str
        ``sr``, ``denoise`` or ``deblock``.
    """

    channels: int = 16
    depth: int = 1
    points: int = 1
    low_bits: int = 2
    apart: bool = False
    centred: bool = True
    reach: int = 2
    interval: int = 0
    width: int = 16
    scale: int = 4
    task: str = "sr"

    def validate(self) -> None:
        """Raise DataError where a field is out of range."""
        ranges = {
            "channels": (4, 64),
            "depth": (1, 4),
            "points": (1, 4),
            "low_bits": (1, 4),
            "reach": (0, 4),
            "interval": (0, 4),
            "width": (1, 256),
            "scale": (1, 4),
        }
        for field, (least, most) in ranges.items():
            value = getattr(self, field)
            if not least <= value <= most:
                raise DataError(f"{field.replace('_', ' ')} {value} is configured; {least} to {most} are possible")


name = "tiny-lut"
defaults = TinyConfig()

QUICK = Recipe(
    steps=6000,
    batch=16,
    crop=48,
    learning_rate=3e-3,
    final_rate=3e-5,
    warmup=100,
    validate_every=300,
)
"""Ends within ten minutes on two cores."""

PAPER = Recipe(
    steps=200_000,
    batch=16,
    crop=48,
    learning_rate=1e-3,
    final_rate=1e-5,
    validate_every=2000,
)
"""As long as the published networks are trained (Li et al., NeurIPS 2024, section 4.1)."""

FINETUNE = Recipe(steps=3000, batch=16, crop=48, learning_rate=1e-3, final_rate=1e-5, validate_every=300, average=0.998)
"""Default of `lutkit finetune`: tables of one sample gain more from it than others, as no network smooths them."""

presets = {"quick": QUICK, "paper": PAPER, "finetune": FINETUNE}
workbench = WORKBENCH


def configure(preset: str, task: str | None) -> TinyConfig:
    """Return the configuration that a preset and a task mean; raises DataError for a task of all channels."""
    task = task or "sr"
    check_task(task)
    return msgspec.structs.replace(defaults, task=task, scale=4 if task == "sr" else 1)


def skeleton(config: TinyConfig) -> Program:
    """Return the program with open slots; learned shifts stand where they start.

    Where the picture keeps its size, the sum of the four turns is added to it; where it is enlarged, the last layer adds
    what the layers before it made of the picture.

    Raises DataError where a field is out of range.
    """
    config.validate()
    return _Skeleton(config).build()


class _Skeleton:
    """Builds the ops of one program, layer by layer."""

    def __init__(self, config: TinyConfig) -> None:
        self._config = config
        self._high_bits = BITS - config.low_bits
        self._half = 1 << (self._high_bits - 1)
        self._body: list[BodyOp] = []

    def build(self) -> Program:
        """Return the program."""
        config = self._config
        enlarges = config.task == "sr"
        high, low = "high", "low"
        self._body += [
            BitField(output=high, input="image", shift=config.low_bits, bits=self._high_bits, offset=-self._half),
            BitField(output=low, input="image", shift=0, bits=config.low_bits),
        ]
        if config.apart:
            ends = [self._add_layers(name, name, end=True) for name in (high, low)]
            self._body.append(Add(output="both", terms=tuple(ends)))
            self._body.append(Requantise(output="block", input="both", bias=0, divisor=1, low=-128, high=127))
        else:
            self._add_layers(high, high, end=True, joined=low)
            self._body[-1] = msgspec.structs.replace(self._body[-1], output="block")
        self._body.append(PixelShuffle(output="turn", input="block", block=config.scale))
        ensemble = Ensemble(output="sum", input="image", body=tuple(self._body))
        # a byte less 128 is what the layers work on
        end = Requantise(output="result", input="sum", bias=128 if enlarges else 0, divisor=1)
        if not enlarges:
            end = msgspec.structs.replace(end, residual="image")
        program = Program(family=name, task=config.task, ops=(ensemble, end))
        program.validate()
        return program

    def _add_layers(self, branch: str, source: str, *, end: bool, joined: str | None = None) -> str:
        """Add the layers of a branch of the bits `source`; returns the name of what comes out."""
        config = self._config
        bounds = (0, (1 << config.low_bits) - 1) if source == "low" else (-self._half, self._half - 1)
        window = [(row, column) for row in range(3) for column in range(3)]
        shift = -1 if config.centred else -2
        around = [(row + shift, column + shift) for row, column in window]
        plane = source
        for pair in range(1, config.depth + 1):
            first = pair == 1
            taps = tuple(
                Tap(channel, row, column)
                for channel in range(1 if first else config.channels)
                for row, column in around
            )
            deep = f"{branch}/depth{pair}"
            sums = self._look_up(deep, plane, taps, bounds, config.channels, depthwise=not first)
            if first and joined is not None:
                small = self._look_up(
                    f"{joined}/depth1", joined, taps, (0, (1 << config.low_bits) - 1), config.channels
                )
                unit = max(sums.tables.denominator, small.tables.denominator)
                weights = tuple(unit // op.tables.denominator for op in (sums, small))
                self._body.append(
                    Add(
                        output=f"{deep}/both",
                        terms=(sums.output, small.output),
                        weights=() if set(weights) == {1} else weights,
                    )
                )
                plane = self._settle(deep, f"{deep}/both", 9 * unit, plane, bounds)
            else:
                plane = self._settle(deep, sums.output, 9 * sums.tables.denominator, plane, bounds)
            for point in range(1, config.points + 1):
                wide = f"{branch}/point{pair}" if config.points == 1 else f"{branch}/point{pair}-{point}"
                sums = self._look_up(wide, plane, self._pointwise(), bounds, config.channels)
                plane = self._settle(wide, sums.output, config.channels * sums.tables.denominator, plane, bounds)
        last = f"{branch}/up"
        outputs = config.scale**2
        sums = self._look_up(last, plane, self._pointwise(), bounds, outputs)
        divisor = config.channels * sums.tables.denominator
        residual = plane if config.task == "sr" and outputs == config.channels else None
        wide_bounds = (-256, 255) if config.apart else (-128, 127)
        return self._settle(last, sums.output, divisor, residual, wide_bounds)

    def _pointwise(self) -> tuple[Tap, ...]:
        if not self._config.reach:
            return tuple(Tap(channel) for channel in range(self._config.channels))
        reach = self._config.reach
        places = [START_SHIFTS[channel % len(START_SHIFTS)] for channel in range(self._config.channels)]
        return tuple(Tap(channel, min(row, reach), min(column, reach)) for channel, (row, column) in enumerate(places))

    def _look_up(
        self, layer: str, source: str, taps: tuple[Tap, ...], bounds: tuple[int, int], outputs: int, *,
        depthwise: bool = False,
    ) -> AxisLookup:  # fmt: skip
        """Add the lookup of a layer; tables of low bits keep every node."""
        size = bounds[1] - bounds[0] + 1
        step = 1 << self._config.interval if bounds[0] < 0 else 1
        steps = ((step,) * (1 if depthwise else outputs),) * len(taps)
        op = AxisLookup(
            output=f"{layer}/sum",
            input=source,
            slot=layer,
            taps=taps,
            tables=AxisTables(bounds[0], size, steps),
            outputs=outputs,
            depthwise=depthwise,
            padding=Padding.EDGE,
        )
        self._body.append(op)
        return op

    def _settle(
        self, layer: str, sums: str, divisor: int, residual: str | None, bounds: tuple[int, int]
    ) -> str:  # fmt: skip
        """Add the rounding of a layer's sum, and what it adds to."""
        name = f"{layer}/map"
        self._body.append(
            Requantise(
                output=name, input=sums, bias=0, divisor=divisor, residual=residual, low=bounds[0], high=bounds[1]
            )
        )
        return name


def network(config: TinyConfig, samples: int, outputs: int) -> torch.nn.Module:
    """Raise DataError: the functions of single samples are the same in all families, and there are no others."""
    raise DataError("tiny-lut has no tables of several samples, so no networks of its own")


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
