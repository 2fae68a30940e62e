"""ONNX files read strictly: a list of layers with their arrays, and nothing else. Floor 1: imports errors.

A parser that was made for friendly files ends the process on hostile ones, and ONNX can hold scripts, subgraphs and
names of other files. So the file is read here, everything that is not known is refused or left out, and what runs the
network is given a file written anew (`onnx_writer`) from what was understood.

ONNX is protocol buffers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto has the numbers of the fields.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError

MAX_LAYERS = 1000
MAX_ARRAYS = 4000
MAX_AXES = 5
MAX_NAME = 200
MAX_FIELDS = 128
"""Of a layer, an attribute, an array and what else is part of a graph."""
MAX_PARTS = 20_000
"""Fields of a file and of its graph: layers, arrays, and what is said of results between the layers."""
OPSETS = range(9, 26)

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""How a field is written: ONNX is protocol buffers."""
FLOAT, INT64 = 1, 7
ARRAY_TYPES: dict[int, Any] = {FLOAT: np.dtype("<f4"), INT64: np.dtype("<i8")}
TEXT, NUMBERS = 3, 7  # kinds of attributes: FLOAT 1, INT 2, STRING 3, INTS 7

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
    for number, value in _fields(data, MAX_PARTS):
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
    for number, value in _fields(data, MAX_PARTS):
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
    if kind == TEXT and 4 in values:
        return name, _text(values[4])
    if kind == NUMBERS and len(integers) <= 16:
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
    if kind not in ARRAY_TYPES or raw is None:
        raise ArtefactError(f"'{name}' is no array of float32 or int64 stored as plain bytes")
    dtype = ARRAY_TYPES[kind]
    _check_shape(tuple(shape), name)
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ArtefactError(f"'{name}' of shape {tuple(shape)} has {len(raw)} bytes")
    array = np.frombuffer(raw, dtype).reshape(shape)
    if kind == FLOAT and not np.isfinite(array).all():
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
                if part == 1 and _integer(inner) != FLOAT:
                    raise ArtefactError(f"'{name}' is not float32")
                if part == 2:
                    shape += [_integer(_only(each, 1, name)) for _, each in _fields(_message(inner))]
    _check_shape(tuple(shape), name)
    return name, tuple(shape)


def _check_shape(shape: Shape, name: str) -> None:
    if len(shape) > MAX_AXES or any(not 0 < length <= 1 << 24 for length in shape):
        raise ArtefactError(f"'{name}' has the shape {shape}; up to {MAX_AXES} known lengths are needed")


def _fields(data: bytes, most: int = MAX_FIELDS) -> Iterator[tuple[int, Any]]:
    """Yield number and value of the fields of a message: int for a varint, float for 32 bits, bytes for the rest."""
    place, end = 0, len(data)
    for count in itertools.count():
        if place >= end:
            return
        if count == most:  # few bytes can hold very many fields, and each takes time
            raise ArtefactError(f"a part of it says more than {most} things")
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == BYTES:
            length, place = _varint(data, place)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise ArtefactError("it is damaged")
        if length > end - place:
            raise ArtefactError("it is cut off or damaged")
        part = data[place : place + length]
        place += length
        yield number, struct.unpack("<f", part)[0] if wire == FIXED32 else part


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
