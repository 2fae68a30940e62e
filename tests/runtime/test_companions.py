"""Pictures beside the picture: what may be handed in, how it is read, and what is said about everything else."""

import msgspec
import numpy as np
import pytest
from bilateral_models import make_bilateral
from colour_models import STRENGTH, FilledColours, expect_same, make_look, make_program
from fast_backends import FAST_BACKENDS
from network_models import (
    DEPTH,
    GUIDE,
    Convolutions,
    add_companions,
    guide_predictor,
    make_companions,
    make_network_op,
    make_planes_program,
    strip_depths,
)

from lutkit_runtime.engine import Model
from lutkit_runtime.errors import InputError, ProgramError
from lutkit_runtime.ops import Blend, ColourMatrix, Predictor, Requantise
from lutkit_runtime.ops.predictor import sample_thumbnail, see_samples
from lutkit_runtime.program import RESERVED, Companion, Parameter, Program

BACKENDS = pytest.mark.parametrize("backend", FAST_BACKENDS)


def make_copier(*numbers: int) -> Model:
    """Return a model whose result are three of seven channels: image, guide, depth."""
    weights = np.eye(7, dtype=np.float32)[:, :, None, None]
    table = Convolutions((weights,), (np.zeros(7, np.float32),)).write(ends_in_relu=True)
    network = make_network_op(table, 7, ("image", "guide", "depth"), reach=0)
    return Model(make_planes_program(network, GUIDE, DEPTH, numbers=numbers), {"network": table})


def make_guided(seed: int = 3) -> Model:
    """Return a model of a grid whose predictor sees a guide and a depth map."""
    artefact = make_bilateral()
    filled = guide_predictor(FilledColours(artefact.program, dict(artefact.tables)), (GUIDE, DEPTH), seed)
    return Model(filled.program, filled.tables)


def make_image(height: int = 5, width: int = 7, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def refuse(model: Model, image: np.ndarray, **given: object) -> str:
    """Return the one line in which what is given is refused."""
    with pytest.raises((InputError, ProgramError)) as refusal:
        model.apply(image, **given)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@BACKENDS
@pytest.mark.parametrize("depths", [("uint8", "uint16"), ("uint16", "float32"), ("float32", "uint8")])
def test_channels_arrive_in_their_order_and_depth(backend, depths):
    model, image = make_copier(3, 5, 6), make_image()
    beside = make_companions(model.program, 5, 7, depths=depths)
    result = model.apply(image, backend=backend, **beside)
    expected = np.concatenate([see_samples(beside["guide"])[..., [0, 2]], see_samples(beside["depth"])], axis=2)
    expect_same(result, expected)


@BACKENDS
def test_what_is_out_of_range_or_no_number_counts_as_networks_see_it(backend):
    model, image = make_copier(6, 6, 3), make_image(1, 6)
    depth = np.array([[-1, 0.25, 2, np.nan, np.inf, -np.inf]], np.float32)
    guide = np.repeat(depth[..., None], 3, axis=2)
    result = model.apply(image, guide=guide, depth=depth, backend=backend)
    np.testing.assert_array_equal(result, np.repeat(np.float32([[0, 0.25, 1, 0, 1, 0]])[..., None], 3, axis=2))


@BACKENDS
def test_a_depth_map_may_have_an_axis_more_and_a_guide_alpha(backend):
    model, image = make_copier(3, 4, 6), make_image(channels=4)
    beside = make_companions(model.program, 5, 7)
    expected = model.apply(image, backend=backend, **beside)
    np.testing.assert_array_equal(expected[..., 3], image[..., 3])
    expect_same(model.apply(image, backend=backend, **strip_depths(beside)), expected)
    alpha = np.full((5, 7, 1), 9, beside["guide"].dtype)
    seen = beside | {"guide": np.concatenate([beside["guide"], alpha], axis=2)}
    expect_same(model.apply(image, backend=backend, **seen), expected)


def test_strides_and_the_order_of_bytes_do_not_matter():
    model, image = make_copier(3, 4, 6), make_image()
    beside = make_companions(model.program, 5, 7, depths=("uint16", "float32"))
    expected = model.apply(image, **beside)
    swapped = {name: each.astype(each.dtype.newbyteorder(">")) for name, each in beside.items()}
    expect_same(model.apply(image, **swapped), expected)
    strided = {name: np.repeat(each, 2, axis=1)[::-1][::-1, ::2] for name, each in beside.items()}
    assert not any(each.flags.c_contiguous for each in strided.values())
    expect_same(model.apply(image, **strided), expected)


def test_nothing_that_is_given_is_changed():
    model, image = make_guided(), make_image()
    beside = make_companions(model.program, 5, 7)
    for each in (image, *beside.values()):
        each.setflags(write=False)
    model.apply(image, **beside)


@BACKENDS
def test_a_result_may_not_overwrite_what_is_still_read(backend):
    """Networks that run in tiles read what stands beside the picture while the result is filled."""
    model, image = make_copier(3, 4, 6), make_image(5, 7)
    beside = make_companions(model.program, 5, 7, depths=("float32",))
    for out in (beside["guide"], beside["guide"][::1]):
        assert "out overlaps guide; give an array of its own" in refuse(
            model, image, out=out, backend=backend, **beside
        )
    out = np.empty_like(image)
    assert model.apply(image, out=out, backend=backend, **beside) is out


def test_what_is_missing_is_named():
    model, image = make_copier(3, 4, 6), make_image()
    beside = make_companions(model.program, 5, 7)
    assert "needs guide, depth beside the image" in refuse(model, image)
    assert "needs depth beside the image" in refuse(model, image, guide=beside["guide"])
    with pytest.raises(InputError, match="needs guide beside the image"):
        model.adapt(image, depth=beside["depth"])


def test_what_is_not_known_is_refused_with_what_is():
    model, image = make_guided(), make_image()
    beside = make_companions(model.program, 5, 7)
    told = refuse(model, image, gide=beside["guide"], **beside)
    assert "no parameter 'gide': it has strength, and takes guide, depth beside the image" in told
    with pytest.raises(InputError, match="takes no gide: it takes guide, depth"):
        model.adapt(image, gide=beside["guide"], **beside)
    look = make_look(np.zeros((8, 3), np.float32))
    with pytest.raises(InputError, match="takes no depth: it takes the image alone"):
        Model(look.program, look.tables).adapt(image, depth=beside["depth"])


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("guide", np.zeros((5, 8, 3), np.uint8), "guide has 8x5 pixels and the image 7x5; they must be of one size"),
        ("guide", np.zeros((7, 5, 3), np.uint8), "guide has 5x7 pixels and the image 7x5"),
        ("depth", np.zeros((6, 7), np.uint8), "depth has 7x6 pixels and the image 7x5"),
        ("depth", np.zeros((0, 7), np.uint8), "depth has 7x0 pixels and the image 7x5"),
        ("guide", np.zeros((5, 7), np.uint8), "guide has shape (5, 7); use (H, W, 3) for RGB or (H, W, 4)"),
        ("guide", np.zeros((5, 7, 1), np.uint8), "guide has shape (5, 7, 1)"),
        ("guide", np.zeros((5, 7, 2), np.uint8), "guide has shape (5, 7, 2)"),
        ("depth", np.zeros((5, 7, 3), np.uint8), "depth has shape (5, 7, 3); use (H, W) or (H, W, 1)"),
        ("depth", np.zeros((5, 7, 2), np.uint8), "depth has shape (5, 7, 2)"),
        ("depth", np.zeros((1, 5, 7, 1), np.uint8), "depth has shape (1, 5, 7, 1)"),
        ("depth", np.zeros(5, np.uint8), "depth has shape (5,)"),
        ("depth", np.zeros((5, 7)), "depth has samples of type float64; use uint8, uint16 or float32"),
        ("guide", np.zeros((5, 7, 3), bool), "guide has samples of type bool"),
        ("depth", None, "depth is of type NoneType; hand in a NumPy array"),
        ("depth", [[0] * 7] * 5, "depth is of type list"),
        ("guide", 0.5, "guide is of type float"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, given, told):
    model, image = make_copier(3, 4, 6), make_image()
    beside = make_companions(model.program, 5, 7)
    assert told in refuse(model, image, **{**beside, name: given})


def test_the_picture_itself_is_looked_at_first():
    model = make_copier(3, 4, 6)
    beside = make_companions(model.program, 5, 7)
    assert "image has shape (5, 7)" in refuse(model, np.zeros((5, 7), np.uint8), **beside)
    assert "holds no pixels" in refuse(model, np.zeros((0, 7, 3), np.uint8), **beside)


def test_predictors_see_thumbnails_of_all():
    model, image = make_guided(), make_image(9, 8)
    beside = make_companions(model.program, 9, 8)
    predictor = next(op for op in model.program.ops if isinstance(op, Predictor))
    seen = [sample_thumbnail(each, predictor.side, predictor.sampling) for each in (image, *beside.values())]
    blob = np.concatenate(seen, axis=2).transpose(2, 0, 1)[None].copy()
    expected = predictor.open(model.tables, channels=7).run(blob).reshape(-1)
    np.testing.assert_array_equal(model.adapt(image, **beside)["weights"], expected)
    np.testing.assert_array_equal(model.adapt(image, **strip_depths(beside))["weights"], expected)
    other = beside | {"depth": np.zeros_like(beside["depth"])}
    assert np.abs(model.adapt(image, **other)["weights"] - expected).max() > 1e-3


@BACKENDS
def test_a_stream_gives_every_frame_what_stands_beside_it(backend):
    model = make_guided()
    frames = [make_image(6, 5, seed=seed) for seed in range(3)]
    beside = make_companions(model.program, 6, 5)
    for frame, result in zip(frames, model.stream(frames, backend=backend, **beside), strict=True):
        expect_same(result, model.apply(frame, backend="numpy", **beside))
    for given, told in ((beside, "guide has 5x6 pixels and the image 4x6"), ({}, "needs guide, depth")):
        with pytest.raises(InputError, match=told):
            list(model.stream([make_image(6, 4)], backend=backend, **given))


def test_names_of_other_arguments_are_not_for_companions():
    for name in (*RESERVED, "no name", "", "2d"):
        with pytest.raises(ProgramError, match="needs a name"):
            Companion(name=name, channels=1).validate()
    for channels in (-1, 0, 2, 4):
        with pytest.raises(ProgramError, match="1 or 3 are possible"):
            Companion(name="depth", channels=channels).validate()


def test_arguments_of_apply_and_stream_are_reserved():
    """What is added to either must not be the name of a companion in a file of today."""
    import inspect

    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for method in (Model.apply, Model.stream):
        named = {name for name, each in inspect.signature(method).parameters.items() if each.kind in kinds}
        assert named | {"self"} <= RESERVED


MATRIX = ColourMatrix(input="depth", matrix=((1.0, 0.0, 0.0),) * 3, output="result")
NEGATIVE = ColourMatrix(input="image", matrix=((-1.0, 0.0, 0.0),) * 3, output="negative")
PREDICTOR = Predictor(input="image", slot="predictor", graph_bytes=9, side=4, outputs=2, output="weights")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (add_companions(make_program(MATRIX), DEPTH), "reads 'depth', which is a companion; a picture is needed"),
        (
            add_companions(make_program(NEGATIVE, Blend(base="image", changed="guide", amount="strength", output="r"))),
            "reads 'guide', which nothing before it makes",
        ),
        (
            add_companions(make_program(msgspec.structs.replace(NEGATIVE, output="depth")), DEPTH),
            "makes 'depth' twice",
        ),
        (
            add_companions(make_program(NEGATIVE, parameters=(STRENGTH,)), Companion(name="strength", channels=1)),
            "two values named 'strength'",
        ),
        (add_companions(make_program(NEGATIVE), DEPTH, DEPTH), "two values named 'depth'"),
        (
            add_companions(make_program(msgspec.structs.replace(PREDICTOR, companions=("amount",)), NEGATIVE), DEPTH),
            "reads 'amount', which nothing",
        ),
        (
            make_program(
                msgspec.structs.replace(PREDICTOR, companions=("strength",)), NEGATIVE, parameters=(STRENGTH,)
            ),
            "reads 'strength', which is a scalar; a companion is needed",
        ),
        (
            make_program(msgspec.structs.replace(PREDICTOR, companions=("image",)), NEGATIVE),
            "reads 'image', which is a picture; a companion is needed",
        ),
        (
            add_companions(make_program(msgspec.structs.replace(PREDICTOR, input="guide"), NEGATIVE), GUIDE),
            "reads 'guide', which is a companion; a picture is needed",
        ),
        (
            add_companions(
                Program(
                    family="test",
                    task="sr",
                    ops=(Requantise(output="result", input="image", bias=0, divisor=1),),
                ),
                DEPTH,
            ),
            "has the companion 'depth', which no op of it can read",
        ),
    ],
)
def test_programs_that_misuse_companions_are_refused(program, told):
    with pytest.raises(ProgramError) as refusal:
        program.validate()
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_parameter_and_a_companion_are_told_apart():
    model, image = make_guided(), make_image()
    beside = make_companions(model.program, 5, 7)
    assert [each.name for each in model.program.parameters] == ["strength"]
    assert isinstance(model.program.parameters[0], Parameter)
    expect_same(model.apply(image, strength=0.0, **beside), image)
    assert "strength is 5.0; the model takes 0 to 2" in refuse(model, image, strength=5.0, **beside)
    for given in (image, "1", None, [1.0]):
        told = f"strength is of type {type(given).__name__}; the model takes a number for it"
        assert told in refuse(model, image, strength=given, **beside)
    for given in (0, np.float32(0), np.array(0.0)):
        expect_same(model.apply(image, strength=given, **beside), image)
