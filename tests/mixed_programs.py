"""Hypothesis strategy for runs of any ops on single channels, shared by the tests of the runtime."""

import math
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st
from small_ops import axis_lookups, can_index, convolutions_of, patterns, small_lookups

from lutkit_runtime.ops import (
    CODES,
    Add,
    AxisLookup,
    BitField,
    BodyOp,
    Ensemble,
    Lookup,
    Op,
    PixelShuffle,
    Plane,
    ReconstructedConvolution,
    Requantise,
)

LARGEST_SCALE = 4

LARGEST_SUM = 1 << 22
"""Of a plane in mixed programs: four turns of it are integers that float32 holds."""


@st.composite
def mixed_programs(draw: st.DrawFn) -> tuple[Op, ...]:
    """Draw runs of any ops, most of which no fused kernel can do.

    Every op with and without an ensemble, requantisations inside a body, sums of sums and codes of one size, planes that
    several ops read, planes of several channels, slots that several lookups read.
    """
    builder = _Builder(draw)
    for _ in range(draw(st.integers(1, 4))):
        builder.add_op()
    builder.finish()
    return tuple(builder.ops)


@dataclass(frozen=True)
class _Made:
    """A plane that ops may read."""

    name: str
    holds: Plane
    scale: int


class _Builder:
    """Draws one op after another on any of the planes made so far."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._names = 0
        self._slots: list[Lookup] = []
        self.ops: list[Op] = []
        self.planes = [_Made("image", CODES, scale=1)]

    def add_op(self) -> None:
        """Draw one op; what it needs is there always, or it becomes a requantisation."""
        if self._draw(st.integers(0, 3)) == 0:
            self._add(self._ensemble(), self.planes, self.ops)
        else:
            self._add(self._simple(self.planes), self.planes, self.ops)

    def finish(self) -> None:
        """Turn the last plane into codes of one channel named as the output of a program."""
        last = self.planes[-1]
        if last.holds.channels > 1:
            last = self._add(self._requantise(self._name(), last, self.planes), self.planes, self.ops)
            block = math.isqrt(last.holds.channels)
            if block**2 == last.holds.channels and last.scale * block <= LARGEST_SCALE:
                if last.holds.codes:
                    self.ops.append(PixelShuffle(output="result", input=last.name, block=block))
                    return
                shuffle = PixelShuffle(output=self._name(), input=last.name, block=block)
                last = self._add(shuffle, self.planes, self.ops)
            else:
                op = self._draw(axis_lookups(self._name(), last.name, last.holds, outputs=1))
                last = self._add(op, self.planes, self.ops)
        self.ops.append(self._requantise("result", last, self.planes, codes=True))

    def _add(self, op: Op, planes: list[_Made], ops: list[Any]) -> _Made:
        """Add an op and its plane; sums that float32 could not hold are rounded instead."""
        known = {plane.name: plane for plane in planes}
        read = [known[name] for name in op.inputs]
        holds = op.follow({plane.name: plane.holds for plane in planes})
        if holds.largest >= LARGEST_SUM:
            op = self._requantise(op.output, read[0], planes)
            holds = op.follow({plane.name: plane.holds for plane in planes})
        made = _Made(op.output, holds, read[0].scale * op.upscale)
        ops.append(op)
        planes.append(made)
        return made

    def _ensemble(self) -> Ensemble:
        source = self._draw(st.sampled_from(self.planes))
        inside = [source]
        body: list[BodyOp] = []
        for _ in range(self._draw(st.integers(1, 3))):
            self._add(self._simple(inside), inside, body)
        return Ensemble(output=self._name(), input=source.name, body=tuple(body))

    def _simple(self, planes: list[_Made]) -> BodyOp:
        draw, name = self._draw, self._name()
        kind = draw(
            st.sampled_from((Lookup, Add, Requantise, AxisLookup, BitField, PixelShuffle, ReconstructedConvolution))
        )
        source = draw(st.sampled_from(planes))
        codes = [plane for plane in planes if plane.holds.codes]
        if kind in (Lookup, BitField, ReconstructedConvolution) and codes:
            source = draw(st.sampled_from(codes))
            if kind is Lookup:
                return self._lookup(name, source)
            if kind is ReconstructedConvolution:
                return draw(convolutions_of(name, source.name))
            shift = draw(st.integers(0, 7))
            bits, offset = draw(st.integers(1, 8 - shift)), draw(st.integers(-256, 256))
            return BitField(output=name, input=source.name, shift=shift, bits=bits, offset=offset)
        narrow = [plane for plane in planes if can_index(plane.holds)]
        if kind is AxisLookup and narrow:
            source = draw(st.sampled_from(narrow))
            depthwise, outputs = draw(st.booleans()), draw(st.sampled_from((1, 2, 4)))
            return draw(axis_lookups(name, source.name, source.holds, outputs=outputs, depthwise=depthwise))
        if kind is PixelShuffle:
            block = math.isqrt(source.holds.channels)
            if block**2 == source.holds.channels and source.scale * block <= LARGEST_SCALE:
                return PixelShuffle(output=name, input=source.name, block=block)
        if kind is Add:
            alike = [
                plane.name
                for plane in planes
                if (plane.scale, plane.holds.channels) == (source.scale, source.holds.channels)
            ]
            terms = draw(st.lists(st.sampled_from(alike), min_size=1, max_size=3))
            weights = draw(st.lists(st.sampled_from((1, 2, 3, 8)), min_size=len(terms), max_size=len(terms)))
            return Add(output=name, terms=tuple(terms), weights=draw(st.sampled_from(((), tuple(weights)))))
        return self._requantise(name, source, planes)

    def _lookup(self, name: str, source: _Made) -> Lookup:
        draw = self._draw
        if self._slots and draw(st.booleans()):  # another reader of a slot: same lattice and block, other pattern
            known = draw(st.sampled_from(self._slots))
            if source.scale * known.block <= LARGEST_SCALE:
                pattern = draw(patterns(known.lattice.axes))
                return msgspec.structs.replace(known, output=name, input=source.name, pattern=pattern)
        block = draw(st.sampled_from((1, 2))) if source.scale < LARGEST_SCALE else 1
        op = draw(small_lookups(name, source.name, block))
        self._slots.append(op)
        return op

    def _requantise(self, name: str, source: _Made, planes: list[_Made], *, codes: bool = False) -> Requantise:
        """Draw a rounding to codes, or to any narrow range; what it adds is of the same size."""
        draw = self._draw
        divisor = draw(st.sampled_from((1, 2, 3, 4, 32, 129, 1024)))
        bias = draw(st.integers(-255, 255)) * divisor + draw(st.integers(0, divisor))
        fitting = [
            plane.name
            for plane in planes
            if plane.scale == source.scale and plane.holds.channels in (1, source.holds.channels)
        ]
        low, high = (0, 255) if codes else draw(st.sampled_from(((0, 255), (0, 255), (3, 200), (-32, 31), (-128, 127))))
        residual = draw(st.sampled_from((None, *fitting)))
        return Requantise(
            output=name, input=source.name, bias=bias, divisor=divisor, residual=residual, low=low, high=high
        )

    def _name(self) -> str:
        self._names += 1
        return f"plane{self._names}"
