"""Networks of torch as ONNX files that the runtime reads. Imports torch, and onnx where it is used."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lutkit.onnx_plain import write_plainly
from lutkit_runtime.errors import DataError
from lutkit_runtime.onnx_graph import Shape, read_graph
from lutkit_runtime.onnx_layers import follow_shapes
from lutkit_runtime.onnx_writer import write_graph


def export_network(
    network: nn.Module, shape: Sequence[int], input_name: str = "picture", output_name: str = "planes"
) -> NDArray[np.uint8]:
    """Return a network as the bytes of an ONNX file, (bytes, 1) uint8: as it evaluates, and nothing else.

    Equal networks give equal bytes. Batch normalisation becomes part of the convolutions.

    Parameters
    ----------
    network : Module
        Of one input and one output; it is not changed.
    shape : sequence of int
        Of the input, for which the file is written: (1, channels, height, width). A small one will do for networks that
        run on pictures of any size.
    input_name, output_name : str

    Raises
    ------
    DataError
        Where the packages that write ONNX files are missing.
    ArtefactError
        Where the network has layers that the runtime does not know.
    """
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        model = _write(copy.deepcopy(network).eval().cpu().float(), shape, input_name, output_name)
        shapes = _infer_shapes(model)
    except ImportError as error:
        raise DataError(f"writing ONNX files needs {error.name}: pip install 'lutkit[train]'") from error
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    _slice_splits(model, shapes)
    graph = write_plainly(read_graph(model.SerializeToString()), shapes)
    return np.frombuffer(write_graph(graph, follow_shapes(graph)), np.uint8).reshape(-1, 1).copy()


def _write(network: nn.Module, shape: Sequence[int], input_name: str, output_name: str) -> Any:
    """Return what torch writes of a network, an onnx.ModelProto."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.zeros(tuple(shape)),),
            input_names=[input_name],
            output_names=[output_name],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _infer_shapes(model: Any) -> dict[str, Shape]:
    """Return the shapes of inputs and results, as far as they can be told."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    ends = (*inferred.input, *inferred.value_info, *inferred.output)
    return {end.name: tuple(axis.dim_value for axis in end.type.tensor_type.shape.dim) for end in ends}


def _slice_splits(model: Any, shapes: dict[str, Shape]) -> None:
    """Put a slice in place of every result of a split: layers that the runtime knows have one result each."""
    import onnx

    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        lengths = [shapes[name][axis] for name in node.output if axis < len(shapes.get(name, ()))]
        if node.op_type != "Split" or len(lengths) != len(node.output):
            model.graph.node.append(node)
            continue
        first = 0
        for name, length in zip(node.output, lengths, strict=True):
            parts = {f"{name}.{part}": value for part, value in (("from", first), ("to", first + length), ("at", axis))}
            model.graph.initializer.extend(
                onnx.numpy_helper.from_array(np.array([value], np.int64), part) for part, value in parts.items()
            )
            model.graph.node.append(onnx.helper.make_node("Slice", [node.input[0], *parts], [name]))
            first += length
