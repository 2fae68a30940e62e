"""Networks of torch as ONNX files: the runtime computes what torch does, for pictures of any size."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from lutkit.lowlight.networks import RetinexNetwork  # noqa: E402
from lutkit.onnx_export import export_network  # noqa: E402
from lutkit.onnx_plain import drop_unread, fold_normalisations, fold_paddings, write_plainly  # noqa: E402
from lutkit.relighting.networks import RelightingNetwork  # noqa: E402
from lutkit_runtime.errors import ArtefactError, DataError  # noqa: E402
from lutkit_runtime.onnx_graph import Graph, Layer, read_graph  # noqa: E402
from lutkit_runtime.onnx_layers import follow_shapes, trace_shapes  # noqa: E402
from lutkit_runtime.onnx_network import ResizableNetwork  # noqa: E402

try:
    import onnxruntime
except ImportError:
    onnxruntime = None


class Residual(nn.Module):
    """Two convolutions with normalisation, groups of channels apart, and a shortcut that averages."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(taken, given, 1, bias=False), nn.BatchNorm2d(given), nn.ReLU())
        self.groups = nn.ModuleList(nn.Conv2d(given // 2, given // 2, 3, padding=1, stride=2) for _ in range(2))
        self.last = nn.BatchNorm2d(given)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(taken, given, 1),
            nn.BatchNorm2d(given),
        )

    def forward(self, value):
        first = self.first(value)
        one, other = torch.split(first, first.shape[1] // 2, dim=1)
        joined = torch.cat([self.groups[0](one), self.groups[1](other + one)], dim=1)
        return functional.relu(self.last(joined) + self.shortcut(value))


class Attention(nn.Module):
    """Channels weighed by their means, and pixels by what they hold."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())
        self.pixels = nn.Sequential(nn.Conv2d(channels, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1), nn.Sigmoid())

    def forward(self, value):
        value = value * self.channels(value)
        return self.pixels(value) * value


class Mixture(nn.Module):
    """Every layer that networks of full resolution may have; rows and columns in multiples of 8."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2))
        self.pools = nn.ModuleList((nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1)))
        self.normalise = nn.BatchNorm2d(2 * channels)
        self.residual = Residual(2 * channels, 4 * channels)
        self.attention = Attention(4 * channels)
        self.spread = nn.PixelShuffle(2)
        self.tail = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(6 + channels, 3, 7), nn.Tanh())

    def forward(self, picture):
        stem = self.stem(picture)
        half = self.normalise(torch.cat([pool(stem) for pool in self.pools], dim=1))
        deep = self.attention(self.residual(half))
        quarter = torch.cat([self.spread(deep), half], dim=1)[:, : stem.shape[1]]
        whole = functional.interpolate(quarter, scale_factor=4)
        means = functional.interpolate(functional.avg_pool2d(picture, 8), size=picture.shape[2:], mode="nearest")
        return self.tail(torch.cat([whole, means, picture], dim=1))


def settle(network: nn.Module, *shape: int) -> nn.Module:
    """Return a network whose weights are random, whose normalisations have seen pictures, and which still trains."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        for _ in range(3):
            network(torch.rand((2, *shape[1:]), generator=generator))
    return network.train()


@pytest.mark.parametrize(
    ("network", "shape", "sizes"),
    [
        (RetinexNetwork(8), (1, 3, 16, 16), [(2, 3), (16, 16), (37, 50)]),
        (Mixture(), (1, 3, 32, 32), [(16, 16), (32, 32), (40, 56)]),
        pytest.param(
            RelightingNetwork((1, 1, 1), 16),
            (1, 8, 32, 32),
            [(32, 32), (64, 32), (64, 96)],
            marks=pytest.mark.slow,
        ),
    ],
    ids=("retinex", "mixture", "relighting"),
)
def test_the_runtime_computes_what_torch_does_for_pictures_of_any_size(network, shape, sizes):
    settle(network, *shape)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    file = export_network(network, shape)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    runtime = ResizableNetwork(file, "test")
    assert runtime.input_shape == shape
    network.eval()
    for size in sizes:
        picture = np.random.default_rng(0).random((*shape[:2], *size), np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(picture)).numpy()
        assert expected.std() > 1e-3
        np.testing.assert_allclose(runtime.run(picture), expected, rtol=0, atol=1e-5)
        if onnxruntime and size == shape[2:]:
            session = onnxruntime.InferenceSession(file.tobytes(), providers=["CPUExecutionProvider"])
            np.testing.assert_allclose(session.run(None, {"picture": picture})[0], expected, rtol=0, atol=1e-5)
    if isinstance(network, Mixture):
        with pytest.raises(ArtefactError, match="network 'test' takes no 20x16 pixels") as caught:
            runtime.run(np.zeros((1, 3, 16, 20), np.float32))
        assert "\n" not in str(caught.value)


def test_equal_networks_give_equal_bytes():
    network = settle(Residual(4, 8), 1, 4, 8, 8)
    file = export_network(network, (1, 4, 8, 8))
    assert np.array_equal(export_network(network, (1, 4, 8, 8)), file)
    # the same with every weight in another precision, which holds it exactly
    assert np.array_equal(export_network(network.double(), (1, 4, 8, 8)), file)


def test_files_hold_known_layers_alone_and_nothing_that_nothing_reads():
    graph = read_graph(export_network(Mixture().eval(), (1, 3, 16, 16), "seen", "made").tobytes())
    assert (graph.input, graph.output) == ("seen", "made")
    assert set(graph.arrays) <= {name for layer in graph.layers for name in layer.inputs}
    kinds = {layer.kind for layer in graph.layers}
    assert kinds >= {"AveragePool", "Concat", "DepthToSpace", "MaxPool", "Mul", "Pad", "Resize", "Slice"}
    assert not kinds & {"BatchNormalization", "ReduceMean", "Split"}


@pytest.mark.parametrize("layer", [nn.GELU(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReplicationPad2d(1)])
def test_layers_that_the_runtime_does_not_know_are_refused(layer):
    with pytest.raises(ArtefactError) as caught:
        export_network(nn.Sequential(nn.Conv2d(3, 3, 1), layer), (1, 3, 8, 8))
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DataError, match=r"writing ONNX files needs onnx: pip install 'lutkit\[train\]'"):
        export_network(nn.Conv2d(3, 3, 1), (1, 3, 8, 8))


def make_graph(*layers: Layer, shape=(1, 3, 8, 8), **arrays) -> Graph:
    return Graph(18, "in", shape, layers[-1].output, layers, arrays)


def say_plainly(layer: Layer, **arrays) -> tuple[Graph, tuple[int, ...]]:
    graph = make_graph(layer, **arrays)
    plain = write_plainly(graph, {"in": graph.shape})
    return plain, follow_shapes(plain)


@pytest.mark.parametrize(
    ("start", "end", "axis", "step", "kept"),
    [(1, 1 << 62, 1, 1, (1, 3)), (-2, -1, -3, 1, (1, 2)), (0, 2, 1, None, (0, 2)), (-9, 9, 1, 1, (0, 3))],
)
def test_planes_are_counted_from_the_first_and_to_the_last(start, end, axis, step, kept):
    names = ("s", "e", "a", *(() if step is None else ("t",)))
    arrays = {
        name: np.array([value])
        for name, value in zip("seat", (start, end, axis, step), strict=True)
        if value is not None
    }
    plain, shape = say_plainly(Layer("Slice", ("in", *names), "out"), **arrays)
    assert shape == (1, kept[1] - kept[0], 8, 8)
    assert [plain.arrays[name].tolist() for name in plain.layers[0].inputs[1:]] == [[kept[0]], [kept[1]], [1]]


@pytest.mark.parametrize(
    ("layer", "arrays"),
    [
        (Layer("Slice", ("in", "s", "e", "a"), "out"), {"s": [0], "e": [2], "a": [2]}),
        (Layer("Slice", ("in", "s", "e", "a", "t"), "out"), {"s": [0], "e": [2], "a": [1], "t": [2]}),
        (Layer("Slice", ("in", "s", "e"), "out"), {"s": [0], "e": [1]}),
        (Layer("Resize", ("in", "", "", "s"), "out", {"mode": "nearest"}), {"s": [1, 3, 12, 16]}),
        (Layer("Concat", ("in", "in"), "out", {"axis": -1}), {}),
        (Layer("MaxPool", ("in",), "out", {"kernel_shape": (2, 2), "dilations": (2, 2)}), {}),
    ],
)
def test_what_the_runtime_has_no_words_for_stays_and_is_refused(layer, arrays):
    with pytest.raises(ArtefactError, match=rf"the layer 'out' \({layer.kind}\)|'out' has the unknown|'out' reads"):
        say_plainly(layer, **{name: np.array(values) for name, values in arrays.items()})


def test_averages_of_nothing_outside_do_not_count_it_and_axes_are_counted_from_the_first():
    fields = {"kernel_shape": (2, 2), "ceil_mode": 1, "count_include_pad": 1}
    assert "count_include_pad" not in say_plainly(Layer("AveragePool", ("in",), "a", fields))[0].layers[0].attributes
    assert say_plainly(Layer("Concat", ("in", "in"), "a", {"axis": -3}))[1] == (1, 6, 8, 8)


NORMAL = {name: np.arange(1, 4, dtype=np.float32) / part for part, name in enumerate("sbmv", 1)}
KERNEL = {"w": np.ones((3, 3, 1, 1), np.float32)}


@pytest.mark.parametrize("apart", [False, True])
def test_normalisations_become_convolutions(apart):
    layers = [
        Layer("Conv", ("in", "w"), "a"),
        Layer("BatchNormalization", ("a", "s", "b", "m", "v"), "n", {"epsilon": 0.5}),
        Layer("Add", ("n", "a"), "c") if apart else Layer("Relu", ("n",), "c"),
    ]
    graph = make_graph(*layers, **KERNEL, **NORMAL)
    folded = fold_normalisations(graph)
    assert [layer.kind for layer in folded.layers] == ["Conv", *(("Conv", "Add") if apart else ("Relu",))]
    assert trace_shapes(folded)["n"] == (1, 3, 8, 8)
    factors = NORMAL["s"] / np.sqrt(NORMAL["v"] + 0.5)
    _, weights, biases = folded.layers[-2].inputs
    np.testing.assert_allclose(folded.arrays[weights][:, 0, 0, 0], factors, rtol=1e-6)
    np.testing.assert_allclose(folded.arrays[biases], NORMAL["b"] - NORMAL["m"] * factors, rtol=1e-6)
    assert not folded.arrays.keys() & NORMAL.keys()


def test_what_nothing_reads_is_dropped():
    layers = (Layer("Relu", ("in",), "a"), Layer("Conv", ("a", "w"), "b"), Layer("Tanh", ("a",), "c"))
    dropped = drop_unread(make_graph(*layers, **KERNEL))
    assert dropped.layers == (layers[0], layers[2]) and not dropped.arrays


def pad_and_convolve(*inputs, mode="constant", **arrays):
    layers = (
        Layer("Pad", ("in", "lengths", *inputs), "padded", {"mode": mode}),
        Layer("Conv", ("padded", "w"), "a", {"pads": (1, 0, 0, 1), "strides": (2, 2)}),
    )
    given = {"lengths": np.array([0, 0, 0, 1, 0, 0, 1, 0]), "w": np.ones((5, 3, 3, 3), np.float32), **arrays}
    return Graph(18, "in", (1, 3, 8, 8), "a", layers, given)


ZERO, ONE = np.zeros((), np.float32), np.ones((), np.float32)


@pytest.mark.parametrize("graph", [pad_and_convolve(), pad_and_convolve("z", z=ZERO), pad_and_convolve("", "")])
def test_paddings_become_part_of_convolutions(graph):
    folded = fold_paddings(graph)
    assert folded.layers == (Layer("Conv", ("in", "w"), "a", {"pads": (1, 1, 1, 1), "strides": (2, 2)}),)
    assert folded.arrays.keys() == {"w"} and follow_shapes(folded) == (1, 5, 4, 4)


@pytest.mark.parametrize(
    "graph",
    [
        pad_and_convolve(mode="edge"),
        pad_and_convolve("z", z=ONE),
        pad_and_convolve("missing"),
        pad_and_convolve("", "z", z=np.array([2, 3])),
        pad_and_convolve(lengths=np.array([0, 1, 0, 0, 0, 0, 0, 0])),
        pad_and_convolve(lengths=np.array([0, 0, 0, 0, 0, 0, -1, 0])),
        pad_and_convolve(lengths=np.array([0, 0, 1, 1])),
    ],
)
def test_other_paddings_stay_and_are_refused(graph):
    assert fold_paddings(graph).layers == graph.layers
    with pytest.raises(ArtefactError, match=r"the layer 'padded' \(Pad\) does not fit|'padded' reads what"):
        follow_shapes(fold_paddings(graph))


def test_a_padding_that_other_layers_read_stays():
    graph = pad_and_convolve()
    layers = (*graph.layers, Layer("Relu", ("padded",), "b"), Layer("Add", ("a", "b"), "c"))
    more = Graph(18, "in", graph.shape, "c", layers, graph.arrays)
    assert [layer.kind for layer in fold_paddings(more).layers] == ["Pad", "Conv", "Relu", "Add"]
