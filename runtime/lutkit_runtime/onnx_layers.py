"""Which layers a network may have, and the shapes that they make. Floor 2: imports errors and onnx_graph.

What runs networks trusts the sizes in them, so every layer is followed with its shapes before it sees the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.onnx_graph import Attribute, Graph, Layer, Shape

MAX_VALUES = 1 << 28
"""Values that flow between layers, all together."""
MAX_WORK = 1 << 35
"""Values that flow, times what each of them sums: a network of a few seconds."""
MAX_WINDOW = 1 << 10
"""Lengths of kernels, strides, pads and dilations."""

Arrays = Sequence[NDArray[Any]]


def follow_shapes(graph: Graph) -> Shape:
    """Return the shape of the output of a network.

    Raises ArtefactError where a layer is unknown or does not fit what it reads.
    """
    return trace_shapes(graph)[graph.output]


def trace_shapes(graph: Graph, *, bounded: bool = True) -> dict[str, Shape]:
    """Return the shapes of the input and of what each layer makes, the output among them.

    Parameters
    ----------
    graph : Graph
    bounded : bool
        Refuse networks that take long; not where the size of somebody's own picture is why.

    Raises ArtefactError where a layer is unknown or does not fit what it reads.
    """
    if not graph.input:
        raise ArtefactError("its input has no name")
    shapes: dict[str, Shape] = {graph.input: graph.shape}
    values = work = 0
    for layer in graph.layers:
        if layer.kind not in LAYERS:
            raise ArtefactError(f"it has a layer {layer.kind[:40]!r}; known are {', '.join(LAYERS)}")
        known = LAYERS[layer.kind]
        count = len(layer.inputs) if known.several else known.results
        read, names = layer.inputs[:count], layer.inputs[count:]
        if (
            len(read) < known.results
            or any(name not in shapes for name in read)
            or any(name not in graph.arrays for name in names)
        ):
            raise ArtefactError(f"the layer '{layer.output}' reads what nothing before it makes")
        if layer.output in shapes or layer.output in graph.arrays or not layer.output:
            raise ArtefactError(f"'{layer.output}' is made twice")
        unknown = layer.attributes.keys() - known.attributes
        if unknown:
            raise ArtefactError(f"the layer '{layer.output}' has the unknown attribute '{min(unknown)}'")
        arrays = [graph.arrays[name] for name in names]
        shape = known.rule(layer, arrays, *(shapes[name] for name in read))
        values += math.prod(shape)
        # kernels (outputs, channels, height, width) and matrices: every output has its share of the weights
        summed = [array.size // shape[1] for array in arrays if array.ndim >= 2]
        work += math.prod(shape) * max(summed, default=1)
        if bounded and (values > MAX_VALUES or work > MAX_WORK):
            raise ArtefactError(
                f"its layers up to '{layer.output}' make {values} values in {work} steps; {MAX_VALUES} and {MAX_WORK} are "
                "allowed"
            )
        shapes[layer.output] = shape
    if graph.output not in shapes:
        raise ArtefactError(f"nothing makes the output '{graph.output}'")
    return shapes


def _keep(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    _expect(layer, not arrays)
    for value in layer.attributes.values():
        _expect(layer, isinstance(value, float))
    return shape


def _normalise(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    _expect(layer, len(shape) == 4 and len(arrays) == 2 and all(array.shape == shape[1:2] for array in arrays))
    _expect(layer, all(array.dtype.kind == "f" for array in arrays))
    epsilon = layer.attributes.get("epsilon", 1e-5)
    _expect(layer, isinstance(epsilon, float) and 0 < epsilon <= 1)
    return shape


def _convolve(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    _expect(layer, len(shape) == 4 and len(arrays) in (1, 2) and arrays[0].ndim == 4)
    _expect(layer, all(array.dtype.kind == "f" for array in arrays))
    outputs, channels, *kernel = arrays[0].shape
    _expect(layer, len(arrays) == 1 or arrays[1].shape == (outputs,))
    group = _number(layer, "group", 1)
    _expect(layer, group >= 1 and channels * group == shape[1] and outputs % group == 0)
    _expect(layer, layer.attributes.get("auto_pad", "NOTSET") == "NOTSET")
    _expect(layer, _numbers(layer, "kernel_shape", tuple(kernel)) == tuple(kernel))
    strides, dilations = _numbers(layer, "strides", (1, 1)), _numbers(layer, "dilations", (1, 1))
    pads = _numbers(layer, "pads", (0, 0, 0, 0))
    _expect(layer, len(strides) == len(dilations) == 2 and len(pads) == 4)
    _expect(layer, all(1 <= each <= MAX_WINDOW for each in (*strides, *dilations, *kernel)))
    lengths: list[int] = []
    for axis in range(2):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        # no window lies in the padding alone: OpenCV 5 reads beyond its memory for some that do
        _expect(layer, all(0 <= each < min(reach, MAX_WINDOW + 1) for each in pads[axis::2]))
        room = shape[2 + axis] + pads[axis] + pads[axis + 2] - reach
        _expect(layer, room >= 0)
        lengths.append(room // strides[axis] + 1)
    return (shape[0], outputs, *lengths)


def _flatten(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    _expect(layer, not arrays and _number(layer, "axis", 1) == 1 and len(shape) >= 2)
    return (math.prod(shape[:1]), math.prod(shape[1:]))


def _reshape(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    _expect(layer, len(arrays) == 1 and arrays[0].dtype.kind == "i" and arrays[0].ndim == 1)
    asked = tuple(int(each) for each in arrays[0])
    _expect(layer, _number(layer, "allowzero", 0) in (0, 1))
    # 0 and -1 stand for lengths to be found, in ways that depend on the version
    if asked.count(-1) == 1 and all(each > 0 for each in asked if each != -1):
        rest = math.prod(each for each in asked if each != -1)
        asked = tuple(math.prod(shape) // rest if each == -1 else each for each in asked)
    _expect(layer, 1 <= len(asked) <= 4 and all(each > 0 for each in asked) and math.prod(asked) == math.prod(shape))
    return asked


def _pool(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    _expect(layer, not arrays and len(shape) == 4)
    return (*shape[:2], 1, 1)


def _average(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    """Averages over both axes of the picture, which stay as axes of length 1: what torch writes for average pooling."""
    _expect(layer, len(shape) == 4 and len(arrays) == 1 and arrays[0].dtype.kind == "i" and arrays[0].shape == (2,))
    _expect(
        layer, sorted(int(axis) % 4 for axis in arrays[0]) == [2, 3] and all(-4 <= int(axis) < 4 for axis in arrays[0])
    )
    _expect(layer, _number(layer, "keepdims", 1) == 1)
    _expect(layer, _number(layer, "noop_with_empty_axes", 0) == 0)
    return (*shape[:2], 1, 1)


def _connect(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    """Fully connected: rows times a matrix, which may stand the other way round, plus a row."""
    _expect(layer, len(shape) == 2 and len(arrays) in (1, 2) and arrays[0].ndim == 2)
    _expect(layer, all(array.dtype.kind == "f" for array in arrays))
    _expect(layer, _number(layer, "transA", 0) == 0)
    turned = _number(layer, "transB", 0)
    factors = [layer.attributes.get(name, 1.0) for name in ("alpha", "beta")]
    _expect(layer, turned in (0, 1) and all(isinstance(factor, float) and factor == 1.0 for factor in factors))
    inputs, outputs = arrays[0].shape[::-1] if turned else arrays[0].shape
    _expect(layer, inputs == shape[1] and (len(arrays) == 1 or arrays[1].shape == (outputs,)))
    return (shape[0], outputs)


def _add(layer: Layer, arrays: Arrays, first: Shape, second: Shape) -> Shape:
    """Sums two results of one shape, or planes and one number for each of them, in either order."""
    _expect(layer, not arrays and len(first) == len(second))
    if first != second:
        planes, numbers = (first, second) if math.prod(first) > math.prod(second) else (second, first)
        _expect(layer, len(planes) == 4 and numbers == (*planes[:2], 1, 1))
        return planes
    return first


def _join(layer: Layer, arrays: Arrays, *shapes: Shape) -> Shape:
    """Puts planes of several results after each other."""
    _expect(layer, not arrays and _number(layer, "axis", 0) == 1 and all(len(shape) == 4 for shape in shapes))
    first = shapes[0]
    _expect(layer, all((shape[0], *shape[2:]) == (first[0], *first[2:]) for shape in shapes))
    return (first[0], sum(shape[1] for shape in shapes), *first[2:])


def _extend(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    """Extends pictures at their four sides: by zeros, or mirrored without the border itself."""
    _expect(layer, len(shape) == 4 and len(arrays) == 1 and arrays[0].dtype.kind == "i" and arrays[0].shape == (8,))
    mode = layer.attributes.get("mode", "constant")
    pads = [int(each) for each in arrays[0]]
    _expect(layer, mode in ("constant", "reflect") and not any((*pads[:2], *pads[4:6])))
    lengths: list[int] = []
    for axis in (2, 3):
        before, after, length = pads[axis], pads[axis + 4], shape[axis]
        most = length - 1 if mode == "reflect" else MAX_WINDOW
        _expect(layer, 0 <= before <= most and 0 <= after <= most)
        lengths.append(before + length + after)
    return (*shape[:2], *lengths)


@dataclass(frozen=True)
class Known:
    """What a layer may be.

    Parameters
    ----------
    rule : function of the layer, the arrays and the shapes that it reads
        Returns the shape that it makes; raises ArtefactError where they do not fit.
    attributes : set of str
    results : int
        How many of its inputs, the first ones, come from earlier layers; the others are arrays of the file.
    several : bool
        All its inputs come from earlier layers, and there may be more than `results` of them.
    """

    rule: Callable[..., Shape]
    attributes: frozenset[str] = frozenset()
    results: int = 1
    several: bool = False


LAYERS: dict[str, Known] = {
    "Conv": Known(_convolve, frozenset({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"})),
    "Gemm": Known(_connect, frozenset({"alpha", "beta", "transA", "transB"})),
    "Add": Known(_add, results=2),
    "Concat": Known(_join, frozenset({"axis"}), results=2, several=True),
    "Pad": Known(_extend, frozenset({"mode"})),
    "LeakyRelu": Known(_keep, frozenset({"alpha"})),
    "Relu": Known(_keep),
    "Sigmoid": Known(_keep),
    "Tanh": Known(_keep),
    "InstanceNormalization": Known(_normalise, frozenset({"epsilon"})),
    "GlobalAveragePool": Known(_pool),
    "ReduceMean": Known(_average, frozenset({"keepdims", "noop_with_empty_axes"})),
    "Flatten": Known(_flatten, frozenset({"axis"})),
    "Reshape": Known(_reshape, frozenset({"allowzero"})),
}


def _number(layer: Layer, name: str, default: int) -> int:
    """Return an attribute of one integer."""
    value: Attribute = layer.attributes.get(name, default)
    _expect(layer, isinstance(value, int))
    return int(value) if isinstance(value, int) else default


def _numbers(layer: Layer, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return an attribute of several integers."""
    value: Attribute = layer.attributes.get(name, default)
    _expect(layer, isinstance(value, tuple))
    return value if isinstance(value, tuple) else default


def _expect(layer: Layer, fits: bool) -> None:
    if not fits:
        raise ArtefactError(f"the layer '{layer.output}' ({layer.kind}) does not fit what it reads")
