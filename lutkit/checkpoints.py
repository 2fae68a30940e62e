"""Checkpoints and network files, written atomically and read without running anything in them. Imports torch."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.errors import DataError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state (tensors, numbers, strings, lists, dicts) in place of the old one, or keep the old one whole."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue(), overwrite=True, error=DataError)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a state; raises DataError where the file is missing or damaged. Pickled code is refused."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"checkpoint {path} cannot be read ({error.strerror}): start anew with -y") from error
    try:
        # torch compares no checksums itself; the file is a ZIP archive, which has one for every tensor.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        state = None if damaged else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # Unpickling damaged bytes fails in many ways; whatever a file causes is the file's fault.
        raise DataError(f"checkpoint {path} is damaged: restore it, or start anew with -y") from error
    if not isinstance(state, dict):
        raise DataError(f"checkpoint {path} is damaged: restore it, or start anew with -y")
    return state


def save_networks(path: Path, parameters: dict[str, torch.Tensor]) -> None:
    """Write named parameters as safetensors."""
    plain = {name: value.detach().cpu().contiguous() for name, value in parameters.items()}
    write_atomically(path, save(plain), overwrite=True, error=DataError)


def load_networks(path: Path) -> dict[str, torch.Tensor]:
    """Read named parameters; raises DataError where the file is missing or damaged."""
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"networks {path} cannot be read ({error.strerror}): run lutkit train --run {path.parent} first"
        ) from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"networks {path} are damaged ({error}): train again") from error
