"""Models of colours on pictures: every backend, tile and number of threads gives the bytes of the definition."""

import threading

import numpy as np
import pytest
from colour_models import (
    TETRAHEDRAL,
    TRILINEAR,
    FilledColours,
    colour_programs,
    expect_weights,
    identity_nodes,
    make_adaptive,
    make_chain,
    make_look,
    pictures,
)
from fast_backends import FAST_BACKENDS
from fresh_python import run_python
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lutkit_runtime.cube import Arithmetic
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import InputError, ProgramError
from lutkit_runtime.ops.predictor import sample_thumbnail

FAST = [name for name in FAST_BACKENDS if name != "numpy"]
DEPTHS = (np.uint8, np.uint16, np.float32)


def open_model(artefact) -> Model:
    return Model(artefact.program, artefact.tables)


def make_picture(dtype, height=7, width=9, channels=3, seed=0):
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.uniform(-0.2, 1.2, (height, width, channels)).astype(dtype)
    return random.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def evaluate_reference(model: Model, image, **parameters):
    """Evaluate op by op by the ops' own definitions, and bring the last float32 picture to the depth."""
    values = {"image": image[..., :3], **model.program.fill_parameters(parameters)}
    for op in model.program.ops:
        values[op.output] = op.reference(values, model.tables)
    return values[model.program.output]


@settings(max_examples=80)
@given(colour_programs(), pictures(), st.sampled_from((0.0, 0.3, 1.0, 1.7)), st.sampled_from((None, 2, 5)), st.data())
def test_backends_tiles_and_threads_change_no_byte(filled: FilledColours, image, strength, tile, data):
    model = Model(filled.program, filled.tables)
    if any(op.is_global for op in filled.program.ops):
        image = np.nan_to_num(image, nan=0.5, posinf=1.0, neginf=0.0)
    before = image.copy()
    expected = model.apply(image, backend="numpy", strength=strength)
    backend = data.draw(st.sampled_from(["numpy", *FAST]))
    found = model.apply(image, backend=backend, tile=tile, threads=data.draw(st.integers(1, 3)), strength=strength)
    assert found.dtype == image.dtype
    assert found.tobytes() == expected.tobytes()
    assert image.tobytes() == before.tobytes()
    if image.shape[2] == 4:
        assert found[..., 3].tobytes() == image[..., 3].tobytes()


@settings(max_examples=100)
@given(colour_programs(), pictures(), st.sampled_from((0.4, 1.0)))
def test_the_engine_computes_what_the_ops_define(filled: FilledColours, image, strength):
    """In float32 to the bit; integers are those floats rounded half up, within one level where the lookup is packed."""
    model = Model(filled.program, filled.tables)
    if any(op.is_global for op in filled.program.ops):
        image = np.nan_to_num(image, nan=0.5, posinf=1.0, neginf=0.0)
    with np.errstate(invalid="ignore"):
        floats = evaluate_reference(model, image, strength=strength)
    found = model.apply(image, backend="numpy", strength=strength)[..., :3]
    if image.dtype == np.float32:
        np.testing.assert_array_equal(found, floats)
        return
    peak = np.iinfo(image.dtype).max
    expected = np.floor((floats.astype(np.float64) * peak + 0.5).clip(0, peak))
    packed = any(getattr(op, "arithmetic", None) is Arithmetic.PACKED for op in filled.program.ops)
    assert np.abs(found - expected).max() <= 1
    if not packed:
        # float32 may round a product to the other side of a half, but only from nearby
        from_a_half = np.abs(np.modf(floats.astype(np.float64) * peak)[0] - 0.5)
        assert (found == expected)[from_a_half > peak * 2.0**-22].all()


@settings(max_examples=60)
@given(st.sampled_from((make_adaptive, make_chain)), pictures())
def test_strength_0_of_a_look_gives_the_input_back(make, image):
    model = open_model(make_look(1 - identity_nodes(4)) if make is make_chain else make())
    if make is make_adaptive:
        image = np.nan_to_num(image, nan=0.5, posinf=1.0, neginf=0.0)
    for backend in ("numpy", *FAST):
        assert model.apply(image, backend=backend, strength=0.0).tobytes() == image.tobytes()


@settings(max_examples=40)
@given(pictures(), st.sampled_from(Arithmetic))
def test_strength_1_is_no_strength_at_all(image, arithmetic):
    model = open_model(make_look(1 - identity_nodes(4), arithmetic=arithmetic))
    for backend in ("numpy", *FAST):
        whole = model.apply(image, backend=backend, strength=1.0)
        assert whole.tobytes() == model.apply(image, backend=backend).tobytes()


def test_half_the_strength_is_half_the_way():
    model = open_model(make_look(1 - identity_nodes(2)))
    image = np.full((1, 1, 3), 100, np.uint8)
    assert model.apply(image, backend="numpy")[0, 0].tolist() == [155] * 3
    assert model.apply(image, backend="numpy", strength=0.5)[0, 0].tolist() == [128] * 3
    assert model.apply(image, backend="numpy", strength=2.0)[0, 0].tolist() == [210] * 3


@settings(max_examples=80)
@given(st.integers(2, 40), pictures(), st.sampled_from((TRILINEAR, TETRAHEDRAL)), st.booleans())
@example(129, np.arange(255 * 3, dtype=np.uint8).reshape(15, 17, 3), TETRAHEDRAL, True)
@example(33, np.arange(65536, dtype=np.uint16)[:65535].reshape(-1, 257, 3), TRILINEAR, False)
def test_identity_cubes_of_any_size_change_nothing(size, image, interpolation, packed):
    arithmetic = Arithmetic.PACKED if packed and interpolation is TETRAHEDRAL else Arithmetic.FLOAT32
    model = open_model(make_look(identity_nodes(size), interpolation, arithmetic))
    for backend in ("numpy", *FAST):
        found = model.apply(image, backend=backend)
        if image.dtype == np.float32:
            inside = np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0)[..., :3].clip(0, 1)
            np.testing.assert_allclose(found[..., :3], inside, rtol=0, atol=3e-7)
        else:
            np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_gray_axes_stay_gray_under_a_tetrahedral_cube_of_grays(dtype):
    nodes = identity_nodes(5)
    nodes = np.repeat((nodes.mean(axis=1, keepdims=True)) ** 2, 3, axis=1)
    ramp = make_picture(dtype, 16, 16)[..., :1].repeat(3, axis=2)
    found = open_model(make_look(nodes)).apply(ramp, backend="numpy")
    assert (found[..., :1] == found).all()


def test_floats_keep_what_lies_outside_and_integers_clip():
    nodes = identity_nodes(2) * 2 - np.float32(0.5)
    model = open_model(make_look(nodes))
    floats = np.array([[[0, 0.5, 1]]], np.float32)
    assert model.apply(floats, backend="numpy")[0, 0].tolist() == [-0.5, 0.5, 1.5]
    assert model.apply(np.array([[[0, 51, 255]]], np.uint8), backend="numpy")[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("backend", ["numpy", *FAST])
def test_what_is_no_number_counts_as_the_lowest_colour(backend):
    model = open_model(make_look(1 - identity_nodes(3)))
    image = np.array([[[np.nan, np.inf, -np.inf], [np.nan, 0.5, 1.0]]], np.float32)
    assert model.apply(image, backend=backend)[0].tolist() == [[1, 0, 1], [1, 0.5, 0]]


@pytest.mark.parametrize("backend", ["numpy", *FAST])
@pytest.mark.parametrize("dtype", DEPTHS)
def test_strided_pictures_and_other_byte_orders_are_read_by_value(backend, dtype):
    model = open_model(make_chain())
    image = make_picture(dtype, 8, 10, 4)
    expected = model.apply(image, backend="numpy")
    swapped = image.astype(image.dtype.newbyteorder())
    found = model.apply(swapped, backend=backend)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.apply(image[::-1, ::2], backend=backend), expected[::-1, ::2])
    planar = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    np.testing.assert_array_equal(model.apply(planar, backend=backend), expected)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2), (0, 5, 3), (4, 5, 5)])
def test_pictures_without_three_colours_are_refused(shape):
    with pytest.raises(InputError, match="image has shape"):
        open_model(make_chain()).apply(np.zeros(shape, np.uint8), backend="numpy")


def test_an_unknown_parameter_and_a_value_out_of_range_are_refused():
    model = open_model(make_look(identity_nodes(2)))
    image = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(ProgramError, match="no parameter 'gamma': it has strength"):
        model.apply(image, gamma=1.0)
    for value in (-0.1, 2.1, float("nan"), float("inf")):
        with pytest.raises(ProgramError, match=r"strength is .*; the model takes 0 to 2"):
            model.apply(image, strength=value)


def test_adapt_tells_what_the_model_makes_of_a_picture():
    artefact = make_adaptive()
    model = open_model(artefact)
    image = make_picture(np.uint8, 30, 50)
    found = model.adapt(image)
    assert found.keys() == {"weights", "cube"}
    weights = expect_weights(sample_thumbnail(image, 4))
    np.testing.assert_allclose(found["weights"], weights, atol=1e-6)
    bases = [
        basis.coding.decode(artefact.tables[basis.slot]).astype(np.float64) for basis in artefact.program.ops[1].bases
    ]
    np.testing.assert_allclose(found["cube"], weights[0] * bases[0] + weights[1] * bases[1], atol=2e-6)
    assert open_model(make_chain()).adapt(image) == {}
    with pytest.raises(InputError, match="use \\(H, W, 3\\)"):
        model.adapt(image[..., 0])


def test_a_crop_is_adapted_to_as_a_picture_of_its_own_and_a_tile_is_not():
    model = open_model(make_adaptive())
    image = make_picture(np.uint8, 40, 40)
    image[:20] //= 4
    whole = model.apply(image, backend="numpy", tile=7)
    np.testing.assert_array_equal(whole, model.apply(image, backend="numpy"))
    assert not np.array_equal(whole[:20], model.apply(image[:20], backend="numpy"))


def test_the_model_reports_its_tiles():
    told = []
    model = open_model(make_chain())
    model.apply(
        make_picture(np.uint8), backend="numpy", tile=4, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(number, 6) for number in range(1, 7)]


def test_a_model_may_be_used_from_several_threads():
    model = open_model(make_adaptive())
    images = [make_picture(np.uint8, 20 + number, 30, seed=number) for number in range(4)]
    expected = [model.apply(image, backend="numpy") for image in images]
    wrong = []

    def work(number):
        wrong.extend(number for _ in range(10) if not np.array_equal(model.apply(images[number]), expected[number]))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_opening_a_model_needs_neither_opencv_nor_numba(tmp_path):
    from lutkit_runtime.artefact import write_artefact

    write_artefact(tmp_path / "model.h5", make_adaptive())
    code = f"""
import sys
import lutkit_runtime
model = lutkit_runtime.load({str(tmp_path / "model.h5")!r})
assert not [name for name in ("numba", "cv2", "torch", "PIL") if name in sys.modules]
import numpy
model.apply(numpy.zeros((4, 4, 3), numpy.uint8), backend="numpy")
print("cv2" in sys.modules, [name for name in ("numba", "torch", "PIL", "scipy") if name in sys.modules])
"""
    assert run_python(code).strip() == "True []"


@pytest.mark.data
@pytest.mark.parametrize("backend", ["numpy", *FAST])
@pytest.mark.parametrize("size", [17, 33])
@pytest.mark.parametrize("way", [TRILINEAR, TETRAHEDRAL])
def test_float_pictures_meet_the_independent_reference(shared_data, backend, size, way):
    with np.load(shared_data / "oracles" / "lut3d_reference.npz") as oracle:
        nodes, points = oracle[f"lut{size}"].reshape(-1, 3), oracle["points"].astype(np.float32)
        expected = oracle[f"{way.value}{size}"]
    found = open_model(make_look(nodes, way)).apply(points[None], backend=backend)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
