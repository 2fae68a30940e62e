"""Artefact: a program with its tables and where they came from, in one HDF5 file. Floor 6: imports program and seal.

The HDF5 library is imported when a file is read or written: models come from colour LUT files, too.
docs/artefact.md describes the file for readers in other languages.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError, ProgramError
from lutkit_runtime.program import Program, Tables
from lutkit_runtime.seal import BLOCK_BYTES, read_sealed, write_sealed

MAX_TEXT_BYTES = 1 << 20
MAX_TABLES = 1024
MAX_TABLE_BYTES = 1 << 30
"""All tables together: large enough for four axes at interval 2 and scale 4 (0.29 GB)."""

DIFFERENCED = "int8"
"""Tables of this type are stored as differences, which compress better; others as they are."""

_SLOT_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.+-]{1,64}(?:/(?!\.)[A-Za-z0-9_.+-]{1,64}){0,3}", re.ASCII)


@dataclass(frozen=True)
class Artefact:
    """A model that can be applied.

    Parameters
    ----------
    program : Program
    tables : mapping of slot name to array (entries, outputs)
        One for every slot of the program, of the slot's type.
    provenance : mapping of str to JSON value
        How the tables were made: recipe, measured fidelity, licence of the data. For people and tools; running the
        model needs none of it.
    """

    program: Program
    tables: Tables
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def validate(self) -> None:
        """Raise ProgramError or ArtefactError unless the program is sound and its tables fit."""
        self.program.validate()
        table_shapes(self.program)
        self.program.validate_tables(self.tables)


def table_shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """Return the shape in which each slot's table is stored: (outputs, nodes, nodes, ...), one axis per sample.

    Raises ArtefactError where slots have unusable names, are used in two ways, or exceed what a file may hold.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    bytes_per_value: dict[str, int] = {}
    for op in program.inner_ops():
        for name, slot in op.slots.items():
            shape = (slot.outputs, *slot.axes)
            if shapes.setdefault(name, shape) != shape:
                raise ArtefactError(f"slot '{name}' is indexed as {shapes[name]} and {shape}; use two slots")
            bytes_per_value[name] = np.dtype(slot.dtype).itemsize
    if len(shapes) > MAX_TABLES:
        raise ArtefactError(f"program has {len(shapes)} slots; an artefact has at most {MAX_TABLES}")
    total = 0
    for name, shape in shapes.items():
        if not _SLOT_NAME.fullmatch(name):
            raise ArtefactError(
                f"slot {name[:80]!r} cannot be stored: use letters, digits and _ . + - in at most 4 parts joined by /"
            )
        parts = name.split("/")
        for parent in ("/".join(parts[:length]) for length in range(1, len(parts))):
            if parent in shapes:
                raise ArtefactError(f"slots '{parent}' and '{name}' cannot be stored together: rename one")
        total += math.prod(shape) * bytes_per_value[name]
    if total > MAX_TABLE_BYTES:
        raise ArtefactError(
            f"tables take {total} bytes; an artefact holds at most {MAX_TABLE_BYTES}: choose a larger interval"
        )
    return shapes


def write_artefact(path: Path | str, artefact: Artefact, *, overwrite: bool = False) -> None:
    """Write an artefact as one file, completely or not at all; the same artefact gives the same bytes.

    Raises ArtefactError where the file exists and `overwrite` is not set, or cannot be written; ProgramError or
    ArtefactError where the artefact is inconsistent.
    """
    artefact.validate()
    write_sealed(path, _encode(artefact)[BLOCK_BYTES:], overwrite=overwrite)


def read_artefact(path: Path | str) -> Artefact:
    """Read an artefact, trusting nothing in it.

    The seal is verified before the HDF5 library sees a byte, and that library is given the verified bytes, not the
    path. Sizes are compared with the program before anything is allocated for them.

    Raises ArtefactError where the file is missing, damaged, hostile, of a newer schema, or no artefact at all.
    """
    data = read_sealed(path)
    from lutkit_runtime import strict_hdf5

    try:
        with strict_hdf5.open_hdf5(data) as root:
            return _decode(root)
    except (ArtefactError, ProgramError, msgspec.MsgspecError) as problem:
        reason = str(problem)
    except MemoryError:
        reason = "there is not enough memory for its tables"
    except Exception as problem:
        # HDF5 turns the failures of its C library into many types; whatever a file causes is the file's fault.
        reason = f"{type(problem).__name__}: {problem}"
    raise ArtefactError(f"{path} is not a usable artefact ({_tame(reason)}): make it anew")


def _tame(text: str, longest: int = 300) -> str:
    """Return text that a file may have put into a message as one short line that steers no terminal."""
    line = " ".join(text.split())
    shown = line if len(line) <= longest else f"{line[:longest]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def difference(table: NDArray[np.int8]) -> NDArray[np.int8]:
    """Replace values by differences modulo 256 along the last axis, then along the one before; shape (..., n, m).

    Neighbouring entries are alike, so that the differences compress to about 75 % of what the values do.
    """
    stored = table.view(np.uint8).copy()
    stored[..., 1:] -= stored[..., :-1].copy()
    stored[..., 1:, :] -= stored[..., :-1, :].copy()
    return stored.view(np.int8)


def accumulate(stored: NDArray[np.int8]) -> NDArray[np.int8]:
    """Undo `difference`: running sums modulo 256 along the last two axes."""
    sums = np.cumsum(stored.view(np.uint8), axis=-2, dtype=np.uint8)
    return np.cumsum(sums, axis=-1, dtype=np.uint8).view(np.int8)


def _encode(artefact: Artefact) -> bytes:
    """Return the HDF5 file with an empty user block."""
    from lutkit_runtime.strict_hdf5 import write_hdf5

    shapes = table_shapes(artefact.program)
    texts = {
        "program": msgspec.json.encode(artefact.program),
        "provenance": _encode_provenance(artefact.provenance),
    }
    for name, text in texts.items():
        if len(text) > MAX_TEXT_BYTES:
            raise ArtefactError(f"{name} takes {len(text)} bytes; an artefact holds at most {MAX_TEXT_BYTES}")
    tables = {slot: _arrange(artefact.tables[slot], shapes[slot]) for slot in sorted(shapes)}
    return write_hdf5(texts, "tables", tables)


def _arrange(table: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a table (entries, outputs) as it is stored: outputs first, and as differences where they help."""
    stored = np.ascontiguousarray(table.T).reshape(shape)
    return difference(stored) if stored.dtype == DIFFERENCED else stored


def _restore(stored: NDArray[Any]) -> NDArray[Any]:
    """Undo `_arrange`."""
    values = accumulate(stored) if stored.dtype == DIFFERENCED else stored
    return np.ascontiguousarray(values.reshape(len(values), -1).T)


def _encode_provenance(provenance: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(
            dict(provenance), sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":")
        ).encode()
        msgspec.json.decode(text)  # what cannot be read back is not written
    except (TypeError, ValueError, RecursionError) as problem:
        raise ArtefactError(f"provenance is no JSON object ({problem}): use text, finite numbers, lists") from None
    return text


def _decode(root: Any) -> Artefact:
    """Read the tree of a verified file, in which every object must be one that `write_artefact` makes."""
    from lutkit_runtime.strict_hdf5 import open_children, read_text

    members = open_children(root, ("program", "provenance", "tables"))
    program = msgspec.json.decode(read_text(members["program"], "program", MAX_TEXT_BYTES), type=Program)
    program.validate()
    shapes = table_shapes(program)
    types = {name: slot.dtype for name, slot in program.slots.items()}
    tables = {slot: _restore(stored) for slot, stored in _read_slots(members["tables"], "", shapes, types)}
    program.validate_tables(tables)
    text = read_text(members["provenance"], "provenance", MAX_TEXT_BYTES)
    return Artefact(program, tables, msgspec.json.decode(text, type=dict[str, Any]))


def _read_slots(
    group: Any, prefix: str, shapes: dict[str, tuple[int, ...]], types: dict[str, str]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield slot name and stored table for every slot below a group; a slot's parts between / are groups."""
    from lutkit_runtime.strict_hdf5 import open_children, read_by_chunk

    inside = [name.removeprefix(prefix) for name in shapes if name.startswith(prefix)]
    for child, item in open_children(group, dict.fromkeys(name.partition("/")[0] for name in inside)).items():
        slot = prefix + child
        if slot in shapes:
            yield slot, read_by_chunk(item, f"table '{slot}'", shapes[slot], np.dtype(types[slot]))
        else:
            yield from _read_slots(item, f"{slot}/", shapes, types)
