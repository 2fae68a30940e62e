"""Compiled colour lookup: the same bytes as the definition, whatever the picture; how its kernels are compiled."""

import itertools
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pytest
from fresh_python import run_python
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.kernels.cpu.colour import FEW_PIXELS, CompiledLooker
from lutkit_runtime.kernels.cpu.colour_lines import fit_lines
from lutkit_runtime.kernels.cpu.colour_places import CHUNK
from lutkit_runtime.ops.colour_lookup import BoundLookup, ColourLookup, Cube, Curves, Domain

TETRAHEDRAL, TRILINEAR = CubeInterpolation.TETRAHEDRAL, CubeInterpolation.TRILINEAR


@dataclass(frozen=True)
class Variant:
    """What decides which kernel is compiled."""

    dtype: str
    channels: int
    interpolation: CubeInterpolation | None = TETRAHEDRAL
    curved: bool = False
    arithmetic: Arithmetic = Arithmetic.FLOAT32

    def __str__(self) -> str:
        """Return the name of the test."""
        way = self.interpolation.value if self.interpolation else "no cube"
        return f"{self.dtype} {self.channels} {way}{' curves' if self.curved else ''} {self.arithmetic.value}"


PACKED = Arithmetic.PACKED
COMMON = (
    Variant("uint8", 3, arithmetic=PACKED),
    Variant("uint8", 4, arithmetic=PACKED),
    Variant("uint8", 3, curved=True, arithmetic=PACKED),
    Variant("uint16", 3),
    Variant("float32", 4),
    Variant("float32", 3, TRILINEAR, curved=True),
    Variant("uint8", 4, TRILINEAR),
    Variant("uint8", 3, None, curved=True),
    Variant("float32", 3, None, curved=True),
)
EVERY = [
    Variant(dtype, channels, interpolation, curved)
    for dtype, channels, interpolation, curved in itertools.product(
        ("uint8", "uint16", "float32"), (3, 4), (TETRAHEDRAL, TRILINEAR, None), (False, True)
    )
    if interpolation or curved
]

domains = st.sampled_from(
    [Domain(), Domain((-0.3, 0.0, 0.1), (1.0, 1.5, 0.8)), Domain((0.4, -3.0, 0.0), (0.5, 7.0, 1e-3))]
)


@st.composite
def lookups(draw: st.DrawFn, variant: Variant) -> BoundLookup:
    """Draw a lookup whose nodes may lie outside 0 to 1 where the arithmetic allows it."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = (0.0, 1.0) if variant.arithmetic is PACKED else (-0.5, 1.5)
    curves = cube = curve_values = nodes = None
    if variant.curved:
        entries = draw(st.integers(2, 40))
        curves = Curves("curves", entries, draw(domains))
        curve_values = random.uniform(-0.2, 1.2, (entries, 3)).astype(np.float32)
    if variant.interpolation:
        size = draw(st.integers(2, 12))
        stretch = draw(st.sampled_from([1.0, 1.000001, 1.001]))
        cube = Cube("cube", size, domain=draw(domains), interpolation=variant.interpolation, stretch=stretch)
        nodes = random.uniform(low, high, (size**3, 3)).astype(np.float32)
    op = ColourLookup(input="image", curves=curves, cube=cube, arithmetic=variant.arithmetic, output="result")
    op.validate()
    return BoundLookup(op, curve_values, nodes)


def make_picture(variant: Variant, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return a picture with ties and, in floats, with what is no colour."""
    random = np.random.default_rng(seed)
    dtype = np.dtype(variant.dtype)
    size = (*shape, variant.channels)
    if dtype.kind == "f":
        picture = random.uniform(-0.2, 1.2, size).astype(dtype)
        odd = random.choice(np.array([np.nan, np.inf, -np.inf, 0, 1, 0.5, 1e30, -0.0], dtype), size)
        picture = np.where(random.random(size) < 0.2, odd, picture)
    else:
        picture = random.integers(0, np.iinfo(dtype).max, size, dtype, endpoint=True)
    gray = random.random(shape) < 0.2
    picture[gray] = picture[gray][:, :1]
    return picture


def expect_equal(bound: BoundLookup, picture: np.ndarray, threads: int | None = None) -> None:
    """Fail unless both methods give the bytes of the definition."""
    looker = CompiledLooker(bound)
    out = np.empty_like(picture)
    looker.finish(picture, out, threads)
    assert out[..., :3].tobytes() == bound.finish(picture[..., :3]).tobytes()
    assert out[..., 3:].tobytes() == picture[..., 3:].tobytes()
    values = looker.look_up(picture, threads)
    assert values.dtype == np.float32
    assert values.tobytes() == bound.look_up(picture[..., :3]).tobytes()


@pytest.mark.parametrize("variant", COMMON, ids=str)
@settings(max_examples=25)
@given(
    data=st.data(),
    shape=st.sampled_from([(1, 1), (1, 2), (3, 5), (1, CHUNK), (2, CHUNK // 2 + 1), (5, 130), (70, 120)]),
    seed=st.integers(0, 2**32 - 1),
    threads=st.sampled_from([None, 1, 2]),
)
def test_equals_the_definition(
    variant: Variant, data: st.DataObject, shape: tuple[int, int], seed: int, threads: int | None
) -> None:
    expect_equal(data.draw(lookups(variant)), make_picture(variant, shape, seed), threads)


@pytest.mark.slow
@pytest.mark.parametrize("variant", EVERY, ids=str)
@settings(max_examples=10)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_every_kernel_equals_the_definition(variant: Variant, data: st.DataObject, seed: int) -> None:
    """Slow because every variant is a kernel to compile, or two."""
    for shape in ((2, 3), (90, 100)):
        expect_equal(data.draw(lookups(variant)), make_picture(variant, shape, seed))


@pytest.mark.parametrize("arithmetic", Arithmetic)
@pytest.mark.parametrize("size", [2, 33, 129])
def test_smallest_and_largest_cubes(arithmetic: Arithmetic, size: int) -> None:
    """All nodes 1 fill every bit of the packed sums; the largest cube has the largest rows and strides."""
    random = np.random.default_rng(size)
    op = ColourLookup(input="image", cube=Cube("cube", size), arithmetic=arithmetic, output="result")
    picture = random.integers(0, 256, (64, 64, 3), np.uint8)
    picture[:, :9] = random.choice(np.array([0, 1, 254, 255], np.uint8), (64, 9, 3))
    for nodes in (np.ones((size**3, 3), np.float32), random.random((size**3, 3), np.float32)):
        expect_equal(BoundLookup(op, None, nodes), picture)


def test_a_16_bit_picture_with_curves_by_table_and_without() -> None:
    variant = Variant("uint16", 3, curved=True)
    random = np.random.default_rng(1)
    op = ColourLookup(input="image", curves=Curves("curves", 300), cube=Cube("cube", 5), output="result")
    values, nodes = random.random((300, 3), np.float32), random.random((125, 3), np.float32)
    for pixels in (FEW_PIXELS - 1, FEW_PIXELS):
        expect_equal(BoundLookup(op, values, nodes), make_picture(variant, (1, pixels), pixels))


def make_bound(arithmetic: Arithmetic = Arithmetic.FLOAT32) -> BoundLookup:
    op = ColourLookup(input="image", cube=Cube("cube", 5), arithmetic=arithmetic, output="result")
    return BoundLookup(op, None, np.random.default_rng(3).random((125, 3), np.float32))


@pytest.mark.parametrize("variant", COMMON[:5], ids=str)
def test_pictures_in_any_layout(variant: Variant) -> None:
    bound = make_bound(variant.arithmetic)
    looker = CompiledLooker(bound)
    whole = make_picture(variant, (24, 40), 5)
    for picture in (whole[::2, 3:-1], whole[::-1, ::-3], whole.transpose(1, 0, 2), np.asfortranarray(whole)):
        expect_equal(bound, picture)
        outs = [np.zeros((*picture.shape[:2], 7), picture.dtype)[..., 1 : 1 + picture.shape[2]], picture.copy()]
        for out in outs:
            looker.finish(outs[1] if out is outs[1] else picture, out)
            assert out[..., :3].tobytes() == bound.finish(picture[..., :3]).tobytes()
            assert out[..., 3:].tobytes() == picture[..., 3:].tobytes()


@pytest.mark.parametrize("variant", COMMON[:5], ids=str)
@pytest.mark.parametrize("pixels", [1, CHUNK - 1, CHUNK, 3 * CHUNK + 1])
def test_nothing_is_written_beyond_the_picture(variant: Variant, pixels: int) -> None:
    """The kernels write four samples for a pixel of three."""
    picture = make_picture(variant, (1, pixels), pixels)
    room = np.full(picture.size + 16, 77, picture.dtype)
    out = room[8:-8].reshape(picture.shape)
    CompiledLooker(make_bound(variant.arithmetic)).finish(picture, out, 2)
    assert (room[:8] == 77).all()
    assert (room[-8:] == 77).all()


def test_a_picture_without_pixels() -> None:
    empty = np.empty((0, 4, 3), np.uint16)
    looker = CompiledLooker(make_bound())
    looker.finish(empty, empty.copy())
    assert looker.look_up(empty).shape == (0, 4, 3)


@pytest.mark.parametrize("arithmetic", Arithmetic)
def test_curves_that_are_no_numbers_stay_inside_the_cube(arithmetic: Arithmetic) -> None:
    op = ColourLookup(
        input="image", curves=Curves("curves", 4), cube=Cube("cube", 5), arithmetic=arithmetic, output="result"
    )
    values = np.array([[np.nan, np.inf, 0], [0, -np.inf, 1], [np.inf, 1, np.nan], [1, 0, -np.inf]], np.float32)
    picture = np.arange(256, dtype=np.uint8)[:, None, None] * np.ones(3, np.uint8)
    out = np.empty_like(picture)
    with np.errstate(invalid="ignore"):
        CompiledLooker(BoundLookup(op, values, np.full((125, 3), 0.5, np.float32))).finish(picture, out)
    assert (out == 128).all()


def test_threads_are_limited_and_lookers_shared() -> None:
    bound = make_bound(PACKED)
    looker = CompiledLooker(bound)
    pictures = [make_picture(COMMON[0], (50, 60), seed) for seed in range(12)]
    before = numba.get_num_threads()

    def finish(picture: np.ndarray) -> bytes:
        out = np.empty_like(picture)
        looker.finish(picture, out, 2)
        return out.tobytes()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(finish, pictures))
    assert results == [bound.finish(picture).tobytes() for picture in pictures]
    assert numba.get_num_threads() == before


@pytest.mark.parametrize("stretch", [1.0, 1.000001, 1.001])
def test_lines_give_exactly_the_positions_of_every_size(stretch: float) -> None:
    codes = np.arange(256)[:, None].astype(np.int32)
    for size in range(2, 130):
        op = ColourLookup(input="image", cube=Cube("cube", size, stretch=stretch), output="result")
        cells, fractions = BoundLookup(op, None, np.zeros((size**3, 3), np.float32)).split_codes()
        positions, last = cells * 512 + fractions, (size - 1) * 512
        lines = fit_lines(positions, last)
        assert lines is not None
        factors, addends, shift = np.array(lines[:3]), np.array(lines[3:6]), lines[6]
        assert factors.dtype == addends.dtype == np.int32
        np.testing.assert_array_equal((codes * factors + addends >> shift).clip(0, last), positions)


def test_no_lines_where_there_are_none() -> None:
    ramp = np.repeat(np.arange(256)[:, None] * 4, 3, axis=1)
    assert fit_lines(ramp, 1020) is not None
    bent = ramp.copy()
    bent[100, 1] += 9
    assert fit_lines(bent, 1020) is None
    assert fit_lines(np.where(ramp < 500, 0, 1020), 1020) is None


PREPARE = """
import itertools
import numpy as np
from lutkit_runtime.cube import Arithmetic, CubeInterpolation
from lutkit_runtime.kernels.cpu import colour_curves, colour_float, colour_packed
from lutkit_runtime.kernels.cpu.colour import CompiledLooker
from lutkit_runtime.ops.colour_lookup import BoundLookup, ColourLookup, Cube, Curves
random = np.random.default_rng(0)
nodes, values = random.random((27, 3), np.float32), random.random((9, 3), np.float32)
def bind(arithmetic, interpolation=CubeInterpolation.TETRAHEDRAL, curved=False):
    curves = Curves('curves', 9) if curved else None
    cube = Cube('cube', 3, interpolation=interpolation) if interpolation else None
    op = ColourLookup(input='image', curves=curves, cube=cube, arithmetic=arithmetic, output='result')
    return BoundLookup(op, values if curved else None, nodes if interpolation else None)
def equals(bound, picture):
    out = np.empty_like(picture)
    looker = CompiledLooker(bound)
    looker.finish(picture, out)
    same = np.array_equal(out[..., :3], bound.finish(picture[..., :3])) and np.array_equal(out[..., 3:], picture[..., 3:])
    return same and np.array_equal(looker.look_up(picture), bound.look_up(picture[..., :3]))
"""


def test_kernels_in_plain_python_stay_inside_their_arrays() -> None:
    """Without compilation every index is checked, and integers that wrap around warn."""
    code = PREPARE + (
        "import warnings; warnings.simplefilter('error')\n"
        "import lutkit_runtime.kernels.cpu.colour as colour; colour.FEW_PIXELS = 0\n"
        "assert not hasattr(colour_float.mix_colours, 'signatures')\n"
        "ways = (*CubeInterpolation, None)\n"
        "for way, curved, channels, depth in itertools.product(ways, (0, 1), (3, 4), ('u1', 'u2', 'f4')):\n"
        "    picture = random.random((3, 4, channels), np.float32) * 1.2 - 0.1\n"
        "    picture[0] = [[0] * channels, [1] * channels, [0.5] * channels, [1, 0, 1, 0][:channels]]\n"
        "    if depth != 'f4': picture = (picture.clip(0, 1) * np.iinfo(depth).max).astype(depth)\n"
        "    if way or curved:\n"
        "        assert equals(bind(Arithmetic.FLOAT32, way, curved), picture), (way, curved, channels, depth)\n"
        "    if way is CubeInterpolation.TETRAHEDRAL:\n"
        "        assert equals(bind(Arithmetic.PACKED, way, curved), picture), ('packed', curved, channels, depth)\n"
        "print('done')"
    )
    assert run_python(code, NUMBA_DISABLE_JIT="1").split() == ["done"]


def test_first_run_announces_its_compilation_and_the_second_loads(tmp_path: Path) -> None:
    code = PREPARE + (
        "from lutkit_runtime.kernels.cpu.compiling import announce_compilation\n"
        "calls = []\n"
        "import re\n"
        "picture = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)\n"
        "out = np.empty_like(picture)\n"
        "with announce_compilation(lambda: calls.append(1)):\n"
        "    CompiledLooker(bind(Arithmetic.PACKED)).finish(picture, out)\n"
        "    CompiledLooker(bind(Arithmetic.FLOAT32)).finish(picture, out)\n"
        "packed = ''.join(colour_packed.sum_colours.inspect_asm().values())\n"
        "mixed = ''.join(colour_float.mix_colours.inspect_asm().values())\n"
        "print(len(calls), 'pmaddwd' in packed, 'pmaxsd' in packed, 'gather' in packed, 'gather' in mixed,\n"
        "      'mulps' in mixed, 'cvttps2dq' in mixed, bool(re.search(r'\\bi?div[bwlq]?\\s', packed + mixed)))"
    )
    first = run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).split()
    assert first[0] == "1"
    if platform.machine() in ("x86_64", "AMD64"):
        # products in pairs; minima and maxima of many pixels at once; no gathers, which many processors are slow at;
        # whole rows of floats, and positions of many pixels at once; integers are divided nowhere
        assert first[1:] == ["True", "True", "False", "False", "True", "True", "False"]
    assert list(tmp_path.rglob("*.nbc"))
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).split()[0] == "0"
