"""Hypothesis strategies for programs, tables and images, shared by the tests of the runtime."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, BodyOp, Ensemble, Lookup, Requantise
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
    tables: dict[str, NDArray[np.int8]]


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


def fill_tables(program: Program, seed: int) -> dict[str, NDArray[np.int8]]:
    """Return random tables over the whole range of int8 for every slot."""
    random = np.random.default_rng(seed)
    return {
        name: random.integers(-128, 128, (slot.entries, slot.outputs), dtype=np.int8)
        for name, slot in program.slots.items()
    }


@st.composite
def filled_programs(draw: st.DrawFn) -> Filled:
    """Draw programs of one or two stages with random tables."""
    if draw(st.booleans()):
        ops = draw(stages())
    else:
        first = draw(stages(number=1, result="middle", blocks=(1, 3)))
        ops = (*first, *draw(stages(number=2, source="middle", blocks=(1, 3))))
    program = Program(family="test", task="sr", ops=ops)
    program.validate()
    return Filled(program, fill_tables(program, draw(st.integers(0, 2**32 - 1))))
