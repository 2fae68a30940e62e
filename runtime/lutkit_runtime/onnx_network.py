"""Networks in the ONNX format, run by OpenCV: no torch.

Floor 2: imports errors and the strict reader of ONNX files; OpenCV where it is used. OpenCV never sees the file, only
what was understood of it: given a hostile one, it may end the process.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError, InputError
from lutkit_runtime.onnx_graph import Graph, Shape, read_graph
from lutkit_runtime.onnx_layers import trace_shapes
from lutkit_runtime.onnx_spelling import spell_out
from lutkit_runtime.onnx_writer import write_graph

MAX_NETWORK_BYTES = 256 << 20
MAX_VALUES_OF_PIXEL = 1 << 14
"""Values that flow between the layers of a network that sees every pixel, for each of them."""
NO_MEMORY = -4
"""What OpenCV calls it (StsNoMem)."""


class OnnxNetwork:
    """A network of one input and one output; may be used from several threads.

    Parameters
    ----------
    graph : bytes or uint8 array
        An ONNX file.
    name : str
        What it is called in messages.

    Attributes
    ----------
    input_shape, output_shape : tuple of int

    Raises
    ------
    ArtefactError
        Where it holds anything but layers that are known and fit each other, or OpenCV cannot read it.
    """

    def __init__(self, graph: bytes | NDArray[np.uint8], name: str) -> None:
        self._name = name
        self._running = threading.Lock()
        try:
            known = read_graph(bytes(graph))
            self.input_shape = known.shape
            shapes = trace_shapes(known)
            self.output_shape = shapes[known.output]
        except ArtefactError as problem:
            raise ArtefactError(f"network '{name}' cannot be used ({_line(problem)}): make it anew") from None
        self._network = _lay_out(known, shapes, name)

    def run(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for an input of the shape; raises ArtefactError where OpenCV cannot compute it."""
        import cv2

        if blob.shape != self.input_shape:
            raise ArtefactError(f"network '{self._name}' takes {self.input_shape}, not {blob.shape}: make it anew")

        try:
            with self._running:
                self._network.setInput(blob)
                return np.array(self._network.forward(), np.float32)
        except cv2.error as problem:
            raise ArtefactError(f"network '{self._name}' cannot be run ({_line(problem)}): make it anew") from None


class ResizableNetwork:
    """A network of convolutions that runs on pictures of any size; may be used from several threads.

    Parameters
    ----------
    graph : bytes or uint8 array
        An ONNX file for pictures of some size.
    name : str
        What it is called in messages.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        As the file has them.

    Raises
    ------
    ArtefactError
        Where it holds anything but layers that are known and fit each other.
    """

    def __init__(self, graph: bytes | NDArray[np.uint8], name: str) -> None:
        self._name = name
        self._running = threading.Lock()
        self._laid_out: tuple[Shape, Any] = ((), None)
        try:
            self._graph = read_graph(bytes(graph))
            self.input_shape = self._graph.shape
            self.output_shape = trace_shapes(self._graph)[self._graph.output]
        except ArtefactError as problem:
            raise ArtefactError(f"network '{name}' cannot be used ({_line(problem)}): make it anew") from None

    def follow(self, shape: Shape, times: int = 1) -> Shape:
        """Return the shape of the output for an input of a shape.

        Raises ArtefactError where it does not fit the network, or would cost more than so many times what the network in
        a file may.
        """
        try:
            shapes = trace_shapes(replace(self._graph, shape=shape), times=times)
            values = sum(map(math.prod, shapes.values())) // math.prod(shape[2:])
            if values > MAX_VALUES_OF_PIXEL:
                raise ArtefactError(
                    f"its layers make {values} values of every pixel; {MAX_VALUES_OF_PIXEL} are allowed"
                )
            return shapes[self._graph.output]
        except ArtefactError as problem:
            sides = "x".join(map(str, shape[:1:-1]))
            raise ArtefactError(
                f"network '{self._name}' takes no {sides} pixels ({_line(problem)}): make it anew"
            ) from None

    def run(self, blob: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """Return the output (1, planes, height, width) for an input (1, channels, height, width).

        Parameters
        ----------
        blob : float32
        threads : int, optional
            How many may compute; as many as OpenCV uses by default.

        Raises ArtefactError where it does not fit the network, or OpenCV cannot compute it; InputError where it would take
        more memory than there is.
        """
        import cv2

        with self._running:
            network = self._fit(blob.shape)
            try:
                with _using_threads(threads):
                    network.setInput(blob)
                    result = np.array(network.forward(), np.float32)
            except cv2.error as problem:
                if getattr(problem, "code", 0) == NO_MEMORY:
                    height, width = blob.shape[2:]
                    raise InputError(
                        f"image is too large for network '{self._name}', which sees {width}x{height} pixels of it at once: "
                        "the memory of this machine does not suffice; use a smaller one"
                    ) from None
                raise ArtefactError(f"network '{self._name}' cannot be run ({_line(problem)}): make it anew") from None
        if result.shape != (1, self.output_shape[1], *blob.shape[2:]):
            raise ArtefactError(
                f"network '{self._name}' makes {result.shape} of {blob.shape}; rows and columns must stay: make it anew"
            )
        return result

    def _fit(self, shape: tuple[int, ...]) -> Any:
        """Return the network laid out for an input of a shape; the last one is kept."""
        laid_out_for, network = self._laid_out
        if laid_out_for != shape:
            graph = replace(self._graph, shape=shape)
            try:
                shapes = trace_shapes(graph, times=None)
            except ArtefactError as problem:
                raise ArtefactError(
                    f"network '{self._name}' takes no {shape[3]}x{shape[2]} pixels ({_line(problem)}): make it anew"
                ) from None
            network = _lay_out(graph, shapes, self._name)
            self._laid_out = (shape, network)
        return network


_threads = threading.Lock()
"""OpenCV has one number of threads for the whole process."""


@contextmanager
def _using_threads(threads: int | None) -> Generator[None]:
    """Let OpenCV compute with so many threads meanwhile."""
    import cv2

    if threads is None:
        yield
        return
    with _threads:
        before = cv2.getNumThreads()
        cv2.setNumThreads(min(threads, max(before, cv2.getNumberOfCPUs())))  # it would start any number
        try:
            yield
        finally:
            cv2.setNumThreads(before)


def _lay_out(graph: Graph, shapes: Mapping[str, Shape], name: str) -> Any:
    """Return a graph as OpenCV runs it; raises ArtefactError where it cannot."""
    import cv2

    file = write_graph(spell_out(graph, shapes), shapes[graph.output])
    try:
        return cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    except cv2.error as problem:
        raise ArtefactError(f"network '{name}' cannot be read by OpenCV ({_line(problem)}): make it anew") from None


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160]
