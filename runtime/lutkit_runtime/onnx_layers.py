"""The layers of a network followed with the shapes that they make. Floor 2: imports errors, onnx_graph and onnx_rules.

What runs networks trusts the sizes in them, so every layer is followed with its shapes before it sees the file.
"""

from __future__ import annotations

import math

from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.onnx_graph import Graph, Shape
from lutkit_runtime.onnx_rules import LAYERS, count_window

MAX_VALUES = 1 << 28
"""Values that flow between layers, all together."""
MAX_WORK = 1 << 35
"""Values that flow, times what each of them sums: a network of a few seconds."""


def follow_shapes(graph: Graph) -> Shape:
    """Return the shape of the output of a network.

    Raises ArtefactError where a layer is unknown or does not fit what it reads.
    """
    return trace_shapes(graph)[graph.output]


def trace_shapes(graph: Graph, *, times: int | None = 1) -> dict[str, Shape]:
    """Return the shapes of the input and of what each layer makes, the output among them.

    Parameters
    ----------
    graph : Graph
    times : int or None
        How many times `MAX_VALUES` and `MAX_WORK` it may make and take; None: as much as it wants, where the size of
        somebody's own picture is why.

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
        if graph.opset < known.since:
            raise ArtefactError(
                f"the layer '{layer.output}' ({layer.kind}) needs operators of version {known.since} or later, "
                f"not {graph.opset}"
            )
        count = len(layer.inputs) if known.several else known.results
        read, names = layer.inputs[:count], layer.inputs[count:]
        if known.blank and names[:1] == ("",):
            names = names[1:]
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
        summed.append(count_window(layer))
        work += math.prod(shape) * max(summed)
        if times is not None and (values > MAX_VALUES * times or work > MAX_WORK * times):
            raise ArtefactError(
                f"its layers up to '{layer.output}' make {values} values in {work} steps; {MAX_VALUES * times} and "
                f"{MAX_WORK * times} are allowed"
            )
        shapes[layer.output] = shape
    if graph.output not in shapes:
        raise ArtefactError(f"nothing makes the output '{graph.output}'")
    return shapes
