"""Cutting images into tiles, and converting between images and planes of codes."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit_runtime.engine.conversion import from_codes, scale_alpha, to_codes
from lutkit_runtime.engine.tiling import cut_image


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9), st.integers(1, 70) | st.none(), st.integers(1, 400))
def test_tiles_cover_every_pixel_once_and_read_the_halo(
    height: int, width: int, halo: int, side: int | None, pixels: int
) -> None:
    covered = np.zeros((height, width), int)
    tiles = cut_image(height, width, halo, side, pixels)
    for rows, columns in tiles:
        covered[rows.written(1), columns.written(1)] += 1
        for span, length in ((rows, height), (columns, width)):
            assert (span.first, span.last) == (max(0, span.start - halo), min(span.stop + halo, length))
            read = np.arange(length)[span.read]
            assert read[span.kept(1)].tolist() == list(range(span.start, span.stop))
    assert (covered == 1).all()
    assert len(tiles) == len(list(tiles))


def test_strips_by_default_and_squares_where_they_would_be_thin() -> None:
    assert len(cut_image(100, 50, 2, None, 500).columns) == 1
    assert len(cut_image(100, 50, 2, None, 500).rows) == 10
    wide = cut_image(4, 100_000, 2, None, 10_000)
    assert (len(wide.rows), len(wide.columns)) == (1, 1000)


def test_every_16_bit_value_is_rounded_to_the_nearest_code() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = [round(Fraction(value, 257)) for value in range(65536)]
    np.testing.assert_array_equal(to_codes(values).ravel(), expected)


def test_floats_are_clipped_and_rounded() -> None:
    values = np.array([[-1e30, -0.1, 0, 0.5 / 255, 1.5 / 255, 0.7, 1, 1.1, 3e38]], np.float32)
    assert to_codes(values)[0, 0].tolist() == [0, 0, 0, 0, 2, 178, 255, 255, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_codes_survive_every_depth(dtype: type) -> None:
    codes = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    image = np.empty((16, 16), dtype)
    from_codes(codes, image)
    np.testing.assert_array_equal(to_codes(image), codes)
    assert image.max() == (1 if dtype is np.float32 else np.iinfo(dtype).max)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_alpha_is_resized_in_strips_as_in_one_piece(dtype: type, scale: int) -> None:
    image = (np.random.default_rng(scale).random((600, 5, 2)) * (1 if dtype is np.float32 else 250)).astype(dtype)
    out = np.zeros((600 * scale, 5 * scale, 2), dtype)
    scale_alpha(image, scale, out)
    whole = cv2.resize(np.ascontiguousarray(image[..., 1]), (5 * scale, 600 * scale), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(out[..., 1], whole, rtol=1e-5 if dtype is np.float32 else 0)
    assert not out[..., 0].any()
