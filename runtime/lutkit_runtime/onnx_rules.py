"""Which layers a network may have, and the shape that each makes of those that it reads. Floor 2: imports errors, onnx_graph.

Where versions of ONNX or of what runs it understand a layer differently, it may not be written that way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.onnx_graph import Attribute, Layer, Shape

MAX_WINDOW = 1 << 10
"""Lengths of kernels, strides, pads and dilations, and of blocks that one pixel becomes."""

Arrays = Sequence[NDArray[Any]]


def count_window(layer: Layer) -> int:
    """Return how many pixels each result is made of where a layer says so, else 1."""
    return math.prod(_numbers(layer, "kernel_shape", ()))


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
        planes, numbers = _order(first, second)
        _expect(layer, len(planes) == 4 and numbers == (*planes[:2], 1, 1))
        return planes
    return first


def _multiply(layer: Layer, arrays: Arrays, first: Shape, second: Shape) -> Shape:
    """Multiplies two results of one shape, or planes by a number for each of them or by one plane, in either order."""
    _expect(layer, not arrays and len(first) == len(second))
    if first != second:
        planes, factors = _order(first, second)
        _expect(layer, len(planes) == 4 and factors in ((*planes[:2], 1, 1), (planes[0], 1, *planes[2:])))
        return planes
    return first


def _order(first: Shape, second: Shape) -> tuple[Shape, Shape]:
    """Return the larger shape before the smaller one."""
    return (first, second) if math.prod(first) > math.prod(second) else (second, first)


def _gather(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    """Takes the largest value of every window, or the mean.

    With `ceil_mode` a last window may reach beyond the padding. One that begins there is refused: versions of ONNX
    differ on whether it counts; so is a mean that counts the padding as well, whose divisor is not told.
    """
    _expect(layer, len(shape) == 4 and not arrays)
    kernel = _numbers(layer, "kernel_shape", ())
    strides, pads = _numbers(layer, "strides", (1, 1)), _numbers(layer, "pads", (0, 0, 0, 0))
    ceil, counted = _number(layer, "ceil_mode", 0), _number(layer, "count_include_pad", 0)
    _expect(layer, len(kernel) == len(strides) == 2 and len(pads) == 4 and ceil in (0, 1) and counted in (0, 1))
    _expect(layer, not (ceil and counted) and all(1 <= each <= MAX_WINDOW for each in (*kernel, *strides)))
    lengths: list[int] = []
    for axis in range(2):
        _expect(layer, all(0 <= each < kernel[axis] for each in pads[axis::2]))
        room = shape[2 + axis] + pads[axis] + pads[axis + 2] - kernel[axis]
        _expect(layer, room >= 0)
        last = (room + strides[axis] - 1 if ceil else room) // strides[axis]
        _expect(layer, last * strides[axis] < shape[2 + axis] + pads[axis])
        lengths.append(last + 1)
    return (*shape[:2], *lengths)


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


def _spread(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    """Makes blocks of pixels out of planes, those of a block standing together: torch's pixel shuffle."""
    side = _number(layer, "blocksize", 0)
    _expect(layer, len(shape) == 4 and not arrays and layer.attributes.get("mode") == "CRD")
    _expect(layer, 1 <= side <= MAX_WINDOW and shape[1] % side**2 == 0)
    return (shape[0], shape[1] // side**2, shape[2] * side, shape[3] * side)


def _repeat(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    """Repeats rows and columns, each a whole number of times."""
    _expect(layer, len(shape) == 4 and len(layer.inputs) == 3 and len(arrays) == 1)
    _expect(layer, arrays[0].dtype.kind == "f" and arrays[0].shape == (4,))
    said = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    _expect(layer, all(layer.attributes.get(name) == value for name, value in said.items()))
    factors = [int(each) for each in arrays[0]]
    _expect(layer, factors == arrays[0].tolist() and factors[:2] == [1, 1])
    _expect(layer, all(1 <= each <= MAX_WINDOW for each in factors))
    return (*shape[:2], shape[2] * factors[2], shape[3] * factors[3])


def _select(layer: Layer, arrays: Arrays, shape: Shape) -> Shape:
    """Takes planes that lie beside each other."""
    _expect(layer, len(shape) == 4 and len(arrays) == 3)
    _expect(layer, all(array.dtype.kind == "i" and array.shape == (1,) for array in arrays))
    first, end, axis = (int(array[0]) for array in arrays)
    _expect(layer, axis == 1 and 0 <= first < end <= shape[1])
    return (shape[0], end - first, *shape[2:])


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
    blank : bool
        The first of its arrays is one that ONNX knows and nothing needs: the file says that it is missing.
    since : int
        The version of ONNX's operators from which the layer is written as it is read here.
    """

    rule: Callable[..., Shape]
    attributes: frozenset[str] = frozenset()
    results: int = 1
    several: bool = False
    blank: bool = False
    since: int = 1


LAYERS: dict[str, Known] = {
    "Conv": Known(_convolve, frozenset({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"})),
    "Gemm": Known(_connect, frozenset({"alpha", "beta", "transA", "transB"})),
    "Add": Known(_add, results=2),
    "Mul": Known(_multiply, results=2),
    "Concat": Known(_join, frozenset({"axis"}), results=2, several=True),
    "Slice": Known(_select, since=10),
    "Pad": Known(_extend, frozenset({"mode"}), since=11),
    "MaxPool": Known(_gather, frozenset({"ceil_mode", "kernel_shape", "pads", "strides"}), since=10),
    "AveragePool": Known(
        _gather, frozenset({"ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"}), since=10
    ),
    "DepthToSpace": Known(_spread, frozenset({"blocksize", "mode"}), since=11),
    "Resize": Known(
        _repeat, frozenset({"coordinate_transformation_mode", "mode", "nearest_mode"}), blank=True, since=13
    ),
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
