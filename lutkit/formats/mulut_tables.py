"""Tables as ddlee-cn/MuLUT publishes them: one .npy file for every stage and pattern. Imports the runtime."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lutkit_runtime
from lutkit.degradation import choose_task
from lutkit.families.mulut import build_program
from lutkit.families.spatial import Patterns
from lutkit.formats.npy import PublishedTable, original_of, read_table, require_interval, shape_for, write_table
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.atomic import write_all_atomically
from lutkit_runtime.errors import FormatError, LutkitError, ProgramError
from lutkit_runtime.ops import Ensemble, Lookup
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern, Offset
from lutkit_runtime.program import Program

KIND = "mulut"

_NAME = re.compile(r"(?P<model>.*)_s(?P<stage>\d{1,3})_(?P<pattern>[A-Za-z0-9]{1,32})\.npy", re.ASCII)

Key = tuple[int, str]
"""Stage from 1, and name of a pattern."""


def import_tables(
    sources: Sequence[Path],
    *,
    patterns: Mapping[str, Sequence[Offset]] | None = None,
    scale: int | None = None,
    interval: int | None = None,
    task: str | None = None,
) -> Artefact:
    """Read the tables of one model, whose names end in ``_s{stage}_{pattern}.npy``.

    The interval follows from the sizes (file names spell it in two ways), the scale from the outputs of the last stage.

    Parameters
    ----------
    sources : sequence of Path
        The files, or their folder.
    patterns : mapping of name to (row, column) offsets, optional
        Patterns that are not published, or other offsets for a published name.
    scale, interval : int, optional
        What the tables must have; otherwise whatever they have.
    task : str, optional
        What the tables undo; ``sr`` where they enlarge, else ``denoise``.

    Raises
    ------
    FormatError
        Where files are missing, are no tables, or do not fit each other or what is asked for.
    DataError
        Where the task does not fit the scale.
    """
    files = _find_files([Path(source) for source in sources])
    known = _know_patterns(patterns or {}, {pattern for _, pattern in files})
    stages = _check_complete(files)
    tables = {key: read_table(path) for key, path in files.items()}
    found_interval = _agree_on_interval(tables, known, interval)
    found_scale = _agree_on_outputs(tables, stages, scale)
    try:
        program = build_program(
            known,
            stages=stages,
            scale=found_scale,
            interval=found_interval,
            task=choose_task(task, found_scale),
        )
        slots = {f"stage{stage}/{pattern}": table for (stage, pattern), table in tables.items()}
        origin = {"kind": KIND, "files": {slot: table.describe() for slot, table in slots.items()}}
        provenance: dict[str, Any] = {"imported": origin, "lutkit_version": lutkit_runtime.__version__}
        artefact = Artefact(program, {slot: table.rows for slot, table in slots.items()}, provenance)
        artefact.validate()
    except ProgramError as problem:
        raise FormatError(f"these tables cannot be used: {problem}") from None
    return artefact


def _find_files(sources: Sequence[Path]) -> dict[Key, Path]:
    """Return the file of every stage and pattern; raise FormatError where there is none, or two for one place."""
    paths: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if _NAME.fullmatch(path.name))
            if not inside:
                raise FormatError(f"{source} holds no tables named ..._s1_s.npy: name the folder of a MuLUT model")
            paths += inside
        elif _NAME.fullmatch(source.name):
            paths.append(source)
        else:
            raise FormatError(f"{source} does not say its place: MuLUT tables are named ..._s1_s.npy (stage, pattern)")
    if not paths:
        raise FormatError("no tables are given: name the .npy files of a MuLUT model or their folder")
    models = Counter(match["model"] for path in paths if (match := _NAME.fullmatch(path.name)))
    if len(models) > 1:
        raise FormatError(
            f"these are tables of {len(models)} models ({', '.join(sorted(models))}): name the files of one"
        )
    files: dict[Key, Path] = {}
    for path in paths:
        match = _NAME.fullmatch(path.name)
        assert match
        key = int(match["stage"]), match["pattern"].lower()
        if key in files:
            raise FormatError(f"{files[key]} and {path} are both stage {key[0]}, pattern {key[1]}: name one of them")
        files[key] = path
    return files


def _know_patterns(given: Mapping[str, Sequence[Offset]], used: set[str]) -> Patterns:
    """Return the patterns that files are named after, published ones first; raise FormatError for unknown names."""
    own = {
        name.lower(): IndexPattern(tuple((row, column) for row, column in offsets)) for name, offsets in given.items()
    }
    known = {**NAMED_PATTERNS, **own}
    for name in sorted(used):
        if name not in known:
            raise FormatError(
                f"pattern '{name}' is not among {', '.join(known)}: give its offsets, --pattern {name}=ROW,COLUMN:..."
            )
    return {name: pattern for name, pattern in known.items() if name in used}


def _check_complete(files: Mapping[Key, Path]) -> int:
    """Return the number of stages; raise FormatError unless every stage from 1 on has every pattern."""
    stages = max(stage for stage, _ in files)
    used = {pattern for _, pattern in files}
    if min(stage for stage, _ in files) < 1:
        raise FormatError(f"{files[min(files)]} is of stage 0: stages count from 1, rename the files")
    for stage in range(1, stages + 1):
        missing = sorted(pattern for pattern in used if (stage, pattern) not in files)
        if missing:
            raise FormatError(
                f"stage {stage} of {stages} has no table for pattern {', '.join(missing)}: "
                f"{len(files)} files are given, {stages * len(used)} are needed"
            )
    return stages


def _agree_on_interval(tables: Mapping[Key, PublishedTable], patterns: Patterns, asked: int | None) -> int:
    intervals = {key: require_interval(table, patterns[key[1]].samples) for key, table in tables.items()}
    first = min(tables)
    expected = intervals[first] if asked is None else asked
    for key, found in intervals.items():
        if found != expected:
            reason = (
                f"interval {asked} is asked for" if asked is not None else f"{tables[first].path.name} has {expected}"
            )
            raise FormatError(f"{tables[key].path} has interval {found} ({tables[key].entries} entries) but {reason}")
    return expected


def _agree_on_outputs(tables: Mapping[Key, PublishedTable], stages: int, asked: int | None) -> int:
    last = next(key for key in tables if key[0] == stages)
    scale = tables[last].block if asked is None else asked
    for (stage, _), table in tables.items():
        needed = scale**2 if stage == stages else 1
        if table.outputs != needed:
            place = f"the last stage at scale {scale}" if stage == stages else f"stage {stage} of {stages}"
            raise FormatError(f"{table.path} has {table.outputs} outputs; {place} needs {needed}")
    return scale


def export_tables(artefact: Artefact, target: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the tables of a MuLUT model into the folder `target`, which is made where it does not exist.

    Tables that were imported give the same files again; others are named ``LUT_ft_x4_4bit_int8_s1_s.npy`` and so on.

    Raises FormatError where the model is no MuLUT, the target is a file, or a file exists and `overwrite` is not set.
    """
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise FormatError(f"{target} is a file; the tables of {KIND} are several: name a folder")
    files: dict[Path, bytes] = {}
    for (stage, pattern), (slot, usual) in _recognise(artefact).items():
        original, shape = original_of(artefact.provenance, KIND, slot)
        match = _NAME.fullmatch(original or "")
        fits = match and (int(match["stage"]), match["pattern"].lower()) == (stage, pattern)
        table = artefact.tables[slot]
        files[target / (original if original and fits else usual)] = write_table(shape_for(table, shape, table.shape))
    made = not target.exists()
    try:
        target.mkdir(exist_ok=True)
    except OSError as problem:
        raise FormatError(f"cannot make {target} ({problem.strerror or problem}): check the folder above") from None
    try:
        write_all_atomically(files, overwrite=overwrite, error=FormatError)
    except BaseException:
        if made:
            target.rmdir()
        raise
    return list(files)


def _recognise(artefact: Artefact) -> dict[Key, tuple[str, str]]:
    """Return slot and usual file name of every stage and pattern.

    Raises FormatError unless the program is exactly what a reader of such files will run: nothing else is in them.
    """
    program = artefact.program
    stages = [
        {lookup.slot.rpartition("/")[2]: lookup for lookup in op.body if isinstance(lookup, Lookup)}
        for op in program.ops
        if isinstance(op, Ensemble)
    ]
    if not stages or not all(stages) or program != _rebuild(stages, program.task):
        raise FormatError(f"a {program.family} model of this shape cannot be said in {KIND} tables: keep the artefact")
    last = next(iter(stages[-1].values()))
    usual = f"LUT_ft_x{last.block}_{last.lattice.interval}bit_int8"
    return {
        (number, name): (lookup.slot, f"{usual}_s{number}_{name}.npy")
        for number, stage in enumerate(stages, 1)
        for name, lookup in stage.items()
    }


def _rebuild(stages: Sequence[Mapping[str, Lookup]], task: str) -> Program | None:
    """Return the program that tables of these stages are read into, None where there is none."""
    last = next(iter(stages[-1].values()))
    patterns = {name: lookup.pattern for name, lookup in stages[0].items()}
    try:
        return build_program(patterns, stages=len(stages), scale=last.block, interval=last.lattice.interval, task=task)
    except LutkitError:
        return None
