"""Who can take part in a benchmark: other programs, and lutkit's own backends. Imports them only to find their versions."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

import lutkit_runtime
from lutkit_runtime.engine.backends import BACKENDS


@dataclass(frozen=True)
class Engine:
    """A program that can do some of the cases.

    Parameters
    ----------
    key : str
        By which it is asked for on the command line.
    title : str
        As people write it.
    obstacle : callable
        Returns why it cannot run here, or None where it can.
    find_version : callable
        Is called where there is no obstacle.
    """

    key: str
    title: str
    obstacle: Callable[[], str | None]
    find_version: Callable[[], str]


def _need(module: str) -> Callable[[], str | None]:
    return lambda: None if importlib.util.find_spec(module) else "not installed"


def _find_version_of(distribution: str, module: str) -> Callable[[], str]:
    def find() -> str:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return _ask_version(module)  # of another distribution, such as onnxruntime-gpu

    return find


def _ask_version(module: str) -> str:
    """Return what a module says; nothing where it says nothing, or is broken, which its turn will show."""
    try:
        return str(getattr(importlib.import_module(module), "__version__", ""))
    except Exception:
        return ""


def find_cuda_obstacle() -> str | None:
    """Return why no GPU can be measured: none there, or one that is only simulated."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        return "a simulated GPU is not measured: unset NUMBA_ENABLE_CUDASIM"
    return BACKENDS["cuda"].obstacle()


def _find_ffmpeg_obstacle() -> str | None:
    return None if shutil.which("ffmpeg") or importlib.util.find_spec("av") else "not installed"


def find_ffmpeg_version() -> str:
    """Return the version of FFmpeg's library of filters inside PyAV, else of the installed program."""
    if not importlib.util.find_spec("av"):
        return find_ffmpeg_program_version()
    try:
        av = importlib.import_module("av")
        return f"PyAV {av.__version__}, libavfilter {'.'.join(map(str, av.library_versions['libavfilter']))}"
    except Exception:
        return "PyAV"  # broken, which its turn will show


def find_ffmpeg_program_version() -> str:
    """Return the version that the installed program says, or nothing where it says none."""
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=False).stdout.split()
    return said[2] if said[:2] == ["ffmpeg", "version"] else ""


ENGINES: dict[str, Engine] = {
    engine.key: engine
    for engine in (
        Engine("lutkit", "lutkit", lambda: BACKENDS["cpu"].obstacle(), lambda: lutkit_runtime.__version__),
        Engine("cuda", "lutkit CUDA", find_cuda_obstacle, lambda: lutkit_runtime.__version__),
        Engine("numpy", "NumPy", lambda: None, lambda: np.__version__),
        Engine("opencolorio", "OpenColorIO", _need("PyOpenColorIO"), _find_version_of("opencolorio", "PyOpenColorIO")),
        Engine("pillow", "Pillow", _need("PIL"), _find_version_of("pillow", "PIL")),
        Engine("opencv", "OpenCV", _need("cv2"), lambda: _ask_version("cv2")),
        Engine("ffmpeg", "FFmpeg", _find_ffmpeg_obstacle, find_ffmpeg_version),
        Engine("torch", "torch", _need("torch"), _find_version_of("torch", "torch")),
        Engine("onnxruntime", "ONNX Runtime", _need("onnxruntime"), _find_version_of("onnxruntime", "onnxruntime")),
    )
}
"""Keys to engines, in the order of the rows."""


def find_present(keys: Iterable[str]) -> dict[str, str]:
    """Return the versions of those engines that can run here."""
    return {key: ENGINES[key].find_version() for key in keys if ENGINES[key].obstacle() is None}


def list_obstacles(keys: Iterable[str]) -> list[str]:
    """Return who cannot take part and why, a phrase for each."""
    found = ((ENGINES[key].title, ENGINES[key].obstacle()) for key in keys)
    return [f"{title}: {obstacle}" for title, obstacle in found if obstacle]
