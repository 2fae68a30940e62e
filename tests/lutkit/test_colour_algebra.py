"""Composition, resizing, inversion and comparison of LUTs: laws, and residuals that are what they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lutkit.colour.algebra import compose, resize
from lutkit.colour.cube_inversion import _ORDERS, _check_folds, _cut, _find_surface, invert_nodes
from lutkit.colour.difference import GRID, diff
from lutkit.colour.inversion import invert
from lutkit.colour.lut import ColourLut, Cube, Curves, grid, identity_cube, identity_curves
from lutkit.colour.surface import Surface, weigh_nearest
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

MIX = np.array([[0.8, 0.1, 0.1], [0.05, 0.9, 0.05], [0.1, 0.2, 0.7]])


def cube_of(function, size=17, low=(0.0, 0.0, 0.0), high=(1.0, 1.0, 1.0)):
    return ColourLut(None, Cube(function(grid(size, low, high)).astype(np.float32), low, high))


def curves_of(function, size=33, low=(0.0, 0.0, 0.0), high=(1.0, 1.0, 1.0)):
    return ColourLut(Curves(function(np.linspace(low, high, size)).astype(np.float32), low, high))


def random_lut(seed, cube=True, size=9):
    generator = np.random.default_rng(seed)
    if cube:
        return ColourLut(None, Cube(generator.normal(size=(size, size, size, 3)).astype(np.float32)), "x")
    return ColourLut(Curves(generator.normal(size=(size, 3)).astype(np.float32)), None, "x")


def random_colours(lut, count=3000, seed=5):
    return np.random.default_rng(seed).uniform(*lut.domain, (count, 3))


@pytest.mark.parametrize("identity", [ColourLut(None, identity_cube(size)) for size in (2, 5, 33)])
@pytest.mark.parametrize("size", [2, 9, 17, 33, 65])
def test_identity_before_a_cube_gives_the_cube(identity, size):
    lut = random_lut(0, size=size)
    derived = compose(identity, lut)
    assert derived.largest < 2e-6
    step = (derived.lut.cube.size - 1) / (size - 1)
    assert step == int(step)
    kept = derived.lut.cube.values[:: int(step), :: int(step), :: int(step)]
    assert np.array_equal(kept, lut.cube.values)
    assert derived.lut.title == "x"


@pytest.mark.parametrize("lut", [random_lut(1), random_lut(2, cube=False)])
def test_identity_curves_change_nothing_exactly(lut):
    first = compose(ColourLut(identity_curves(2)), lut).lut
    colours = random_colours(lut)
    assert np.abs(first.evaluate(colours) - lut.evaluate(colours)).max() < 1e-7
    if lut.cube:
        assert first.cube is lut.cube
    inside = ColourLut(identity_curves(2, (-9.0,) * 3, (9.0,) * 3))
    for size in (None, 9):
        after = compose(lut, inside, size)
        assert np.abs(after.lut.evaluate(colours) - lut.evaluate(colours)).max() < 2e-6


@given(st.integers(2, 9), st.integers(2, 9), st.data(), st.floats(-2, 0), st.floats(0.5, 3))
@settings(max_examples=12)
def test_curves_after_curves_stay_curves_and_tell_their_error(first_size, second_size, data, low, high):
    element = st.floats(-2, 3, width=32)
    first = Curves(data.draw(arrays(np.float32, (first_size, 3), elements=element)), (low,) * 3, (high,) * 3)
    second = Curves(data.draw(arrays(np.float32, (second_size, 3), elements=element)), (-1.0, 0.0, 0.5))
    luts = ColourLut(first), ColourLut(second)
    derived = compose(*luts)
    assert derived.lut.cube is None and derived.lut.domain == luts[0].domain
    colours = random_colours(luts[0])
    error = np.abs(derived.lut.evaluate(colours) - luts[1].evaluate(luts[0].evaluate(colours))).max()
    # A kink between two nodes of the result costs at most a part of the steepest rise across a cell, which random
    # inputs may miss.
    widths = [np.subtract(each.high, each.low).min() for each in (first, second)]
    slopes = [
        np.abs(np.diff(each.values.astype(float), axis=0)).max() * (each.size - 1) / width
        for each, width in zip((first, second), widths, strict=True)
    ]
    rise = slopes[0] * slopes[1] * (high - low) / (derived.lut.curves.size - 1)
    assert max(error, derived.largest) <= 1e-5 + rise


def test_curves_before_a_cube_stay_as_they_are():
    shaper, cube = curves_of(np.sqrt), cube_of(lambda colours: colours @ MIX.T)
    joined = compose(shaper, cube)
    assert joined.lut.curves is shaper.curves and joined.lut.cube is cube.cube
    assert joined.largest == 0
    both = compose(joined.lut, joined.lut)
    assert both.lut.curves is shaper.curves and both.lut.cube.size >= 33
    colours = random_colours(shaper)
    expected = joined.lut.evaluate(joined.lut.evaluate(colours))
    assert np.abs(both.lut.evaluate(colours) - expected).max() < 3 * both.largest


@pytest.mark.parametrize("kind", list(CubeInterpolation))
def test_composition_is_that_of_the_functions(kind):
    first = cube_of(lambda colours: colours**1.2 @ MIX.T, 17, (-0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    second = cube_of(lambda colours: 1.5 * colours - 0.25, 5)
    derived = compose(first, second, interpolation=kind)
    colours = random_colours(first)
    expected = second.evaluate(first.evaluate(colours, kind), kind)
    error = np.abs(derived.lut.evaluate(colours, kind) - expected)
    assert derived.mean <= derived.largest < 0.01
    assert error.max() < 2 * derived.largest + 1e-6
    # Unclipped: the second leaves 0..1, and so does the result.
    assert derived.lut.cube.values.min() < -0.2 and derived.lut.cube.values.max() > 1.2


def test_size_can_be_chosen():
    first, second = random_lut(1), random_lut(2, cube=False)
    assert compose(first, second, 12).lut.cube.size == 12
    assert compose(second, second, 12).lut.curves.size == 12
    assert compose(second, first, 12).lut.cube.size == 12
    for size in (0, 1, 130, 10**9):
        with pytest.raises(FormatError, match=f"a size of {size} nodes"):
            compose(first, second, size)
        with pytest.raises(FormatError, match=f"a size of {size} nodes"):
            resize(first, size)
        with pytest.raises(FormatError, match=f"a size of {size} nodes"):
            invert(cube_of(np.sqrt), size)
    with pytest.raises(FormatError, match="a size of 65537 nodes"):
        resize(second, 65537)


@pytest.mark.parametrize("kind", list(CubeInterpolation))
def test_resizing_to_a_multiple_loses_nothing_and_back_neither(kind):
    lut = random_lut(3, size=5)
    wide = resize(lut, 17, kind)
    assert np.array_equal(resize(wide.lut, 5, kind).lut.cube.values, lut.cube.values)
    if kind is CubeInterpolation.TETRAHEDRAL:
        assert wide.largest < 1e-6  # cells are cut along the same diagonals
    assert resize(lut, 5).lut.cube is lut.cube


def test_resizing_smaller_tells_what_is_lost():
    lut = cube_of(lambda colours: colours**2, 33)
    derived = resize(lut, 9)
    colours = random_colours(lut)
    error = np.abs(derived.lut.evaluate(colours) - lut.evaluate(colours)).max()
    # A parabola between nodes: at most a quarter of the square of the distance.
    assert error <= derived.largest * 1.1 <= 1.1 * (1 / 16) ** 2
    assert resize(curves_of(np.sqrt, 9), 100).lut.curves.size == 100


increasing = arrays(np.float64, (12, 3), elements=st.floats(0.01, 1)).map(lambda steps: steps.cumsum(axis=0) - 2)


@given(increasing, st.sampled_from([1, -1]), st.floats(-3, 0), st.floats(0.1, 5))
@settings(max_examples=12)
def test_inverse_curves_lead_back(values, sign, low, high):
    lut = ColourLut(Curves((sign * values).astype(np.float32), (low,) * 3, (high,) * 3))
    inverse = invert(lut)
    assert inverse.outside == 0 and inverse.lut.cube is None
    stored = lut.curves.values.astype(np.float64)
    assert inverse.lut.domain == (tuple(stored.min(axis=0)), tuple(stored.max(axis=0)))
    colours = random_colours(lut)
    there = lut.evaluate(colours)
    error = np.abs(lut.evaluate(inverse.lut.evaluate(there)) - there).max()
    assert inverse.mean <= inverse.largest
    slopes = np.abs(np.diff(stored, axis=0))
    steepness = slopes.max() / slopes.min()
    assert error <= 1e-5 + steepness * 20 / inverse.lut.curves.size
    back = np.abs(inverse.lut.evaluate(there) - colours).max()
    assert back <= (1e-5 + steepness * 20 / inverse.lut.curves.size) * (high - low) / slopes.min()


def test_straight_inverses_are_exact():
    lut = ColourLut(Curves(np.array([[0, 4, 1], [1, 2, -1]], np.float32)))
    inverse = invert(lut)
    assert inverse.lut.curves.size == 2
    assert inverse.lut.evaluate([0.25, 3.5, 0]).tolist() == [0.25, 0.25, 0.5]
    assert inverse.largest < 1e-7


def test_plateaus_give_their_middle_and_ends_the_edge_within():
    values = np.array([0, 0, 0, 1, 2, 2, 2, 3, 4, 4], np.float32)
    lut = ColourLut(Curves(np.stack([values, -values, values], axis=1), high=(9.0, 9.0, 9.0)))
    inverse = invert(lut).lut
    nodes = np.array([0, 1, 2, 3, 4.0])
    result = inverse.evaluate(np.stack([nodes, -nodes, nodes], axis=1))
    assert np.abs(result[:, 0] - [2, 3, 5, 7, 8]).max() < 1e-4
    assert np.abs(result - result[:, :1]).max() < 1e-4  # falling curves by the same rule


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0, 0, 0], [1, 1, 1], [2, 0.5, 2]], "curve of green rises up to 0.5 and then turns"),
        ([[0, 0, 3], [1, 1, 2], [2, 2, 2], [3, 3, 4]], "curve of blue falls up to 0.666667 and then turns"),
        ([[0.25, 0, 0], [0.25, 1, 1]], "red is 0.25 whatever the input"),
    ],
)
def test_curves_without_inverse_are_refused(values, message):
    with pytest.raises(FormatError, match=message):
        invert(ColourLut(Curves(np.array(values, np.float32))))


def test_identity_cube_is_its_own_inverse():
    low, high = (-1.0, 0.0, 2.0), (1.0, 3.0, 4.0)
    lut = ColourLut(None, identity_cube(9, low, high))
    inverse = invert(lut, 9)
    assert inverse.outside == 0
    assert np.abs(inverse.lut.cube.values - lut.cube.values).max() < 1e-6
    assert inverse.lut.domain == lut.domain


@pytest.mark.parametrize("size", [9, 17])
def test_nodes_within_the_gamut_are_inverted_exactly(size):
    lut = cube_of(lambda colours: colours**1.5 @ MIX.T)
    nodes, outside = invert_nodes(lut.cube, size)
    stored = lut.cube.values.reshape(-1, 3).astype(np.float64)
    targets = grid(size, tuple(stored.min(axis=0)), tuple(stored.max(axis=0)))
    distance = np.linalg.norm(lut.evaluate(nodes) - targets, axis=-1)
    reached = distance < 1e-9
    assert outside == pytest.approx(1 - reached.mean(), abs=1e-3)
    assert reached.mean() > 0.3
    # The others give a colour on the surface, and no node of the surface is nearer by more than its own spacing.
    surface = lut.cube.values.reshape(-1, 3)[np.isin(grid(17), (0, 1)).any(axis=-1).ravel()]
    for place in np.argwhere(~reached)[:: 50 if size == 9 else 400]:
        nearest = np.linalg.norm(surface - targets[tuple(place)], axis=1).min()
        assert distance[tuple(place)] <= nearest + 1e-6


def test_channels_that_swap_can_be_inverted():
    inverse = invert(cube_of(lambda colours: colours[..., [1, 0, 2]], 5), 5)
    assert np.abs(inverse.lut.evaluate([0.1, 0.7, 0.3]) - [0.7, 0.1, 0.3]).max() < 1e-6
    assert inverse.outside == 0


def test_inverse_of_a_smooth_cube_leads_back():
    lut = cube_of(lambda colours: colours**1.3)
    coarse, fine = invert(lut, 17), invert(lut, 65)
    assert fine.outside == 0
    assert fine.mean < coarse.mean / 3 < 1e-3
    colours = random_colours(lut)
    there = lut.evaluate(colours)
    error = np.abs(lut.evaluate(fine.lut.evaluate(there)) - there).max()
    assert error <= 2 * fine.largest < 0.01


def test_clipped_cubes_are_inverted_up_to_the_clipping():
    lut = cube_of(lambda colours: (1.25 * colours).clip(0, 1), 17)
    inverse = invert(lut, 33)
    colours = random_colours(lut)
    there = lut.evaluate(colours)
    assert np.abs(lut.evaluate(inverse.lut.evaluate(there)) - there).max() < 0.02
    # 0.8 is a node's colour before the cell in which clipping begins.
    assert np.abs(inverse.lut.evaluate([1.0, 0.5, 1.0]) - [13 / 16, 0.4, 13 / 16]).max() < 0.02


def test_shaper_and_cube_become_one_cube():
    lut = ColourLut(curves_of(np.sqrt).curves, cube_of(lambda colours: colours**2).cube)
    inverse = invert(lut, 65)
    assert inverse.lut.curves is None
    colours = 0.1 + 0.8 * random_colours(lut)
    assert np.abs(inverse.lut.evaluate(lut.evaluate(colours)) - colours).max() < 0.03


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda colours: colours.mean(axis=-1, keepdims=True) + 0 * colours, "maps all colours to a surface"),
        (lambda colours: colours * [1, 1, 0] + 0.5, "blue is 0.5 whatever the input"),
        (lambda colours: np.abs(colours - 0.5) * [1, 0, 0] + colours * [0, 1, 1], "folds colours over near red 0"),
    ],
)
def test_cubes_without_inverse_are_refused(function, message):
    with pytest.raises(FormatError, match=message):
        invert(cube_of(function, 9))


def test_one_node_out_of_place_is_a_fold():
    lut = cube_of(lambda colours: colours, 9)
    lut.cube.values[4, 3, 2] += np.float32(0.4)
    with pytest.raises(
        FormatError, match=r"near red 0\.(1|2|3)\d*, green 0\.(3|4)\d*, blue 0\.(4|5)\d*, in \d+ of 3072"
    ):
        invert(lut)


def test_nearest_points_of_triangles_are_those_of_a_fine_search():
    generator = np.random.default_rng(0)
    corners = generator.normal(size=(60, 3, 3))
    corners[0] = corners[0, 0]  # a point
    corners[1] = corners[1, 0] + np.arange(3)[:, None] * generator.normal(size=3)  # a line
    targets = generator.normal(size=(60, 3)) * 2
    weights = weigh_nearest(targets, corners)
    assert (weights >= 0).all() and np.abs(weights.sum(axis=1) - 1).max() < 1e-12
    found = np.linalg.norm(np.einsum("nc,ncd->nd", weights, corners) - targets, axis=1)
    steps = np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60
    search = np.linalg.norm(np.einsum("sc,ncd->nsd", steps, corners) - targets[:, None], axis=2).min(axis=1)
    assert (found <= search + 1e-12).all()
    assert np.abs(found - search).max() < 0.1


def test_projections_onto_a_ball_are_radial():
    size = 9
    nodes = grid(size).reshape(-1, 3) * 2 - 1
    length = np.linalg.norm(nodes, axis=1, keepdims=True)
    nodes = nodes * np.abs(nodes).max(axis=1, keepdims=True) / np.maximum(length, 1e-12)
    lut = ColourLut(None, Cube(nodes.reshape(size, size, size, 3).astype(np.float32)))
    points = lut.cube.values.reshape(-1, 3).astype(np.float64)
    groups = [_cut(points, size, order) for order in _ORDERS]
    triangles = _find_surface(groups, size, _check_folds(lut.cube, groups))
    assert len(triangles) == 12 * (size - 1) ** 2
    targets = np.random.default_rng(0).normal(size=(500, 3))
    targets = targets / np.linalg.norm(targets, axis=1, keepdims=True) * 1.5
    corners, weights = Surface(points, triangles).project(targets)
    found = np.einsum("nc,ncd->nd", weights, points[corners])
    assert np.linalg.norm(found - targets / 1.5, axis=1).max() < 0.15
    brute = np.linalg.norm(points[None, np.unique(triangles)] - targets[:, None], axis=2).min(axis=1)
    assert (np.linalg.norm(found - targets, axis=1) <= brute + 1e-12).all()


def test_equal_luts_do_not_differ():
    lut = random_lut(0)
    difference = diff(lut, ColourLut(None, Cube(lut.cube.values.copy())))
    assert (difference.largest, difference.mean, difference.psnr, difference.delta_e_largest) == (0, 0, None, 0)
    assert difference.inputs == GRID**3


def test_a_known_difference_is_found():
    first, second = cube_of(lambda colours: colours, 5), cube_of(lambda colours: colours + np.array([0, 0.25, 0]), 5)
    difference = diff(first, second)
    assert difference.largest == pytest.approx(0.25) and difference.channel == "green"
    assert difference.mean == pytest.approx(0.25 / 3)
    assert difference.psnr == pytest.approx(-10 * math.log10(0.25**2 / 3))
    assert np.subtract(difference.second, difference.first) == pytest.approx([0, 0.25, 0])
    assert diff(second, first).largest == difference.largest


def test_one_bent_node_is_where_the_largest_difference_is():
    first = cube_of(lambda colours: colours, 3)
    second = ColourLut(None, Cube(first.cube.values.copy()))
    second.cube.values[2, 1, 0, 0] += 1
    difference = diff(first, second)
    assert difference.channel == "red"
    assert np.abs(np.array(difference.place) - [0, 0.5, 1]).max() < 0.01


def test_colour_differences_are_those_of_white_and_black():
    white, black = (cube_of(lambda colours, level=level: 0 * colours + level, 2) for level in (1.0, 0.0))
    difference = diff(white, black)
    assert difference.delta_e_mean == pytest.approx(100, abs=1e-6)
    # Clipped for the colour difference only.
    assert diff(white, cube_of(lambda colours: 0 * colours + 2, 2)).delta_e_largest == pytest.approx(0, abs=1e-9)
    assert diff(white, cube_of(lambda colours: 0 * colours + 2, 2)).largest == pytest.approx(1)


def test_the_wider_domain_is_compared():
    first = ColourLut(identity_curves(2, (-1.0,) * 3, (1.0,) * 3))
    second = ColourLut(identity_curves(2, (0.0,) * 3, (2.0,) * 3))
    difference = diff(first, second)
    assert difference.largest == 1
    assert set(difference.place) <= {-1.0, 2.0}
