"""Fused stages of trainable tables on the CPU: the runtime's kernels behind a torch autograd function.

Imports torch and the runtime. The forward pass is the kernel that `lutkit apply` runs: both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lutkit.skeleton import quantise_entries
from lutkit_runtime.kernels.cpu.gradient import stage_gradient
from lutkit_runtime.kernels.cpu.stage import run_joined
from lutkit_runtime.kernels.cpu.stage_claim import Stage, claim_stage
from lutkit_runtime.kernels.cpu.stage_layout import join_entries
from lutkit_runtime.kernels.cpu.touched import touched_entries
from lutkit_runtime.ops import Ensemble, Lookup, Requantise
from lutkit_runtime.program import Program

Entries = Callable[[Lookup, NDArray[np.int64]], torch.Tensor]
"""Gives the entries of a lookup's table at some rows: (rows, block**2) float32, in units of entries."""


class _FusedStage(torch.autograd.Function):
    """Arguments: the stage, the rows of every lookup that are given (None for all), the codes, the entries."""

    @staticmethod
    def forward(
        ctx: Any, stage: Stage, rows: list[NDArray[np.int64]] | None, codes: torch.Tensor, *entries: torch.Tensor
    ) -> torch.Tensor:
        threads = torch.get_num_threads()
        tables = [quantise_entries(values.detach()).to(torch.int8).numpy() for values in entries]
        if rows is not None:
            tables = [_place(*given) for given in zip(stage.lookups, rows, tables, strict=True)]
        planes = codes.detach().to(torch.uint8).contiguous().numpy()
        # Lookup by lookup, not by slot: two lookups of one slot may have been given different rows of its table.
        result = run_joined(stage, join_entries(tables), planes, threads)
        ctx.saved = stage, rows, planes, result, tables, threads
        return torch.from_numpy(result).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        stage, rows, planes, result, tables, threads = ctx.saved
        found = stage_gradient(
            stage,
            tables,
            planes,
            result,
            gradients[0].contiguous().numpy(),
            parts=threads,
            with_planes=ctx.needs_input_grad[2],
        )
        to_tables = found.tables
        if rows is not None:
            to_tables = [gradient[given] for gradient, given in zip(to_tables, rows, strict=True)]
        plane_gradient = torch.from_numpy(found.planes) if ctx.needs_input_grad[2] else None
        return (None, None, plane_gradient, *(torch.from_numpy(gradient) for gradient in to_tables))


def _place(lookup: Lookup, rows: NDArray[np.int64], entries: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return a whole table with the given rows filled and 0 elsewhere."""
    table = np.zeros((lookup.lattice.entries, entries.shape[1]), np.int8)
    table[rows] = entries
    return table


def claim_program(program: Program) -> tuple[Stage, ...] | None:
    """Return the program as a chain of fused stages, or None where it is anything else."""
    stages: list[Stage] = []
    source = program.input
    for ensemble, requantise in zip(program.ops[::2], program.ops[1::2], strict=False):
        if not (isinstance(ensemble, Ensemble) and isinstance(requantise, Requantise)) or ensemble.input != source:
            return None
        stage = claim_stage(ensemble, requantise)
        if stage is None:
            return None
        stages.append(stage)
        source = stage.output
    return tuple(stages) if 2 * len(stages) == len(program.ops) else None


def run_stages(stages: Sequence[Stage], planes: torch.Tensor, tables: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run a chain of fused stages on codes (N, H, W); differentiable in the tables.

    Parameters
    ----------
    stages : sequence of Stage
        From `claim_program`.
    planes : float32, (N, H, W)
        Codes 0 to 255 on the CPU.
    tables : mapping of slot name to float32 (entries, block**2)
        In units of table entries; rounded and clamped on the way in.
    """
    for stage in stages:
        planes = _FusedStage.apply(stage, None, planes, *(tables[lookup.slot] for lookup in stage.lookups))
    return planes


def run_touched(stages: Sequence[Stage], planes: torch.Tensor, entries: Entries) -> torch.Tensor:
    """Run a chain of fused stages, asking only for the table entries that these planes touch.

    The result and its gradients are those of whole tables: a batch of photos touches a small part of a lattice.
    """
    for stage in stages:
        rows = touched_entries(stage, planes.detach().to(torch.uint8).numpy())
        given = [entries(lookup, some) for lookup, some in zip(stage.lookups, rows, strict=True)]
        planes = _FusedStage.apply(stage, rows, planes, *given)
    return planes
