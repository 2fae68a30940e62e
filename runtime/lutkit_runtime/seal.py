"""The seal of an artefact: a block before the HDF5 part that tells what follows and detects every changed byte.

Floor 2: imports atomic and errors. The layout is written down in docs/artefact.md.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from pathlib import Path

from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.errors import ArtefactError

MAGIC = b"\x89LUTKIT\n"
SCHEMA = 5
"""What is written; docs/artefact.md tells what each schema added."""
OLDEST_SCHEMA = 1
BLOCK_BYTES = 512
"""HDF5 looks for its own signature at 0, 512, 1024, ..., so that any HDF5 tool opens an artefact."""

MAX_FILE_BYTES = 1 << 30

_FIELDS = struct.Struct("<8sIIQ32s")
_HASH_BYTES = hashlib.sha256().digest_size
_SEALED_BYTES = _FIELDS.size + _HASH_BYTES
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def seal(payload: bytes, schema: int = SCHEMA) -> bytes:
    """Return the user block of 512 bytes for everything that follows it in the file."""
    fields = _FIELDS.pack(MAGIC, schema, BLOCK_BYTES, len(payload), hashlib.sha256(payload).digest())
    return (fields + hashlib.sha256(fields).digest()).ljust(BLOCK_BYTES, b"\0")


def write_sealed(path: Path | str, payload: bytes, *, overwrite: bool = False) -> None:
    """Write the seal and the payload as one file, completely or not at all.

    Raises ArtefactError where the file exists and `overwrite` is not set, or cannot be written.
    """
    if len(payload) + BLOCK_BYTES > MAX_FILE_BYTES:
        raise ArtefactError(
            f"{path} would take {len(payload) + BLOCK_BYTES} bytes; an artefact has at most {MAX_FILE_BYTES}: "
            "choose a larger interval"
        )
    write_atomically(path, seal(payload) + payload, overwrite=overwrite, error=ArtefactError)


def read_sealed(path: Path | str) -> bytes:
    """Read a file once, and return all of its bytes, user block included, when they are what was written.

    Raises ArtefactError where the file is missing, unreadable, no artefact, damaged, too large or of a newer schema.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe would block
            kind = "a folder" if path.is_dir() else "not an ordinary file"
            raise ArtefactError(f"{path} is {kind}: name an artefact (.h5)")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            block = file.read(BLOCK_BYTES)
            length = _check_block(path, block, size)
            payload = file.read(length + 1)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise ArtefactError(f"cannot read {path} ({reason}): check the name and the permissions") from None
    except ValueError:  # a null byte in the name
        raise ArtefactError(f"cannot read {str(path)!r}: this is no file name") from None
    if len(payload) != length:
        raise _wrong_length(path, len(payload) + BLOCK_BYTES, length + BLOCK_BYTES)
    if hashlib.sha256(payload).digest() != _FIELDS.unpack_from(block)[4]:
        raise ArtefactError(f"{path} is damaged (its SHA-256 does not match): copy it again or make it anew")
    return block + payload


def _check_block(path: Path, block: bytes, size: int) -> int:
    """Return the length of the payload that the user block announces; raise ArtefactError unless all of it is valid."""
    if not size:
        raise ArtefactError(f"{path} is empty: copy it again or make it anew")
    if not block.startswith(MAGIC):
        kind = "an HDF5 file, but " if block.startswith(_HDF5_SIGNATURE) else ""
        raise ArtefactError(
            f"{path} is {kind}not a lutkit artefact: make one with lutkit transfer, or lutkit import from other formats"
        )
    if len(block) < _SEALED_BYTES:
        raise ArtefactError(f"{path} ends after {len(block)} bytes, inside its header: copy it again or make it anew")
    _, schema, block_bytes, length, _ = _FIELDS.unpack_from(block)
    if hashlib.sha256(block[: _FIELDS.size]).digest() != block[_FIELDS.size : _SEALED_BYTES]:
        raise ArtefactError(f"{path} has a damaged header: copy it again or make it anew")
    if schema > SCHEMA:
        raise ArtefactError(
            f"{path} is made by a newer lutkit (schema {schema}); this one reads {OLDEST_SCHEMA} to {SCHEMA}: upgrade lutkit"
        )
    if schema < OLDEST_SCHEMA or block_bytes != BLOCK_BYTES:
        raise ArtefactError(
            f"{path} declares schema {schema} and a header of {block_bytes} bytes; "
            f"schemas {OLDEST_SCHEMA} to {SCHEMA} have {BLOCK_BYTES}: make it anew"
        )
    if length + BLOCK_BYTES > MAX_FILE_BYTES:
        raise ArtefactError(f"{path} declares {length + BLOCK_BYTES} bytes; at most {MAX_FILE_BYTES} are read")
    if size != length + BLOCK_BYTES:
        raise _wrong_length(path, size, length + BLOCK_BYTES)
    if block[_SEALED_BYTES:].strip(b"\0") or len(block) != BLOCK_BYTES:
        raise ArtefactError(f"{path} has a damaged header: copy it again or make it anew")
    return length


def _wrong_length(path: Path, found: int, declared: int) -> ArtefactError:
    return ArtefactError(
        f"{path} has {found} bytes but declares {declared}: it was cut off or changed; copy it again or make it anew"
    )
