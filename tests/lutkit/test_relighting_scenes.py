"""Scenes under several lights: folders and their faults, training steps, pairs, the tool that renders them."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lutkit.degradation import Relight
from lutkit.evaluate import score_pairs
from lutkit.relighting.pairs import RelightingSource, fit_picture, make_pairs, plan_pairs
from lutkit.relighting.scenes import read_depth, read_scenes, render_scenes
from lutkit_runtime.errors import DataError

LIGHTS = ("E", "N", "S")
TOOL = Path(__file__).parents[2] / "tools" / "render_relighting.py"


def make_picture(scene, light, height, width):
    """Return a picture that tells its scene by red, its light by green, and the place by blue."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = 50 * scene + 20, 60 * light + 10
    picture[..., 2] = np.add.outer(np.arange(height), np.arange(width)) * 2
    return picture


def write_scene(folder, scene, height=20, width=16, lights=LIGHTS, depth="depth16.png"):
    folder.mkdir(parents=True)
    for light, name in enumerate(lights):
        cv2.imwrite(str(folder / f"light_{name}.png"), make_picture(scene, light, height, width)[..., ::-1])
    if depth:
        cv2.imwrite(str(folder / depth), np.full((height, width), 1000 * (scene + 1), np.uint16))


@pytest.fixture
def folder(tmp_path):
    for scene, name in enumerate(("a", "b", "c")):
        write_scene(tmp_path / name, scene, 20 + 4 * scene, 16)
        (tmp_path / name / "mask.png").write_bytes(b"no picture")
        (tmp_path / name / "normal_from_ps.png").write_bytes(b"no picture")
    (tmp_path / "lights_xyz.txt").write_text("0 0 1")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes").mkdir()
    return tmp_path


def refusal_of(action, *told):
    with pytest.raises(DataError) as refusal:
        action()
    assert "\n" not in str(refusal.value)
    for words in told:
        assert words in str(refusal.value)


def test_folders_are_read_and_other_files_passed_over(folder):
    scenes = read_scenes(folder)
    assert scenes.names == ("a", "b", "c") and scenes.lights == LIGHTS and len(scenes) == 3
    for scene in range(3):
        assert (scenes.depth(scene) == 1000 * (scene + 1)).all() and scenes.depth(scene).dtype == np.uint16
        for light in range(3):
            np.testing.assert_array_equal(scenes.picture(scene, light), make_picture(scene, light, 20 + 4 * scene, 16))
    chosen = scenes.select([2, 0])
    assert chosen.names == ("c", "a")
    np.testing.assert_array_equal(chosen.picture(0, 1), scenes.picture(2, 1))
    np.testing.assert_array_equal(chosen.select([1]).depth(0), scenes.depth(0))


def test_faults_are_one_clear_line(folder, tmp_path):
    refusal_of(lambda: read_scenes(tmp_path / "nowhere"), "nowhere does not exist", "light_NAME.png")
    refusal_of(lambda: read_scenes(folder / "lights_xyz.txt"), "is not a folder")
    refusal_of(lambda: read_scenes(folder / "a"), "holds no scenes", "depth.png")
    (folder / "b" / "light_S.png").unlink()
    refusal_of(lambda: read_scenes(folder), "b has no light_S.png, which", "a has")
    for scene in "abc":
        (folder / scene / "light_S.png").unlink(missing_ok=True)
    assert read_scenes(folder).lights == ("E", "N")
    (folder / "c" / "depth16.png").rename(folder / "c" / "far.png")
    refusal_of(lambda: read_scenes(folder), "c has no depth*.png")
    (folder / "c" / "far.png").rename(folder / "c" / "depth.png")
    (folder / "c" / "depth2.png").write_bytes(b"")
    refusal_of(lambda: read_scenes(folder), "c has depth.png and depth2.png; a scene needs one")
    (folder / "c" / "depth2.png").unlink()
    for scene in "abc":
        (folder / scene / "light_N.png").unlink()
    refusal_of(lambda: read_scenes(folder), "one light only, E")


def test_pictures_that_do_not_fit_are_named_when_they_are_read(folder):
    cv2.imwrite(str(folder / "a" / "light_N.png"), np.zeros((9, 9, 3), np.uint8))
    refusal_of(lambda: read_scenes(folder).picture(0, 1), "light_N.png is 9x9, but depth16.png 16x20", "one size")
    (folder / "a" / "light_N.png").write_bytes(b"no picture")
    refusal_of(lambda: read_scenes(folder).picture(0, 1), "light_N.png")
    cv2.imwrite(str(folder / "a" / "depth16.png"), make_picture(1, 1, 20, 16))
    refusal_of(lambda: read_scenes(folder).depth(0), "depth16.png has colours")
    (folder / "a" / "depth16.png").write_bytes(b"no picture")
    refusal_of(lambda: read_scenes(folder).depth(0), "depth16.png")


def test_depth_of_8_bits_or_three_equal_channels_counts(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    cv2.imwrite(str(tmp_path / "rgb.png"), np.dstack([gray] * 3))
    for name in ("gray.png", "rgb.png"):
        np.testing.assert_array_equal(read_depth(tmp_path / name), gray.astype(np.uint16) * 257)


def test_steps_hold_two_scenes_two_lights_and_the_answer(folder):
    scenes = read_scenes(folder)
    source = RelightingSource(scenes, 12, 0.5)
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(200):
        seen, target = source.sample(rng)
        assert seen.shape == (8, 12, 12) and target.shape == (3, 12, 12)
        assert seen.dtype == target.dtype == np.float32 and seen.min() >= 0 and seen.max() <= 1
        scene, guide = ((seen[channel] * 255 - 20) / 50 for channel in (0, 3))
        light, asked = ((seen[channel] * 255 - 10) / 60 for channel in (1, 4))
        for plane in (scene, guide, light, asked):
            assert plane.std() < 1e-4 and plane.mean() == pytest.approx(round(float(plane.mean())), abs=1e-4)
        assert round(float(scene.mean())) != round(float(guide.mean()))
        np.testing.assert_allclose(seen[6] * 65535, 1000 * (scene + 1), rtol=1e-3)
        np.testing.assert_allclose(seen[7] * 65535, 1000 * (guide + 1), rtol=1e-3)
        # The answer is the same piece of the image's scene, under the guide's light.
        np.testing.assert_array_equal(target[0], seen[0])
        np.testing.assert_array_equal(target[2], seen[2])
        np.testing.assert_allclose((target[1] * 255 - 10) / 60, asked, atol=1e-4)
        # Nothing is mirrored: blue grows to the right and downwards.
        assert (np.diff(seen[2], axis=0) > 0).all() and (np.diff(seen[5], axis=1) > 0).all()
        kept += round(float(light.mean())) == round(float(asked.mean()))
    assert 0 < kept < 30


def test_steps_follow_from_the_generator_and_bad_wishes_are_refused(folder):
    scenes = read_scenes(folder)
    source = RelightingSource(scenes, 8)
    one, other = (source.sample(np.random.default_rng(4)) for _ in range(2))
    assert one[0].tobytes() == other[0].tobytes() and one[1].tobytes() == other[1].tobytes()
    assert source.sample(np.random.default_rng(5))[0].tobytes() != one[0].tobytes()
    refusal_of(lambda: RelightingSource(scenes.select([1]), 8), "one scene only, b")
    refusal_of(lambda: RelightingSource(scenes, 8, 0.0), "share")


def test_pairs_cover_every_scene_and_light_with_another_scene_as_the_guide(folder):
    scenes = read_scenes(folder)
    pairs = make_pairs(scenes, 0)
    assert len({pair.name for pair in pairs}) == len(pairs) == 9
    for pair in pairs:
        scene, source, asked = (part for part in pair.name.split("-") if part != "to")
        place, light, wanted = "abc".index(scene), LIGHTS.index(source), LIGHTS.index(asked)
        assert light != wanted
        np.testing.assert_array_equal(pair.degraded, scenes.picture(place, light))
        np.testing.assert_array_equal(pair.target, scenes.picture(place, wanted))
        guide = pair.companions["guide"]
        assert guide.shape == pair.degraded.shape and guide.dtype == np.uint8
        assert (guide[..., 1] == 60 * wanted + 10).all() and not (guide[..., 0] == pair.degraded[..., 0]).any()
        assert pair.companions["depth"].shape == pair.companions["guide_depth"].shape == pair.degraded.shape[:2]
        assert (pair.companions["guide_depth"] == 20 * (guide[..., 0] - 20.0) + 1000).all()
    # A limit takes some of them, unchanged; another seed takes others.
    some = make_pairs(scenes, 0, 4)
    assert len(some) == 4 and {pair.name for pair in some} < {pair.name for pair in pairs}
    names = [[pair.name for pair in make_pairs(scenes, seed, 4)] for seed in range(4)]
    assert len({tuple(each) for each in names}) > 1 and names[0] == [pair.name for pair in some]


def test_guides_may_come_from_other_scenes(folder):
    scenes = read_scenes(folder)
    kept, held = scenes.hold_out()
    assert held.names == ("a",) and kept.names == ("b", "c")
    for pair in make_pairs(held, 3, guides=kept):
        assert pair.name.startswith("a-") and pair.companions["guide"][0, 0, 0] in (70, 120)
    refusal_of(lambda: plan_pairs(held, 0), "one scene only, a")
    refusal_of(lambda: scenes.select([0, 1]).hold_out(), "2 scenes")
    others = render_scenes(0, 2, 16, 8)
    refusal_of(lambda: plan_pairs(scenes, 0, guides=others), "different lights")


def test_companions_reach_the_model_that_is_scored(folder):
    pairs = make_pairs(read_scenes(folder), 1, 5)

    def relight(image, *, guide, depth, guide_depth):
        assert depth.shape == guide_depth.shape == image.shape[:2]
        result = image.copy()
        result[..., 1] = guide[..., 1]
        return result

    assert all(score.psnr == np.inf and score.delta_e == 0 for score in score_pairs(relight, pairs, Relight()))


def test_pictures_are_fitted_without_stretching():
    picture = make_picture(0, 0, 40, 20)
    np.testing.assert_array_equal(fit_picture(picture, 40, 20), picture)
    np.testing.assert_array_equal(fit_picture(picture, 20, 20), picture[10:30])
    np.testing.assert_array_equal(fit_picture(picture, 40, 10), picture[:, 5:15])
    larger = fit_picture(picture, 80, 80)
    assert larger.shape == (80, 80, 3) and larger.dtype == np.uint8


def test_rendered_scenes_need_no_files():
    scenes = render_scenes(7, 3, 24, 8)
    assert scenes.names == ("scene_0000", "scene_0001", "scene_0002") and len(scenes.lights) == 8
    assert len(render_scenes(7, 2, 24).lights) == 40
    again = render_scenes(7, 5, 24, 8)
    np.testing.assert_array_equal(scenes.picture(1, 3), again.picture(1, 3))
    np.testing.assert_array_equal(scenes.depth(2), again.depth(2))
    assert scenes.depth(0).dtype == np.uint16 and scenes.depth(0).min() == 0 and scenes.depth(0).max() == 65535
    assert not np.array_equal(scenes.picture(0, 0), render_scenes(8, 1, 24, 8).picture(0, 0))


def test_the_tool_writes_a_folder_that_is_read_as_it_was_rendered(tmp_path):
    out = tmp_path / "scenes"
    arguments = [sys.executable, str(TOOL), str(out), "--scenes", "2", "--side", "20", "--seed", "3", "--lights", "8"]
    made = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    read, rendered = read_scenes(out), render_scenes(3, 2, 20, 8)
    assert read.names == rendered.names and set(read.lights) == set(rendered.lights)
    for scene in range(2):
        np.testing.assert_array_equal(read.depth(scene), rendered.depth(scene))
        for light, name in enumerate(read.lights):
            np.testing.assert_array_equal(
                read.picture(scene, light), rendered.picture(scene, rendered.lights.index(name))
            )


@pytest.mark.data
def test_photographs_under_twelve_lights_are_scenes(shared_data):
    scenes = read_scenes(shared_data / "pairs" / "relight")
    assert len(scenes) == 4 and len(scenes.lights) == 12
    pairs = make_pairs(scenes, 0, 6)
    assert len({pair.degraded.shape for pair in pairs}) > 1
    seen, target = RelightingSource(scenes, 64, 0.6).sample(np.random.default_rng(0))
    assert seen.std() > 0.05 and target.std() > 0.05
