"""Compiled bilateral slices: the same bytes as the definition, whatever the picture, the piece of it and the threads."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bilateral_models import draw_guide
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.bilateral import Place
from lutkit_runtime.kernels.cpu.bilateral import CompiledSlicer
from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.ops.bilateral_slice import BoundSlice

HERE = Path(__file__).parent

ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1, 1e-40, -1e-45, 1e30, -3e38, 0.5], np.float32)
"""What is no colour, what is hardly one, and the ends."""


@dataclass(frozen=True)
class Variant:
    """What decides which kernel is compiled."""

    dtype: str
    channels: int

    def __str__(self) -> str:
        """Return the name of the test."""
        return f"{self.dtype} {self.channels}"


EVERY = [Variant(dtype, channels) for dtype, channels in itertools.product(("uint8", "uint16", "float32"), (3, 4))]
VARIANTS = pytest.mark.parametrize("variant", EVERY, ids=str)


def make_picture(variant: Variant, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return a random picture; a fifth of the floats are odd."""
    random, dtype, size = np.random.default_rng(seed), np.dtype(variant.dtype), (*shape, variant.channels)
    if dtype.kind == "f":
        picture = random.uniform(-0.2, 1.2, size).astype(dtype)
        return np.where(random.random(size) < 0.2, random.choice(ODD, size), picture)
    picture = random.integers(0, np.iinfo(dtype).max, size, dtype, endpoint=True)
    picture[random.random(shape) < 0.2] = random.choice(np.array([0, np.iinfo(dtype).max], dtype))
    return picture


def make_bound(seed: int, shape: tuple[int, int, int] = (4, 3, 5)) -> BoundSlice:
    """Return a slice with a random grid, whose values lie on both sides of 0, and a guide that reaches both ends."""
    random = np.random.default_rng(seed)
    count, entries, results = int(random.integers(1, 5)), int(random.choice([2, 3, 40])), int(random.choice([2, 9]))
    return BoundSlice(
        draw_guide(random, count, entries, results), random.normal(0.1, 0.5, (*shape, 12)).astype(np.float32)
    )


def expect_equal(bound: BoundSlice, picture: np.ndarray, place: Place, threads: int | None = None) -> None:
    """Fail unless both methods give the bytes of the definition, and alpha as it is."""
    slicer, colours = CompiledSlicer(bound), picture[..., :3]
    out = np.empty_like(picture)
    slicer.finish(picture, place, out, threads)
    expect_bytes(out[..., :3], bound.finish(colours, place))
    assert out[..., 3:].tobytes() == picture[..., 3:].tobytes()
    values = slicer.slice(picture, place, threads)
    assert values.dtype == np.float32
    expect_bytes(values, bound.slice(colours, place))


def expect_bytes(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


sides = st.sampled_from((1, 1, 2, 3, 7))


@VARIANTS
@settings(max_examples=40)
@given(
    grid=st.tuples(sides, sides, sides),
    shape=st.sampled_from([(1, 1), (1, 2), (3, 5), (1, CHUNK), (2, CHUNK + 1), (9, 2 * CHUNK + 3), (40, 17)]),
    around=st.tuples(*[st.integers(0, 9)] * 4),
    seed=st.integers(0, 2**32 - 1),
    threads=st.sampled_from([None, 1, 2, 3]),
)
def test_equals_the_definition(
    variant: Variant,
    grid: tuple[int, int, int],
    shape: tuple[int, int],
    around: tuple[int, int, int, int],
    seed: int,
    threads: int | None,
) -> None:
    """Pieces of a picture, with more of it on every side."""
    above, below, left, right = around
    place = Place(above, left, above + shape[0] + below, left + shape[1] + right)
    expect_equal(make_bound(seed, grid), make_picture(variant, shape, seed), place, threads)


@VARIANTS
def test_pieces_make_up_the_picture(variant: Variant) -> None:
    bound, picture = make_bound(5), make_picture(variant, (23, 31), 5)
    slicer = CompiledSlicer(bound)
    whole, pieces = np.empty_like(picture), np.empty_like(picture)
    slicer.finish(picture, Place(0, 0, 23, 31), whole)
    for top, left in itertools.product(range(0, 23, 6), range(0, 31, 9)):
        part = (slice(top, top + 6), slice(left, left + 9))
        slicer.finish(picture[part], Place(top, left, 23, 31), pieces[part], 2)
    expect_bytes(pieces, whole)


@VARIANTS
def test_pictures_in_any_layout_and_over_themselves(variant: Variant) -> None:
    bound = make_bound(1)
    slicer = CompiledSlicer(bound)
    whole = make_picture(variant, (24, 40), 5)
    for picture in (whole[::2, 3:-1], whole[::-1, ::-3], whole.transpose(1, 0, 2), np.asfortranarray(whole)):
        place = Place(0, 0, *picture.shape[:2])
        expect_equal(bound, picture, place)
        outs = [np.zeros((*picture.shape[:2], 7), picture.dtype)[..., 1 : 1 + picture.shape[2]], picture.copy()]
        for out in outs:
            slicer.finish(outs[1] if out is outs[1] else picture, place, out)
            expect_bytes(out[..., :3], bound.finish(picture[..., :3], place))
            assert out[..., 3:].tobytes() == picture[..., 3:].tobytes()


@VARIANTS
@pytest.mark.parametrize("shape", [(1, 1), (1, CHUNK - 1), (3, CHUNK), (2, 3 * CHUNK + 1)])
def test_nothing_is_written_beyond_the_picture(variant: Variant, shape: tuple[int, int]) -> None:
    """The kernel writes four samples for a pixel of three; rows belong to different threads."""
    picture = make_picture(variant, shape, shape[1])
    room = np.full(picture.size + 16, 77, picture.dtype)
    out = room[8:-8].reshape(picture.shape)
    CompiledSlicer(make_bound(2)).finish(picture, Place(0, 0, *shape), out, 2)
    assert (room[:8] == 77).all()
    assert (room[-8:] == 77).all()


def test_a_picture_that_may_not_be_written_is_read() -> None:
    picture = make_picture(EVERY[0], (5, 6), 0)
    picture.setflags(write=False)
    expect_equal(make_bound(3), picture, Place(0, 0, 5, 6))


def test_a_picture_without_pixels() -> None:
    empty = np.empty((0, 4, 3), np.uint16)
    slicer = CompiledSlicer(make_bound(0))
    slicer.finish(empty, Place(3, 0, 8, 4), empty.copy())
    assert slicer.slice(empty, Place(3, 0, 8, 4)).shape == (0, 4, 3)


def test_the_largest_grids_and_guides() -> None:
    random = np.random.default_rng(0)
    guide = draw_guide(random, 64, 4096, 4096)
    for shape in ((256, 1, 2), (1, 256, 2), (2, 2, 64)):
        bound = BoundSlice(guide, random.uniform(-1, 1, (*shape, 12)).astype(np.float32))
        expect_equal(bound, make_picture(EVERY[2], (5, 300), 1), Place(0, 0, 5, 300), 2)


def test_slicers_are_shared_by_threads() -> None:
    bound = make_bound(4)
    slicer, place = CompiledSlicer(bound), Place(0, 0, 50, 60)
    pictures = [make_picture(EVERY[0], (50, 60), seed) for seed in range(12)]

    def finish(picture: np.ndarray) -> bytes:
        out = np.empty_like(picture)
        slicer.finish(picture, place, out, 2)
        return out.tobytes()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(finish, pictures))
    assert results == [bound.finish(picture, place).tobytes() for picture in pictures]


PLAINLY = """
import itertools, warnings
warnings.simplefilter('error')
import numpy as np
import test_bilateral_kernel as tests
from lutkit_runtime.bilateral import Place
from lutkit_runtime.kernels.cpu import bilateral_lines
from lutkit_runtime.kernels.cpu.bilateral import CompiledSlicer
assert not hasattr(bilateral_lines.slice_colours, 'signatures')
for number, variant in enumerate(tests.EVERY):
    for shape, grid in (((3, 4), (3, 2, 4)), ((1, 5), (1, 1, 1)), ((2, 2), (1, 2, 3)), ((4, 1), (2, 1, 1))):
        picture = tests.make_picture(variant, shape, number)
        if variant.dtype == 'float32':  # the largest overflow into infinity here, and say so
            picture = np.nan_to_num(picture, nan=np.nan, posinf=2, neginf=-2).clip(-7, 7)
        place = Place(2, 1, shape[0] + 3, shape[1] + 2)
        tests.expect_equal(tests.make_bound(number, grid), picture, place, 1)
print('done')
"""


def test_the_kernel_in_plain_python_stays_inside_its_arrays() -> None:
    """Without compilation every index is checked, and integers that wrap around warn."""
    found = run_python(f"import sys; sys.path.insert(0, {str(HERE)!r})\n{PLAINLY}", NUMBA_DISABLE_JIT="1")
    assert found.split() == ["done"]
