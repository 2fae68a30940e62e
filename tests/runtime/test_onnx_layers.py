"""Layers of networks: what they compute against NumPy in float64, branches that join, and what does not fit."""

import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.onnx_graph import Graph, Layer, read_graph
from lutkit_runtime.onnx_layers import LAYERS, follow_shapes, trace_shapes
from lutkit_runtime.onnx_network import OnnxNetwork
from lutkit_runtime.onnx_spelling import spell_out
from lutkit_runtime.onnx_writer import write_graph

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

WINDOWED = ("MaxPool", "AveragePool")
MOVING = ("Concat", "Slice", "Pad", "DepthToSpace", "Resize")
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
KEEPING = ("Relu", "LeakyRelu", "Sigmoid", "Tanh")


def make_graph(*layers: Layer, shape=(1, 3, 4, 4), **arrays) -> Graph:
    return Graph(13, "in", shape, layers[-1].output, layers, arrays)


def random_array(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def convolve(value, weights, biases, strides, pads, dilations, group):
    """Place by place, in float64."""
    top, left, bottom, right = pads
    value = np.pad(value, ((0, 0), (0, 0), (top, bottom), (left, right)))
    outputs, channels, height, width = weights.shape
    reach = [(length - 1) * dilation + 1 for length, dilation in zip((height, width), dilations, strict=True)]
    lengths = [
        (length - each) // stride + 1 for length, each, stride in zip(value.shape[2:], reach, strides, strict=True)
    ]
    result = np.empty((len(value), outputs, *lengths))
    for output, row, column in np.ndindex(*result.shape[1:]):
        first = output // (outputs // group) * channels
        rows = slice(row * strides[0], row * strides[0] + reach[0], dilations[0])
        columns = slice(column * strides[1], column * strides[1] + reach[1], dilations[1])
        window = value[:, first : first + channels, rows, columns]
        result[:, output, row, column] = (window * weights[output]).sum((1, 2, 3)) + biases[output]
    return result


def gather(layer, value):
    """Window by window: the largest value, or the mean."""
    fields = layer.attributes
    kernel, strides = fields["kernel_shape"], fields.get("strides", (1, 1))
    top, left, bottom, right = fields.get("pads", (0,) * 4)
    most = layer.kind == "MaxPool"
    round_up = fields.get("ceil_mode", 0)
    value = np.pad(value, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=np.nan)
    lengths = []
    for axis in range(2):
        steps = (value.shape[2 + axis] - kernel[axis]) / strides[axis]
        lengths.append(int(np.ceil(steps) if round_up else np.floor(steps)) + 1)
    result = np.empty((*value.shape[:2], *lengths))
    for row, column in np.ndindex(*lengths):
        first, start = row * strides[0], column * strides[1]
        window = value[:, :, first : first + kernel[0], start : start + kernel[1]]
        if not most and fields.get("count_include_pad", 0):
            window = np.nan_to_num(window, nan=0.0)
        result[:, :, row, column] = (np.nanmax if most else np.nanmean)(window, axis=(2, 3))
    return result


def compute(layer, arrays, value, *others):
    """Return what ONNX says a layer makes, in float64."""
    numbers = layer.attributes
    other = others[0] if others else None
    if layer.kind in ("MaxPool", "AveragePool"):
        return gather(layer, value)
    if layer.kind == "Concat":
        return np.concatenate((value, *others), axis=1)
    if layer.kind == "Slice":
        return value[:, int(arrays[0][0]) : int(arrays[1][0])]
    if layer.kind == "Pad":
        lengths = arrays[0].astype(int)
        return np.pad(value, list(zip(lengths[:4], lengths[4:], strict=True)), mode=numbers.get("mode", "constant"))
    if layer.kind == "DepthToSpace":
        side, (count, planes, height, width) = numbers["blocksize"], value.shape
        blocks = value.reshape(count, planes // side**2, side, side, height, width)
        return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(count, planes // side**2, height * side, width * side)
    if layer.kind == "Resize":
        return value.repeat(int(arrays[0][2]), axis=2).repeat(int(arrays[0][3]), axis=3)
    if layer.kind == "Conv":
        names = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
        biases = arrays[1] if len(arrays) > 1 else np.zeros(len(arrays[0]))
        return convolve(value, arrays[0], biases, *(numbers.get(name, default) for name, default in names.items()))
    if layer.kind == "Gemm":
        return value @ (arrays[0].T if numbers.get("transB", 0) else arrays[0]) + sum(arrays[1:])
    if layer.kind in ("Flatten", "Reshape"):
        return value.reshape((len(value), -1) if layer.kind == "Flatten" else arrays[0].astype(int))
    return {
        "Add": lambda: value + other,
        "Mul": lambda: value * other,
        "Relu": lambda: np.maximum(value, 0),
        "LeakyRelu": lambda: np.where(value < 0, value * numbers.get("alpha", 0.01), value),
        "Sigmoid": lambda: 1 / (1 + np.exp(-value)),
        "Tanh": lambda: np.tanh(value),
        "GlobalAveragePool": lambda: value.mean((2, 3), keepdims=True),
    }[layer.kind]()


def evaluate(graph: Graph, picture) -> np.ndarray:
    values = {graph.input: picture.astype(np.float64)}
    for layer in graph.layers:
        arrays = [graph.arrays[name].astype(np.float64) for name in layer.inputs if name in graph.arrays]
        values[layer.output] = compute(layer, arrays, *(values[name] for name in layer.inputs if name in values))
    return values[graph.output]


@st.composite
def draw_graphs(draw) -> Graph:
    """Draw networks that branch and join: any layer may read any result before it."""
    rows = draw(st.integers(1, 7))
    # OpenCV 5 holds eight channels side by side
    channels = draw(st.one_of(st.integers(1, 4), st.sampled_from((8, 9, 16))))
    shapes = {"in": (draw(st.integers(1, 2)), channels, rows, draw(st.integers(1, 7)))}
    layers: list[Layer] = []
    arrays: dict[str, np.ndarray] = {}

    def give(array) -> str:
        name = f"array{len(arrays)}"
        arrays[name] = array
        return name

    def put(kind: str, inputs, shape, **attributes) -> None:
        layers.append(Layer(kind, tuple(inputs), f"result{len(layers)}", attributes))
        shapes[layers[-1].output] = tuple(shape)

    for number in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(sorted(shapes)))
        shape = shapes[source]
        joined = [
            other for other, its in shapes.items() if its == shape or (len(shape) == 4 and its == (*shape[:2], 1, 1))
        ]
        kind = draw(
            st.sampled_from(
                ("Add", "Mul", "Conv", "Conv", "GlobalAveragePool", "Flatten", *WINDOWED, *MOVING, *KEEPING)
                if len(shape) == 4
                else ("Gemm", "Gemm", "Reshape", "Add", *KEEPING)
            )
        )
        if kind in ("Add", "Mul"):
            other = draw(st.sampled_from(joined))
            if kind == "Mul" and len(shape) == 4 and draw(st.booleans()):
                put("Conv", [source, give(random_array(1, shape[1], 1, 1, seed=number))], (shape[0], 1, *shape[2:]))
                other = layers[-1].output
            put(kind, draw(st.permutations([source, other])), shape)
        elif kind in WINDOWED:
            kernel, strides = ([draw(st.integers(1, most)) for _ in range(2)] for most in (4, 3))
            pads = [draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4)]
            ceil = draw(st.booleans())
            counted = kind == "AveragePool" and not ceil and draw(st.booleans())
            room = [shape[2 + axis] + pads[axis] + pads[axis + 2] - kernel[axis] for axis in range(2)]
            lengths = [
                (-(-each // stride) if ceil else each // stride) + 1 for each, stride in zip(room, strides, strict=True)
            ]
            begins = [(length - 1) * stride for length, stride in zip(lengths, strides, strict=True)]
            assume(min(room) >= 0 and all(begins[axis] < shape[2 + axis] + pads[axis] for axis in range(2)))
            fields = {
                "kernel_shape": tuple(kernel),
                "strides": tuple(strides),
                "pads": tuple(pads),
                "ceil_mode": int(ceil),
            }
            put(kind, [source], (*shape[:2], *lengths), **fields, **({"count_include_pad": 1} if counted else {}))
        elif kind == "Concat":
            beside = [other for other, its in shapes.items() if (its[0], its[2:]) == (shape[0], shape[2:])]
            chosen = [source, *draw(st.lists(st.sampled_from(beside), min_size=1, max_size=3))]
            put(kind, chosen, (shape[0], sum(shapes[each][1] for each in chosen), *shape[2:]), axis=1)
        elif kind == "Slice":
            first = draw(st.integers(0, shape[1] - 1))
            end = draw(st.integers(first + 1, shape[1]))
            put(
                kind,
                [source, *(give(np.array([each])) for each in (first, end, 1))],
                (shape[0], end - first, *shape[2:]),
            )
        elif kind == "Pad":
            mode = draw(st.sampled_from(("constant", "reflect")))
            most = [3 if mode == "constant" else min(3, length - 1) for length in shape[2:]]
            pads = [draw(st.integers(0, most[axis % 2])) for axis in range(4)]
            lengths = give(np.array([0, 0, *pads[:2], 0, 0, *pads[2:]]))
            put(kind, [source, lengths], (*shape[:2], shape[2] + sum(pads[::2]), shape[3] + sum(pads[1::2])), mode=mode)
        elif kind == "DepthToSpace":
            side = draw(st.sampled_from((1, 2, 3)))
            assume(shape[1] % side**2 == 0)
            spread = (shape[0], shape[1] // side**2, shape[2] * side, shape[3] * side)
            put(kind, [source], spread, blocksize=side, mode="CRD")
        elif kind == "Resize":
            factors = [1, 1, draw(st.integers(1, 3)), draw(st.integers(1, 3))]
            lengths = [length * factor for length, factor in zip(shape, factors, strict=True)]
            assume(max(lengths[2:]) < 40)
            put(kind, [source, "", give(np.array(factors, np.float32))], lengths, **NEAREST)
        elif kind == "Conv":
            outputs = draw(st.one_of(st.integers(1, 3), st.sampled_from((8, 11))))
            kernel, strides, dilations = ([draw(st.integers(1, most)) for _ in range(2)] for most in (3, 2, 2))
            reach = [(length - 1) * dilation + 1 for length, dilation in zip(kernel, dilations, strict=True)]
            pads = [draw(st.integers(0, reach[axis % 2] - 1)) for axis in range(4)]
            room = [shape[2 + axis] + pads[axis] + pads[axis + 2] - reach[axis] for axis in range(2)]
            assume(min(room) >= 0)
            weights = [random_array(outputs, shape[1], *kernel, seed=number)]
            if draw(st.booleans()):
                weights.append(random_array(outputs, seed=number))
            lengths = [each // stride + 1 for each, stride in zip(room, strides, strict=True)]
            inputs = [source, *(give(each) for each in weights)]
            fields = {"strides": tuple(strides), "dilations": tuple(dilations), "pads": tuple(pads)}
            put(kind, inputs, (shape[0], outputs, *lengths), **fields)
        elif kind == "Gemm":
            outputs, turned = draw(st.integers(1, 4)), draw(st.booleans())
            sizes = (outputs, shape[1]) if turned else (shape[1], outputs)
            inputs = [source, give(random_array(*sizes, seed=number))]
            if draw(st.booleans()):
                inputs.append(give(random_array(outputs, seed=number)))
            put(kind, inputs, (shape[0], outputs), transB=int(turned), alpha=1.0)
        elif kind == "Reshape":
            asked = (*shape, 1, 1)
            put(kind, [source, give(np.array(asked))], asked)
        elif kind == "Flatten":
            put(kind, [source], (shape[0], math.prod(shape[1:])), axis=1)
        else:
            put(kind, [source], (*shape[:2], 1, 1) if kind == "GlobalAveragePool" else shape)
    return make_graph(*layers, shape=shapes["in"], **arrays)


def run_as_written(data, picture):
    """Run ONNX Runtime without its optimiser, which joins pads and pools to what its own checks refuse."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"in": picture})


@settings(max_examples=120)
@given(draw_graphs())
def test_networks_that_branch_and_join_compute_what_onnx_says(graph):
    picture = random_array(*graph.shape, seed=99)
    expected = evaluate(graph, picture)
    assert follow_shapes(graph) == expected.shape
    data = write_graph(graph, expected.shape)
    assert read_graph(data).layers == graph.layers
    found = [OnnxNetwork(data, "test").run(picture)]
    if onnxruntime:
        found += run_as_written(data, picture)
    for each in found:
        assert each.shape == expected.shape
        np.testing.assert_allclose(each, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


JOINING = (
    Layer("Conv", ("in", "w", "b"), "planes", {"pads": (0, 0, 1, 1), "strides": (2, 2)}),
    Layer("GlobalAveragePool", ("planes",), "mean"),
    Layer("Flatten", ("mean",), "row", {"axis": 1}),
    Layer("Gemm", ("row", "m", "c"), "mixed", {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}),
    Layer("Reshape", ("mixed", "r"), "whole"),
    Layer("Add", ("planes", "whole"), "sum"),
    Layer("Slice", ("sum", "1", "5", "1"), "four"),
    Layer("DepthToSpace", ("four",), "one", {"blocksize": 2, "mode": "CRD"}),
    Layer("AveragePool", ("one",), "means", {"kernel_shape": (2, 2), "pads": (0, 0, 1, 1), "count_include_pad": 1}),
    Layer("Pad", ("means", "p"), "padded", {"mode": "reflect"}),
    Layer("MaxPool", ("padded",), "most", {"kernel_shape": (3, 3), "strides": (4, 2), "ceil_mode": 1}),
    Layer("Mul", ("planes", "most"), "weighed"),
    Layer("Concat", ("weighed", "sum"), "both", {"axis": 1}),
    Layer("Resize", ("both", "", "f"), "wide", NEAREST),
    Layer("Tanh", ("wide",), "result"),
)
ARRAYS = {
    "w": random_array(5, 3, 3, 3),
    "b": random_array(5, seed=1),
    "m": random_array(5, 5, seed=2),
    "c": random_array(5, seed=3),
    "r": np.array([1, 5, 1, 1]),
    "1": np.array([1]),
    "5": np.array([5]),
    "p": np.array([0, 0, 1, 0, 0, 0, 1, 0]),
    "f": np.array([1, 1, 1, 2], np.float32),
}
JOINED = make_graph(*JOINING, **ARRAYS)
FILE = write_graph(JOINED, follow_shapes(JOINED))


@pytest.mark.parametrize("order", [("planes", "numbers"), ("numbers", "planes")])
@pytest.mark.parametrize("first", ["planes", "numbers"])
def test_numbers_for_planes_are_added_whatever_made_them_and_when(order, first):
    """OpenCV 5 merges a convolution with the sum of it and of what was there before, whatever the shapes."""
    paths = {
        "planes": [Layer("Conv", ("in", "w", "b"), "planes", {"pads": (1, 1, 1, 1)})],
        "numbers": [Layer("GlobalAveragePool", ("in",), "1"), Layer("Conv", ("1", "k", "b"), "numbers")],
    }
    second = "numbers" if first == "planes" else "planes"
    layers = (*paths[first], *paths[second], Layer("Add", order, "0"), Layer("Relu", ("0",), "2"))
    graph = make_graph(*layers, w=ARRAYS["w"], b=ARRAYS["b"], k=random_array(5, 3, 1, 1, seed=4))
    spelled = spell_out(graph, trace_shapes(graph))
    assert [layer.kind for layer in spelled.layers] == [
        *(layer.kind for layer in layers[:-2]),
        "Reshape",
        "Add",
        "Relu",
    ]
    assert [layer.attributes["kernel_shape"] for layer in spelled.layers if layer.kind == "Conv"] == [
        graph.arrays[layer.inputs[1]].shape[2:] for layer in layers if layer.kind == "Conv"
    ]
    picture = random_array(1, 3, 4, 4, seed=5)
    expected = evaluate(graph, picture)
    assert trace_shapes(spelled).items() >= trace_shapes(graph).items()
    assert np.array_equal(evaluate(spelled, picture), expected)
    found = OnnxNetwork(write_graph(graph, expected.shape), "test").run(picture)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_threads_share_a_network_that_branches():
    network = OnnxNetwork(FILE, "test")
    pictures = [random_array(1, 3, 4, 4, seed=seed) for seed in range(40)]
    alone = [network.run(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as crew:
        for one, other in zip(alone, crew.map(network.run, pictures), strict=True):
            assert np.array_equal(one, other)


ROWS = {"m": random_array(5, 48), "c": random_array(5), "r": np.array([1, 48])}
FLAT = Layer("Flatten", ("in",), "row")
POOL = Layer("GlobalAveragePool", ("in",), "mean")


def connect(attributes=None, inputs=("row", "m", "c"), **arrays) -> Graph:
    given = {"transB": 1} if attributes is None else attributes
    return make_graph(FLAT, Layer("Gemm", inputs, "a", given), **{**ROWS, **arrays})


def reduce(kernel, **fields) -> tuple[Layer, dict]:
    return Layer("Conv", ("in", "k"), "few", fields), {"k": random_array(*kernel)}


def join(*before: Layer, inputs, shape=(1, 3, 4, 4), attributes=None, **arrays) -> Graph:
    return make_graph(*before, Layer("Add", inputs, "a", attributes or {}), shape=shape, **arrays)


SMALLER, SMALL = reduce((3, 3, 2, 2))
FEWER, FEW = reduce((1, 3, 1, 1))
THINNER, THIN = reduce((3, 3, 1, 4))
OTHERS, OTHER = reduce((2, 3, 4, 4))


def test_fully_connected_layers_may_hold_either_matrix():
    assert follow_shapes(connect()) == (1, 5)
    assert follow_shapes(connect({}, m=random_array(48, 5))) == (1, 5)
    assert follow_shapes(connect(inputs=("row", "m"))) == (1, 5)


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        *(
            (graph, "(Gemm) does not fit")
            for graph in (
                connect({}),
                connect({"transB": 2}),
                connect({"transB": (1, 1)}),
                connect({"transB": "1"}),
                connect({"transB": 1, "transA": 1}),
                connect({"transB": 1, "alpha": 2.0}),
                connect({"transB": 1, "alpha": 1}),
                connect({"transB": 1, "beta": 0.5}),
                connect({"transB": 1, "beta": "1.0"}),
                connect(m=random_array(5, 47)),
                connect(m=random_array(5, 48, 1)),
                connect(m=random_array(5 * 48)),
                connect(m=ROWS["m"].astype(np.int64)),
                connect(c=random_array(4)),
                connect(c=random_array(1, 5)),
                connect(c=ROWS["c"].astype(np.int64)),
                connect(inputs=("row", "m", "c", "c")),
                connect(inputs=("row",)),
                connect(inputs=("in", "m", "c")),
            )
        ),
        *(
            (make_graph(Layer(kind, ("in", *names), "a", attributes), **given), f"({kind}) does not fit")
            for kind, names, attributes, given in (
                ("Conv", ("k",), {"group": (1, 1)}, SMALL),
                ("Conv", ("k",), {"group": ()}, SMALL),
                ("Conv", ("k",), {"pads": 1}, SMALL),
                ("Conv", ("k",), {"pads": (0, 0, 0, -1)}, SMALL),
                ("Conv", ("k",), {"pads": (0, 0, 0, 2)}, SMALL),
                ("Conv", ("k",), {"pads": (1, 0, 0, 0)}, FEW),
                ("Conv", ("k",), {"pads": (0, 0, 0, 1025), "dilations": (1, 1024)}, SMALL),
                ("Flatten", (), {"axis": (1, 1)}, {}),
                ("Flatten", (), {"axis": 1.0}, {}),
            )
        ),
        (connect({"transB": 1, "broadcast": 1}), "unknown attribute 'broadcast'"),
        (connect(inputs=("row", "row")), "reads what nothing before it makes"),
        (connect(inputs=("m", "m")), "reads what nothing before it makes"),
        (connect(inputs=("row", "m", "")), "reads what nothing before it makes"),
        *(
            (graph, "(Add) does not fit")
            for graph in (
                join(SMALLER, inputs=("in", "few"), **SMALL),
                join(SMALLER, inputs=("few", "in"), **SMALL),
                join(FEWER, inputs=("in", "few"), **FEW),
                join(THINNER, inputs=("few", "in"), **THIN),
                join(OTHERS, inputs=("in", "few"), **OTHER),
                join(FLAT, inputs=("in", "row")),
                join(POOL, FLAT, inputs=("row", "mean")),
                join(
                    Layer("Reshape", ("in", "r"), "row"),
                    inputs=("row", "in"),
                    shape=(2, 3, 1, 1),
                    r=np.array([1, 6, 1, 1]),
                ),
            )
        ),
        (join(POOL, inputs=("in", "mean"), attributes={"axis": 1}), "unknown attribute 'axis'"),
        (join(POOL, inputs=("in",)), "reads what nothing before it makes"),
        (join(POOL, inputs=("in", "mean", "in")), "reads what nothing before it makes"),
        (join(inputs=("in", "b"), b=random_array(1, 3, 4, 4)), "reads what nothing before it makes"),
        (join(inputs=("b", "in"), b=random_array(1, 3, 4, 4)), "reads what nothing before it makes"),
        (join(inputs=("in", "b", "b"), b=random_array(1, 3, 4, 4)), "reads what nothing before it makes"),
        (join(inputs=("in", "in", "b"), b=random_array(1, 3, 4, 4)), "(Add) does not fit"),
        (join(inputs=("in", "a")), "reads what nothing before it makes"),
        (join(inputs=("in", "")), "reads what nothing before it makes"),
        (
            make_graph(Layer("Add", ("in", "later"), "a"), Layer("Relu", ("in",), "later"), Layer("Relu", ("a",), "b")),
            "reads what nothing before it makes",
        ),
        (Graph(13, "", (1, 3, 4, 4), "a", (Layer("Add", ("", ""), "a"),), {}), "its input has no name"),
        (
            make_graph(Layer("Gemm", ("in", "m"), "a"), shape=(1 << 20, 256), m=random_array(256, 256)),
            f"{1 << 28} values in {1 << 36} steps",
        ),
        (
            make_graph(
                *(Layer("Add", ("in", "in"), f"a{number}") for number in range(5)), shape=(1, 16, 1 << 11, 1 << 11)
            ),
            f"up to 'a4' make {5 << 26} values",
        ),
        (
            make_graph(*(Layer("Add", (f"a{number}",) * 2, f"a{number + 1}") for number in range(1001)), shape=(1, 3)),
            "more than 1000 layers",
        ),
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


VERSION_13 = b"\x42\x02\x10\x0d"  # of operators


@pytest.mark.parametrize(
    "file",
    [
        FILE + b"\x28\x00" * 20_001,  # the version of the model
        FILE + b"\x42\x82\x02" + b"\x0a\x00" * 129,  # a set of operators, whose domain is said again and again
        VERSION_13 + b"\x3a\xc2\xb8\x02" + b"\x12\x00" * 20_001,  # a graph, whose name is said again and again
        VERSION_13
        + b"\x3a\x85\x02\x0a\x82\x02"
        + b"\x1a\x00" * 129,  # a graph of a layer, whose name is said again and again
    ],
)
def test_files_that_say_very_many_things_are_refused_before_they_are_read(file):
    with pytest.raises(ArtefactError, match="says more than"):
        OnnxNetwork(file, "test")


@settings(max_examples=300)
@given(st.data())
@example(None)
def test_any_change_of_a_file_that_branches_is_refused_or_runs(data):
    changed = bytearray(FILE)
    if data is not None:
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(changed) - 1))
            kind = data.draw(st.sampled_from(("change", "remove", "insert")))
            length = data.draw(st.integers(1, 12))
            new = b"" if kind == "remove" else data.draw(st.binary(min_size=length, max_size=length))
            changed[place : place + (0 if kind == "insert" else length)] = new
    check_refused_or_runs(bytes(changed))


NAMES = ("in", *ARRAYS, *(layer.output for layer in JOINING), "")


@settings(max_examples=400)
@given(st.data())
def test_any_change_of_what_layers_read_and_say_is_refused_or_runs(data):
    """Bytes changed at random seldom make a file that is sound but for its layers: here it always is."""
    layers = list(JOINING)
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(layers) - 1))
        layer = layers[number]
        inputs = tuple(data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)))
        numbers = st.one_of(
            st.integers(-3, 9), st.sampled_from((1.0, 0.0)), st.lists(st.integers(-1, 4), max_size=4).map(tuple)
        )
        names = st.sampled_from(sorted(set[str]().union(*(known.attributes for known in LAYERS.values()))))
        layers[number] = Layer(
            data.draw(st.sampled_from((layer.kind, *LAYERS))),
            data.draw(st.sampled_from((layer.inputs, inputs))),
            layer.output,
            {**layer.attributes, **data.draw(st.dictionaries(names, numbers, max_size=2))},
        )
    order = data.draw(st.permutations(layers)) if data.draw(st.booleans()) else layers
    arrays = {**ARRAYS, "r": data.draw(st.sampled_from(([1, 5, 1, 1], [1, -1], [5, 1], [20], [0, 5])))}
    arrays["r"] = np.array(arrays["r"])
    if data.draw(st.booleans()):
        arrays["p"] = np.array(data.draw(st.lists(st.integers(0, 3), min_size=8, max_size=8)))
    output = data.draw(st.sampled_from(("result", *NAMES)))
    check_refused_or_runs(write_graph(Graph(13, "in", (1, 3, 4, 4), output, tuple(order), arrays), (1, 5, 2, 2)))


def check_refused_or_runs(file: bytes) -> None:
    """A file that is taken gives as many values as its layers promise."""
    try:
        network = OnnxNetwork(file, "test")
        values = network.run(np.ones(network.input_shape, np.float32))
    except ArtefactError as problem:
        assert "\n" not in str(problem)
    else:
        assert values.size == math.prod(network.output_shape)
