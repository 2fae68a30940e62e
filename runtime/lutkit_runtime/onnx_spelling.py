"""Networks said anew so that every version of OpenCV computes them as they are meant. Floor 2: imports onnx_graph.

Each workaround here was found by comparing random networks with what ONNX says of them, in OpenCV 4.10, 4.13 and 5.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.onnx_graph import Attribute, Graph, Layer, Shape

TANH_ENDS = 16.0
"""The hyperbolic tangent of it is 1 in float32."""


def spell_out(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """Return a graph of the same meaning that every version of OpenCV computes as it is meant.

    Parameters
    ----------
    graph : Graph
    shapes : mapping of name to shape
        Of all results, from `trace_shapes`.
    """
    text = _Text(graph, shapes, [], dict(graph.arrays), {*shapes, *graph.arrays})
    for layer in graph.layers:
        text.layers.append(_SPELLINGS[layer.kind](text, layer) if layer.kind in _SPELLINGS else layer)
    return replace(graph, layers=tuple(text.layers), arrays=text.arrays)


@dataclass(frozen=True)
class _Text:
    """A graph and what has been written of it so far.

    Parameters
    ----------
    graph : Graph
    shapes : mapping of name to shape
    layers : list of Layer
    arrays : dict of name to array
    taken : set of str
        Names of all results and arrays.
    """

    graph: Graph
    shapes: Mapping[str, Shape]
    layers: list[Layer]
    arrays: dict[str, NDArray[Any]]
    taken: set[str]

    def put(self, kind: str, source: str, *arrays: NDArray[Any], **attributes: Attribute) -> str:
        """Write a layer of a result and arrays, and return the name of what it makes."""
        names = [self._name() for _ in arrays]
        self.arrays.update(zip(names, arrays, strict=True))
        self.layers.append(Layer(kind, (source, *names), self._name(), attributes))
        return self.layers[-1].output

    def _name(self) -> str:
        """Return a name that is not taken, and take it."""
        name = next(name for name in map(str, range(len(self.taken) + 1)) if name not in self.taken)
        self.taken.add(name)
        return name


def _tell_kernel(text: _Text, layer: Layer) -> Layer:
    """OpenCV 4 needs to be told the size of kernels, and reads beyond its memory for some pads of groups."""
    kernel = text.graph.arrays[layer.inputs[1]].shape[2:]
    pads = _numbers(layer, "pads", (0, 0, 0, 0))
    source, *weights = layer.inputs
    if layer.attributes.get("group", 1) != 1 and any(pads):
        source, pads = _pad(text, source, pads), (0, 0, 0, 0)
    fields = {**layer.attributes, "kernel_shape": kernel, "pads": pads}
    return replace(layer, inputs=(source, *weights), attributes=fields)


def _reshape_factor(text: _Text, layer: Layer) -> Layer:
    """Put a layer between what two results are made of, where one is numbers for planes, or one plane for all.

    OpenCV 5 adds to a convolution, while it computes it, what an `Add` adds to it, though that has the shape of a
    single pixel; and a `Mul` of planes by one plane takes both as if they had eight channels side by side.
    """
    shape = text.shapes[layer.output]
    names = [
        name if text.shapes[name] == shape else text.put("Reshape", name, np.array(text.shapes[name], np.int64))
        for name in layer.inputs
    ]
    return replace(layer, inputs=tuple(names))


def _tell_windows(text: _Text, layer: Layer) -> Layer:
    """Say by pads alone where windows end, and put zeros that count there by a layer of their own.

    OpenCV 4 loses a last window that lies partly outside where the pads of two sides differ, and divides means that
    count the padding by another number.
    """
    source = layer.inputs[0]
    kernel = _numbers(layer, "kernel_shape", (1, 1))
    strides, pads = _numbers(layer, "strides", (1, 1)), _numbers(layer, "pads", (0, 0, 0, 0))
    taken, given = text.shapes[source][2:], text.shapes[layer.output][2:]
    spans = [(given[axis] - 1) * strides[axis] + kernel[axis] for axis in range(2)]
    pads = (*pads[:2], *(max(pads[axis + 2], spans[axis] - taken[axis] - pads[axis]) for axis in range(2)))
    if layer.attributes.get("count_include_pad", 0) and any(pads):
        source, pads = _pad(text, source, pads), (0, 0, 0, 0)
    return Layer(layer.kind, (source,), layer.output, {"kernel_shape": kernel, "strides": strides, "pads": pads})


def _limit(text: _Text, layer: Layer) -> Layer:
    """Limit what the hyperbolic tangent is of: OpenCV 5 makes no number of values above 44."""
    source = layer.inputs[0]
    if text.graph.opset < 11:
        limited = text.put("Clip", source, min=-TANH_ENDS, max=TANH_ENDS)
    else:
        limited = text.put("Clip", source, *(np.array(end, np.float32) for end in (-TANH_ENDS, TANH_ENDS)))
    return replace(layer, inputs=(limited,))


_SPELLINGS: Mapping[str, Callable[[_Text, Layer], Layer]] = {
    "Conv": _tell_kernel,
    "Add": _reshape_factor,
    "Mul": _reshape_factor,
    "MaxPool": _tell_windows,
    "AveragePool": _tell_windows,
    "Tanh": _limit,
}


def _pad(text: _Text, source: str, pads: tuple[int, ...]) -> str:
    """Write a layer that puts zeros around pictures, and return the name of what it makes."""
    lengths = (0, 0, *pads[:2], 0, 0, *pads[2:])
    if text.graph.opset < 11:
        return text.put("Pad", source, mode="constant", pads=lengths)
    return text.put("Pad", source, np.array(lengths, np.int64), mode="constant")


def _numbers(layer: Layer, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return an attribute of several integers, which `onnx_rules` has checked."""
    value = layer.attributes.get(name, default)
    return value if isinstance(value, tuple) else default
