"""Foreign files, in and out: kinds by name, and where each is read and written. Modules are imported when used."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError

IMPORTERS: dict[str, str] = {
    "mulut": "lutkit.formats.mulut_tables:import_tables",
    "sr-lut": "lutkit.formats.srlut_tables:import_tables",
    "tinylut": "lutkit.formats.tinylut_tables:import_tables",
    "shiftlut": "lutkit.formats.shiftlut_tables:import_tables",
    "adaptive-3dlut": "lutkit.formats.adaptive_networks:import_model",
    "pairlie": "lutkit.formats.pairlie_networks:import_model",
    "cube": "lutkit.formats.colour_luts:import_cube",
    "hald": "lutkit.formats.colour_luts:import_hald",
    "ocio": "lutkit.formats.colour_luts:import_ocio",
}
"""Kind to the function ``(sources, *, options...) -> Artefact`` that reads published tables of that kind."""

EXPORTERS: dict[str, str] = {
    "mulut": "lutkit.formats.mulut_tables:export_tables",
    "sr-lut": "lutkit.formats.srlut_tables:export_tables",
    "npy": "lutkit.formats.npy_export:export_tables",
    "cube": "lutkit.formats.cube_export:export_cube",
    "hald": "lutkit.formats.cube_export:export_hald",
}
"""Kind to the function ``(artefact, target, *, overwrite, options...) -> list of written paths``."""


def import_tables(kind: str, sources: Sequence[Path], options: Mapping[str, Any] | None = None) -> Artefact:
    """Read foreign files into an artefact.

    Parameters
    ----------
    kind : str
        A key of `IMPORTERS`.
    sources : sequence of Path
        Files or folders.
    options : mapping of str
        Keyword arguments of that importer; those that are None are left out.

    Raises
    ------
    FormatError
        Where the kind or an option is unknown, or the files are not what they should be.
    """
    reader = _find(IMPORTERS, kind, "import")
    return reader(sources, **_check_options(reader, kind, options or {}))


def export_tables(
    kind: str,
    artefact: Artefact,
    target: Path,
    *,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write an artefact as foreign files, all or none, and return their paths.

    Raises FormatError where the kind or an option is unknown, the model cannot be said in that format, or a file
    exists and `overwrite` is not set.
    """
    writer = _find(EXPORTERS, kind, "export")
    return writer(artefact, target, overwrite=overwrite, **_check_options(writer, kind, options or {}))


def _find(registry: Mapping[str, str], kind: str, verb: str) -> Callable[..., Any]:
    if kind not in registry:
        raise FormatError(f"cannot {verb} kind '{kind}': the kinds are {', '.join(sorted(registry))}")
    module, _, function = registry[kind].partition(":")
    return getattr(importlib.import_module(module), function)


def _name_option(name: str) -> str:
    """Return an option as people type it."""
    return {"pattern": "--pattern NAME", "patterns": "--pattern NAME=ROW,COLUMN:..."}.get(
        name, f"--{name.replace('_', '-')}"
    )


def _check_options(function: Callable[..., Any], kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set; raise FormatError where the function does not take one of them."""
    parameters = inspect.signature(function).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.name != "overwrite"]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            takes = ", ".join(map(_name_option, known)) or "none"
            raise FormatError(f"'{kind}' has no option {_name_option(name)}: it takes {takes}")
    return given
