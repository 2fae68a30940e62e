"""The cube that is fitted to pairs of colours: what it meets exactly, and that it stays sane where no colour went."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy")

from lutkit.colour.lut import Cube, grid
from lutkit.distil.cube_fit import ANCHOR, SMOOTHNESS, CubeFit


def fit(colours, targets, size=9):
    made = CubeFit(size)
    made.add(colours, targets)
    return made.solve()


def test_identity_and_affine_maps_are_found_exactly_from_few_colours():
    colours = np.random.default_rng(0).random((40, 3)) * 0.3 + 0.4
    assert np.abs(fit(colours, colours).values - grid(9)).max() < 1e-6
    matrix = np.array([[0.7, 0.1, 0.0], [0.0, 0.6, 0.2], [0.1, 0.0, 0.7]])
    cube = fit(colours, colours @ matrix + 0.05)
    assert np.abs(cube.values - (grid(9) @ matrix + 0.05)).max() < 1e-6


def test_gray_pictures_leave_other_colours_as_they_are():
    grays = np.repeat(np.linspace(0, 1, 50)[:, None], 3, axis=1)
    cube = fit(grays, grays)
    assert np.abs(cube.values - grid(9)).max() < 1e-5


@settings(max_examples=8)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_any_cube_is_found_from_its_own_results(size, seed):
    random = np.random.default_rng(seed)
    truth = Cube(random.random((size, size, size, 3), dtype=np.float32))
    nodes = np.repeat(grid(size).reshape(-1, 3), 10, axis=0)
    colours = np.concatenate([nodes, random.random((2000, 3))])
    made = CubeFit(size)
    for part in np.array_split(colours, 3):  # however it is divided
        made.add(part, truth.evaluate(part))
    assert np.abs(made.solve().values - truth.values).max() < 0.03


def test_colours_that_no_photo_has_continue_those_that_are_known():
    def square(colours):
        return 0.1 + 0.8 * colours**2

    random = np.random.default_rng(1)
    colours = random.random((5000, 3)) * [0.5, 1, 1]  # nothing reddish
    cube = fit(colours, square(colours), size=17)
    assert np.abs(cube.evaluate(colours) - square(colours)).max() < 0.01
    elsewhere = grid(17)[:, :, 9:].reshape(-1, 3)
    # even the tangent at 0.5 misses the square by 0.2 at 1
    assert np.abs(cube.evaluate(elsewhere) - square(elsewhere)).max() < 0.35
    assert (np.diff(cube.values[..., 0], axis=2) > -0.005).all()


def test_values_stay_within_range_and_noise_gives_the_mean():
    random = np.random.default_rng(2)
    colours = random.random((20000, 3))
    cube = fit(colours, random.integers(0, 2, colours.shape), size=3)
    assert cube.values.min() >= 0 and cube.values.max() <= 1
    assert np.abs(cube.values - 0.5).mean() < 0.05


def test_nothing_taken_in_is_an_error():
    with pytest.raises(ValueError, match="no colours"):
        CubeFit(3).solve()


def test_least_squares_agree_with_a_dense_solution():
    """Weights by an independent evaluation: cubes that are 1 at a node and 0 elsewhere."""
    random = np.random.default_rng(3)
    size, colours, targets = 4, random.random((500, 3)), 0.3 + 0.4 * random.random((500, 3))
    units = np.eye(size**3, dtype=np.float32).reshape(-1, size, size, size)
    weights = np.stack([Cube(np.repeat(unit[..., None], 3, axis=3)).evaluate(colours)[:, 0] for unit in units], axis=1)
    bends = [np.diff(units, n=2, axis=axis).reshape(size**3, -1).T for axis in (1, 2, 3)]
    share = size**-1.5
    system = np.concatenate(
        [
            weights / np.sqrt(len(colours)),
            *(np.sqrt(SMOOTHNESS) * share * bend for bend in bends),
            np.sqrt(ANCHOR) * share * np.eye(size**3),
        ]
    )
    plane, *_ = np.linalg.lstsq(np.c_[np.ones(len(colours)), colours], targets, rcond=None)
    affine = np.c_[np.ones(size**3), grid(size).reshape(-1, 3)] @ plane
    wanted = np.zeros((len(system), 3))
    wanted[: len(colours)] = (targets - weights @ affine) / np.sqrt(len(colours))
    dense = affine + np.linalg.lstsq(system, wanted, rcond=None)[0]
    assert np.abs(fit(colours, targets, size).values.reshape(-1, 3) - dense.clip(0, 1)).max() < 1e-4
