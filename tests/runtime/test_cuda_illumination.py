"""Illumination, and what stands beside pictures, on GPUs; in Numba's simulator where there is no GPU."""

import itertools

import numpy as np
import pytest
from colour_models import expect_same
from illumination_models import make_compiled, make_exact, make_guided, make_lit

from lutkit_runtime.engine import Model
from lutkit_runtime.engine.colour import ColoursOnHost
from lutkit_runtime.errors import InputError
from lutkit_runtime.ops import Illuminate

pytest.importorskip("numba_cuda", reason="needs numba-cuda: pip install 'lutkit[cuda]'")

from numba import cuda

# what a GPU does silently: floats may be anything
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")

ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1, 1e-40, -1e-45, 3e38, -3e38, 1.0000001, 0.5], np.float32)


def make_picture(depth, shape, seed=0):
    """Return a random picture; a third of the floats are odd."""
    random = np.random.default_rng(seed)
    if depth != "float32":
        return random.integers(0, np.iinfo(depth).max, shape, depth, endpoint=True)
    picture = random.uniform(-0.2, 1.2, shape).astype(depth)
    return np.where(random.random(shape) < 0.3, random.choice(ODD, shape), picture)


def on_host(array):
    return np.asarray(array.copy_to_host())


@pytest.mark.parametrize(("is_root", "channels"), list(itertools.product((False, True), (3, 4))))
def test_the_kernel_gives_the_bytes_of_the_definition(is_root, channels):
    from lutkit_runtime.kernels.cuda.illumination import LightOnDevice
    from lutkit_runtime.kernels.cuda.memory import Picture, Pool, upload

    for gamma, shape in ((0.2, (5, 7)), (0.0, (1, 1)), (1.0, (2, 3))):
        op = Illuminate(reflectance="given", illumination="light", gamma="gamma", is_root=is_root, output="lit")
        bound = op.bind(gamma)
        given, light = (make_picture("float32", (*shape, channels), seed) for seed in (1, 2))
        with Pool().session(0) as session:
            held = [Picture(upload(each), *each.shape) for each in (given, light)]
            made = LightOnDevice(bound).illuminate(session, *held)
            found = made.flat[: given.size].copy_to_host().reshape(given.shape)
        expect_same(found[..., :3], bound.illuminate(given[..., :3], light[..., :3]))
        assert np.array_equal(found[..., 3:], given[..., 3:], equal_nan=True)


MODELS = {
    "of grids": (make_compiled(), {"gamma": 0.3, "strength": 0.6}),
    "of itself": (make_lit(is_root=True), {"gamma": 0.6}),
    "of a network": (make_exact(), {"gamma": 0.2}),
    "of a network that sees all": (make_exact(None), {"gamma": 0.2, "strength": 0.4}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("depth", "channels"), [("uint8", 4), ("uint16", 3), ("float32", 3)])
def test_models_give_the_bytes_of_the_definition_wherever_the_picture_lies(name, depth, channels):
    artefact, given = MODELS[name]
    model = Model(artefact.program, artefact.tables)
    picture = make_picture(depth, (3, 7, channels))
    expected = model.apply(picture, backend="numpy", **given)
    expect_same(model.apply(picture, backend="cuda", **given), expected)
    wide = cuda.to_device(np.repeat(picture, 2, axis=1))
    out = cuda.device_array(picture.shape, picture.dtype)
    assert model.apply(wide[:, ::2], out=out, **given) is out
    expect_same(on_host(out), expected)


def test_networks_that_see_every_pixel_run_on_the_host():
    artefact, _ = MODELS["of a network"]
    model = Model(artefact.program, artefact.tables)
    model.prepare("cuda")
    assert isinstance(model._colour_runners["cuda"], ColoursOnHost)
    seen = []
    image = cuda.to_device(make_picture("uint8", (5, 7, 3)))
    model.apply(image, tile=4, progress=lambda done, tiles: seen.append((done, tiles)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(InputError, match="the model changes colours"):
        model.apply(cuda.to_device(make_picture("uint8", (5, 7))))


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_stands_beside_a_picture_may_lie_on_the_gpu(on_gpu):
    artefact = make_guided()
    model = Model(artefact.program, artefact.tables)
    picture, depth = make_picture("uint8", (3, 5, 3)), make_picture("uint16", (3, 5), seed=1)
    expected = model.apply(picture, backend="numpy", depth=depth)
    assert not np.array_equal(expected, model.apply(picture, backend="numpy", depth=depth // 2))
    expect_same(model.apply(picture, backend="cuda", depth=depth), expected)
    wide = np.repeat(depth, 2, axis=1)
    beside = cuda.to_device(wide)[:, ::2] if on_gpu else depth
    expect_same(on_host(model.apply(cuda.to_device(picture), depth=beside)), expected)
    with pytest.raises(InputError, match="needs depth beside the image"):
        model.apply(cuda.to_device(picture))
    smaller = cuda.to_device(wide)[:2, ::2] if on_gpu else depth[:2]
    with pytest.raises(InputError, match="5x2 pixels and the image 5x3"):
        model.apply(cuda.to_device(picture), depth=smaller)
    wrong = depth.astype(np.float64)
    with pytest.raises(InputError, match="depth has samples of type float64"):
        model.apply(cuda.to_device(picture), depth=cuda.to_device(wrong) if on_gpu else wrong)
