"""Ops: the references against the independent oracle, laws of lookups and rounding, refusals."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import fill_tables, images, patterns, stages

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, Requantise
from lutkit_runtime.ops.ensemble import body_extent
from lutkit_runtime.ops.lookup import spread_blocks
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern
from lutkit_runtime.program import Program

ANCHOR = IndexPattern(((0, 0),))


def look_up(pattern: IndexPattern = ANCHOR, interval: int = 4, **fields: object) -> Lookup:
    """Return a lookup of the plane `image` in the slot `t`."""
    lattice = Lattice(pattern.samples, interval)
    return Lookup(output="wide", input="image", slot="t", pattern=pattern, lattice=lattice, **fields)


@settings(max_examples=40)
@given(stages(blocks=(1, 2, 3)), images(largest=4, channels=1), st.integers(0, 2**32 - 1))
def test_stage_equals_the_oracle(stage: tuple[Ensemble, Requantise], image: np.ndarray, seed: int) -> None:
    ensemble, requantise = stage
    lookups = [op for op in ensemble.body if isinstance(op, Lookup)]
    if lookups[0].interpolation is Interpolation.SRLUT:
        return  # the oracle interpolates correctly
    tables = fill_tables(Program(family="test", task="sr", ops=stage), seed)
    planes = {"image": image[..., 0]}
    planes[ensemble.output] = ensemble.reference(planes, tables)
    expected = oracle.run_stage(
        image[..., 0],
        [(op.pattern.offsets, tables[op.slot]) for op in lookups],
        interval=lookups[0].lattice.interval,
        block=lookups[0].block,
        padding=lookups[0].padding.value,
        bias=requantise.bias,
        divisor=requantise.divisor,
    )
    np.testing.assert_array_equal(requantise.reference(planes, tables), expected)


@given(st.integers(1, 8), st.integers(-128, 127), st.integers(1, 4).flatmap(patterns), images(largest=4, channels=1))
def test_constant_table_gives_its_constant(interval: int, value: int, pattern: IndexPattern, image: np.ndarray) -> None:
    op = look_up(pattern, max(interval, 3), block=2)
    table = np.full((op.lattice.entries, 4), value, np.int8)
    wide = op.reference({"image": image[..., 0]}, {"t": table})
    assert wide.shape == (2 * image.shape[0], 2 * image.shape[1])
    assert (wide == value * op.lattice.step).all()


@pytest.mark.parametrize(
    ("name", "interval"),
    [*(("v", interval) for interval in range(8)), ("s", 4), ("s", 7), ("y", 4), ("y", 6), ("f", 3)],
)
def test_identity_table_returns_its_input(name: str, interval: int) -> None:
    """A table that returns its first sample; codes above the last node but one are out of reach of an entry of 127."""
    pattern = NAMED_PATTERNS[name]
    op = look_up(pattern, interval)
    nodes = np.arange(op.lattice.entries) // op.lattice.strides[0] * op.lattice.step
    tables = {"t": np.minimum(nodes - 127, 127).astype(np.int8)[:, None]}
    codes = np.arange(16 * 16).reshape(16, 16).clip(max=256 - op.lattice.step)
    divisor = 4 * op.lattice.step
    planes = {
        "image": codes,
        "sum": Ensemble(output="sum", input="image", body=(op,)).reference({"image": codes}, tables),
    }
    requantise = Requantise(output="codes", input="sum", bias=127 * divisor, divisor=divisor)
    np.testing.assert_array_equal(requantise.reference(planes, {}), codes.clip(max=254))


@given(images(largest=6, channels=1), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_ensemble_of_a_turned_image_is_the_turned_ensemble(image: np.ndarray, turns: int, seed: int) -> None:
    op = look_up(NAMED_PATTERNS["y"], 6, block=2)
    ensemble = Ensemble(output="sum", input="image", body=(op,))
    tables = {"t": np.random.default_rng(seed).integers(-128, 128, (op.lattice.entries, 4), dtype=np.int8)}
    plane = image[..., 0]
    straight = ensemble.reference({"image": plane}, tables)
    turned = ensemble.reference({"image": np.rot90(plane, turns)}, tables)
    np.testing.assert_array_equal(turned, np.rot90(straight, turns))


def test_leading_axes_are_independent_planes() -> None:
    op = look_up(NAMED_PATTERNS["s"], 5, block=2, padding=Padding.REFLECT)
    random = np.random.default_rng(1)
    planes = random.integers(0, 256, (2, 3, 5, 4))
    tables = {"t": random.integers(-128, 128, (op.lattice.entries, 4), dtype=np.int8)}
    together = op.reference({"image": planes}, tables)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(together[place], op.reference({"image": planes[place]}, tables))


def test_blocks_are_in_row_major_order() -> None:
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    spread = spread_blocks(values, 2)
    assert spread.shape == (4, 6)
    assert spread[2:4, 2:4].ravel().tolist() == values[1, 1].tolist()


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(1, 5000))
def test_rounds_half_to_even_with_the_bias_inside(total: int, bias: int, divisor: int) -> None:
    op = Requantise(output="codes", input="sum", bias=bias, divisor=divisor)
    expected = min(max(round(Fraction(total + bias, divisor)), 0), 255)
    assert op.codes(np.array([total]))[0] == expected


def test_bias_before_and_after_rounding_differ_on_ties() -> None:
    inside = Requantise(output="codes", input="sum", bias=127 * 192, divisor=192)
    assert inside.codes(np.array([96]))[0] == 128  # 127.5
    assert 127 + round(Fraction(96, 192)) == 127


def test_add_sums_its_terms() -> None:
    planes = {"a": np.array([1, 2]), "b": np.array([10, -20])}
    assert Add(output="c", terms=("a", "b", "a")).reference(planes, {}).tolist() == [12, -16]


def test_sums_of_bytes_do_not_wrap() -> None:
    image = np.array([[200, 255], [0, 7]], np.uint8)
    planes = {"image": image, "twice": Add(output="twice", terms=("image", "image")).reference({"image": image}, {})}
    mean = Requantise(output="mean", input="twice", bias=0, divisor=2)
    np.testing.assert_array_equal(mean.reference(planes, {}), image)
    codes = Requantise(output="codes", input="image", bias=0, divisor=1)
    total = Ensemble(output="sum", input="image", body=(codes,)).reference(planes, {})
    assert total.dtype == np.int64
    np.testing.assert_array_equal(total, 4 * image.astype(int))
    np.testing.assert_array_equal(image, [[200, 255], [0, 7]])


def test_extent_of_a_second_stage_counts_in_input_pixels() -> None:
    first = look_up(NAMED_PATTERNS["e"], block=2)
    second = Lookup(output="end", input="wide", slot="u", pattern=NAMED_PATTERNS["e"], lattice=Lattice(4, 4), block=3)
    assert body_extent("image", (first, second)) == (3 + 2, 6)


@pytest.mark.parametrize(
    "op",
    [
        Lookup(output="o", input="i", slot="t", pattern=NAMED_PATTERNS["s"], lattice=Lattice(3, 4)),
        Lookup(output="o", input="i", slot="t", pattern=ANCHOR, lattice=Lattice(1, 4), block=0),
        Lookup(output="o", input="i", slot="t", pattern=ANCHOR, lattice=Lattice(1, 4), block=9),
        Lookup(
            output="o", input="i", slot="t", pattern=ANCHOR, lattice=Lattice(1, 4), interpolation=Interpolation.SRLUT
        ),
        Requantise(output="o", input="i", bias=0, divisor=0),
        Requantise(output="o", input="i", bias=2**30 + 1, divisor=1),
        Add(output="o", terms=()),
        Ensemble(output="o", input="i", body=()),
        Ensemble(output="o", input="i", body=(Add(output="a", terms=("other",)),)),
        Ensemble(output="o", input="i", body=(Add(output="i", terms=("i",)),)),
    ],
)
def test_refuses_in_one_line(op: Lookup | Requantise | Add | Ensemble) -> None:
    with pytest.raises(ProgramError, match=r"\A[^\n]+\Z"):
        op.validate()


def test_refuses_to_join_planes_of_different_sizes() -> None:
    body = (look_up(block=2), Add(output="mixed", terms=("wide", "image")))
    with pytest.raises(ProgramError, match="one size"):
        Ensemble(output="sum", input="image", body=body).validate()


@pytest.mark.data
@pytest.mark.parametrize("kind", ["random", "smooth"])
def test_sr_lut_equals_the_independent_results(shared_data: Path, kind: str) -> None:
    stored = np.load(shared_data / "oracles" / "sr_lut_s.npz")
    inputs = np.load(shared_data / "oracles" / "mulut_stage.npz")[f"input_{kind}"]
    (path,) = (shared_data / "published" / "sr-lut-s-x4").glob("*_x4_4bit_int8.npy")
    tables = {"t": np.load(path).reshape(17**4, 16)}
    planes = {"image": np.moveaxis(inputs, 2, 0)}
    requantise = Requantise(output="codes", input="sum", bias=0, divisor=16)
    for interpolation, name in ((Interpolation.SIMPLEX, "correct"), (Interpolation.SRLUT, "published_branch")):
        body = (look_up(NAMED_PATTERNS["s"], block=4, padding=Padding.REFLECT, interpolation=interpolation),)
        planes["sum"] = Ensemble(output="sum", input="image", body=body).reference(planes, tables)
        if name == "correct":
            np.testing.assert_array_equal(np.moveaxis(planes["sum"], 0, 2), stored[f"correct_sum16_{kind}"])
        codes = np.moveaxis(requantise.reference(planes, tables), 0, 2)
        np.testing.assert_array_equal(codes, stored[f"{name}_{kind}"])
