# pyright: basic
"""Programs for each channel on the GPU: one op after another, and fused stages where one can be. Imports the kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkit_runtime.kernels.cuda.axis_lookup import AxisLookupOnDevice
from lutkit_runtime.kernels.cuda.memory import Planes, Session
from lutkit_runtime.kernels.cuda.plane_lines import (
    add_term,
    add_turned,
    requantise,
    shuffle_pixels,
    split_bits,
    turn_planes,
)
from lutkit_runtime.kernels.cuda.stage import StageOnDevice, prepare_lookup
from lutkit_runtime.kernels.cuda.window import WindowOnDevice
from lutkit_runtime.kernels.stage_claim import claim_stage
from lutkit_runtime.ops import (
    CODES,
    Add,
    AxisLookup,
    BitField,
    Ensemble,
    Lookup,
    Op,
    PixelShuffle,
    ReconstructedConvolution,
    Requantise,
    follow_planes,
)
from lutkit_runtime.ops.ensemble import TURNS

Fill = Mapping[str, Any]
Work = Callable[[Session, Mapping[str, Planes]], Planes]
"""Reads planes by name and returns those that an op makes."""


@dataclass(frozen=True)
class Step:
    """An op, or several in one, made ready.

    Parameters
    ----------
    inputs : tuple of str
        Names of the planes that it reads.
    output : str
    work : callable
    """

    inputs: tuple[str, ...]
    output: str
    work: Work


class DeviceProgram:
    """A program for each channel with its tables on the GPU; may be used from several threads.

    Parameters
    ----------
    ops : sequence of ops
    source, result : str
        Names of the planes that enter and leave.
    fill : mapping of slot name to table
    """

    def __init__(self, ops: Sequence[Op], source: str, result: str, fill: Fill) -> None:
        self._source, self._result = source, result
        self.steps = tuple(_claim(ops, source, fill))

    def run(self, session: Session, planes: Planes) -> Planes:
        """Return what the program makes of planes of codes."""
        return run_steps(session, self.steps, {self._source: planes}, self._result)


def run_steps(session: Session, steps: Sequence[Step], given: Mapping[str, Planes], result: str) -> Planes:
    """Run steps one after the other; planes that no later step reads make room for others."""
    planes = dict(given)
    waiting = Counter(name for step in steps for name in step.inputs)
    for step in steps:
        planes[step.output] = step.work(session, planes)
        for name in step.inputs:
            waiting[name] -= 1
            if not waiting[name] and name not in given and name != result:
                session.release(planes.pop(name))
    return planes[result]


def _claim(ops: Sequence[Op], source: str, fill: Fill) -> Iterator[Step]:
    """Yield the steps of a program: an ensemble and its requantisation as a stage where the kernel can do them."""
    planes = {source: CODES}
    follow_planes(ops, planes)
    readers = Counter(name for op in ops for name in op.inputs)
    waiting = list(ops)
    while waiting:
        op = waiting.pop(0)
        following = waiting[0] if waiting else None
        stage = None
        if isinstance(op, Ensemble) and isinstance(following, Requantise) and planes[op.input].codes:
            stage = claim_stage(op, following) if readers[op.output] == 1 else None
        if stage is None:
            yield prepare_step(op, fill)
            continue
        waiting.pop(0)
        prepared = StageOnDevice(stage, fill)
        yield Step(
            (stage.input,), stage.output, lambda session, named, it=prepared: it.run(session, named[it.stage.input])
        )


def prepare_step(op: Any, fill: Fill) -> Step:
    """Return an op of a program for each channel, with its tables on the GPU."""
    return Step(op.inputs, op.output, PREPARERS[type(op)](op, fill))


def _prepare_lookup(op: Lookup, fill: Fill) -> Work:
    prepared = prepare_lookup(op, fill)
    return lambda session, planes: prepared.run(session, planes[op.input])


def _prepare_window(op: ReconstructedConvolution, fill: Fill) -> Work:
    prepared = WindowOnDevice(op, fill)
    return lambda session, planes: prepared.run(session, planes[op.input])[0]


def _prepare_axis_lookup(op: AxisLookup, fill: Fill) -> Work:
    prepared = AxisLookupOnDevice(op, fill)
    return lambda session, planes: prepared.run(session, planes[op.input])


def _prepare_sum(op: Add, fill: Fill) -> Work:
    def work(session: Session, planes: Mapping[str, Planes]) -> Planes:
        first = planes[op.terms[0]]
        total = session.empty_planes(first.colours, first.channels, first.height, first.width, np.int32)
        for place, (term, factor) in enumerate(zip(op.terms, op.factors, strict=True)):
            add_term.launch(total.size, session.stream, planes[term].flat, factor, int(place == 0), total.flat)
        return total

    return work


def _prepare_requantisation(op: Requantise, fill: Fill) -> Work:
    def work(session: Session, planes: Mapping[str, Planes]) -> Planes:
        given = planes[op.input]
        added = planes[op.residual] if op.residual is not None else None
        dtype = np.uint8 if op.makes_codes else np.int32
        out = session.empty_planes(given.colours, given.channels, given.height, given.width, dtype)
        requantise.launch(
            out.size,
            session.stream,
            given.flat,
            (added or given).flat,
            added.channels if added else 0,
            given.channels,
            given.height * given.width,
            op.bias,
            op.divisor,
            op.low,
            op.high,
            out.flat,
        )
        return out

    return work


def _prepare_bits(op: BitField, fill: Fill) -> Work:
    def work(session: Session, planes: Mapping[str, Planes]) -> Planes:
        given = planes[op.input]
        out = session.empty_planes(given.colours, given.channels, given.height, given.width, np.int32)
        mask = (1 << op.bits) - 1
        split_bits.launch(out.size, session.stream, given.flat, op.shift, mask, op.offset, out.flat)
        return out

    return work


def _prepare_shuffle(op: PixelShuffle, fill: Fill) -> Work:
    def work(session: Session, planes: Mapping[str, Planes]) -> Planes:
        given, block = planes[op.input], op.block
        out = session.empty_planes(given.colours, 1, given.height * block, given.width * block, given.flat.dtype)
        shuffle_pixels.launch(out.size, session.stream, given.flat, block, given.height, given.width, out.flat)
        return out

    return work


def _prepare_ensemble(op: Ensemble, fill: Fill) -> Work:
    steps = tuple(prepare_step(inner, fill) for inner in op.body)
    result = op.body[-1].output

    def work(session: Session, planes: Mapping[str, Planes]) -> Planes:
        given = planes[op.input]
        height, width = given.height * op.upscale, given.width * op.upscale
        total = None
        for turns in range(TURNS):
            turned = _turn(session, given, turns) if turns else given
            made = run_steps(session, steps, {op.input: turned}, result)
            if total is None:
                total = session.empty_planes(made.colours, made.channels, height, width, np.int32)
            add_turned.launch(
                made.size, session.stream, made.flat, -turns % TURNS, int(turns == 0), height, width, total.flat
            )
            session.release(made)
            if turns:
                session.release(turned)
        assert total is not None
        return total

    return work


def _turn(session: Session, planes: Planes, turns: int) -> Planes:
    """Return ``rot90(planes, turns)``."""
    height, width = (planes.width, planes.height) if turns % 2 else (planes.height, planes.width)
    out = session.empty_planes(planes.colours, planes.channels, height, width, planes.flat.dtype)
    turn_planes.launch(out.size, session.stream, planes.flat, turns, height, width, out.flat)
    return out


PREPARERS: dict[type[Any], Callable[[Any, Fill], Work]] = {
    Add: _prepare_sum,
    AxisLookup: _prepare_axis_lookup,
    BitField: _prepare_bits,
    Ensemble: _prepare_ensemble,
    Lookup: _prepare_lookup,
    PixelShuffle: _prepare_shuffle,
    ReconstructedConvolution: _prepare_window,
    Requantise: _prepare_requantisation,
}
"""Every op of programs for each channel; an op that is added has its CUDA twin here."""
