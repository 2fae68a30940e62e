"""Thumbnails of nearest pixels: those of torch's ``nearest-exact``, of scikit-image's order 0, and of exact fractions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.ops.predictor import Sampling, sample_thumbnail

SIDES = st.sampled_from((1, 2, 4, 32, 256))
"""Powers of two, whose positions are exact in every kind of float."""


def make_ramp(height: int, width: int) -> np.ndarray:
    """Return a float picture in which every pixel says where it is."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows / 4096, columns / 4096, np.zeros_like(rows)], axis=-1).astype(np.float32)


@settings(max_examples=100)
@given(st.integers(1, 900), st.integers(1, 900), SIDES)
def test_the_pixel_that_holds_the_position_is_taken(height: int, width: int, side: int) -> None:
    """Pixel floor((i + 0.5) L / side), as integers say it."""
    rows, columns = ((2 * np.arange(side) + 1) * length // (2 * side) for length in (height, width))
    found = sample_thumbnail(make_ramp(height, width), side, Sampling.NEAREST)
    assert (found.dtype, found.shape) == (np.float32, (side, side, 3))
    np.testing.assert_array_equal(found[..., 0] * 4096, np.tile(rows[:, None], side))
    np.testing.assert_array_equal(found[..., 1] * 4096, np.tile(columns, (side, 1)))


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(1, 400))
def test_any_side_takes_pixels_that_exist_in_order(length: int, side: int) -> None:
    """Where a position falls between two pixels, rounding decides for one of them."""
    found = sample_thumbnail(make_ramp(length, 1), side, Sampling.NEAREST)[:, 0, 0] * 4096
    exact = (2 * np.arange(side) + 1) * length / (2 * side)
    assert (np.diff(found) >= 0).all()
    assert found.max() <= length - 1
    assert (np.abs(found + 0.5 - exact) <= 0.5 + 1e-9).all()


@settings(max_examples=60)
@given(st.integers(1, 900), st.integers(1, 900), SIDES)
def test_torch_takes_the_same(height: int, width: int, side: int) -> None:
    torch = pytest.importorskip("torch")
    picture = make_ramp(height, width)
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(planes, (side, side), mode="nearest-exact")[0].permute(1, 2, 0)
    np.testing.assert_array_equal(sample_thumbnail(picture, side, Sampling.NEAREST), expected.numpy())


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_a_picture_of_the_thumbnail_size_is_itself(depth: str) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (8, 8, 3)).astype(depth)
    peak = {"uint8": 255, "uint16": 65535, "float32": 1}[depth]
    found = sample_thumbnail(codes, 8, Sampling.NEAREST)
    np.testing.assert_array_equal(found, (codes.astype(np.float32) / np.float32(peak)).clip(0, 1))


def test_samples_count_as_in_the_other_sampling() -> None:
    """Within 0 and 1, and 0 what is no number."""
    picture = np.array([[[np.nan, np.inf, -np.inf], [2, -1, 0.25]]], np.float32)
    found = sample_thumbnail(picture, 2, Sampling.NEAREST)
    assert found.tolist() == [[[0, 1, 0], [1, 0, 0.25]]] * 2
