"""Fused networks of tables of one sample on the CPU: the runtime's kernel behind a torch autograd function.

Imports torch and the runtime. The forward pass is the kernel that `lutkit apply` runs: both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lutkit.skeleton import quantise_entries
from lutkit_runtime.kernels.cpu.axis_gradient import network_gradient, trace_network
from lutkit_runtime.kernels.cpu.axis_layout import prepare_network
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork
from lutkit_runtime.kernels.cpu.axis_planes import run_network


class _FusedNetwork(torch.autograd.Function):
    """Arguments: the network, the names of the slots, those of shifted slots, the codes, entries, then shifts."""

    @staticmethod
    def forward(
        ctx: Any,
        network: AxisNetwork,
        slots: tuple[str, ...],
        shifted: tuple[str, ...],
        codes: torch.Tensor,
        *given: torch.Tensor,
    ) -> torch.Tensor:
        ctx.threads = torch.get_num_threads()
        tables = {
            slot: entries.detach().to(torch.int8).numpy()
            for slot, entries in zip(slots, given[: len(slots)], strict=True)
        }
        apart = frozenset(shifted)
        prepared = prepare_network(network, tables, apart)
        planes = codes.detach().to(torch.uint8).contiguous().numpy()
        ctx.names = slots, shifted
        ctx.trace = trace_network(prepared, planes, apart, ctx.threads)
        return torch.from_numpy(ctx.trace.result).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        slots, shifted = ctx.names
        slopes = network_gradient(ctx.trace, gradients[0].contiguous().numpy(), parts=ctx.threads)
        to_tables = (torch.from_numpy(slopes.tables[slot]) for slot in slots)
        to_shifts = (torch.from_numpy(slopes.shifts[slot]) for slot in shifted)
        return (None, None, None, None, *to_tables, *to_shifts)


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
        Codes 0 to 255 on the CPU.
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
        Where shifts are given for a lookup of the picture, or a depthwise one.
    """
    slots = tuple(dict.fromkeys(lookup.slot for lookup in network.lookups))
    entries = [quantise_entries(tables[slot]) for slot in slots]
    shifts = {slot: given for slot, given in (shifts or {}).items() if slot in slots}
    if not torch.is_grad_enabled() or not any(each.requires_grad for each in (*entries, *shifts.values())):
        given = {slot: each.detach().to(torch.int8).numpy() for slot, each in zip(slots, entries, strict=True)}
        codes = planes.detach().to(torch.uint8).contiguous().numpy()
        made = run_network(prepare_network(network, given), codes, torch.get_num_threads())
        return torch.from_numpy(made).to(torch.float32)
    for layer in network.layers:
        for reading in layer.readings:
            op = reading.lookup
            if op.slot in shifts and (op.depthwise or reading.view.split or reading.view.map == network.input):
                raise ValueError(f"shifts are given for '{op.slot}', which is depthwise or reads the picture")
    names = tuple(shifts)
    result = _FusedNetwork.apply(network, slots, names, planes, *entries, *(shifts[name] for name in names))
    return result  # type: ignore[no-any-return]
