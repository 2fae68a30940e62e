"""Illumination: laws of the power, how far its table is from it, and the same bytes however it runs."""

import itertools

import numpy as np
import pytest
from colour_models import expect_same, make_program
from hypothesis import given, settings
from hypothesis import strategies as st
from illumination_models import GAMMA, make_compiled, make_exact

from lutkit_runtime.cube import scale_to_depth
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.kernels.cpu.illumination import CHUNK, illuminate_pictures
from lutkit_runtime.ops import ColourMatrix, Illuminate
from lutkit_runtime.ops.illuminate import ENTRIES

ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1, 1e-40, -1e-45, 3e38, -3e38, 1.0000001, 0.5], np.float32)

gammas = st.one_of(st.sampled_from((0.0, 0.05, 0.2, 0.25, 1.0)), st.floats(0, 1))


def make_op(*, is_root=False):
    return Illuminate(reflectance="reflectance", illumination="light", gamma="gamma", is_root=is_root, output="lit")


def raise_light(light, gamma):
    """Return the power of illuminations, as a white reflectance shows it."""
    light = np.asarray(light, np.float32).reshape(1, -1)
    pictures = np.ones((*light.shape, 3), np.float32), np.repeat(light[..., None], 3, axis=2)
    return make_op().bind(gamma).illuminate(*pictures)[0, :, 0]


def draw_pictures(seed, shape):
    """Return a reflectance and an illumination, of which a third is odd."""
    random = np.random.default_rng(seed)
    made = random.uniform(-0.2, 1.4, (2, *shape, 3)).astype(np.float32)
    return np.where(random.random(made.shape) < 0.3, random.choice(ODD, made.shape), made)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_power_of_0_leaves_the_reflectance(seed):
    reflectance, light = np.random.default_rng(seed).normal(0, 9, (2, 3, 5, 3)).astype(np.float32)
    assert make_op().bind(0.0).illuminate(reflectance, light).tobytes() == reflectance.tobytes()


def test_a_power_of_1_multiplies():
    light = np.random.default_rng(0).random(200_000, np.float32)
    assert np.abs(raise_light(light, 1.0) - light.astype(np.float64)).max() < 5e-7


@given(gamma=st.floats(0.05, 1), seed=st.integers(0, 2**32 - 1))
def test_the_table_is_close_to_the_power(gamma, seed):
    """As the op's description says."""
    for darkest, bound in ((-16, 1e-6), (-32, 3e-5)):
        exponents = np.random.default_rng(seed).uniform(darkest, 0, 3000)
        light = np.concatenate([np.exp2(exponents), [2.0**darkest, 1.0]]).astype(np.float32)
        assert np.abs(raise_light(light, gamma) - light.astype(np.float64) ** gamma).max() < bound


@pytest.mark.parametrize("gamma", [0.01, 0.05, 0.2, 0.25, 0.4545, 1.0])
def test_more_light_is_never_darker(gamma):
    """Around every entry of the table, where one line ends and the next begins."""
    borders = np.arange(ENTRIES, dtype=np.float32) / np.float32(ENTRIES - 1)
    below, above = np.nextafter(borders, np.float32(0)), np.nextafter(borders, np.float32(2))
    roots = np.sort(np.concatenate([below, borders, above, np.random.default_rng(0).random(9999, np.float32)]))
    roots = np.repeat(roots[None, :, None], 3, axis=2)
    lit = make_op(is_root=True).bind(gamma).illuminate(np.ones_like(roots), roots)[0, :, 0]
    assert (np.diff(lit) >= 0).all()
    assert lit[-1] == 1


@given(seed=st.integers(0, 2**32 - 1), gamma=gammas)
def test_a_fourth_root_may_be_given_instead(seed, gamma):
    reflectance, light = draw_pictures(seed, (3, 5))
    with np.errstate(invalid="ignore"):
        root = np.sqrt(np.sqrt(np.nan_to_num(light).clip(0, None)))
        expected = make_op().bind(gamma).illuminate(reflectance, light)
        # only the first channel counts
        root[..., 1:] = np.nan
        found = make_op(is_root=True).bind(gamma).illuminate(reflectance, root)
    expect_same(found, expected)


def test_light_is_kept_within_0_and_1():
    outside, inside = [np.nan, -np.inf, -0.5, -0.0, 1.5, np.inf], [0, 0, 0, 0, 1, 1]
    for gamma in (0.0, 0.3, 1.0):
        assert raise_light(outside, gamma).tolist() == raise_light(inside, gamma).tolist()
    assert make_op().bind(-3.0).table.tolist() == [1.0] * ENTRIES


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    gamma=gammas,
    is_root=st.booleans(),
    shape=st.sampled_from([(1, 1), (1, 3), (5, 7), (9, 33)]),
    threads=st.sampled_from([None, 1]),
)
def test_compiled_code_gives_the_bytes_of_the_definition(seed, gamma, is_root, shape, threads):
    bound = make_op(is_root=is_root).bind(gamma)
    reflectance, light = draw_pictures(seed, shape)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = bound.illuminate(reflectance, light)
    expect_same(illuminate_pictures(bound, reflectance, light, threads), expected)


def test_every_pixel_of_every_chunk_is_lit_whatever_the_order_in_memory():
    bound = make_op().bind(0.3)
    reflectance, light = np.random.default_rng(0).random((2, 3, CHUNK // 2 + 1, 3), np.float32)
    expected = bound.illuminate(reflectance, light)
    assert illuminate_pictures(bound, reflectance, light).tobytes() == expected.tobytes()
    light = np.asfortranarray(light)
    reflectance.flags.writeable = False
    assert illuminate_pictures(bound, reflectance, light).tobytes() == expected.tobytes()


MODELS = {"of grids": make_compiled(), "of a network": make_exact(), "of a network that sees all": make_exact(None)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("depth", "channels"), [("uint8", 3), ("uint16", 4), ("float32", 3)])
def test_models_give_the_same_bytes_however_they_run(name, depth, channels):
    model = Model(MODELS[name].program, MODELS[name].tables)
    random = np.random.default_rng(1)
    picture = scale_to_depth(random.random((13, 17, channels), np.float32), np.dtype(depth))
    for gamma, strength in ((0.2, 1.0), (0.6, 0.5)):
        given = {"gamma": gamma, "strength": strength}
        expected = model.apply(picture, backend="numpy", **given)
        assert expected.tobytes() != picture.tobytes()
        for threads, tile in ((1, None), (2, 9), (None, 12)):
            found = model.apply(picture, backend="cpu", threads=threads, tile=tile, **given)
            assert found.tobytes() == expected.tobytes()
        assert model.apply(picture, backend="numpy", tile=6, **given).tobytes() == expected.tobytes()


def test_darker_powers_make_darker_pictures():
    model = Model(MODELS["of grids"].program, MODELS["of grids"].tables)
    picture = np.random.default_rng(2).random((6, 7, 3), np.float32)
    lit = [model.apply(picture, backend="cpu", gamma=gamma) for gamma in (0.0, 0.1, 0.5, 1.0)]
    for brighter, darker in itertools.pairwise(lit):
        assert (np.abs(darker) <= np.abs(brighter) + 1e-6).all()
    assert np.abs(lit[0] - lit[-1]).max() > 0.01


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_the_picture_itself_may_be_lit_or_light(depth, backend):
    matrix = ColourMatrix(input="image", matrix=((0.5, 0, 0.4), (0, 1, 0), (0, 0, 1)), output="mixed")
    picture = scale_to_depth(np.random.default_rng(3).random((5, 6, 4), np.float32), np.dtype(depth))
    unit = picture if depth == "float32" else picture.astype(np.float32) / np.float32(np.iinfo(depth).max)
    for reflectance, illumination in (("image", "mixed"), ("mixed", "image")):
        op = Illuminate(reflectance=reflectance, illumination=illumination, gamma="gamma", output="lit")
        model = Model(make_program(matrix, op, parameters=(GAMMA,)), {})
        planes = {"image": unit[..., :3], "mixed": matrix.transform(unit[..., :3]), "gamma": 0.4}
        found = model.apply(picture, backend=backend, gamma=0.4)
        assert found[..., :3].tobytes() == scale_to_depth(op.reference(planes, {}), picture.dtype).tobytes()
        assert found[..., 3].tobytes() == picture[..., 3].tobytes()


def test_nothing_lights_itself():
    op = Illuminate(reflectance="image", illumination="image", gamma="gamma", output="lit")
    with pytest.raises(ProgramError, match="lights 'image' with itself"):
        Model(make_program(op, parameters=(GAMMA,)), {})
