"""Whether CUDA kernels can run on this machine. Imports nothing: on a machine without a GPU this is all that is loaded."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import sys
from typing import Any

SIMULATOR = "NUMBA_ENABLE_CUDASIM"
"""Environment variable of Numba: where it is 1, kernels run in Python threads, slowly, without types and without a GPU."""

OLDEST = (0, 30)
"""Version of numba-cuda, as the extras say."""

OLDEST_GPUS = {12: (5, 0), 13: (7, 5)}
"""Major version of a CUDA toolkit to the compute capability from which on it compiles for GPUs."""

_SUCCESS = 0
_MAJOR, _MINOR = 75, 76
"""CUdevice_attribute of the driver: COMPUTE_CAPABILITY_MAJOR and _MINOR."""


def is_simulated() -> bool:
    """Whether Numba has been told to simulate a GPU; what is no integer counts as 0, as it does there."""
    try:
        return int(os.environ.get(SIMULATOR, "0")) != 0
    except ValueError:
        return False


def find_obstacle() -> str | None:
    """Return why CUDA kernels cannot run here and what to do, or None where they can."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed: run pip install 'lutkit[cuda]'"
    return None if is_simulated() else find_gpu_obstacle() or find_version_obstacle()


def find_misfit() -> str | None:
    """Return why a GPU that is there stays unused although numba-cuda is installed, and what to do; None for all else."""
    if is_simulated() or importlib.util.find_spec("numba_cuda") is None or find_gpu_obstacle() is not None:
        return None
    return find_version_obstacle()


@functools.cache
def find_gpu_obstacle() -> str | None:
    """Return why no GPU can be used, or None where the driver knows one.

    The driver is asked directly, because importing numba-cuda takes a second.
    """
    try:
        driver = _load_driver()
    except OSError:
        return "this machine has no NVIDIA driver: use the backend cpu"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != _SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)) != _SUCCESS or not count.value:
        return "the NVIDIA driver finds no GPU: use the backend cpu"
    return None


@functools.cache
def find_version_obstacle() -> str | None:
    """Return why driver, GPU and the installed packages do not fit each other, or None; only where there is a GPU."""
    numba_cuda, toolkit = _find_version("numba-cuda"), _find_version("cuda-bindings")
    if numba_cuda is not None and numba_cuda < OLDEST:
        old, new = (".".join(map(str, version)) for version in (numba_cuda, OLDEST))
        return f"numba-cuda {old} is older than {new}: run pip install -U 'lutkit[cuda]'"
    if toolkit is None:
        return None
    driver = _load_driver()
    number, device, major, minor = (ctypes.c_int(0) for _ in range(4))
    driver.cuDriverGetVersion(ctypes.byref(number))
    known = number.value // 1000
    if known < toolkit[0]:
        remedy = "update the driver, or run pip install 'lutkit[cuda12]'" if known == 12 else "update the driver"
        return f"the NVIDIA driver knows CUDA {known}, and CUDA {toolkit[0]} is installed: {remedy}"
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    oldest = OLDEST_GPUS.get(toolkit[0], (0, 0))
    if (major.value, minor.value) < oldest:
        return (
            f"the GPU's compute capability is {major.value}.{minor.value}, and CUDA {toolkit[0]} needs "
            f"{oldest[0]}.{oldest[1]}: run pip install 'lutkit[cuda12]', or use the backend cpu"
        )
    return None


def _load_driver() -> ctypes.CDLL:
    """Return the driver's library. Raises OSError where there is none."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def _find_version(package: str) -> tuple[int, int] | None:
    """Return the first two numbers of an installed package's version, or None where it does not say."""
    try:
        first, second, *_ = importlib.metadata.version(package).split(".")
        return int(first), int(second)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


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
