"""Programs for colours: what connects, what is refused, and that they survive being written."""

import msgspec
import numpy as np
import pytest
from colour_models import (
    STRENGTH,
    FilledColours,
    colour_programs,
    identity_nodes,
    make_adaptive,
    make_chain,
    make_look,
    make_program,
)
from hypothesis import given, settings

from lutkit_runtime.errors import ProgramError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Blend, ColourLookup, Lookup, Predictor, Requantise, TableFusion
from lutkit_runtime.ops.colour_lookup import Cube, Curves
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import Colour, Parameter, Program

LOOKUP = ColourLookup(input="image", cube=Cube("cube", 3), output="graded")
FUSED = ColourLookup(input="image", cube=Cube("cube", 3, fused=True), output="graded")
PREDICTOR = Predictor(input="image", output="weights", slot="predictor", graph_bytes=9, side=4, outputs=2)
FUSION = TableFusion(weights="weights", bases=(BasisTable("a"), BasisTable("b")), size=3, output="cube")
BLEND = Blend(base="image", changed="graded", amount="strength", output="result")


def change(op, **fields):
    return msgspec.structs.replace(op, **fields)


@settings(max_examples=100)
@given(colour_programs())
def test_programs_survive_json(filled: FilledColours):
    text = msgspec.json.encode(filled.program)
    assert msgspec.json.decode(text, type=Program) == filled.program
    filled.program.validate_tables(filled.tables)


def test_a_program_for_colours_has_no_scale_and_sees_single_pixels():
    program = make_adaptive().program
    assert (program.scale, program.halo, list(program.lookups())) == (1, 0, [])
    slots = {name: (slot.shape, slot.dtype) for name, slot in program.slots.items()}
    size = len(make_adaptive().tables["predictor"])
    assert slots == {
        "predictor": ((size, 1), "uint8"),
        "basis/0": ((27, 3), "float32"),
        "basis/1": ((27, 3), "int16"),
    }


@pytest.mark.parametrize(
    ("ops", "told"),
    [
        ((), "no ops"),
        ((FUSED,), "reads 'cube', which nothing before it makes"),
        ((LOOKUP, change(BLEND, amount="gamma")), "reads 'gamma', which nothing"),
        ((LOOKUP, change(BLEND, amount="image")), "reads 'image', which is a picture; a scalar is needed"),
        ((LOOKUP, change(BLEND, base="strength")), "reads 'strength', which is a scalar; a picture is needed"),
        ((PREDICTOR, change(FUSED, cube=Cube("weights", 3, fused=True))), "'weights', which is a vector; a table"),
        ((PREDICTOR, FUSION, change(FUSED, cube=Cube("cube", 4, fused=True))), "cube of size 4, but 'cube' has size 3"),
        ((change(PREDICTOR, outputs=3), FUSION, FUSED), "fuses 2 tables with 3 weights"),
        ((PREDICTOR, FUSION, change(FUSED, input="cube")), "reads 'cube', which is a table; a picture is needed"),
        ((PREDICTOR, FUSION), "the end of the program"),
        ((LOOKUP, change(PREDICTOR, input="graded"), FUSION), "sees more than one pixel; it must read 'image' itself"),
        ((LOOKUP, change(BLEND, output="graded")), "makes 'graded' twice"),
        ((LOOKUP, change(BLEND, output="strength")), "makes 'strength' twice"),
        ((change(LOOKUP, curves=Curves("cube", 27), cube=None), LOOKUP), "makes 'graded' twice"),
        (
            (change(LOOKUP, output="a"), change(LOOKUP, curves=Curves("curves", 2), cube=Cube("cube", 4))),
            "slot 'cube' is used as",
        ),
        (
            (
                Lookup(output="sum", input="image", slot="s", pattern=NAMED_PATTERNS["v"], lattice=Lattice(2, 4)),
                Requantise(output="result", input="sum", bias=0, divisor=16),
            ),
            "works on single channels; it cannot stand in a program for colours",
        ),
    ],
)
def test_what_does_not_connect_is_refused(ops, told):
    output = ops[-1].output if ops else "result"
    program = Program(family="test", task="look", ops=ops, output=output, colour=Colour.RGB, parameters=(STRENGTH,))
    with pytest.raises(ProgramError) as caught:
        program.validate()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ops_on_colours_cannot_stand_in_a_program_for_each_channel():
    program = change(make_program(LOOKUP), colour=Colour.EACH_CHANNEL)
    with pytest.raises(ProgramError, match="the program takes each channel by itself"):
        program.validate()


def test_programs_for_each_channel_have_no_parameters(tiny_model):
    from lutkit_runtime.artefact import read_artefact

    program = change(read_artefact(tiny_model).program, parameters=(STRENGTH,))
    with pytest.raises(ProgramError, match="parameter 'strength', which no op of it can read"):
        program.validate()


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        (change(STRENGTH, name="a b"), "needs a name of letters"),
        (change(STRENGTH, name=""), "needs a name of letters"),
        (change(STRENGTH, low=1.5), "within 1.5 to 2.0"),
        (change(STRENGTH, default=float("nan")), "is nan within"),
        (change(STRENGTH, high=float("inf")), "to inf"),
        (change(STRENGTH, name="image"), "two values named 'image'"),
    ],
)
def test_impossible_parameters_are_refused(parameter: Parameter, told):
    with pytest.raises(ProgramError) as caught:
        make_program(LOOKUP, parameters=(parameter,)).validate()
    assert told in str(caught.value)


def test_parameters_are_filled_with_their_defaults():
    program = make_look(identity_nodes(2)).program
    assert program.fill_parameters({}) == {"strength": 1.0}
    assert program.fill_parameters({"strength": 0}) == {"strength": 0.0}
    with pytest.raises(ProgramError, match="no parameter 'strength': it has none"):
        make_program(LOOKUP).fill_parameters({"strength": 1.0})


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({}, "slot 'cube' has no table"),
        ({"cube": identity_nodes(4), "more": identity_nodes(4)}, "slot 'curves' has no table"),
        ({"cube": np.zeros((64, 3), np.int8), "curves": identity_nodes(2)}, "table of (8, 3)"),
        (
            {"cube": np.zeros((64, 3), np.float32), "curves": np.zeros((17, 3), np.float32)},
            "holds float32 values; int8",
        ),
        ({"cube": np.zeros((63, 3), np.int8), "curves": np.zeros((17, 3), np.float32)}, "table of (63, 3)"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, told):
    with pytest.raises(ProgramError) as caught:
        make_chain().program.validate_tables(tables)
    assert told in str(caught.value)
