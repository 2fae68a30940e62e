"""ONNX files read strictly: a list of layers with their arrays, and nothing else. Floor 1: imports errors.

A parser that was made for friendly files ends the process on hostile ones, and ONNX can hold scripts, subgraphs and
names of other files. So the file is read here, everything that is not known is refused or left out, and what runs the
network is given a file written anew (`write_graph`) from what was understood.

ONNX is protocol buffers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto has the numbers of the fields.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError

MAX_LAYERS = 1000
MAX_ARRAYS = 4000
MAX_AXES = 5
MAX_NAME = 200
OPSETS = range(9, 26)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT, _INT64 = 1, 7
_ARRAY_TYPES: dict[int, Any] = {_FLOAT: np.dtype("<f4"), _INT64: np.dtype("<i8")}
_TEXT, _NUMBERS = 3, 7  # kinds of attributes: FLOAT 1, INT 2, STRING 3, INTS 7

Attribute = float | int | str | tuple[int, ...]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One node of a graph.

    Parameters
    ----------
    kind : str
        ONNX operator, such as ``Conv``.
    inputs : tuple of str
    output : str
    attributes : mapping of name to number, text or integers
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])


@dataclass(frozen=True)
class Graph:
    """A network of one input and one output.

    Parameters
    ----------
    opset : int
        Version of the operators.
    input, output : str
    shape : tuple of int
        Of the input.
    layers : tuple of Layer
    arrays : mapping of name to float32 or int64 array
    """

    opset: int
    input: str
    shape: Shape
    output: str
    layers: tuple[Layer, ...]
    arrays: Mapping[str, NDArray[Any]]


def read_graph(data: bytes) -> Graph:
    """Read an ONNX file.

    Raises ArtefactError where it is damaged or holds anything but layers of numbers, texts and arrays inside the file.
    """
    graphs: list[bytes] = []
    opsets: list[int] = []
    for number, value in _fields(data):
        if number == 7:
            graphs.append(_message(value))
        elif number == 8:
            opsets.append(_read_opset(_message(value)))
        elif number in (20, 25):
            raise ArtefactError("it holds training steps or functions")
    if len(graphs) != 1 or len(opsets) != 1 or opsets[0] not in OPSETS:
        raise ArtefactError(f"it has {len(graphs)} graphs and operators of versions {opsets}; one of each is needed")
    return _read_graph(graphs[0], opsets[0])


def _read_graph(data: bytes, opset: int) -> Graph:
    layers: list[Layer] = []
    arrays: dict[str, NDArray[Any]] = {}
    ends: dict[int, list[tuple[str, Shape]]] = {11: [], 12: []}
    for number, value in _fields(data):
        if number == 1:
            layers.append(_read_layer(_message(value)))
        elif number == 5:
            name, array = _read_array(_message(value))
            if name in arrays:
                raise ArtefactError(f"it holds '{name}' twice")
            arrays[name] = array
        elif number in ends:
            ends[number].append(_read_end(_message(value)))
        elif number == 15:
            raise ArtefactError("it holds sparse arrays")
        if len(layers) > MAX_LAYERS or len(arrays) > MAX_ARRAYS:
            raise ArtefactError(f"it has more than {MAX_LAYERS} layers or {MAX_ARRAYS} arrays")
    inputs = [(name, shape) for name, shape in ends[11] if name not in arrays]
    if len(inputs) != 1 or len(ends[12]) != 1 or not layers:
        raise ArtefactError(
            f"it has {len(inputs)} inputs, {len(ends[12])} outputs and {len(layers)} layers; one input and one output "
            "are needed"
        )
    return Graph(opset, *inputs[0], ends[12][0][0], tuple(layers), arrays)


def _read_opset(data: bytes) -> int:
    version = 0
    for number, value in _fields(data):
        if number == 1 and _text(value) not in ("", "ai.onnx"):
            raise ArtefactError("it uses operators that are not ONNX's own")
        if number == 2:
            version = _integer(value)
    return version


def _read_layer(data: bytes) -> Layer:
    inputs: list[str] = []
    outputs: list[str] = []
    kind = ""
    attributes: dict[str, Attribute] = {}
    for number, value in _fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            kind = _text(value)
        elif number == 5:
            name, attribute = _read_attribute(_message(value))
            if name in attributes:
                raise ArtefactError(f"a layer has the attribute '{name}' twice")
            attributes[name] = attribute
        elif number == 7 and _text(value) not in ("", "ai.onnx"):
            raise ArtefactError("it uses operators that are not ONNX's own")
    if len(outputs) != 1:
        raise ArtefactError(f"a layer '{kind}' has {len(outputs)} outputs; one is needed")
    return Layer(kind, tuple(inputs), outputs[0], attributes)


def _read_attribute(data: bytes) -> tuple[str, Attribute]:
    name, kind = "", 0
    values: dict[int, Any] = {}
    integers: list[int] = []
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 20:
            kind = _integer(value)
        elif number == 8:
            integers += _integers(value)
        elif number in (2, 3, 4):
            values[number] = value
        elif number != 13:  # a remark for people
            raise ArtefactError(f"the attribute '{name}' is no number, text or list of integers")
    if kind == 1 and isinstance(values.get(2), float) and math.isfinite(values[2]):
        return name, values[2]
    if kind == 2 and 3 in values:
        return name, _integer(values[3])
    if kind == _TEXT and 4 in values:
        return name, _text(values[4])
    if kind == _NUMBERS and len(integers) <= 16:
        return name, tuple(integers)
    raise ArtefactError(f"the attribute '{name}' is no number, text or list of integers")


def _read_array(data: bytes) -> tuple[str, NDArray[Any]]:
    name, kind, raw = "", 0, None
    shape: list[int] = []
    for number, value in _fields(data):
        if number == 1:
            shape += _integers(value)
        elif number == 2:
            kind = _integer(value)
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = _message(value)
        elif number in (13, 14) and value not in (0,):
            raise ArtefactError(f"'{name}' lies in another file")
        elif number not in (12, 14, 16):  # remarks for people
            raise ArtefactError(f"'{name}' is not stored as plain bytes")
    if kind not in _ARRAY_TYPES or raw is None:
        raise ArtefactError(f"'{name}' is no array of float32 or int64 stored as plain bytes")
    dtype = _ARRAY_TYPES[kind]
    _check_shape(tuple(shape), name)
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ArtefactError(f"'{name}' of shape {tuple(shape)} has {len(raw)} bytes")
    array = np.frombuffer(raw, dtype).reshape(shape)
    if kind == _FLOAT and not np.isfinite(array).all():
        raise ArtefactError(f"'{name}' holds values that are not finite numbers")
    return name, array


def _read_end(data: bytes) -> tuple[str, Shape]:
    """Return name and shape of an input or output."""
    name = ""
    shape: list[int] = []
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            tensor = _only(value, 1, name)
            for part, inner in _fields(_message(tensor)):
                if part == 1 and _integer(inner) != _FLOAT:
                    raise ArtefactError(f"'{name}' is not float32")
                if part == 2:
                    shape += [_integer(_only(each, 1, name)) for _, each in _fields(_message(inner))]
    _check_shape(tuple(shape), name)
    return name, tuple(shape)


def _check_shape(shape: Shape, name: str) -> None:
    if len(shape) > MAX_AXES or any(not 0 < length <= 1 << 24 for length in shape):
        raise ArtefactError(f"'{name}' has the shape {shape}; up to {MAX_AXES} known lengths are needed")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of the fields of a message: int for a varint, float for 32 bits, bytes for the rest."""
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(data, place)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ArtefactError("it is damaged")
        if length > end - place:
            raise ArtefactError("it is cut off or damaged")
        part = data[place : place + length]
        place += length
        yield number, struct.unpack("<f", part)[0] if wire == _FIXED32 else part


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, place
    raise ArtefactError("it is cut off or damaged")


def _only(value: Any, number: int, name: str) -> Any:
    """Return the one field of a message, which has this number."""
    found = [inner for each, inner in _fields(_message(value)) if each == number]
    if len(found) != 1:
        raise ArtefactError(f"'{name}' has no known shape")
    return found[0]


def _message(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ArtefactError("it is damaged")
    return value


def _text(value: Any) -> str:
    try:
        text = _message(value).decode()
    except UnicodeDecodeError:
        raise ArtefactError("it holds names that are no text") from None
    if len(text) > MAX_NAME or not (text.isprintable() or not text):
        raise ArtefactError("it holds names that are too long or no text")
    return text


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise ArtefactError("it is damaged")
    return value - (1 << 64) if value >> 63 else value


def _integers(value: Any) -> list[int]:
    """Return one integer, or those of a packed list."""
    if isinstance(value, int):
        return [_integer(value)]
    found: list[int] = []
    place = 0
    while place < len(_message(value)):
        number, place = _varint(value, place)
        found.append(_integer(number))
        if len(found) > 16:
            raise ArtefactError("it holds a list that is too long")
    return found


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
        return start + _key(2, _FIXED32) + struct.pack("<f", value) + _put_number(20, 1)
    if isinstance(value, int):
        return start + _put_number(3, value) + _put_number(20, 2)
    if isinstance(value, str):
        return start + _put(4, value.encode()) + _put_number(20, _TEXT)
    return start + b"".join(_put_number(8, each) for each in value) + _put_number(20, _NUMBERS)


def _write_array(name: str, array: NDArray[Any]) -> bytes:
    kind = _FLOAT if array.dtype.kind == "f" else _INT64
    raw = np.ascontiguousarray(array, _ARRAY_TYPES[kind]).tobytes()
    return b"".join((*_put_numbers(1, array.shape), _put_number(2, kind), _put(8, name.encode()), _put(9, raw)))


def _write_end(name: str, shape: Shape) -> bytes:
    lengths = b"".join(_put(1, _put_number(1, length)) for length in shape)
    return _put(1, name.encode()) + _put(2, _put(1, _put_number(1, _FLOAT) + _put(2, lengths)))


def _put_numbers(number: int, values: Iterable[int]) -> Iterator[bytes]:
    return (_put_number(number, value) for value in values)


def _put_number(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _encode_varint(value & (1 << 64) - 1)


def _put(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _encode_varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return _encode_varint(number << 3 | wire)


def _encode_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
