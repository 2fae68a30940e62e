"""Faults of photos: none changes nothing, each does what it says, a generator's state decides."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit.colour.defects import MIDDLE_GRAY, Defect, bend_contrast, finish, random_defect
from lutkit.colour.srgb import decode_srgb, encode_srgb

GRAYS = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
SEEDS = st.integers(0, 2**32 - 1)


def make_photo(size: int = 64) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (size, size, 3), np.uint8)


def test_no_fault_changes_nothing():
    photo = make_photo()
    np.testing.assert_array_equal(Defect().apply(photo), photo)
    np.testing.assert_array_equal(finish(photo, 0.0), photo)


@given(SEEDS)
def test_codes_and_their_fractions_are_the_same_photo(seed):
    defect, photo = random_defect(np.random.default_rng(seed)), make_photo(24)
    np.testing.assert_array_equal(defect.apply(photo), defect.apply(photo / 255))


@given(SEEDS)
def test_state_of_the_generator_decides(seed):
    first, second = np.random.default_rng(seed), np.random.default_rng(seed)
    assert random_defect(first) == random_defect(second)
    # The same number of draws whatever is drawn: the next fault does not depend on which parts were present.
    assert first.bit_generator.state == second.bit_generator.state


@given(SEEDS)
def test_parts_stay_within_what_photos_show(seed):
    defect = random_defect(np.random.default_rng(seed))
    assert abs(defect.exposure) <= 1.2
    assert max(abs(defect.warmth), abs(defect.magenta)) <= 0.25
    assert 0 <= defect.shoulder <= 1
    assert 0.6 <= defect.saturation <= 1.2
    assert 0 <= defect.black <= 0.08 and 0.92 <= defect.white <= 1


@given(SEEDS)
def test_brighter_stays_brighter(seed):
    ramp = random_defect(np.random.default_rng(seed)).bend(np.linspace(0, 1, 999)[:, None] + np.zeros(3))
    assert (np.diff(ramp, axis=0) >= -1e-12).all()
    assert ramp.min() >= 0 and ramp.max() <= 1


def test_parts_vary_and_most_photos_are_visibly_off():
    defects = [random_defect(np.random.default_rng([1, index])) for index in range(400)]
    photo = make_photo(16)
    changes = [float(np.abs(defect.apply(photo).astype(int) - photo).mean()) for defect in defects]
    assert np.median(changes) > 15
    assert 0.02 < np.mean([change < 4 for change in changes]) < 0.25
    for part in dataclasses.fields(Defect):
        assert len({getattr(defect, part.name) for defect in defects}) > 100


@pytest.mark.parametrize("stops", [-1.0, 0.5])
def test_exposure_scales_linear_light(stops):
    dark = np.full((1, 1, 3), 60, np.uint8)
    expected = encode_srgb(decode_srgb(dark / 255) * 2**stops) * 255
    assert np.abs(Defect(exposure=stops).apply(dark) - expected).max() <= 0.5


def test_shoulder_of_one_keeps_white():
    assert Defect(exposure=-1.0, shoulder=1.0).apply(GRAYS)[0, -1].tolist() == [255, 255, 255]
    assert Defect(exposure=1.0, shoulder=1.0).apply(GRAYS)[0, 250].max() < 255
    assert Defect(exposure=1.0, shoulder=0.0).apply(GRAYS)[0, 250].min() == 255


def test_white_balance_shifts_colours_and_keeps_luminance():
    warm = Defect(warmth=0.2).bend(np.full((1, 3), 0.5))[0]
    assert warm[0] > warm[1] > warm[2]
    magenta = Defect(magenta=0.2).bend(np.full((1, 3), 0.5))[0]
    assert magenta[1] < magenta[0] == pytest.approx(magenta[2])
    for colour in (warm, magenta):
        assert decode_srgb(colour) @ [0.2126, 0.7152, 0.0722] == pytest.approx(decode_srgb(np.array(0.5)), abs=1e-12)


@given(st.floats(0.5, 2.0))
def test_reciprocal_slope_undoes_contrast(slope):
    values = np.linspace(0, 1, 257)
    np.testing.assert_allclose(bend_contrast(bend_contrast(values, slope), 1 / slope), values, atol=1e-12)
    ends = np.array([0, MIDDLE_GRAY, 1])
    np.testing.assert_allclose(bend_contrast(ends, slope), ends, atol=1e-12)
    step = 1e-6
    rise = np.diff(bend_contrast(np.array([MIDDLE_GRAY - step, MIDDLE_GRAY + step]), slope))[0] / (2 * step)
    assert rise == pytest.approx(slope, rel=1e-4)


def test_saturation_leaves_grays_and_spreads_colours():
    grays = Defect(saturation=0.6).apply(GRAYS)
    np.testing.assert_array_equal(grays, GRAYS)
    colour = np.array([[[200, 100, 60]]], np.uint8)
    assert np.ptp(Defect(saturation=0.6).apply(colour)) == pytest.approx(0.6 * 140, abs=1)


def test_finish_is_subtle():
    photo = make_photo()
    change = np.abs(finish(photo).astype(int) - photo)
    assert 0 < change.mean() < 6
    assert change.max() < 25
    steps = np.diff(finish(GRAYS).astype(int), axis=1)
    assert steps.min() >= 0


def test_transfer_curve_is_undone():
    values = np.linspace(-0.1, 1.2, 1001)
    np.testing.assert_allclose(encode_srgb(decode_srgb(values)), values, atol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)])
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match="uint8 or float"):
        Defect().apply(image)
