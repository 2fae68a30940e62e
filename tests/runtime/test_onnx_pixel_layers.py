"""Layers of networks of full resolution: which ones are refused, and what versions of OpenCV get wrong about the others."""

import cv2
import numpy as np
import pytest

from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.onnx_graph import Graph, Layer
from lutkit_runtime.onnx_layers import follow_shapes, trace_shapes
from lutkit_runtime.onnx_network import OnnxNetwork, ResizableNetwork
from lutkit_runtime.onnx_spelling import spell_out
from lutkit_runtime.onnx_writer import write_graph

NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
SPREAD = {"blocksize": 2, "mode": "CRD"}
PAIR = {"kernel_shape": (2, 2)}


def make_graph(*layers: Layer, shape=(1, 3, 4, 4), opset=13, **arrays) -> Graph:
    return Graph(opset, "in", shape, layers[-1].output, layers, arrays)


def random_array(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def window(kind: str, **fields) -> Graph:
    return make_graph(Layer(kind, ("in",), "a", {**PAIR, **fields}))


def pad(lengths, mode="reflect", dtype=np.int64) -> Graph:
    return make_graph(Layer("Pad", ("in", "p"), "a", {"mode": mode}), p=np.array(lengths, dtype))


def select(first, end, axis, names=("s", "e", "x"), dtype=np.int64) -> Graph:
    arrays = {name: np.array([value], dtype) for name, value in zip(("s", "e", "x"), (first, end, axis), strict=True)}
    return make_graph(Layer("Slice", ("in", *names), "a"), **arrays)


def repeat(factors=(1, 1, 2, 2), names=("", "f"), shape=(1, 3, 4, 4), **fields) -> Graph:
    layer = Layer("Resize", ("in", *names), "a", {**NEAREST, **fields})
    return make_graph(layer, shape=shape, f=np.array(factors, np.float32))


def spread(shape=(1, 4, 4, 4), **fields) -> Graph:
    return make_graph(Layer("DepthToSpace", ("in",), "a", {**SPREAD, **fields}), shape=shape)


def join(kind: str, kernel, **fields) -> Graph:
    layers = Layer("Conv", ("in", "k"), "b"), Layer(kind, ("in", "b"), "a", fields)
    return make_graph(*layers, k=random_array(*kernel))


def flatten(kind: str, *names, fields=None, **arrays) -> Graph:
    return make_graph(Layer("Flatten", ("in",), "b"), Layer(kind, ("b", *names), "a", fields or {}), **arrays)


NOTHING = np.zeros(8, np.int64)

REFUSED = [
    *(
        window(kind, **fields)
        for kind in ("MaxPool", "AveragePool")
        for fields in (
            {"kernel_shape": (2,)},
            {"kernel_shape": (0, 2)},
            {"kernel_shape": (5, 1)},
            {"kernel_shape": (1025, 1), "pads": (1024, 0, 1024, 0)},
            {"kernel_shape": 2},
            {"kernel_shape": ()},
            {"strides": (0, 1)},
            {"strides": (1, 1025)},
            {"strides": (1, 1, 1)},
            {"pads": (2, 0, 0, 0)},
            {"pads": (0, 0, 0, -1)},
            {"pads": (1, 1)},
            {"ceil_mode": 2},
            {"ceil_mode": (1, 1)},
            # the last window would begin where the picture ends
            {"kernel_shape": (1, 1), "strides": (4, 1), "ceil_mode": 1},
        )
    ),
    window("AveragePool", count_include_pad=2),
    window("AveragePool", count_include_pad=1, ceil_mode=1),
    flatten("MaxPool", fields={"kernel_shape": (1, 1)}),
    pad([0, 0, 4, 0, 0, 0, 0, 0]),
    pad([0, 0, 0, 0, 0, 0, 0, 4]),
    pad([0, 0, 0, 0, 0, 0, -1, 0]),
    pad([0, 0, 0, 0, 0, 0, 0, 1025], mode="constant"),
    pad([0, 0, -1, 0, 0, 0, 0, 0], mode="constant"),
    pad([0, 1, 0, 0, 0, 0, 0, 0]),
    pad([0, 0, 0, 0, 1, 0, 0, 0]),
    pad([0, 0, 1, 1]),
    pad([[0] * 8]),
    pad([0] * 8, dtype=np.float32),
    pad([0] * 8, mode="edge"),
    pad([0] * 8, mode=1),
    make_graph(Layer("Pad", ("in",), "a")),
    make_graph(Layer("Pad", ("in", "p", "z"), "a"), p=NOTHING, z=np.zeros((), np.float32)),
    flatten("Pad", "p", p=NOTHING),
    *(
        select(*numbers)
        for numbers in ((0, 4, 1), (2, 2, 1), (2, 1, 1), (-1, 3, 1), (0, -1, 1), (0, 1, 0), (0, 1, 2), (0, 1, -3))
    ),
    select(0, 1, 1, names=("s", "e")),
    select(0, 1, 1, names=("s", "e", "x", "x")),
    select([0], [1], [1]),
    select(0, 1, 1, dtype=np.float32),
    flatten("Slice", "s", "e", "e", s=np.array([0]), e=np.array([1])),
    *(
        repeat(factors)
        for factors in ((1, 1, 1.5, 2), (1, 1, 0, 2), (1, 1, -1, 2), (2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 1025, 1))
    ),
    repeat((1, 1, 2)),
    repeat(mode="linear"),
    repeat(mode=1),
    repeat(nearest_mode="ceil"),
    repeat(coordinate_transformation_mode="half_pixel"),
    repeat(names=("f",)),
    repeat(names=("",)),
    repeat(names=("f", "f")),
    repeat(names=("", "f", "f")),
    make_graph(Layer("Resize", ("in", "", "f"), "a"), f=np.array([1, 1, 2, 2], np.float32)),
    make_graph(Layer("Resize", ("in", "", "f"), "a", NEAREST), f=np.array([1, 1, 2, 2])),
    flatten("Resize", "", "f", fields=NEAREST, f=np.array([1, 1, 2, 2], np.float32)),
    spread(shape=(1, 6, 4, 4)),
    spread(shape=(1, 4)),
    spread(mode="DCR"),
    spread(blocksize=0),
    spread(blocksize=-2),
    spread(blocksize=1 << 32),
    make_graph(Layer("DepthToSpace", ("in",), "a", {"blocksize": 1})),
    make_graph(Layer("DepthToSpace", ("in",), "a", {"mode": "CRD"})),
    join("Mul", (3, 3, 2, 2)),
    join("Mul", (3, 3, 1, 4)),
    join("Mul", (2, 3, 1, 1)),
    join("Mul", (1, 3, 4, 4)),
    join("Concat", (3, 3, 2, 2), axis=1),
    join("Concat", (3, 3, 1, 1)),
    join("Concat", (3, 3, 1, 1), axis=0),
    join("Concat", (3, 3, 1, 1), axis=2),
    join("Concat", (3, 3, 1, 1), axis=-3),
    join("Concat", (3, 3, 1, 1), axis=1.0),
    flatten("Concat", "b", fields={"axis": 1}),
]


@pytest.mark.parametrize("graph", REFUSED)
def test_layers_that_do_not_fit_are_refused(graph):
    check_refusal(graph, f"({graph.layers[-1].kind}) does not fit")


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (make_graph(Layer("Concat", ("in",), "a", {"axis": 1})), "reads what nothing before it makes"),
        (make_graph(Layer("Concat", ("in", "p"), "a", {"axis": 1}), p=NOTHING), "reads what nothing before it makes"),
        (make_graph(Layer("Concat", ("in", ""), "a", {"axis": 1})), "reads what nothing before it makes"),
        (make_graph(Layer("Mul", ("in", "b"), "a"), b=random_array(1, 3, 1, 1)), "reads what nothing before it makes"),
        (select(0, 1, 1, names=("", "e", "x")), "reads what nothing before it makes"),
        (make_graph(Layer("Pad", ("in", "in"), "a")), "reads what nothing before it makes"),
        (make_graph(Layer("Split", ("in",), "a", {"axis": 1})), "it has a layer 'Split'"),
        (make_graph(Layer("Clip", ("in",), "a")), "it has a layer 'Clip'"),
        (window("MaxPool", dilations=(1, 1)), "unknown attribute 'dilations'"),
        (window("MaxPool", count_include_pad=1), "unknown attribute 'count_include_pad'"),
        (repeat(axes=(2, 3)), "unknown attribute 'axes'"),
        *(
            (
                make_graph(*graph.layers, shape=graph.shape, opset=before, **graph.arrays),
                f"version {before + 1} or later",
            )
            for graph, before in (
                (pad([0] * 8), 10),
                (spread(), 10),
                (select(0, 1, 1), 9),
                (window("MaxPool"), 9),
                (window("AveragePool"), 9),
                (repeat(), 12),
            )
        ),
        (repeat((1, 1, 1024, 1024), shape=(1, 17, 4, 4)), f"make {17 << 24} values"),
        (
            make_graph(Layer("MaxPool", ("in",), "a", {"kernel_shape": (256, 256)}), shape=(1, 1, 1024, 1024)),
            f"in {769**2 << 16} steps",
        ),
    ],
)
def test_layers_that_are_not_known_are_refused(graph, told):
    check_refusal(graph, told)


def check_refusal(graph: Graph, told: str) -> None:
    with pytest.raises(ArtefactError, match=r"network 'test' cannot be used \(.*\): make it anew") as caught:
        OnnxNetwork(write_graph(graph, (1, 2)), "test")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_refused_here_is_refused_for_one_reason():
    for graph in (window("MaxPool"), window("AveragePool"), pad([0] * 8), select(0, 1, 1), repeat(), spread()):
        assert len(follow_shapes(graph)) == 4
    for graph in (join("Mul", (1, 3, 1, 1)), join("Mul", (3, 3, 4, 4)), join("Concat", (2, 3, 1, 1), axis=1)):
        assert follow_shapes(graph)[2:] == (4, 4)


@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("channels", [3, 16])
def test_hyperbolic_tangents_of_large_values_are_ones(opset, channels):
    """OpenCV 5 makes no number of what is above 44."""
    ends = np.array(
        [-1e30, -100, -45, -20, -16, -9, -1, -1e-3, 0, 1e-4, 0.5, 4, 9, 16, 17, 44, 45, 100, 1e30], np.float32
    )
    values = np.broadcast_to(ends, (1, channels, 2, len(ends))).copy()
    graph = make_graph(Layer("Tanh", ("in",), "a"), shape=values.shape, opset=opset)
    found = OnnxNetwork(write_graph(graph, values.shape), "test").run(values)
    np.testing.assert_allclose(found, np.tanh(values.astype(np.float64)), rtol=0, atol=1e-6)
    weights = np.eye(channels, dtype=np.float32)[:, :, None, None] * 1000
    layers = Layer("Conv", ("in", "w"), "b"), Layer("Tanh", ("b",), "a")
    graph = make_graph(*layers, shape=values.shape, opset=opset, w=weights)
    found = OnnxNetwork(write_graph(graph, values.shape), "test").run(values.clip(-5, 5))
    np.testing.assert_allclose(found, np.tanh(values.clip(-5, 5) * 1000.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [("planes", "plane"), ("plane", "planes")])
@pytest.mark.parametrize("channels", [2, 8, 13])
def test_planes_are_multiplied_by_a_plane_that_a_convolution_made(order, channels):
    """OpenCV 5 takes the plane for one of eight channels, and gives what it makes five axes."""
    layers = (
        Layer("Conv", ("in", "w"), "planes"),
        Layer("Conv", ("planes", "k"), "0"),
        Layer("Sigmoid", ("0",), "plane"),
        Layer("Mul", order, "product"),
        Layer("Conv", ("product", "l"), "a"),
    )
    weights = {
        "w": random_array(channels, 3, 1, 1),
        "k": random_array(1, channels, 1, 1),
        "l": np.eye(channels, dtype="f4"),
    }
    weights["l"] = weights["l"][:, :, None, None]
    graph = make_graph(*layers, **weights)
    picture = random_array(1, 3, 5, 7, seed=1)
    planes = np.einsum("oc,nchw->nohw", weights["w"][:, :, 0, 0], picture)
    plane = np.einsum("oc,nchw->nohw", weights["k"][:, :, 0, 0], planes)
    network = ResizableNetwork(write_graph(graph, follow_shapes(graph)), "test")
    np.testing.assert_allclose(network.run(picture), planes / (1 + np.exp(-plane)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "kinds", "pads"),
    [
        ({"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}, ["AveragePool"], (0, 0, 1, 1)),
        (
            {"kernel_shape": (3, 2), "strides": (3, 1), "ceil_mode": 1, "pads": (2, 0, 0, 0)},
            ["AveragePool"],
            (2, 0, 0, 0),
        ),
        ({"kernel_shape": (3, 3), "pads": (1, 1, 1, 0)}, ["AveragePool"], (1, 1, 1, 0)),
        ({"kernel_shape": (3, 3), "pads": (1, 1, 1, 0), "count_include_pad": 1}, ["Pad", "AveragePool"], (0, 0, 0, 0)),
    ],
)
def test_windows_are_told_by_their_pads_alone(fields, kinds, pads):
    """OpenCV 4 loses windows, and counts another padding, where the sides differ."""
    graph = window("AveragePool", **fields)
    spelled = spell_out(graph, trace_shapes(graph))
    assert [layer.kind for layer in spelled.layers] == kinds
    assert spelled.layers[-1].attributes["pads"] == pads
    assert not spelled.layers[-1].attributes.keys() & {"ceil_mode", "count_include_pad"}
    assert follow_shapes(spelled) == follow_shapes(graph)


@pytest.mark.parametrize("opset", [9, 13])
def test_groups_of_channels_are_padded_before_they_are_convolved(opset):
    """OpenCV 4 reads beyond its memory for some pads."""
    layer = Layer("Conv", ("in", "w"), "a", {"group": 3, "pads": (0, 1, 2, 0)})
    graph = make_graph(layer, opset=opset, w=random_array(3, 1, 3, 3))
    spelled = spell_out(graph, trace_shapes(graph))
    assert [layer.kind for layer in spelled.layers] == ["Pad", "Conv"]
    assert spelled.layers[1].attributes["pads"] == (0, 0, 0, 0)
    picture = random_array(1, 3, 4, 4, seed=1)
    found = OnnxNetwork(write_graph(graph, follow_shapes(graph)), "test").run(picture)[0]
    padded = np.pad(picture[0], ((0, 0), (0, 2), (1, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    np.testing.assert_allclose(found, np.einsum("chwij,cij->chw", windows, graph.arrays["w"][:, 0]), rtol=0, atol=1e-5)


def test_a_network_for_pictures_of_any_size_says_which_ones_it_does_not_take():
    pool = Layer("MaxPool", ("in",), "b", {**PAIR, "strides": (2, 2)})
    graph = make_graph(pool, Layer("Resize", ("b", "", "f"), "a", NEAREST), f=repeat().arrays["f"])
    network = ResizableNetwork(write_graph(graph, follow_shapes(graph)), "test")
    picture = random_array(1, 3, 6, 10)
    expected = picture.reshape(1, 3, 3, 2, 5, 2).max((3, 5)).repeat(2, 2).repeat(2, 3)
    assert np.array_equal(network.run(picture), expected)
    for side in (1, 7):
        with pytest.raises(ArtefactError, match=r"network 'test' (takes no|makes)") as caught:
            network.run(random_array(1, 3, 6, side))
        assert "\n" not in str(caught.value)


def test_opencv_is_not_given_what_is_refused(monkeypatch):
    monkeypatch.setattr(
        cv2.dnn, "readNetFromONNX", lambda _: pytest.fail("OpenCV was given a network that does not fit")
    )
    for graph in REFUSED:
        with pytest.raises(ArtefactError):
            ResizableNetwork(write_graph(graph, (1, 2)), "test")
