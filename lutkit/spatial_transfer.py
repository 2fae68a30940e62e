"""Networks of samples to tables: evaluate them at every node of a lattice and quantise. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lutkit.compression import choose_diagonal, compress_program, describe_diagonal, describe_tables
from lutkit.configuration import AnyConfig, describe_training
from lutkit.degradation import Task
from lutkit.evaluate import Pair, mean_finite_psnr, score_pairs
from lutkit.fillings import ROWS_AT_ONCE, AnyFilling, NetworkFilling
from lutkit.trainable import NetworkModel, add_thresholds, validate_tables
from lutkit.workbench import Fidelity
from lutkit_runtime.artefact import Artefact, table_shapes
from lutkit_runtime.errors import DataError
from lutkit_runtime.ops import Lookup
from lutkit_runtime.program import Program, TableOp, Tables

FULL_ROWS_AT_MOST = 1 << 20
"""Where all tables have no more rows than this, what compression alone costs is measured, too: it takes seconds."""


def transfer_networks(
    model: NetworkModel,
    interval: int,
    *,
    storage: str | None = None,
    diagonal: int | None = None,
    show_progress: bool = False,
) -> tuple[Program, dict[str, NDArray[Any]]]:
    """Return the program at an interval and the table of every slot, (entries, outputs) of the slot's type.

    Nodes are evaluated in batches in float32: memory beyond the tables stays small whatever the lattice.

    Parameters
    ----------
    model : NetworkModel
    interval : int
    storage : str, optional
        int16 or int8, for the tables of reconstructed convolutions.
    diagonal : int, optional
        Compress tables of four samples, of which only the kept nodes are evaluated: so many nodes beside the diagonal,
        and every second one elsewhere.
    show_progress : bool

    Raises
    ------
    OptionError
        Where there is nothing to compress.
    ProgramError
        Where the lattice is impossible.
    ArtefactError
        Where the tables do not fit in an artefact.
    DataError
        Where they do not fit in memory.
    """
    program = model.program_at(interval, storage)
    if diagonal is not None:
        program = compress_program(program, choose_diagonal(program, diagonal))
    table_shapes(program)
    slots = program.slots
    total = sum(slots[op.slot].entries for op in program.table_ops())
    tables: dict[str, NDArray[Any]] = {}
    with tqdm(total=total, unit="node", unit_scale=True, disable=not show_progress, dynamic_ncols=True) as bar:
        for op in program.table_ops():
            slot = slots[op.slot]
            try:
                table = np.empty((slot.entries, slot.outputs), slot.dtype)
            except MemoryError as error:
                size = slot.entries * slot.outputs / 2**30
                raise DataError(
                    f"slot '{op.slot}' at interval {interval} needs {size:.1f} GiB, which this machine does not have: "
                    "choose a larger --interval"
                ) from error
            for start, entries in _evaluate(model.fillings[op.slot], op, slot.entries):
                table[start : start + len(entries)] = entries.numpy().astype(slot.dtype)
                bar.update(len(entries))
            tables[op.slot] = table
    return program, add_thresholds(program, tables)


@torch.no_grad()
def _evaluate(filling: AnyFilling, op: TableOp, rows: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield first row and entries of pieces of a table."""
    if isinstance(op, Lookup):
        assert isinstance(filling, NetworkFilling)
        for start in range(0, rows, ROWS_AT_ONCE):
            nodes = op.node_samples(start, min(start + ROWS_AT_ONCE, rows))
            yield start, filling.entries(torch.from_numpy(nodes).float())
    else:
        yield 0, filling.table(op)  # type: ignore[arg-type]


def measure_transfer(
    model: NetworkModel,
    program: Program,
    tables: dict[str, NDArray[Any]],
    pairs: Sequence[Pair],
    task: Task,
    description: str,
    *,
    full: tuple[Program, Tables] | None = None,
    show_progress: bool = False,
) -> Fidelity:
    """Return what the tables lose against the networks, evaluated at every sample, on image pairs.

    `full` is the program with its tables before compression, if that is to be measured, too.
    """
    network = mean_finite_psnr(score_pairs(model.restore, pairs, task, show_progress=show_progress))
    uncompressed = None if full is None else validate_tables(*full, pairs, task)
    table = validate_tables(program, tables, pairs, task)
    return Fidelity(network, table, len(pairs), description, full=uncompressed)


def transfer_in_full(model: NetworkModel, interval: int) -> tuple[Program, Tables] | None:
    """Return program and tables with all nodes, of windows in 16 bits; None where that takes long."""
    if sum(slot.entries for slot in model.program_at(interval).slots.values()) > FULL_ROWS_AT_MOST:
        return None
    return transfer_networks(model, interval)


def make_artefact(config: AnyConfig, interval: int, program: Program, tables: Tables, fidelity: Fidelity) -> Artefact:
    """Return the artefact of transferred tables; its provenance tells recipe, data and what the transfer cost."""
    provenance = describe_training(config)
    step: dict[str, Any] = {
        "step": "transfer",
        "interval": interval,
        "images": fidelity.images,
        "on": fidelity.pairs,
        "network_psnr": round(fidelity.before, 4),
        "table_psnr": round(fidelity.after, 4),
        **describe_tables(program, tables),
    }
    for lookup in program.lookups():
        if lookup.diagonal is not None:
            step |= describe_diagonal(lookup.diagonal)
    if fidelity.full is not None:
        step["full_table_psnr"] = round(fidelity.full, 4)
    provenance["history"].append(step)
    return Artefact(program, tables, provenance)
