"""Diagonal-first tables: which rows are kept, and that a lookup reads the fine ones near the diagonal, else the coarse."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import interpolate

from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Lookup
from lutkit_runtime.pattern import IndexPattern

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))


def make_lookup(axes, interval, width, coarse):
    return Lookup(
        output="sum",
        input="image",
        slot="table",
        pattern=IndexPattern(PLACES[:axes]),
        lattice=Lattice(axes, interval),
        block=2,
        diagonal=Diagonal(width, coarse),
    )


@st.composite
def lookups(draw):
    """Draw lookups of tables that are quick to fill."""
    axes = draw(st.integers(2, 4))
    interval = draw(st.integers(4 if axes > 2 else 3, 7))
    coarse = draw(st.integers(interval + 1, min(8, interval + 3)))
    return make_lookup(axes, interval, draw(st.integers(1, 4)), coarse)


def find_kept(lookup):
    """Return the node indices of every row of a compressed table: near ones on the fine axes, then the coarse ones."""
    axes, width = lookup.lattice.axes, lookup.diagonal.width
    fine = itertools.product(range(256 // lookup.lattice.step + 1), repeat=axes)
    near = [node for node in fine if all(abs(other - node[0]) <= width for other in node[1:])]
    return near, list(itertools.product(range(256 // 2**lookup.diagonal.coarse + 1), repeat=axes))


def compress(lookup, full):
    """Return the compressed table of a full one, in other words than the project's."""
    nodes = 256 // lookup.lattice.step + 1
    ratio = 2**lookup.diagonal.coarse // lookup.lattice.step
    near, coarse = find_kept(lookup)
    places = [*near, *(tuple(ratio * index for index in node) for node in coarse)]
    return full[[np.ravel_multi_index(place, (nodes,) * lookup.lattice.axes) for place in places]]


def fill(lookup, seed=0):
    return np.random.default_rng(seed).integers(-127, 128, (lookup.lattice.entries, 4), dtype=np.int8)


def draw_samples(lookup, count, seed):
    """Return random samples, half of them near the diagonal or just beyond the edge of what counts as near."""
    random = np.random.default_rng(seed)
    axes = lookup.lattice.axes
    reach = lookup.diagonal.width * lookup.lattice.step
    wide = random.integers(0, 256, (count // 2, axes))
    apart = random.integers(-reach, reach + 1, (count - count // 2, axes - 1))
    apart = np.where(random.random(apart.shape) < 0.3, random.choice([-reach - 1, -reach, reach, reach + 1]), apart)
    first = random.integers(0, 256, (len(apart), 1))
    close = np.concatenate([first, first + apart], axis=1).clip(0, 255)
    return np.concatenate([wide, close])


def test_published_sizes():
    """Li et al., CVPR 2024: 1807 nodes of 17^4 near the diagonal, and 9^4 coarse ones."""
    lookup = make_lookup(4, 4, width=2, coarse=5)
    assert len(Diagonal().band_rows(Lattice(4, 4))) == 1807
    assert lookup.diagonal == Diagonal()
    assert lookup.entries == 1807 + 9**4 == 8368
    assert lookup.slots["table"].shape == (8368, 4)
    assert (lookup.step, lookup.largest) == (32, 128 * 32)


@given(lookups())
@settings(max_examples=25)
def test_rows_are_the_near_nodes_then_the_coarse_ones(lookup):
    near, coarse = find_kept(lookup)
    assert lookup.entries == len(near) + len(coarse)
    codes = [
        *([min(index * lookup.lattice.step, 255) for index in node] for node in near),
        *([min(index * lookup.step, 255) for index in node] for node in coarse),
    ]
    samples = lookup.node_samples()
    assert samples.dtype == np.uint8
    np.testing.assert_array_equal(samples, codes)
    half = lookup.entries // 2
    np.testing.assert_array_equal(np.concatenate([lookup.node_samples(0, half), lookup.node_samples(half)]), samples)
    rows = np.array([0, lookup.entries - 1, half])
    np.testing.assert_array_equal(lookup.samples_of(rows), samples[rows])


@given(lookups(), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_a_lookup_is_the_fine_one_near_the_diagonal_and_the_coarse_one_elsewhere(lookup, seed):
    full = fill(lookup, seed)
    table = compress(lookup, full)
    coarse = table[len(find_kept(lookup)[0]) :]
    samples = draw_samples(lookup, 40, seed)
    found = lookup.interpolate(samples, table)
    reach = lookup.diagonal.width * lookup.lattice.step
    ratio = lookup.step // lookup.lattice.step
    for values, sums in zip(samples, found, strict=True):
        if all(abs(value - values[0]) <= reach for value in values):
            expected = ratio * interpolate(values, full, lookup.lattice.interval)
        else:
            expected = interpolate(values, coarse, lookup.diagonal.coarse)
        np.testing.assert_array_equal(sums, expected)


@given(lookups())
@settings(max_examples=15)
def test_at_every_kept_node_a_lookup_gives_its_entry(lookup):
    """But at those of 256, which no sample reaches."""
    full = fill(lookup)
    table = compress(lookup, full)
    near, coarse = find_kept(lookup)
    for step, nodes, entries in (
        (lookup.lattice.step, near, table[: len(near)]),
        (lookup.step, coarse, table[len(near) :]),
    ):
        samples = np.array(nodes) * step
        inside = (samples < 256).all(axis=1)
        np.testing.assert_array_equal(
            lookup.interpolate(samples[inside], table), lookup.step * entries[inside].astype(int)
        )


@given(lookups(), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_rows_outside_the_band_have_weight_zero(lookup, seed):
    assert_clamped_rows_do_not_count(lookup, draw_samples(lookup, 2000, seed))


@pytest.mark.parametrize("interval", [3, 4, 5])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_rows_outside_the_band_have_weight_zero_for_all_pairs(interval, width):
    lookup = make_lookup(2, interval, width, interval + 1)
    samples = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).reshape(-1, 2)
    assert_clamped_rows_do_not_count(lookup, samples)


def assert_clamped_rows_do_not_count(lookup, samples):
    """Fail where a vertex that the band leaves out has a weight: its row in the compressed table is that of another."""
    plain = msgspec.structs.replace(lookup, diagonal=None)
    near = lookup.diagonal.near(samples, lookup.lattice)
    rows, weights = plain.walk(samples[near])
    nodes = np.stack(np.unravel_index(rows, (lookup.lattice.nodes_per_axis,) * lookup.lattice.axes), axis=-1)
    outside = (abs(nodes[..., 1:] - nodes[..., :1]) > lookup.diagonal.width).any(axis=-1)
    assert (weights[outside] == 0).all()
    read, counted = lookup.walk(samples)
    assert read.min() >= 0 and read.max() < lookup.entries
    assert (counted >= 0).all() and (counted.sum(axis=-1) == lookup.step).all()
    assert (read[near] < len(find_kept(lookup)[0])).all()


def test_vertices_outside_the_band_are_met():
    """Else the laws above would say nothing about clamping."""
    lookup = make_lookup(4, 4, width=2, coarse=5)
    plain = msgspec.structs.replace(lookup, diagonal=None)
    samples = np.array([[47, 15, 47, 47]])
    rows, weights = plain.walk(samples)
    assert lookup.diagonal.near(samples, lookup.lattice).all()
    missing = ~np.isin(rows, lookup.diagonal.band_rows(lookup.lattice))
    assert missing.any() and (weights[missing] == 0).all()


@pytest.mark.parametrize(
    ("axes", "interval", "width", "coarse"),
    [(4, 4, 0, 5), (4, 4, 5, 5), (4, 4, 2, 4), (4, 4, 2, 8), (4, 4, 2, 3), (4, 8, 2, 9), (1, 4, 2, 5)],
)
def test_impossible_compressions_are_refused(axes, interval, width, coarse):
    with pytest.raises(ProgramError, match="op 'sum'") as refusal:
        make_lookup(axes, interval, width, coarse).validate()
    assert "\n" not in str(refusal.value)


def test_compressed_lookups_travel_as_json():
    lookup = make_lookup(4, 4, width=2, coarse=5)
    lookup.validate()
    assert msgspec.json.decode(msgspec.json.encode(lookup), type=Lookup) == lookup
