"""Curves, cubes and their float64 evaluation, against other ways of computing the same."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lutkit.colour.lut import MAX_CUBE_SIZE, ColourLut, Cube, Curves, grid, identity_cube, identity_curves
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

KINDS = list(CubeInterpolation)
finite = st.floats(-4, 4, width=32)


def random_cube(size=5, seed=0, low=(0.0, 0.0, 0.0), high=(1.0, 1.0, 1.0)):
    values = np.random.default_rng(seed).normal(size=(size, size, size, 3)).astype(np.float32)
    return Cube(values, low, high)


def random_colours(count=2000, seed=1, low=-0.2, high=1.2):
    return np.random.default_rng(seed).uniform(low, high, (count, 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 3, 33])
def test_identity_returns_its_input_within_the_domain(kind, size):
    low, high = (-1.0, 0.0, 0.25), (2.0, 1.0, 0.75)
    lut = ColourLut(identity_curves(size, low, high), identity_cube(size, low, high))
    lut.validate()
    colours = np.random.default_rng(2).uniform(low, high, (500, 3))
    assert np.abs(lut.evaluate(colours, kind) - colours).max() < 5e-7
    outside = np.array([[-9, 9, 9], [9, -9, -9]])
    assert np.abs(lut.evaluate(outside, kind) - np.clip(outside, low, high)).max() < 5e-7


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_are_met_exactly(kind):
    cube = random_cube(6, low=(-1.0, 0.0, 1.0), high=(4.0, 5.0, 6.0))  # nodes at whole numbers
    assert np.array_equal(cube.evaluate(grid(6, cube.low, cube.high), kind), cube.values)


@pytest.mark.parametrize("kind", KINDS)
def test_red_is_the_last_axis_before_the_channels(kind):
    values = np.zeros((2, 2, 2, 3), np.float32)
    values[0, 0, 1] = (1, 2, 3)
    assert ColourLut(None, Cube(values)).evaluate([1, 0, 0], kind).tolist() == [1, 2, 3]
    assert ColourLut(None, Cube(values)).evaluate([0, 0, 1], kind).tolist() == [0, 0, 0]


def test_trilinear_is_linear_interpolation_axis_by_axis():
    cube, colours = random_cube(4), random_colours(200)
    axis = np.linspace(0, 1, 4)

    def along(values, position):  # (4, ...) over the first axis
        flat = values.reshape(4, -1)
        return np.array([np.interp(position, axis, column) for column in flat.T]).reshape(values.shape[1:])

    nodes = cube.values.astype(np.float64)
    expected = [along(along(along(nodes, blue), green), red) for red, green, blue in colours]
    assert np.abs(cube.evaluate(colours, CubeInterpolation.TRILINEAR) - expected).max() < 1e-12


def test_tetrahedral_is_the_six_published_cases():
    cube = random_cube(2)
    colours = random_colours(600, low=0, high=1)
    nodes = cube.values.astype(np.float64)
    expected = []
    for colour in colours:
        (path,) = (order for order in permutations(range(3)) if list(colour[list(order)]) == sorted(colour)[::-1])
        corner, value = [0, 0, 0], nodes[0, 0, 0]
        for axis in path:
            before = nodes[corner[2], corner[1], corner[0]]
            corner[axis] = 1
            value = value + colour[axis] * (nodes[corner[2], corner[1], corner[0]] - before)
        expected.append(value)
    assert np.abs(cube.evaluate(colours) - expected).max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_affine_maps_are_exact_in_any_cube(kind):
    generator = np.random.default_rng(3)
    matrix, offset = generator.normal(size=(3, 3)), generator.normal(size=3)
    low, high = (-1.0, 0.5, -3.0), (2.0, 0.75, 5.0)
    cube = Cube((grid(9, low, high) @ matrix.T + offset).astype(np.float32), low, high)
    colours = generator.uniform(low, high, (300, 3))
    assert np.abs(cube.evaluate(colours, kind) - (colours @ matrix.T + offset)).max() < 2e-6


@given(arrays(np.float32, (7, 3), elements=finite), arrays(np.float64, (20, 3), elements=st.floats(-2, 3)))
def test_curves_are_numpy_interp(values, colours):
    curves = Curves(values, (-1.0, 0.0, 0.5), (1.0, 2.0, 0.75))
    expected = [
        np.interp(colours[:, each], np.linspace(curves.low[each], curves.high[each], 7), values[:, each].astype(float))
        for each in range(3)
    ]
    assert np.abs(curves.evaluate(colours) - np.transpose(expected)).max() < 1e-11


@given(arrays(np.float64, (4, 3), elements=st.floats(allow_nan=True, allow_infinity=True)), st.sampled_from(KINDS))
def test_any_number_gives_a_value_between_the_extremes(colours, kind):
    cube = random_cube(3)
    result = cube.evaluate(colours, kind)
    assert result.dtype == np.float64
    assert (result >= cube.values.min() - 1e-12).all() and (result <= cube.values.max() + 1e-12).all()


def test_odd_numbers_count_as_the_nearer_end():
    lut = ColourLut(identity_curves(3, (-1.0,) * 3, (2.0,) * 3))
    assert lut.evaluate([np.nan, np.inf, -np.inf]).tolist() == [-1, 2, -1]


def test_curves_come_before_the_cube():
    doubled = Curves(np.array([[0, 0, 0], [2, 2, 2]], np.float32))
    halved = Cube((grid(2, high=(2.0, 2.0, 2.0)) ** 2).astype(np.float32), high=(2.0, 2.0, 2.0))
    assert ColourLut(doubled, halved).evaluate([0.5, 1, 0]).tolist() == [2, 4, 0]


NAN = np.array([[0, 0, 0], [1, np.nan, 1]], np.float32)
FLAT = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("lut", "message"),
    [
        (ColourLut(), "neither curves nor a cube"),
        (ColourLut(Curves(NAN)), "node 1 is not finite"),
        (ColourLut(Curves(FLAT[:1])), "have 1 nodes; 2 to 65536"),
        (ColourLut(Curves(FLAT.astype(np.float64))), "float64"),
        (ColourLut(Curves(FLAT, (0.0, 0.0, 1.0))), "domain of blue goes from 1 to 1"),
        (ColourLut(Curves(FLAT, high=(1.0, float("inf"), 1.0))), "domain of green goes from 0 to inf"),
        (ColourLut(Curves(FLAT, (1.0,) * 3, (1 + 1e-12,) * 3)), "domain of red"),
        (ColourLut(None, Cube(np.zeros((2, 2, 3, 3), np.float32))), r"shape \(2, 2, 3, 3\)"),
        (ColourLut(None, Cube(np.broadcast_to(FLAT[0], (MAX_CUBE_SIZE + 1,) * 3 + (3,)))), "130 nodes per axis"),
    ],
)
def test_impossible_luts_are_refused(lut, message):
    with pytest.raises(FormatError, match=message) as caught:
        lut.validate()
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_published_picture_within_one_level(shared_data):
    from lutkit.formats.cube import read_cube
    from lutkit.images import read_picture

    folder = shared_data / "published/nilut"
    lut = read_cube(folder / "LUT01.cube")
    source = read_picture(folder / "Original_Image.png").pixels[..., :3]
    expected = read_picture(folder / "LUT01_ContrastLUT.png").pixels[..., :3].astype(int)
    for kind, largest, decibels in ((KINDS[1], 1, 54.53), (KINDS[0], 4, 54.39)):
        blocks = [lut.evaluate(rows / 255, kind) for rows in np.array_split(source, 8)]
        result = np.rint(np.concatenate(blocks).clip(0, 1) * 255).astype(int)
        assert np.abs(result - expected).max() == largest
        assert 10 * np.log10(255**2 / np.mean((result - expected) ** 2)) == pytest.approx(decibels, abs=0.006)
