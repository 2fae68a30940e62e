"""The ops on colours, each against what it is in other words: published formulas, float64, NumPy."""

import msgspec
import numpy as np
import pytest
from colour_models import TETRAHEDRAL, TRILINEAR, identity_nodes, make_look
from hypothesis import given, settings
from hypothesis import strategies as st

from lutkit.colour.lut import Cube as CubeValues
from lutkit.colour.lut import Curves as CurveValues
from lutkit_runtime.cube import Arithmetic, CubeInterpolation, fits_packed, pack_nodes, scale_to_depth
from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.ops import Blend, ColourLookup, ColourMatrix, TableFusion
from lutkit_runtime.ops.blend import to_unit
from lutkit_runtime.ops.colour_lookup import Cube, Curves, Domain
from lutkit_runtime.ops.table_fusion import BasisTable
from lutkit_runtime.table_coding import Storage, TableCoding, encode_table

seeds = st.integers(0, 2**32 - 1)


def make_colours(seed: int, count: int = 300) -> np.ndarray:
    """Return colours (1, count, 3), a part of them on nodes, ties and outside of 0 to 1."""
    random = np.random.default_rng(seed)
    colours = random.uniform(-0.3, 1.3, (1, count, 3)).astype(np.float32)
    colours[0, :50] = random.choice(np.array([0, 0.25, 0.5, 1, 2, -1], np.float32), (50, 3))
    colours[0, 50:80] = colours[0, 50:80, :1]
    return colours


def look_up(colours, nodes, size, **fields) -> np.ndarray:
    op = ColourLookup(input="image", cube=Cube("cube", size, **fields), output="result")
    op.validate()
    return op.reference({"image": colours}, {"cube": nodes})


@settings(max_examples=60)
@given(seeds, st.integers(2, 17), st.sampled_from(CubeInterpolation))
def test_cubes_meet_a_sum_over_nodes_in_float64(seed, size, way):
    random = np.random.default_rng(seed)
    nodes = random.uniform(-0.5, 1.5, (size**3, 3)).astype(np.float32)
    low, high = (-0.2, 0.0, 0.1), (1.0, 1.5, 0.9)
    colours = make_colours(seed)
    expected = CubeValues(nodes.reshape(size, size, size, 3), low, high).evaluate(colours, way)
    found = look_up(colours, nodes, size, domain=Domain(low, high), interpolation=way)
    # the position is rounded to float32, so a steep cube moves by its slope times that
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * size)


@settings(max_examples=40)
@given(seeds, st.integers(2, 400))
def test_curves_meet_numpys_interpolation(seed, entries):
    random = np.random.default_rng(seed)
    values = random.uniform(-0.5, 1.5, (entries, 3)).astype(np.float32)
    low, high = (-0.2, 0.0, 0.1), (1.0, 1.5, 0.9)
    colours = make_colours(seed)
    op = ColourLookup(input="image", curves=Curves("curves", entries, Domain(low, high)), output="result")
    found = op.reference({"image": colours}, {"curves": values})
    for channel in range(3):
        nodes = np.linspace(low[channel], high[channel], entries)
        expected = np.interp(colours[..., channel].astype(np.float64), nodes, values[:, channel].astype(np.float64))
        np.testing.assert_allclose(found[..., channel], expected, rtol=0, atol=1e-6 * entries)
    assert CurveValues(values, low, high).evaluate(colours).shape == colours.shape


@settings(max_examples=40)
@given(seeds, st.integers(2, 9), st.sampled_from(CubeInterpolation))
def test_colours_on_nodes_are_the_nodes_and_others_lie_between(seed, size, way):
    nodes = np.random.default_rng(seed).uniform(0, 1, (size**3, 3)).astype(np.float32)
    on_nodes = look_up(identity_nodes(size)[None], nodes, size, interpolation=way)[0]
    np.testing.assert_allclose(on_nodes, nodes, rtol=0, atol=1e-6 * size)
    between = look_up(make_colours(seed), nodes, size, interpolation=way)
    assert between.min() >= nodes.min() - 1e-6
    assert between.max() <= nodes.max() + 1e-6


@settings(max_examples=40)
@given(seeds, st.sampled_from(CubeInterpolation), st.sampled_from((np.uint8, np.uint16)))
def test_integers_count_as_0_to_1(seed, way, dtype):
    nodes = np.random.default_rng(seed).uniform(0, 1, (125, 3)).astype(np.float32)
    peak = np.iinfo(dtype).max
    codes = np.random.default_rng(seed).integers(0, peak, (1, 200, 3), dtype, endpoint=True)
    floats = (codes / peak).astype(np.float32)
    expected = look_up(floats, nodes, 5, interpolation=way)
    np.testing.assert_allclose(look_up(codes, nodes, 5, interpolation=way), expected, rtol=0, atol=3e-6)


def publish_lookup(colours: np.ndarray, nodes: np.ndarray, size: int) -> np.ndarray:
    """Look colours (..., 3) within 0 and 1 up as the published kernel does (HuiZeng/Image-Adaptive-3DLUT), in float64."""
    binsize = 1.000001 / (size - 1)
    table = nodes.astype(np.float64).reshape(size, size, size, 3)
    result = np.zeros(colours.shape)
    for place in np.ndindex(colours.shape[:-1]):
        values = [float(value) for value in colours[place]]
        red, green, blue = (int(np.floor(value / binsize)) for value in values)
        parts = [np.fmod(value, binsize) / binsize for value in values]
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod([part if up else 1 - part for part, up in zip(parts, corner, strict=True)])
            result[place] += weight * table[blue + corner[2], green + corner[1], red + corner[0]]
    return result


def test_the_stretch_is_that_of_the_published_kernels():
    nodes = np.random.default_rng(0).uniform(-0.3, 1.3, (125, 3)).astype(np.float32)
    colours = np.random.default_rng(1).random((1, 400, 3), dtype=np.float32)
    colours[0, :8] = list(np.ndindex(2, 2, 2))
    colours[0, 8:12] = [[0.25, 0.5, 0.75]] * 4
    found = look_up(colours, nodes, 5, interpolation=TRILINEAR, stretch=1.000001)
    np.testing.assert_allclose(found, publish_lookup(colours, nodes, 5), rtol=0, atol=3e-6)
    plain = look_up(colours, nodes, 5, interpolation=TRILINEAR)
    assert 1e-7 < np.abs(plain - found).max() < 1e-5


@settings(max_examples=60)
@given(seeds, st.integers(2, 33))
def test_packed_integers_are_within_one_level_of_float64(seed, size):
    """Of smooth cubes nearly all results are equal; the bound of one level holds for any."""
    random = np.random.default_rng(seed)
    rough = random.uniform(0, 1, (size**3, 3)).astype(np.float32)
    smooth = identity_nodes(size) ** np.float32(0.8) * np.float32(0.9)
    codes = random.integers(0, 256, (1, 500, 3), dtype=np.uint8)
    for nodes, share in ((rough, 0.7), (smooth, 0.93 if size > 8 else 0.8)):
        op = ColourLookup(input="image", cube=Cube("cube", size), arithmetic=Arithmetic.PACKED, output="result")
        found = op.bind({}, {"cube": nodes}).finish(codes)
        exact = CubeValues(nodes.reshape(size, size, size, 3)).evaluate(codes / 255)
        difference = np.abs(found - np.floor(exact * 255 + 0.5))
        assert difference.max() <= 1
        assert (difference == 0).mean() >= share


def test_lanes_of_packed_nodes_never_touch():
    words = pack_nodes(np.array([[1, 0, 1], [0, 1, 0]], np.float32))
    assert [int(word) for word in words] == [4080 | 4080 << 42, 4080 << 21]
    assert 4080 * 512 + (1 << 12) < 1 << 21
    assert 4080 * 512 // 255 == 1 << 13
    op = ColourLookup(input="image", cube=Cube("cube", 2), arithmetic=Arithmetic.PACKED, output="result")
    white = op.bind({}, {"cube": np.ones((8, 3), np.float32)})
    codes = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    assert (white.finish(codes) == 255).all()


def test_packed_curves_and_domains_go_into_the_positions():
    """An 8-bit gamma curve before an identity cube, over a domain wider than the samples."""
    curves = np.linspace(0, 1, 256)[:, None].repeat(3, axis=1).astype(np.float32) ** 2
    op = ColourLookup(
        input="image",
        curves=Curves("curves", 256),
        cube=Cube("cube", 2, domain=Domain((0.0,) * 3, (2.0,) * 3)),
        arithmetic=Arithmetic.PACKED,
        output="result",
    )
    codes = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    found = op.bind({}, {"curves": curves, "cube": identity_nodes(2)}).finish(codes)
    expected = np.floor((np.arange(256) / 255) ** 2 / 2 * 255 + 0.5)
    assert np.abs(found[0, :, 0] - expected).max() <= 1


@pytest.mark.parametrize("storage", [Storage.INT8, Storage.INT16])
def test_coded_nodes_lose_at_most_half_a_step(storage):
    nodes = np.random.default_rng(0).uniform(-0.4, 1.3, (1000, 3)).astype(np.float32)
    coding, codes = encode_table(nodes, storage)
    assert codes.dtype == storage.value
    assert {int(codes.min()), int(codes.max())} == {np.iinfo(codes.dtype).min, np.iinfo(codes.dtype).max}
    np.testing.assert_allclose(coding.decode(codes), nodes, rtol=0, atol=coding.step / 2 * 1.001 + 1e-7)
    flat, same = encode_table(np.full((8, 3), 0.3, np.float32), storage)
    assert (flat.decode(same) == np.float32(0.3)).all()


@settings(max_examples=40)
@given(seeds)
def test_matrices_meet_float64(seed):
    random = np.random.default_rng(seed)
    matrix, offset = random.uniform(-2, 2, (3, 3)), random.uniform(-1, 1, 3)
    op = ColourMatrix(
        input="image", matrix=tuple(tuple(map(float, row)) for row in matrix), offset=tuple(offset), output="result"
    )
    for colours in (make_colours(seed), random.integers(0, 65536, (4, 5, 3), dtype=np.uint16)):
        exact = to_unit(colours).astype(np.float64) @ matrix.T + offset
        np.testing.assert_allclose(op.reference({"image": colours}, {}), exact, rtol=0, atol=5e-6)


def test_a_blend_of_0_or_1_is_one_of_the_two_and_others_lie_between():
    op = Blend(base="a", changed="b", amount="strength", output="result")
    base, changed = np.array([[[0.1, 0.3, 0.7]]], np.float32), np.array([[[255, 0, 51]]], np.uint8)
    for amount, expected in ((0.0, base), (1.0, to_unit(changed)), (0.25, 0.75 * base + 0.25 * to_unit(changed))):
        found = op.reference({"a": base, "b": changed, "strength": amount}, {})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    tiny = np.array([[[1e-30, -0.0, 1e30]]], np.float32)
    assert op.mix(tiny, changed, 0.0).tobytes() == tiny.tobytes()


def test_fusion_is_the_weighted_sum_rounded_once():
    random = np.random.default_rng(0)
    tables = [random.uniform(-1, 1, (27, 3)).astype(np.float32) for _ in range(3)]
    bases = tuple(BasisTable(f"basis/{number}") for number in range(3))
    op = TableFusion(weights="weights", bases=bases, size=3, output="cube")
    weights = np.array([1.9, -0.35, -0.93], np.float32)
    fill = {f"basis/{number}": table for number, table in enumerate(tables)}
    exact = sum(np.float64(weight) * table.astype(np.float64) for weight, table in zip(weights, tables, strict=True))
    np.testing.assert_array_equal(op.reference({"weights": weights}, fill), exact.astype(np.float32))


def test_fusion_refuses_weights_that_overflow():
    op = TableFusion(weights="weights", bases=(BasisTable("a"),), size=2, output="cube")
    table = np.ones((8, 3), np.float32)
    with pytest.raises(ArtefactError, match=r"weights up to 3e\+38"):
        op.reference({"weights": np.array([3e38], np.float32)}, {"a": table})


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_code_survives_float32(dtype):
    codes = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    np.testing.assert_array_equal(scale_to_depth(to_unit(codes), codes.dtype), codes)


def test_rounding_is_half_up_and_clips():
    values = np.array([-3, -1e-9, 0.5 / 255, 0.499 / 255, 1, 7], np.float32)
    assert scale_to_depth(values, np.dtype(np.uint8)).tolist() == [0, 0, 1, 0, 255, 255]
    floats = scale_to_depth(values, np.dtype(np.float32))
    np.testing.assert_array_equal(floats, values)


def test_only_nodes_within_0_and_1_fit_packed_integers():
    nodes = identity_nodes(3)
    assert fits_packed(nodes)
    assert not fits_packed(nodes - np.float32(1e-6))
    assert not fits_packed(nodes + np.float32(1e-6))


LOOKUP = ColourLookup(input="image", curves=Curves("curves", 5), cube=Cube("cube", 3), output="result")


def change(op, **parts):
    for name, value in parts.items():
        if isinstance(value, dict):
            parts[name] = msgspec.structs.replace(getattr(op, name), **value)
    return msgspec.structs.replace(op, **parts)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("op", "told"),
    [
        (change(LOOKUP, curves=None, cube=None), "neither curves nor a cube"),
        (change(LOOKUP, curves={"entries": 1}), "curves of 1 entries; 2 to 65536"),
        (change(LOOKUP, curves={"entries": 65537}), "65537 entries"),
        (change(LOOKUP, cube={"size": 1}), "1 nodes per axis; 2 to 129"),
        (change(LOOKUP, cube={"size": 130}), "130 nodes per axis"),
        (change(LOOKUP, cube={"stretch": 0.999}), "stretch 0.999"),
        (change(LOOKUP, cube={"stretch": NAN}), "stretch nan"),
        (change(LOOKUP, cube={"table": "curves"}), "'curves' for curves and cube"),
        (change(LOOKUP, cube={"domain": Domain((0, 0, 0), (1, 0, 1))}), "domain from 0 to 0"),
        (change(LOOKUP, cube={"domain": Domain((0, 0, NAN), (1, 1, 1))}), "domain from nan"),
        (change(LOOKUP, curves={"domain": Domain((0, 0, 0), (1, INF, 1))}), "domain from 0 to inf"),
        (change(LOOKUP, curves={"domain": Domain((-1e31, 0, 0), (1, 1, 1))}), "domain from -1e"),
        (change(LOOKUP, curves={"domain": Domain((0, 0, 0), (1, 1e-31, 1))}), "too narrow"),
        (change(LOOKUP, cube={"coding": TableCoding(Storage.INT8, 0.0, 0.0)}), "step 0.0"),
        (change(LOOKUP, cube={"coding": TableCoding(Storage.INT8, 0.0, NAN)}), "step nan"),
        (change(LOOKUP, curves={"coding": TableCoding(Storage.INT16, 1e31, 1.0)}), "offset 1e"),
        (
            change(LOOKUP, arithmetic=Arithmetic.PACKED, cube={"interpolation": TRILINEAR}),
            "packed arithmetic, which is for a stored cube with tetrahedral",
        ),
        (change(LOOKUP, arithmetic=Arithmetic.PACKED, cube={"fused": True}), "packed arithmetic"),
        (change(LOOKUP, arithmetic=Arithmetic.PACKED, cube=None), "packed arithmetic"),
        (ColourMatrix(input="a", matrix=((1, 0, 0), (0, NAN, 0), (0, 0, 1)), output="b"), "coefficient nan"),
        (ColourMatrix(input="a", matrix=((1, 0, 0),) * 3, offset=(0, 0, 1e7), output="b"), "coefficient 10000000"),
        (Blend(base="a", changed="a", amount="s", output="b"), "with itself"),
        (TableFusion(weights="w", bases=(), size=3, output="c"), "fuses 0 tables"),
        (TableFusion(weights="w", bases=(BasisTable("a"),) * 2, size=3, output="c"), "a basis table twice"),
        (TableFusion(weights="w", bases=(BasisTable("a"),), size=130, output="c"), "size 130"),
    ],
)
def test_impossible_fields_are_refused(op, told):
    with pytest.raises(ProgramError) as caught:
        op.validate()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_packed_arithmetic_refuses_nodes_that_it_cannot_hold():
    artefact = make_look(identity_nodes(3), TETRAHEDRAL, Arithmetic.PACKED)
    artefact.validate()
    for offset in (-0.5, 0.5):
        tables = {"cube": identity_nodes(3) + np.float32(offset)}
        with pytest.raises(ProgramError, match="packed arithmetic, which is for nodes within 0 and 1"):
            artefact.program.validate_tables(tables)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e31])
def test_tables_of_what_is_no_usable_number_are_refused(value):
    artefact = make_look(identity_nodes(3))
    nodes = identity_nodes(3)
    nodes[5, 1] = value
    with pytest.raises(ProgramError, match="slot 'cube' holds values that are not finite"):
        artefact.program.validate_tables({"cube": nodes})
