"""Named arrays of published weights: state dicts, .npz and .safetensors, read without running anything in them.

Imports torch.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lutkit_runtime.errors import FormatError

MAX_FILE_BYTES = 1 << 30
MAX_NESTING = 4


def read_arrays(source: Path) -> dict[str, torch.Tensor]:
    """Return the named arrays of a file; those of nested dictionaries get names joined by dots.

    Raises FormatError where the file cannot be read, or holds more than arrays.
    """
    try:
        if source.stat().st_size > MAX_FILE_BYTES:
            raise FormatError(f"{source} has {source.stat().st_size} bytes; at most {MAX_FILE_BYTES} are read")
        if source.suffix.lower() == ".npz":
            with np.load(source, allow_pickle=False) as archive:
                content: object = {name: torch.from_numpy(np.asarray(archive[name])) for name in archive.files}
        elif source.suffix.lower() == ".safetensors":
            content = load_file(source)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                content = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FormatError(f"{source} cannot be read ({error.strerror or error}): check the path") from error
    except pickle.UnpicklingError as error:
        if not _is_pickled(source):
            raise FormatError(
                f"{source} holds no readable arrays, as it is no file of torch.save: name one, or an .npz file"
            ) from error
        raise FormatError(
            f"{source} pickles more than arrays, which could run code: save its state_dict, or its arrays as .npz"
        ) from error
    except (ValueError, TypeError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile, SafetensorError) as error:
        raise FormatError(f"{source} holds no readable arrays: get the file again") from error
    arrays = dict(_flatten(content)) if isinstance(content, dict) else {}
    if not arrays or not all(isinstance(value, torch.Tensor) for value in arrays.values()):
        raise FormatError(f"{source} is no state dict of arrays: save model.state_dict()")
    return arrays


def _is_pickled(source: Path) -> bool:
    """Tell whether a file begins as those of torch.save do: as a zip archive or a pickle."""
    with source.open("rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80"))


def _flatten(content: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries under names joined by dots."""
    for name, value in content.items():
        if isinstance(value, dict) and prefix.count(".") < MAX_NESTING:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
