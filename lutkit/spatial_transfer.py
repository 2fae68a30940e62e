"""Networks of samples to tables: evaluate them at every node of a lattice and quantise. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

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


def transfer_networks(
    model: NetworkModel, interval: int, *, storage: str | None = None, show_progress: bool = False
) -> tuple[Program, dict[str, NDArray[Any]]]:
    """Return the program at an interval and the table of every slot, (entries, outputs) of the slot's type.

    Nodes are evaluated in batches in float32: memory beyond the tables stays small whatever the lattice.

    Parameters
    ----------
    model : NetworkModel
    interval : int
    storage : str, optional
        int16 or int8, for the tables of reconstructed convolutions.
    show_progress : bool

    Raises
    ------
    ProgramError
        Where the lattice is impossible.
    ArtefactError
        Where the tables do not fit in an artefact.
    DataError
        Where they do not fit in memory.
    """
    program = model.program_at(interval, storage)
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
    show_progress: bool = False,
) -> Fidelity:
    """Return what the tables lose against the networks, evaluated at every sample, on image pairs."""
    network = mean_finite_psnr(score_pairs(model.restore, pairs, task, show_progress=show_progress))
    return Fidelity(network, validate_tables(program, tables, pairs, task), len(pairs), description)


def make_artefact(config: AnyConfig, interval: int, program: Program, tables: Tables, fidelity: Fidelity) -> Artefact:
    """Return the artefact of transferred tables; its provenance tells recipe, data and what the transfer cost."""
    provenance = describe_training(config)
    step = {
        "step": "transfer",
        "interval": interval,
        "images": fidelity.images,
        "on": fidelity.pairs,
        "network_psnr": round(fidelity.before, 4),
        "table_psnr": round(fidelity.after, 4),
    }
    provenance["history"].append(step)
    return Artefact(program, tables, provenance)
