"""Hypothesis strategies for programs, tables and images, shared by the tests of the runtime."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from axis_programs import axis_networks
from hypothesis import strategies as st
from mixed_programs import mixed_programs
from numpy.typing import NDArray
from small_ops import convolutions_of, patterns, small_lookups

from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, BodyOp, Ensemble, Lookup, Op, ReconstructedConvolution, Requantise
from lutkit_runtime.padding import Padding
from lutkit_runtime.program import Program

LARGEST_TABLE = 200_000

BLOCKS = (1, 3, 4)
"""One value, fewer than the kernel's lanes, as many. Each has a kernel of its own to compile: no more than needed."""


@dataclass(frozen=True)
class Filled:
    """A program with its tables."""

    program: Program
    tables: dict[str, NDArray[Any]]


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
def convolved_stages(draw: st.DrawFn) -> tuple[Op, ...]:
    """Draw a stage whose lookups read windows of the image, each of its own steps, some compressed, weighted to one unit."""
    windows = draw(st.lists(st.sampled_from((3, 5, 7, 9)), min_size=1, max_size=2))
    convolutions = [draw(convolutions_of(f"window{place}", "image", (window,))) for place, window in enumerate(windows)]
    sources = draw(st.permutations(["image", *[op.output for op in convolutions]]))
    block = draw(st.sampled_from((1, 3)))
    lookups = [draw(small_lookups(f"lookup{place}", name, block)) for place, name in enumerate(sources)]
    unit = max(op.step for op in lookups)
    weights = tuple(unit // op.step for op in lookups)
    body = (*convolutions, *lookups, Add(output="turn", terms=tuple(op.output for op in lookups), weights=weights))
    divisor = draw(st.integers(1, 4 * len(lookups) * unit))
    bias = draw(st.integers(-255, 255)) * divisor
    return (
        Ensemble(output="sum", input="image", body=body),
        Requantise(output="result", input="sum", bias=bias, divisor=divisor),
    )


@st.composite
def filled_programs(draw: st.DrawFn) -> Filled:
    """Draw programs with random tables: one or two stages as families build them, or any run of ops."""
    kind = draw(st.sampled_from(("one stage", "two stages", "windows", "axes", "mixed", "mixed")))
    ops: tuple[Op, ...]
    if kind == "one stage":
        ops = draw(stages())
    elif kind == "two stages":
        first = draw(stages(number=1, result="middle", blocks=(1, 3)))
        ops = (*first, *draw(stages(number=2, source="middle", blocks=(1, 3))))
    elif kind == "windows":
        ops = draw(convolved_stages())
    elif kind == "axes":
        ops = draw(axis_networks())
    else:
        ops = draw(mixed_programs())
    program = Program(family="test", task="sr", ops=ops)
    program.validate()
    return Filled(program, fill_tables(program, draw(st.integers(0, 2**32 - 1))))
