"""Between the samples of videos and RGB: the formulas of the standard are the oracle, at both ranges and every depth."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit.video.colours import ColourTags, ToFrames, ToPixels, complete_tags
from lutkit.video.library import VideoError

WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Weights of red and blue in luma by the code point of the matrix (ISO/IEC 23091-2, table 4)."""


def expect_planes(colours: np.ndarray, matrix: int, extent: int, bits: int) -> np.ndarray:
    """Return luma and colour differences of RGB in 0 to 1, (H, W, 3) to (3, H, W), by equations 38 to 50."""
    red, green, blue = np.moveaxis(colours, 2, 0)
    of_red, of_blue = WEIGHTS[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    differences = (blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)
    if extent == 1:
        return np.array([219 * luma + 16, *(224 * difference + 128 for difference in differences)]) * 2 ** (bits - 8)
    top = 2**bits - 1
    return np.array([top * luma, *(top * difference + 2 ** (bits - 1) for difference in differences)])


def read_planes(frame: av.VideoFrame, bits: int) -> np.ndarray:
    kind = np.uint8 if bits == 8 else np.uint16
    planes = [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
    return np.array(planes).astype(np.float64)


def make_image(bits: int, seed: int = 0) -> np.ndarray:
    """Return an image with blocks of random colours, black and white among them."""
    random = np.random.default_rng(seed)
    top = 255 if bits == 8 else 65535
    blocks = random.integers(0, top, (4, 5, 3), np.uint8 if bits == 8 else np.uint16, endpoint=True)
    blocks[0, 0], blocks[0, 1] = 0, top
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


@settings(max_examples=40)
@given(st.sampled_from(sorted(WEIGHTS)), st.sampled_from((1, 2)), st.sampled_from((8, 10, 12)), st.integers(0, 9))
def test_luma_and_colour_differences_are_those_of_the_standard(matrix, extent, bits, seed):
    image = make_image(bits, seed)
    tags = ColourTags(matrix, extent, 2, 2)
    frame = ToFrames(tags, f"yuv444p{'' if bits == 8 else f'{bits}le'}").convert(image)
    assert (frame.colorspace, frame.color_range) == (matrix, extent)
    expected = expect_planes(image / (255 if bits == 8 else 65535), matrix, extent, bits)
    # swscale computes the weights in 15 bits: half a step of rounding, and a little more at whole range or 12 bits.
    largest = 2 ** max(0, bits - 10) * (1.1 if extent == 1 else 2.1)
    assert np.abs(read_planes(frame, bits) - expected.clip(0, 2**bits - 1)).max() <= largest


@settings(max_examples=40)
@given(st.sampled_from(sorted(WEIGHTS)), st.sampled_from((1, 2)), st.sampled_from((8, 10, 12)), st.integers(0, 9))
def test_colours_come_back_to_a_step_of_the_stream(matrix, extent, bits, seed):
    image = make_image(bits, seed)
    tags = ColourTags(matrix, extent, 2, 2)
    frame = ToFrames(tags, f"yuv444p{'' if bits == 8 else f'{bits}le'}").convert(image)
    back = ToPixels(tags, deep=bits > 8, alpha=False).convert(frame)
    assert back.dtype == image.dtype
    step = (255 if bits == 8 else 65535) / (2**bits - 1)
    # Three samples are rounded on the way, and blue is 1.9 times a colour difference; swscale's own steps are 1 in 2**9.
    assert np.abs(back.astype(int) - image).max() <= (3 if bits == 8 else 400)
    assert (back[0, 0] <= 2 * step).all()
    assert (back[0, 8] >= image[0, 8] - 2 * step).all()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_formats_of_lossless_videos_keep_every_sample(deep, alpha):
    from lutkit.video.encoders import ENCODERS

    random = np.random.default_rng(1)
    kind = np.uint16 if deep else np.uint8
    image = random.integers(0, np.iinfo(kind).max, (6, 10, 4 if alpha else 3), kind, endpoint=True)
    formats = [encoder.lossless_formats.get((deep, alpha)) for encoder in ENCODERS.values()]
    assert any(formats)
    for name in filter(None, formats):
        tags = ColourTags(0, 2, 2, 2)
        frame = ToFrames(tags, name).convert(image)
        assert np.array_equal(ToPixels(tags, deep=deep, alpha=alpha).convert(frame), image)


@pytest.mark.parametrize(
    ("stored", "size", "matrix"), [(2, (1279, 576), 6), (2, (1280, 576), 1), (2, (720, 578), 1), (9, (320, 240), 9)]
)
def test_what_a_stream_does_not_say_is_what_players_take_it_for(stored, size, matrix):
    tags = complete_tags(stored, 0, 2, 16, is_rgb=False, size=size)
    assert tags == ColourTags(matrix, 1, 2, 16)


def test_rgb_has_no_matrix_and_the_whole_range():
    assert complete_tags(1, 1, 9, 16, is_rgb=True, size=(9, 9)) == ColourTags(0, 2, 9, 16)


def test_matrices_that_cannot_be_computed_are_refused():
    with pytest.raises(VideoError, match="matrix 8 of ISO/IEC 23091-2"):
        complete_tags(8, 1, 1, 1, is_rgb=False, size=(9, 9))
