"""Training on a GPU, in Numba's simulator: codes of the CPU's kernels, and gradients of the CPU's but for its rounding."""

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install numba-cuda")

from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.kernels.cpu.gradient import stage_gradient
from lutkit_runtime.kernels.cpu.reconstructed import code_maps_and_sums, code_maps_gradient
from lutkit_runtime.kernels.cpu.stage import run_joined
from lutkit_runtime.kernels.cuda.fixed_point import MOST_BITS, SUM_BITS, find_bits
from lutkit_runtime.kernels.cuda.memory import Planes, Pool, upload
from lutkit_runtime.kernels.cuda.stage_gradient import TrainableStage
from lutkit_runtime.kernels.cuda.window_gradient import TrainableWindow
from lutkit_runtime.kernels.stage_claim import Stage, claim_stage
from lutkit_runtime.kernels.stage_layout import join_entries
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, ReconstructedConvolution, Requantise
from lutkit_runtime.ops.reconstructed_convolution import CENTRE, HIGHEST, find_thresholds
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern

SIZE = (2, 4, 5)
"""Planes, rows and columns."""

TOLERANCE = 2e-6
"""Of gradients, relative to the largest of an array: what the CPU's additions in float32 lose."""

PAIR = IndexPattern(((0, 0), (-1, 2)))


@dataclass(frozen=True)
class Given:
    """A stage and what it is run on."""

    stage: Stage
    tables: list[np.ndarray]
    planes: np.ndarray
    maps: list[np.ndarray]
    gradient: np.ndarray


def make_stage(*, block=1, padding=Padding.EDGE, interpolation=Interpolation.SIMPLEX, convolutions=(), lookups):
    """Return a stage; `lookups` holds pattern, interval, diagonal and what is read: 0 for the planes, n for a window."""
    windows = tuple(
        ReconstructedConvolution(
            output=f"map{place}", input="image", slot=f"rc{place}", post=f"codes{place}", window=window, first=first,
            unit=20000.5, storage=storage,
        )
        for place, (window, first, storage) in enumerate(convolutions, 1)
    )  # fmt: skip
    ops = tuple(
        Lookup(
            output=f"lookup{place}",
            input=f"map{source}" if source else "image",
            slot=f"table{place}",
            pattern=pattern,
            lattice=Lattice(pattern.samples, interval),
            block=block,
            padding=padding,
            interpolation=interpolation,
            diagonal=diagonal,
        )
        for place, (pattern, interval, diagonal, source) in enumerate(lookups)
    )
    unit = max(op.step for op in ops)
    total = Add(output="turn", terms=tuple(op.output for op in ops), weights=tuple(unit // op.step for op in ops))
    divisor = 3 * len(ops) * unit
    stage = claim_stage(
        Ensemble(output="sum", input="image", body=(*windows, *ops, total)),
        Requantise(output="result", input="sum", bias=127 * divisor, divisor=divisor),
    )
    assert stage is not None
    return stage


_S, _D, _Y = (NAMED_PATTERNS[name] for name in "sdy")

STAGES = {
    "block 1": make_stage(lookups=[(_S, 7, None, 0), (PAIR, 5, None, 0)]),
    "block 2, reflected": make_stage(
        block=2, padding=Padding.REFLECT, lookups=[(_S, 7, None, 0), (_D, 7, None, 0), (_Y, 7, None, 0)]
    ),
    "block 3, SR-LUT": make_stage(block=3, interpolation=Interpolation.SRLUT, lookups=[(_S, 7, None, 0)]),
    "block 4": make_stage(block=4, lookups=[(_D, 7, None, 0)]),
    "every code a node": make_stage(lookups=[(IndexPattern(((0, 1),)), 0, None, 0), (IndexPattern(((1, 0),)), 0, None, 0)]),
    "diagonal-first": make_stage(
        block=2, lookups=[(PAIR, 5, Diagonal(2, 7), 0), (IndexPattern(((0, 0), (0, 1), (1, 1))), 6, Diagonal(1, 7), 0)]
    ),
    "windows": make_stage(
        convolutions=[(3, -1, "int16"), (5, 0, "int8")], lookups=[(PAIR, 6, None, 1), (_S, 7, None, 0), (PAIR, 7, None, 2)]
    ),
    "windows only": make_stage(block=2, convolutions=[(3, 0, "int8")], lookups=[(PAIR, 6, None, 1)]),
}  # fmt: skip


def make_given(stage, seed=3, size=SIZE):
    """Return random tables, planes, some of whose samples are alike, maps, and gradients of a few magnitudes."""
    rng = np.random.default_rng(seed)
    shape = (size[0], size[1] * stage.block, size[2] * stage.block)
    planes = rng.choice(np.array([0, 15, 64, 64, 127, 130, 255], np.uint8), size)
    planes[0] = rng.integers(0, 256, size[1:])
    return Given(
        stage,
        [rng.integers(-128, 128, (op.entries, op.block**2)).astype(np.int8) for op in stage.lookups],
        planes,
        [rng.integers(0, 255, (4, *size)).astype(np.uint8) for _ in stage.convolutions],
        (rng.normal(size=shape) * 10.0 ** rng.integers(-9, -5, shape)).astype(np.float32),
    )


def send_planes(planes):
    return Planes(upload(planes), len(planes), 1, *planes.shape[1:])


def run_on_device(given):
    """Return codes and gradients to tables, planes and maps."""
    stage, size = given.stage, given.planes.shape
    trainable = TrainableStage(stage)
    tables, maps = [upload(table) for table in given.tables], [upload(part) for part in given.maps]
    planes = send_planes(given.planes)
    codes = upload(np.zeros(given.gradient.shape, np.uint8))
    to_tables = [upload(np.ones(table.shape, np.float32)) for table in given.tables]
    to_planes = upload(np.ones(size, np.float32))
    to_maps = [upload(np.ones(part.shape, np.float32)) for part in given.maps]
    pool = Pool()
    with pool.session(0) as session:
        trainable.run(session, tables, planes, maps, codes)
    with pool.session(0) as session:
        trainable.differentiate(
            session, tables, planes, maps, codes, upload(given.gradient), to_tables, to_planes, to_maps
        )
    return (
        codes.copy_to_host().reshape(given.gradient.shape),
        [part.copy_to_host().reshape(like.shape) for part, like in zip(to_tables, given.tables, strict=True)],
        to_planes.copy_to_host().reshape(size),
        [part.copy_to_host().reshape(4, *size) for part in to_maps],
    )


def assert_alike(found, expected):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=TOLERANCE)


def check_stage(given):
    """Assert that codes and gradients of a stage are those of the CPU."""
    joined = join_entries(given.stage, given.tables)
    expected_codes = run_joined(given.stage, joined, given.planes, 1, maps=given.maps)
    expected = stage_gradient(
        given.stage, given.tables, given.planes, expected_codes, given.gradient, maps=given.maps, parts=1
    )
    codes, to_tables, to_planes, to_maps = run_on_device(given)
    np.testing.assert_array_equal(codes, expected_codes)
    for found, like in zip(to_tables, expected.tables, strict=True):
        assert_alike(found, like)
    if given.stage.reads_input:
        assert_alike(to_planes, expected.planes)
    else:
        assert not to_planes.any()
    assert len(to_maps) == len(expected.maps) == len(given.stage.convolutions)
    for found, like in zip(to_maps, expected.maps, strict=True):
        assert_alike(found, like)


@pytest.mark.parametrize("name", STAGES)
def test_stage_equals_that_of_the_cpu_forward_and_backward(name):
    check_stage(make_given(STAGES[name]))


def test_a_gradient_that_is_not_wanted_is_not_computed():
    """What the planes receive through windows is another gradient; the maps' is the same without the planes'."""
    given = make_given(STAGES["windows"])
    *_, expected = run_on_device(given)
    codes = run_joined(given.stage, join_entries(given.stage, given.tables), given.planes, 1, maps=given.maps)
    to_tables = [upload(np.zeros(table.shape, np.float32)) for table in given.tables]
    to_maps = [upload(np.zeros(part.shape, np.float32)) for part in given.maps]
    with Pool().session(0) as session:
        TrainableStage(given.stage).differentiate(
            session,
            [upload(table) for table in given.tables],
            send_planes(given.planes),
            [upload(part) for part in given.maps],
            upload(codes),
            upload(given.gradient),
            to_tables,
            None,
            to_maps,
        )
    for found, like in zip(to_maps, expected, strict=True):
        np.testing.assert_array_equal(found.copy_to_host().reshape(like.shape), like)


def test_sums_do_not_depend_on_the_order_of_planes():
    given = make_given(STAGES["block 1"], size=(3, 2, 3))
    order = [2, 0, 1]
    turned = Given(given.stage, given.tables, given.planes[order], [], given.gradient[order])
    _, to_tables, to_planes, _ = run_on_device(given)
    _, turned_tables, turned_planes, _ = run_on_device(turned)
    for found, like in zip(turned_tables, to_tables, strict=True):
        np.testing.assert_array_equal(found, like)
    np.testing.assert_array_equal(turned_planes, to_planes[order])


@pytest.mark.parametrize("exponent", [-120, -70, 100])
def test_gradients_of_any_magnitude_scale_with_their_power_of_two(exponent):
    given = make_given(STAGES["every code a node"], size=(1, 2, 3))
    given.gradient[:] = np.random.default_rng(1).choice(np.float32([-1, 0.25, 0.5, 1]), given.gradient.shape)
    _, expected, expected_planes, _ = run_on_device(given)
    scale = np.ldexp(np.float32(1), exponent)
    given.gradient[:] *= scale
    _, to_tables, to_planes, _ = run_on_device(given)
    for found, like in zip([*to_tables, to_planes], [*expected, expected_planes], strict=True):
        np.testing.assert_array_equal(found, like * scale)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_are_not_hidden(value):
    given = make_given(STAGES["every code a node"], size=(1, 2, 3))
    given.gradient[0, 1, 1] = value
    _, to_tables, to_planes, _ = run_on_device(given)
    assert all(np.isnan(part).all() for part in (*to_tables, to_planes))


def test_no_gradient_at_all():
    given = make_given(STAGES["every code a node"], size=(1, 2, 3))
    given.gradient[:] = 0
    _, to_tables, to_planes, _ = run_on_device(given)
    assert not any(part.any() for part in (*to_tables, to_planes))


def test_bits_leave_room_for_every_sum():
    assert find_bits(1, 5) == MOST_BITS
    for factor in (2**31, 2**32, 2**40 - 1, 2**40):
        assert factor << find_bits(7, factor) < 1 << SUM_BITS
        assert factor << find_bits(factor, 7) + 1 >= 1 << SUM_BITS


WINDOWS = [
    (3, -1, "int16", (2, 4, 5)),
    (5, 0, "int8", (1, 3, 4)),
    (7, -2, "int16", (1, 2, 3)),
    (3, -2, "int8", (1, 1, 3)),
    (3, 0, "int16", (1, 1, 1)),
]


@pytest.mark.parametrize(("window", "first", "storage", "size"), WINDOWS)
def test_window_equals_that_of_the_cpu_forward_and_backward(window, first, storage, size):
    limits = np.iinfo(storage)
    unit = window * limits.max / 3.0
    op = ReconstructedConvolution(
        output="map", input="image", slot="rc", post="codes", window=window, first=first, unit=unit, storage=storage
    )
    rng = np.random.default_rng(window)
    table = rng.integers(limits.min, limits.max + 1, (op.positions * 256, 1)).astype(storage)
    planes = rng.choice(np.array([0, 1, 130, 254, 255], np.uint8), size)
    gradient = rng.normal(size=(4, *size)).astype(np.float32) * np.float32(1e-5)
    maps, sums = code_maps_and_sums(op, table, find_thresholds(unit), planes, 1)
    expected_table, expected_planes = code_maps_gradient(op, table, planes, maps, sums, gradient, parts=1)

    steep = (CENTRE / unit * (1 - np.tanh(sums / unit) ** 2)).astype(np.float32)
    outward = ((maps == 0) & (gradient > 0)) | ((maps == HIGHEST) & (gradient < 0))
    codes, totals = upload(np.zeros(maps.shape, np.uint8)), upload(np.zeros(maps.shape, np.int32))
    to_table, to_planes = upload(np.ones(table.shape, np.float32)), upload(np.ones(size, np.float32))
    trainable, on_device = TrainableWindow(op), upload(table)
    with Pool().session(0) as session:
        trainable.run(session, on_device, send_planes(planes), codes, totals)
        slopes = upload(np.where(outward, np.float32(0), steep * gradient))
        trainable.differentiate(session, on_device, send_planes(planes), slopes, to_table, to_planes)
    np.testing.assert_array_equal(codes.copy_to_host().reshape(maps.shape), maps)
    np.testing.assert_array_equal(totals.copy_to_host().reshape(maps.shape), sums)
    assert_alike(to_table.copy_to_host().reshape(table.shape), expected_table)
    assert_alike(to_planes.copy_to_host().reshape(size), expected_planes)
