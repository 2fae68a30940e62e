"""The protocol of scores, on examples computed by hand and on the published figures; pairs from folders."""

import math

import cv2
import numpy as np
import pytest
from small_training import write_photos

from lutkit.data import convert_to_luma
from lutkit.degradation import AddNoise, CompressJpeg, Darken, Downscale, Relight
from lutkit.evaluate import (
    Pair,
    make_pairs,
    mean_finite_psnr,
    mean_psnr,
    mean_ssim,
    plan_made_pairs,
    plan_read_pairs,
    read_pairs,
    score_image,
    score_pairs,
)
from lutkit.families.mulut import build_program
from lutkit.families.spatial import read_patterns
from lutkit.metrics import ssim
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError

GRAY_TO_LUMA = 219 / 255
"""The luma of a gray code spans 16 to 235."""


def repeat_pixels(image, scale=2):
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def write(folder, name, image):
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / name), image[:, :, ::-1] if image.ndim == 3 else image)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)


def refusal_of(action, *told):
    with pytest.raises(DataError) as refusal:
        action()
    assert "\n" not in str(refusal.value)
    for words in told:
        assert words in str(refusal.value)


def test_enlarged_pictures_are_scored_on_luma_without_a_border():
    target = np.full((16, 12, 3), 100, np.uint8)
    output = target.copy()
    output[5, 5] += 10  # one of the 12 x 8 pixels inside a border of 2, by 10 gray levels
    error = (10 * GRAY_TO_LUMA) ** 2 / (12 * 8)
    score = score_image("a", output, target, Downscale(2))
    assert score.psnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-5)
    output[1] = 0  # in the border
    assert score_image("a", output, target, Downscale(2)).psnr == score.psnr
    assert score_image("a", output, target, Downscale(2)).ssim < score.ssim < 1


def test_colours_weigh_as_in_luma():
    target = np.full((16, 16, 3), 100, np.uint8)
    for channel, weight in enumerate((65.738, 129.057, 25.064)):  # of 256, Rec. ITU-R BT.601
        output = target.copy()
        output[:, :, channel] += 8
        assert score_image("a", output, target, Downscale(2)).psnr == pytest.approx(
            20 * math.log10(255 / (8 * weight / 256)), abs=1e-3
        )


@pytest.mark.parametrize("task", [AddNoise(25.0), CompressJpeg(10)])
def test_gray_tasks_are_scored_whole_and_on_all_levels(task):
    target = np.full((12, 12), 100, np.uint8)
    output = target.copy()
    output[0, 0] = 90
    score = score_image("a", output, target, task)
    assert score.psnr == pytest.approx(10 * math.log10(255**2 / (100 / 144)))
    assert score.ssim == ssim(output, target)


def test_means_are_of_decibels():
    """Two images with errors of 1 and 4 gray levels everywhere; a third is perfect."""
    target = np.full((12, 12), 100, np.uint8)
    pairs = [Pair(str(error), target + np.uint8(error), target) for error in (1, 4, 0)]
    scores = score_pairs(lambda image: image, pairs, AddNoise(25.0))
    single = [20 * math.log10(255), 20 * math.log10(255 / 4)]
    assert mean_psnr(scores[:2]) == pytest.approx(sum(single) / 2)
    assert mean_psnr(scores) == math.inf
    assert mean_finite_psnr(scores) == pytest.approx((sum(single) + 100) / 3)
    assert mean_ssim(scores) == pytest.approx(sum(score.ssim for score in scores) / 3)
    assert [score.name for score in scores] == ["1", "4", "0"]


def test_pictures_smaller_than_the_window_have_no_ssim():
    small = np.full((10, 12), 7, np.uint8)
    assert math.isnan(score_image("a", small, small, AddNoise(25.0)).ssim)
    assert score_image("a", small, small, AddNoise(25.0)).psnr == math.inf


def test_pictures_that_are_all_border_are_refused():
    small = np.full((8, 20, 3), 7, np.uint8)
    refusal_of(lambda: score_image("bird", small, small, Downscale(4)), "bird is 20x8", "a border of 4 pixels")


def test_pairs_are_made_by_the_task_with_a_seed_per_picture(tmp_path):
    write_photos(tmp_path, count=3, side=30)
    task = AddNoise(25.0)
    pairs = make_pairs(tmp_path, task, seed=7)
    assert [pair.name for pair in pairs] == ["photo0", "photo1", "photo2"]
    for first, second in zip(pairs, make_pairs(tmp_path, task, seed=7, limit=2), strict=False):
        assert np.array_equal(first.degraded, second.degraded)
    assert not np.array_equal(pairs[0].degraded, make_pairs(tmp_path, task, seed=8)[0].degraded)
    assert len(make_pairs(tmp_path, task, seed=7, limit=2)) == 2
    assert pairs[0].target.shape == (30, 30)
    enlarged = make_pairs(tmp_path, Downscale(4), seed=7)[0]
    assert (enlarged.degraded.shape, enlarged.target.shape) == ((7, 7, 3), (28, 28, 3))


def test_pairs_are_read_by_name_and_cropped(tmp_path, noise):
    write(tmp_path / "hr", "one.png", noise[:23, :29])
    write(tmp_path / "hr", "two.png", noise)
    write(tmp_path / "lr", "two.bmp", noise[::2, ::2])
    write(tmp_path / "lr", "one.bmp", noise[:22:2, :28:2])
    write(tmp_path / "lr", "three.bmp", noise)
    pairs = read_pairs(tmp_path / "hr", tmp_path / "lr", Downscale(2))
    assert [pair.name for pair in pairs] == ["one", "two"]
    assert np.array_equal(pairs[0].target, noise[:22, :28])
    assert np.array_equal(pairs[0].degraded, noise[:22:2, :28:2])
    assert np.array_equal(pairs[1].degraded, noise[::2, ::2])
    scores = score_pairs(repeat_pixels, pairs, Downscale(2))
    assert scores[1].psnr == score_image("two", repeat_pixels(noise[::2, ::2]), noise, Downscale(2)).psnr


def test_pairs_of_gray_tasks_are_gray(tmp_path, noise):
    for folder, image in (("hr", noise), ("lr", noise // 2)):
        write(tmp_path / folder, "colour.png", image)
        write(tmp_path / folder, "gray.png", image[:, :, 0])
    colour, gray = read_pairs(tmp_path / "hr", tmp_path / "lr", AddNoise(25.0))
    assert np.array_equal(colour.target, convert_to_luma(noise))
    assert np.array_equal(gray.degraded, noise[:, :, 0] // 2)
    assert all(score.ssim < 1 for score in score_pairs(lambda image: image, [colour, gray], AddNoise(25.0)))


def test_missing_partners_and_wrong_sizes_are_named(tmp_path, noise):
    write(tmp_path / "hr", "one.png", noise)
    write(tmp_path / "lr", "two.png", noise[::2, ::2])
    read = lambda: read_pairs(tmp_path / "hr", tmp_path / "lr", Downscale(2))  # noqa: E731
    refusal_of(read, "one.png has no partner in", str(tmp_path / "lr"))
    write(tmp_path / "lr", "one.png", noise[::2])
    refusal_of(read, "one.png is 30x12", "one.png at scale 2 needs 15x12")
    write(tmp_path / "lr", "one.jpg", noise[::2])
    refusal_of(read, "one.jpg", "one.png", "have one name")
    refusal_of(lambda: read_pairs(tmp_path / "hr", tmp_path / "none", Downscale(2)), "none does not exist")
    (tmp_path / "empty").mkdir()
    refusal_of(lambda: make_pairs(tmp_path / "empty", Downscale(2), 0), "empty holds no images")
    (tmp_path / "hr" / "broken.png").write_bytes(b"no image")
    refusal_of(lambda: make_pairs(tmp_path / "hr", Downscale(2), 0), "broken.png")


@pytest.mark.data
def test_published_tables_score_as_published(shared_data):
    """MuLUT-SDY-X2 on Set5 at scale 4: 30.61 dB and 0.8656 (ddlee-cn/MuLUT), on their small images and on our own."""
    folder = shared_data / "published" / "mulut-x4-sdy-x2"
    tables = {
        f"stage{stage}/{pattern}": np.load(folder / f"LUT_ft_x4_4bit_int8_s{stage}_{pattern}.npy").reshape(17**4, -1)
        for stage in (1, 2)
        for pattern in "sdy"
    }
    model = Model(build_program(read_patterns("sdy"), stages=2, scale=4, interval=4), tables)
    pictures = shared_data / "benchmarks" / "Set5" / "HR"
    for pairs in (
        read_pairs(pictures, shared_data / "benchmarks" / "Set5" / "LR_bicubic" / "X4", Downscale(4)),
        make_pairs(pictures, Downscale(4), seed=0),
    ):
        scores = score_pairs(model.apply, pairs, Downscale(4))
        assert mean_psnr(scores) == pytest.approx(30.608, abs=5e-4)
        assert mean_ssim(scores) == pytest.approx(0.8656, abs=5e-5)


def test_sizes_are_refused_before_any_picture_is_read(tmp_path, monkeypatch):
    for name, sides in (("hr", (24, 8)), ("lr", (12, 5))):
        (tmp_path / name).mkdir()
        for stem, side in zip("ab", sides, strict=True):
            cv2.imwrite(str(tmp_path / name / f"{stem}.png"), np.zeros((side, side, 3), np.uint8))
    monkeypatch.setattr("lutkit.evaluate.read_rgb", lambda path: pytest.fail(f"{path} was read in vain"))
    refusal_of(lambda: plan_made_pairs(tmp_path / "hr", Downscale(4), 0), "b is 8x8", "use larger images")
    refusal_of(lambda: plan_read_pairs(tmp_path / "hr", tmp_path / "lr", Downscale(2)), "b.png is 5x5", "needs 4x4")
    assert len(plan_made_pairs(tmp_path / "hr", Downscale(2), 0)) == 2


def test_pairs_are_read_in_their_turn(capsys):
    events = []

    def read(number):
        events.append(f"read {number}")
        image = np.full((9, 9), number, np.uint8)
        return Pair(str(number), image, image)

    def restore(image):
        events.append(f"restore {image[0, 0]}")
        return image

    score_pairs(restore, (read(number) for number in range(2)), AddNoise(25.0), total=2, show_progress=True)
    assert events == ["read 0", "restore 0", "read 1", "restore 1"]
    assert "2/2" in capsys.readouterr().err
    score_pairs(restore, [read(1)], AddNoise(25.0))
    assert capsys.readouterr().err == ""


def test_companions_are_handed_over_by_name(noise):
    """Models of other tasks get none: they take the picture alone."""
    depth = np.arange(24 * 30, dtype=np.uint16).reshape(24, 30)
    pairs = [Pair("one", noise, noise, {"depth": depth, "guide": noise}), Pair("two", noise, noise)]
    seen = []

    def restore(image, **companions):
        seen.append(companions)
        return image

    score_pairs(restore, pairs, Relight())
    assert list(seen[0]) == ["depth", "guide"] and seen[0]["depth"] is depth and seen[1] == {}
    assert pairs[1].companions == {}


def test_low_light_is_scored_in_colour_on_pairs_that_are_made_or_read(tmp_path):
    photos = write_photos(tmp_path / "photos", count=3, side=32)
    pairs = make_pairs(photos, Darken(), 4)
    again = make_pairs(photos, Darken(), 4)
    for pair, other in zip(pairs, again, strict=True):
        np.testing.assert_array_equal(pair.degraded, other.degraded)
        assert pair.degraded.mean() < pair.target.mean() and pair.target.shape == (32, 32, 3)
        write(tmp_path / "dark", f"{pair.name}.png", pair.degraded)
    read = read_pairs(photos, tmp_path / "dark", Darken())
    scores = [score_pairs(lambda image: image, each, Darken()) for each in (pairs, read)]
    assert scores[0] == scores[1] and all(score.delta_e > 5 for score in scores[0])
