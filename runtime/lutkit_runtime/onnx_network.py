"""Networks in the ONNX format, run by OpenCV: no torch. Floor 2: imports errors, and OpenCV where it is used."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError

MAX_NETWORK_BYTES = 256 << 20


class OnnxNetwork:
    """A network of one input and one output; may be used from several threads.

    Parameters
    ----------
    graph : bytes or uint8 array
        An ONNX file.
    name : str
        What it is called in messages.

    Raises
    ------
    ArtefactError
        Where OpenCV cannot read it.
    """

    def __init__(self, graph: bytes | NDArray[np.uint8], name: str) -> None:
        import cv2

        self._name = name
        self._running = threading.Lock()
        try:
            self._network = cv2.dnn.readNetFromONNX(np.frombuffer(graph, np.uint8))
        except cv2.error as problem:
            raise ArtefactError(f"network '{name}' cannot be read by OpenCV ({_line(problem)}): make it anew") from None

    def run(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for an input (1, channels, H, W); raises ArtefactError where OpenCV cannot compute it."""
        import cv2

        try:
            with self._running:
                self._network.setInput(blob)
                return np.array(self._network.forward(), np.float32)
        except cv2.error as problem:
            raise ArtefactError(f"network '{self._name}' cannot be run ({_line(problem)}): make it anew") from None


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160]
