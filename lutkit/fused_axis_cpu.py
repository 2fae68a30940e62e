"""Kernels of the CPU for networks of tables of one sample that are trained, on tensors that share the runtime's memory.

Imports torch and the runtime. See `lutkit.fused_axis.AxisKernels` for what each function is given and returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lutkit_runtime.kernels.cpu.axis_gradient import Trace, network_gradient, trace_network
from lutkit_runtime.kernels.cpu.axis_layout import prepare_network
from lutkit_runtime.kernels.cpu.axis_network import AxisNetwork
from lutkit_runtime.kernels.cpu.axis_planes import run_network


def find_kernels(device: torch.device) -> CpuNetworks:
    """Return the kernels of the CPU, with as many threads as torch uses."""
    return CpuNetworks(torch.get_num_threads())


@dataclass(frozen=True)
class CpuNetworks:
    """Networks of tables of one sample on the CPU.

    Parameters
    ----------
    threads : int
        Work at once; gradients are added up in as many parts.
    """

    threads: int

    def run(self, network: AxisNetwork, tables: Mapping[str, torch.Tensor], planes: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        prepared = prepare_network(network, {slot: table.numpy() for slot, table in tables.items()})
        return torch.from_numpy(run_network(prepared, planes.numpy(), self.threads))

    def trace(
        self, network: AxisNetwork, tables: Mapping[str, torch.Tensor], planes: torch.Tensor, shifted: frozenset[str]
    ) -> tuple[torch.Tensor, Trace]:
        """Return the codes and the trace."""
        prepared = prepare_network(network, {slot: table.numpy() for slot, table in tables.items()}, shifted)
        trace = trace_network(prepared, planes.numpy(), shifted, self.threads)
        return torch.from_numpy(trace.result), trace

    def differentiate(
        self, trace: Trace, gradient: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return the gradients."""
        slopes = network_gradient(trace, gradient.numpy(), parts=self.threads)
        to_tables = {slot: torch.from_numpy(part) for slot, part in slopes.tables.items()}
        return to_tables, {slot: torch.from_numpy(part) for slot, part in slopes.shifts.items()}
