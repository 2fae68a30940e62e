"""Blending in compiled code gives the bytes of the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.cube import scale_to_depth
from lutkit_runtime.kernels.cpu.blending import CHUNK, blend_pictures
from lutkit_runtime.ops import Blend
from lutkit_runtime.ops.blend import bound_base

BLEND = Blend(base="image", changed="graded", amount="strength", output="result")


def make_picture(rng, dtype, height, width, channels):
    if dtype == np.float32:
        picture = rng.normal(0.5, 1, (height, width, channels)).astype(np.float32)
        picture.reshape(-1)[::7] = [np.nan, np.inf, -np.inf, 0.0][int(rng.integers(4))]
        return picture
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    channels=st.sampled_from([3, 4]),
    amount=st.floats(0, 2, width=32),
    threads=st.sampled_from([None, 1]),
)
def test_the_bytes_are_those_of_the_definition(seed, dtype, channels, amount, threads):
    rng = np.random.default_rng(seed)
    base = make_picture(rng, dtype, 9, 11, channels)
    changed = rng.normal(0.5, 0.7, (9, 11, 3)).astype(np.float32)
    out = np.zeros_like(base)
    assert blend_pictures(base, changed, amount, out, threads)
    start = bound_base(base[..., :3])
    expected = scale_to_depth(start + np.float32(amount) * (changed - start), base.dtype)
    assert np.isfinite(expected).all()
    assert np.array_equal(out[..., :3], expected)
    assert np.array_equal(out[..., 3:], base[..., 3:], equal_nan=dtype == np.float32)


def test_it_is_what_the_op_does():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    changed = rng.random((5, 6, 3), dtype=np.float32)
    out = np.empty_like(base)
    assert blend_pictures(base, changed, 0.3, out)
    assert np.array_equal(out, scale_to_depth(BLEND.mix(base, changed, 0.3), base.dtype))


def test_what_is_no_number_starts_from_0_and_infinity_from_a_large_one():
    base = np.array([[[np.nan, np.inf, -np.inf]]], np.float32)
    changed = np.full((1, 1, 3), 0.5, np.float32)
    assert BLEND.mix(base, changed, 0.5).tolist() == [[[0.25, np.float32(5e29), np.float32(-5e29)]]]


def test_every_pixel_of_every_chunk_is_written():
    base = np.full((3, CHUNK // 2 + 1, 3), 10, np.uint8)
    out = np.zeros_like(base)
    assert blend_pictures(base, np.ones((*base.shape[:2], 3), np.float32), 2.0, out)
    assert (out == 255).all()


@pytest.mark.parametrize("which", ["base", "changed", "out"])
def test_other_memory_orders_are_left_to_the_definition(which):
    arrays = {
        "base": np.zeros((4, 5, 3), np.uint8),
        "changed": np.zeros((4, 5, 3), np.float32),
        "out": np.full((4, 5, 3), 7, np.uint8),
    }
    arrays[which] = np.asfortranarray(arrays[which])
    assert not blend_pictures(arrays["base"], arrays["changed"], 0.5, arrays["out"])
    assert (arrays["out"] == 7).all()
