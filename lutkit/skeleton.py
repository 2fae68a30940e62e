"""Programs evaluated in torch: the same skeleton with its slots filled by networks or by trainable tables.

Imports torch and the runtime. Integer values travel as float32, which holds them exactly below 2**24. Rounding and
clamping are straight-through: rounding passes gradients unchanged, a clamp passes those that point back inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from lutkit.devices import keep_constants, send
from lutkit.fused_lookup import find_lookup_kernels, sum_taps
from lutkit_runtime.axis_tables import AxisTables
from lutkit_runtime.ops import (
    Add,
    AxisLookup,
    BitField,
    ChannelOp,
    Ensemble,
    Lookup,
    PixelShuffle,
    ReconstructedConvolution,
    Requantise,
)
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.lookup import spread_blocks
from lutkit_runtime.ops.reconstructed_convolution import CENTRE, HIGHEST, find_thresholds
from lutkit_runtime.padding import Padding
from lutkit_runtime.program import Program
from lutkit_runtime.quantiser import Quantiser

TABLE_QUANTISER = Quantiser()
"""How trainable tables are rounded unless their slot says otherwise: to the levels of a signed byte."""


class Filling(Protocol):
    """What fills a slot while it is trained."""

    @property
    def shifts(self) -> torch.Tensor | None:
        """Rows and columns at which the taps of an axis lookup stand, (taps, 2), where that is learned."""
        ...

    def sums(self, lookup: Lookup, samples: torch.Tensor) -> torch.Tensor:
        """Return what a lookup's table would give, times the sum of its weights: (..., block**2), integers as float32.

        `samples` are codes (..., axes), integer-valued float32 through which gradients flow.
        """
        ...

    def table(self, op: Any) -> torch.Tensor:
        """Return the table of an op, (entries, outputs), integers as float32."""
        ...


class _RoundStraight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


class _RequantiseStraight(torch.autograd.Function):
    """Requantise in integers; see `gate_gradient` for what comes back."""

    @staticmethod
    def forward(ctx: Any, total: torch.Tensor, residual: torch.Tensor | None, op: Requantise) -> torch.Tensor:
        added: Any = 0 if residual is None else residual.long()
        values = op.codes(total.long(), added).to(total.dtype)
        ctx.save_for_backward(values)
        ctx.op = op
        ctx.channels = None if residual is None else residual.shape[-3]
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (values,) = ctx.saved_tensors
        gradient = gate_gradient(values, gradients[0], ctx.op.low, ctx.op.high)
        if ctx.channels is None:
            to_residual = None
        elif ctx.channels == gradient.shape[-3]:
            to_residual = gradient
        else:
            to_residual = gradient.sum(dim=-3, keepdim=True)
        return gradient / ctx.op.divisor, to_residual, None


class _ConvolutionStraight(torch.autograd.Function):
    """The codes of a reconstructed convolution for its sums; see `gate_gradient` for what comes back."""

    @staticmethod
    def forward(ctx: Any, total: torch.Tensor, op: ReconstructedConvolution) -> torch.Tensor:
        thresholds = _send_thresholds(op.unit, total.device)
        codes = torch.searchsorted(thresholds, total.int().contiguous(), right=True).to(total.dtype)
        ctx.save_for_backward(codes, total)
        ctx.unit = op.unit
        return codes

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        codes, total = ctx.saved_tensors
        slope = CENTRE * (1 - torch.tanh(total / ctx.unit) ** 2) / ctx.unit
        return gate_gradient(codes, gradients[0], 0, HIGHEST) * slope, None


class _ReadStraight(torch.autograd.Function):
    """Entries of tables of one sample: values (positions, size, outputs) at indices (...); slopes are differences.

    The gradient to an index is that of the neighbours on both sides, half their difference; at an end, of the end and
    its neighbour.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, indices: torch.Tensor, position: int) -> torch.Tensor:
        places = indices.long()
        ctx.save_for_backward(values, places)
        ctx.position = position
        return values[position][places]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, places = ctx.saved_tensors
        gradient = gradients[0]
        size, outputs = values.shape[1:]
        to_values = None
        if ctx.needs_input_grad[0]:
            to_values = torch.zeros_like(values)
            to_values[ctx.position].index_add_(0, places.reshape(-1), gradient.reshape(-1, outputs))
        to_indices = None
        if ctx.needs_input_grad[1]:
            ends = torch.arange(size, device=values.device)
            above, below = (ends + 1).clamp(max=size - 1), (ends - 1).clamp(min=0)
            table = values[ctx.position]
            slopes = (table[above] - table[below]) / (above - below)[:, None]
            to_indices = (gradient * slopes[places]).sum(dim=-1)
        return to_values, to_indices, None


class _ShiftStraight(torch.autograd.Function):
    """What a shifted tap sees; the gradient to a shift is that of central differences."""

    @staticmethod
    def forward(ctx: Any, seen: torch.Tensor, beside: tuple[torch.Tensor, ...], shift: torch.Tensor) -> torch.Tensor:
        ctx.beside = beside
        return seen.view_as(seen)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        below, above, right, left = ctx.beside
        slopes = ((below - above) / 2, (right - left) / 2)
        return gradients[0], None, torch.stack([(gradients[0] * slope).sum() for slope in slopes])


def gate_gradient(codes: torch.Tensor, gradient: torch.Tensor, low: int = 0, high: int = 255) -> torch.Tensor:
    """Zero the gradient where a descent step would push a saturated value further out."""
    outward = ((codes <= low) & (gradient > 0)) | ((codes >= high) & (gradient < 0))
    return gradient.masked_fill(outward, 0)


def round_straight(values: torch.Tensor) -> torch.Tensor:
    """Round half to even; the gradient passes unchanged."""
    return _RoundStraight.apply(values)  # type: ignore[no-any-return]


def quantise_straight(outputs: torch.Tensor, quantiser: Quantiser) -> torch.Tensor:
    """Quantise real outputs to entries, straight through the rounding; float32."""
    return round_straight(quantiser.spread(outputs.float()))


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
    values = {program.input: planes[:, None]}
    for op in program.ops:
        assert isinstance(op, ChannelOp)
        values[op.output] = run_op(op, values, fillings)
    return values[program.output][:, 0]


def run_op(op: ChannelOp, values: Mapping[str, torch.Tensor], fillings: Mapping[str, Filling]) -> torch.Tensor:
    """Run one op on named planes, each (N, channels, H, W)."""
    match op:
        case Lookup():
            return _look_up(op, values[op.input], fillings[op.slot])
        case Add():
            terms = [weight * values[term] for weight, term in zip(op.factors, op.terms, strict=True)]
            return torch.stack(terms).sum(dim=0)
        case Requantise():
            residual = None if op.residual is None else values[op.residual]
            return _RequantiseStraight.apply(values[op.input], residual, op)  # type: ignore[no-any-return]
        case BitField():
            # the bits of a picture: nothing that is trained lies before them
            return op.split(values[op.input].detach().long()).to(values[op.input].dtype)
        case AxisLookup():
            return _look_up_axes(op, values[op.input], fillings[op.slot])
        case PixelShuffle():
            return op.shuffle(values[op.input])
        case ReconstructedConvolution():
            return _convolve(op, values[op.input], fillings[op.slot])
        case Ensemble():
            total: Any = 0
            for turns in range(TURNS):
                local = {op.input: torch.rot90(values[op.input], turns, (-2, -1))}
                for inner in op.body:
                    local[inner.output] = run_op(inner, local, fillings)
                total = total + torch.rot90(local[op.body[-1].output], -turns, (-2, -1))
            return total


def _pad(plane: torch.Tensor, padding: Padding, rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
    """Return a plane (..., H, W) with more pixels (before, after) in each direction."""
    height, width = plane.shape[-2:]
    down, across = (
        _send_index(padding, height, *rows, plane.device),
        _send_index(padding, width, *columns, plane.device),
    )
    return plane[..., down, :][..., across]


@keep_constants
def _send_index(padding: Padding, length: int, before: int, after: int, device: torch.device) -> torch.Tensor:
    return send(padding.index(length, before, after), device)


@keep_constants
def _send_thresholds(unit: float, device: torch.device) -> torch.Tensor:
    return send(np.ascontiguousarray(find_thresholds(unit)[:, 0]), device)


def _look_up(op: Lookup, plane: torch.Tensor, filling: Filling) -> torch.Tensor:
    (top, bottom), (left, right) = op.pattern.padding
    height, width = plane.shape[-2:]
    padded = _pad(plane, op.padding, (top, bottom), (left, right))
    views = [
        padded[..., top + row : top + row + height, left + column : left + column + width]
        for row, column in op.pattern.offsets
    ]
    return spread_blocks(filling.sums(op, torch.stack(views, dim=-1)), op.block)


def _convolve(op: ReconstructedConvolution, plane: torch.Tensor, filling: Filling) -> torch.Tensor:
    height, width = plane.shape[-2:]
    span = (-op.first, op.first + op.window - 1)
    padded = _pad(plane, Padding.EDGE, span, span)
    values = filling.table(op).reshape(op.positions, -1, 1)
    total: Any = 0
    for position in range(op.positions):
        row, column = divmod(position, op.window)
        seen = padded[..., row : row + height, column : column + width]
        total = total + _ReadStraight.apply(values, seen, position)[..., 0]  # type: ignore[index]
    return _ConvolutionStraight.apply(total, op)  # type: ignore[no-any-return]


def expand_tables(op: AxisLookup, table: torch.Tensor) -> torch.Tensor:
    """Return the interpolated value of every tap, value and output times the denominator, (taps, size, outputs)."""
    flat = table.reshape(-1)
    lower, upper, weight = _send_layout(op.tables, flat.device)
    return (op.tables.denominator - weight) * flat[lower] + weight * flat[upper]


@keep_constants
def _send_layout(tables: AxisTables, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    layout = tables.lay_out()
    return send(layout.lower, device), send(layout.upper, device), send(layout.weight.astype(np.float32), device)


def _look_up_axes(op: AxisLookup, plane: torch.Tensor, filling: Filling) -> torch.Tensor:
    values = expand_tables(op, filling.table(op))
    shifts = filling.shifts
    kernels = find_lookup_kernels(plane.device) if shifts is None else None
    if kernels is not None:
        return sum_taps(kernels, op, plane, values)
    height, width = plane.shape[-2:]
    reach = op.halo + 1
    padded = _pad(plane, op.padding, (reach, reach), (reach, reach)) - op.tables.low
    # a depthwise output without a tap is 0
    nothing = padded.new_zeros(*padded.shape[:-3], height, width, op.outputs_per_tap)
    groups = [nothing] * (op.outputs if op.depthwise else 1)
    for number, tap in enumerate(op.taps):
        channel = padded[..., tap.channel, :, :]

        def see(row: int, column: int, channel: torch.Tensor = channel) -> torch.Tensor:
            top, left = reach + row, reach + column
            return channel[..., top : top + height, left : left + width]

        seen = see(tap.row, tap.column)
        if shifts is not None:
            places = ((1, 0), (-1, 0), (0, 1), (0, -1))
            beside = tuple(see(tap.row + row, tap.column + column).detach() for row, column in places)
            seen = _ShiftStraight.apply(seen, beside, shifts[number])
        group = tap.channel if op.depthwise else 0
        groups[group] = groups[group] + _ReadStraight.apply(values, seen, number)
    return torch.stack([group[..., 0] for group in groups], dim=-3) if op.depthwise else groups[0].movedim(-1, -3)
