"""Fused stages of diagonal-first tables: equal to the references, forward and in the entries that they touch."""

import numpy as np
import pytest
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BLOCKS, images, patterns
from test_stage_kernel import claim, refer
from test_stage_sources import build, fill

from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.cpu.stage import run_stage
from lutkit_runtime.kernels.cpu.touched import touched_entries
from lutkit_runtime.kernels.stage_bands import gather_gradient, lay_out_rows, spread_table
from lutkit_runtime.kernels.stage_claim import claim_stage
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, BodyOp, Ensemble, Lookup, Requantise
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import IndexPattern

SMALLEST_INTERVAL = {2: 0, 3: 3, 4: 4}
"""By the number of axes: smaller ones make the references slow."""


@st.composite
def diagonals(draw: st.DrawFn, lattice: Lattice) -> Diagonal:
    """Draw a compression of a lattice."""
    return Diagonal(draw(st.integers(1, 4)), draw(st.integers(lattice.interval + 1, min(8, lattice.interval + 3))))


@st.composite
def diagonal_stages(draw: st.DrawFn, blocks: tuple[int, ...] = BLOCKS) -> tuple[Ensemble, Requantise]:
    """Draw a stage that `claim_stage` takes, with at least one diagonal-first table among its lookups."""
    block = draw(st.sampled_from(blocks))
    padding = draw(st.sampled_from(Padding))
    lookups: list[Lookup] = []
    for place in range(draw(st.integers(1, 3))):
        axes = draw(st.integers(2, 4))
        lattice = Lattice(axes, draw(st.integers(SMALLEST_INTERVAL[axes], 7)))
        diagonal = draw(diagonals(lattice)) if place == 0 or draw(st.booleans()) else None
        lookup = Lookup(
            output=f"lookup{place}",
            input="image",
            slot=f"table{place}",
            pattern=draw(patterns(axes)),
            lattice=lattice,
            block=block,
            padding=padding,
            diagonal=diagonal,
        )
        lookups.append(lookup)
    unit = max(op.step for op in lookups)
    body: list[BodyOp] = [*lookups]
    if len(lookups) > 1:
        weights = tuple(unit // op.step for op in lookups)
        body.append(Add(output="turn", terms=tuple(op.output for op in lookups), weights=weights))
    divisor = draw(st.integers(1, 4 * len(lookups) * unit))
    return (
        Ensemble(output="sum", input="image", body=tuple(body)),
        Requantise(output="result", input="sum", bias=draw(st.integers(-255, 255)) * divisor, divisor=divisor),
    )


def draw_line(samples: int = 4) -> IndexPattern:
    """Return the pattern of samples side by side."""
    return IndexPattern(tuple((0, column) for column in range(samples)))


def smooth(image: np.ndarray) -> np.ndarray:
    """Return planes whose samples are alike, so that a part of them lies in the band."""
    planes = np.ascontiguousarray(np.moveaxis(image, 2, 0))
    return (planes // 4 + 96 + 4 * (planes % 5)).astype(np.uint8)


@settings(max_examples=100)
@given(diagonal_stages(), images(), st.integers(0, 2**32 - 1), st.booleans())
def test_equals_the_references(ops: tuple[Ensemble, Requantise], image: np.ndarray, seed: int, is_smooth: bool) -> None:
    program = build(*ops)
    tables = fill(program, seed)
    planes = smooth(image) if is_smooth else np.ascontiguousarray(np.moveaxis(image, 2, 0))
    result = run_stage(claim(program), tables, planes, 1)
    np.testing.assert_array_equal(result, refer(program, tables, planes))


@settings(max_examples=40)
@given(diagonal_stages(blocks=(1,)), images(largest=5, channels=1))
def test_touched_entries_are_those_that_the_references_read(
    ops: tuple[Ensemble, Requantise], image: np.ndarray
) -> None:
    stage = claim(build(*ops))
    planes = smooth(image)
    for lookup, found in zip(stage.lookups, touched_entries(stage, planes), strict=True):
        turned = [np.rot90(planes, turns, axes=(1, 2)) for turns in range(4)]
        expected = np.concatenate([lookup.walk(lookup.gather(plane))[0].reshape(-1) for plane in turned])
        np.testing.assert_array_equal(found, np.unique(expected))


@pytest.mark.parametrize("interval", [4, 6])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_every_pair_of_differences_at_the_ends_of_the_band(interval: int, width: int) -> None:
    """Samples exactly as far apart as the band is wide, and one more or less, at all fractions of the first."""
    lattice = Lattice(4, interval)
    reach = width << interval
    offsets = (-reach - 1, -reach, -reach + 1, 0, reach - 1, reach, reach + 1)
    first = np.arange(0, 256, 5 if interval == 4 else 7)
    grid = np.stack(np.meshgrid(first, *(offsets,) * 3, indexing="ij"), axis=-1).reshape(-1, 4)
    samples = np.concatenate([grid[:, :1], grid[:, :1] + grid[:, 1:]], axis=1)
    samples = samples[((samples >= 0) & (samples <= 255)).all(axis=1)]
    planes = samples.astype(np.uint8)[:, None, :]  # one line of four pixels for each set of samples
    lookup = Lookup(
        output="wide",
        input="image",
        slot="table",
        pattern=draw_line(),
        lattice=lattice,
        diagonal=Diagonal(width, interval + 1),
    )
    program = build(
        Ensemble(output="sum", input="image", body=(lookup,)),
        Requantise(output="result", input="sum", bias=127 * 64, divisor=64),
    )
    tables = fill(program, 1)
    np.testing.assert_array_equal(run_stage(claim(program), tables, planes), refer(program, tables, planes))


@settings(max_examples=40)
@given(st.data())
def test_rows_in_memory_hold_every_row_and_gradients_come_back(data: st.DataObject) -> None:
    axes = data.draw(st.integers(2, 4))
    lattice = Lattice(axes, data.draw(st.integers(SMALLEST_INTERVAL[axes], 7)))
    diagonal = data.draw(diagonals(lattice))
    lookup = Lookup(output="a", input="image", slot="a", pattern=draw_line(axes), lattice=lattice, diagonal=diagonal)
    rows = lay_out_rows(lookup)
    assert set(range(lookup.entries)) <= set(rows.tolist())
    table = np.arange(lookup.entries, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(gather_gradient(lookup, spread_table(lookup, table)), table)


def test_the_published_branch_is_not_claimed_with_a_band() -> None:
    """Its negative weight can fall on a node beyond the band."""
    lookup = Lookup(
        output="a",
        input="image",
        slot="a",
        pattern=draw_line(),
        lattice=Lattice(4, 4),
        interpolation=Interpolation.SRLUT,
        diagonal=Diagonal(2, 5),
    )
    requantise = Requantise(output="result", input="sum", bias=0, divisor=16)
    assert claim_stage(Ensemble(output="sum", input="image", body=(lookup,)), requantise) is None


PLAIN_CASE = """
import warnings; warnings.simplefilter("error")
import numpy as np
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.kernels.cpu import gradient, stage, touched
from lutkit_runtime.kernels.stage_claim import claim_stage
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, Requantise
from lutkit_runtime.pattern import IndexPattern
def look_up(name, samples, interval, diagonal=None):
    pattern = IndexPattern(tuple((0, column) for column in range(samples)))
    lattice = Lattice(samples, interval)
    return Lookup(
        output=name, input="image", slot=name, pattern=pattern, lattice=lattice, block=2, diagonal=diagonal
    )
lookups = (look_up("band", 3, 4, Diagonal(2, 5)), look_up("nodes", 1, 0), look_up("walk", 2, 4))
add = Add(output="turn", terms=("band", "nodes", "walk"), weights=(1, 32, 2))
ops = (
    Ensemble(output="sum", input="image", body=(*lookups, add)),
    Requantise(output="result", input="sum", bias=127 * 96, divisor=96),
)
random = np.random.default_rng(1)
tables = {op.slot: random.integers(-128, 128, op.slots[op.slot].shape, dtype=np.int8) for op in lookups}
planes = random.integers(60, 190, (2, 3, 4), dtype=np.uint8)
named = {"image": planes}
for op in ops:
    named[op.output] = op.reference(named, tables)
claimed = claim_stage(*ops)
assert not hasattr(stage.run_lines, "signatures")
result = stage.run_stage(claimed, tables, planes)
slopes = gradient.stage_gradient(
    claimed, [tables[op.slot] for op in lookups], planes, result, np.ones(result.shape, np.float32)
)
seen = touched.touched_entries(claimed, planes)
inside = [set(np.flatnonzero(slope.any(axis=1))) <= set(rows) for slope, rows in zip(slopes.tables, seen)]
print(np.array_equal(result, named["result"]), *inside)
"""


def test_kernels_in_plain_python_stay_inside_their_arrays() -> None:
    """Without compilation every index is checked, and integers that wrap around warn."""
    assert run_python(PLAIN_CASE, NUMBA_DISABLE_JIT="1").split() == ["True"] * 4
