"""What a network of a benchmark computes, in float64 and step by step: what other programs are compared with.

Imports NumPy and the runtime's graphs. The layers are those of `networks`, as ONNX defines them
(https://onnx.ai/onnx/operators/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.onnx_graph import Graph, Layer

Float64 = NDArray[np.float64]


def evaluate_network(graph: Graph, batch: NDArray[Any]) -> Float64:
    """Return the output for a batch (N, channels, H, W) of any height and width."""
    value = batch.astype(np.float64)
    for layer in graph.layers:
        arrays = [graph.arrays[name].astype(np.float64) for name in layer.inputs[1:]]
        value = _LAYERS[layer.kind](layer, value, *arrays)
    return value


def _convolve(layer: Layer, value: Float64, weights: Float64, biases: Float64) -> Float64:
    value = _pad(value, _numbers(layer, "pads"))
    side, width = weights.shape[2:]
    tall, wide = value.shape[2] - side + 1, value.shape[3] - width + 1
    total = np.zeros((len(value), len(weights), tall, wide))
    # tap by tap: all windows at once would take gigabytes
    for row, column in np.ndindex(side, width):
        part = value[:, :, row : row + tall, column : column + wide]
        total += np.einsum("nihw,oi->nohw", part, weights[:, :, row, column], optimize=True)
    return total + biases[:, None, None]


def _convolve_transposed(layer: Layer, value: Float64, weights: Float64, biases: Float64) -> Float64:
    """Every sample adds the kernel, times itself, around its place; the pads are cut off, more rows are kept."""
    (down, across), (top, left, bottom, right) = _numbers(layer, "strides"), _numbers(layer, "pads")
    more_rows, more_columns = _numbers(layer, "output_padding")
    height, width = (value.shape[2] - 1) * down + 1, (value.shape[3] - 1) * across + 1
    tall, wide = height + weights.shape[2] - 1, width + weights.shape[3] - 1
    total = np.zeros((len(value), weights.shape[1], tall + more_rows, wide + more_columns))
    for row, column in np.ndindex(*weights.shape[2:]):
        part = np.einsum("nihw,io->nohw", value, weights[:, :, row, column], optimize=True)
        total[:, :, row : row + height : down, column : column + width : across] += part
    rows, columns = slice(top, tall + more_rows - bottom), slice(left, wide + more_columns - right)
    return total[:, :, rows, columns] + biases[:, None, None]


def _rectify(_layer: Layer, value: Float64, slopes: Float64) -> Float64:
    return np.where(value < 0, value * slopes, value)


def _squash(_layer: Layer, value: Float64) -> Float64:
    return np.tanh(value)


def _shuffle(layer: Layer, value: Float64) -> Float64:
    side = layer.attributes["blocksize"]
    assert isinstance(side, int)
    count, channels, height, width = value.shape
    blocks = value.reshape(count, side, side, channels // side**2, height, width)
    return blocks.transpose(0, 3, 4, 1, 5, 2).reshape(count, channels // side**2, height * side, width * side)


def _pad(value: Float64, pads: tuple[int, ...]) -> Float64:
    top, left, bottom, right = pads
    return np.pad(value, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _numbers(layer: Layer, name: str) -> tuple[int, ...]:
    numbers = layer.attributes[name]
    assert isinstance(numbers, tuple)
    return numbers


_LAYERS: Mapping[str, Callable[..., Float64]] = {
    "Conv": _convolve,
    "ConvTranspose": _convolve_transposed,
    "PRelu": _rectify,
    "Tanh": _squash,
    "DepthToSpace": _shuffle,
}
