"""Degradations against the formulas of their sources, and laws every task must pass."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit.colour.exposures import (
    LEAST_DIFFERENCE,
    LEAST_STOPS,
    MOST_STOPS,
    Exposure,
    draw_exposure,
    draw_two_exposures,
)
from lutkit.colour.srgb import LUMINANCE, decode_srgb, encode_srgb
from lutkit.degradation import (
    AddNoise,
    CompressJpeg,
    Darken,
    Downscale,
    Relight,
    choose_task,
    find_task,
    make_task,
)
from lutkit.resize import resize_bicubic
from lutkit_runtime.errors import DataError

TASKS = [Downscale(2), Downscale(3), AddNoise(25), AddNoise(0.5), CompressJpeg(10), CompressJpeg(95)]

# ITU-T T.81, table K.1: quantisation of luminance at quality 50.
QUANTISATION = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


@pytest.fixture
def photo():
    """Smooth structure with grain, away from black and white."""
    rng = np.random.default_rng(5)
    coarse = cv2.resize(rng.uniform(70, 180, (6, 7, 3)), (61, 50), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 5, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_task_keeps_the_contract(task, channels, photo):
    image = photo if channels == 3 else photo[:, :, 0]
    before = image.copy()
    degraded = task.degrade(image, np.random.default_rng(1))
    assert degraded.dtype == np.uint8
    assert degraded.shape == (50 // task.scale, 61 // task.scale, *image.shape[2:])
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(degraded, task.degrade(image, np.random.default_rng(1)))
    same_for_another_seed = np.array_equal(degraded, task.degrade(image, np.random.default_rng(2)))
    assert same_for_another_seed == task.cacheable
    if task.scale == 1:
        assert not np.array_equal(degraded, image)


def test_names_tell_tasks_apart():
    names = ["sr-x2", "sr-x3", "denoise-s25", "denoise-s0.5", "deblock-q10", "deblock-q95"]
    assert [task.name for task in TASKS] == names
    assert AddNoise(25.0000001).name != AddNoise(25).name == AddNoise(25.0).name


def test_downscale_crops_at_the_bottom_and_right(photo):
    expected = resize_bicubic(photo[:48, :60], Fraction(1, 4))
    np.testing.assert_array_equal(Downscale(4).degrade(photo, np.random.default_rng()), expected)


@pytest.mark.parametrize("sigma", [1.5, 15, 25])
def test_noise_has_the_deviation_and_no_bias(sigma):
    gray = np.full((400, 400), 128, np.uint8)
    noise = AddNoise(sigma).degrade(gray, np.random.default_rng(3)) - 128.0
    assert abs(noise.mean()) < 5 * sigma / 400
    # Rounding adds the variance of a uniform error, 1/12.
    assert noise.std() == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.01)
    assert np.mean(noise**4) / np.mean(noise**2) ** 2 == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("level", [0, 255])
def test_noise_is_clipped_and_does_not_wrap(level):
    noisy = AddNoise(25).degrade(np.full((100, 100), level, np.uint8), np.random.default_rng(4))
    assert np.mean(noisy == level) == pytest.approx(0.5, abs=0.03)
    assert np.abs(noisy.astype(int) - level).max() < 25 * 6


@pytest.mark.parametrize("quality", [10, 40])
def test_jpeg_coefficients_are_multiples_of_the_standard_table(quality, photo):
    degraded = CompressJpeg(quality).degrade(photo[:48, :56, 1], np.random.default_rng())
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = np.clip((QUANTISATION * percent + 50) // 100, 1, 255)
    levels = []
    for row in range(0, 48, 8):
        for column in range(0, 56, 8):
            block = degraded[row : row + 8, column : column + 8].astype(np.float64) - 128
            levels.append(cv2.dct(block) / table)
    off_grid = np.abs((levels - np.rint(levels)) * table)
    assert off_grid.max() < 2.5  # what rounding the pixels leaves: a deviation of 0.29, at most 4
    assert np.abs(np.rint(levels)).max() > 2


def test_gray_jpeg_is_gray_and_colour_jpeg_keeps_the_channel_order(photo):
    photo[:, :, 0] = 200
    photo[:, :, 2] = 30
    degraded = CompressJpeg(90).degrade(photo, np.random.default_rng())
    np.testing.assert_allclose(degraded.mean(axis=(0, 1)), photo.mean(axis=(0, 1)), atol=3)


@given(st.integers(1, 95))
def test_higher_quality_is_nearer(quality):
    gray = np.random.default_rng(6).integers(0, 256, (32, 32), np.uint8)

    def measure(q):
        return np.square(CompressJpeg(q).degrade(gray, np.random.default_rng()) - gray.astype(float)).mean()

    assert measure(min(quality + 5, 100)) < measure(quality) * 1.05


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Downscale(1), "--scale"),
        (lambda: Downscale(-2), "-2"),
        (lambda: AddNoise(0), "--sigma"),
        (lambda: AddNoise(float("nan")), "nan"),
        (lambda: AddNoise(float("inf")), "inf"),
        (lambda: CompressJpeg(0), "--quality"),
        (lambda: CompressJpeg(101), "101"),
    ],
)
def test_refuses_impossible_parameters(make, match):
    with pytest.raises(DataError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "scale", "sigma", "quality", "told"),
    [("sr", 4, 10.0, None, "--sigma"), ("deblock", 1, 10.0, None, "--sigma"), ("denoise", 1, None, 10, "--quality")],
)
def test_options_of_another_task_are_refused(kind, scale, sigma, quality, told):
    with pytest.raises(DataError, match=f"{told} belongs to task .* task is {kind}"):
        find_task(kind, scale, None, sigma, quality)


def test_foreign_models_have_the_task_that_fits_their_scale():
    assert [choose_task(None, scale) for scale in (1, 2)] == ["denoise", "sr"]
    assert choose_task("deblock", 1) == "deblock"
    for asked, scale in (("sr", 1), ("denoise", 2)):
        with pytest.raises(DataError, match=f"task {asked} does not fit a model of scale {scale}"):
            choose_task(asked, scale)


def test_darkness_is_scored_in_colour_and_aims_at_the_photo(photo):
    task = make_task("lowlight", 1)
    assert task == find_task("lowlight", 1, "lowlight", None, None) == Darken() and task.name == "lowlight"
    assert task.scores_colour and not task.scores_luma and not task.cacheable and task.scale == 1
    for image in (photo, photo[..., 0]):
        before = image.copy()
        dark = task.degrade(image, np.random.default_rng(1))
        assert dark.dtype == np.uint8 and dark.shape == (50, 61, 3)
        np.testing.assert_array_equal(image, before)
        np.testing.assert_array_equal(dark, task.degrade(image, np.random.default_rng(1)))
        assert not np.array_equal(dark, task.degrade(image, np.random.default_rng(2)))
        np.testing.assert_array_equal(task.aim(image), image if image.ndim == 3 else np.dstack([image] * 3))
        assert dark.mean() < 0.6 * image.mean()


@pytest.mark.parametrize("stops", [0.0, 2.0, 4.0])
def test_an_exposure_divides_linear_light(stops):
    """Of each channel, with the balance of white off and the luminance of gray kept; noise has the sensor's variance."""
    gray = np.full((300, 300, 3), 190, np.uint8)
    exposure = Exposure(stops, warmth=0.2, electrons=5000, read_noise=1e-3)
    light = decode_srgb(exposure.take(gray, np.random.default_rng(0)) / 255)
    white = decode_srgb(np.array(190 / 255))
    gains = np.array([2**0.2, 1, 2**-0.2]) / (LUMINANCE @ [2**0.2, 1, 2**-0.2])
    expected = white * 2**-stops * gains
    np.testing.assert_allclose(light.mean(axis=(0, 1)), expected, rtol=0.01)
    assert light.mean(axis=(0, 1)) @ LUMINANCE == pytest.approx(white * 2**-stops, rel=0.01)
    # Rounding to 8 bits adds its share: a twelfth of the squared step between codes there.
    codes = np.rint(encode_srgb(expected) * 255)
    steps = decode_srgb((codes + 0.5) / 255) - decode_srgb((codes - 0.5) / 255)
    sensor = np.sqrt(expected / 5000 + 1e-6)
    np.testing.assert_allclose(light.std(axis=(0, 1)), np.sqrt(sensor**2 + steps**2 / 12), rtol=0.03)


def test_without_noise_a_full_exposure_is_the_photo(photo):
    plain = Exposure(0, electrons=1e12, read_noise=0)
    np.testing.assert_array_equal(plain.take(photo, np.random.default_rng(0)), photo)
    extremes = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(plain.take(extremes, np.random.default_rng(0)), extremes)


@given(st.integers(0, 2**32 - 1))
def test_two_exposures_differ_in_light_alone(seed):
    one, other = draw_two_exposures(np.random.default_rng(seed))
    assert abs(one.stops - other.stops) >= LEAST_DIFFERENCE
    for each in (one, other, draw_exposure(np.random.default_rng(seed))):
        assert LEAST_STOPS <= each.stops <= MOST_STOPS
    assert (one.warmth, one.electrons, one.read_noise) == (other.warmth, other.electrons, other.read_noise)


def test_a_photo_is_exposed_twice(photo):
    first, second = Darken().expose_twice(photo, np.random.default_rng(3))
    again = Darken().expose_twice(photo, np.random.default_rng(3))
    np.testing.assert_array_equal(first, again[0])
    np.testing.assert_array_equal(second, again[1])
    assert first.shape == second.shape == photo.shape and first.dtype == second.dtype == np.uint8
    lights = [
        decode_srgb(np.stack(Darken().expose_twice(photo, np.random.default_rng(seed))) / 255).mean(axis=(1, 2, 3))
        for seed in range(12)
    ]
    ratios = np.log2([one / other for one, other in lights])
    assert (np.abs(ratios) > 0.4).all() and (ratios > 0).any() and (ratios < 0).any()


def test_relighting_cannot_be_made_of_photos(photo):
    task = make_task("relight", 1)
    assert task == Relight() and task.scores_colour and task.name == "relight"
    with pytest.raises(DataError, match=r"task relight needs scenes under several lights.*depth\.png") as refusal:
        task.degrade(photo, np.random.default_rng(0))
    assert "\n" not in str(refusal.value)
    with pytest.raises(DataError, match="keeps the size"):
        make_task("relight", 2)
