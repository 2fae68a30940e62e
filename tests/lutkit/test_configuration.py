"""Configurations: presets, files, options, phases, and what is refused."""

import dataclasses
import json
import math

import click
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_training import RECIPE

from lutkit.cli.training import make_config
from lutkit.configuration import override, read_config
from lutkit.degradation import AddNoise, CompressJpeg, Downscale
from lutkit.families import FAMILIES, find_family
from lutkit.families.spatial import QUICK, QUICK_WIDTH
from lutkit.recipe import Phase, Recipe
from lutkit.run import Run
from lutkit_runtime.errors import DataError, LutkitError

NOTHING = dict.fromkeys(
    ("family", "data", "val", "task", "scale", "sigma", "quality", "preset", "steps", "config", "seed")
)


def choose(**options):
    return make_config(**{**NOTHING, **options})


def write(folder, content, name="config.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refusal_of(action, *told):
    with pytest.raises((LutkitError, click.UsageError)) as refusal:
        action()
    message = str(refusal.value)
    assert "\n" not in message
    for words in told:
        assert words in message
    return message


def test_without_options_it_is_the_quick_mulut():
    made = choose()
    assert (made.family, made.recipe, made.seed, made.data, made.val) == ("mulut", QUICK, 0, None, None)
    assert made.model == msgspec.structs.replace(find_family("mulut").defaults, width=QUICK_WIDTH)
    assert made.task == Downscale(4)


@pytest.mark.parametrize("family", ["mulut", "sr-lut"])
def test_paper_preset_is_the_published_recipe_and_width(family):
    made = choose(family=family, preset="paper")
    assert made.recipe == find_family(family).presets["paper"]
    assert made.model.width == 64
    assert (made.recipe.steps, made.recipe.batch, made.recipe.crop) == (200_000, 32, 48)
    assert made.recipe.interval_at(0) is None
    rates = {"mulut": (1e-3, 1e-4), "sr-lut": (1e-4, 1e-4)}[family]
    assert (made.recipe.learning_rate, made.recipe.final_rate) == rates


@pytest.mark.parametrize("family", FAMILIES)
def test_presets_are_valid(family):
    presets = find_family(family).presets
    assert {"quick", "paper", "finetune"} <= presets.keys()
    for recipe in presets.values():
        recipe.validate()


def test_published_recipes_of_colours(tmp_path):
    """Zeng et al., TPAMI 2020, and the scripts published with it."""
    paired = choose(family="adaptive-3dlut", preset="paper")
    assert (paired.recipe.learning_rate, paired.recipe.batch, paired.recipe.steps) == (1e-4, 1, 400 * 4500)
    assert (paired.recipe.brightness, paired.recipe.saturation, paired.recipe.crop_ratio) == ((0.8, 1.2),) * 2 + (
        (0.6, 1),
    )
    assert (paired.model.predictor, paired.model.dropout, paired.model.spread) == ("published", 0.5, 1)
    unpaired = choose(family="adaptive-3dlut", preset="paper", unpaired=True)
    assert unpaired.model.training == "unpaired"
    assert (unpaired.recipe.learning_rate, unpaired.recipe.steps) == (2e-4, 800 * 4500)
    assert (unpaired.recipe.content, unpaired.recipe.gradient_penalty, unpaired.recipe.critic_steps) == (1000, 10, 1)
    xyz = write(tmp_path, {"model": {"colour_space": "XYZ"}})
    assert choose(family="adaptive-3dlut", preset="paper", config=xyz).recipe.brightness == (0.6, 1.4)
    both = choose(family="adaptive-3dlut", preset="paper", config=xyz, unpaired=True).recipe
    assert (both.content, both.monotonicity) == (10, 100)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"family": "mulut", "unpaired": True}, ("--unpaired", "adaptive-3dlut")),
        ({"family": "adaptive-3dlut", "scale": 2}, ("--scale",)),
        ({"family": "adaptive-3dlut", "task": "sr"}, ("retouches", "--task")),
    ],
)
def test_options_of_other_families_are_refused(options, told):
    refusal_of(lambda: choose(**options), *told)


@pytest.mark.parametrize(
    ("options", "task"),
    [
        ({"task": "sr", "scale": 2}, Downscale(2)),
        ({"task": "denoise"}, AddNoise(25.0)),
        ({"task": "denoise", "sigma": 15.0}, AddNoise(15.0)),
        ({"task": "deblock"}, CompressJpeg(10)),
        ({"task": "deblock", "quality": 40}, CompressJpeg(40)),
    ],
)
def test_tasks(options, task):
    assert choose(**options).task == task


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task": "denoise", "scale": 2}, ("scale 2", "denoise")),
        ({"scale": 1}, ("scale is 1",)),
        ({"family": "mulutt"}, ("unknown family 'mulutt'", "mulut, sr-lut")),
    ],
)
def test_contradictions_are_refused(options, told):
    refusal_of(lambda: choose(**options), *told)


def test_steps_bound_the_time_to_the_first_validation():
    assert choose(steps=7).recipe == msgspec.structs.replace(QUICK, steps=7, validate_every=7)
    assert choose(steps=100_000).recipe.validate_every == QUICK.validate_every


def test_a_file_changes_the_fields_it_names(tmp_path):
    content = {
        "model": {"patterns": ["s", [[0, 0], [-2, 1], [1, 1]]], "scale": 3},
        "recipe": {"crop": 12, "phases": [{"interval": 6}, {"interval": None, "share": 0.5}]},
        "seed": 4,
    }
    made = choose(config=write(tmp_path, content))
    assert made.model.patterns == ("s", ((0, 0), (-2, 1), (1, 1)))
    assert (made.model.scale, made.model.width, made.seed) == (3, QUICK_WIDTH, 4)
    assert made.recipe == msgspec.structs.replace(
        QUICK, crop=12, phases=(Phase(interval=6), Phase(interval=None, share=0.5))
    )
    program = find_family("mulut").skeleton(made.model)
    assert [op.slot for op in program.lookups()] == ["stage1/s", "stage1/p1", "stage2/s", "stage2/p1"]
    assert program.slots["stage2/p1"].entries == 17**3


def test_toml_means_what_json_means(tmp_path):
    text = 'family = "sr-lut"\n[model]\npatterns = ["f"]\n[[recipe.phases]]\ninterval = 5\n'
    content = {"family": "sr-lut", "model": {"patterns": ["f"]}, "recipe": {"phases": [{"interval": 5}]}}
    made = choose(config=write(tmp_path, text, "config.toml"))
    assert made == choose(config=write(tmp_path, content))
    assert made.family == "sr-lut"


def test_options_win_over_the_file(tmp_path):
    content = {"family": "sr-lut", "seed": 1, "model": {"scale": 2, "task": "sr"}, "recipe": {"steps": 5}}
    path = write(tmp_path, content)
    made = choose(config=path, family="mulut", scale=3, seed=2, steps=9)
    assert (made.family, made.model.scale, made.seed, made.recipe.steps) == ("mulut", 3, 2, 9)
    assert made.model.patterns == ("s", "d", "y")
    assert choose(config=write(tmp_path, {"model": {"task": "sr"}}), task="denoise").model.task == "denoise"


def test_a_file_may_name_the_task(tmp_path):
    made = choose(config=write(tmp_path, {"model": {"task": "denoise"}, "sigma": 50}))
    assert made.task == AddNoise(50.0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"sed": 1}, ("config.json", "sed")),
        ({"model": {"pattern": ["s"]}}, ("config.json", "pattern", "model")),
        ({"recipe": {"phases": [{"intervall": 3}]}}, ("intervall", "recipe.phases")),
        ({"recipe": {"steps": "many"}}, ("int", "recipe.steps")),
        ({"recipe": {"steps": 1.5}}, ("int", "recipe.steps")),
        ({"recipe": 3}, ("recipe",)),
        ({"recipe": {"phases": []}}, ("at least one phase",)),
        ({"model": 3}, ("model a table",)),
        ({"model": {"patterns": "sdy"}}, ("model.patterns",)),
        ({"model": {"patterns": [[[0, 0, 0]]]}}, ("model.patterns",)),
        ({"family": 3}, ("family is text",)),
        ({"family": ["mulut"]}, ("family is text",)),
        ({"seed": -1}, ("seed",)),
        ({"seed": 2**64}, ("seed",)),
        ({"data": 3}, ("data",)),
        ({"model": {"task": "retouch"}}, ("task 'retouch'", "adaptive-3dlut")),
        ({"family": "sr-lut", "model": {"task": "retouch"}}, ("task 'retouch'", "adaptive-3dlut")),
        ({"family": "adaptive-3dlut", "model": {"task": "sr"}}, ("task 'sr'", "mulut")),
        ({"model": {"task": "paint"}}, ("task 'paint'", "sr, denoise, deblock")),
        ({"model": {"task": None}}, ("model.task",)),
        ({"model": {"scale": 7}}, ("scale 7", "1, 2, 3 or 4")),
        ({"model": {"stages": 0}}, ("0 stages",)),
        ({"model": {"width": 0}}, ("width 0",)),
        ({"model": {"interval": 9}}, ("interval is 9",)),
        ({"model": {"patterns": ["q"]}}, ("unknown pattern 'q'",)),
        ({"model": {"patterns": ["s", "s"]}}, ("'s' is listed twice",)),
        ({"model": {"patterns": []}}, ("no patterns",)),
        ({"model": {"patterns": [[[0, 0]] * 5]}}, ("5 samples",)),
        ({"model": {"patterns": [[[0, 65]]]}}, ("65 pixels",)),
        ("", ("neither valid JSON nor TOML",)),
        ("{", ("neither valid JSON nor TOML",)),
        ("[1]", ("holds a list",)),
        ('{"recipe": {"learning_rate": NaN}}', ("learning rates nan",)),
        ('{"recipe": {"phases": [{"share": Infinity}]}}', ("share",)),
        ('{"recipe": {"phases": [{"share": NaN}]}}', ("share",)),
    ],
)
def test_files_that_describe_no_run_are_refused_in_one_line(tmp_path, content, told):
    def use():
        made = choose(config=write(tmp_path, content))
        made.recipe.validate()
        find_family(made.family).skeleton(made.model)

    refusal_of(use, *told)


@pytest.mark.parametrize(("name", "content"), [("c.toml", b"a ="), ("c.json", b"\xff\xfe\x00"), ("c.yaml", b"a: 1")])
def test_unreadable_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal_of(lambda: read_config(tmp_path / name), str(tmp_path / name), "neither valid JSON nor TOML")


def test_a_missing_file_is_named(tmp_path):
    refusal_of(lambda: read_config(tmp_path / "c.json"), str(tmp_path / "c.json"), "No such file", "check the path")
    refusal_of(lambda: read_config(tmp_path), "Is a directory")


def test_override_leaves_the_rest(tmp_path):
    made = choose(task="denoise")
    changed = override(made, {"model": {"stages": 1}}, "here")
    assert changed == msgspec.structs.replace(made, model=msgspec.structs.replace(made.model, stages=1))
    refusal_of(lambda: override(made, {"model": {"stages": "1"}}, "here"), "here does not fit a run", "model.stages")
    run = Run(tmp_path)
    run.write_config(changed)
    assert run.read_config() == changed


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"batch": 0},
        {"crop": -1},
        {"validate_every": 0},
        {"learning_rate": 0.0},
        {"learning_rate": 1.5},
        {"final_rate": -0.1},
        {"final_rate": 0.5},
        {"warmup": -1},
        {"average": 1.0},
        {"average": math.nan},
        {"phases": ()},
        {"phases": (Phase(share=0),)},
        {"phases": (Phase(interval=9),)},
        {"phases": (Phase(interval=-1),)},
    ],
)
def test_recipes_out_of_range_are_refused(change):
    RECIPE.validate()
    with pytest.raises(DataError, match="recipe"):
        msgspec.structs.replace(RECIPE, **change).validate()


def test_phases_divide_the_steps_by_share():
    recipe = Recipe(
        steps=100,
        batch=1,
        crop=1,
        learning_rate=1e-3,
        final_rate=0,
        phases=(Phase(share=2, interval=6), Phase(share=1, interval=5), Phase(share=1)),
    )
    intervals = [recipe.interval_at(step) for step in range(100)]
    assert intervals == [6] * 50 + [5] * 25 + [None] * 25


@given(
    steps=st.integers(1, 300),
    shares=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5),
)
def test_phases_follow_each_other_and_cover_every_step(steps, shares):
    phases = tuple(Phase(share=share, interval=number) for number, share in enumerate(shares))
    recipe = Recipe(steps=steps, batch=1, crop=1, learning_rate=1e-3, final_rate=0, phases=phases)
    intervals = [recipe.interval_at(step) for step in range(steps)]
    assert intervals == sorted(intervals)
    for number, share in enumerate(shares):
        assert abs(intervals.count(number) - share / sum(shares) * steps) <= 1.001


def test_records_cannot_be_changed():
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        choose().seed = 3
