"""Fused stages behind reconstructed convolutions, an interval and a factor for each lookup: equal to the references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BLOCKS, LARGEST_TABLE, images, patterns
from test_stage_kernel import claim, refer

from lutkit.families import rclut
from lutkit_runtime.engine import Model
from lutkit_runtime.kernels.cpu.stage import run_stage
from lutkit_runtime.kernels.cpu.touched import touched_entries
from lutkit_runtime.kernels.stage_claim import claim_stage
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, BodyOp, Ensemble, Lookup, Op, ReconstructedConvolution, Requantise
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import IndexPattern
from lutkit_runtime.program import Program


@st.composite
def mixed_stages(
    draw: st.DrawFn, *, number: int = 1, source: str = "image", result: str = "result", blocks: tuple[int, ...] = BLOCKS
) -> tuple[Ensemble, Requantise]:
    """Draw a stage that `claim_stage` takes, whose lookups read the input or windows of it, each with its interval."""
    block = draw(st.sampled_from(blocks))
    padding = draw(st.sampled_from(Padding))
    convolutions = [
        ReconstructedConvolution(
            output=f"rc{number}/{place}",
            input=source,
            slot=f"window{number}/{place}",
            post=f"codes{number}/{place}",
            window=window,
            first=draw(st.integers(1 - window, 0)),
            unit=draw(st.sampled_from((900.0, 20000.5, 400000.0))),
            storage=draw(st.sampled_from(("int16", "int8"))),
        )
        for place, window in enumerate(draw(st.lists(st.sampled_from((3, 5, 7, 9)), max_size=2)))
    ]
    sources = [*[op.output for op in convolutions], *draw(st.lists(st.sampled_from([source]), max_size=2))]
    sources = draw(st.permutations(sources)) or [source]
    unit = draw(st.integers(0, 8))
    lookups: list[Lookup] = []
    for place, name in enumerate(sources):
        interval = draw(st.integers(0, unit))
        possible = [axes for axes in (1, 2, 3, 4) if Lattice(axes, interval).entries * block**2 <= LARGEST_TABLE]
        samples = draw(st.sampled_from(possible))
        lookup = Lookup(
            output=f"lookup{number}/{place}",
            input=name,
            slot=f"stage{number}/{place}",
            pattern=draw(patterns(samples)),
            lattice=Lattice(samples, interval),
            block=block,
            padding=padding,
        )
        lookups.append(lookup)
    order = draw(st.permutations(lookups))
    weights = tuple((1 << unit) // op.step for op in order)
    # a convolution may stand anywhere before its reader
    body: list[BodyOp] = [*convolutions, *lookups]
    if len(lookups) > 1 or weights != (1,):
        body.append(Add(output=f"turn{number}", terms=tuple(op.output for op in order), weights=weights))
    divisor = draw(st.integers(1, 4 * len(lookups) << unit))
    total = f"sum{number}"
    return (
        Ensemble(output=total, input=source, body=tuple(body)),
        Requantise(output=result, input=total, bias=draw(st.integers(-255, 255)) * divisor, divisor=divisor),
    )


def fill(program: Program, seed: int) -> dict[str, np.ndarray]:
    """Return random tables over the whole range of their types, and thresholds that follow from the units."""
    random = np.random.default_rng(seed)
    tables = {}
    for name, slot in program.slots.items():
        limits = np.iinfo(slot.dtype)
        tables[name] = random.integers(limits.min, limits.max + 1, slot.shape).astype(slot.dtype)
    convolutions = [op for op in program.inner_ops() if isinstance(op, ReconstructedConvolution)]
    return {**tables, **{op.post: find_thresholds(op.unit) for op in convolutions}}


def build(*ops: Op) -> Program:
    program = Program(family="test", task="sr", ops=ops)
    program.validate()
    return program


@settings(max_examples=120)
@given(mixed_stages(), images(), st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 2]))
def test_equals_the_references(
    ops: tuple[Ensemble, Requantise], image: np.ndarray, seed: int, threads: int | None
) -> None:
    program = build(*ops)
    tables = fill(program, seed)
    planes = np.ascontiguousarray(np.moveaxis(image, 2, 0))
    result = run_stage(claim(program), tables, planes, threads)
    np.testing.assert_array_equal(result, refer(program, tables, planes))


@settings(max_examples=40)
@given(mixed_stages(result="middle", blocks=(1, 3)), mixed_stages(number=2, source="middle", blocks=(1, 3)), images())
def test_the_engine_runs_chains_of_them_in_tiles(
    first: tuple[Ensemble, Requantise], second: tuple[Ensemble, Requantise], image: np.ndarray
) -> None:
    program = build(*first, *second)
    tables = fill(program, 3)
    expected = Model(program, tables).apply(image, backend="numpy")
    model = Model(program, tables)
    np.testing.assert_array_equal(model.apply(image, backend="cpu", threads=1), expected)
    np.testing.assert_array_equal(model.apply(image, backend="cpu", threads=2, tile=5), expected)


@settings(max_examples=40)
@given(mixed_stages(), images(largest=4, channels=1))
def test_touched_entries_are_those_that_the_references_read(
    ops: tuple[Ensemble, Requantise], image: np.ndarray
) -> None:
    program = build(*ops)
    tables = fill(program, 5)
    stage = claim(program)
    planes = np.ascontiguousarray(np.moveaxis(image, 2, 0))
    expected: list[set[int]] = [set() for _ in stage.lookups]
    maps = []
    for turns in range(4):
        named = {"image": np.rot90(planes, turns, axes=(1, 2))}
        for op in stage.convolutions:
            named[op.output] = op.reference(named, tables)
        for rows, lookup in zip(expected, stage.lookups, strict=True):
            rows.update(lookup.walk(lookup.gather(named[lookup.input]))[0].reshape(-1).tolist())
        maps.append([np.rot90(named[op.output], -turns, axes=(1, 2)) for op in stage.convolutions])
    stacked = [np.stack(turned) for turned in zip(*maps, strict=True)]
    found = touched_entries(stage, planes, stacked)
    assert [rows.tolist() for rows in found] == [sorted(rows) for rows in expected]


def test_claims_the_family_and_its_widths() -> None:
    for config in (rclut.defaults, rclut.RclutConfig(rc=(3, 9), wide=9, scale=2, interval=5, compat=True)):
        program = rclut.skeleton(config)
        for ensemble, requantise in zip(program.ops[::2], program.ops[1::2], strict=True):
            assert isinstance(ensemble, Ensemble)
            assert isinstance(requantise, Requantise)
            stage = claim_stage(ensemble, requantise)
            assert stage is not None
            assert stage.unit == 1 << config.interval


def convolve(output: str, source: str = "image") -> ReconstructedConvolution:
    return ReconstructedConvolution(output=output, input=source, slot=f"{output}/w", post=f"{output}/p", window=3)


def look_up(output: str, source: str = "image", interval: int = 4, **fields: object) -> Lookup:
    single = IndexPattern(((0, 0),))
    given = {"pattern": single, "lattice": Lattice(1, interval), **fields}
    return Lookup(output=output, input=source, slot=output, **given)


def add(*terms: str, weights: tuple[int, ...] = ()) -> Add:
    return Add(output="turn", terms=terms, weights=weights)


@pytest.mark.parametrize(
    ("body", "claimed"),
    [
        ((convolve("rc"), look_up("a", "rc")), True),
        ((look_up("b"), convolve("rc"), look_up("a", "rc"), add("a", "b")), True),
        ((look_up("a"), look_up("b", interval=3), add("b", "a", weights=(4, 2))), True),
        ((look_up("a"), look_up("b"), add("b", "a", weights=(16, 16))), True),
        ((look_up("a"), look_up("b"), add("b", "a", weights=(32, 32))), False),
        ((look_up("a"), look_up("b"), add("b", "a", weights=(3, 3))), False),
        ((look_up("a"), look_up("b"), add("b", "a", weights=(1, 2))), False),
        ((look_up("a"), look_up("b", interval=3), add("b", "a")), False),
        ((convolve("unread"), look_up("a")), False),
        ((convolve("rc"), convolve("rc2", "rc"), look_up("a", "rc2"), look_up("b", "rc"), add("a", "b")), False),
        ((convolve("rc"), look_up("a", "rc"), look_up("b"), add("a", "b"), look_up("c")), False),
        ((look_up("a"), convolve("rc")), False),
    ],
)
def test_claims_what_the_kernel_can_do_and_no_more(body: tuple[BodyOp, ...], claimed: bool) -> None:
    ensemble = Ensemble(output="sum", input="image", body=body)
    requantise = Requantise(output="result", input="sum", bias=0, divisor=16)
    assert (claim_stage(ensemble, requantise) is not None) == claimed
