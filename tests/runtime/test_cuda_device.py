"""Whether a GPU can be used is told before numba-cuda is imported, in one line with a remedy."""

import ctypes
import re

import pytest

from lutkit_runtime.kernels.cuda import device
from lutkit_runtime.kernels.cuda.device import SIMULATOR, find_version_obstacle, is_simulated


@pytest.mark.parametrize(
    ("value", "simulated"),
    [("1", True), ("0", False), ("", False), ("yes", False), ("true", False), ("00", False), ("2", True), (" 1", True)],
)
def test_the_simulator_is_asked_for_as_numba_reads_it(monkeypatch, value, simulated):
    monkeypatch.setenv(SIMULATOR, value)
    assert is_simulated() is simulated
    monkeypatch.delenv(SIMULATOR)
    assert not is_simulated()


class Driver:
    """An NVIDIA driver as far as it is asked."""

    def __init__(self, version, capability):
        self._version, self._capability = version, capability

    def cuDriverGetVersion(self, number):
        number._obj.value = self._version

    def cuDeviceGet(self, found, number):
        found._obj.value = number

    def cuDeviceGetAttribute(self, number, attribute, found):
        assert isinstance(found, ctypes.c_int)
        number._obj.value = self._capability[attribute - 75]


@pytest.mark.parametrize(
    ("numba_cuda", "toolkit", "driver", "capability", "told"),
    [
        ((0, 30), (13, 0), 13000, (7, 5), None),
        ((0, 31), (13, 2), 13010, (9, 0), None),
        ((0, 30), (12, 9), 13000, (6, 1), None),
        ((0, 30), None, 12040, (3, 5), None),
        ((0, 28), (13, 0), 13000, (9, 0), "numba-cuda 0.28 is older than 0.30: run pip install -U"),
        ((0, 30), (13, 0), 12040, (9, 0), r"knows CUDA 12, and CUDA 13 is installed.*lutkit\[cuda12\]"),
        ((0, 30), (13, 0), 11080, (9, 0), r"knows CUDA 11, and CUDA 13 is installed: update the driver$"),
        ((0, 30), (13, 0), 13000, (7, 0), r"capability is 7\.0, and CUDA 13 needs 7\.5"),
        ((0, 30), (12, 9), 12080, (3, 5), r"capability is 3\.5, and CUDA 12 needs 5\.0"),
    ],
)
def test_driver_gpu_and_packages_must_fit_each_other(monkeypatch, numba_cuda, toolkit, driver, capability, told):
    monkeypatch.setattr(device, "_find_version", {"numba-cuda": numba_cuda, "cuda-bindings": toolkit}.get)
    monkeypatch.setattr(device, "_load_driver", lambda: Driver(driver, capability))
    obstacle = find_version_obstacle.__wrapped__()
    if told is None:
        assert obstacle is None
    else:
        assert obstacle is not None
        assert re.search(told, obstacle), obstacle
