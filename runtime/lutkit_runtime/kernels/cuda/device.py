"""Whether CUDA kernels can run on this machine. Imports nothing: on a machine without a GPU this is all that is loaded."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from typing import Any

SIMULATOR = "NUMBA_ENABLE_CUDASIM"
"""Environment variable of Numba: where it is 1, kernels run in Python threads, slowly, without types and without a GPU."""

_SUCCESS = 0


def is_simulated() -> bool:
    """Whether Numba has been told to simulate a GPU."""
    return os.environ.get(SIMULATOR, "0") not in ("", "0")


def find_obstacle() -> str | None:
    """Return why CUDA kernels cannot run here and what to do, or None where they can."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed: run pip install 'lutkit[cuda]'"
    return None if is_simulated() else find_gpu_obstacle()


@functools.cache
def find_gpu_obstacle() -> str | None:
    """Return why no GPU can be used, or None where the driver knows one.

    The driver is asked directly, because importing numba-cuda takes a second.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "this machine has no NVIDIA driver: use the backend cpu"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != _SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)) != _SUCCESS or not count.value:
        return "the NVIDIA driver finds no GPU: use the backend cpu"
    return None


def has_gpu() -> bool:
    """Whether kernels can run on a GPU, not only in the simulator."""
    return not is_simulated() and find_obstacle() is None


def is_device_array(image: object) -> bool:
    """Whether an array lies on the GPU: that of any library, or one of the simulator."""
    return hasattr(image, "__cuda_array_interface__") or (is_simulated() and hasattr(type(image), "__cuda_ndarray__"))


def describe_device() -> str:
    """Return the name of the GPU that kernels run on; only where `find_obstacle` found none."""
    if is_simulated():
        return "Numba's CUDA simulator"
    from lutkit_runtime.kernels.cuda.compiling import cuda

    name: Any = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)
