"""Photos of a distillation: which are held out, their other versions, and those that cannot be used."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import write_photos

from lutkit.distil import photos
from lutkit.distil.photos import choose_photos, make_variant, read_all
from lutkit_runtime.errors import DataError


def read(chosen):
    read_all(chosen, lambda: None)
    return [chosen.read(number) for number in range(len(chosen))]


def test_every_tenth_photo_is_held_out_and_names_tell_subfolders_apart(tmp_path):
    write_photos(tmp_path / "a", count=6, side=32)
    write_photos(tmp_path / "b", count=6, side=32, seed=9)
    fitted, held = choose_photos(tmp_path, None, seed=0, longest_side=512)
    assert held.names == ("a/photo0.png", "b/photo4.png")
    assert len(fitted) == 10 and not set(fitted.names) & set(held.names)
    assert fitted.description == f"10 photos of {tmp_path.name}"
    assert {each.shape for each in read(fitted)} == {(32, 32, 3)}


def test_photos_of_val_are_not_fitted_to(tmp_path):
    write_photos(tmp_path / "a", count=3, side=32)
    write_photos(tmp_path / "val", count=2, side=32)
    fitted, held = choose_photos(tmp_path, tmp_path / "val", seed=0, longest_side=512)
    assert fitted.names == ("a/photo0.png", "a/photo1.png", "a/photo2.png")
    assert held.names == ("photo0.png", "photo1.png")


def test_generated_images_stand_in(monkeypatch):
    monkeypatch.setattr(photos, "GENERATED_PHOTOS", 12)
    monkeypatch.setattr(photos, "GENERATED_SIDE", 80)
    fitted, held = choose_photos(None, None, seed=0, longest_side=64)
    assert (len(fitted), len(held)) == (10, 2)
    assert not set(fitted.names) & set(held.names)
    assert fitted.read(0).shape == (64, 64, 3)
    assert fitted.description == "10 generated images (seed 0)"


def test_large_photos_are_reduced_and_cut_to_multiples(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (90, 201, 3), dtype=np.uint8)
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo)
    fitted, _ = choose_photos(tmp_path, None, seed=0, longest_side=100, multiple=8)
    assert fitted.read(0).shape == (40, 96, 3)  # 45 x 100


def test_a_photo_smaller_than_the_grid_is_named(tmp_path):
    write_photos(tmp_path, count=3, side=32)
    cv2.imwrite(str(tmp_path / "thin.png"), np.zeros((300, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r"thin\.png is 9x300 pixels; at least 16x16 are needed.*remove it"):
        read(choose_photos(tmp_path, None, seed=0, longest_side=512)[0])
    cv2.imwrite(str(tmp_path / "thin.png"), np.zeros((300, 30, 3), np.uint8))
    with pytest.raises(DataError, match=r"thin\.png is 30x300 pixels, 10x100 once it is reduced; at least"):
        read(choose_photos(tmp_path, None, seed=0, longest_side=100)[0])


def test_an_unreadable_photo_is_named(tmp_path):
    write_photos(tmp_path, count=3, side=32)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "photo0.png").read_bytes()[:200])
    chosen = choose_photos(tmp_path, None, seed=0, longest_side=512)
    with pytest.raises(DataError, match=r"broken\.jpg: .*or remove it from the folder"):
        for part in chosen:
            read(part)


@settings(max_examples=30)
@given(
    st.integers(16, 60),
    st.integers(16, 60),
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.sampled_from([1, 2, 8, 16]),
)
def test_versions_are_crops_of_other_brightness(height, width, seed, version, multiple):
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo = photo[: height // multiple * multiple, : width // multiple * multiple]
    made = make_variant(photo, seed, 3, version, multiple)
    assert made.dtype == np.uint16 and made.shape[2] == 3
    for length, whole in zip(made.shape[:2], photo.shape[:2], strict=True):
        assert length % multiple == 0 and 16 <= length <= whole
        assert length >= 0.6 * whole - multiple
    assert np.array_equal(made, make_variant(photo, seed, 3, version, multiple))
    assert made.shape != make_variant(photo, seed, 3, version + 1, multiple).shape or not np.array_equal(
        made, make_variant(photo, seed, 3, version + 1, multiple)
    )


def test_grays_stay_gray_in_every_version():
    photo = np.repeat(np.arange(200, dtype=np.uint8).reshape(10, 20, 1).repeat(2, 0).repeat(2, 1), 3, axis=2)
    for version in range(5):
        made = make_variant(photo, 0, 0, version).astype(np.int64)
        assert np.ptp(made, axis=2).max() <= 1
