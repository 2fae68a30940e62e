"""The kernels of a trained colour lookup: forward against the definition, backward against differences and laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import config

from lutkit_runtime.cube import CubeInterpolation, interpolate_cube, locate
from lutkit_runtime.kernels.cpu import cube_gradient as kernel
from lutkit_runtime.kernels.cpu.cube_gradient import CubeLookup, cube_gradient, look_up_pictures, pad_cubes
from lutkit_runtime.ops.colour_lookup import Domain

KINDS = list(CubeInterpolation)
SIZES = [2, 3, 9, 17, 33, 65]


def make_pictures(rng, count, height, width):
    """Samples in and out of the domain, on nodes, at both ends, equal channels, and not numbers."""
    pictures = rng.uniform(-0.2, 1.2, (count, 3, height, width)).astype(np.float32)
    special = np.float32([0, 1, -0.0, 0.5, 0.25, np.nan, np.inf, -np.inf, 1 + 1e-7, np.nextafter(np.float32(1), 0)])
    chosen = rng.random(pictures.shape) < 0.3
    pictures[chosen] = rng.choice(special, int(chosen.sum()))
    grey = rng.random((count, height, width)) < 0.3
    return np.where(grey[:, None], pictures[:, :1], pictures)


def define(lookup, pictures, cubes):
    cells = lookup.size - 1
    cell, fraction = locate(pictures.transpose(0, 2, 3, 1), *Domain().place(cells, lookup.stretch, 1.0), cells)
    return np.stack(
        [
            interpolate_cube(a, b, cube.reshape(3, -1).T, lookup.size, lookup.interpolation)
            for a, b, cube in zip(
                cell, fraction, np.broadcast_to(cubes, (len(pictures), *cubes.shape[1:])), strict=True
            )
        ]
    ).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stretch", [1.0, 1.000001])
@pytest.mark.parametrize("shared", [False, True])
def test_colours_are_those_of_the_definition_bit_for_bit(kind, size, stretch, shared):
    rng = np.random.default_rng(size)
    lookup = CubeLookup(size, kind, stretch)
    pictures = make_pictures(rng, 3, 13, 11)  # 143 pixels: a whole chunk and one that is no multiple of 4
    cubes = rng.normal(size=(1 if shared else 3, 3, size, size, size)).astype(np.float32)
    colours = look_up_pictures(lookup, pictures, pad_cubes(cubes))
    np.testing.assert_array_equal(colours.view(np.uint32), define(lookup, pictures, cubes).view(np.uint32))


@pytest.mark.parametrize("kind", KINDS)
def test_every_length_of_a_picture_works(kind):
    rng = np.random.default_rng(4)
    lookup = CubeLookup(5, kind)
    nodes = pad_cubes(rng.random((1, 3, 5, 5, 5), np.float32))
    whole = rng.random((1, 3, 1, 300), np.float32)
    gradient = rng.normal(size=whole.shape).astype(np.float32)
    colours = look_up_pictures(lookup, whole, nodes)
    slopes = cube_gradient(lookup, whole, nodes, gradient)[1]
    for width in (1, 2, 3, 4, 5, 127, 128, 129, 257, 300):
        part, part_gradient = whole[..., :width], gradient[..., :width]
        np.testing.assert_array_equal(look_up_pictures(lookup, part, nodes), colours[..., :width])
        to_cubes, to_pictures = cube_gradient(lookup, part, nodes, part_gradient)
        np.testing.assert_array_equal(to_pictures, slopes[..., :width])
        np.testing.assert_allclose(to_cubes.sum((2, 3, 4)), part_gradient.sum((2, 3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [False, True])
def test_cube_gradient_is_the_adjoint_of_the_lookup(kind, shared):
    """<gradient, look_up(cubes)> = <cube gradient, cubes> for every cube: the lookup is linear in it."""
    rng = np.random.default_rng(2)
    lookup = CubeLookup(6, kind)
    pictures = make_pictures(rng, 3, 20, 19)
    gradient = rng.normal(size=pictures.shape).astype(np.float32)
    count = 1 if shared else 3
    slopes = cube_gradient(lookup, pictures, pad_cubes(np.zeros((count, 3, 6, 6, 6), np.float32)), gradient)[0]
    for _ in range(3):
        cubes = rng.normal(size=(count, 3, 6, 6, 6)).astype(np.float32)
        expected = (gradient.astype(np.float64) * look_up_pictures(lookup, pictures, pad_cubes(cubes))).sum()
        assert (slopes.astype(np.float64) * cubes).sum() == pytest.approx(expected, abs=1e-3)
        assert abs(expected) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_weights_sum_to_one(kind):
    rng = np.random.default_rng(3)
    pictures = make_pictures(rng, 2, 30, 17)
    nodes = pad_cubes(rng.random((2, 3, 7, 7, 7), np.float32))
    slopes = cube_gradient(CubeLookup(7, kind), pictures, nodes, np.ones_like(pictures))[0]
    np.testing.assert_allclose(slopes.sum((2, 3, 4)), 30 * 17, rtol=1e-5)


@settings(max_examples=30)
@given(st.sampled_from(KINDS), st.integers(2, 65), st.integers(0, 1000), st.sampled_from([1.0, 1.000001]))
def test_an_identity_cube_has_slope_one_inside_and_none_outside(kind, size, seed, stretch):
    rng = np.random.default_rng(seed)
    pictures = make_pictures(rng, 2, 6, 7)
    axis = np.linspace(0, 1, size, dtype=np.float32)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")[::-1])[None]
    nodes = pad_cubes(cube)
    lookup = CubeLookup(size, kind, stretch)
    inside = (pictures >= 0) & (pictures <= 1)
    colours = look_up_pictures(lookup, pictures, nodes)
    expected = np.where(np.isnan(pictures), 0, pictures).clip(0, 1)
    np.testing.assert_allclose(colours, expected, atol=3e-6)
    gradient = rng.normal(size=pictures.shape).astype(np.float32)
    slopes = cube_gradient(lookup, pictures, nodes, gradient)[1]
    np.testing.assert_array_equal(slopes[~inside], 0)
    np.testing.assert_allclose(slopes[inside], gradient[inside], atol=2e-5 * size)


@settings(max_examples=20)
@given(st.sampled_from(KINDS), st.integers(2, 20), st.integers(0, 1000))
def test_a_constant_cube_has_no_slope(kind, size, seed):
    rng = np.random.default_rng(seed)
    pictures = make_pictures(rng, 1, 5, 9)
    colour = rng.normal(size=(1, 3, 1, 1, 1)).astype(np.float32)
    nodes = pad_cubes(np.broadcast_to(colour, (1, 3, size, size, size)))
    lookup = CubeLookup(size, kind)
    colours = look_up_pictures(lookup, pictures, nodes)
    np.testing.assert_allclose(colours, np.broadcast_to(colour[..., 0], colours.shape), rtol=1e-6)
    np.testing.assert_array_equal(cube_gradient(lookup, pictures, nodes, np.ones_like(pictures))[1], 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stretch", [1.0, 1.000001])
def test_picture_gradient_equals_differences_of_the_definition(kind, stretch):
    rng = np.random.default_rng(8)
    lookup = CubeLookup(5, kind, stretch)
    cubes = rng.normal(size=(2, 3, 5, 5, 5)).astype(np.float32)
    pictures = rng.random((2, 3, 12, 12), np.float32)
    gradient = rng.normal(size=pictures.shape).astype(np.float32)
    slopes = cube_gradient(lookup, pictures, pad_cubes(cubes), gradient)[1]
    step = 1e-3
    position = pictures * 4
    near_node = np.abs(position - np.rint(position)) < 8 * step
    fraction = position - np.floor(position)
    tied = np.stack([np.abs(fraction[:, a] - fraction[:, b]) < 8 * step for a, b in ((0, 1), (1, 2), (0, 2))], 1)
    clear = ~(near_node.any(1) | tied.any(1))
    assert clear.mean() > 0.6
    for axis in range(3):
        moved = [pictures.copy() for _ in range(2)]
        moved[0][:, axis] -= np.float32(step)
        moved[1][:, axis] += np.float32(step)
        low, high = (define(lookup, some, cubes).astype(np.float64) for some in moved)
        run = moved[1][:, axis].astype(np.float64) - moved[0][:, axis]
        expected = (gradient * (high - low)).sum(1) / run
        np.testing.assert_allclose(slopes[:, axis][clear], expected[clear], rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_ends_and_on_nodes_the_slope_is_that_of_the_cell_of_the_colour(kind):
    axis = np.float32([0, 0.1, 1])  # slopes 0.2 and 1.8
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")[::-1])[None]
    samples = np.float32([0, 0.25, 0.5, 1, -1e-6, 1.001])
    pictures = np.broadcast_to(samples, (1, 3, 1, 6)).copy()
    slopes = cube_gradient(CubeLookup(3, kind), pictures, pad_cubes(cube), np.ones_like(pictures))[1]
    np.testing.assert_allclose(slopes[0], np.broadcast_to([[0.2, 0.2, 1.8, 1.8, 0, 0]], (3, 1, 6)), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [False, True])
def test_threads_change_nothing(kind, shared, monkeypatch):
    rng = np.random.default_rng(5)
    size = 5
    lookup = CubeLookup(size, kind)
    pictures = make_pictures(rng, 3, 40, 41)
    gradient = rng.normal(size=pictures.shape).astype(np.float32)
    nodes = pad_cubes(rng.random((1 if shared else 3, 3, size, size, size), np.float32))
    assert kernel._count_parts(3, 40 * 41, len(nodes), size**3) > 1
    results = []
    for threads in (1, 2, config.NUMBA_NUM_THREADS, 1):
        colours = look_up_pictures(lookup, pictures, nodes, threads)
        results.append((colours, *cube_gradient(lookup, pictures, nodes, gradient, threads=threads)))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one.view(np.uint32), two.view(np.uint32))
    monkeypatch.setattr(kernel, "PARTS", 1)
    one_part = cube_gradient(lookup, pictures, nodes, gradient)
    np.testing.assert_allclose(one_part[0], results[0][1], rtol=1e-3, atol=1e-4)
    assert not np.array_equal(one_part[0], results[0][1])  # the parts were really more than one


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_wanted_is_left_out(kind):
    rng = np.random.default_rng(6)
    lookup = CubeLookup(4, kind)
    pictures = rng.random((2, 3, 9, 8), np.float32)
    nodes = pad_cubes(rng.random((2, 3, 4, 4, 4), np.float32))
    both = cube_gradient(lookup, pictures, nodes, pictures)
    cubes_only = cube_gradient(lookup, pictures, nodes, pictures, with_pictures=False)
    pictures_only = cube_gradient(lookup, pictures, nodes, pictures, with_cubes=False)
    np.testing.assert_array_equal(cubes_only[0], both[0])
    np.testing.assert_array_equal(pictures_only[1], both[1])
    assert cubes_only[1].size == pictures_only[0].size == 0
