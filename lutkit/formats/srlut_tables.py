"""Tables as yhjo09/SR-LUT publishes them: one .npy file, from whose shape all follows. Imports the runtime only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import lutkit_runtime
from lutkit.degradation import choose_task
from lutkit.families.srlut import build_program
from lutkit.formats.npy import (
    PublishedTable,
    find_interval,
    nearby_sizes,
    original_of,
    read_table,
    shape_for,
    write_table,
)
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.errors import FormatError, ProgramError
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.pattern import NAMED_PATTERNS

KIND = "sr-lut"
PREFERENCE = ("s", "f", "v")
"""Patterns that are published, in the order in which a size that fits several is read."""


def import_tables(
    sources: Sequence[Path],
    *,
    pattern: str | None = None,
    scale: int | None = None,
    interval: int | None = None,
    compat: bool = False,
    task: str | None = None,
) -> Artefact:
    """Read one table of shape (entries, 1, r, r) or (entries, r * r).

    Parameters
    ----------
    sources : sequence of one Path
    pattern : str, optional
        Any named pattern; otherwise ``s`` (four samples), else ``f``, else ``v``, whichever has a lattice of that size.
    scale, interval : int, optional
        What the table must have; otherwise whatever it has.
    compat : bool
        Interpolate as the published script does, with one of its 24 branches wrong.
    task : str, optional
        What the table undoes; ``sr`` where it enlarges, else ``denoise``.

    Raises
    ------
    FormatError
        Where the file is no table, or does not fit what is asked for.
    DataError
        Where the task does not fit the scale.
    """
    if len(sources) != 1:
        raise FormatError(f"{KIND} has one table but {len(sources)} sources are given: name one .npy file")
    table = read_table(Path(sources[0]))
    if scale is not None and table.outputs != scale**2:
        raise FormatError(f"{table.path} has {table.outputs} outputs; scale {scale} needs {scale**2}")
    name, found = _read_size(table, pattern, interval)
    if compat and NAMED_PATTERNS[name].samples != 4:
        raise FormatError(
            f"{table.path} has {NAMED_PATTERNS[name].samples} samples; the published branch (--compat) exists for 4"
        )
    try:
        program = build_program(
            name, scale=table.block, interval=found, task=choose_task(task, table.block), compat=compat
        )
        (slot,) = program.slots
        origin = {"kind": KIND, "files": {slot: table.describe()}}
        artefact = Artefact(
            program, {slot: table.rows}, {"imported": origin, "lutkit_version": lutkit_runtime.__version__}
        )
        artefact.validate()
    except ProgramError as problem:
        raise FormatError(f"{table.path} cannot be used: {problem}") from None
    return artefact


def _read_size(table: PublishedTable, pattern: str | None, interval: int | None) -> tuple[str, int]:
    """Return pattern and interval of a table; raise FormatError where its size is no such lattice."""
    if pattern is not None and pattern not in NAMED_PATTERNS:
        raise FormatError(f"unknown pattern '{pattern}': use one of {', '.join(NAMED_PATTERNS)}")
    choices = PREFERENCE if pattern is None else (pattern,)
    for name in choices:
        found = find_interval(table.entries, NAMED_PATTERNS[name].samples)
        if found is not None and interval in (None, found):
            return name, found
    sizes = "; ".join(nearby_sizes(table.entries, NAMED_PATTERNS[name].samples) for name in choices)
    asked = "" if interval is None else f" at interval {interval}"
    raise FormatError(
        f"{table.path} has {table.entries} entries, which no pattern of {', '.join(choices)} has{asked}: {sizes}"
    )


def export_tables(artefact: Artefact, target: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table of an SR-LUT model, in a folder under its first or usual name, else as the file `target`.

    A table that was imported gives the same file again. Whether it needs the published branch (`compat`) is not in
    such a file.

    Raises FormatError where the model is more than one table, or a file exists and `overwrite` is not set.
    """
    target = Path(target)
    slot, name = _recognise(artefact)
    table = artefact.tables[slot]
    entries, outputs = table.shape
    block = math.isqrt(outputs)
    original, shape = original_of(artefact.provenance, KIND, slot)
    if target.is_dir():
        target = target / (original or name)
    content = write_table(shape_for(table, shape, (entries, 1, block, block)))
    write_atomically(target, content, overwrite=overwrite, error=FormatError)
    return [target]


def _recognise(artefact: Artefact) -> tuple[str, str]:
    """Return slot and usual file name; raise FormatError unless the model is what a reader of such a file will run."""
    program = artefact.program
    lookups = list(program.lookups())
    if len(lookups) == 1:
        lookup = lookups[0]
        pattern = next((name for name, known in NAMED_PATTERNS.items() if known == lookup.pattern), None)
        interval = lookup.lattice.interval
        if pattern and program == build_program(
            pattern,
            scale=lookup.block,
            interval=interval,
            task=program.task,
            compat=lookup.interpolation is Interpolation.SRLUT,
        ):
            return lookup.slot, f"Model_{pattern.upper()}_x{lookup.block}_{interval}bit_int8.npy"
    raise FormatError(f"a {program.family} model of this shape cannot be said in one {KIND} table: keep the artefact")
