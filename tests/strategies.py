"""Hypothesis strategies for programs, tables and images, shared by the tests of the runtime."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, BodyOp, Ensemble, Lookup, Op, ReconstructedConvolution, Requantise
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import IndexPattern
from lutkit_runtime.program import Program

LARGEST_TABLE = 200_000

BLOCKS = (1, 3, 4)
"""One value, fewer than the kernel's lanes, as many. Each has a kernel of its own to compile: no more than needed."""


@dataclass(frozen=True)
class Filled:
    """A program with its tables."""

    program: Program
    tables: dict[str, NDArray[Any]]


def patterns(samples: int, reach: int = 4) -> st.SearchStrategy[IndexPattern]:
    """Draw patterns with offsets of either sign; offsets may repeat."""
    offset = st.tuples(st.integers(-reach, reach), st.integers(-reach, reach))
    return st.lists(offset, min_size=samples, max_size=samples).map(lambda drawn: IndexPattern(tuple(drawn)))


def images(largest: int = 9, channels: int = 3) -> st.SearchStrategy[NDArray[np.uint8]]:
    """Draw small RGB images, a third of them with few different codes so that ties and borders of cells occur."""

    def make(height: int, width: int, seed: int, kind: int) -> NDArray[np.uint8]:
        random = np.random.default_rng(seed)
        shape = (height, width, channels)
        if kind == 0:
            return random.choice(np.array([0, 15, 16, 127, 128, 240, 255], np.uint8), shape)
        return random.integers(0, 256, shape, dtype=np.uint8)

    side = st.integers(1, largest)
    return st.builds(make, side, side, st.integers(0, 2**32 - 1), st.integers(0, 2))


@st.composite
def stages(
    draw: st.DrawFn, *, number: int = 1, source: str = "image", result: str = "result", blocks: tuple[int, ...] = BLOCKS
) -> tuple[Ensemble, Requantise]:
    """Draw a stage that `claim_stage` takes: mixed patterns, any interval, block, padding and interpolation."""
    interval = draw(st.integers(0, 8))
    block = draw(st.sampled_from(blocks))
    padding = draw(st.sampled_from(Padding))
    possible = [axes for axes in (1, 2, 3, 4) if Lattice(axes, interval).entries * block**2 <= LARGEST_TABLE]
    sizes = draw(st.lists(st.sampled_from(possible), min_size=1, max_size=4))
    confused = 4 in possible and draw(st.booleans())
    if confused:
        sizes = [4] * len(sizes)
    body: list[BodyOp] = [
        Lookup(
            output=f"lookup{number}/{place}",
            input=source,
            slot=f"stage{number}/{place}",
            pattern=draw(patterns(samples)),
            lattice=Lattice(samples, interval),
            block=block,
            padding=padding,
            interpolation=Interpolation.SRLUT if confused else Interpolation.SIMPLEX,
        )
        for place, samples in enumerate(sizes)
    ]
    if len(body) > 1 or draw(st.booleans()):
        body.append(Add(output=f"turn{number}", terms=tuple(draw(st.permutations([op.output for op in body])))))
    divisor = draw(st.integers(1, 4 * len(sizes) << interval))
    total = f"sum{number}"
    return (
        Ensemble(output=total, input=source, body=tuple(body)),
        Requantise(output=result, input=total, bias=draw(st.integers(-255, 255)) * divisor, divisor=divisor),
    )


def fill_tables(program: Program, seed: int) -> dict[str, NDArray[Any]]:
    """Return random tables over the whole range of their types for every slot; thresholds ascend."""
    random = np.random.default_rng(seed)
    tables: dict[str, NDArray[Any]] = {}
    for name, slot in program.slots.items():
        limits = np.iinfo(slot.dtype)
        tables[name] = random.integers(limits.min, limits.max, slot.shape, slot.dtype, endpoint=True)
    return tables | fill_thresholds(program, random)


def fill_thresholds(program: Program, random: np.random.Generator) -> dict[str, NDArray[np.int32]]:
    """Return ascending thresholds among the sums that random tables give, for every slot of thresholds."""
    return {
        op.post: np.sort(random.normal(0, op.window * op.levels, op.slots[op.post].shape), axis=0).astype(np.int32)
        for op in program.inner_ops()
        if isinstance(op, ReconstructedConvolution)
    }


@st.composite
def mixed_programs(draw: st.DrawFn) -> tuple[Op, ...]:
    """Draw runs of any ops, most of which the fused kernel cannot do.

    Lookups with and without an ensemble, requantisations inside a body, sums of sums and codes of one size, planes that
    several ops read, slots that several lookups read.
    """
    builder = _Builder(draw)
    for _ in range(draw(st.integers(1, 4))):
        builder.add_op()
    builder.finish()
    return tuple(builder.ops)


@dataclass(frozen=True)
class _Plane:
    name: str
    codes: bool
    scale: int


class _Builder:
    """Draws one op after another on any of the planes made so far."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._names = 0
        self._slots: list[Lookup] = []
        self.ops: list[Op] = []
        self.planes = [_Plane("image", codes=True, scale=1)]

    def add_op(self) -> None:
        """Draw one op; codes are there always, sums once an op has made one."""
        kind = self._draw(st.sampled_from(("lookup", "ensemble", "add", "requantise")))
        op, plane = self._ensemble() if kind == "ensemble" else self._simple(kind, self.planes)
        self.ops.append(op)
        self.planes.append(plane)

    def finish(self) -> None:
        """Turn the last plane into codes named as the output of a program."""
        self.ops.append(self._requantise(self.planes[-1], "result"))

    def _ensemble(self) -> tuple[Ensemble, _Plane]:
        source = self._draw(st.sampled_from(self.planes))
        inside = [source]
        body: list[BodyOp] = []
        for _ in range(self._draw(st.integers(1, 3))):
            op, plane = self._simple(self._draw(st.sampled_from(("lookup", "add", "requantise"))), inside)
            body.append(op)
            inside.append(plane)
        name = self._name()
        ensemble = Ensemble(output=name, input=source.name, body=tuple(body))
        return ensemble, _Plane(name, codes=False, scale=inside[-1].scale)

    def _simple(self, kind: str, planes: list[_Plane]) -> tuple[BodyOp, _Plane]:
        codes = [plane for plane in planes if plane.codes]
        name = self._name()
        if kind == "lookup" and codes:
            source = self._draw(st.sampled_from(codes))
            op = self._lookup(name, source)
            return op, _Plane(name, codes=False, scale=source.scale * op.block)
        first = self._draw(st.sampled_from(planes))
        if kind == "add":
            alike = [plane.name for plane in planes if plane.scale == first.scale]
            terms = self._draw(st.lists(st.sampled_from(alike), min_size=1, max_size=3))
            return Add(output=name, terms=tuple(terms)), _Plane(name, codes=False, scale=first.scale)
        return self._requantise(first, name), _Plane(name, codes=True, scale=first.scale)

    def _lookup(self, name: str, source: _Plane) -> Lookup:
        draw = self._draw
        if self._slots and draw(st.booleans()):  # another reader of a slot: same lattice and block, other pattern
            known = draw(st.sampled_from(self._slots))
            if source.scale * known.block <= 4:
                pattern = draw(patterns(known.lattice.axes))
                return msgspec.structs.replace(known, output=name, input=source.name, pattern=pattern)
        samples = draw(st.integers(1, 4))
        op = Lookup(
            output=name,
            input=source.name,
            slot=f"slot{len(self._slots)}",
            pattern=draw(patterns(samples)),
            lattice=Lattice(samples, draw(st.integers(5, 8))),
            block=draw(st.sampled_from((1, 2))) if source.scale < 4 else 1,
            padding=draw(st.sampled_from(Padding)),
            interpolation=draw(st.sampled_from(Interpolation)) if samples == 4 else Interpolation.SIMPLEX,
        )
        self._slots.append(op)
        return op

    def _requantise(self, source: _Plane, name: str) -> Requantise:
        divisor = self._draw(st.sampled_from((1, 2, 3, 4, 32, 129, 1024)))
        bias = self._draw(st.integers(-255, 255)) * divisor + self._draw(st.integers(0, divisor))
        return Requantise(output=name, input=source.name, bias=bias, divisor=divisor)

    def _name(self) -> str:
        self._names += 1
        return f"plane{self._names}"


@st.composite
def filled_programs(draw: st.DrawFn) -> Filled:
    """Draw programs with random tables: one or two stages as families build them, or any run of ops."""
    kind = draw(st.sampled_from(("one stage", "two stages", "mixed", "mixed")))
    ops: tuple[Op, ...]
    if kind == "one stage":
        ops = draw(stages())
    elif kind == "two stages":
        first = draw(stages(number=1, result="middle", blocks=(1, 3)))
        ops = (*first, *draw(stages(number=2, source="middle", blocks=(1, 3))))
    else:
        ops = draw(mixed_programs())
    program = Program(family="test", task="sr", ops=ops)
    program.validate()
    return Filled(program, fill_tables(program, draw(st.integers(0, 2**32 - 1))))
