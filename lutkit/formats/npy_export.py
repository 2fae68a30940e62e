"""Export of tables as the `.npy` files of the family's published project. Imports the table formats."""

from __future__ import annotations

from pathlib import Path

from lutkit.formats import mulut_tables, srlut_tables
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.errors import FormatError

_EXPORTERS = {"mulut": mulut_tables.export_tables, "sr-lut": srlut_tables.export_tables}


def export_tables(artefact: Artefact, target: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the tables in their family's own layout; raises FormatError where the family has none."""
    family = artefact.program.family
    if family not in _EXPORTERS:
        raise FormatError(f"family {family} has no published .npy layout; those that have one: {', '.join(_EXPORTERS)}")
    return _EXPORTERS[family](artefact, target, overwrite=overwrite)
