"""Metrics against the figures published with a model's result images, and laws."""

import math
import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit.data import read_rgb
from lutkit.metrics import crop_border, luma, psnr, psnr_y, ssim, ssim_y
from lutkit.resize import crop_to_multiple

NAMES = ["baby", "bird", "butterfly", "head", "woman"]


@pytest.fixture(scope="module")
def published(shared_data):
    """PSNR-Y and SSIM-Y per image, then the mean, as stated beside the result images."""
    text = (shared_data / "published" / "mulut-x4-sdy-x2" / "SOURCE.md").read_text()
    rows = {}
    for metric in ("PSNR-Y", "SSIM-Y"):
        (row,) = re.findall(rf"^\| {metric} \|(.*)\|$", text, re.MULTILINE)
        rows[metric] = [float(cell.strip(" *")) for cell in row.split("|")]
    return rows


@pytest.fixture(scope="module")
def pairs(shared_data):
    results = shared_data / "published" / "mulut-x4-sdy-x2" / "results-Set5"
    originals = shared_data / "benchmarks" / "Set5" / "HR"
    outputs = {name: next(results.glob(f"{name}*.png")) for name in NAMES}
    return [(read_rgb(outputs[name]), crop_to_multiple(read_rgb(originals / f"{name}.png"), 4)) for name in NAMES]


@pytest.mark.data
def test_psnr_y_equals_the_published_figures(published, pairs):
    figures = [psnr_y(output, reference, 4) for output, reference in pairs]
    np.testing.assert_allclose([*figures, np.mean(figures)], published["PSNR-Y"], rtol=0, atol=5.1e-5)


@pytest.mark.data
def test_ssim_y_equals_the_published_figures(published, pairs):
    figures = [ssim_y(output, reference) for output, reference in pairs]
    np.testing.assert_allclose([*figures, np.mean(figures)], published["SSIM-Y"], rtol=0, atol=5.1e-6)


def test_luma_range_and_weights():
    corners = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(luma(corners)[0], [16, 235, 81.481, 144.553, 40.966], rtol=0, atol=1e-6)


def test_gray_counts_as_three_equal_channels():
    gray = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    np.testing.assert_array_equal(luma(gray), luma(np.dstack([gray] * 3)))


def test_luma_psnr_of_gray_is_the_stated_offset_above_plain():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 256, (2, 20, 30), np.uint8)
    assert psnr_y(first, second, 0) - psnr(first, second) == pytest.approx(20 * math.log10(255 / 219), abs=1e-6)


def test_psnr_of_a_known_error():
    values = np.zeros((4, 5), np.uint8)
    assert psnr(values, values + np.uint8(255)) == 0
    assert psnr(values, values + 0.1, peak=1) == pytest.approx(20)
    assert psnr(values, values) == math.inf


def test_uint8_differences_do_not_wrap():
    low, high = np.full((2, 2), 3, np.uint8), np.full((2, 2), 250, np.uint8)
    assert psnr(low, high) == psnr(high, low) == pytest.approx(20 * math.log10(255 / 247))


@given(st.integers(0, 4), st.integers(9, 12), st.integers(9, 12))
def test_border_pixels_do_not_count(border, height, width):
    rng = np.random.default_rng(height * width)
    output, reference = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    changed = np.zeros_like(output)
    crop_border(changed, border)[:] = crop_border(output, border)
    assert psnr_y(changed, reference, border) == psnr_y(output, reference, border)
    assert crop_border(output, border).shape == (height - 2 * border, width - 2 * border, 3)


def compute_ssim_slowly(x, y):
    """One window after the other, from the definition with the weights written out."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    scores = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (image[row : row + 11, column : column + 11].astype(float) for image in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            variances = (weights * (a - mean_a) ** 2).sum() + (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            score = (2 * mean_a * mean_b + 2.55**2) * (2 * covariance + 7.65**2)
            scores.append(score / ((mean_a**2 + mean_b**2 + 2.55**2) * (variances + 7.65**2)))
    return np.mean(scores)


@pytest.mark.parametrize("shape", [(11, 11), (11, 17), (19, 14)])
def test_ssim_equals_the_definition(shape):
    rng = np.random.default_rng(2)
    first = cv2.GaussianBlur(rng.integers(0, 256, shape, np.uint8), (5, 5), 1.0)
    second = np.clip(first + rng.normal(0, 10, shape), 0, 255)
    assert ssim(first, second) == pytest.approx(compute_ssim_slowly(first, second), abs=1e-12)
    assert 0.2 < ssim(first, second) < 0.999


def test_ssim_of_equal_images_is_one():
    image = np.random.default_rng(3).integers(0, 256, (15, 16), np.uint8)
    assert ssim(image, image) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("compute", "match"),
    [
        (lambda: luma(np.zeros((2, 2))), "float64"),
        (lambda: luma(np.zeros((2, 2, 4), np.uint8)), r"\(2, 2, 4\)"),
        (lambda: crop_border(np.zeros((8, 9)), 4), "9x8"),
        (lambda: crop_border(np.zeros((8, 9)), -1), "-1"),
        (lambda: psnr(np.zeros((2, 2)), np.zeros((2, 3))), r"\(2, 2\) and \(2, 3\)"),
        (lambda: psnr(np.zeros((0, 2)), np.zeros((0, 2))), "not empty"),
        (lambda: ssim(np.zeros((10, 20)), np.zeros((10, 20))), r"\(10, 20\)"),
        (lambda: ssim(np.zeros((20, 20, 3)), np.zeros((20, 20, 3))), r"\(20, 20, 3\)"),
    ],
)
def test_refuses_what_it_cannot_score(compute, match):
    with pytest.raises(ValueError, match=match):
        compute()
