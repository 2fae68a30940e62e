"""The looks that come along: lawful cubes, and models in the package that are what the formulas say."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit.colour.findings import Code
from lutkit.colour.lint import lint_lut
from lutkit.colour.looks import LOOKS, SIZE, make_look
from lutkit.colour.programs import extract_lut
from lutkit.models import find_builtin
from lutkit_runtime.artefact import read_artefact
from lutkit_runtime.engine import load
from lutkit_runtime.errors import DataError

UNIT = st.floats(0, 1)
COLOURS = st.tuples(UNIT, UNIT, UNIT)
every_look = pytest.mark.parametrize("name", LOOKS)


def make_photo() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 256, (40, 60, 3), np.uint8)


@every_look
@given(COLOURS, st.integers(0, 2), st.floats(0, 0.2))
def test_colours_stay_in_range_and_brighter_inputs_get_no_darker(name, colour, channel, step):
    look = LOOKS[name]
    brighter = np.array(colour)
    brighter[channel] = min(brighter[channel] + step, 1)
    before, after = look.evaluate(np.array(colour)), look.evaluate(brighter)
    assert before.min() >= 0 and after.max() <= 1
    # All factors are positive: no channel falls, whichever input rises.
    assert (after - before >= -1e-12).all()


@every_look
def test_lint_finds_the_tint_at_most(name):
    found = {finding.code for finding in lint_lut(make_look(name))}
    assert found == (set() if name == "mono-silver" else {Code.TINT})


@every_look
def test_a_cube_between_its_nodes_is_the_formula(name):
    lut, look = make_look(name), LOOKS[name]
    assert lut.cube is not None and lut.cube.size == SIZE and lut.title == name
    colours = np.random.default_rng(2).random((2000, 3))
    # A quarter of a level of 8 bits.
    np.testing.assert_allclose(lut.evaluate(colours), look.evaluate(colours), atol=0.25 / 255)


@every_look
def test_the_package_holds_what_the_formula_says(name):
    artefact = read_artefact(find_builtin(name))
    stored, made = extract_lut(artefact), make_look(name)
    np.testing.assert_allclose(stored.cube.values, made.cube.values, atol=1e-5)
    assert artefact.program.task == "look"
    assert artefact.provenance["licence"] == "MIT" and artefact.provenance["summary"] == LOOKS[name].summary


@every_look
def test_a_picture_gets_the_look(name):
    photo, model = make_photo(), load(find_builtin(name))
    expected = LOOKS[name].evaluate(photo / 255) * 255
    result = model.apply(photo, backend="numpy")
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() < 1
    assert np.abs(result.astype(int) - photo).mean() > 3
    np.testing.assert_array_equal(model.apply(photo, backend="numpy", strength=0.0), photo)


def test_looks_differ():
    photo = make_photo() / 255
    results = [look.evaluate(photo) for look in LOOKS.values()]
    for number, first in enumerate(results):
        for second in results[number + 1 :]:
            assert np.abs(first - second).mean() > 0.02


def test_silver_has_no_colour():
    result = load(find_builtin("mono-silver")).apply(make_photo(), backend="numpy")
    np.testing.assert_array_equal(result[..., 0], result[..., 1])
    np.testing.assert_array_equal(result[..., 0], result[..., 2])


@pytest.mark.parametrize(
    "fault",
    [
        {"mix": ((1.1, -0.1, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
        {"mix": ((0.9, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
        {"slope": 0.0},
        {"bend": (1.0, 0.0, 1.0)},
        {"black": (0.0, 0.0, 0.99)},
        {"white": (1.0, 1.0, 1.01)},
    ],
)
def test_lawless_looks_are_refused(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        dataclasses.replace(LOOKS["warm-film"], **fault).validate()


def test_other_names_are_refused():
    with pytest.raises(DataError, match=r"no look 'sepia'.*warm-film, cool-matte, mono-silver"):
        make_look("sepia")
