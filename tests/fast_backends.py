"""Backends that tests may run on whole pictures: all that there are, but not Numba's simulator of a GPU."""

from lutkit_runtime.engine import suitable_backends

FAST_BACKENDS = suitable_backends()
