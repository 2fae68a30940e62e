"""ONNX files of others as teachers: checked, and run by ONNX Runtime.

A file is usable that takes one float32 picture (1, 3, H, W) of 0 to 1, RGB, of any height and width, and gives one of the
same size. What a file says about itself is checked first, then what it does with small pictures. Imports ONNX Runtime when a
file is opened.
"""

from __future__ import annotations

import importlib
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import DataError

Image = NDArray[Any]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
"""Networks that halve pictures inside may take only sides that are multiples of such a number: the smallest is found."""
SMALLEST_PROBE = 40
LARGEST_ANSWER = 4.0
"""Answers to pictures of 0 to 1 beyond this are in other units."""

_REMEDY = "export it with one float32 input (1, 3, H, W) of 0 to 1, any H and W, and one output of the same size"
_FATAL_ONLY = 4
_RANK = 4


class OnnxTeacher:
    """A network that was opened and found usable.

    Parameters
    ----------
    path : Path
    sessions : dict
        Of ONNX Runtime, by number of threads; None is its own choice.
    weight_files : tuple of Path
        Files beside it that hold its weights.
    """

    def __init__(self, path: Path, session: Any, weight_files: tuple[Path, ...]) -> None:
        self._path = path
        self._sessions: dict[int | None, Any] = {None: session}
        self._opening = threading.Lock()
        self.weight_files = weight_files
        self.multiple = 1

    def answer(self, picture: Image, threads: int | None) -> Image:
        """Return the network's answer to a picture (H, W, 3), rounded and clipped to its type; raises DataError."""
        peak = np.iinfo(picture.dtype).max
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / np.float32(peak)
        answer = self.run(planes, threads)
        if answer.shape != planes.shape or not np.isfinite(answer).all():
            found = "values that are not finite" if answer.shape == planes.shape else _name_size(answer.shape)
            raise DataError(f"{self._path} gives {found} for a picture of {_name_size(planes.shape)}: {_REMEDY}")
        codes = np.rint(answer[0].clip(0, 1) * np.float32(peak)).astype(picture.dtype)
        return np.ascontiguousarray(codes.transpose(1, 2, 0))

    def run(self, planes: NDArray[np.float32], threads: int | None = None) -> NDArray[Any]:
        """Return what the network gives for planes (1, 3, H, W); raises DataError where it fails."""
        with self._opening:
            if threads not in self._sessions:
                self._sessions[threads] = _open_session(self._path, threads)
        session = self._sessions[threads]
        try:
            (answer,) = session.run(None, {session.get_inputs()[0].name: planes})
        except Exception as error:  # its errors have no common base but Exception
            raise DataError(
                f"{self._path} fails on a picture of {_name_size(planes.shape)} ({_shorten(error)}): {_REMEDY}"
            ) from error
        return np.asarray(answer)


def describe_engine() -> str:
    """Return the name and the version of what runs the files."""
    return f"ONNX Runtime {importlib.import_module('onnxruntime').__version__}, CPU"


def open_network(path: Path) -> OnnxTeacher:
    """Open an ONNX file as a teacher.

    Raises
    ------
    DataError
        Where the file cannot be read, or is no network from a picture to one of the same size: says what differs.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}: check the name")
    weight_files = _find_weight_files(path)
    for file in weight_files:
        if not file.is_file():
            raise DataError(
                f"{path} keeps weights in {file}, which is not there: copy both together, or export it again"
            )
    session = _open_session(path, None)
    _check_ends(path, session)
    network = OnnxTeacher(path, session, weight_files)
    network.multiple = _find_multiple(path, network)
    return network


def _open_session(path: Path, threads: int | None) -> Any:
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY  # what goes wrong is said in one line, by us
    # its threads would otherwise spin on the cores of whoever works next
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base but Exception
        raise DataError(
            f"{path} is no ONNX network that ONNX Runtime reads ({_shorten(error)}): export it again"
        ) from error


def _check_ends(path: Path, session: Any) -> None:
    """Raise DataError where the inputs and outputs that a file declares are not those of a picture."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    for ends, what in ((inputs, "inputs"), (outputs, "outputs")):
        if len(ends) != 1:
            names = ", ".join(each.name for each in ends) or "none"
            raise DataError(f"{path} has {len(ends)} {what} ({names}), one is needed: {_REMEDY}")
    for end, verb in ((inputs[0], "takes"), (outputs[0], "gives")):
        if end.type != "tensor(float)":
            raise DataError(f"{path} {verb} {end.type} as '{end.name}', tensor(float) is needed: {_REMEDY}")
        shape = [length if isinstance(length, int) and length > 0 else None for length in end.shape or ()]
        if verb == "gives" and not shape:
            continue  # exporters may leave it open; what comes out is seen when it runs
        if len(shape) != _RANK:
            raise DataError(f"{path} {verb} arrays of {len(shape)} axes, four are needed (1, 3, H, W): {_REMEDY}")
        if shape[1] not in (3, None) or (shape[1] is None and shape[3] == 3):
            places = "; it has the channels last" if shape[3] == 3 else ""
            found = f"{shape[1] or 'any number of'} channel{'' if shape[1] == 1 else 's'}"
            raise DataError(f"{path} {verb} {found}, 3 are needed (RGB){places}: {_REMEDY}")
        if shape[0] not in (1, None):
            raise DataError(f"{path} {verb} {shape[0]} pictures at once, one is needed: {_REMEDY}")
    height, width = (length if isinstance(length, int) else "any" for length in inputs[0].shape[2:])
    if isinstance(height, int) or isinstance(width, int):
        raise DataError(
            f"{path} takes pictures of {width}x{height} (width x height) only, any size is needed: export it with dynamic "
            "height and width"
        )


def _find_multiple(path: Path, network: OnnxTeacher) -> int:
    """Return the smallest number of which sides must be multiples; raises DataError where no size works."""
    problem: DataError | None = None
    for multiple in MULTIPLES:
        try:
            for sides in ((3, 5), (5, 3)):
                _probe(path, network, multiple, sides)
        except DataError as error:
            problem = problem or error
        else:
            return multiple
    assert problem is not None
    raise problem


def _probe(path: Path, network: OnnxTeacher, multiple: int, sides: tuple[int, int]) -> None:
    """Raise DataError where the answer to a small picture, whose sides are odd multiples, is no such picture."""
    repeats = -(-SMALLEST_PROBE // (3 * multiple)) | 1
    height, width = (side * repeats * multiple for side in sides)
    planes = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    answer = network.run(planes)
    if answer.ndim != _RANK or answer.shape[1] != 3:
        raise DataError(f"{path} gives an array of shape {answer.shape} for {planes.shape}: {_REMEDY}")
    if answer.shape != planes.shape:
        raise DataError(
            f"{path} makes {_name_size(answer.shape)} of a picture of {_name_size(planes.shape)}, but a teacher must keep "
            f"the size: {_REMEDY}"
        )
    if not np.isfinite(answer).all():
        raise DataError(f"{path} gives values that are not finite for a picture of noise: {_REMEDY}")
    if float(np.abs(answer).max()) > LARGEST_ANSWER:
        raise DataError(
            f"{path} gives values of {answer.min():.4g} to {answer.max():.4g} for a picture of 0 to 1: {_REMEDY}"
        )


def _find_weight_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold weights of a network beside it, as exporters make them for large ones."""
    onnx: Any = importlib.import_module("onnx")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:  # of protobuf's many: ONNX Runtime says what is wrong with the file
        return ()
    names = {
        entry.value
        for tensor in graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return tuple(path.parent / name for name in sorted(names))


def _name_size(shape: tuple[int, ...]) -> str:
    return f"{shape[-1]}x{shape[-2]}" if len(shape) > 1 else str(shape)


def _shorten(error: Exception) -> str:
    """Return what a library says, on one line and not endlessly."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?", "", text)
    # places in the library's own source, with the function's signature, hide what went wrong
    text = re.sub(r"/\S*onnxruntime\S*\.(?:cc|h):\d+ .*?(?<!\()\)(?: const)? (?=\S)", "", text)
    return text if len(text) <= 200 else f"{text[:97]} ... {text[-97:]}"  # often it says at the end what is needed
