"""Tables in NumPy's .npy files, read with suspicion and written as NumPy does. Imports the runtime only."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.artefact import MAX_TABLE_BYTES
from lutkit_runtime.errors import FormatError
from lutkit_runtime.lattice import Lattice

INTERVALS = range(9)

_OTHER_FILES = {b"PK": "a zip archive (.npz)", b"\x80": "a pickle", b"\x89HDF": "an HDF5 file"}


@dataclass(frozen=True)
class PublishedTable:
    """One table as it lay in its file.

    Parameters
    ----------
    path : Path
    array : int8 array, (entries, outputs) or (entries, 1, r, r)
    sha256 : str
        Of the file.
    """

    path: Path
    array: NDArray[np.int8]
    sha256: str

    @property
    def entries(self) -> int:
        """Rows of the table."""
        return self.array.shape[0]

    @property
    def outputs(self) -> int:
        """Values in a row."""
        return math.prod(self.array.shape[1:])

    @property
    def block(self) -> int:
        """Output pixels per input pixel in each direction; raises FormatError where the outputs are no square."""
        block = math.isqrt(self.outputs)
        if block**2 != self.outputs or not 1 <= block <= 8:
            raise FormatError(f"{self.path} has {self.outputs} outputs; the squares of 1 to 8 are possible")
        return block

    @property
    def rows(self) -> NDArray[np.int8]:
        """The table as (entries, outputs), contiguous."""
        return np.ascontiguousarray(self.array.reshape(self.entries, self.outputs))

    def describe(self) -> dict[str, Any]:
        """Return what an exporter needs to write the same file again, as JSON values."""
        return {"name": self.path.name, "shape": list(self.array.shape), "sha256": self.sha256}


def read_table(path: Path) -> PublishedTable:
    """Read a table from a .npy file; its header is judged before the values are read.

    Raises
    ------
    FormatError
        Unless it is an int8 array of (entries, outputs) or (entries, 1, r, r) in a complete file and nothing more.
    """
    content = read_content(path, "a .npy file", MAX_TABLE_BYTES)
    header = _read_header(path, content)
    if header.dtype != np.dtype(np.int8):
        raise FormatError(f"{path} holds {header.dtype} values; int8 is needed: quantise the table first")
    shape = header.shape
    if len(shape) not in (2, 4) or min(shape) < 1 or (len(shape) == 4 and (shape[1] != 1 or shape[2] != shape[3])):
        raise FormatError(f"{path} has shape {shape}; a table is (entries, outputs) or (entries, 1, r, r)")
    return PublishedTable(path, _read_values(path, content, header), hashlib.sha256(content).hexdigest())


def read_content(path: Path, wanted: str, limit: int) -> bytes:
    """Return the bytes of an ordinary file of at most `limit` bytes; raise FormatError, asking for `wanted`, otherwise."""
    try:
        if not path.is_file():
            problem = (
                "is a folder" if path.is_dir() else "does not exist" if not path.exists() else "is no ordinary file"
            )
            raise FormatError(f"{path} {problem}: name {wanted}")
        size = path.stat().st_size
        if size > limit:
            raise FormatError(f"{path} has {size} bytes; tables of at most {limit} are read")
        return path.read_bytes()
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise FormatError(f"cannot read {path} ({reason}): check the name and the permissions") from None
    except ValueError:
        raise FormatError(f"cannot read {str(path)!r}: this is no file name") from None


def parse_array(place: Path | str, content: bytes) -> NDArray[Any]:
    """Return the array of numbers that the bytes of a .npy file hold, of whatever shape.

    Raises FormatError, naming the place, unless it is an array of integers or floats, complete, with nothing after it.
    """
    header = _read_header(place, content)
    if header.dtype.kind not in "iuf":
        raise FormatError(f"{place} holds {header.dtype} values; integers or floats are needed")
    if any(length < 1 for length in header.shape):
        raise FormatError(f"{place} has shape {header.shape}; an array that is not empty is needed")
    return _read_values(place, content, header)


@dataclass(frozen=True)
class _Header:
    """What stands before the values, and where they start."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int


def _read_values(place: Path | str, content: bytes, header: _Header) -> NDArray[Any]:
    """Return the values; raise FormatError unless there are as many as the header declares."""
    declared = math.prod(header.shape)
    if len(content) - header.start != declared * header.dtype.itemsize:
        raise FormatError(
            f"{place} holds {(len(content) - header.start) // header.dtype.itemsize} values but declares {declared}: it is "
            "damaged, copy it again"
        )
    values = np.frombuffer(content, header.dtype, offset=header.start)
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")


def _read_header(path: Path | str, content: bytes) -> _Header:
    """Return what the header says; raise FormatError where there is none."""
    for start, kind in _OTHER_FILES.items():
        if content.startswith(start):
            raise FormatError(f"{path} is {kind}; a table is one array in a .npy file: save it with numpy.save")
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that Python 2 wrote, which are read all the same
            shape, fortran_order, dtype = read(stream)
    except Exception as problem:  # the header is a Python literal, whose parser fails in many ways
        reason = str(problem).partition("\n")[0][:120]
        raise FormatError(f"{path} is no .npy file of an array ({reason}): save the table with numpy.save") from None
    return _Header(shape, fortran_order, dtype, stream.tell())


def write_table(array: NDArray[np.int8]) -> bytes:
    """Return the bytes of a .npy file, as numpy.save writes it."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


def find_interval(entries: int, axes: int) -> int | None:
    """Return the interval whose lattice of so many axes has so many entries, or None."""
    return next((interval for interval in INTERVALS if Lattice(axes, interval).entries == entries), None)


def require_interval(table: PublishedTable, axes: int) -> int:
    """Return the interval of a table; raises FormatError, with the sizes nearby, where no lattice has its entries."""
    interval = find_interval(table.entries, axes)
    if interval is None:
        raise FormatError(f"{table.path} has {table.entries} entries; {nearby_sizes(table.entries, axes)}")
    return interval


def nearby_sizes(entries: int, axes: int) -> str:
    """Return which sizes of table there are around a number of entries, for people."""
    nearest = min(INTERVALS, key=lambda interval: abs(Lattice(axes, interval).entries - entries))
    return f"a table of {axes} samples has {Lattice(axes, nearest).entries} at interval {nearest}"


def original_of(provenance: Mapping[str, Any], kind: str, slot: str) -> tuple[str | None, tuple[int, ...] | None]:
    """Return name and shape of the file that a slot was imported from, None where the provenance does not say so.

    Whatever stands there is taken only when it could have come from `PublishedTable.describe`.
    """
    source = provenance.get("imported")
    if not isinstance(source, dict) or source.get("kind") != kind or not isinstance(source.get("files"), dict):
        return None, None
    entry = source["files"].get(slot)
    if not isinstance(entry, dict):
        return None, None
    name, shape = entry.get("name"), entry.get("shape")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".npy") or not name.isprintable():
        name = None
    if not isinstance(shape, list) or not all(type(length) is int and length > 0 for length in shape):
        shape = None
    return name, tuple(shape) if shape else None


def shape_for(table: NDArray[np.int8], wished: tuple[int, ...] | None, otherwise: tuple[int, ...]) -> NDArray[np.int8]:
    """Return the table in the wished shape where it is one a table can have, else in the other one."""
    entries, outputs = table.shape
    block = math.isqrt(outputs)
    return table.reshape(wished if wished in ((entries, outputs), (entries, 1, block, block)) else otherwise)
