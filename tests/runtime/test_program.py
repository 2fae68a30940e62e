"""Programs: slots, scale and halo of published models; refusals of inconsistent ones; round trip through JSON."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Filled, fill_tables, filled_programs

from lutkit.families import mulut, srlut
from lutkit.families.spatial import read_patterns
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, Op, Requantise
from lutkit_runtime.pattern import NAMED_PATTERNS
from lutkit_runtime.program import Program


def look_up(output: str = "wide", source: str = "image", slot: str = "t", block: int = 1, interval: int = 4) -> Lookup:
    pattern = NAMED_PATTERNS["v"]
    return Lookup(output=output, input=source, slot=slot, pattern=pattern, lattice=Lattice(2, interval), block=block)


def requantise(source: str = "wide", output: str = "result") -> Requantise:
    return Requantise(output=output, input=source, bias=0, divisor=16)


def build(*ops: Op, **fields: object) -> Program:
    return Program(family="test", task="sr", ops=ops, **fields)


def test_mulut_has_the_published_shape() -> None:
    program = mulut.build_program(read_patterns(("s", "d", "y")), stages=2, scale=4, interval=4)
    shapes = {name: (slot.entries, slot.outputs) for name, slot in program.slots.items()}
    assert shapes == {
        **{f"stage1/{name}": (83521, 1) for name in "sdy"},
        **{f"stage2/{name}": (83521, 16) for name in "sdy"},
    }
    assert program.scale == 4
    assert program.halo == 4
    # 48 769 sums are possible: 3 patterns, 4 turns, 16ths of +-127
    first, last = program.ops[1], program.ops[3]
    assert isinstance(first, Requantise)
    assert isinstance(last, Requantise)
    assert (first.bias, first.divisor) == (127 * 192, 192)
    assert (last.bias, last.divisor) == (0, 48)


def test_sr_lut_has_the_published_shape() -> None:
    program = srlut.build_program("s", scale=4, interval=4)
    assert program.slots["stage1/s"].entries == 83521
    assert (program.scale, program.halo) == (4, 1)
    assert isinstance(program.ops[1], Requantise)
    assert (program.ops[1].bias, program.ops[1].divisor) == (0, 16)


@settings(max_examples=50)
@given(filled_programs())
def test_json_round_trip(filled: Filled) -> None:
    text = msgspec.json.encode(filled.program)
    assert msgspec.json.decode(text, type=Program) == filled.program


def run(filled: Filled, plane: np.ndarray) -> np.ndarray:
    planes = {filled.program.input: plane[None]}
    for op in filled.program.ops:
        planes[op.output] = op.reference(planes, filled.tables)
    return planes[filled.program.output][0]


@settings(max_examples=50)
@given(filled_programs(), st.integers(0, 2**32 - 1))
def test_a_pixel_changes_nothing_beyond_the_halo(filled: Filled, seed: int) -> None:
    scale, halo = filled.program.scale, filled.program.halo
    random = np.random.default_rng(seed)
    plane = random.integers(0, 256, (halo + 2, halo + 3), dtype=np.uint8)
    changed = plane.copy()
    row, column = random.integers(0, 2, 2)
    changed[row, column] = 255 - plane[row, column]
    before, after = run(filled, plane), run(filled, changed)
    assert before.shape == (plane.shape[0] * scale, plane.shape[1] * scale)
    rows, columns = np.nonzero(before != after)
    if len(rows):
        assert (rows // scale - row).max() <= halo
        assert (columns // scale - column).max() <= halo


def test_the_halo_is_reached() -> None:
    program = mulut.build_program({"e": NAMED_PATTERNS["e"]}, stages=2, scale=2, interval=6)
    filled = Filled(program, fill_tables(program, 0))
    plane = np.full((15, 15), 100, np.uint8)
    changed = plane.copy()
    changed[7, 7] = 200
    rows, _ = np.nonzero(run(filled, plane) != run(filled, changed))
    assert program.halo == 6
    assert (rows.min() // 2, rows.max() // 2) == (1, 13)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (build(), "no ops"),
        (build(look_up(), requantise(), depth=10), "10 bits"),
        (build(look_up(source="other"), requantise()), "'other', which nothing"),
        (build(look_up(), requantise(output="image")), "'image' twice"),
        (build(look_up(), requantise(output="end")), "declares output 'result'"),
        (build(look_up("a"), look_up("b", interval=5), Add(output="wide", terms=("a", "b")), requantise()), "slot 't'"),
        (build(look_up("a", block=2), Add(output="wide", terms=("a", "image")), requantise()), "one size"),
        (build(Ensemble(output="wide", input="image", body=()), requantise()), "no body"),
    ],
)
def test_refuses_what_does_not_connect(program: Program, words: str) -> None:
    with pytest.raises(ProgramError, match=words) as caught:
        program.validate()
    assert "\n" not in str(caught.value)


def test_slot_may_be_read_twice_with_one_shape() -> None:
    build(look_up("a"), look_up("b"), Add(output="wide", terms=("a", "b")), requantise()).validate()


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, "'t' has no table"),
        ({"t": np.zeros((289, 1), np.int8), "u": np.zeros((1, 1), np.int8)}, "'u' is not used"),
        ({"t": np.zeros((289, 1), np.int16)}, "int16"),
        ({"t": np.zeros((288, 1), np.int8)}, "289"),
        ({"t": np.zeros((289,), np.int8)}, "289"),
    ],
)
def test_refuses_tables_that_do_not_fit(tables: dict[str, np.ndarray], words: str) -> None:
    program = build(look_up(), requantise())
    program.validate_tables({"t": np.zeros((289, 1), np.int8)})
    with pytest.raises(ProgramError, match=words):
        program.validate_tables(tables)
