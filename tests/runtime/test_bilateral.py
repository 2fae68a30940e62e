"""Bilateral grids: the definition against published values, an independent form in float64, and laws of slices."""

from pathlib import Path

import numpy as np
import pytest
from bilateral_models import IDENTITY, draw_guide, make_bilateral
from colour_models import make_program, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.bilateral import GuideTables, Place, apply_affine, slice_grid
from lutkit_runtime.cube import scale_to_depth
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.ops import BilateralSlice, Blend, ColourLookup, TableFusion
from lutkit_runtime.ops.bilateral_slice import BoundSlice
from lutkit_runtime.ops.blend import bound_base
from lutkit_runtime.ops.colour_lookup import Cube
from lutkit_runtime.ops.table_fusion import BasisTable

UNIT = 2.0**-24
"""Half the distance from 1 to the next larger number in float32."""

SMOOTHING = 1.3e-4
"""How far coefficients lie from those of the published slice, which smooths the tip of its tent; theirs reach 4."""

WHOLE_GUIDE = GuideTables(
    np.array([[0.25], [0.5], [0.25], [0]], np.float32),
    np.array([[0], [1]], np.float32),
    np.array([[0], [1]], np.float32),
)
"""A guide that is a mean of the colours."""

seeds = st.integers(0, 2**32 - 1)
sides = st.sampled_from((1, 2, 3, 5, 7, 16))


def scatter_tents(grid: np.ndarray, guide: np.ndarray, place: Place) -> np.ndarray:
    """Return coefficients in float64: eight taps at i + 0.5, weights max(1 - |i + 0.5 - g|, 0), indices clamped."""
    lines = (
        (place.top + np.arange(guide.shape[0])[:, None] + 0.5) * grid.shape[0] / place.height,
        (place.left + np.arange(guide.shape[1])[None, :] + 0.5) * grid.shape[1] / place.width,
        guide.astype(np.float64) * grid.shape[2],
    )
    total = np.zeros((*guide.shape, 12))
    for taps in np.ndindex(2, 2, 2):
        indices = [np.floor(line - 0.5).astype(int) + tap for line, tap in zip(lines, taps, strict=True)]
        weight = 1.0
        for line, index in zip(lines, indices, strict=True):
            weight = weight * np.maximum(1 - np.abs(index + 0.5 - line), 0)
        rows, columns, levels = (index.clip(0, count - 1) for index, count in zip(indices, grid.shape[:3], strict=True))
        total += weight[..., None] * grid.astype(np.float64)[rows, columns, levels]
    return total


def apply_exactly(coefficients: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return what maps (..., 12) in float64 make of colours."""
    maps = coefficients.reshape(*coefficients.shape[:-1], 3, 4)
    return np.einsum("...oi,...i->...o", maps[..., :3], colours.astype(np.float64)) + maps[..., 3]


def whole(guide: np.ndarray) -> Place:
    return Place(0, 0, *guide.shape)


def make_grid(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, 12)).astype(np.float32)


@pytest.mark.data
@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_slices_are_the_published_ones(case: str, shared_data: Path) -> None:
    """Plain tents to the rounding of float32; the published ones, whose tips are smooth, as far as smoothing goes."""
    with np.load(shared_data / "oracles" / "hdrnet_slice.npz") as oracle:
        found = {name.removeprefix(f"{case}_"): oracle[name] for name in oracle.files if name.startswith(f"{case}_")}
    grid, guide, colours = found["grid"], found["guide"], found["input"]
    coefficients = slice_grid(grid, guide, whole(guide))
    np.testing.assert_allclose(coefficients, found["slice_out_plain_tent"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(scatter_tents(grid, guide, whole(guide)), found["slice_out_plain_tent"], atol=1e-6)
    smoothed = np.abs(coefficients - found["slice_out"])
    assert 1e-5 < smoothed.max() <= SMOOTHING
    allowed = SMOOTHING * (np.abs(colours).sum(axis=2, keepdims=True) + 1)
    assert (np.abs(apply_affine(coefficients, colours) - found["apply_out"]) <= allowed).all()
    exact = apply_exactly(found["slice_out_plain_tent"], colours)
    np.testing.assert_allclose(apply_affine(coefficients, colours), exact, rtol=0, atol=4e-6)


@settings(max_examples=150)
@given(seeds, sides, sides, st.sampled_from((1, 2, 3, 7, 8, 33, 64)), st.integers(1, 30), st.integers(1, 30))
def test_slices_meet_float64(seed: int, rows: int, columns: int, depth: int, height: int, width: int) -> None:
    """The bound follows from each rounding. Measured: a quarter of it; levels that are a power of two cost nothing."""
    random = np.random.default_rng(seed)
    grid = make_grid(seed, rows, columns, depth)
    if seed % 2:
        grid = np.sign(grid)  # the steepest there are
    guide, colours = random.random((height, width), np.float32), random.random((height, width, 3), np.float32)
    guide[:1, :3] = np.array([0, 1, 0.5], np.float32)[:width]
    exact = scatter_tents(grid, guide, whole(guide))
    found = slice_grid(grid, guide, whole(guide))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=0, atol=(4 * depth + 31) * UNIT)
    mapped = apply_affine(found, colours)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, apply_exactly(exact, colours), rtol=0, atol=(16 * depth + 140) * UNIT)


@settings(max_examples=60)
@given(st.data(), seeds, sides, sides, sides)
def test_a_piece_is_cut_out_of_the_whole(data: st.DataObject, seed: int, rows: int, columns: int, depth: int) -> None:
    grid, guide = make_grid(seed, rows, columns, depth), np.random.default_rng(seed).random((19, 23), np.float32)
    top, left = data.draw(st.integers(0, 18)), data.draw(st.integers(0, 22))
    bottom, right = data.draw(st.integers(top + 1, 19)), data.draw(st.integers(left + 1, 23))
    piece = slice_grid(grid, guide[top:bottom, left:right], Place(top, left, 19, 23))
    assert piece.tobytes() == slice_grid(grid, guide, whole(guide))[top:bottom, left:right].tobytes()


@settings(max_examples=60)
@given(seeds, sides, sides, sides)
def test_a_constant_grid_is_one_map_whatever_the_guide(seed: int, rows: int, columns: int, depth: int) -> None:
    """Exactly: differences between equal maps vanish."""
    random = np.random.default_rng(seed)
    guide = random.random((9, 11), np.float32)
    one = random.normal(0, 1, 12).astype(np.float32)
    found = slice_grid(np.tile(one, (rows, columns, depth, 1)), guide, whole(guide))
    assert found.tobytes() == np.tile(one, (9, 11, 1)).tobytes()


@settings(max_examples=60)
@given(pictures(), seeds, sides, sides, sides)
def test_a_grid_of_the_identity_changes_nothing(
    picture: np.ndarray, seed: int, rows: int, columns: int, depth: int
) -> None:
    """Integers survive; floats are those that a blend starts from, which are numbers."""
    picture = picture[..., :3]
    guide = draw_guide(np.random.default_rng(seed), 3, 5, 4)
    bound = BoundSlice(guide, np.tile(IDENTITY, (rows, columns, depth, 1)))
    np.testing.assert_array_equal(bound.slice(picture, whole(picture[..., 0])), bound_base(picture))
    if picture.dtype != np.float32:
        np.testing.assert_array_equal(bound.finish(picture, whole(picture[..., 0])), picture)


@settings(max_examples=60)
@given(seeds, sides, sides, sides)
def test_the_ends_of_the_guide_take_the_outer_levels(seed: int, rows: int, columns: int, depth: int) -> None:
    """And so does all that lies beyond the centres of the outer levels."""
    grid, place = make_grid(seed, rows, columns, depth), Place(0, 0, 9, 11)
    for end, level in ((0.0, 0), (1.0, depth - 1)):
        expected = slice_grid(grid[:, :, [level]], np.zeros((9, 11), np.float32), place)
        for guide in (end, abs(end - 0.49 / depth)):
            found = slice_grid(grid, np.full((9, 11), guide, np.float32), place)
            np.testing.assert_allclose(found, expected, rtol=0, atol=8 * UNIT)
            if level == 0:
                assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("nodes", [2, 3, 8])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_ramps_stay_ramps_between_the_outer_centres(axis: int, nodes: int) -> None:
    """Node i stands for the position (i + 0.5) / nodes of its axis; beyond the outer ones the ramp is cut off."""
    shape = [nodes if each == axis else 3 for each in range(3)]
    ramp = (np.indices(shape)[axis] + 0.5) / nodes
    grid = np.repeat(ramp[..., None], 12, axis=3).astype(np.float32)
    random = np.random.default_rng(nodes)
    guide = random.random((40, 50), np.float32)
    positions = ((np.arange(40)[:, None] + 0.5) / 40, (np.arange(50)[None, :] + 0.5) / 50, guide)
    expected = np.broadcast_to(positions[axis], (40, 50)).clip(0.5 / nodes, 1 - 0.5 / nodes)
    found = slice_grid(grid, guide, whole(guide))
    np.testing.assert_allclose(found, np.repeat(expected[..., None], 12, axis=2), rtol=0, atol=4 * UNIT)
    assert expected.min() == 0.5 / nodes or expected.max() == 1 - 0.5 / nodes


def test_coefficients_have_their_places() -> None:
    """Entry 4 o + i is what input i adds to output o."""
    colours = np.array([0.5, 0.25, 0.125], np.float32)
    for entry in range(12):
        found = apply_affine(np.eye(12, dtype=np.float32)[entry], colours)
        output, source = divmod(entry, 4)
        assert found[output] == [*colours, 1][source]
        assert not np.delete(found, output).any()


def test_every_level_shows_where_the_guide_says() -> None:
    """Grids of one place: what level holds 1 is as strong as the tent around its centre."""
    guide = np.linspace(0, 1, 65, dtype=np.float32)[None]
    for level in range(4):
        grid = np.zeros((1, 1, 4, 12), np.float32)
        grid[:, :, level] = 1
        position = (guide * 4.0).clip(0.5, 3.5)
        expected = np.maximum(1 - np.abs(level + 0.5 - position), 0)
        np.testing.assert_array_equal(slice_grid(grid, guide, whole(guide))[..., 0], expected)


def test_results_keep_their_depth_and_may_lie_outside() -> None:
    doubled = np.tile(IDENTITY * np.float32(2), (2, 2, 2, 1))
    bound = BoundSlice(WHOLE_GUIDE, doubled)
    samples = np.array([[[0, 100, 200]]], np.uint8)
    assert bound.finish(samples, Place(0, 0, 1, 1)).tolist() == [[[0, 200, 255]]]
    floats = bound.finish(np.array([[[-0.25, 0.5, 1.5]]], np.float32), Place(0, 0, 1, 1))
    assert floats.tolist() == [[[-0.5, 1, 3]]]


def test_what_is_no_number_counts_as_nothing_and_the_guide_sees_no_further_than_white() -> None:
    levels = np.tile(IDENTITY, (1, 1, 2, 1))
    levels[0, 0, :, 3] = 0, 1
    bound = BoundSlice(WHOLE_GUIDE, levels)
    odd = np.array([[[np.nan] * 3, [np.inf] * 3, [-np.inf] * 3, [7] * 3, [-7] * 3]], np.float32)
    found = bound.slice(odd, Place(0, 0, 1, 5))[0, :, :2].tolist()
    largest = float(np.float32(1e30))
    assert found == [[0, 0], [largest, largest], [-largest, -largest], [8, 7], [-7, -7]]


@settings(max_examples=40)
@given(seeds, st.sampled_from((None, 1, 4)), st.sampled_from((None, 1, 2)), st.sampled_from((0.0, 0.5, 1.0)))
def test_models_do_not_depend_on_tiles_threads_and_backends(
    seed: int, tile: int | None, threads: int | None, strength: float
) -> None:
    artefact = make_bilateral()
    model = Model(artefact.program, artefact.tables)
    picture = np.random.default_rng(seed).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    expected = model.apply(picture, backend="numpy", strength=strength)
    for backend in ("numpy", "cpu"):
        found = model.apply(picture, backend=backend, tile=tile, threads=threads, strength=strength)
        assert found.tobytes() == expected.tobytes()


def test_a_model_is_its_ops_one_after_the_other() -> None:
    """Every value by name, and the result as the blend makes it."""
    artefact = make_bilateral()
    picture = np.random.default_rng(1).integers(0, 65536, (9, 13, 3), dtype=np.uint16)
    values = {"image": picture, "strength": 0.5}
    for op in artefact.program.ops:
        values[op.output] = op.reference(values, artefact.tables)
    adapted = Model(artefact.program, artefact.tables).adapt(picture)
    assert adapted["grid"].shape == (3, 2, 4, 12)
    assert adapted["grid"].tobytes() == values["grid"].tobytes()
    found = Model(artefact.program, artefact.tables).apply(picture, backend="numpy", strength=0.5)
    assert found.tobytes() == scale_to_depth(values["result"], picture.dtype).tobytes()
    assert (found != picture).mean() > 0.9


def test_a_slice_reads_a_picture_and_a_grid() -> None:
    predictor, fusion, slice_op, blend = make_bilateral().program.ops
    assert isinstance(slice_op, BilateralSlice)
    assert isinstance(blend, Blend)
    table = TableFusion(weights="weights", bases=(BasisTable("basis"),) * 1, size=3, output="cube")
    cases = (
        (
            (predictor, fusion, BilateralSlice(input="grid", grid="grid", guide=slice_op.guide, output="result")),
            "a grid",
        ),
        ((predictor, BilateralSlice(input="image", grid="image", guide=slice_op.guide, output="result")), "a picture"),
        ((predictor, BilateralSlice(input="image", grid="weights", guide=slice_op.guide, output="result")), "a vector"),
        ((predictor, fusion, Blend(base="image", changed="grid", amount="weights", output="result")), "a grid"),
        ((predictor, fusion, table), "1 table"),
    )
    for ops, told in cases:
        with pytest.raises(ProgramError, match=told) as caught:
            make_program(*ops).validate()
        assert "\n" not in str(caught.value)
    fused = ColourLookup(input="image", cube=Cube("grid", 3, fused=True), output="result")
    with pytest.raises(ProgramError, match="a grid; a table is needed"):
        make_program(predictor, fusion, fused).validate()
