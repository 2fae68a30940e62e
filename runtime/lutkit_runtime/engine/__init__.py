"""Engine: runs a program on an image. Floor 7: imports everything below; Numba only once a kernel is needed.

`model` is what people use, `backends` turn a program into something that runs on planes, `conversion` converts between
images and planes, `tiling` cuts an image, `streaming` fetches frames ahead.
"""

from __future__ import annotations

from lutkit_runtime.engine.backends import available_backends, suitable_backends
from lutkit_runtime.engine.model import Model, load

__all__ = ["Model", "available_backends", "load", "suitable_backends"]
