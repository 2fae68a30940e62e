"""Fused stages of trainable tables: kernels of the device on which tensors lie, behind torch autograd functions.

Imports torch and the runtime. The forward pass is the arithmetic that `lutkit apply` runs: both give the same bytes.

**Where it is decided which kernels run.** `find_stage_kernels` looks the type of a tensor's device up in
`STAGE_KERNELS`. A module that is listed there has a function ``find_kernels(device)`` that returns a `StageKernels`, or
None where the device has none after all (a package is missing, the GPU is too old). Where nothing is found, or where
the program is no chain of fused stages (`claim_program`), `lutkit.trainable` runs the ops one by one in torch.

**A twin for another device** is one module, as ``lutkit/fused_cuda.py`` is beside ``lutkit/fused_cpu.py``, and one line in
`STAGE_KERNELS`. It is given and returns tensors that lie on its device, contiguous, of the types that `StageKernels`
says; it works on torch's current stream, copies nothing to the host and waits for nothing. Rounding of tables,
straight-through gradients and the order of stages are written here, once for all devices.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from lutkit.skeleton import quantise_entries
from lutkit_runtime.kernels.stage_claim import Stage, claim_stage
from lutkit_runtime.ops import Ensemble, Lookup, ReconstructedConvolution, Requantise
from lutkit_runtime.program import Program

STAGE_KERNELS: dict[str, str] = {"cpu": "lutkit.fused_cpu", "cuda": "lutkit.fused_cuda"}
"""Type of a device to the module that has its kernels; imported when used."""

STORAGES = {"int8": torch.int8, "int16": torch.int16}

Entries = Callable[[Lookup, torch.Tensor], torch.Tensor]
"""Gives the entries of a lookup's table at some rows (int64): (rows, block**2) float32, in units of entries."""

NO_WINDOWS: Mapping[str, torch.Tensor] = {}


@dataclass(frozen=True)
class StageSlopes:
    """Gradients to what a stage reads.

    Parameters
    ----------
    tables : sequence of float32, (entries, block**2)
        One per lookup.
    planes : float32, (N, H, W), or None
        Through the lookups that read the planes themselves; None where it was not wanted.
    maps : sequence of float32, (4 turns, N, H, W)
        One per convolution.
    """

    tables: Sequence[torch.Tensor]
    planes: torch.Tensor | None
    maps: Sequence[torch.Tensor]


class StageKernels(Protocol):
    """What a device must offer to train fused stages on it; all tensors lie there.

    Codes are uint8, tables of lookups int8 (entries, block**2), one per lookup in their order (two lookups of one slot
    may be given different rows of its table), maps of convolutions uint8 (4 turns, N, H, W), gradients float32.
    """

    @property
    def finds_touched(self) -> bool:
        """Whether networks are to be evaluated at the nodes that `find_touched` tells, not at all nodes."""
        ...

    def find_touched(self, stage: Stage, planes: torch.Tensor, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the rows of every lookup's table that codes (N, H, W) and maps touch, int64, ascending."""
        ...

    def run(
        self, stage: Stage, tables: Sequence[torch.Tensor], planes: torch.Tensor, maps: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return the codes (N, H * block, W * block) that a stage makes of codes (N, H, W)."""
        ...

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
        """Return the gradients to tables, planes and maps, from what `run` was given, its result and the gradient to it."""
        ...

    def make_maps(
        self, op: ReconstructedConvolution, table: torch.Tensor, planes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the maps of a convolution and its sums, int32 of the same shape; its table is of type `op.storage`."""
        ...

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
        """Return the gradients to a convolution's table (entries, 1) and to the planes, None where not wanted."""
        ...


def find_stage_kernels(device: torch.device) -> StageKernels | None:
    """Return the kernels of a device for fused stages; None where it has none."""
    module = STAGE_KERNELS.get(device.type)
    return None if module is None else importlib.import_module(module).find_kernels(device)


class _FusedMaps(torch.autograd.Function):
    """The codes of a reconstructed convolution in all turns (4, N, H, W), from codes (N, H, W) and its tables."""

    @staticmethod
    def forward(
        ctx: Any, kernels: StageKernels, op: ReconstructedConvolution, codes: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        table = quantise_entries(values.detach(), op.slots[op.slot].quantiser).to(STORAGES[op.storage]).contiguous()
        planes = _read_codes(codes)
        maps, sums = kernels.make_maps(op, table, planes)
        ctx.kept = kernels, op, table, planes, maps, sums
        return maps.to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernels, op, table, planes, maps, sums = ctx.kept
        to_table, to_planes = kernels.differentiate_maps(
            op, table, planes, maps, sums, gradients[0].contiguous(), with_planes=ctx.needs_input_grad[2]
        )
        return None, None, to_planes, to_table


class _FusedStage(torch.autograd.Function):
    """Arguments: kernels, the stage, the rows given of every lookup (None for all), the codes, the maps, the entries."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: StageKernels,
        stage: Stage,
        rows: list[torch.Tensor] | None,
        codes: torch.Tensor,
        *values: torch.Tensor,
    ) -> torch.Tensor:
        given = len(stage.convolutions)
        maps = [_read_codes(part) for part in values[:given]]
        tables = [quantise_entries(part.detach()).to(torch.int8).contiguous() for part in values[given:]]
        if rows is not None:
            tables = [_place(*some) for some in zip(stage.lookups, rows, tables, strict=True)]
        planes = _read_codes(codes)
        result = kernels.run(stage, tables, planes, maps)
        ctx.kept = kernels, stage, rows, planes, maps, result, tables
        return result.to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernels, stage, rows, planes, maps, result, tables = ctx.kept
        slopes = kernels.differentiate(
            stage, tables, planes, maps, result, gradients[0].contiguous(), with_planes=ctx.needs_input_grad[3]
        )
        to_tables = slopes.tables
        if rows is not None:
            to_tables = [gradient[given] for gradient, given in zip(to_tables, rows, strict=True)]
        return (None, None, None, slopes.planes, *slopes.maps, *to_tables)


def _read_codes(codes: torch.Tensor) -> torch.Tensor:
    return codes.detach().to(torch.uint8).contiguous()


def _place(lookup: Lookup, rows: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
    """Return a whole table with the given rows filled and 0 elsewhere."""
    table = entries.new_zeros(lookup.entries, entries.shape[1])
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
        Codes 0 to 255, on a device that `find_stage_kernels` knows; the tables lie there, too.
    tables : mapping of slot name to float32 (entries, outputs)
        Of lookups and of reconstructed convolutions, in units of table entries; rounded and clamped on the way in.
        Thresholds follow from the ops.
    """
    kernels = _find_kernels_for(planes)
    for stage in stages:
        maps = _run_convolutions(kernels, stage, planes, tables)
        given = (tables[lookup.slot] for lookup in stage.lookups)
        planes = _FusedStage.apply(kernels, stage, None, planes, *maps, *given)
    return planes


def run_touched(
    stages: Sequence[Stage], planes: torch.Tensor, entries: Entries, windows: Mapping[str, torch.Tensor] = NO_WINDOWS
) -> torch.Tensor:
    """Run a chain of fused stages, asking only for the entries of lookups' tables that these planes touch.

    The result and its gradients are those of whole tables: a batch of photos touches a small part of a lattice.
    `windows` holds the tables of reconstructed convolutions as for `run_stages`. Only for kernels with `finds_touched`.
    """
    kernels = _find_kernels_for(planes)
    for stage in stages:
        maps = _run_convolutions(kernels, stage, planes, windows)
        rows = kernels.find_touched(stage, _read_codes(planes), [_read_codes(part) for part in maps])
        given = [entries(lookup, some) for lookup, some in zip(stage.lookups, rows, strict=True)]
        planes = _FusedStage.apply(kernels, stage, rows, planes, *maps, *given)
    return planes


def _find_kernels_for(planes: torch.Tensor) -> StageKernels:
    kernels = find_stage_kernels(planes.device)
    if kernels is None:
        raise ValueError(f"planes lie on {planes.device}, which has no kernels for fused stages")
    return kernels


def _run_convolutions(
    kernels: StageKernels, stage: Stage, planes: torch.Tensor, tables: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    return tuple(_FusedMaps.apply(kernels, op, planes, tables[op.slot]) for op in stage.convolutions)
