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
from lutkit_runtime.kernels.cpu.reconstructed import code_maps_and_sums, code_maps_gradient
from lutkit_runtime.kernels.cpu.stage import run_joined
from lutkit_runtime.kernels.cpu.touched import touched_entries
from lutkit_runtime.kernels.stage_claim import Stage, claim_stage
from lutkit_runtime.kernels.stage_layout import join_entries
from lutkit_runtime.ops import Ensemble, Lookup, ReconstructedConvolution, Requantise
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds
from lutkit_runtime.program import Program

Entries = Callable[[Lookup, NDArray[np.int64]], torch.Tensor]
"""Gives the entries of a lookup's table at some rows: (rows, block**2) float32, in units of entries."""

NO_WINDOWS: Mapping[str, torch.Tensor] = {}


class _FusedMaps(torch.autograd.Function):
    """The codes of a reconstructed convolution in all turns (4, N, H, W), from codes (N, H, W) and its tables."""

    @staticmethod
    def forward(ctx: Any, op: ReconstructedConvolution, codes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        threads = torch.get_num_threads()
        table = quantise_entries(values.detach(), op.slots[op.slot].quantiser).numpy().astype(op.storage)
        planes = _read_codes(codes)
        maps, sums = code_maps_and_sums(op, table, find_thresholds(op.unit), planes, threads)
        ctx.saved = op, table, planes, maps, sums, threads
        return torch.from_numpy(maps).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        op, table, planes, maps, sums, threads = ctx.saved
        to_table, to_planes = code_maps_gradient(
            op,
            table,
            planes,
            maps,
            sums,
            gradients[0].contiguous().numpy(),
            parts=threads,
            with_planes=ctx.needs_input_grad[1],
        )
        return None, torch.from_numpy(to_planes) if ctx.needs_input_grad[1] else None, torch.from_numpy(to_table)


class _FusedStage(torch.autograd.Function):
    """Arguments: the stage, the rows given of every lookup (None for all), the codes, the maps, the entries."""

    @staticmethod
    def forward(
        ctx: Any, stage: Stage, rows: list[NDArray[np.int64]] | None, codes: torch.Tensor, *values: torch.Tensor
    ) -> torch.Tensor:
        threads = torch.get_num_threads()
        given = len(stage.convolutions)
        maps = [_read_codes(part) for part in values[:given]]
        tables = [quantise_entries(part.detach()).to(torch.int8).numpy() for part in values[given:]]
        if rows is not None:
            tables = [_place(*some) for some in zip(stage.lookups, rows, tables, strict=True)]
        planes = _read_codes(codes)
        # Lookup by lookup, not by slot: two lookups of one slot may have been given different rows of its table.
        result = run_joined(stage, join_entries(stage, tables), planes, threads, maps=maps)
        ctx.saved = stage, rows, planes, maps, result, tables, threads
        return torch.from_numpy(result).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        stage, rows, planes, maps, result, tables, threads = ctx.saved
        found = stage_gradient(
            stage,
            tables,
            planes,
            result,
            gradients[0].contiguous().numpy(),
            maps=maps,
            parts=threads,
            with_planes=ctx.needs_input_grad[2],
        )
        to_tables = found.tables
        if rows is not None:
            to_tables = [gradient[given] for gradient, given in zip(to_tables, rows, strict=True)]
        to_planes = torch.from_numpy(found.planes) if ctx.needs_input_grad[2] else None
        return (None, None, to_planes, *(torch.from_numpy(gradient) for gradient in (*found.maps, *to_tables)))


def _read_codes(codes: torch.Tensor) -> NDArray[np.uint8]:
    return codes.detach().to(torch.uint8).contiguous().numpy()


def _place(lookup: Lookup, rows: NDArray[np.int64], entries: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return a whole table with the given rows filled and 0 elsewhere."""
    table = np.zeros((lookup.entries, entries.shape[1]), np.int8)
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
    tables : mapping of slot name to float32 (entries, outputs)
        Of lookups and of reconstructed convolutions, in units of table entries; rounded and clamped on the way in.
        Thresholds follow from the ops.
    """
    for stage in stages:
        maps = _run_convolutions(stage, planes, tables)
        planes = _FusedStage.apply(stage, None, planes, *maps, *(tables[lookup.slot] for lookup in stage.lookups))
    return planes


def run_touched(
    stages: Sequence[Stage], planes: torch.Tensor, entries: Entries, windows: Mapping[str, torch.Tensor] = NO_WINDOWS
) -> torch.Tensor:
    """Run a chain of fused stages, asking only for the entries of lookups' tables that these planes touch.

    The result and its gradients are those of whole tables: a batch of photos touches a small part of a lattice.
    `windows` holds the tables of reconstructed convolutions as for `run_stages`.
    """
    for stage in stages:
        maps = _run_convolutions(stage, planes, windows)
        rows = touched_entries(stage, _read_codes(planes), [_read_codes(part) for part in maps])
        given = [entries(lookup, some) for lookup, some in zip(stage.lookups, rows, strict=True)]
        planes = _FusedStage.apply(stage, rows, planes, *maps, *given)
    return planes


def _run_convolutions(
    stage: Stage, planes: torch.Tensor, tables: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    return tuple(_FusedMaps.apply(op, planes, tables[op.slot]) for op in stage.convolutions)
