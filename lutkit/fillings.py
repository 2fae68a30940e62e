"""What fills slots while they are trained: networks of a few samples, or tables as parameters. Imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch

from lutkit.devices import keep_constants, send
from lutkit.networks import AxisFunctions, WindowFunctions
from lutkit.skeleton import TABLE_QUANTISER, quantise_entries, quantise_straight
from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.ops import AxisLookup, Lookup, ReconstructedConvolution, Tap
from lutkit_runtime.ops.reconstructed_convolution import LARGEST_UNIT
from lutkit_runtime.quantiser import Quantiser

ROWS_AT_ONCE = 1 << 16


class NetworkFilling(torch.nn.Module):
    """A slot of a lookup filled by a network of its samples; each output is quantised as its table entry would be.

    Parameters
    ----------
    network : module
        Maps (M, axes) codes / 255 to (M, block**2) outputs in [-1, 1].
    quantiser : Quantiser
    squash : bool
        The network is given the hyperbolic tangent of codes / 255, as liuguandu/RC-LUT does behind a reconstructed
        convolution; the table of the network absorbs it.
    """

    def __init__(self, network: torch.nn.Module, quantiser: Quantiser, *, squash: bool = False) -> None:
        super().__init__()
        self.network = network
        self.quantiser = quantiser
        self.squash = squash

    shifts = None

    def read(self, samples: torch.Tensor) -> torch.Tensor:
        """Return what the network is given for codes."""
        return torch.tanh(samples / 255) if self.squash else samples / 255

    def entries(self, samples: torch.Tensor) -> torch.Tensor:
        """Return integer-valued entries (..., outputs) for codes (..., axes), both float32."""
        rows = self.read(samples.reshape(-1, samples.shape[-1]))
        # Without gradients nothing has to be kept, so that any image and any lattice fits in memory.
        parts = (rows,) if torch.is_grad_enabled() else rows.split(ROWS_AT_ONCE)
        entries = torch.cat([quantise_straight(self.network(part), self.quantiser) for part in parts])
        return entries.reshape(*samples.shape[:-1], -1)

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Evaluate the network at the samples themselves: no lattice is involved."""
        return self.entries(samples) * lookup.step

    def table(self, op: Lookup) -> torch.Tensor:
        """Return the table that transfer would make: entries at every node, (entries, outputs) float32."""
        return self.entries(_send_nodes(op, next(self.network.parameters()).device).float())


class WindowFilling(torch.nn.Module):
    """The tables of a reconstructed convolution filled by a network for each position of its window.

    The scale of the entries is the largest power of two that keeps them within the quantiser's levels.

    Parameters
    ----------
    network : WindowFunctions
    """

    def __init__(self, network: WindowFunctions) -> None:
        super().__init__()
        self.network = network

    shifts = None

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Raise TypeError: no lookup reads these tables."""
        raise TypeError("the tables of a window are read by a reconstructed convolution only")

    def table(self, op: ReconstructedConvolution) -> torch.Tensor:
        """Return the tables, (positions * 256, 1), integer-valued float32."""
        with torch.autocast(next(self.network.parameters()).device.type, enabled=False):
            values = self.network()
        quantiser = op.slots[op.slot].quantiser
        scaled = values * (op.unit / op.positions)
        return quantise_entries(scaled, quantiser).reshape(-1, 1)

    @torch.no_grad()
    def settle(self, op: ReconstructedConvolution) -> ReconstructedConvolution:
        """Return the op with the unit that fits the networks as they stand."""
        largest = max(self.network().abs().max().item(), 1e-3)
        scale = 2.0 ** math.floor(math.log2(op.levels / largest))
        return msgspec.structs.replace(op, unit=min(scale * op.positions, LARGEST_UNIT))


class AxisFilling(torch.nn.Module):
    """The tables of an axis lookup filled by a network for each tap; the taps' shifts may be learned, too.

    Parameters
    ----------
    network : AxisFunctions
    quantiser : Quantiser
    shifts : float32 array (taps, 2), optional
        Rows and columns to start from, where they are learned.
    reach : int
        Largest shift.
    """

    def __init__(
        self, network: AxisFunctions, quantiser: Quantiser, shifts: np.ndarray | None = None, reach: int = 0
    ) -> None:
        super().__init__()
        self.network = network
        self.quantiser = quantiser
        self.reach = reach
        self.shifts = None if shifts is None else torch.nn.Parameter(torch.from_numpy(shifts))

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Raise TypeError: no lookup reads these tables."""
        raise TypeError("the tables of single samples are read by an axis lookup only")

    def table(self, op: AxisLookup) -> torch.Tensor:
        """Return the tables, (entries, 1), integer-valued float32."""
        with torch.autocast(next(self.network.parameters()).device.type, enabled=False):
            values = self.network()
        entries = quantise_straight(values, self.quantiser)
        taps, nodes, outputs = _send_places(op.tables, op.outputs_per_tap, values.device)
        return entries[taps, nodes, outputs][:, None]

    @torch.no_grad()
    def settle(self, op: AxisLookup) -> AxisLookup:
        """Return the op with the taps where the learned shifts put them."""
        if self.shifts is None:
            return op
        places = self.shifts.clamp(-self.reach, self.reach).round().int().tolist()
        taps = tuple(Tap(tap.channel, row, column) for tap, (row, column) in zip(op.taps, places, strict=True))
        return msgspec.structs.replace(op, taps=taps)

    @torch.no_grad()
    def confine(self) -> None:
        """Bring learned shifts back into their range."""
        if self.shifts is not None:
            self.shifts.clamp_(-self.reach - 0.49, self.reach + 0.49)


AnyFilling = NetworkFilling | WindowFilling | AxisFilling


@dataclass(frozen=True)
class TableFilling:
    """A slot filled by a trainable table.

    Parameters
    ----------
    values : float32, (entries, outputs)
        In units of table entries.
    quantiser : Quantiser
    """

    values: torch.Tensor
    quantiser: Quantiser = TABLE_QUANTISER
    shifts: torch.Tensor | None = None

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Interpolate the quantised table; differentiable in the table and in the samples."""
        entries = self.table(lookup)
        rows, weights = lookup.walk(samples.detach().long(), samples)
        return torch.einsum("...v,...vk->...k", weights, entries[rows])

    def table(self, op: Any) -> torch.Tensor:
        """Return the quantised table."""
        return quantise_entries(self.values, self.quantiser)


@keep_constants
def _send_nodes(op: Lookup, device: torch.device) -> torch.Tensor:
    return send(op.node_samples(), device)


@keep_constants
def _send_places(
    tables: AxisTables, outputs: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tap, node, output = find_nodes(tables, outputs)
    return send(tap, device), send(node, device), send(output, device)


def find_nodes(tables: AxisTables, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tap, index from the lowest value on (0 to size) and output of every entry, in the order of the slot."""
    counts = tables.nodes.reshape(-1)
    places = np.repeat(np.arange(counts.size), counts)
    nodes = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = np.array(tables.steps).reshape(-1)[places]
    taps, numbers = np.divmod(places, outputs)
    return taps, np.minimum(nodes * steps, tables.size), numbers
