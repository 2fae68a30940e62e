"""Files of published networks of one-dimensional tables: found, bounded and read as integers. Imports the runtime only.

Arrays lie in .npy and .npz files, which are never unpickled, and the distances between nodes in JSON.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit.formats.npy import parse_array, read_content
from lutkit_runtime.axis_tables import LARGEST_STEP
from lutkit_runtime.errors import FormatError

MAX_FILE_BYTES = 1 << 24
MAX_CHANNELS = 64
MAX_ARRAYS = MAX_CHANNELS**2
MAX_ARRAY_BYTES = 1 << 12
"""Of an array in an archive: one table of at most 257 numbers, with its header."""

_PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Files = dict[str, Path]
"""File names to paths."""


def find_files(sources: Sequence[Path], pattern: re.Pattern[str], wanted: str) -> Files:
    """Return the files of folders whose names match, and the files that are named themselves, which must.

    Raises FormatError, asking for `wanted`, where there are none, a file matches not, or two have one name.
    """
    files: Files = {}
    for source in sources:
        inside = _list_folder(source) if source.is_dir() else [source]
        matching = [path for path in inside if pattern.fullmatch(path.name)]
        if not matching:
            problem = "holds nothing" if source.is_dir() else "is nothing"
            raise FormatError(f"{source} {problem} of such a model: name {wanted}")
        for path in matching:
            if path.name in files:
                raise FormatError(f"{files[path.name]} and {path} have one name: name the files of one model")
            files[path.name] = path
    if not files:
        raise FormatError(f"no files are given: name {wanted}")
    return files


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as problem:
        raise FormatError(f"cannot read {folder} ({problem.strerror or problem}): check the permissions") from None


def require_files(files: Mapping[str, Path], names: Iterable[str], why: str) -> None:
    """Raise FormatError where a file is missing, or one is there that has no place."""
    needed = list(names)
    for name in needed:
        if name not in files:
            raise FormatError(f"{name} is missing beside {next(iter(files.values()))}: {why}")
    for name, path in files.items():
        if name not in needed:
            raise FormatError(f"{path} has no place in this model: {why}")


@dataclass(frozen=True)
class ReadFile:
    """Arrays of a file, and what provenance says of it.

    Parameters
    ----------
    path : Path
    arrays : mapping of name to array
        The one array of a .npy file is named "".
    sha256 : str
        Of the file.
    """

    path: Path
    arrays: Mapping[str, NDArray[Any]]
    sha256: str

    def describe(self) -> dict[str, Any]:
        """Return name and hash, as JSON values."""
        return {"name": self.path.name, "sha256": self.sha256}


def read_array_file(path: Path) -> ReadFile:
    """Read a .npy file; raises FormatError unless it is one array of numbers."""
    content = read_content(path, "a .npy file", MAX_FILE_BYTES)
    return ReadFile(path, {"": parse_array(path, content)}, hashlib.sha256(content).hexdigest())


def read_archive(path: Path) -> ReadFile:
    """Read every array of an .npz file.

    Raises FormatError unless it is a zip archive of small .npy files, stored or deflated, no two of one name.
    """
    content = read_content(path, "an .npz file", MAX_FILE_BYTES)
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS:
                raise FormatError(f"{path} holds {len(members)} arrays; at most {MAX_ARRAYS} are read")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name == member.filename or name in arrays:
                    raise FormatError(f"{path} holds {member.filename[:80]!r}, which is no array or there twice")
                arrays[name] = parse_array(f"{path}: {name[:80]}", _inflate(path, archive, member))
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError) as problem:
        reason = str(problem).partition("\n")[0][:120]
        raise FormatError(f"{path} is no readable .npz file ({reason}): save it with numpy.savez") from None
    return ReadFile(path, arrays, hashlib.sha256(content).hexdigest())


def _inflate(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a member; raise FormatError where they are too many, whatever the archive says."""
    if member.compress_type not in _PLAIN_METHODS or member.flag_bits & 1:
        raise FormatError(f"{path} packs {member.filename[:80]!r} in another way than numpy.savez: save it again")
    with archive.open(member) as stream:
        content = stream.read(MAX_ARRAY_BYTES + 1)
    if len(content) > MAX_ARRAY_BYTES:
        raise FormatError(
            f"{path} holds more than {MAX_ARRAY_BYTES} bytes in {member.filename[:80]!r}: no table is as long"
        )
    return content


def require_integers(place: str, array: NDArray[Any], low: int = -128, high: int = 127) -> NDArray[np.int64]:
    """Return an array of numbers as integers; raises FormatError, naming the place, where one is none or out of range."""
    # of what is no number both comparisons are false
    if not bool(((array >= low) & (array <= high)).all()):
        raise FormatError(f"{place} holds values beyond {low} to {high}: quantise the tables first")
    integers = array.astype(np.int64)
    if not np.array_equal(integers, array):
        raise FormatError(f"{place} holds fractions; its tables must hold integers: quantise them first")
    return integers


Channels = Annotated[int, msgspec.Meta(ge=1, le=MAX_CHANNELS)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: Annotated[int, msgspec.Meta(ge=0, lt=MAX_CHANNELS)] = msgspec.field(name="in")
    output: Annotated[int, msgspec.Meta(ge=0, lt=MAX_CHANNELS)] = msgspec.field(name="out")
    step: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_STEP)]


class _Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: Channels = msgspec.field(name="IN")
    outputs: Channels = msgspec.field(name="OUT")
    tables: Annotated[list[_Table], msgspec.Meta(max_length=MAX_ARRAYS)] = msgspec.field(name="LUTs")


def read_steps(path: Path) -> tuple[tuple[tuple[int, ...], ...], str]:
    """Return the distance between nodes for every input and output, and the hash of the file.

    Raises FormatError unless the JSON says so of each once, in powers of two up to 64.
    """
    content = read_content(path, "a JSON file", MAX_FILE_BYTES)
    try:
        said = msgspec.json.decode(content, type=_Steps)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        reason = str(problem).partition("\n")[0][:160]
        raise FormatError(f"{path} does not say the steps of tables ({reason}): copy the published file") from None
    steps = {(table.number, table.output): table.step for table in said.tables}
    for place, step in steps.items():
        if step & (step - 1):
            raise FormatError(f"{path} says step {step} of i{place[0]}o{place[1]}; powers of two are possible")
    places = [(number, output) for number in range(said.inputs) for output in range(said.outputs)]
    if len(said.tables) != len(places) or steps.keys() != set(places):
        raise FormatError(
            f"{path} says the steps of {len(said.tables)} tables; IN {said.inputs} and OUT {said.outputs} need each of "
            f"{len(places)} once"
        )
    rows = tuple(tuple(steps[number, output] for output in range(said.outputs)) for number in range(said.inputs))
    return rows, hashlib.sha256(content).hexdigest()
