"""HDF5 files of strings and tables: writing them, and reading exactly those and nothing else.

Floor 2: imports errors and seal.

HDF5 can hold links to other files, virtual and external storage, any filter and any type. None of that is followed:
an object is looked at before it is opened, and opened before anything is allocated for it. Chunks are inflated here,
never past their size, because the library's own filter would inflate whatever it is given.
"""

# h5py's compiled modules carry no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lutkit_runtime.errors import ArtefactError
from lutkit_runtime.seal import BLOCK_BYTES

_DEFLATE: int = h5py.h5z.FILTER_DEFLATE
_CHUNKED: int = h5py.h5d.CHUNKED
_CONTIGUOUS: int = h5py.h5d.CONTIGUOUS

_DEFLATE_LEVEL = 9

TABLE_TYPES: dict[str, Any] = {
    "int8": h5py.h5t.STD_I8LE,
    "uint8": h5py.h5t.STD_U8LE,
    "int16": h5py.h5t.STD_I16LE,
    "int32": h5py.h5t.STD_I32LE,
    "float32": h5py.h5t.IEEE_F32LE,
}
"""Types of tables by their NumPy names."""


def write_hdf5(texts: Mapping[str, bytes], group: str, tables: Mapping[str, NDArray[Any]]) -> bytes:
    """Return an HDF5 file with an empty user block; the same content gives the same bytes.

    Parameters
    ----------
    texts : mapping of name to UTF-8 bytes
        Each becomes one string of fixed length.
    group : str
        Name of the group of the tables, which is there even without any.
    tables : mapping of path in the group to array
        Of types in `TABLE_TYPES`, in little-endian order. Each is stored as one deflated chunk for each index of its first axis.
    """
    buffer = io.BytesIO()
    # The earliest version of the file format is the one that readers in other languages know best.
    with h5py.File(buffer, "w", userblock_size=BLOCK_BYTES, libver=("earliest", "v110")) as file:
        for name, text in texts.items():
            kind = h5py.string_dtype("utf-8", len(text))
            file.create_dataset(name, data=np.bytes_(text), dtype=kind, track_times=False)
        inside = file.create_group(group)
        for name, table in tables.items():
            inside.create_dataset(
                name,
                data=table,
                dtype=TABLE_TYPES[table.dtype.name],
                chunks=(1, *table.shape[1:]),
                compression="gzip",
                compression_opts=_DEFLATE_LEVEL,
                track_times=False,
            )
    return buffer.getvalue()


def open_hdf5(data: bytes) -> Any:
    """Open the bytes of an HDF5 file for reading, as a context manager that yields the root group."""
    return h5py.File(io.BytesIO(data), "r")


def open_children(group: Any, names: Collection[str]) -> dict[str, Any]:
    """Open the members of a group, which must be exactly `names`, each linked directly.

    Raises ArtefactError for other members, missing ones, soft or external links and attributes.
    """
    if not isinstance(group, h5py.Group):
        raise ArtefactError("a dataset stands where a group is expected")
    _refuse_attributes(group)
    links: Any = group.id.links
    found = len(group)
    if found != len(names):
        raise ArtefactError(f"group {group.name} has {found} members; {len(names)} are expected")
    children: dict[str, Any] = {}
    for name in names:
        encoded = name.encode()
        if not links.exists(encoded):
            raise ArtefactError(f"{name!r} is missing in group {group.name}")
        if links.get_info(encoded).type != h5py.h5l.TYPE_HARD:
            raise ArtefactError(f"{name!r} in group {group.name} is a soft or external link")
        children[name] = group[name]
    return children


def read_text(dataset: Any, name: str, max_bytes: int) -> bytes:
    """Read one string of fixed length, stored plainly; raises ArtefactError for anything else."""
    _expect_dataset(dataset, name)
    text_type = h5py.check_string_dtype(dataset.dtype)
    if text_type is None or text_type.length is None or dataset.shape != ():
        raise ArtefactError(f"{name} is stored as {dataset.dtype} {dataset.shape}; one string of fixed length is read")
    if text_type.length > max_bytes:
        raise ArtefactError(f"{name} takes {text_type.length} bytes; at most {max_bytes} are read")
    creation: Any = dataset.id.get_create_plist()
    if creation.get_layout() != _CONTIGUOUS or creation.get_external_count() or creation.get_nfilters():
        raise ArtefactError(f"{name} is not stored contiguously inside the file")
    return bytes(dataset[()])


def read_by_chunk(dataset: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read a dataset of a known shape and type, stored as one deflated chunk for each index of the first axis.

    Raises ArtefactError unless type, shape, storage and filters are those, every chunk inflates to its size, and floats
    are finite.
    """
    _expect_dataset(dataset, name)
    if not dataset.id.get_type().equal(TABLE_TYPES[dtype.name]):
        raise ArtefactError(f"{name} holds {dataset.dtype} values; {dtype} is needed")
    if dataset.shape != shape or dataset.maxshape != shape:
        raise ArtefactError(f"{name} has shape {dataset.shape}; the program needs {shape}")
    creation: Any = dataset.id.get_create_plist()
    if creation.get_layout() != _CHUNKED or creation.get_chunk() != (1, *shape[1:]):
        raise ArtefactError(f"{name} is not stored in chunks of one output")
    if creation.get_nfilters() != 1 or creation.get_filter(0)[0] != _DEFLATE:
        raise ArtefactError(f"{name} is not compressed by deflate alone")
    values = np.empty(shape, dtype)
    stored = dtype.newbyteorder("<")
    for index in range(shape[0]):
        plain = _inflate(dataset, name, index, values[0].nbytes)
        values[index] = np.frombuffer(plain, stored).reshape(shape[1:])
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise ArtefactError(f"{name} holds values that are not finite numbers")
    return values


def _inflate(dataset: Any, name: str, index: int, size: int) -> bytes:
    offset = (index,) + (0,) * (len(dataset.shape) - 1)
    info: Any = dataset.id.get_chunk_info_by_coord(offset)
    # Deflate never needs more than a few bytes over the size of what it stores.
    if info.byte_offset is None or not 0 < info.size <= size + size // 1000 + 64:
        raise ArtefactError(f"{name} lacks a usable chunk {index}")
    mask, packed = dataset.id.read_direct_chunk(offset)
    if mask:
        raise ArtefactError(f"{name} skips its filter in chunk {index}")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed, size + 1)
    except zlib.error as problem:
        raise ArtefactError(f"{name} cannot be inflated in chunk {index} ({problem})") from None
    if len(plain) != size or not inflater.eof or inflater.unused_data:
        raise ArtefactError(f"{name} holds {len(plain)} bytes in chunk {index}; the program needs {size}")
    return plain


def _expect_dataset(item: Any, name: str) -> None:
    if not isinstance(item, h5py.Dataset):
        raise ArtefactError(f"{name} is not a dataset")
    _refuse_attributes(item)


def _refuse_attributes(item: Any) -> None:
    if h5py.h5a.get_num_attrs(item.id):
        raise ArtefactError(f"{item.name} has attributes; an artefact has none")
