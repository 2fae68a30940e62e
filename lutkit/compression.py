"""Diagonal-first compression of tables of four samples (Li et al., CVPR 2024, section 3.1). Imports evaluation and the
runtime; no torch.

Near the diagonal of its lattice a table keeps every node, elsewhere every second one of each axis. An interpolated value
is then a sum over weights of the coarser step everywhere, so that what reads the sums divides by more.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import lutkit_runtime
from lutkit.degradation import Task, find_task
from lutkit.evaluate import Pair, mean_finite_psnr, read_pairs, score_pairs
from lutkit.photos import validation_photos
from lutkit.workbench import Fidelity, OptionError, TransferOptions
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import ProgramError
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.ops import Add, Ensemble, Lookup, PixelShuffle, Requantise
from lutkit_runtime.program import Program, Tables

SAMPLES = 4
"""Smaller tables have few nodes anyway."""

COARSEST = 8
"""Binary logarithm of the largest step of a lattice."""


def choose_diagonal(program: Program, width: int) -> Diagonal:
    """Return the compression that keeps every second node of each axis away from the diagonal.

    Raises OptionError where the program has no tables that can be compressed.
    """
    lookups = _find_candidates(program)
    coarse = 1 + max(lookup.lattice.interval for lookup in lookups)
    if coarse > COARSEST:
        raise OptionError(f"a table of interval {coarse - 1} has no coarser lattice to fall back to: leave --dfc out")
    return Diagonal(width, coarse)


def compress_program(program: Program, diagonal: Diagonal) -> Program:
    """Return the program with every table of four samples compressed that becomes smaller by it.

    Sums of a compressed lookup are larger than before; other terms of the same sum are weighted up to its unit, and bias
    and divisor of the op that rounds it grow with it.

    Raises
    ------
    OptionError
        Where no table can be compressed, or all would be as large as before.
    ProgramError
        Where terms of different units cannot be brought to one.
    """
    lookups = _find_candidates(program)
    if not any(_becomes_smaller(lookup, diagonal) for lookup in lookups):
        smallest = min(lookups, key=lambda lookup: lookup.entries)
        raise OptionError(
            f"{diagonal.width} nodes beside the diagonal of interval {smallest.lattice.interval} and steps of "
            f"{1 << diagonal.coarse} elsewhere make no table smaller: choose a smaller width or --interval"
        )
    compressed = msgspec.structs.replace(program, ops=_rescale(program.ops, diagonal, {program.input: 1}))
    compressed.validate()
    return compressed


def _find_candidates(program: Program) -> list[Lookup]:
    """Return the lookups whose tables may be compressed; raises OptionError where there are none."""
    lookups = [op for op in program.lookups() if op.pattern.samples == SAMPLES]
    if not lookups:
        raise OptionError(
            f"{program.family} for {program.task} has no tables of {SAMPLES} samples here, which --dfc compresses: "
            "leave it out"
        )
    found = [op for op in lookups if op.diagonal is None]
    if not found:
        raise OptionError("the tables are compressed already: leave --dfc out")
    for op in found:
        # a negative weight can stand at a node that is not kept
        if op.interpolation is Interpolation.SRLUT:
            raise OptionError(
                f"slot '{op.slot}' is interpolated as by the published SR-LUT script, which --dfc cannot keep: import "
                "the table without --compat"
            )
    return found


def _becomes_smaller(lookup: Lookup, diagonal: Diagonal) -> bool:
    if lookup.diagonal is not None or lookup.pattern.samples != SAMPLES:
        return False
    try:
        diagonal.validate(lookup.output, lookup.lattice)
    except ProgramError:
        return False
    return diagonal.entries(lookup.lattice) < lookup.lattice.entries


def _rescale(ops: Sequence[Any], diagonal: Diagonal, units: MutableMapping[str, int]) -> tuple[Any, ...]:
    """Return the ops with compressed lookups; `units` gains how many times as large as before each plane is."""
    changed: list[Any] = []
    for op in ops:
        unit = 1
        match op:
            case Lookup() if _becomes_smaller(op, diagonal):
                before, op = op.step, msgspec.structs.replace(op, diagonal=diagonal)
                unit = op.step // before
            case Add():
                unit = max(units[term] for term in op.terms)
                weights = [weight * unit // units[term] for weight, term in zip(op.factors, op.terms, strict=True)]
                op = msgspec.structs.replace(op, weights=() if set(weights) == {1} else tuple(weights))
            case Requantise():
                if op.residual is not None and units[op.residual] != 1:
                    raise ProgramError(
                        f"op '{op.output}' adds the sum '{op.residual}' after rounding, whose unit --dfc would change: "
                        "leave it out"
                    )
                grown = units[op.input]
                op = msgspec.structs.replace(op, bias=op.bias * grown, divisor=op.divisor * grown)
            case Ensemble():
                inner = {op.input: units[op.input]}
                op = msgspec.structs.replace(op, body=_rescale(op.body, diagonal, inner))
                unit = inner[op.body[-1].output]
            case PixelShuffle():
                unit = units[op.input]
            case _:
                pass  # these read codes or bits of them, and make sums of their own unit
        units[op.output] = unit
        changed.append(op)
    return tuple(changed)


def kept_rows(lookup: Lookup) -> NDArray[np.int64]:
    """Return the rows of the full table that a compressed lookup keeps, in the order of its own table."""
    diagonal, lattice = lookup.diagonal, lookup.lattice
    assert diagonal is not None
    coarse = diagonal.coarse_lattice(lattice)
    nodes = np.indices((coarse.nodes_per_axis,) * coarse.axes).reshape(coarse.axes, -1) << (
        diagonal.coarse - lattice.interval
    )
    return np.concatenate([diagonal.band_rows(lattice), np.array(lattice.strides) @ nodes])


def compress_tables(program: Program, tables: Tables, compressed: Program) -> dict[str, NDArray[Any]]:
    """Return the tables of a compressed program: the kept rows of those that it compresses, the others as they are.

    Parameters
    ----------
    program, compressed : Program
        Before and after `compress_program`.
    tables : mapping of slot name to array (entries, outputs)
        Of `program`.
    """
    full = {op.slot for op in program.lookups() if op.diagonal is None}
    kept = {op.slot: kept_rows(op) for op in compressed.lookups() if op.diagonal is not None and op.slot in full}
    return {slot: table[kept[slot]] if slot in kept else np.asarray(table) for slot, table in tables.items()}


def compress_artefact(artefact: Artefact, options: TransferOptions) -> tuple[Artefact, Fidelity]:
    """Return an artefact with its tables compressed, and what that costs on photos or on generated images.

    Parameters
    ----------
    artefact : Artefact
    options : TransferOptions
        With `diagonal`; not with what decides on tables made of networks.

    Raises
    ------
    OptionError
        Where an option is of networks, or no table can be compressed.
    DataError
        Where the photos cannot be used.
    """
    for option, value in (("--interval", options.interval), ("--storage", options.storage)):
        if value is not None:
            raise OptionError(f"{option} belongs to runs: tables that exist keep theirs; leave it out")
    assert options.diagonal is not None
    program = artefact.program
    diagonal = choose_diagonal(program, options.diagonal)
    compressed = compress_program(program, diagonal)
    tables = compress_tables(program, artefact.tables, compressed)
    known = artefact.provenance.get("task")
    task = find_task(program.task, program.scale, known if isinstance(known, str) else None, None, None)
    pairs, description = _find_pairs(options, task)
    before, after = (
        _score(Model(*model), pairs, task, show_progress=options.show_progress)
        for model in ((program, artefact.tables), (compressed, tables))
    )
    fidelity = Fidelity(before, after, len(pairs), description)
    step = {
        "step": "compress",
        **describe_diagonal(diagonal),
        "images": fidelity.images,
        "on": fidelity.pairs,
        "table_psnr": round(before, 4),
        "compressed_psnr": round(after, 4),
        **describe_tables(compressed, tables),
    }
    history = artefact.provenance.get("history")
    provenance = {
        # figures that were measured of the tables before are none of these
        **{name: value for name, value in artefact.provenance.items() if name != "figures"},
        "lutkit_version": lutkit_runtime.__version__,
        "history": [*(history if isinstance(history, list) else []), step],
    }
    return Artefact(compressed, tables, provenance), fidelity


def describe_diagonal(diagonal: Diagonal) -> dict[str, int]:
    """Return a compression as the provenance has it."""
    return {"diagonal_width": diagonal.width, "coarse_step": 1 << diagonal.coarse}


def describe_tables(program: Program, tables: Tables) -> dict[str, int]:
    """Return how far a model of single channels sees, in pixels, and the bytes of all its tables."""
    return {
        "receptive_field": 2 * program.halo + 1,
        "table_bytes": sum(table.nbytes for table in tables.values()),
    }


def _find_pairs(options: TransferOptions, task: Task) -> tuple[list[Pair], str]:
    if options.val is not None and options.degraded is not None:
        return read_pairs(options.val, options.degraded, task), f"photos of {options.val.name or options.val}"
    return validation_photos(None, options.val, task, seed=0)


def _score(model: Model, pairs: Sequence[Pair], task: Task, *, show_progress: bool) -> float:
    return mean_finite_psnr(score_pairs(model.apply, pairs, task, show_progress=show_progress))
