"""Programs evaluated in torch: the same skeleton with its slots filled by networks or by trainable tables.

Imports torch and the runtime. Integer values travel as float32, which holds them exactly below 2**24. Rounding and
clamping are straight-through: rounding passes gradients unchanged, a clamp passes those that point back inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from lutkit_runtime.interpolation import walk_simplex, weigh_vertices
from lutkit_runtime.ops import Add, ChannelOp, Ensemble, Lookup, Requantise
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.lookup import spread_blocks
from lutkit_runtime.program import Program
from lutkit_runtime.quantiser import Quantiser

ROWS_AT_ONCE = 1 << 16

TABLE_QUANTISER = Quantiser()
"""How trainable tables are rounded: to the levels of a signed byte."""


class Filling(Protocol):
    """What fills a slot while it is trained."""

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Return what the lookup's table would give, times the lattice's step: (..., block**2), integer-valued float32.

        `samples` are codes (..., axes), integer-valued float32 through which gradients flow.
        """
        ...


class _RoundStraight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


class _CodesStraight(torch.autograd.Function):
    """Requantise in integers; see `gate_gradient` for what comes back."""

    @staticmethod
    def forward(ctx: Any, total: torch.Tensor, op: Requantise) -> torch.Tensor:
        codes = op.codes(total.long()).to(total.dtype)
        ctx.save_for_backward(codes)
        ctx.divisor = op.divisor
        return codes

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (codes,) = ctx.saved_tensors
        return gate_gradient(codes, gradients[0]) / ctx.divisor, None


def gate_gradient(codes: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Zero the gradient where a descent step would push a saturated code further out."""
    outward = ((codes <= 0) & (gradient > 0)) | ((codes >= 255) & (gradient < 0))
    return gradient.masked_fill(outward, 0)


def round_straight(values: torch.Tensor) -> torch.Tensor:
    """Round half to even; the gradient passes unchanged."""
    return _RoundStraight.apply(values)  # type: ignore[no-any-return]


def quantise_straight(outputs: torch.Tensor, quantiser: Quantiser) -> torch.Tensor:
    """Quantise real outputs to entries, straight through the rounding; float32."""
    return round_straight(quantiser.spread(outputs.float()))


class NetworkFilling(torch.nn.Module):
    """A slot filled by a network of its samples; each output is quantised as its table entry would be.

    Parameters
    ----------
    network : module
        Maps (M, axes) codes / 255 to (M, block**2) outputs in [-1, 1].
    quantiser : Quantiser
    """

    def __init__(self, network: torch.nn.Module, quantiser: Quantiser) -> None:
        super().__init__()
        self.network = network
        self.quantiser = quantiser

    def entries(self, samples: torch.Tensor) -> torch.Tensor:
        """Return integer-valued entries (..., outputs) for codes (..., axes), both float32."""
        rows = samples.reshape(-1, samples.shape[-1]) / 255
        # Without gradients nothing has to be kept, so that any image and any lattice fits in memory.
        parts = (rows,) if torch.is_grad_enabled() else rows.split(ROWS_AT_ONCE)
        entries = torch.cat([quantise_straight(self.network(part), self.quantiser) for part in parts])
        return entries.reshape(*samples.shape[:-1], -1)

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Evaluate the network at the samples themselves: no lattice is involved."""
        return self.entries(samples) * lookup.lattice.step

    def table(self, lookup: Lookup) -> torch.Tensor:
        """Return the table that transfer would make: entries at every node, (entries, outputs) float32."""
        nodes = torch.from_numpy(lookup.lattice.node_samples()).to(next(self.network.parameters()).device)
        return self.entries(nodes.float())


@dataclass(frozen=True)
class TableFilling:
    """A slot filled by a trainable table.

    Parameters
    ----------
    values : float32, (entries, outputs)
        In units of table entries, -127 to 127.
    """

    values: torch.Tensor

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Interpolate the quantised table; differentiable in the table and in the samples."""
        entries = quantise_entries(self.values)
        codes = samples.detach().long()
        rows, order = walk_simplex(codes, lookup.lattice, lookup.interpolation)
        fractions = samples - lookup.lattice.split(codes)[0] * lookup.lattice.step
        weights = weigh_vertices(fractions, order, lookup.lattice.step)
        return torch.einsum("...v,...vk->...k", weights, entries[rows])


def quantise_entries(values: torch.Tensor, quantiser: Quantiser = TABLE_QUANTISER) -> torch.Tensor:
    """Round a trainable table to entries, straight through the rounding; entries are clamped to the levels."""
    return round_straight(quantiser.confine(values))


def run_program(program: Program, planes: torch.Tensor, fillings: Mapping[str, Filling]) -> torch.Tensor:
    """Run a program whose slots are filled by networks or trainable tables.

    Parameters
    ----------
    program : Program
    planes : float32, (N, H, W)
        Codes 0 to 255.
    fillings : mapping of slot name to Filling

    Returns
    -------
    float32, (N, H * scale, W * scale)
        Codes 0 to 255; with tables, those that the runtime computes.
    """
    values = {program.input: planes}
    for op in program.ops:
        assert isinstance(op, ChannelOp)
        values[op.output] = run_op(op, values, fillings)
    return values[program.output]


def run_op(op: ChannelOp, values: Mapping[str, torch.Tensor], fillings: Mapping[str, Filling]) -> torch.Tensor:
    """Run one op on named planes, each (N, H, W)."""
    match op:
        case Lookup():
            return _look_up(op, values[op.input], fillings[op.slot])
        case Add():
            return torch.stack([values[term] for term in op.terms]).sum(dim=0)
        case Requantise():
            return _CodesStraight.apply(values[op.input], op)  # type: ignore[no-any-return]
        case Ensemble():
            total: Any = 0
            for turns in range(TURNS):
                local = {op.input: torch.rot90(values[op.input], turns, (-2, -1))}
                for inner in op.body:
                    local[inner.output] = run_op(inner, local, fillings)
                total = total + torch.rot90(local[op.body[-1].output], -turns, (-2, -1))
            return total


def _look_up(op: Lookup, plane: torch.Tensor, filling: Filling) -> torch.Tensor:
    (top, bottom), (left, right) = op.pattern.padding
    height, width = plane.shape[-2:]
    rows = torch.from_numpy(op.padding.index(height, top, bottom)).to(plane.device)
    columns = torch.from_numpy(op.padding.index(width, left, right)).to(plane.device)
    padded = plane[:, rows][:, :, columns]
    views = [
        padded[:, top + row : top + row + height, left + column : left + column + width]
        for row, column in op.pattern.offsets
    ]
    return spread_blocks(filling.sums(op, torch.stack(views, dim=-1)), op.block)
