"""Packed integers are used only where 97 % of their results are those of exact arithmetic."""

import numpy as np
import pytest

from lutkit.colour.arithmetic import PACKED_SHARE, choose_arithmetic, find_obstacle
from lutkit.colour.looks import LOOKS, make_look
from lutkit.colour.lut import ColourLut, Cube, Curves, identity_cube
from lutkit.colour.programs import make_lut_artefact
from lutkit.formats.cube import read_cube
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import FormatError

TETRAHEDRAL = CubeInterpolation.TETRAHEDRAL


def rough_lut(size, seed=0):
    return ColourLut(None, Cube(np.random.default_rng(seed).random((size, size, size, 3), dtype=np.float32)))


def arithmetic_of(lut, interpolation=TETRAHEDRAL):
    return make_lut_artefact(lut, interpolation=interpolation).program.ops[0].arithmetic


def measure(lut, seed=7):
    """Return the share of 8-bit results that equal the rounded float64 ones, and the largest difference."""
    codes = np.random.default_rng(seed).integers(0, 256, (64, 512, 3), dtype=np.uint8)
    artefact = make_lut_artefact(lut)
    found = Model(artefact.program, artefact.tables).apply(codes, backend="numpy").astype(int)
    exact = np.floor(lut.evaluate(codes / 255, TETRAHEDRAL).clip(0, 1) * 255 + 0.5)
    return float((found == exact).mean()), int(np.abs(found - exact).max())


@pytest.mark.parametrize("name", LOOKS)
def test_looks_are_packed(name):
    assert arithmetic_of(make_look(name)) is Arithmetic.PACKED
    share, largest = measure(make_look(name))
    assert share >= PACKED_SHARE and largest <= 1


@pytest.mark.parametrize("size", [2, 5, 33])
def test_rough_cubes_fall_back_and_the_reason_has_the_figure(size):
    lut = rough_lut(size)
    artefact = make_lut_artefact(lut)
    assert artefact.program.ops[0].arithmetic is Arithmetic.FLOAT32
    assert "% of the values" in find_obstacle(artefact.program.ops[0], artefact.tables)
    assert measure(lut)[0] >= PACKED_SHARE


def test_steep_curves_count_too():
    steep = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[:, None] ** 8, 3, axis=1)
    lut = ColourLut(Curves(steep), rough_lut(17).cube)
    assert arithmetic_of(lut) is Arithmetic.FLOAT32


@pytest.mark.parametrize(
    ("lut", "interpolation", "told"),
    [
        (ColourLut(None, identity_cube(5)), CubeInterpolation.TRILINEAR, "trilinear"),
        (ColourLut(Curves(np.eye(3, dtype=np.float32)[:2]), None), TETRAHEDRAL, "no cube"),
        (ColourLut(None, Cube(identity_cube(5).values * np.float32(1.5))), TETRAHEDRAL, "0 to 1.5 lie outside 0 to 1"),
    ],
)
def test_what_cannot_be_packed_says_why(lut, interpolation, told):
    artefact = make_lut_artefact(lut, interpolation=interpolation)
    op = artefact.program.ops[0]
    assert op.arithmetic is Arithmetic.FLOAT32 and told in find_obstacle(op, artefact.tables)
    assert choose_arithmetic(op, artefact.tables) == op


@pytest.mark.data
def test_every_lut_file_reaches_the_share(shared_data):
    """97 % equal and one level at most, whichever arithmetic a file gets."""
    seen = set()
    for path in sorted((shared_data / "colour-luts").rglob("*.cube")):
        try:
            lut = read_cube(path)
        except FormatError:
            continue
        share, largest = measure(lut)
        arithmetic = arithmetic_of(lut)
        seen.add(arithmetic)
        if arithmetic is Arithmetic.PACKED:
            assert share >= PACKED_SHARE - 0.002, (path.name, share)  # the choice saw other colours
        assert largest <= 1, path.name
    assert seen == set(Arithmetic)
