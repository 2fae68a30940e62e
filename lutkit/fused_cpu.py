"""Kernels of the CPU for fused stages that are trained: the runtime's, on torch tensors that share their memory.

Imports torch and the runtime. See `lutkit.fused.StageKernels` for what each function is given and returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lutkit.fused import StageSlopes
from lutkit_runtime.kernels.cpu.gradient import stage_gradient
from lutkit_runtime.kernels.cpu.reconstructed import code_maps_and_sums, code_maps_gradient
from lutkit_runtime.kernels.cpu.stage import run_joined
from lutkit_runtime.kernels.cpu.touched import touched_entries
from lutkit_runtime.kernels.stage_claim import Stage
from lutkit_runtime.kernels.stage_layout import join_entries
from lutkit_runtime.ops import ReconstructedConvolution
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds


def find_kernels(device: torch.device) -> CpuStages:
    """Return the kernels of the CPU, with as many threads as torch uses."""
    return CpuStages(torch.get_num_threads())


@dataclass(frozen=True)
class CpuStages:
    """Fused stages on the CPU.

    Parameters
    ----------
    threads : int
        Work at once; gradients are added up in as many parts.
    """

    threads: int
    finds_touched: bool = True

    def find_touched(self, stage: Stage, planes: torch.Tensor, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the rows that are touched."""
        return [torch.from_numpy(rows) for rows in touched_entries(stage, planes.numpy(), [m.numpy() for m in maps])]

    def run(
        self, stage: Stage, tables: Sequence[torch.Tensor], planes: torch.Tensor, maps: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return the codes."""
        joined = join_entries(stage, [table.numpy() for table in tables])
        return torch.from_numpy(
            run_joined(stage, joined, planes.numpy(), self.threads, maps=[part.numpy() for part in maps])
        )

    def differentiate(
        self,
        stage: Stage,
        tables: Sequence[torch.Tensor],
        planes: torch.Tensor,
        maps: Sequence[torch.Tensor],
        result: torch.Tensor,
        gradient: torch.Tensor,
        *,
        with_planes: bool,
    ) -> StageSlopes:
        """Return the gradients."""
        found = stage_gradient(
            stage,
            [table.numpy() for table in tables],
            planes.numpy(),
            result.numpy(),
            gradient.numpy(),
            maps=[part.numpy() for part in maps],
            parts=self.threads,
            with_planes=with_planes,
        )
        return StageSlopes(
            [torch.from_numpy(part) for part in found.tables],
            torch.from_numpy(found.planes) if with_planes else None,
            [torch.from_numpy(part) for part in found.maps],
        )

    def make_maps(
        self, op: ReconstructedConvolution, table: torch.Tensor, planes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return maps and sums."""
        maps, sums = code_maps_and_sums(op, table.numpy(), find_thresholds(op.unit), planes.numpy(), self.threads)
        return torch.from_numpy(maps), torch.from_numpy(sums)

    def differentiate_maps(
        self,
        op: ReconstructedConvolution,
        table: torch.Tensor,
        planes: torch.Tensor,
        maps: torch.Tensor,
        sums: torch.Tensor,
        gradient: torch.Tensor,
        *,
        with_planes: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the gradients to table and planes."""
        to_table, to_planes = code_maps_gradient(
            op,
            table.numpy(),
            planes.numpy(),
            maps.numpy(),
            sums.numpy(),
            gradient.numpy(),
            parts=self.threads,
            with_planes=with_planes,
        )
        return torch.from_numpy(to_table), torch.from_numpy(to_planes) if with_planes else None
