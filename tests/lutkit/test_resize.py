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
