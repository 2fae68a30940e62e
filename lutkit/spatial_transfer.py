"""Networks of samples to tables: evaluate them at every node of a lattice and quantise. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lutkit.configuration import AnyConfig, describe_training
from lutkit.degradation import Task
from lutkit.evaluate import Pair, mean_finite_psnr, score_pairs
from lutkit.skeleton import ROWS_AT_ONCE
from lutkit.trainable import NetworkModel, validate_tables
from lutkit.workbench import Fidelity
from lutkit_runtime.artefact import Artefact, table_shapes
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program, Tables


def transfer_networks(
    model: NetworkModel, interval: int, *, show_progress: bool = False
) -> tuple[Program, dict[str, NDArray[np.int8]]]:
    """Return the program at an interval and the table of every slot, (entries, outputs) int8.

    Nodes are evaluated in batches in float32: memory beyond the tables stays small whatever the lattice.

    Raises
    ------
    ProgramError
        Where the lattice is impossible.
    ArtefactError
        Where the tables do not fit in an artefact.
    DataError
        Where they do not fit in memory.
    """
    program = model.program_at(interval)
    table_shapes(program)
    total = sum(slot.entries for slot in program.slots.values())
    tables: dict[str, NDArray[np.int8]] = {}
    with tqdm(total=total, unit="node", unit_scale=True, disable=not show_progress, dynamic_ncols=True) as bar:
        for op in program.lookups():
            slot = program.slots[op.slot]
            try:
                table = np.empty((slot.entries, slot.outputs), np.int8)
            except MemoryError as error:
                size = slot.entries * slot.outputs / 2**30
                raise DataError(
                    f"slot '{op.slot}' at interval {interval} needs {size:.1f} GiB, which this machine does not have: "
                    "choose a larger --interval"
                ) from error
            filling = model.fillings[op.slot]
            for start in range(0, slot.entries, ROWS_AT_ONCE):
                nodes = op.lattice.node_samples(start, min(start + ROWS_AT_ONCE, slot.entries))
                with torch.no_grad():
                    entries = filling.entries(torch.from_numpy(nodes).float())
                table[start : start + len(nodes)] = entries.to(torch.int8).numpy()
                bar.update(len(nodes))
            tables[op.slot] = table
    return program, tables


def measure_transfer(
    model: NetworkModel,
    program: Program,
    tables: dict[str, NDArray[np.int8]],
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
