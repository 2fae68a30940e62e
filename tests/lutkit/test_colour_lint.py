"""Checks of cubes: nothing is found in the identity; each fault that is built in is found, as large as it was made."""

import dataclasses
import json
from itertools import permutations

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lutkit.cli import main
from lutkit.colour.findings import Code, Severity
from lutkit.colour.lint import lint_basis, lint_cube, lint_lut
from lutkit.colour.lut import ColourLut, Cube, Curves, grid, identity_cube, identity_curves
from lutkit.colour.model_lint import lint_model
from lutkit.colour.programs import make_lut_artefact
from lutkit.colour.visits import count_visits, pack_visits, unpack_visits
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError


def find(findings, code: Code):
    """Return the one finding of a code."""
    (found,) = [finding for finding in findings if finding.code is code]
    return found


def codes(findings) -> set[Code]:
    return {finding.code for finding in findings}


@given(st.integers(2, 12), st.floats(0.05, 1.0), st.floats(0, 1))
def test_nothing_is_found_in_straight_cubes(size, gain, share):
    values = grid(size) * gain + share * (1 - gain)
    assert lint_cube(values) == ()
    assert lint_cube(values.astype(np.float32), visits=np.ones((size - 1,) * 3, np.int64)) == ()


def test_identity_over_another_domain_is_found_only_to_leave_the_range():
    low, high = (-1.0,) * 3, (2.0,) * 3
    found = find(lint_cube(grid(7, low, high), low=low, high=high), Code.CLIPPING)
    assert found.numbers["low"] == -1 and found.numbers["high"] == 2
    assert found.numbers["place"] in ([-1.0] * 3, [2.0] * 3, [-1.0, -1.0, 2.0])


def test_clipping_is_measured():
    values = grid(11) * 1.5  # a third of each axis lies above 1: nodes 7 to 10 of 11
    found = find(lint_cube(values), Code.CLIPPING)
    assert found.severity is Severity.WARNING
    assert found.numbers["share"] == pytest.approx(4 / 11)
    assert found.numbers["node_share"] == pytest.approx(1 - (7 / 11) ** 3)
    assert found.numbers["flat_share"] == pytest.approx(1 - 0.7**3)  # cells 7, 8 and 9 of 10
    assert (found.numbers["low"], found.numbers["high"]) == (0, 1.5)
    assert "36.4% of the entries" in found.message and "(0.000 to 1.500" in found.message


def test_entries_of_exactly_0_and_1_do_not_clip():
    assert codes(lint_cube(grid(5))) == set()


def test_a_channel_that_falls_is_placed():
    values = grid(9)
    values[2, 3, 5, 0] = values[2, 3, 4, 0] - 0.02  # blue 2/8, green 3/8, red falls after 4/8
    found = find(lint_cube(values), Code.ORDER)
    assert found.numbers["share"] == pytest.approx(1 / (3 * 8 * 81))
    assert found.numbers["neutral_share"] == 0
    assert found.numbers["drop"] == pytest.approx(0.02)
    assert found.numbers["channel"] == "red" and found.numbers["place"] == [0.5, 0.375, 0.25]
    assert found.severity is Severity.NOTE


def test_grays_that_fall_matter_most():
    values = grid(9)
    values[4, 4, 4] = values[3, 3, 3] - 0.01
    found = find(lint_cube(values), Code.ORDER)
    assert found.severity is Severity.WARNING
    assert found.numbers["neutral_share"] == pytest.approx(3 / 24)
    assert found.numbers["place"] == [0.375] * 3


def test_saturation_is_no_disorder():
    colours = grid(9) * 0.6 + 0.2
    luma = colours @ [0.299, 0.587, 0.114]
    stronger = luma[..., None] + 1.3 * (colours - luma[..., None])
    # Other channels fall, as they must; the own ones rise.
    assert Code.ORDER not in codes(lint_cube(stronger))


def test_steep_steps_are_measured_in_levels():
    values = grid(33)
    values[:, :, 17:, 0] = np.minimum(values[:, :, 17:, 0] + 0.3, 1)
    found = find(lint_cube(values), Code.BANDING)
    assert found.numbers["levels"] == pytest.approx((1 / 32 + 0.3) * 32)
    assert found.numbers["place"][0] == 0.5 and found.numbers["channel"] == "red"
    assert found.severity is Severity.WARNING  # along the grays too
    assert found.numbers["neutral_levels"] == pytest.approx(found.numbers["levels"])


def test_what_is_steep_beyond_the_range_cannot_be_seen():
    assert Code.BANDING not in codes(lint_cube(1 + grid(9) * 8))


def test_a_tint_is_measured():
    values = grid(9) * [1.0, 1.0, 0.8]
    found = find(lint_cube(values), Code.TINT)
    assert found.severity is Severity.NOTE
    assert found.numbers["place"] == [1.0] * 3 and found.numbers["output"] == [1.0, 1.0, 0.8]
    assert found.numbers["delta_e"] == pytest.approx(25.74, abs=0.02)  # colour-science 0.4.7
    assert Code.TINT not in codes(lint_cube(grid(9) * [1, 1, 0.99]))


def test_swapped_channels_fold_everything():
    found = find(lint_cube(grid(5)[..., [1, 0, 2]]), Code.FOLDS)
    assert found.numbers["share"] == pytest.approx(1) and found.numbers["determinant"] == pytest.approx(-1)
    assert Code.FOLDS not in codes(lint_cube(grid(5)[..., [1, 2, 0]]))  # a rotation keeps the order


def test_a_flat_look_is_not_folded():
    gray = np.repeat((grid(17) @ [0.3, 0.6, 0.1])[..., None], 3, axis=3).astype(np.float32)
    assert Code.FOLDS not in codes(lint_cube(gray))


@given(hnp.arrays(np.float64, (3, 3, 3, 3), elements=st.floats(0, 1)))
def test_folds_are_those_of_the_interpolation(values):
    """The determinant of each tetrahedron, by differences of the evaluated cube within it."""
    cube = Cube(values.astype(np.float32))
    values = cube.values.astype(np.float64)
    found = [finding for finding in lint_cube(values) if finding.code is Code.FOLDS]
    step = 1e-3
    places = []
    for cell in np.ndindex(2, 2, 2):
        for order in permutations(range(3)):
            inside = np.empty(3)
            inside[list(order)] = (0.75, 0.5, 0.25)  # the first axis of the walk has the largest fraction
            places.append((np.array(cell) + inside) / 2)
    around = np.array(places)[:, None] + step * np.eye(3), np.array(places)[:, None] - step * np.eye(3)
    rows = (cube.evaluate(around[0]) - cube.evaluate(around[1])) / (2 * step)  # (48, input axis, output channel)
    determinants = np.linalg.det(rows)
    certain = np.abs(determinants + 0.01) > 1e-4
    expected = (determinants < -0.01).mean()
    share = found[0].numbers["share"] if found else 0.0
    assert share == pytest.approx(expected, abs=(~certain).mean() + 1e-9)


def test_unvisited_cells_are_counted():
    visits = np.zeros((4, 4, 4), np.int64)
    visits[np.arange(4), np.arange(4), np.arange(4)] = 3
    found = find(lint_cube(grid(5), visits=visits), Code.UNVISITED)
    assert found.numbers == {"share": 60 / 64, "neutral_share": 0}
    assert found.severity is Severity.NOTE
    visits[2, 2, 2] = 0
    assert find(lint_cube(grid(5), visits=visits), Code.UNVISITED).severity is Severity.WARNING


def test_a_basis_table_need_not_be_a_look():
    assert lint_basis(grid(5) * 40 - 20) == ()
    assert codes(lint_basis(-grid(5))) == {Code.ORDER}


def test_curves_are_checked_as_what_they_do():
    ramp = np.linspace(0, 1, 16)[:, None] * np.ones(3)
    assert lint_lut(ColourLut(curves=Curves(ramp.astype(np.float32)))) == ()
    falling = ramp.copy()
    falling[8] = falling[6]
    assert codes(lint_lut(ColourLut(curves=Curves(falling.astype(np.float32))))) == {Code.ORDER, Code.FOLDS}
    cube = Cube((grid(5) * 1.2).astype(np.float32))
    both = ColourLut(curves=identity_curves(), cube=cube)
    assert find(lint_lut(both), Code.CLIPPING).numbers["high"] == pytest.approx(1.2)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 5, 3), (1, 1, 1, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="values have shape"):
        lint_cube(np.zeros(shape))
    with pytest.raises(ValueError, match="visits have shape"):
        lint_cube(grid(4), visits=np.zeros((2, 2, 2), np.int64))


@given(st.integers(2, 9), hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(3))))
def test_visits_count_every_pixel_once(size, pixels):
    visits = count_visits(pixels, size)
    assert visits.sum() == len(pixels)
    red, green, blue = pixels[0].astype(int) * (size - 1) // 255
    assert visits[min(blue, size - 2), min(green, size - 2), min(red, size - 2)] > 0
    np.testing.assert_array_equal(visits, count_visits(pixels.astype(np.uint16) * 257, size))
    packed = pack_visits(visits)
    np.testing.assert_array_equal(unpack_visits(json.loads(json.dumps(packed))), visits > 0)
    assert packed["share"] == pytest.approx((visits > 0).mean(), abs=1e-6)


@pytest.mark.parametrize(
    "packed",
    [
        {},
        {"size": 5, "cells": "?"},
        {"size": 5, "cells": ""},
        {"size": 1, "cells": "eJwDAAAAAAE="},
        {"size": 9, "cells": pack_visits(np.ones((4, 4, 4), np.int64))["cells"]},
        {"size": 3, "cells": pack_visits(np.ones((9, 9, 9), np.int64))["cells"]},
    ],
)
def test_malformed_visits_are_refused(packed):
    with pytest.raises(FormatError, match="visited cells"):
        unpack_visits(packed)


def test_a_model_says_what_training_visited(tmp_path):
    values = grid(5).astype(np.float32)
    visits = count_visits(np.full((4, 3), 128, np.uint8), 5)
    artefact = make_lut_artefact(ColourLut(cube=Cube(values)), provenance={"visits": pack_visits(visits)})
    (table,) = lint_model(artefact)
    assert table.name == "lut"
    assert find(table.findings, Code.UNVISITED).numbers["share"] == 63 / 64
    # What cannot be read says nothing; provenance is free text.
    for other in ("often", {"size": 4, "cells": ""}, pack_visits(np.ones((7, 7, 7), np.int64))):
        (table,) = lint_model(dataclasses.replace(artefact, provenance={"visits": other}))
        assert table.findings == ()


def test_command_prints_sentences_and_json(tmp_path):
    path = tmp_path / "steep.h5"
    write_artefact(path, make_lut_artefact(ColourLut(cube=Cube((grid(9) * 1.5).astype(np.float32)))))
    plain = CliRunner().invoke(main, ["lint", str(path)])
    assert plain.exit_code == 0, plain.output
    assert plain.output.startswith("lut: warning: clipping: ") and plain.output.count("\n") == 1
    found = json.loads(CliRunner().invoke(main, ["lint", str(path), "--json"]).output)
    assert found["model"] == "steep"
    assert [table["name"] for table in found["tables"]] == ["lut"]
    assert found["tables"][0]["findings"][0]["numbers"]["high"] == 1.5
    write_artefact(path, make_lut_artefact(ColourLut(cube=Cube(grid(9).astype(np.float32)))), overwrite=True)
    assert CliRunner().invoke(main, ["lint", str(path)]).output == "lut: nothing found\n"


def test_models_of_other_things_are_refused():
    result = CliRunner().invoke(main, ["lint", "sr-x4"])
    assert result.exit_code == 1 and result.output.startswith("Error: ")


@pytest.mark.data
def test_published_model(shared_data, tmp_path):
    pytest.importorskip("torch")
    from lutkit.formats.adaptive_networks import import_model

    folder = shared_data / "published" / "adaptive-3dlut"
    path = tmp_path / "published.h5"
    write_artefact(path, import_model([folder / "LUTs.pth", folder / "classifier.pth"]))
    bases = json.loads(CliRunner().invoke(main, ["lint", str(path), "--json"]).output)["tables"]
    assert [table["name"] for table in bases] == ["basis/0", "basis/1", "basis/2"]
    assert not any(finding["severity"] == "warning" for table in bases for finding in table["findings"])
    arguments = ["lint", str(path), "--image", str(folder / "a1629.jpg"), "--json"]
    (fused,) = json.loads(CliRunner().invoke(main, arguments).output)["tables"]
    found = {finding["code"]: finding["numbers"] for finding in fused["findings"]}
    assert found["clipping"]["share"] == pytest.approx(0.322, abs=5e-4)
    assert found["clipping"]["low"] == pytest.approx(-0.1371, abs=1e-4)
    assert found["not-monotone"]["any_channel_share"] == pytest.approx(0.308, abs=2e-3)
    assert found["not-monotone"]["neutral_share"] == 0


def test_curves_before_a_cube_are_followed_as_the_cube_is_interpolated():
    """A cube whose far corners differ bends the grays only where all eight nodes count."""
    nodes = identity_cube(2).values.copy()
    nodes[0, 0, 1] = nodes[1, 1, 0] = (0.0, 1.0, 1.0)
    lut = ColourLut(Curves(np.array([[0, 0, 0], [1, 1, 1]], np.float32)), Cube(nodes))
    by_kind = {kind: lint_lut(lut, interpolation=kind) for kind in CubeInterpolation}
    tints = {kind: any(each.code is Code.TINT for each in found) for kind, found in by_kind.items()}
    assert tints == {CubeInterpolation.TETRAHEDRAL: False, CubeInterpolation.TRILINEAR: True}
