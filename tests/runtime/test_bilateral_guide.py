"""Guides of bilateral grids: the tables agree with the published forms, curves and a pointwise network, in float64."""

import numpy as np
import pytest
from bilateral_models import draw_guide
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.bilateral import GuideTables, interpolate_curve

seeds = st.integers(0, 2**32 - 1)

IDENTITY_CURVE = np.array([[0], [1]], np.float32)


def make_colours(seed: int) -> np.ndarray:
    """Return colours (7, 60, 3) within 0 and 1, corners and grays among them."""
    random = np.random.default_rng(seed)
    colours = random.random((7, 60, 3), np.float32)
    colours[0, :8] = np.array(list(np.ndindex(2, 2, 2)))
    colours[1] = colours[1, :, :1]
    return colours


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


@settings(max_examples=80)
@given(seeds, st.integers(1, 8), st.sampled_from((2, 3, 17, 300)), st.sampled_from((2, 5, 64)))
def test_tables_meet_float64(seed: int, count: int, entries: int, results: int) -> None:
    """Errors are those of few roundings, times what the curves enlarge them by."""
    tables, colours = draw_guide(np.random.default_rng(seed), count, entries, results), make_colours(seed)
    total = np.zeros(colours.shape[:2])
    nodes = np.linspace(0, 1, entries)
    for curve in range(count):
        argument = colours.astype(np.float64) @ tables.mix[:3, curve].astype(np.float64) + tables.mix[3, curve]
        total += np.interp(argument, nodes, tables.curves[:, curve].astype(np.float64))
    exact = np.interp(total, np.linspace(0, 1, results), tables.result[:, 0].astype(np.float64))
    found = tables.evaluate(colours)
    assert found.dtype == np.float32
    first = np.abs(np.diff(tables.curves, axis=0)).max(axis=0).sum() * (entries - 1)
    second = np.abs(np.diff(tables.result, axis=0)).max() * (results - 1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2.0**-24 * 8 * (1 + second * (count + first)))


@pytest.mark.parametrize("entries", [2, 3, 4096])
def test_curves_end_where_their_nodes_do(entries: int) -> None:
    nodes = np.random.default_rng(entries).random(entries, np.float32)
    places = np.array([0, 1, -1, 2, np.inf, -np.inf, np.nan, -0.0, 1e-40], np.float32)
    found = interpolate_curve(places, nodes)
    first, last = nodes[0], np.float32(nodes[-2] + (nodes[-1] - nodes[-2]))
    assert found.tolist() == [first, last, first, last, last, first, first, first, first]
    exact = np.arange(entries) / np.float32(entries - 1)
    np.testing.assert_allclose(interpolate_curve(exact.astype(np.float32), nodes), nodes, rtol=0, atol=1e-3)


def fold_curves(
    matrix: np.ndarray, bias: np.ndarray, slopes: np.ndarray, shifts: np.ndarray, weights: np.ndarray, entries: int
) -> GuideTables:
    """Return the tables of a guide of curves: what a channel can reach becomes 0 to 1.

    Parameters
    ----------
    matrix : (3, 3), bias : (3,)
        Channel k is matrix[k] @ colour + bias[k].
    slopes, shifts : (3, knots)
        Its curve is the sum of slope * max(channel - shift, 0).
    weights : (3,)
        Of the curves in the guide.
    """
    low = bias + np.minimum(matrix, 0).sum(axis=1)
    high = bias + np.maximum(matrix, 0).sum(axis=1)
    mix = np.concatenate([matrix.T, (bias - low)[None]]) / (high - low)
    nodes = low + np.linspace(0, 1, entries)[:, None] * (high - low)
    curves = (slopes * relu(nodes[..., None] - shifts)).sum(axis=2) * weights
    return GuideTables(mix.astype(np.float32), curves.astype(np.float32), IDENTITY_CURVE)


def evaluate_curves(
    matrix: np.ndarray,
    bias: np.ndarray,
    slopes: np.ndarray,
    shifts: np.ndarray,
    weights: np.ndarray,
    colours: np.ndarray,
) -> np.ndarray:
    """Return the published guide in float64 (Gharbi et al., 2017, section 3.4.1)."""
    channels = colours.astype(np.float64) @ matrix.T + bias
    curves = (slopes * relu(channels[..., None] - shifts)).sum(axis=-1)
    return (curves @ weights).clip(0, 1)


@settings(max_examples=60)
@given(seeds)
def test_published_curves_are_three_tables(seed: int) -> None:
    """A curve bends at its shifts; where one lies between two nodes, the table is off by at most a quarter of a step's bend."""
    random = np.random.default_rng(seed)
    entries = 4096
    matrix, bias = np.eye(3) + random.normal(0, 0.1, (3, 3)), random.normal(0, 0.05, 3)
    shifts = np.linspace(0, 1, 16, endpoint=False) + random.normal(0, 0.02, (3, 16))
    slopes = np.concatenate([np.ones((3, 1)), random.normal(0, 0.3, (3, 15))], axis=1)
    weights = random.uniform(0.2, 0.45, 3)
    tables, colours = fold_curves(matrix, bias, slopes, shifts, weights, entries), make_colours(seed)
    exact = evaluate_curves(matrix, bias, slopes, shifts, weights, colours)
    step = np.abs(matrix).sum(axis=1) / (entries - 1)
    steep = weights @ np.abs(np.cumsum(slopes, axis=1)).max(axis=1)
    # of the bends within one step at most
    bends = [
        max(np.abs(own[np.abs(places - place) <= width]).sum() for place in places)
        for own, places, width in zip(slopes, shifts, step, strict=True)
    ]
    allowed = weights @ (bends * step) / 4 + 2e-6 * (1 + steep)
    assert allowed < 3e-4
    np.testing.assert_allclose(tables.evaluate(colours), exact, rtol=0, atol=allowed)


def test_curves_that_bend_at_nodes_lose_nothing() -> None:
    """As they are when training starts: the identity, and shifts at multiples of 1/16."""
    slopes = np.random.default_rng(3).normal(0, 0.5, (3, 16))
    shifts = np.tile(np.linspace(0, 1, 16, endpoint=False), (3, 1))
    arguments = np.eye(3), np.zeros(3), slopes, shifts, np.full(3, 1 / 3)
    colours = make_colours(3)
    found = fold_curves(*arguments, entries=17).evaluate(colours)
    np.testing.assert_allclose(found, evaluate_curves(*arguments, colours), rtol=0, atol=1e-6)
    slopes = np.zeros((3, 16))
    slopes[:, 0] = 1
    start = fold_curves(np.eye(3), np.zeros(3), slopes, shifts, np.full(3, 1 / 3), entries=17)
    np.testing.assert_allclose(start.evaluate(colours), colours.mean(axis=2), rtol=0, atol=3e-7)


def fold_network(
    first: np.ndarray, bias: np.ndarray, second: np.ndarray, last: float, entries: int
) -> tuple[GuideTables, float]:
    """Return the tables of a pointwise network and the range of its sum: each curve is one ReLU, the result the sigmoid.

    Parameters
    ----------
    first : (hidden, 3), bias : (hidden,)
    second : (hidden,)
    last : float
        Bias before the sigmoid.
    """
    highest = np.maximum(bias + np.maximum(first, 0).sum(axis=1), 1e-6)
    reach = second * highest
    low, high = last + np.minimum(reach, 0).sum(), last + np.maximum(reach, 0).sum()
    mix = np.concatenate([first.T, bias[None]]) / highest
    curves = np.stack([np.zeros_like(reach), reach]) / (high - low)
    curves[:, 0] += (last - low) / (high - low)
    result = 1 / (1 + np.exp(-np.linspace(low, high, entries)))
    tables = GuideTables(*(each.astype(np.float32) for each in (mix, curves, result[:, None])))
    return tables, high - low


@settings(max_examples=60)
@given(seeds, st.sampled_from((0.3, 1.0, 2.0)))
def test_a_pointwise_network_is_sixteen_tables_and_a_sigmoid(seed: int, scale: float) -> None:
    """The sigmoid bends by at most 0.0963; interpolated it is off by an eighth of that times a step squared."""
    random = np.random.default_rng(seed)
    first, bias = random.normal(0, scale, (16, 3)), random.normal(0, 0.3, 16)
    second, last = random.normal(0, scale, 16), random.normal(0, 0.5)
    tables, spread = fold_network(first, bias, second, last, entries=4096)
    colours = make_colours(seed)
    hidden = relu(colours.astype(np.float64) @ first.T + bias)
    exact = 1 / (1 + np.exp(-(hidden @ second + last)))
    allowed = 0.0963 / 8 * (spread / 4095) ** 2 + 2.0**-24 * (8 + spread)
    assert allowed < 1e-4
    np.testing.assert_allclose(tables.evaluate(colours), exact, rtol=0, atol=allowed)
