"""Networks in the ONNX format, run by OpenCV: no torch.

Floor 2: imports errors and the strict reader of ONNX files; OpenCV where it is used. OpenCV never sees the file, only
what was understood of it: given a hostile one, it may end the process.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.onnx_graph import read_graph
from lutkit_runtime.onnx_layers import follow_shapes
from lutkit_runtime.onnx_writer import write_graph

MAX_NETWORK_BYTES = 256 << 20


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
            self.output_shape = follow_shapes(known)
        except ArtefactError as problem:
            raise ArtefactError(f"network '{name}' cannot be used ({_line(problem)}): make it anew") from None
        import cv2

        try:
            self._network = cv2.dnn.readNetFromONNX(np.frombuffer(write_graph(known, self.output_shape), np.uint8))
        except cv2.error as problem:
            raise ArtefactError(f"network '{name}' cannot be read by OpenCV ({_line(problem)}): make it anew") from None

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


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160]
