"""Metrics of colour pictures against the definitions written out in float64, and against another library's values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import sliding_window_view

from lutkit.colour_metrics import delta_e76, psnr_rgb, ssim_wang, to_lab
from lutkit.metrics import ssim

PICTURES = hnp.arrays(np.uint8, st.tuples(st.integers(11, 24), st.integers(11, 24), st.just(3)))

LAB_OF_ANOTHER_LIBRARY = {
    # colour-science 0.4.7, sRGB with the matrix derived from primaries, white of chromaticity (0.3127, 0.3290).
    (1.0, 0.0, 0.0): (53.2371, 80.0901, 67.2033),
    (0.0, 1.0, 0.0): (87.7355, -86.1816, 83.1866),
    (0.0, 0.0, 1.0): (32.3009, 79.1953, -107.8555),
    (0.2, 0.5, 0.7): (50.9733, -6.3888, -33.7117),
    (0.02, 0.03, 0.01): (1.8478, -1.3761, 1.6952),
    (0.9, 0.6, 0.3): (69.5077, 21.6645, 50.8027),
}


def make_pair(height: int, width: int, noise: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return two smooth but lively pictures that differ by noise."""
    rng = np.random.default_rng([height, width])
    row, column, channel = np.ogrid[:height, :width, :3]
    first = (
        128 + 100 * np.sin(row / 17 + channel) * np.cos(column / 23 - channel) + rng.normal(0, 12, (height, width, 3))
    )
    second = first + rng.normal(0, noise, first.shape)
    return tuple(np.clip(picture, 0, 255).astype(np.uint8) for picture in (first, second))


def ssim_written_out(first: np.ndarray, second: np.ndarray) -> float:
    """The published computation step by step: MATLAB's arrays, columns first, with its indexing."""
    f = max(1, math.floor(min(first.shape[0], first.shape[1] * 3) / 256 + 0.5))
    before, after = (f - 1) // 2, f - 1 - (f - 1) // 2
    reduced = []
    for picture in (first.astype(np.float64), second.astype(np.float64)):
        padded = np.pad(picture, ((before, after), (before, after), (0, 0)), "symmetric")
        averaged = sliding_window_view(padded, (f, f), axis=(0, 1)).mean(axis=(-2, -1))
        reduced.append(averaged.reshape(len(first), -1, order="F")[::f, ::f])
    x, y = (sliding_window_view(picture, (11, 11)) for picture in reduced)
    distance = np.arange(-5, 6)
    window = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    window /= window.sum()

    def average(values):
        return (values * window).sum(axis=(-2, -1))

    mean_x, mean_y = average(x), average(y)
    variance_x, variance_y = average(x * x) - mean_x**2, average(y * y) - mean_y**2
    covariance = average(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(similarity.mean())


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(40, 60, 1), (385, 150, 2), (400, 420, 2), (650, 220, 3), (901, 1000, 4)]
)
def test_ssim_equals_the_script_written_out(height, width, factor):
    assert max(1, math.floor(min(height, 3 * width) / 256 + 0.5)) == factor
    pair = make_pair(height, width)
    assert ssim_wang(*pair) == pytest.approx(ssim_written_out(*pair), abs=1e-9)


def test_ssim_of_gray_pictures_is_that_of_luma():
    first, second = (picture[:, :, 0] for picture in make_pair(120, 90))
    assert ssim_wang(first, second) == pytest.approx(ssim(first, second), abs=1e-12)


def test_channels_are_compared_as_one_plane():
    # Upright and lying pictures are reduced differently, as published: 3 W counts as the width.
    first, second = make_pair(700, 400)
    turned = [np.ascontiguousarray(picture.transpose(1, 0, 2)) for picture in (first, second)]
    assert ssim_wang(first, second) > ssim_wang(*turned) + 0.01


@given(PICTURES)
def test_equal_pictures_score_best(picture):
    assert psnr_rgb(picture, picture) == math.inf
    assert ssim_wang(picture, picture) == pytest.approx(1, abs=1e-12)
    assert delta_e76(picture, picture) == 0


@given(PICTURES, st.integers(0, 2**32 - 1))
def test_sixteen_bits_score_as_eight(picture, seed):
    other = np.random.default_rng(seed).integers(0, 256, picture.shape, np.uint8)
    wide, wide_other = (array.astype(np.uint16) * np.uint16(257) for array in (picture, other))
    for metric in (psnr_rgb, ssim_wang, delta_e76):
        assert metric(wide, wide_other) == pytest.approx(metric(picture, other), rel=1e-9)
        assert metric(picture, other) == pytest.approx(metric(other, picture), rel=1e-9)


def test_psnr_counts_all_channels_together():
    first = np.zeros((2, 5, 3), np.uint8)
    second = first.copy()
    second[0, 0, 1] = 30
    assert psnr_rgb(first, second) == pytest.approx(10 * math.log10(255**2 * 30 / 900))


@pytest.mark.parametrize(("colour", "expected"), LAB_OF_ANOTHER_LIBRARY.items())
def test_lab_of_another_library(colour, expected):
    # Its white differs from MATLAB's in the fourth digit of Z.
    np.testing.assert_allclose(to_lab(np.array(colour)), expected, atol=0.01)


def test_grays_have_no_colour():
    lab = to_lab(np.linspace(0, 1, 101)[:, None] * np.ones(3))
    np.testing.assert_allclose(lab[:, 1:], 0, atol=1e-10)
    assert lab[0, 0] == pytest.approx(0, abs=1e-12) and lab[-1, 0] == pytest.approx(100)


def test_delta_e_is_the_mean_distance():
    first, second = make_pair(300, 40)
    distance = np.linalg.norm(to_lab(first / 255) - to_lab(second / 255), axis=2)
    assert delta_e76(first, second) == pytest.approx(distance.mean(), rel=1e-12)


@pytest.mark.parametrize("metric", [psnr_rgb, ssim_wang, delta_e76])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8)),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint16)),
        (np.zeros((20, 20, 3)), np.zeros((20, 20, 3))),
        (np.zeros((0, 20, 3), np.uint8), np.zeros((0, 20, 3), np.uint8)),
        (np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 4), np.uint8)),
    ],
)
def test_what_cannot_be_compared_is_refused(metric, first, second):
    with pytest.raises(ValueError, match="pictures"):
        metric(first, second)
