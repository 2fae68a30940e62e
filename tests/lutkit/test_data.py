"""Folders of photos, patches, the cache of degraded photos and validation pairs."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lutkit.data import PatchSource, find_images, load_photos, read_rgb, validation_pairs
from lutkit.degradation import AddNoise, CompressJpeg, Downscale
from lutkit.degraded_cache import DegradedCache, find_cache_folder
from lutkit.images import Picture, read_picture, readable_suffixes, supported_suffixes, write_picture
from lutkit_runtime.engine.conversion import to_codes
from lutkit_runtime.errors import DataError


@dataclass(frozen=True)
class FakeTask:
    """Degrades in a way that can be undone, and counts how often."""

    scale: int = 1
    cacheable: bool = True
    scores_luma: bool = False
    name: str = "fake"
    rule: Callable = np.invert
    calls: list = field(default_factory=list)

    def degrade(self, image, rng):
        self.calls.append(image.shape)
        return self.rule(image)


def make_photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_photo(path, photo):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), photo[:, :, ::-1])


def list_symmetries(patch):
    turned = [np.rot90(patch, turns) for turns in range(4)]
    return turned + [view[:, ::-1] for view in turned]


class TestFolder:
    def test_finds_images_below_sorted_and_nothing_else(self, tmp_path):
        for name in ["b.PNG", "a.jpeg", "deep/er/c.tif", "notes.txt", "._b.png", ".thumbs/b.png", "noextension"]:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "folder.png").mkdir()
        assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == [
            "a.jpeg",
            "b.PNG",
            "deep/er/c.tif",
        ]

    @pytest.mark.parametrize("kind", ["absent", "empty", "file"])
    def test_refuses_a_folder_without_images(self, tmp_path, kind):
        folder = tmp_path / "photos"
        if kind == "empty":
            folder.mkdir()
        elif kind == "file":
            folder.touch()
        with pytest.raises(DataError, match=r"photos .*: pass a folder that holds photos") as caught:
            find_images(folder)
        assert "\n" not in str(caught.value)

    def test_reads_rgb_in_order(self, tmp_path):
        first, second = make_photo(5, 7, 1), make_photo(6, 4, 2)
        write_photo(tmp_path / "2.png", second)
        write_photo(tmp_path / "1.png", first)
        photos = load_photos(tmp_path)
        np.testing.assert_array_equal(photos[0], first)
        np.testing.assert_array_equal(photos[1], second)
        assert [photo.dtype for photo in photos] == [np.uint8, np.uint8]

    def test_gray_sixteen_bit_and_alpha_become_rgb(self, tmp_path):
        gray = make_photo(5, 7)[:, :, 0]
        cv2.imwrite(str(tmp_path / "gray.png"), gray)
        cv2.imwrite(str(tmp_path / "deep.png"), gray.astype(np.uint16) * 257)
        cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([gray] * 4))
        for photo in load_photos(tmp_path):
            np.testing.assert_array_equal(photo, np.dstack([gray] * 3))

    def test_reads_names_with_any_characters(self, tmp_path):
        cv2.imencode(".png", make_photo(3, 3))[1].tofile(tmp_path / "ж 日本.png")
        assert load_photos(tmp_path)[0].shape == (3, 3, 3)

    @pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
    def test_names_the_file_that_cannot_be_decoded(self, tmp_path, content):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.png: [^\n]*remove it from the folder\Z"):
            load_photos(tmp_path)

    def test_too_large_and_damaged_photos_are_refused_in_silence(self, tmp_path, monkeypatch, capfd):
        path = tmp_path / "photo.png"
        write_photo(path, make_photo(5, 7))
        content = path.read_bytes()
        path.write_bytes(content[:-40] + bytes(40))
        with pytest.raises(DataError, match=r"photo\.png: .*remove it from the folder\Z"):
            read_rgb(path)
        assert capfd.readouterr() == ("", "")
        path.write_bytes(content)
        monkeypatch.setattr(read_picture, "__defaults__", (34,))
        with pytest.raises(DataError, match=r"photo\.png: 7x5 pixels"):
            read_rgb(path)

    def test_reads_what_apply_reads(self, tmp_path):
        """Formats, 16 bits and float alike: the codes that the engine makes of the picture."""
        photo = make_photo(6, 5)
        write_picture(tmp_path / "1.pfm", Picture(photo.astype(np.float32) / 255))
        write_picture(tmp_path / "2.tif", Picture(photo.astype(np.uint16) * 257 + 100))
        Image.fromarray(photo).quantize(256).save(tmp_path / "3.gif")
        for path, found in zip(find_images(tmp_path), load_photos(tmp_path), strict=True):
            pixels = read_picture(path).pixels
            np.testing.assert_array_equal(found, np.moveaxis(to_codes(pixels), 0, 2))
            np.testing.assert_array_equal(found, photo)

    def test_suffixes_are_those_of_apply(self):
        assert set(supported_suffixes()) < set(readable_suffixes())

    @pytest.mark.parametrize(("suffix", "largest"), [(".png", 0), (".bmp", 0), (".jpg", 1)])
    def test_other_decoders_find_the_same(self, tmp_path, suffix, largest):
        path = tmp_path / f"photo{suffix}"
        cv2.imwrite(str(path), cv2.GaussianBlur(make_photo(64, 48), (0, 0), 2))
        other = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB).astype(int)
        assert np.abs(read_rgb(path) - other).max() <= largest

    def test_names_the_file_that_is_absent(self, tmp_path):
        with pytest.raises(DataError, match=r"gone\.png: cannot be read: [^\n]*\Z"):
            read_rgb(tmp_path / "gone.png")


class TestSample:
    @pytest.mark.parametrize("task", [Downscale(3), AddNoise(15), CompressJpeg(20)], ids=lambda task: task.name)
    def test_shapes_and_types(self, task):
        degraded, target = PatchSource([make_photo(50, 40)], task).sample(np.random.default_rng(0), 5, 12)
        assert degraded.shape == (5, 12, 12)
        assert target.shape == (5, 12 * task.scale, 12 * task.scale)
        assert degraded.dtype == target.dtype == np.uint8

    @pytest.mark.parametrize("task", [Downscale(2), AddNoise(15)], ids=lambda task: task.name)
    def test_the_generator_is_the_only_state(self, task):
        photos = [make_photo(40, 30, seed) for seed in range(3)]
        rng = np.random.default_rng(1)
        source = PatchSource(photos, task)
        source.sample(rng, 4, 8)
        state = rng.bit_generator.state
        ahead = [source.sample(rng, 4, 8) for _ in range(3)]
        resumed = np.random.default_rng()
        resumed.bit_generator.state = state
        fresh = PatchSource(photos, task)
        for degraded, target in ahead:
            again = fresh.sample(resumed, 4, 8)
            np.testing.assert_array_equal(again[0], degraded)
            np.testing.assert_array_equal(again[1], target)
        assert not np.array_equal(ahead[0][1], ahead[1][1])

    @given(crop=st.integers(1, 9), seed=st.integers(0, 1000))
    def test_both_patches_are_from_one_place_and_turned_alike(self, crop, seed):
        source = PatchSource([make_photo(9, 12), make_photo(11, 10, 1)], FakeTask())
        degraded, target = source.sample(np.random.default_rng(seed), 6, crop)
        np.testing.assert_array_equal(degraded, ~target)

    @given(crop=st.integers(1, 5), seed=st.integers(0, 1000))
    def test_places_agree_at_a_scale(self, crop, seed):
        small = [make_photo(5, 8), make_photo(7, 6, 1)]
        photos = [np.pad(s.repeat(3, axis=0).repeat(3, axis=1), ((0, 2), (0, 1), (0, 0))) for s in small]
        source = PatchSource(photos, FakeTask(scale=3, rule=lambda image: image[1::3, 1::3].copy()))
        degraded, target = source.sample(np.random.default_rng(seed), 6, crop)
        np.testing.assert_array_equal(target, degraded.repeat(3, axis=1).repeat(3, axis=2))

    def test_every_place_plane_and_symmetry_is_as_likely(self):
        photos = [make_photo(5, 6), make_photo(4, 4, 1)]
        choices = {}
        for photo in photos:
            luma = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
            for plane in [photo[:, :, 0], photo[:, :, 1], photo[:, :, 2], luma]:
                for top in range(photo.shape[0] - 3):
                    for left in range(photo.shape[1] - 3):
                        for turned in list_symmetries(plane[top : top + 4, left : left + 4]):
                            choices[turned.tobytes()] = 1 / 2 / 4 / (photo.shape[0] - 3) / (photo.shape[1] - 3) / 8
        assert sum(choices.values()) == pytest.approx(1)
        count = 40_000
        _, target = PatchSource(photos, FakeTask()).sample(np.random.default_rng(2), count, 4)
        seen = dict.fromkeys(choices, 0)
        for patch in target:
            seen[patch.tobytes()] += 1  # a patch from nowhere is a KeyError
        for patch, probability in choices.items():
            expected = count * probability
            assert abs(seen[patch] - expected) < 6 * expected**0.5

    @pytest.mark.parametrize("probability", [0, 1])
    def test_luma_never_or_always(self, probability):
        photo = make_photo(4, 4)
        luma = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
        source = PatchSource([photo], FakeTask(), luma_probability=probability)
        _, target = source.sample(np.random.default_rng(3), 200, 4)
        is_luma = [any(np.array_equal(patch, turned) for turned in list_symmetries(luma)) for patch in target]
        assert np.mean(is_luma) == probability

    def test_planes_are_degraded_by_themselves(self):
        photo = make_photo(32, 32)
        source = PatchSource([photo], CompressJpeg(30), luma_probability=0)
        degraded, _ = source.sample(np.random.default_rng(4), 60, 32)
        planes = [CompressJpeg(30).degrade(photo[:, :, c], np.random.default_rng()) for c in range(3)]
        expected = {turned.tobytes() for plane in planes for turned in list_symmetries(plane)}
        assert {patch.tobytes() for patch in degraded} == expected

    def test_noise_is_fresh_in_every_patch(self):
        source = PatchSource([np.full((6, 6, 3), 100, np.uint8)], AddNoise(20))
        degraded, target = source.sample(np.random.default_rng(5), 50, 6)
        assert (target == 100).all()
        assert len({patch.tobytes() for patch in degraded}) == 50

    def test_names_the_photo_that_is_too_small(self):
        source = PatchSource([make_photo(40, 40), make_photo(41, 30)], Downscale(4), names=["one.png", "two.png"])
        source.validate_crop(7)
        with pytest.raises(DataError, match=r"two\.png is 28x40 pixels; a crop of 8 at scale 4 needs 32x32: use"):
            source.sample(np.random.default_rng(0), 1, 8)
        with pytest.raises(DataError, match="crop is 0"):
            source.validate_crop(0)

    def test_names_the_photo_that_is_smaller_than_the_scale(self):
        with pytest.raises(DataError, match=r"tiny\.png is 9x2 pixels, smaller than the scale of 3"):
            PatchSource([make_photo(5, 5), make_photo(2, 9)], Downscale(3), names=["one.png", "tiny.png"])
        with pytest.raises(DataError, match="validation photo 0 is 2x9 pixels"):
            validation_pairs([make_photo(9, 2)], Downscale(4), 0)

    def test_refuses_no_photos_and_impossible_probabilities(self):
        with pytest.raises(DataError, match="no photos"):
            PatchSource([], Downscale(2))
        with pytest.raises(DataError, match=r"1\.5"):
            PatchSource([make_photo(4, 4)], Downscale(2), luma_probability=1.5)


class TestCache:
    @pytest.fixture
    def planes(self):
        return np.random.default_rng(0).integers(0, 256, (4, 3, 5), np.uint8)

    def test_a_second_run_computes_nothing(self, tmp_path):
        for name in ["a", "b"]:
            write_photo(tmp_path / f"photos/{name}.png", make_photo(9, 8, ord(name)))
        first, second = FakeTask(), FakeTask()
        sources = [
            PatchSource.from_folder(tmp_path / "photos", task, cache_folder=tmp_path / "cache")
            for task in (first, second)
        ]
        assert len(sources[0]) == 2
        assert len(first.calls) == 8
        assert second.calls == []
        patches = [source.sample(np.random.default_rng(1), 9, 5) for source in sources]
        np.testing.assert_array_equal(patches[0], patches[1])

    def test_other_pixels_and_tasks_have_other_entries(self, tmp_path, planes):
        cache = DegradedCache(tmp_path)
        other = planes.copy()
        other[3, 2, 4] ^= 1
        reshaped = planes.reshape(4, 5, 3)
        for given_planes, task in [(planes, FakeTask()), (other, FakeTask()), (reshaped, FakeTask())]:
            np.testing.assert_array_equal(cache.degrade(given_planes, task), ~given_planes)
        np.testing.assert_array_equal(cache.degrade(planes, FakeTask(name="copy", rule=np.copy)), planes)
        assert len(list((tmp_path / "degraded").iterdir())) == 4

    def test_any_damage_is_repaired(self, tmp_path, planes, caplog):
        cache = DegradedCache(tmp_path)
        cache.degrade(planes, FakeTask())
        (path,) = (tmp_path / "degraded").iterdir()
        sound = path.read_bytes()
        flipped = [sound[:i] + bytes([sound[i] ^ 4]) + sound[i + 1 :] for i in range(len(sound))]
        for damaged in [b"", sound[:-1], sound + b"x", sound[:20], *flipped]:
            path.write_bytes(damaged)
            task = FakeTask()
            np.testing.assert_array_equal(cache.degrade(planes, task), ~planes)
            assert len(task.calls) == 4
            assert path.read_bytes() == sound
        assert "damaged" in caplog.text
        assert list((tmp_path / "degraded").iterdir()) == [path]

    def test_a_folder_that_cannot_be_written_stops_nothing(self, tmp_path, planes, caplog):
        (tmp_path / "file").touch()
        np.testing.assert_array_equal(DegradedCache(tmp_path / "file").degrade(planes, FakeTask()), ~planes)
        assert "set LUTKIT_CACHE to another folder" in caplog.text

    def test_a_write_that_fails_leaves_no_file(self, tmp_path, planes, monkeypatch, caplog):
        def fail(self, target):
            raise OSError("disk full")

        monkeypatch.setattr("pathlib.Path.replace", fail)
        np.testing.assert_array_equal(DegradedCache(tmp_path).degrade(planes, FakeTask()), ~planes)
        assert list((tmp_path / "degraded").iterdir()) == []
        assert "disk full" in caplog.text

    def test_the_environment_names_the_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LUTKIT_CACHE", str(tmp_path / "here"))
        assert find_cache_folder() == tmp_path / "here"
        write_photo(tmp_path / "photos/a.png", make_photo(9, 8))
        PatchSource.from_folder(tmp_path / "photos", Downscale(2))
        assert len(list((tmp_path / "here" / "degraded").iterdir())) == 1
        monkeypatch.delenv("LUTKIT_CACHE")
        assert find_cache_folder().name == "lutkit"

    def test_what_cannot_be_cached_is_not(self, tmp_path):
        PatchSource([make_photo(8, 8)], AddNoise(5), cache=DegradedCache(tmp_path))
        assert list(tmp_path.iterdir()) == []


class TestValidationPairs:
    def test_super_resolution_is_in_colour(self):
        ((degraded, target),) = validation_pairs([make_photo(11, 14)], Downscale(3), 0)
        np.testing.assert_array_equal(target, make_photo(11, 14)[:9, :12])
        np.testing.assert_array_equal(degraded, Downscale(3).degrade(target, np.random.default_rng()))

    @pytest.mark.parametrize("task", [AddNoise(25), CompressJpeg(10)], ids=lambda task: task.name)
    def test_denoising_and_deblocking_are_on_luma(self, task):
        photo = make_photo(20, 30)
        ((degraded, target),) = validation_pairs([photo], task, 0)
        assert degraded.shape == target.shape == (20, 30)
        weighted = photo @ np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(target, weighted, atol=0.502)
        assert not np.array_equal(degraded, target)

    def test_a_seed_fixes_each_photo_by_itself(self):
        photos = [make_photo(20, 30, seed) for seed in range(3)]
        pairs = validation_pairs(photos, AddNoise(25), 7)
        for (degraded, _), (again, _) in zip(pairs, validation_pairs(photos[:2], AddNoise(25), 7), strict=False):
            np.testing.assert_array_equal(degraded, again)
        noises = [degraded.astype(int) - target for degraded, target in pairs]
        assert np.mean(noises[0] == noises[1]) < 0.1
        assert np.mean(pairs[0][0] == validation_pairs(photos, AddNoise(25), 8)[0][0]) < 0.1
