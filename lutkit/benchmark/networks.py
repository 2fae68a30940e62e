"""Networks that enlarge, with random weights, and how other programs run them. Imports those inside functions.

Time does not depend on weights. The published sizes: FSRCNN (Dong et al., ECCV 2016, section 3.3, d = 56, s = 12, m = 4) and
ESPCN (Shi et al., CVPR 2016, section 3.1, 64 and 32 maps), for luma; here the three channels of a picture are a batch.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lutkit.benchmark.colour_engines import Prepare, Run
from lutkit.benchmark.pictures import Picture
from lutkit_runtime.onnx_graph import Attribute, Graph, Layer
from lutkit_runtime.onnx_writer import write_graph

Float32 = NDArray[np.float32]

OPSET = 17
CHANNELS = 3


class NetworkMaker(Protocol):
    """Makes a network for an input (3, 1, height, width) and a scale."""

    def __call__(self, height: int, width: int, scale: int) -> Graph:
        """Return the network."""
        ...


class _Builder:
    """Layers one after another, each reading the one before; weights as He et al. draw them, so that values keep size."""

    def __init__(self, height: int, width: int) -> None:
        self._random = np.random.default_rng(0)
        self._shape = (CHANNELS, 1, height, width)
        self._layers: list[Layer] = []
        self._arrays: dict[str, NDArray[Any]] = {}
        self._last = "in"

    def add(self, kind: str, *arrays: Float32, **attributes: Attribute) -> None:
        """Append a layer with its arrays."""
        names = tuple(f"{kind}{len(self._layers)}-{number}" for number in range(len(arrays)))
        self._arrays.update(zip(names, arrays, strict=True))
        output = f"value{len(self._layers)}"
        self._layers.append(Layer(kind, (self._last, *names), output, attributes))
        self._last = output

    def draw(self, *shape: int, summed: int, gain: float = 2.0) -> Float32:
        """Return random weights of which so many are summed."""
        return (self._random.standard_normal(shape) * np.sqrt(gain / summed)).astype(np.float32)

    def convolve(self, inputs: int, outputs: int, side: int, bias: float = 0.0) -> None:
        """Append a convolution that keeps the size."""
        weights = self.draw(outputs, inputs, side, side, summed=inputs * side**2)
        biases = np.full(outputs, bias, np.float32)
        self.add("Conv", weights, biases, kernel_shape=(side, side), pads=(side // 2,) * 4)

    def finish(self) -> Graph:
        """Return the network."""
        return Graph(OPSET, "in", self._shape, self._last, tuple(self._layers), self._arrays)


def make_fsrcnn(height: int, width: int, scale: int = 4, details: int = 56, shrunk: int = 12, layers: int = 4) -> Graph:
    """Return an FSRCNN for (3, 1, height, width)."""
    network = _Builder(height, width)
    sizes = [(1, details, 5), (details, shrunk, 1), *((shrunk, shrunk, 3) for _ in range(layers)), (shrunk, details, 1)]
    for inputs, outputs, side in sizes:
        network.convolve(inputs, outputs, side)
        network.add("PRelu", np.full((outputs, 1, 1), 0.25, np.float32))
    # about 81 / scale**2 weights of each map meet in one pixel
    weights = network.draw(details, 1, 9, 9, summed=details * 81, gain=1.0)
    network.add(
        "ConvTranspose",
        weights,
        np.full(1, 0.5, np.float32),
        kernel_shape=(9, 9),
        strides=(scale, scale),
        pads=(4,) * 4,
        output_padding=(scale - 1,) * 2,
    )
    return network.finish()


def make_espcn(height: int, width: int, scale: int = 4) -> Graph:
    """Return an ESPCN for (3, 1, height, width)."""
    network = _Builder(height, width)
    for inputs, outputs, side in ((1, 64, 5), (64, 32, 3)):
        network.convolve(inputs, outputs, side)
        network.add("Tanh")
    network.convolve(32, scale**2, 3, bias=0.5)
    network.add("DepthToSpace", blocksize=scale)
    return network.finish()


NETWORKS: dict[str, NetworkMaker] = {"FSRCNN": make_fsrcnn, "ESPCN": make_espcn}


def encode_network(graph: Graph, scale: int) -> bytes:
    """Return the ONNX file of a network that enlarges."""
    batch, channels, height, width = graph.shape
    return write_graph(graph, (batch, channels, height * scale, width * scale))


def count_bytes(graph: Graph) -> int:
    """Return the bytes of the weights."""
    return sum(array.nbytes for array in graph.arrays.values())


def to_planes(picture: Picture) -> Float32:
    """Return the channels of a picture of bytes as a batch (3, 1, H, W) of 0 to 1."""
    import cv2

    return np.asarray(cv2.dnn.blobFromImages(cv2.split(picture), 1 / 255), np.float32)


def to_picture(planes: Float32) -> Picture:
    """Return the picture of bytes of a batch of planes, rounded and clipped by OpenCV."""
    import cv2

    rounded = [cv2.convertScaleAbs(plane[0].clip(min=0), alpha=255) for plane in planes]
    return np.asarray(cv2.merge(rounded))


def make_onnxruntime(make: NetworkMaker, scale: int) -> Prepare:
    """Return what enlarges a picture of bytes with a network in ONNX Runtime; planes and back count."""

    def prepare(picture: Picture, threads: int) -> Run:
        onnxruntime: Any = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # its threads would otherwise spin on the cores of whoever is measured next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        network = encode_network(make(picture.shape[0], picture.shape[1], scale), scale)
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        return lambda: to_picture(session.run(None, {"in": to_planes(picture)})[0])

    return prepare


def make_opencv_network(make: NetworkMaker, scale: int) -> Prepare:
    """Return what enlarges a picture of bytes with a network in OpenCV; planes and back count."""
    import cv2

    def prepare(picture: Picture, _threads: int) -> Run:
        graph = encode_network(make(picture.shape[0], picture.shape[1], scale), scale)
        network = cv2.dnn.readNetFromONNX(np.frombuffer(graph, np.uint8))

        def run() -> Picture:
            network.setInput(to_planes(picture))
            return to_picture(np.asarray(network.forward(), np.float32))

        return run

    return prepare
