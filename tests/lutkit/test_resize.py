"""Bicubic resizing against an independent implementation, the published benchmark files and laws."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit.resize import crop_to_multiple, resize_bicubic, resize_bicubic_float


@pytest.fixture(scope="module")
def oracle(shared_data):
    with np.load(shared_data / "oracles" / "matlab_bicubic.npz") as arrays:
        return dict(arrays)


@pytest.mark.data
@pytest.mark.parametrize("scale", [2, 3, 4])
class TestOracle:
    def test_size_is_rounded_up(self, oracle, scale):
        np.testing.assert_array_equal(resize_bicubic(oracle["hr"], Fraction(1, scale)), oracle[f"x{scale}_scale"])

    def test_modcrop_shrunk(self, oracle, scale):
        shrunk = resize_bicubic(crop_to_multiple(oracle["hr"], scale), Fraction(1, scale))
        np.testing.assert_array_equal(shrunk, oracle[f"x{scale}_modcrop"])

    def test_enlarged(self, oracle, scale):
        enlarged = resize_bicubic(oracle[f"x{scale}_modcrop"], scale)
        np.testing.assert_array_equal(enlarged, oracle[f"x{scale}_up_of_modcrop"])

    def test_without_rounding(self, oracle, scale):
        shrunk = resize_bicubic_float(crop_to_multiple(oracle["hr"], scale), Fraction(1, scale))
        np.testing.assert_allclose(shrunk, oracle[f"x{scale}_modcrop_float64"], rtol=0, atol=1e-10)


@pytest.mark.data
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reproduces_the_benchmark_files(shared_data, scale):
    set5 = shared_data / "benchmarks" / "Set5"
    paths = sorted((set5 / "HR").glob("*.png"))
    assert len(paths) == 5
    for path in paths:
        shrunk = resize_bicubic(crop_to_multiple(cv2.imread(str(path)), scale), Fraction(1, scale))
        (published,) = (set5 / "LR_bicubic" / f"X{scale}").glob(f"{path.stem}*.png")
        np.testing.assert_array_equal(shrunk, cv2.imread(str(published)), err_msg=path.stem)


scales = st.sampled_from([Fraction(1, 2), Fraction(1, 3), Fraction(1, 4), Fraction(2, 3), Fraction(5, 2), 1, 2, 3, 4])
sides = st.integers(1, 21)


def make_noise(*shape):
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


@given(sides, sides, scales, st.integers(0, 255))
def test_a_flat_image_stays_flat(height, width, scale, level):
    resized = resize_bicubic(np.full((height, width), level, np.uint8), scale)
    assert resized.shape == (-(-height * scale // 1), -(-width * scale // 1))
    assert (resized == level).all()


@given(sides, sides)
def test_scale_one_changes_nothing(height, width):
    image = make_noise(height, width)
    np.testing.assert_array_equal(resize_bicubic(image, 1), image)


@given(sides, sides, scales)
def test_channels_are_independent(height, width, scale):
    image = make_noise(height, width, 3)
    planes = [resize_bicubic(image[:, :, channel], scale) for channel in range(3)]
    np.testing.assert_array_equal(resize_bicubic(image, scale), np.dstack(planes))


@given(sides, sides, st.sampled_from([2, 3, 4]))
def test_mirrored_input_gives_mirrored_output(height, width, scale):
    """Holds where the output covers the input exactly; the kernel and the border are symmetric."""
    image = make_noise(height, width).astype(np.float64)
    enlarged = resize_bicubic_float(image, scale)
    np.testing.assert_allclose(resize_bicubic_float(image[::-1, ::-1], scale), enlarged[::-1, ::-1], atol=1e-9)
    cropped = crop_to_multiple(image, scale)
    if cropped.size:
        shrunk = resize_bicubic_float(cropped, Fraction(1, scale))
        mirrored = resize_bicubic_float(cropped[::-1, ::-1], Fraction(1, scale))
        np.testing.assert_allclose(mirrored, shrunk[::-1, ::-1], atol=1e-9)


def test_a_ramp_stays_a_ramp_inside():
    """A cubic kernel with a = -1/2 reproduces straight lines, so positions are right to the last bit."""
    ramp = np.tile(np.arange(40.0), (3, 1))
    inner = resize_bicubic_float(ramp, Fraction(5, 2))[3, 10:-10]
    np.testing.assert_allclose(inner, (np.arange(100) + 0.5)[10:-10] / 2.5 - 0.5, atol=1e-12)


def test_crop_to_multiple_cuts_the_end():
    image = make_noise(11, 14, 3)
    cropped = crop_to_multiple(image, 4)
    np.testing.assert_array_equal(cropped, image[:8, :12])
    assert cropped.base is image
    np.testing.assert_array_equal(crop_to_multiple(image, 1), image)


@pytest.mark.parametrize(
    ("compute", "match"),
    [
        (lambda: resize_bicubic(np.zeros((4, 4)), 2), "float64"),
        (lambda: resize_bicubic(np.zeros((4, 4), np.uint8), 0), "scale is 0"),
        (lambda: resize_bicubic(np.zeros((0, 4), np.uint8), 2), r"\(0, 4\)"),
        (lambda: resize_bicubic(np.zeros(4, np.uint8), 2), r"\(4,\)"),
        (lambda: crop_to_multiple(np.zeros((4, 4), np.uint8), 0), "multiple is 0"),
    ],
)
def test_refuses_what_it_cannot_resize(compute, match):
    with pytest.raises(ValueError, match=match):
        compute()
