"""Fused stages of trainable tables on the CPU: the runtime's kernels behind a torch autograd function.

Imports torch and the runtime. The forward pass is the kernel that `lutkit apply` runs: both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lutkit_runtime.kernels.cpu.gradient import stage_gradient
from lutkit_runtime.kernels.cpu.stage import Stage, claim_stage, run_stage
from lutkit_runtime.ops import Ensemble, Requantise
from lutkit_runtime.program import Program


class _FusedStage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stage: Stage, codes: torch.Tensor, *tables: torch.Tensor) -> torch.Tensor:
        threads = torch.get_num_threads()
        entries = [table.detach().clamp(-127, 127).round_().to(torch.int8).numpy() for table in tables]
        planes = codes.detach().to(torch.uint8).contiguous().numpy()
        named = {lookup.slot: table for lookup, table in zip(stage.lookups, entries, strict=True)}
        result = run_stage(stage, named, planes, threads)
        ctx.saved = stage, planes, result, entries, threads
        return torch.from_numpy(result).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        stage, planes, result, entries, threads = ctx.saved
        to_tables, to_planes = stage_gradient(
            stage,
            entries,
            planes,
            result,
            gradients[0].contiguous().numpy(),
            parts=threads,
            with_planes=ctx.needs_input_grad[1],
        )
        plane_gradient = torch.from_numpy(to_planes) if ctx.needs_input_grad[1] else None
        return (None, plane_gradient, *(torch.from_numpy(gradient) for gradient in to_tables))


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


def run_stages(stages: Sequence[Stage], planes: torch.Tensor, tables: dict[str, torch.Tensor]) -> torch.Tensor:
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
        planes = _FusedStage.apply(stage, planes, *(tables[lookup.slot] for lookup in stage.lookups))
    return planes
