"""Simplex interpolation: laws, two independent definitions, the published branch."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit_runtime.interpolation import Interpolation, order_axes, order_axes_srlut, simplex_terms
from lutkit_runtime.lattice import Lattice

lattices = st.builds(Lattice, st.integers(1, 4), st.integers(0, 8)).filter(lambda it: it.entries < 100_000)


def draw_samples(seed: int, count: int, axes: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, axes))


@given(lattices, st.integers(0, 2**32 - 1))
def test_weights_are_not_negative_and_sum_to_the_step(lattice: Lattice, seed: int) -> None:
    rows, weights = simplex_terms(draw_samples(seed, 50, lattice.axes), lattice)
    assert weights.min() >= 0
    assert (weights.sum(-1) == lattice.step).all()
    assert rows.min() >= 0
    assert rows.max() < lattice.entries


@given(lattices, st.integers(0, 2**32 - 1))
def test_equals_the_mean_over_thresholds(lattice: Lattice, seed: int) -> None:
    samples = draw_samples(seed, 20, lattice.axes)
    table = np.random.default_rng(seed).integers(-128, 128, (lattice.entries, 2), dtype=np.int8)
    rows, weights = simplex_terms(samples, lattice)
    values = np.einsum("nv,nvk->nk", weights, table[rows], dtype=np.int64)
    expected = [oracle.interpolate(sample.tolist(), table, lattice.interval) for sample in samples]
    np.testing.assert_array_equal(values, expected)


@given(lattices, st.integers(0, 2**32 - 1))
def test_reproduces_linear_functions(lattice: Lattice, seed: int) -> None:
    random = np.random.default_rng(seed)
    slope = random.integers(-9, 10, lattice.axes)
    nodes = np.stack(np.unravel_index(np.arange(lattice.entries), (lattice.nodes_per_axis,) * lattice.axes), -1)
    table = nodes * lattice.step @ slope
    samples = draw_samples(seed, 50, lattice.axes)
    rows, weights = simplex_terms(samples, lattice)
    np.testing.assert_array_equal((weights * table[rows]).sum(-1), samples @ slope * lattice.step)


@given(lattices, st.integers(0, 2**32 - 1))
def test_is_continuous_across_the_borders_of_cells(lattice: Lattice, seed: int) -> None:
    """A step of one code along one axis changes the value by at most the largest difference along that axis, / step."""
    random = np.random.default_rng(seed)
    table = random.integers(-128, 128, lattice.entries)
    samples = draw_samples(seed, 50, lattice.axes)
    axis = int(random.integers(lattice.axes))
    samples[:, axis] = random.choice(np.arange(lattice.step, 257, lattice.step), 50).clip(max=255) - 1
    following = samples.copy()
    following[:, axis] = np.minimum(samples[:, axis] + 1, 255)
    cube = table.reshape((lattice.nodes_per_axis,) * lattice.axes)
    steepest = np.abs(np.diff(cube, axis=axis)).max()
    values = [
        (weights * table[rows]).sum(-1) for rows, weights in (simplex_terms(it, lattice) for it in (samples, following))
    ]
    assert np.abs(values[1] - values[0]).max() <= steepest


def test_order_of_equal_fractions_is_that_of_the_axes() -> None:
    assert order_axes(np.array([[3, 3, 3, 3], [1, 2, 1, 2]])).tolist() == [[0, 1, 2, 3], [1, 3, 0, 2]]


def test_published_branch_differs_only_in_the_order_it_confuses() -> None:
    fractions = np.stack(np.unravel_index(np.arange(16**4), (16,) * 4), -1)
    a, b, c, d = fractions.T
    confused = (c > d) & (d >= a) & (a > b)
    right, published = order_axes(fractions), order_axes_srlut(fractions)
    np.testing.assert_array_equal(published[~confused], right[~confused])
    assert (published[confused] == [2, 0, 3, 1]).all()
    # without a tie the confused order is truly c, d, a, b
    assert (right[confused & (d > a)] == [2, 3, 0, 1]).all()


def test_published_branch_still_sums_to_the_step() -> None:
    samples = np.stack(np.unravel_index(np.arange(16**4), (16,) * 4), -1)
    rows, weights = simplex_terms(samples, Lattice(4, 4), Interpolation.SRLUT)
    assert (weights.sum(-1) == 16).all()
    assert weights.min() < 0
    assert rows.max() < Lattice(4, 4).entries


@pytest.mark.data
def test_weights_of_every_fraction_are_those_of_the_independent_table(shared_data: Path) -> None:
    stored = np.load(shared_data / "oracles" / "simplex_weights.npz")
    lattice = Lattice(4, 4)
    rows, weights = simplex_terms(stored["fractions"].astype(np.int64), lattice)
    digits = rows[..., None] // np.array(lattice.strides) % lattice.nodes_per_axis
    vertices = digits @ np.array([8, 4, 2, 1])
    dense = np.zeros_like(stored["dense16"], dtype=np.int64)
    np.add.at(dense, (np.arange(len(dense))[:, None], vertices), weights)
    np.testing.assert_array_equal(dense, stored["dense16"])
