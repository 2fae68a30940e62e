"""ONNX files written from graphs: the counterpart of `onnx_graph`. Floor 2: imports onnx_graph."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.onnx_graph import (
    ARRAY_TYPES,
    BYTES,
    FIXED32,
    FLOAT,
    INT64,
    NUMBERS,
    TEXT,
    VARINT,
    Attribute,
    Graph,
    Layer,
    Shape,
)


def write_graph(graph: Graph, shape: Shape) -> bytes:
    """Return an ONNX file of a graph whose output has this shape, with nothing in it that the graph does not say."""
    parts = [_put(1, _write_layer(layer, str(number))) for number, layer in enumerate(graph.layers)]
    parts.append(_put(2, b"network"))
    parts += [_put(5, _write_array(name, array)) for name, array in graph.arrays.items()]
    parts += [_put(11, _write_end(graph.input, graph.shape)), _put(12, _write_end(graph.output, shape))]
    body = b"".join(parts)
    return _put_number(1, 8) + _put(7, body) + _put(8, _put(1, b"") + _put_number(2, graph.opset))


def _write_layer(layer: Layer, name: str) -> bytes:
    parts = [_put(1, each.encode()) for each in layer.inputs]
    parts += [_put(2, layer.output.encode()), _put(3, name.encode()), _put(4, layer.kind.encode())]
    parts += [_put(5, _write_attribute(*each)) for each in layer.attributes.items()]
    return b"".join(parts)


def _write_attribute(name: str, value: Attribute) -> bytes:
    start = _put(1, name.encode())
    if isinstance(value, float):
        return start + _key(2, FIXED32) + struct.pack("<f", value) + _put_number(20, 1)
    if isinstance(value, int):
        return start + _put_number(3, value) + _put_number(20, 2)
    if isinstance(value, str):
        return start + _put(4, value.encode()) + _put_number(20, TEXT)
    return start + b"".join(_put_number(8, each) for each in value) + _put_number(20, NUMBERS)


def _write_array(name: str, array: NDArray[Any]) -> bytes:
    kind = FLOAT if array.dtype.kind == "f" else INT64
    raw = np.ascontiguousarray(array, ARRAY_TYPES[kind]).tobytes()
    return b"".join((*_put_numbers(1, array.shape), _put_number(2, kind), _put(8, name.encode()), _put(9, raw)))


def _write_end(name: str, shape: Shape) -> bytes:
    lengths = b"".join(_put(1, _put_number(1, length)) for length in shape)
    return _put(1, name.encode()) + _put(2, _put(1, _put_number(1, FLOAT) + _put(2, lengths)))


def _put_numbers(number: int, values: Iterable[int]) -> Iterator[bytes]:
    return (_put_number(number, value) for value in values)


def _put_number(number: int, value: int) -> bytes:
    return _key(number, VARINT) + _encode_varint(value & (1 << 64) - 1)


def _put(number: int, content: bytes) -> bytes:
    return _key(number, BYTES) + _encode_varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return _encode_varint(number << 3 | wire)


def _encode_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
