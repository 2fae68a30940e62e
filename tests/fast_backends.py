"""Backends that tests may run on whole pictures: all that there are, but not Numba's simulator of a GPU."""

from lutkit_runtime.engine import available_backends
from lutkit_runtime.kernels.cuda.device import is_simulated

FAST_BACKENDS = tuple(name for name in available_backends() if name != "cuda" or not is_simulated())
