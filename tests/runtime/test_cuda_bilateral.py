"""Bilateral slices on GPUs give the bytes of the definition; in Numba's simulator where there is no GPU."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bilateral_models import bilateral_programs, draw_guide, make_bilateral
from colour_models import expect_same, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.bilateral import Place, interpolate_curve, place_axis
from lutkit_runtime.cube import scale_to_depth
from lutkit_runtime.engine import Model
from lutkit_runtime.kernels.cuda.device import SIMULATOR
from lutkit_runtime.ops.bilateral_slice import BoundSlice
from lutkit_runtime.ops.blend import bound_base

pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install 'lutkit[cuda]'")

from numba import cuda

# what a GPU does silently: floats may be anything
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")

DEPTHS = ("uint8", "uint16", "float32")
KINDS = list(itertools.product(DEPTHS, (3, 4)))
ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1, 1e-40, -1e-45, 1e30, -3e38, 0.5], np.float32)
"""What is no colour, what is hardly one, and the ends."""


def make_picture(depth, shape, seed=0):
    """Return a random picture; a fifth of the floats are odd."""
    random, dtype = np.random.default_rng(seed), np.dtype(depth)
    if dtype.kind == "f":
        picture = random.uniform(-0.2, 1.2, shape).astype(dtype)
        return np.where(random.random(shape) < 0.2, random.choice(ODD, shape), picture)
    picture = random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    picture[random.random(shape[:2]) < 0.2] = random.choice(np.array([0, np.iinfo(dtype).max], dtype))
    return picture


def make_bound(seed, grid):
    """Return a slice with a random grid and guide: curves of two entries, which have a way of their own, and of more."""
    random = np.random.default_rng(seed)
    count, entries, results = int(random.integers(1, 5)), int(random.choice([2, 3, 40])), int(random.choice([2, 9]))
    return BoundSlice(
        draw_guide(random, count, entries, results), random.normal(0.1, 0.5, (*grid, 12)).astype(np.float32)
    )


def expect_equal(bound, picture, place):
    """Fail unless the kernels slice, finish, and blend as it is defined; also where the picture is its own result."""
    from lutkit_runtime.kernels.cuda.bilateral import GuideOnDevice, SlicerOnDevice
    from lutkit_runtime.kernels.cuda.colour import make_like
    from lutkit_runtime.kernels.cuda.memory import Picture, Pool, upload

    colours, alpha = picture[..., :3], picture[..., 3:]
    sliced = bound.slice(colours, place)
    start = bound_base(colours)
    mixed = scale_to_depth(start + np.float32(0.7) * (sliced - start), picture.dtype)
    slicer = SlicerOnDevice(GuideOnDevice(bound.guide), bound.grid)
    with Pool().session(0) as session:
        given = Picture(upload(picture), *picture.shape)

        def read(made):
            return made.flat[: picture.size].copy_to_host().reshape(picture.shape)

        expect_same(read(slicer.slice(session, given, place))[..., :3], sliced)
        out = make_like(session, given, picture.dtype)
        slicer.finish(session, given, place, out, 0.7)
        expect_same(read(out), np.concatenate([mixed, alpha], axis=-1))
        slicer.finish(session, given, place, given)
        expect_same(read(given), np.concatenate([bound.finish(colours, place), alpha], axis=-1))


sides = st.sampled_from((1, 1, 2, 3, 7))


@pytest.mark.parametrize(("depth", "channels"), KINDS)
@settings(max_examples=2)
@given(
    grid=st.tuples(sides, sides, sides),
    shape=st.sampled_from([(1, 1), (1, 2), (3, 5), (2, 4), (1, 11), (9, 3), (3, 16)]),
    around=st.tuples(*[st.integers(0, 9)] * 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_pieces_of_any_picture_on_any_grid(depth, channels, grid, shape, around, seed):
    above, below, left, right = around
    place = Place(above, left, above + shape[0] + below, left + shape[1] + right)
    expect_equal(make_bound(seed, grid), make_picture(depth, (*shape, channels), seed), place)


@pytest.mark.parametrize(("shape", "curves"), [((256, 1, 2), 2), ((1, 256, 2), 2), ((2, 2, 64), 2), ((2, 2, 2), 64)])
def test_the_largest_grids_and_guides(shape, curves):
    random = np.random.default_rng(0)
    bound = BoundSlice(draw_guide(random, curves, 4096, 4096), random.uniform(-1, 1, (*shape, 12)).astype(np.float32))
    expect_equal(bound, make_picture("uint16", (1, 3, 3)), Place(4, 20, 9, 64))


@pytest.mark.parametrize("channels", [3, 4])
def test_nothing_is_written_beyond_the_picture(channels):
    from lutkit_runtime.kernels.cuda.bilateral import GuideOnDevice, SlicerOnDevice
    from lutkit_runtime.kernels.cuda.memory import Picture, Pool, upload

    bound = make_bound(2, (3, 4, 5))
    for shape in ((1, 1), (1, 3), (2, 5), (3, 8)):
        picture = make_picture("uint8", (*shape, channels))
        room = upload(np.full(picture.size + 32, 77, np.uint8))
        given, out = Picture(upload(picture), *picture.shape), Picture(room, *picture.shape)
        with Pool().session(0) as session:
            SlicerOnDevice(GuideOnDevice(bound.guide), bound.grid).finish(session, given, Place(0, 0, *shape), out)
        found = room.copy_to_host()
        assert (found[picture.size :] == 77).all()
        expect_same(
            found[: picture.size].reshape(picture.shape)[..., :3], bound.finish(picture[..., :3], Place(0, 0, *shape))
        )


@settings(max_examples=4)
@given(drawn=bilateral_programs(), picture=pictures(largest=6), strength=st.sampled_from((0.0, 0.3, 1.0, 1.7)))
def test_any_program_gives_the_bytes_of_the_definition(drawn, picture, strength):
    model = Model(drawn.program, drawn.tables)
    expected = model.apply(picture, backend="numpy", strength=strength)
    expect_same(model.apply(picture, backend="cuda", strength=strength), expected)
    expect_same(model.apply(picture, backend="cuda", strength=strength, tile=4), expected)


@pytest.mark.parametrize(("depth", "channels"), [("uint8", 4), ("float32", 3)])
def test_images_on_the_gpu_and_strips_of_them(depth, channels, monkeypatch):
    from lutkit_runtime.engine import cuda_images

    artefact = make_bilateral(rows=4, columns=3, depth=5)
    model = Model(artefact.program, artefact.tables)
    wide = make_picture(depth, (11, 14, channels))
    picture = np.ascontiguousarray(wide[:, 1::2])
    expected = {strength: model.apply(picture, backend="numpy", strength=strength) for strength in (1.0, 0.4)}
    monkeypatch.setattr(cuda_images, "MOST_PIXELS", 30)  # three strips
    images = (cuda.to_device(picture), cuda.to_device(wide)[:, 1::2])
    for image, (strength, result) in zip(images, expected.items(), strict=True):
        expect_same(np.asarray(model.apply(image, strength=strength).copy_to_host()), result)


def test_places_are_uploaded_once_for_pictures_of_one_size():
    from lutkit_runtime.kernels.cuda.bilateral import GuideOnDevice

    guide = GuideOnDevice(draw_guide(np.random.default_rng(0), 3, 5, 2))
    first = guide.find_places(4, 3, Place(0, 0, 5, 6), 5, 6)
    assert guide.find_places(4, 3, Place(0, 0, 5, 6), 5, 6) is first
    assert guide.find_places(4, 3, Place(1, 0, 6, 6), 5, 6) is not first


def test_the_last_row_of_a_curve_is_where_its_last_step_leads():
    from lutkit_runtime.kernels.cuda.bilateral_guide import tabulate_steps

    curves = np.random.default_rng(0).uniform(-1, 1, (5, 40)).astype(np.float32)
    rows = tabulate_steps(curves)
    ends = np.concatenate([interpolate_curve(np.ones(1, np.float32), curve) for curve in curves.T])
    assert rows.shape == (40, 5, 2)
    assert rows[:, -1, 0].tobytes() == ends.tobytes()
    assert (ends != curves[-1]).any()
    assert not rows[:, -1, 1].any()


@given(
    nodes=st.integers(1, 256),
    first=st.integers(0, 3000),
    count=st.integers(1, 5000),
    rest=st.integers(0, 3000),
    longest=st.sampled_from((4, 60, 1024)),
)
def test_runs_cover_a_row_and_lie_within_a_cell(nodes, first, count, rest, longest):
    from lutkit_runtime.kernels.cuda import bilateral

    cells, _ = place_axis(nodes, first + count + rest, first, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bilateral, "LONGEST_RUN", longest)
        runs = bilateral.cut_runs(cells)
    found = np.concatenate([np.full(last - begin, cell) for cell, begin, last in runs])
    assert np.array_equal(found, cells)
    assert np.array_equal(runs[1:, 1], runs[:-1, 2])
    assert (runs[:, 2] - runs[:, 1]).max() <= longest


def test_blocks_have_room_and_little_to_wait_for():
    from lutkit_runtime.kernels.cuda.bilateral import choose_rows
    from lutkit_runtime.kernels.cuda.bilateral_cells import MOST_CELLS
    from lutkit_runtime.kernels.cuda.compiling import BLOCK

    for levels, quads in itertools.product(range(1, MOST_CELLS + 1), (1, 2, 15, 30, 60, 90, 256)):
        assert 1 <= choose_rows(levels, quads) * levels <= MOST_CELLS
    for quads in (30, 60):  # 1080 and 2160 rows, sixteen columns of eight levels
        work = choose_rows(7, quads) * quads
        assert work / (-(-work // BLOCK) * BLOCK) > 0.9


@pytest.fixture(scope="module")
def code():
    """PTX of the kernels by layout, for pictures of bytes."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "cuda_ptx.py"), "bilateral slice"],
        env={**os.environ, SIMULATOR: "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "NvvmSupportError" in done.stderr or "libNVVM" in done.stderr:
        pytest.skip("needs a CUDA toolkit: pip install 'numba-cuda[cu13]'")
    assert done.returncode == 0, done.stderr[-2000:]
    found = {name.removeprefix("bilateral slice, "): ptx for name, _, ptx in json.loads(done.stdout)}
    assert len(found) == 10
    return {layout: found[f"{layout} uint8 to uint8"] for layout in ("RGB", "RGBA")}


@pytest.mark.timeout(300)  # kernels are compiled first
@pytest.mark.parametrize(("layout", "accesses"), [("RGB", 3), ("RGBA", 4)])
def test_memory_is_reached_four_samples_at_a_time(layout, accesses, code):
    """What makes the kernels fast, as far as it can be seen in their code."""
    ptx = code[layout]
    assert ptx.count("ld.global.v4.u8") == ptx.count("st.global.v4.u8") == accesses
    # for each of three channels and four pixels the four parts of a cell; cells are joined with four stores
    assert ptx.count("ld.shared.v4.f32") == 48
    assert ptx.count("st.shared.v4.f32") == 4
    assert "ld.shared.f32" not in ptx
    # a node of a guide's curve and the step to the next are one access
    assert "ld.global.nc.v2.f32" in ptx
    assert "div.rn" not in ptx
    assert "cvt.sat.f32" in ptx
    assert ".local" not in ptx
