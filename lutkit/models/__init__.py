"""The models that come with lutkit: artefacts beside this file, by name. Imports the runtime's errors only."""

from __future__ import annotations

from pathlib import Path

from lutkit_runtime.errors import DataError

_FOLDER = Path(__file__).resolve().parent


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in models, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.h5")))


def find_builtin(name: str) -> Path:
    """Return the artefact of a built-in model; raises DataError with the known names."""
    if name not in builtin_names():
        known = ", ".join(builtin_names()) or "none in this installation"
        raise DataError(f"there is no built-in model '{name}': the names are {known}; or name an artefact (.h5)")
    return _FOLDER / f"{name}.h5"
