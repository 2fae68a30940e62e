"""Predictors: thumbnails, networks read strictly, and what hostile ones come to."""

import math

import cv2
import msgspec
import numpy as np
import pytest
from colour_models import THUMBNAIL_NETWORK, expect_weights, make_adaptive
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.onnx_graph import Graph, Layer, read_graph
from lutkit_runtime.onnx_layers import follow_shapes
from lutkit_runtime.onnx_network import OnnxNetwork
from lutkit_runtime.onnx_writer import write_graph
from lutkit_runtime.ops import Predictor
from lutkit_runtime.ops.predictor import sample_thumbnail

FILE = THUMBNAIL_NETWORK.read_bytes()


def make_graph(*layers: Layer, shape=(1, 3, 4, 4), **arrays) -> Graph:
    return Graph(13, "in", shape, layers[-1].output, layers, arrays)


def random_array(*shape) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from((4, 7, 32)), st.sampled_from(("u1", "u2", "f4")))
def test_thumbnails_are_those_of_a_bilinear_resize(height, width, side, depth):
    random = np.random.default_rng(height * 100 + width)
    if depth == "f4":
        picture = random.random((height, width, 3), dtype=np.float32)
    else:
        picture = random.integers(0, np.iinfo(depth).max, (height, width, 3), depth, endpoint=True)
    unit = picture.astype(np.float32) / (1 if depth == "f4" else np.iinfo(depth).max)
    expected = cv2.resize(unit, (side, side), interpolation=cv2.INTER_LINEAR)
    found = sample_thumbnail(picture, side)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_thumbnails_hold_numbers_whatever_the_picture_holds():
    picture = np.array([np.nan, np.inf, -np.inf], np.float32)[None, :, None].repeat(3, axis=2)
    assert np.isfinite(sample_thumbnail(picture, 4)).all()


def test_thumbnails_are_clipped_to_what_networks_have_seen():
    """A lamp of an HDR picture counts as white, so that it does not lead the network astray."""
    bright = np.full((8, 8, 3), 0.25, np.float32)
    bright[2, 3] = 6500.0
    white = bright.clip(0, 1)
    assert np.array_equal(sample_thumbnail(bright, 4), sample_thumbnail(white, 4))
    assert sample_thumbnail(-bright, 4).max() == 0


def test_the_network_computes_what_it_says():
    network = OnnxNetwork(FILE, "test")
    assert (network.input_shape, network.output_shape) == ((1, 3, 4, 4), (1, 2))
    thumbnail = np.random.default_rng(0).random((4, 4, 3), dtype=np.float32)
    found = network.run(np.ascontiguousarray(thumbnail.transpose(2, 0, 1)[None]))
    np.testing.assert_allclose(found[0], expect_weights(thumbnail), atol=1e-6)
    with pytest.raises(ArtefactError, match="takes \\(1, 3, 4, 4\\), not \\(1, 3, 8, 8\\)"):
        network.run(np.zeros((1, 3, 8, 8), np.float32))


CONVOLUTION = Layer("Conv", ("in", "w", "b"), "a", {"strides": (2, 2), "pads": (1, 1, 1, 1), "group": 1})


def test_what_is_written_is_read_again_and_runs():
    layers = (
        CONVOLUTION,
        Layer("LeakyRelu", ("a",), "c", {"alpha": 0.25}),
        Layer("InstanceNormalization", ("c", "s", "t"), "d", {"epsilon": 2.0**-10}),
        Layer("Reshape", ("d", "r"), "e", {"allowzero": 1}),
    )
    arrays = {"w": random_array(5, 3, 3, 3), "b": random_array(5), "s": random_array(5), "t": random_array(5)}
    graph = make_graph(*layers, **arrays, r=np.array([1, 20]))
    assert follow_shapes(graph) == (1, 20)
    again = read_graph(write_graph(graph, (1, 20)))
    assert (again.layers, again.input, again.output, again.shape) == (layers, "in", "e", (1, 3, 4, 4))
    for name, array in graph.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
    assert write_graph(again, (1, 20)) == write_graph(graph, (1, 20))

    picture = random_array(1, 3, 4, 4)
    padded = np.pad(picture[0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    maps = np.einsum("cyxij,ocij->oyx", windows, arrays["w"]) + arrays["b"][:, None, None]
    maps = np.where(maps > 0, maps, maps / 4)
    mean, spread = maps.mean((1, 2), keepdims=True), maps.var((1, 2), keepdims=True)
    maps = (maps - mean) / np.sqrt(spread + 2.0**-10) * arrays["s"][:, None, None] + arrays["t"][:, None, None]
    found = OnnxNetwork(write_graph(graph, (1, 20)), "test").run(picture)
    np.testing.assert_allclose(found, maps.reshape(1, 20), atol=2e-5)


WEIGHTS = {"w": random_array(5, 3, 3, 3), "b": random_array(5)}


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (make_graph(Layer("Loop", ("in",), "a")), "a layer 'Loop'"),
        (make_graph(Layer("Relu", ("other",), "a")), "reads what nothing before it makes"),
        (make_graph(Layer("Relu", (), "a")), "reads what nothing before it makes"),
        (make_graph(Layer("Relu", ("a",), "a")), "reads what nothing before it makes"),
        (make_graph(Layer("Relu", ("in",), "in")), "'in' is made twice"),
        (make_graph(Layer("Relu", ("in",), "w"), **WEIGHTS), "'w' is made twice"),
        (make_graph(Layer("Relu", ("in",), "a", {"alpha": 1.0})), "unknown attribute 'alpha'"),
        (make_graph(Layer("LeakyRelu", ("in",), "a", {"alpha": 3})), "does not fit"),
        (make_graph(CONVOLUTION, shape=(1, 4, 4, 4), **WEIGHTS), "does not fit"),
        (make_graph(CONVOLUTION, w=WEIGHTS["w"], b=random_array(4)), "does not fit"),
        (make_graph(CONVOLUTION, shape=(1, 3, 1024, 1024), w=random_array(64, 3, 64, 64), b=random_array(64)), "steps"),
        (make_graph(CONVOLUTION, w=random_array(5, 3, 9, 9), b=random_array(5)), "does not fit"),
        (make_graph(CONVOLUTION, w=WEIGHTS["w"].astype(np.int64), b=random_array(5)), "does not fit"),
        *(
            (make_graph(layer, **WEIGHTS), "does not fit")
            for layer in (
                Layer("Conv", ("in", "w", "b"), "a", attributes)
                for attributes in (
                    {"group": 0},
                    {"group": -1},
                    {"group": 3},
                    {"strides": (0, 1)},
                    {"strides": (1,)},
                    {"strides": (-(2**62), 1)},
                    {"dilations": (2**40, 1)},
                    {"pads": (-1, 0, 0, 0)},
                    {"pads": (2**40,) * 4},
                    {"kernel_shape": (5, 5)},
                    {"auto_pad": "SAME_UPPER"},
                )
            )
        ),
        (make_graph(Layer("Flatten", ("in",), "a", {"axis": 7})), "does not fit"),
        (make_graph(Layer("Reshape", ("in", "r"), "a"), r=np.array([0, 48])), "does not fit"),
        (make_graph(Layer("Reshape", ("in", "r"), "a"), r=np.array([-1, -1])), "does not fit"),
        (make_graph(Layer("Reshape", ("in", "r"), "a"), r=np.array([2**62, 4])), "does not fit"),
        (make_graph(Layer("InstanceNormalization", ("in", "w", "b"), "a"), **WEIGHTS), "does not fit"),
    ],
)
def test_layers_that_do_not_fit_are_refused_before_opencv_sees_them(graph, told, monkeypatch):
    monkeypatch.setattr(
        cv2.dnn, "readNetFromONNX", lambda _: pytest.fail("OpenCV was given a network that does not fit")
    )
    with pytest.raises(ArtefactError, match=r"network 'test' cannot be used \(.*\): make it anew") as caught:
        OnnxNetwork(write_graph(graph, (1, 2)), "test")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reshape_may_leave_one_length_open():
    graph = make_graph(Layer("Reshape", ("in", "r"), "a"), r=np.array([1, -1]))
    assert follow_shapes(graph) == (1, 48)


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def make_file(tensor: bytes, *, version: int = 13) -> bytes:
    """Return a network of one layer, with an array as these bytes say it."""
    ends = b"".join(_field(number, _field(1, name) + SHAPE) for number, name in ((11, b"in"), (12, b"a")))
    layer = _field(1, b"in") + _field(2, b"a") + _field(4, b"Relu")
    graph = _field(1, layer) + _field(5, tensor) + ends
    return _field(7, graph) + _field(8, bytes([0x10, version]))


SHAPE = _field(2, _field(1, b"\x08\x01" + _field(2, _field(1, b"\x08\x01") + _field(1, b"\x08\x02"))))
SOUND = _field(8, b"w") + b"\x08\x01\x10\x01" + _field(9, b"\0\0\0\0")


def test_a_file_made_by_hand_is_read():
    graph = read_graph(make_file(SOUND))
    assert (graph.shape, graph.layers) == ((1, 2), (Layer("Relu", ("in",), "a"),))
    assert graph.arrays["w"].tolist() == [0]


HOSTILE = {
    "empty": b"",
    "text": b"no network at all",
    "cut off": FILE[:-20],
    "training steps": FILE + bytes([20 << 3 & 0x7F | 0x82, 1, 0]),
    "a second graph": FILE + _field(7, b""),
    "no known version": make_file(SOUND, version=99),
    "weights in another file": make_file(_field(8, b"w") + b"\x08\x01\x10\x01\x70\x01" + _field(13, b"")),
    "weights in numbers of 16 bits": make_file(_field(8, b"w") + b"\x08\x01\x10\x0a" + _field(9, b"\0\0")),
    "weights that are no numbers": make_file(_field(8, b"w") + b"\x08\x01\x10\x01" + _field(9, b"\0\0\xc0\x7f")),
    "fewer weights than said": make_file(_field(8, b"w") + b"\x08\x02\x10\x01" + _field(9, b"\0\0\0\0")),
    "2^60 weights": make_file(_field(8, b"w") + (b"\x08" + b"\x80" * 4 + b"\x01") * 2 + b"\x10\x01" + _field(9, b"")),
    "a length beyond the file": b"\x3a\xff\xff\xff\xff\x7f",
    "endless digits": b"\x08" + b"\xff" * 40,
    "groups": b"\x0b\x0c",
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_files_that_are_no_plain_network_are_refused(fault, monkeypatch):
    monkeypatch.setattr(cv2.dnn, "readNetFromONNX", lambda _: pytest.fail("OpenCV was given a hostile network"))
    with pytest.raises(ArtefactError, match="network 'test' cannot be used") as caught:
        OnnxNetwork(HOSTILE[fault], "test")
    assert "\n" not in str(caught.value)


@settings(max_examples=400)
@given(st.data())
@example(None)
def test_any_change_of_a_file_is_refused_or_runs(data):
    """OpenCV itself ends the process on about one in a thousand of these."""
    changed = bytearray(FILE)
    if data is not None:
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(changed) - 1))
            kind = data.draw(st.sampled_from(("change", "remove", "insert")))
            length = data.draw(st.integers(1, 12))
            new = b"" if kind == "remove" else data.draw(st.binary(min_size=length, max_size=length))
            changed[place : place + (0 if kind == "insert" else length)] = new
    try:
        network = OnnxNetwork(bytes(changed), "test")
        values = network.run(np.ones(network.input_shape, np.float32))
    except ArtefactError as problem:
        assert "\n" not in str(problem)
    else:
        assert values.size == math.prod(network.output_shape)


def replace_network(graph: bytes, **fields) -> Artefact:
    """Return the tiny adaptive model with another network."""
    artefact = make_adaptive()
    predictor = msgspec.structs.replace(artefact.program.ops[0], graph_bytes=len(graph), **fields)
    program = msgspec.structs.replace(artefact.program, ops=(predictor, *artefact.program.ops[1:]))
    return Artefact(program, {**artefact.tables, "predictor": np.frombuffer(graph, np.uint8)[:, None].copy()})


def write_network(*, outputs: int = 2, side: int = 4, scale: float = 1.0) -> bytes:
    weight = (random_array(outputs, 3, side, side) * np.float32(scale)).astype(np.float32)
    layers = (Layer("Conv", ("in", "w"), "a"), Layer("Flatten", ("a",), "b", {"axis": 1}))
    return write_graph(make_graph(*layers, shape=(1, 3, side, side), w=weight), (1, outputs))


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (b"\0" * 100, "cannot be used"),
        (FILE[:-1], "cannot be used"),
        (write_network(outputs=3), "gives 3 values, where (1, 3, 4, 4) and 2 are needed"),
        (write_network(side=5), "takes (1, 3, 5, 5)"),
    ],
    ids=["zeros", "cut off", "more outputs", "another side"],
)
def test_a_model_with_an_unusable_network_is_refused_before_any_picture(tmp_path, graph, told):
    """It can be opened, so that its parts can be shown; nothing can be computed with it."""
    path = tmp_path / "model.h5"
    write_artefact(path, replace_network(graph))
    artefact = read_artefact(path)
    model = Model(artefact.program, artefact.tables)
    for use in (model.prepare, lambda: model.apply(np.zeros((4, 4, 3), np.uint8)), lambda: model.prepare("numpy")):
        with pytest.raises(ArtefactError) as caught:
            use()
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("scale", "told"), [(3e38, "finite ones are needed"), (1e30, "fuses tables to values beyond")])
def test_weights_out_of_all_bounds_are_refused(scale, told):
    artefact = replace_network(write_network(scale=scale))
    picture = np.full((4, 4, 3), 1000, np.float32)
    with pytest.raises(ArtefactError, match=told):
        Model(artefact.program, artefact.tables).apply(picture, backend="numpy")


@pytest.mark.parametrize(
    "fields",
    [
        {"graph_bytes": 0},
        {"graph_bytes": 1 << 40},
        {"side": 0},
        {"side": 1025},
        {"outputs": 0},
        {"outputs": (1 << 20) + 1},
    ],
)
def test_impossible_sizes_are_refused(fields):
    plain = Predictor(input="image", output="w", slot="p", graph_bytes=9, side=4, outputs=2)
    (name,) = fields
    with pytest.raises(ProgramError, match=f"has {name} = "):
        msgspec.structs.replace(plain, **fields).validate()
