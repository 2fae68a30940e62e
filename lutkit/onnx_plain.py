"""ONNX graphs as torch writes them, said in the few layers that the runtime knows. Imports NumPy and the runtime.

A version of torch may write the same network differently; what comes out here is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.onnx_graph import Attribute, Graph, Layer, Shape

_SILENT: Mapping[str, Mapping[str, Attribute]] = {
    "MaxPool": {"auto_pad": "NOTSET", "dilations": (1, 1), "storage_order": 0},
    "AveragePool": {"auto_pad": "NOTSET", "dilations": (1, 1)},
    "Resize": {
        "antialias": 0,
        "cubic_coeff_a": -0.75,
        "exclude_outside": 0,
        "extrapolation_value": 0.0,
        "keep_aspect_ratio_policy": "stretch",
    },
}
"""What layers say that is so without saying, or without meaning where they read pixels as they are."""


def write_plainly(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """Return a graph of the same meaning in layers that the runtime knows, as far as there are such.

    Parameters
    ----------
    graph : Graph
    shapes : mapping of name to shape
        Of the input and of results, as far as they are known.
    """
    arrays = dict(graph.arrays)
    layers = tuple(_say_plainly(layer, arrays, shapes) for layer in graph.layers)
    return drop_unread(fold_normalisations(fold_paddings(replace(graph, layers=layers, arrays=arrays))))


def drop_unread(graph: Graph) -> Graph:
    """Return a graph without layers and arrays that nothing reads."""
    read = {graph.output}
    kept: list[Layer] = []
    for layer in reversed(graph.layers):
        if layer.output in read:
            read.update(layer.inputs)
            kept.append(layer)
    arrays = {name: array for name, array in graph.arrays.items() if name in read}
    return replace(graph, layers=tuple(reversed(kept)), arrays=arrays)


def fold_paddings(graph: Graph) -> Graph:
    """Return a graph in which convolutions pad what they read, instead of a layer before them, with no array too many.

    A padding that is not of zeros around pictures, or that other layers read, stays.
    """
    paddings = {layer.output: (layer.inputs[0], _find_pads(layer, graph)) for layer in graph.layers}
    layers: list[Layer] = []
    for layer in graph.layers:
        source, outer = paddings.get(layer.inputs[0], ("", None))
        own = layer.attributes.get("pads", (0, 0, 0, 0))
        if layer.kind == "Conv" and outer and isinstance(own, tuple):
            pads = tuple(inside + outside for inside, outside in zip(own, outer, strict=True))
            layer = replace(layer, inputs=(source, *layer.inputs[1:]), attributes={**layer.attributes, "pads": pads})
        layers.append(layer)
    return drop_unread(replace(graph, layers=tuple(layers)))


def fold_normalisations(graph: Graph) -> Graph:
    """Return a graph without batch normalisation: part of the convolution before it, or a convolution of its own.

    The latter has one weight for each channel; it stands where no convolution is, or something else reads it too.
    """
    readers = Counter(name for layer in graph.layers for name in layer.inputs)
    readers[graph.output] += 1
    arrays = dict(graph.arrays)
    layers: list[Layer] = []
    for layer in graph.layers:
        if layer.kind != "BatchNormalization":
            layers.append(layer)
            continue
        factors, offsets = _read_normalisation(layer, arrays)
        weights, biases = (f"{layer.output}.{part}" for part in ("weight", "bias"))
        number = next((n for n, before in enumerate(layers) if before.output == layer.inputs[0]), None)
        if number is None or layers[number].kind != "Conv" or readers[layer.inputs[0]] > 1:
            arrays[weights], arrays[biases] = factors.reshape(-1, 1, 1, 1), offsets
            fields: dict[str, Attribute] = {"group": len(factors), "kernel_shape": (1, 1)}
            layers.append(Layer("Conv", (layer.inputs[0], weights, biases), layer.output, fields))
        else:
            source, kernel, *own = layers[number].inputs
            arrays[weights] = arrays[kernel] * factors.reshape(-1, 1, 1, 1)
            arrays[biases] = sum((arrays[name] * factors for name in own), offsets)
            layers[number] = replace(layers[number], inputs=(source, weights, biases), output=layer.output)
    return drop_unread(replace(graph, layers=tuple(layers), arrays=arrays))


@dataclass(frozen=True)
class _Place:
    """A layer among what it reads.

    Parameters
    ----------
    layer : Layer
    shape : tuple of int
        Of the first result that it reads; empty where it is not known.
    arrays : dict of name to array
        Those of the graph.
    """

    layer: Layer
    shape: Shape
    arrays: dict[str, NDArray[Any]]

    def read(self, number: int, default: Sequence[float] = ()) -> list[float]:
        """Return the values of an input that is an array, or the default where there is none."""
        name = self.layer.inputs[number] if number < len(self.layer.inputs) else ""
        return self.arrays[name].reshape(-1).tolist() if name in self.arrays else list(default)

    def keep(self, part: str, *values: float, dtype: type) -> str:
        """Keep an array for the layer, and return its name."""
        name = f"{self.layer.output}.{part}"
        self.arrays[name] = np.array(values, dtype)
        return name


def _say_plainly(layer: Layer, arrays: dict[str, NDArray[Any]], shapes: Mapping[str, Shape]) -> Layer:
    """Return a layer in the words of the runtime, or as it is where it has none."""
    silent = _SILENT.get(layer.kind, {})
    said = {name: value for name, value in layer.attributes.items() if silent.get(name) != value}
    layer = replace(layer, attributes=said)
    if layer.kind not in _PLAIN:
        return layer
    return _PLAIN[layer.kind](_Place(layer, shapes.get(layer.inputs[0], ()), arrays))


def _name_mean(place: _Place) -> Layer:
    """The mean over a picture is the layer of that name: torch writes it as a reduction."""
    layer = place.layer
    if sorted(axis % 4 for axis in place.read(1)) != [2, 3] or layer.attributes.get("keepdims", 1) != 1:
        return layer
    return Layer("GlobalAveragePool", layer.inputs[:1], layer.output)


def _count_no_padding(place: _Place) -> Layer:
    """Where there is no padding, it is not said that it counts."""
    fields = dict(place.layer.attributes)
    pads = fields.get("pads", ())
    if isinstance(pads, tuple) and not any(pads):
        fields.pop("count_include_pad", None)
    return replace(place.layer, attributes=fields)


def _count_planes_from_one(place: _Place) -> Layer:
    """The axis of planes is 1, and not the last but two."""
    fields = dict(place.layer.attributes)
    if fields.get("axis") == 1 - len(place.shape):
        fields["axis"] = 1
    return replace(place.layer, attributes=fields)


def _repeat_pixels(place: _Place) -> Layer:
    """Sizes that are multiples are told as how often pixels are repeated, so that other pictures may have other sizes."""
    sizes = [int(each) for each in place.read(3)]
    if len(sizes) != len(place.shape) or any(size % length for size, length in zip(sizes, place.shape, strict=True)):
        return place.layer
    factors = (size // length for size, length in zip(sizes, place.shape, strict=True))
    source = place.layer.inputs[0]
    return replace(place.layer, inputs=(source, "", place.keep("scales", *factors, dtype=np.float32)))


def _take_planes(place: _Place) -> Layer:
    """Planes are counted from the first, and to the last."""
    starts, ends, axes, steps = place.read(1), place.read(2), place.read(3, [0]), place.read(4, [1])
    if len(place.shape) != 4 or [axis % 4 for axis in axes] != [1] or steps != [1]:
        return place.layer
    first, end, _ = slice(int(starts[0]), int(ends[0])).indices(place.shape[1])
    numbers = {"first": first, "end": end, "axis": 1}
    kept = (place.keep(part, number, dtype=np.int64) for part, number in numbers.items())
    return replace(place.layer, inputs=(place.layer.inputs[0], *kept))


_PLAIN: Mapping[str, Callable[[_Place], Layer]] = {
    "ReduceMean": _name_mean,
    "AveragePool": _count_no_padding,
    "Concat": _count_planes_from_one,
    "Resize": _repeat_pixels,
    "Slice": _take_planes,
}


def _read_normalisation(layer: Layer, arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what a batch normalisation multiplies channels by and adds to them, float64."""
    scales, biases, means, variances = (arrays[name].astype(np.float64) for name in layer.inputs[1:])
    epsilon = layer.attributes.get("epsilon", 1e-5)
    assert isinstance(epsilon, float)
    factors = scales / np.sqrt(variances + epsilon)
    return factors, biases - means * factors


def _find_pads(layer: Layer, graph: Graph) -> tuple[int, ...] | None:
    """Return how many zeros a layer puts before and after both axes of pictures; None where it does anything else."""
    if layer.kind != "Pad" or layer.attributes.get("mode", "constant") != "constant":
        return None
    # the result that it reads, lengths, what it fills with, axes: the last two may be missing
    _, lengths, filling, axes = (*layer.inputs, "", "", "")[:4]
    pads = graph.arrays.get(lengths, np.zeros(0)).tolist()
    zeros = not filling or (filling in graph.arrays and not graph.arrays[filling].any())
    fits = len(pads) == 8 and zeros and not axes and min(pads) >= 0 and not any(pads[:2] + pads[4:6])
    return (*pads[2:4], *pads[6:]) if fits else None
