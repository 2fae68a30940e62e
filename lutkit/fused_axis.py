"""Fused networks of tables of one sample: kernels of the device on which tensors lie, behind a torch autograd function.

Imports torch and the runtime. The forward pass is the arithmetic that `lutkit apply` runs: both give the same bytes.
Which kernels run is decided as for stages, see `lutkit.fused`: by the type of the device, in `AXIS_KERNELS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from lutkit.skeleton import quantise_entries
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork

AXIS_KERNELS: dict[str, str] = {"cpu": "lutkit.fused_axis_cpu"}
"""Type of a device to the module that has its kernels (``find_kernels(device)``); imported when used."""


class AxisKernels(Protocol):
    """What a device must offer to train networks of tables of one sample on it; all tensors lie there.

    Codes are uint8 (N, H, W), tables int8 (entries, 1) by slot, gradients float32.
    """

    def run(self, network: AxisNetwork, tables: Mapping[str, torch.Tensor], planes: torch.Tensor) -> torch.Tensor:
        """Return the codes (N, H * block, W * block) that a network makes."""
        ...

    def trace(
        self, network: AxisNetwork, tables: Mapping[str, torch.Tensor], planes: torch.Tensor, shifted: frozenset[str]
    ) -> tuple[torch.Tensor, Any]:
        """Return the codes, and what `differentiate` needs; the taps of the slots in `shifted` get gradients."""
        ...

    def differentiate(
        self, trace: Any, gradient: torch.Tensor
    ) -> tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]:
        """Return the gradients to the tables (entries, 1) and to the shifts (taps, 2), by slot."""
        ...


def find_axis_kernels(device: torch.device) -> AxisKernels | None:
    """Return the kernels of a device for networks of tables of one sample; None where it has none."""
    module = AXIS_KERNELS.get(device.type)
    return None if module is None else importlib.import_module(module).find_kernels(device)


class _FusedNetwork(torch.autograd.Function):
    """Arguments: kernels, the network, the names of the slots, those of shifted slots, the codes, entries, then shifts."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: AxisKernels,
        network: AxisNetwork,
        slots: tuple[str, ...],
        shifted: tuple[str, ...],
        codes: torch.Tensor,
        *given: torch.Tensor,
    ) -> torch.Tensor:
        tables = dict(zip(slots, map(_read_entries, given[: len(slots)]), strict=True))
        result, trace = kernels.trace(network, tables, _read_codes(codes), frozenset(shifted))
        ctx.kept = kernels, trace, slots, shifted
        return result.to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernels, trace, slots, shifted = ctx.kept
        to_tables, to_shifts = kernels.differentiate(trace, gradients[0].contiguous())
        found = (*(to_tables[slot] for slot in slots), *(to_shifts[slot] for slot in shifted))
        return (None, None, None, None, None, *found)


def run_axis_ensemble(
    network: AxisNetwork,
    planes: torch.Tensor,
    tables: Mapping[str, torch.Tensor],
    shifts: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Run a fused network on codes; differentiable in the tables and in the shifts of taps.

    Parameters
    ----------
    network : AxisNetwork
        From `claim_axis_network`, with taps where the shifts, rounded, put them.
    planes : float32, (N, H, W)
        Codes 0 to 255, on a device that `find_axis_kernels` knows; tables and shifts lie there, too.
    tables : mapping of slot name to float32 (entries, 1)
        In units of table entries; rounded and clamped on the way in.
    shifts : mapping of slot name to float32 (taps, 2), optional
        Rows and columns of the taps of some dense lookups of layers, where they are learned.

    Returns
    -------
    float32, (N, H * block, W * block)
        Codes 0 to 255.

    Raises
    ------
    ValueError
        Where shifts are given for a lookup of the picture, or a depthwise one, or the device has no kernels.
    """
    kernels = find_axis_kernels(planes.device)
    if kernels is None:
        raise ValueError(f"planes lie on {planes.device}, which has no kernels for networks of tables of one sample")
    slots = tuple(dict.fromkeys(lookup.slot for lookup in network.lookups))
    entries = [quantise_entries(tables[slot]) for slot in slots]
    shifts = {slot: given for slot, given in (shifts or {}).items() if slot in slots}
    if not torch.is_grad_enabled() or not any(each.requires_grad for each in (*entries, *shifts.values())):
        given = dict(zip(slots, map(_read_entries, entries), strict=True))
        return kernels.run(network, given, _read_codes(planes)).to(torch.float32)
    for layer in network.layers:
        for reading in layer.readings:
            op = reading.lookup
            if op.slot in shifts and (op.depthwise or reading.view.split or reading.view.map == network.input):
                raise ValueError(f"shifts are given for '{op.slot}', which is depthwise or reads the picture")
    names = tuple(shifts)
    given_shifts = (shifts[name] for name in names)
    return _FusedNetwork.apply(kernels, network, slots, names, planes, *entries, *given_shifts)  # type: ignore[no-any-return]


def _read_codes(codes: torch.Tensor) -> torch.Tensor:
    return codes.detach().to(torch.uint8).contiguous()


def _read_entries(entries: torch.Tensor) -> torch.Tensor:
    return entries.detach().to(torch.int8).contiguous()
