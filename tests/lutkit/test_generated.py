"""Laws and statistics of the generated training images."""

import numpy as np
import pytest

from lutkit.generated import render_collection, render_dead_leaves


@pytest.fixture(scope="module")
def collection():
    return render_collection(7, 6, 256)


def test_shape_and_type(collection):
    assert len(collection) == 6
    for image in collection:
        assert image.shape == (256, 256, 3)
        assert image.dtype == np.uint8


@pytest.mark.parametrize("size", [(16, 16), (16, 200), (201, 17), (64, 96)])
def test_any_size_from_sixteen(size):
    assert render_dead_leaves(np.random.default_rng(0), *size).shape == (*size, 3)


def test_refuses_smaller_sizes():
    with pytest.raises(ValueError, match="15x64"):
        render_dead_leaves(np.random.default_rng(0), 64, 15)


def test_a_seed_reproduces_and_a_larger_count_keeps_the_first(collection):
    for again, image in zip(render_collection(7, 3, 256), collection, strict=False):
        np.testing.assert_array_equal(again, image)


def test_images_and_seeds_differ(collection):
    others = render_collection(8, 2, 256)
    for index, image in enumerate(collection):
        for other in [*collection[index + 1 :], *others]:
            assert np.mean(image != other) > 0.9


def test_statistics_are_those_of_photos(collection):
    gray = np.stack(collection).astype(float).mean(axis=3)
    gradient = np.concatenate([np.diff(gray, axis=1).ravel(), np.diff(gray, axis=2).ravel()])
    assert 30 < np.median(gray.std(axis=(1, 2))) < 90
    # Edges are sharp and rare: kurtosis far above the 3 of noise, and half of the neighbours nearly equal.
    assert np.mean(gradient**4) / np.mean(gradient**2) ** 2 > 8
    assert np.mean(np.abs(gradient) < 3) > 0.35
    # Both polarities, and both directions as likely.
    assert np.abs(gradient.mean()) < 1
    ratio = np.square(np.diff(gray, axis=1)).mean() / np.square(np.diff(gray, axis=2)).mean()
    assert 0.6 < ratio < 1.7


def test_power_falls_as_in_photos(collection):
    """Photos lose a factor of 4 to 8 in power per octave; noise loses none."""
    gray = np.stack(collection).astype(float).mean(axis=3)
    gray = (gray - gray.mean(axis=(1, 2), keepdims=True)) * np.outer(np.hanning(256), np.hanning(256))
    power = np.square(np.abs(np.fft.fft2(gray))).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    octaves = [power[(frequency >= low) & (frequency < 2 * low)].mean() for low in 2.0 ** -np.arange(7, 2, -1)]
    slopes = -np.diff(np.log2(octaves))
    assert 1.5 < slopes.mean() < 3.5
    assert slopes.min() > 0.5


def test_colours_agree_most_of_the_time_but_not_always(collection):
    pixels = np.stack(collection).reshape(-1, 3).astype(float)
    correlation = np.corrcoef(pixels.T)
    assert 0.6 < correlation[np.triu_indices(3, 1)].min() < 0.995
