"""Run lookup-table models on images, without torch.

>>> import lutkit_runtime
>>> model = lutkit_runtime.load("model.h5")  # doctest: +SKIP
>>> larger = model.apply(image, threads=2)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lutkit_runtime.engine import Model, available_backends, load
    from lutkit_runtime.errors import LutkitError

__version__ = "0.1.0"

__all__ = ["LutkitError", "Model", "__version__", "available_backends", "load"]

_HOMES = {
    "LutkitError": "lutkit_runtime.errors",
    "Model": "lutkit_runtime.engine",
    "available_backends": "lutkit_runtime.engine",
    "load": "lutkit_runtime.engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that importing the package alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*globals(), *__all__})
