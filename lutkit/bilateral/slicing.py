"""Bilateral grids and guides that are trained: what `lutkit apply` computes, with gradients.

Imports torch and the runtime. On the CPU the runtime's kernels do the work, forward and backward, and never spread the
coefficients over a picture; elsewhere, and as the definition, torch's own operations do. Both give the same float32 values,
those of `lutkit_runtime.bilateral` (Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", SIGGRAPH
2017, sections 3.3 and 3.4).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lutkit.devices import keep_constants, send
from lutkit_runtime.bilateral import COEFFICIENTS, GuideTables, place_axis
from lutkit_runtime.kernels.cpu.bilateral_gradient import slice_and_apply_pictures, slice_gradient
from lutkit_runtime.kernels.cpu.guide_gradient import evaluate_pictures, guide_gradient


def slice_and_apply(pictures: torch.Tensor, guides: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
    """Return what the maps of bilateral grids make of whole pictures, unclipped; differentiable once in all three.

    The gradient to the grids is the adjoint of the interpolation, that to the guides the true derivative; where it jumps, it
    is that of the cell in which the value is taken, and it is 0 where the level lies beyond the end levels.

    Parameters
    ----------
    pictures : float32, (N, 3, H, W)
        Finite, of any range.
    guides : float32, (N, H, W)
        0 to 1; what lies outside counts as the nearer end, not a number as 0.
    grids : float32, (N, rows, columns, depth, 12) or (1, rows, columns, depth, 12)
        One per picture, or one for all; entry 4 o + i is what input i (red, green, blue, one) adds to output o.

    Returns
    -------
    float32, (N, 3, H, W)
        The values of `lutkit_runtime.bilateral.slice_grid` and `apply_affine`, bit for bit.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    _check_pictures(pictures)
    _check_shapes(guides, grids, tuple(pictures.shape))
    if not _can_fuse(pictures, guides, grids):
        return slice_and_apply_plainly(pictures, guides, grids)
    return _SliceAndApply.apply(pictures, guides, grids)  # type: ignore[no-any-return]


class _SliceAndApply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: torch.Tensor, guides: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(pictures, guides, grids)
        ctx.threads = torch.get_num_threads()
        given, seen, maps = (tensor.detach().numpy() for tensor in (pictures, guides, grids))
        return torch.from_numpy(slice_and_apply_pictures(given, seen, maps, ctx.threads))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        with_pictures, with_guides, with_grids = ctx.needs_input_grad
        pictures, guides, grids = (tensor.detach().numpy() for tensor in ctx.saved_tensors)
        to_grids, to_guides, to_pictures = slice_gradient(
            pictures,
            guides,
            grids,
            gradient.numpy(),
            threads=ctx.threads,
            with_grids=with_grids,
            with_guides=with_guides,
            with_pictures=with_pictures,
        )
        return (
            torch.from_numpy(to_pictures) if with_pictures else None,
            torch.from_numpy(to_guides) if with_guides else None,
            torch.from_numpy(to_grids) if with_grids else None,
        )


def slice_and_apply_plainly(
    pictures: torch.Tensor, guides: torch.Tensor, grids: torch.Tensor, *, smoothing: float = 0.0
) -> torch.Tensor:
    """Return what `slice_and_apply` does, by torch's own operations: on every device, and in float64 for float64.

    Arguments, result and errors are those of `slice_and_apply`; `smoothing` as in `slice_plainly`. Takes far more time and
    memory on a CPU; on CUDA the gradient to the grids is summed in no fixed order.
    """
    _check_pictures(pictures)
    _check_shapes(guides, grids, tuple(pictures.shape))
    maps = slice_plainly(guides, grids, smoothing=smoothing).unflatten(1, (3, 4))
    red, green, blue = (pictures[:, None, channel] for channel in range(3))
    return (maps[:, :, 0] * red + maps[:, :, 2] * blue) + (maps[:, :, 1] * green + maps[:, :, 3])


def slice_plainly(guides: torch.Tensor, grids: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Return the coefficients of every pixel of whole pictures, by torch's own operations.

    Fractions along rows and columns are rounded to float32 in float64, too: they are part of the definition.

    Parameters
    ----------
    guides : float32 or float64, (N, H, W)
    grids : likewise, (N, rows, columns, depth, 12) or (1, rows, columns, depth, 12)
        As in `slice_and_apply`.
    smoothing : float
        Distances t to a level count as the square root of t^2 + smoothing: 1e-8 in the released code of google/hdrnet, to
        compare with it. Nothing is cut off at the ends then but the levels that are read.

    Returns
    -------
    (N, 12, H, W)
        Without smoothing the values of `lutkit_runtime.bilateral.slice_grid`, for float32 bit for bit.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    _check_shapes(guides, grids)
    count, height, width = guides.shape
    rows, columns, depth = grids.shape[1:4]
    row, along_y = _send_places(rows, height, guides.dtype, guides.device)
    column, along_x = _send_places(columns, width, guides.dtype, guides.device)
    level, along_z = _split(guides * depth - 0.5, depth - 1)
    upper, lower = grids[:, row], grids[:, (row + 1).clamp(max=rows - 1)]
    lines = upper + along_y[:, None, None, None] * (lower - upper)
    lines = lines.flatten(2, 3).expand(count, -1, -1, -1)

    def gather(columns: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        index = columns * depth + levels
        return lines.gather(2, index[..., None].expand(-1, -1, -1, COEFFICIENTS))

    next_column = (column + 1).clamp(max=columns - 1)
    if smoothing:
        x = along_x[:, None]

        def read(levels: torch.Tensor) -> torch.Tensor:
            near = gather(column, levels)
            return near + x * (gather(next_column, levels) - near)

        place = guides * depth
        lower_level = (place.detach() - 0.5).floor()
        total = torch.zeros((), dtype=guides.dtype, device=guides.device)
        for tap in (lower_level, lower_level + 1):
            weight = (1 - ((tap + 0.5 - place).square() + smoothing).sqrt()).clamp(min=0)
            total = total + weight[..., None] * read(tap.long().clamp(0, depth - 1))
        return total.permute(0, 3, 1, 2)
    next_level = (level + 1).clamp(max=depth - 1)
    near, deeper = gather(column, level), gather(column, next_level)
    across = gather(next_column, level) - near
    both = (gather(next_column, next_level) - deeper) - across
    deeper = deeper - near
    x, z = along_x[:, None], along_z[..., None]
    return ((near + x * across) + z * (deeper + x * both)).permute(0, 3, 1, 2)


def evaluate_guides(
    pictures: torch.Tensor, mix: torch.Tensor, curves: torch.Tensor, result: torch.Tensor
) -> torch.Tensor:
    """Return the guides of pictures; differentiable once in the three tables, and in the pictures.

    The gradient through a curve is the true derivative; where it jumps, it is that of the cell in which the value is taken,
    and it is 0 beyond the curve's ends. Pictures that need a gradient, as those that are trained on do not, are left to
    `evaluate_guides_plainly`.

    Parameters
    ----------
    pictures : float32, (N, 3, H, W)
        Samples below 0 or above 1 count as 0 or 1, not a number as 0.
    mix : float32, (4, n)
    curves : float32, (entries, n)
    result : float32, (entries, 1)
        As in `lutkit_runtime.bilateral.GuideTables`; at least 2 entries, and of the result perhaps another number.

    Returns
    -------
    float32, (N, H, W)
        The values of `GuideTables.evaluate`, bit for bit.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    _check_pictures(pictures)
    _check_tables(mix, curves, result)
    if pictures.requires_grad or not _can_fuse(pictures, mix, curves, result):
        return evaluate_guides_plainly(pictures, mix, curves, result)
    return _EvaluateGuides.apply(pictures, mix, curves, result)  # type: ignore[no-any-return]


class _EvaluateGuides(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pictures: torch.Tensor, mix: torch.Tensor, curves: torch.Tensor, result: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(pictures, mix, curves, result)
        ctx.threads = torch.get_num_threads()
        tables = GuideTables(*(tensor.detach().numpy() for tensor in (mix, curves, result)))
        return torch.from_numpy(evaluate_pictures(pictures.numpy(), tables, ctx.threads))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[None, torch.Tensor, torch.Tensor, torch.Tensor]:
        pictures, *tables = (tensor.detach().numpy() for tensor in ctx.saved_tensors)
        found = guide_gradient(pictures, GuideTables(*tables), gradient.numpy(), ctx.threads)
        return None, torch.from_numpy(found.mix), torch.from_numpy(found.curves), torch.from_numpy(found.result)


def evaluate_guides_plainly(
    pictures: torch.Tensor, mix: torch.Tensor, curves: torch.Tensor, result: torch.Tensor
) -> torch.Tensor:
    """Return what `evaluate_guides` does, by torch's own operations: on every device, and in float64 for float64.

    Arguments, result and errors are those of `evaluate_guides`. Takes far more time and memory on a CPU; on CUDA the gradients
    to curves and result are summed in no fixed order.
    """
    _check_pictures(pictures)
    _check_tables(mix, curves, result)
    red, green, blue = _bound(pictures, 1).unbind(1)
    arguments = (
        ((red * to_red + green * to_green) + blue * to_blue) + one for to_red, to_green, to_blue, one in mix.unbind(1)
    )
    values = [_interpolate(argument, curve) for argument, curve in zip(arguments, curves.unbind(1), strict=True)]
    total = values[0]
    for value in values[1:]:
        total = total + value
    return _interpolate(total, result[:, 0])


def _interpolate(argument: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
    cells = len(nodes) - 1
    cell, fraction = _split(argument * cells, cells)
    below, above = (nodes.index_select(0, (cell + k).flatten()).reshape(cell.shape) for k in range(2))
    return below + fraction * (above - below)


def _split(position: torch.Tensor, cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cell and the fraction of positions, as `lutkit_runtime.bilateral.split_position` does."""
    inside = _bound(position, cells)
    cell = inside.detach().long().clamp(max=max(cells - 1, 0))
    return cell, inside - cell


def _bound(values: torch.Tensor, high: int) -> torch.Tensor:
    """Bring values within 0 and `high`, ends included in what passes gradients; not a number counts as 0."""
    return torch.where(values.isnan(), 0, values).clamp(0, high)


@keep_constants
def _send_places(
    nodes: int, length: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    cells, fractions = place_axis(nodes, length, 0, length)
    return send(torch.from_numpy(cells).long(), device), send(torch.from_numpy(fractions).to(dtype), device)


def _can_fuse(*tensors: torch.Tensor) -> bool:
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)


def _check_pictures(pictures: torch.Tensor) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
        raise ValueError(f"pictures of shape {tuple(pictures.shape)} were given; (N, 3, H, W) is needed")


def _check_shapes(guides: torch.Tensor, grids: torch.Tensor, pictures: tuple[int, ...] | None = None) -> None:
    if guides.ndim != 3 or 0 in guides.shape:
        raise ValueError(f"guides of shape {tuple(guides.shape)} were given; (N, H, W) is needed")
    if pictures is not None and guides.shape != (pictures[0], *pictures[2:]):
        raise ValueError(
            f"guides of shape {tuple(guides.shape)} were given for pictures of shape {pictures}; "
            f"{(pictures[0], *pictures[2:])} is needed"
        )
    if grids.ndim != 5 or grids.shape[-1] != COEFFICIENTS or 0 in grids.shape or len(grids) not in {1, len(guides)}:
        raise ValueError(
            f"grids of shape {tuple(grids.shape)} were given for {len(guides)} pictures; (N, rows, columns, depth, "
            f"{COEFFICIENTS}) or (1, rows, columns, depth, {COEFFICIENTS}) is needed"
        )


def _check_tables(mix: torch.Tensor, curves: torch.Tensor, result: torch.Tensor) -> None:
    shapes = tuple(mix.shape), tuple(curves.shape), tuple(result.shape)
    fits = [len(shape) == 2 for shape in shapes]
    if (
        not all(fits)
        or mix.shape[0] != 4
        or mix.shape[1] < 1
        or curves.shape[1] != mix.shape[1]
        or result.shape[1] != 1
    ):
        raise ValueError(
            f"mix, curves and result of shapes {shapes[0]}, {shapes[1]} and {shapes[2]} were given; (4, n), (entries, n) "
            "and (entries, 1) are needed"
        )
    if min(len(curves), len(result)) < 2:
        raise ValueError(
            f"curves of {len(curves)} and a result of {len(result)} entries were given; at least 2 are needed for each"
        )
