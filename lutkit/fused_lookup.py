"""Axis lookups as one step, with kernels of the device on which tensors lie, behind a torch autograd function.

Imports torch and the runtime. Tap by tap an axis lookup is a few small steps in torch for every tap, and a GPU spends its
time between them. The CPU has kernels for whole networks instead (`lutkit.fused_axis`); there, ops by themselves stay as
they are. Which kernels run is decided as for stages, see `lutkit.fused`: by the type of the device, in `LOOKUP_KERNELS`.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import torch

from lutkit_runtime.ops import AxisLookup

LOOKUP_KERNELS: dict[str, str] = {"cuda": "lutkit.fused_cuda"}
"""Type of a device to the module that has its kernels (``find_kernels(device)``); imported when used."""


class LookupKernels(Protocol):
    """What a device must offer to train axis lookups on it; all tensors lie there, contiguous.

    Values are int16 (taps, size, outputs of a tap), as `AxisTables.lay_out` expands them, planes and sums int32
    (N, channels, H, W), gradients float32.
    """

    def sum_taps(self, op: AxisLookup, values: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
        """Return the sums."""
        ...

    def differentiate_taps(
        self, op: AxisLookup, values: torch.Tensor, planes: torch.Tensor, gradient: torch.Tensor, *, with_planes: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the gradients to the values and to the planes, None where not wanted."""
        ...


def find_lookup_kernels(device: torch.device) -> LookupKernels | None:
    """Return the kernels of a device for axis lookups; None where it has none."""
    module = LOOKUP_KERNELS.get(device.type)
    return None if module is None else importlib.import_module(module).find_kernels(device)


class _FusedLookup(torch.autograd.Function):
    """Arguments: kernels, the op, the planes, the values."""

    @staticmethod
    def forward(
        ctx: Any, kernels: LookupKernels, op: AxisLookup, planes: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        samples = planes.detach().to(torch.int32).contiguous()
        narrow = values.detach().to(torch.int16).contiguous()
        ctx.kept = kernels, op, samples, narrow
        return kernels.sum_taps(op, narrow, samples).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernels, op, samples, narrow = ctx.kept
        to_values, to_planes = kernels.differentiate_taps(
            op, narrow, samples, gradients[0].contiguous(), with_planes=ctx.needs_input_grad[2]
        )
        return None, None, to_planes, to_values


def sum_taps(kernels: LookupKernels, op: AxisLookup, planes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sums of an axis lookup, float32 (N, outputs, H, W); differentiable in planes and values.

    Parameters
    ----------
    kernels : LookupKernels
        From `find_lookup_kernels`.
    op : AxisLookup
    planes : float32, (N, channels, H, W)
        Integers.
    values : float32, (taps, size, outputs of a tap)
        Interpolated, times the denominator: integers.
    """
    return _FusedLookup.apply(kernels, op, planes, values)  # type: ignore[no-any-return]
