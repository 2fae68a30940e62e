"""Hypothesis strategies for single ops, shared by the tests of the runtime."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import AxisLookup, Lookup, Plane, ReconstructedConvolution, Tap
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import IndexPattern

STEPS = (1, 1, 2, 4, 8, 16, 32, 64)
MAX_VALUES = 256
LARGEST_LOW = 256


def patterns(samples: int, reach: int = 4) -> st.SearchStrategy[IndexPattern]:
    """Draw patterns with offsets of either sign; offsets may repeat."""
    offset = st.tuples(st.integers(-reach, reach), st.integers(-reach, reach))
    return st.lists(offset, min_size=samples, max_size=samples).map(lambda drawn: IndexPattern(tuple(drawn)))


@st.composite
def convolutions_of(
    draw: st.DrawFn, output: str, source: str, windows: tuple[int, ...] = (3, 5)
) -> ReconstructedConvolution:
    """Draw reconstructed convolutions of a plane of codes; slots are named after the output."""
    window = draw(st.sampled_from(windows))
    return ReconstructedConvolution(
        output=output,
        input=source,
        slot=f"{output}/tables",
        post=f"{output}/thresholds",
        window=window,
        first=draw(st.integers(1 - window, 0)),
        unit=draw(st.sampled_from((900.0, 20000.5, 400000.0))),
        storage=draw(st.sampled_from(("int16", "int8"))),
    )


@st.composite
def small_lookups(draw: st.DrawFn, output: str, source: str, block: int, *, compressed: bool | None = None) -> Lookup:
    """Draw lookups of few nodes; without `compressed` some of them are. The slot is named as the output."""
    if compressed is None:
        compressed = draw(st.integers(0, 2)) == 0
    samples = draw(st.integers(2 if compressed else 1, 4))
    interval = draw(st.integers(5, 6 if compressed else 8))
    return Lookup(
        output=output,
        input=source,
        slot=output,
        pattern=draw(patterns(samples)),
        lattice=Lattice(samples, interval),
        block=block,
        padding=draw(st.sampled_from(Padding)),
        interpolation=draw(st.sampled_from(Interpolation))
        if samples == 4 and not compressed
        else Interpolation.SIMPLEX,
        diagonal=draw(diagonals(interval)) if compressed else None,
    )


def diagonals(interval: int) -> st.SearchStrategy[Diagonal]:
    """Draw compressions of a lattice of at least two axes."""
    return st.builds(Diagonal, st.integers(1, 4), st.integers(interval + 1, min(8, interval + 3)))


def can_index(plane: Plane) -> bool:
    """Tell whether tables of one sample can have an entry for every value of a plane."""
    return plane.high - plane.low < MAX_VALUES and abs(plane.low) <= LARGEST_LOW


@st.composite
def axis_lookups(
    draw: st.DrawFn,
    output: str,
    source: str,
    plane: Plane,
    *,
    outputs: int,
    depthwise: bool = False,
    paddings: Any = Padding,
) -> AxisLookup:
    """Draw lookups of a plane that `can_index`, with a table for every tap and output; the slot is named as the output.

    Taps are a few at random: a channel may have several, or none. Steps follow from a seed.
    """
    channel, distance = st.integers(0, plane.channels - 1), st.integers(-2, 2)
    taps = draw(st.lists(st.builds(Tap, channel, distance, distance), min_size=1, max_size=4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = draw(st.integers(max(plane.low - 2, plane.high - MAX_VALUES + 1, -LARGEST_LOW), plane.low))
    least = max(plane.high - low + 1, 2)
    steps = random.choice(STEPS if draw(st.booleans()) else STEPS[:1], (len(taps), 1 if depthwise else outputs))
    return AxisLookup(
        output=output,
        input=source,
        slot=output,
        taps=tuple(taps),
        tables=AxisTables(
            low=low,
            size=draw(st.integers(least, min(least + 3, MAX_VALUES))),
            steps=tuple(map(tuple, steps.tolist())),
        ),
        outputs=plane.channels if depthwise else outputs,
        depthwise=depthwise,
        padding=draw(st.sampled_from(paddings)),
    )
