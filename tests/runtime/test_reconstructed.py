"""Reconstructed convolution: kernels equal to the definition, gradients to a slow twin, codes to an independent oracle."""

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.kernels.cpu.reconstructed import code_maps, code_maps_and_sums, code_maps_gradient, find_steps
from lutkit_runtime.kernels.cpu.reconstructed_lines import BAND, CHUNK
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds

HIGHEST = 254
"""Codes of a result are 0 to 254."""


def make_op(window: int, first: int = 0, storage: str = "int16", unit: float = 1.0) -> ReconstructedConvolution:
    return ReconstructedConvolution(
        output="codes", input="image", slot="table", post="post", window=window, first=first, unit=unit, storage=storage
    )


@st.composite
def ops(draw: st.DrawFn) -> ReconstructedConvolution:
    """Draw windows of any size and place; a unit with which few, some or nearly all codes are at an end."""
    window = draw(st.sampled_from((3, 5, 7, 9)))
    storage = draw(st.sampled_from(("int16", "int8")))
    first = -2 if window == 7 and draw(st.booleans()) else draw(st.sampled_from((0, -(window // 2), 1 - window)))
    unit = window * int(np.iinfo(storage).max) * draw(st.sampled_from((0.01, 0.3, 1.0, 20.0)))
    return make_op(window, first, storage, unit)


@st.composite
def tables(draw: st.DrawFn, op: ReconstructedConvolution) -> np.ndarray:
    """Draw tables of any entries, or of extreme ones alone."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limits = np.iinfo(op.storage)
    shape = (op.positions * 256, 1)
    kind = draw(st.sampled_from(("any", "any", "ends", "lowest", "highest")))
    if kind == "any":
        return random.integers(limits.min, limits.max, shape, op.storage, endpoint=True)
    ends = {"ends": [limits.min, limits.max], "lowest": [limits.min], "highest": [limits.max]}[kind]
    return random.choice(np.array(ends, op.storage), shape)


@st.composite
def thresholds(draw: st.DrawFn, op: ReconstructedConvolution) -> np.ndarray:
    """Draw the thresholds of the op's unit, or any that ascend: far apart, equal, beyond every sum."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(("unit", "unit", "any", "close", "equal", "beyond")))
    if kind == "unit":
        return find_thresholds(op.unit)
    bound = {"any": op.largest, "close": 200, "equal": 0, "beyond": 2**31 - 1}[kind]
    drawn = np.sort(random.integers(-bound, bound, (HIGHEST, 1), endpoint=True), axis=0)
    return (drawn + draw(st.integers(-50, 50))).clip(-(2**31), 2**31 - 1).astype(np.int32)


@st.composite
def planes(draw: st.DrawFn, largest: int = 12) -> np.ndarray:
    """Draw one to three planes, 1 x 1 and up, of any codes or of few."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, largest)), draw(st.integers(1, largest)))
    codes = draw(st.sampled_from((range(256), (0, 255), (0, 1, 254, 255))))
    return random.choice(np.array(codes, np.uint8), shape)


def refer(op: ReconstructedConvolution, table: np.ndarray, post: np.ndarray, stack: np.ndarray) -> tuple:
    """Return codes and sums as the definition gives them for turned planes, turned back."""
    turned = [np.rot90(stack, turn, axes=(1, 2)) for turn in range(4)]
    codes = [op.reference({"image": plane}, {"table": table, "post": post}) for plane in turned]
    sums = [op.sums(plane, table) for plane in turned]
    return tuple(
        np.stack([np.rot90(each, -turn, axes=(1, 2)) for turn, each in enumerate(part)]) for part in (codes, sums)
    )


@settings(max_examples=100)
@given(st.data(), ops(), planes(), st.sampled_from((None, 1, 2)))
def test_codes_and_sums_are_those_of_the_definition(data, op, stack, threads):
    table, post = data.draw(tables(op)), data.draw(thresholds(op))
    expected, expected_sums = refer(op, table, post, stack)
    codes, sums = code_maps_and_sums(op, table, post, stack, threads)
    assert (codes.dtype, sums.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(sums, expected_sums)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(code_maps(op, table, post, stack, threads), expected)


@pytest.mark.parametrize(("window", "first"), [(3, 0), (5, -2), (7, -2), (7, 0), (9, -8)])
@pytest.mark.parametrize("threads", [1, 2])
def test_pieces_of_a_large_plane_join(window, first, threads):
    """Planes of several bands and chunks, the last ones of a single row and column."""
    random = np.random.default_rng(window)
    op = make_op(window, first, unit=window * 2e4)
    table = random.integers(-(2**15), 2**15, (op.positions * 256, 1), np.int16)
    post = find_thresholds(op.unit)
    stack = random.integers(0, 256, (2, 2 * BAND + 1, CHUNK + 1), np.uint8)
    np.testing.assert_array_equal(code_maps(op, table, post, stack, threads), refer(op, table, post, stack)[0])


@settings(max_examples=150)
@given(st.data(), st.integers(1, 5000), st.sampled_from((1, 10, 300, 6000, 2**31 - 1)))
def test_steps_count_the_thresholds_reached_by_every_sum(data, largest, bound):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    post = np.sort(random.integers(-bound, bound, (HIGHEST, 1), endpoint=True), axis=0).astype(np.int32)
    found = find_steps(post, largest)
    sums = np.arange(-largest, largest + 1)
    inside = sums.clip(found.low, found.high) - found.low
    codes = (found.steps[inside >> found.shift] + (inside & ((1 << found.shift) - 1))) >> found.shift
    np.testing.assert_array_equal(codes, np.searchsorted(post[:, 0], sums, side="right"))


@pytest.mark.parametrize("window", [3, 5, 7, 9])
def test_steps_of_a_trained_model_are_few(window):
    """So that they stay in the first-level cache."""
    op = make_op(window)
    for kappa in (2.0**8, 2.0**15, 32767.0):
        assert len(find_steps(find_thresholds(kappa * op.positions), op.largest).steps) <= 2048


def slope_of_sums(op: ReconstructedConvolution, maps, sums, gradient) -> np.ndarray:
    """Return the gradient to the sums, float64: that of tanh, gated at codes 0 and 254."""
    passes = ~(((maps == 0) & (gradient > 0)) | ((maps == HIGHEST) & (gradient < 0)))
    return passes * gradient * (1 - np.tanh(sums / op.unit) ** 2) * 127 / op.unit


def rise_of_tables(op: ReconstructedConvolution, table: np.ndarray) -> np.ndarray:
    """Return how steep each table is at each code, (positions, 256) float64."""
    steps = np.diff(table.reshape(op.positions, 256).astype(float), axis=1)
    return np.hstack([steps[:, :1], (steps[:, 1:] + steps[:, :-1]) / 2, steps[:, -1:]])


def walk_windows(op, stack, slopes, rises) -> tuple[np.ndarray, np.ndarray]:
    """Slow twin of the gradient: the window over every turned plane, one sum after the other; float64."""
    to_table, to_planes = np.zeros(rises.shape), np.zeros(stack.shape)
    for turn in range(4):
        plane, back, slope = (np.rot90(each, turn, axes=(1, 2)) for each in (stack, to_planes, slopes[turn]))
        height, width = plane.shape[1:]
        for row, column in np.ndindex(height, width):
            for position, (down, right) in enumerate(op.offsets):
                at = (slice(None), min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1))
                np.add.at(to_table[position], plane[at], slope[:, row, column])
                back[at] += slope[:, row, column] * rises[position][plane[at]]
    return to_table.reshape(-1, 1), to_planes


@settings(max_examples=25)
@given(st.data(), ops(), planes(largest=5), st.integers(1, 4))
def test_gradients_are_those_of_a_slow_twin(data, op, stack, parts):
    table = data.draw(tables(op))
    maps, sums = code_maps_and_sums(op, table, find_thresholds(op.unit), stack)
    gradient = np.random.default_rng(stack.size).normal(size=maps.shape).astype(np.float32)
    rises = rise_of_tables(op, table)
    expected = walk_windows(op, stack, slope_of_sums(op, maps, sums, gradient), rises)
    # float32 errs by a share of what is added where codes are as steep as they can be and nothing cancels
    largest = walk_windows(op, stack, np.abs(gradient) * 127 / op.unit, np.abs(rises))
    found = code_maps_gradient(op, table, stack, maps, sums, gradient, parts=parts)
    for ours, theirs, scale in zip(found, expected, largest, strict=True):
        assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
        assert (np.abs(ours - theirs) <= 2e-6 * scale).all()


def test_gradients_depend_on_the_number_of_parts_alone():
    random = np.random.default_rng(5)
    op = make_op(5, -2, unit=1e5)
    table = random.integers(-(2**15), 2**15, (op.positions * 256, 1), np.int16)
    stack = random.integers(0, 9, (7, 20, 23), np.uint8)
    maps, sums = code_maps_and_sums(op, table, find_thresholds(op.unit), stack)
    gradient = random.normal(size=maps.shape).astype(np.float32)
    for parts in (1, 3, 20):
        once, again = (code_maps_gradient(op, table, stack, maps, sums, gradient, parts=parts) for _ in range(2))
        tables_only, nothing = code_maps_gradient(
            op, table, stack, maps, sums, gradient, parts=parts, with_planes=False
        )
        assert once[0].tobytes() == again[0].tobytes() == tables_only.tobytes()
        assert once[1].tobytes() == again[1].tobytes()
        assert nothing.size == 0
        assert once[1].any() and once[0].any()


@pytest.mark.parametrize(("code", "sign"), [(0, 1), (HIGHEST, -1)])
def test_a_code_at_an_end_passes_only_what_moves_it_back(code, sign):
    op = make_op(3, unit=9 * 300.0)
    table = np.full((op.positions * 256, 1), 1000 if code else -1000, np.int16)
    table[1::256] = 0  # so that tables are not flat where the planes are
    stack = np.zeros((1, 4, 4), np.uint8)
    maps, sums = code_maps_and_sums(op, table, find_thresholds(op.unit), stack)
    assert (maps == code).all()
    for outward in (True, False):
        gradient = np.full(maps.shape, sign if outward else -sign, np.float32)
        for part in code_maps_gradient(op, table, stack, maps, sums, gradient):
            assert part.any() == (not outward)


@settings(max_examples=60)
@given(st.integers(1, 2**15), st.integers(-6, 8), st.sampled_from((3, 5, 7, 9)))
def test_thresholds_are_the_least_sums_of_their_codes(kappa, power, window):
    """Against 50 digits: code c + 1 begins where tanh(sum / unit) = (c + 1/2 - 127) / 127."""
    unit = math.ldexp(kappa * window**2, power)
    found = find_thresholds(unit)
    assert (found.dtype, found.shape) == (np.int32, (HIGHEST, 1))
    with localcontext() as context:
        context.prec = 50
        for code, threshold in enumerate(found[:, 0].tolist()):
            edge = Decimal(unit) * (Decimal(2 * code + 1) / Decimal(507 - 2 * code)).ln() / 2
            assert threshold - 1 < edge <= threshold


def test_thresholds_beyond_32_bits_are_never_reached():
    found = find_thresholds(2.0**30)[:, 0]
    assert (found[0], found[-1]) == (-(2**31), 2**31 - 1)
    assert (np.diff(found.astype(np.int64)) >= 0).all()
    assert np.searchsorted(found, 0, side="right") == 127


def oracle_cases(shared_data: Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield functions of each position (positions, 256), patches (300, N, N), codes and means before the tanh (300,)."""
    with np.load(shared_data / "oracles" / "rc_module.npz") as arrays:
        names = [name.removesuffix("patches") for name in arrays.files if name.endswith("patches")]
        for name in names:
            slopes, offsets = arrays[f"{name}table_slope_f64"], arrays[f"{name}table_offset_f64"]
            functions = slopes[:, :, None] * np.arange(256) / 255 + offsets[:, :, None]
            for output in range(slopes.shape[1]):
                yield (
                    functions[:, output],
                    arrays[f"{name}patches"],
                    arrays[f"{name}code"][:, output],
                    arrays[f"{name}pre_tanh_f64"][:, output],
                )


def quantise(functions: np.ndarray, highest: int) -> tuple[np.ndarray, float]:
    """Return entries (positions * 256, 1), int64, and the power of two that is the sum of an entry for 1."""
    kappa = 2.0 ** math.floor(math.log2(highest / np.abs(functions).max()))
    return np.rint(kappa * functions).astype(np.int64).reshape(-1, 1), kappa


@pytest.mark.data
@pytest.mark.parametrize(("bits", "different", "largest"), [(8, 2398, 5), (16, 17, 1)])
def test_codes_of_the_published_module(shared_data, bits, different, largest):
    """liuguandu/RC-LUT's own network in float32: tables of 16 bits give all but 17 of its 9,000 codes, of 8 bits 73 %.

    A patch as large as the window is a plane whose first pixel sees all of it. The scale is the largest power of two
    with which the entries fit.
    """
    found = []
    for functions, patches, codes, _ in oracle_cases(shared_data):
        table, kappa = quantise(functions, 2 ** (bits - 1) - 1)
        window = patches.shape[1]
        op = make_op(window, storage=f"int{bits}", unit=kappa * window**2)
        maps = code_maps(op, table.astype(op.storage), find_thresholds(op.unit), patches)
        found.append(maps[0, :, 0, 0].astype(int) - codes)
    errors = np.abs(np.concatenate(found))
    assert (len(errors), np.count_nonzero(errors), errors.max()) == (9000, different, largest)


@pytest.mark.data
def test_wide_sums_give_every_code_of_the_published_module(shared_data):
    """What 16 bits lose is lost by rounding entries: the definition with entries of 24 bits loses nothing."""
    for functions, patches, codes, _ in oracle_cases(shared_data):
        table, kappa = quantise(functions, 2**23 - 1)
        op = make_op(patches.shape[1], unit=kappa * patches.shape[1] ** 2)
        fill = {"table": table, "post": find_thresholds(op.unit)}
        np.testing.assert_array_equal(op.reference({"image": patches}, fill)[:, 0, 0], codes)


@pytest.mark.data
def test_the_step_to_codes_is_that_of_the_published_module(shared_data):
    """Its own means, scaled so that no code's edge is nearer than a sum, pass the thresholds and their table alike."""
    unit = 2.0**20
    post = find_thresholds(unit)
    steps = find_steps(post, 2**23)
    for _, _, codes, means in oracle_cases(shared_data):
        sums = np.rint(means * unit).astype(np.int64)
        np.testing.assert_array_equal(np.searchsorted(post[:, 0], sums, side="right"), codes)
        inside = sums.clip(steps.low, steps.high) - steps.low
        found = (steps.steps[inside >> steps.shift] + (inside & ((1 << steps.shift) - 1))) >> steps.shift
        np.testing.assert_array_equal(found, codes)
