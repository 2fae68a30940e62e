"""Colours looked up in trainable cubes, and cubes fused from trainable tables: what `lutkit apply` computes.

Imports torch and the runtime. On the CPU the runtime's kernels do the work, forward and backward; elsewhere, and as
the definition, torch's own operations do. Both give the same float32 values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lutkit.devices import keep_constants, send
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.kernels.cpu.cube_gradient import CubeLookup, cube_gradient, look_up_pictures, pad_cubes


def look_up(
    pictures: torch.Tensor, cubes: torch.Tensor, interpolation: CubeInterpolation, stretch: float = 1.0
) -> torch.Tensor:
    """Return the colours of pictures, unclipped; differentiable once in the cubes and in the pictures.

    The gradient to the pictures is the true derivative; where it jumps, it is that of the cell in which the colour is
    taken (see `lutkit_runtime.kernels.cpu.cube_gradient`). Samples outside 0 to 1 get none.

    Parameters
    ----------
    pictures : float32, (N, 3, H, W)
        Samples below 0 or above 1 count as 0 or 1, not a number as 0.
    cubes : float32, (N, 3, n, n, n) or (1, 3, n, n, n)
        [channel][blue][green][red]: one per picture, or one for all.
    interpolation : CubeInterpolation
    stretch : float
        As in `lutkit_runtime.ops.colour_lookup.Cube`.

    Returns
    -------
    float32, (N, 3, H, W)
        The values of `lutkit_runtime.cube.interpolate_cube`, bit for bit.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    _check_shapes(pictures, cubes)
    if pictures.device.type != "cpu" or cubes.device.type != "cpu" or pictures.dtype != torch.float32:
        return look_up_plainly(pictures, cubes, interpolation, stretch)
    return _LookUp.apply(pictures, cubes, CubeLookup(cubes.shape[-1], interpolation, stretch))  # type: ignore[no-any-return]


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: torch.Tensor, cubes: torch.Tensor, lookup: CubeLookup) -> torch.Tensor:
        threads = torch.get_num_threads()
        nodes = pad_cubes(cubes.detach().float().numpy(), threads)
        ctx.save_for_backward(pictures)
        ctx.kept = lookup, nodes, threads
        return torch.from_numpy(look_up_pictures(lookup, pictures.detach().numpy(), nodes, threads))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        lookup, nodes, threads = ctx.kept
        (pictures,) = ctx.saved_tensors
        with_pictures, with_cubes, _ = ctx.needs_input_grad
        to_cubes, to_pictures = cube_gradient(
            lookup,
            pictures.detach().numpy(),
            nodes,
            gradient.numpy(),
            threads=threads,
            with_cubes=with_cubes,
            with_pictures=with_pictures,
        )
        return (
            torch.from_numpy(to_pictures) if with_pictures else None,
            torch.from_numpy(to_cubes) if with_cubes else None,
            None,
        )


def look_up_plainly(
    pictures: torch.Tensor, cubes: torch.Tensor, interpolation: CubeInterpolation, stretch: float = 1.0
) -> torch.Tensor:
    """Return what `look_up` does, by torch's own operations: on every device, and in float64 for float64 pictures.

    Arguments, result and errors are those of `look_up`. Takes 4 to 12 times as long on a CPU, and far more memory; on CUDA the
    gradient to the cubes is summed in no fixed order.
    """
    _check_shapes(pictures, cubes)
    size = cubes.shape[-1]
    cells = size - 1
    last = float(CubeLookup(size, interpolation, stretch).place()[1])
    if pictures.dtype == torch.float64:
        last = cells / stretch
    position = pictures * last
    position = torch.where(position.isnan(), 0, position).clamp(0, last)
    cell = position.detach().long().clamp(max=cells - 1)
    fraction = (position - cell).flatten(2)
    strides = _send_strides(size, cell.device)
    first = (cell.flatten(2) * strides[:, None]).sum(1)
    nodes = cubes.flatten(2).expand(len(pictures), -1, -1)
    mix = _mix_four if interpolation is CubeInterpolation.TETRAHEDRAL else _mix_eight
    return mix(nodes, first, fraction, strides).reshape(pictures.shape)


@keep_constants
def _send_strides(size: int, device: torch.device) -> torch.Tensor:
    return send(torch.tensor([1, size, size * size]), device)


def _gather(nodes: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return nodes.gather(2, rows[:, None].expand(-1, 3, -1))


def _mix_eight(nodes: torch.Tensor, first: torch.Tensor, fraction: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    colours = [_gather(nodes, first + sum(stride for k, stride in enumerate(strides) if v >> k & 1)) for v in range(8)]
    for axis in range(3):
        share = fraction[:, axis, None]
        pairs = zip(colours[::2], colours[1::2], strict=True)
        colours = [below + share * (above - below) for below, above in pairs]
    return colours[0]


def _mix_four(nodes: torch.Tensor, first: torch.Tensor, fraction: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    ordered, order = fraction.sort(dim=1, descending=True, stable=True)
    most, middle, least = ordered[:, :1], ordered[:, 1:2], ordered[:, 2:]
    second = first + strides[order[:, 0]]
    third = second + strides[order[:, 1]]
    total = (1 - most) * _gather(nodes, first)
    total = total + (most - middle) * _gather(nodes, second)
    total = total + (middle - least) * _gather(nodes, third)
    return total + least * _gather(nodes, first + strides.sum())


def _check_shapes(pictures: torch.Tensor, cubes: torch.Tensor) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
        raise ValueError(f"pictures of shape {tuple(pictures.shape)} were given; (N, 3, H, W) is needed")
    size = cubes.shape[-1]
    if cubes.shape not in {(count, 3, size, size, size) for count in (1, len(pictures))} or size < 2:
        raise ValueError(
            f"cubes of shape {tuple(cubes.shape)} were given for {len(pictures)} pictures; (N, 3, n, n, n) or "
            "(1, 3, n, n, n) with n of at least 2 is needed"
        )


def fuse(weights: torch.Tensor, bases: torch.Tensor) -> torch.Tensor:
    """Return the sum of weight times basis table for every row of weights: what `TableFusion` computes, bit for bit.

    The sum is taken in float64, in the order of the tables, and rounded to float32 once.

    Parameters
    ----------
    weights : float32, (N, K)
    bases : float32, (K, 3, n, n, n)

    Returns
    -------
    float32, (N, 3, n, n, n)

    Raises
    ------
    ValueError
        If there is not one weight per table.
    """
    if weights.ndim != 2 or weights.shape[1] != len(bases):
        raise ValueError(
            f"weights of shape {tuple(weights.shape)} were given for {len(bases)} tables; (N, K) is needed"
        )
    return _Fuse.apply(weights, bases)  # type: ignore[no-any-return]


class _Fuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, bases: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weights, bases)
        total = torch.zeros((len(weights), *bases.shape[1:]), dtype=torch.float64, device=bases.device)
        for weight, basis in zip(weights.double().T, bases, strict=True):
            total += weight.reshape(-1, 1, 1, 1, 1) * basis.double()
        return total.to(torch.promote_types(weights.dtype, bases.dtype))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        weights, bases = ctx.saved_tensors
        # No matrix products: how a BLAS adds up may depend on where memory happens to lie, and a seed shall repeat a run.
        to_weights = to_bases = None
        if ctx.needs_input_grad[0]:
            rows = gradient.flatten(1)
            to_weights = torch.stack([(rows * basis.flatten()).sum(1) for basis in bases], dim=1)
        if ctx.needs_input_grad[1]:
            to_bases = torch.zeros_like(bases)
            for weight, row in zip(weights, gradient, strict=True):
                to_bases.addcmul_(weight.reshape(-1, 1, 1, 1, 1), row)
        return to_weights, to_bases
