"""The share that colour maps can explain: laws of global maps, of noise, and of few pixels for each colour."""

import math

import numpy as np
import pytest

from lutkit.distil.explained import ColourStatistics


def explain(*pairs):
    statistics = ColourStatistics()
    each = [statistics.add(picture, answer) for picture, answer in pairs]
    return statistics.explain(), each


def draw(colours, shape=(40, 50), seed=0):
    """Return a picture of so many different colours."""
    random = np.random.default_rng(seed)
    palette = random.integers(0, 256, (colours, 3), dtype=np.uint8)
    return palette[random.integers(0, colours, shape)]


def widen(picture):
    return picture.astype(np.uint16) * np.uint16(257)


def test_a_colour_map_is_explained_wholly():
    lut = np.random.default_rng(1).integers(0, 65536, (256, 3), dtype=np.uint16)
    pictures = [draw(300, seed=seed) for seed in range(3)]
    of_set, each = explain(*((picture, lut[picture, np.arange(3)]) for picture in pictures))
    for found in (of_set, *each):
        assert found.share == 1.0 and found.ceiling == math.inf and found.counted > 0.9


@pytest.mark.parametrize("per_colour", [2, 3, 50])
def test_noise_is_not_explained_however_few_pixels_a_colour_has(per_colour):
    """The naive share, summed squares over pixels, would be 1 / per_colour here."""
    random = np.random.default_rng(2)
    codes = np.repeat(np.arange(30000 // per_colour), per_colour)
    picture = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)[None]
    answer = random.integers(0, 65536, picture.shape, dtype=np.uint16)
    found, _ = explain((picture, answer))
    assert abs(found.share) < 0.03
    assert found.ceiling == pytest.approx(10 * math.log10(12), abs=0.1)  # the variance of uniform noise is 1/12
    assert found.counted == 1 and found.colours == 30000 // per_colour


def test_noise_of_a_known_variance_gives_its_ceiling():
    random = np.random.default_rng(3)
    picture = draw(400, (200, 200))
    noisy = picture / 255 * 0.8 + 0.1 + random.normal(0, 0.01, picture.shape)
    found, (each,) = explain((picture, np.rint(noisy * 65535).astype(np.uint16)))
    assert found.ceiling == pytest.approx(40, abs=0.1)
    assert each == found


def test_a_map_for_each_picture_is_explained_picture_by_picture_only():
    picture = draw(100)
    of_set, each = explain(*((picture, (widen(picture) * gain).astype(np.uint16)) for gain in (0.3, 0.6, 0.9)))
    assert all(one.ceiling == math.inf for one in each)
    assert 0.3 < of_set.share < 0.95 and of_set.ceiling < 20


def test_pixels_whose_colour_is_alone_do_not_count():
    picture = np.zeros((1, 6, 3), np.uint8)
    picture[0, 4:, 0] = [1, 2]
    answer = np.zeros((1, 6, 3), np.uint16)
    answer[0, :4] = [[0], [0], [65535], [65535]]
    answer[0, 4:] = 12345  # must make no difference
    found, _ = explain((picture, answer))
    assert found.counted == pytest.approx(4 / 6) and found.colours == 1
    # one colour with values 0, 0, 1, 1: variance 1/3 within as in all
    assert found.share == pytest.approx(0) and found.ceiling == pytest.approx(10 * math.log10(3))


def test_nothing_is_claimed_where_no_colour_occurs_twice():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found, _ = explain((picture, widen(picture)))
    assert found.share is None and found.ceiling is None and found.counted == 0
