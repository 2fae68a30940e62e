"""Losses that families share. Imports torch."""

from __future__ import annotations

import torch


def mean_squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean of the squared differences of two tensors of one shape."""
    return (output - target).square().mean()


def measure_smoothness(tables: torch.Tensor) -> torch.Tensor:
    """Return the total variation of basis tables, summed over the tables (Zeng et al., TPAMI 2020, eq. 7).

    For each axis, the mean over all steps of the squared step; the first and the last step of an axis count twice, as
    in the released code.

    Parameters
    ----------
    tables : float, (K, 3, n, n, n)
    """
    total = tables.new_zeros(())
    for axis in (2, 3, 4):
        steps = tables.diff(dim=axis).square()
        ends = steps.narrow(axis, 0, 1).sum() + steps.narrow(axis, steps.shape[axis] - 1, 1).sum()
        total = total + (steps.sum() + ends) / steps[0].numel()
    return total


def measure_decreases(tables: torch.Tensor) -> torch.Tensor:
    """Return how far basis tables decrease along their axes, summed over the tables (Zeng et al., eq. 8).

    For each axis, the mean over all steps of what a step falls; 0 for monotone tables.
    """
    total = tables.new_zeros(())
    for axis in (2, 3, 4):
        falls = (-tables.diff(dim=axis)).relu()
        total = total + falls.sum() / falls[0].numel()
    return total


def penalise_gradient(
    critic: torch.nn.Module, real: torch.Tensor, fake: torch.Tensor, points: torch.Tensor
) -> torch.Tensor:
    """Return the gradient penalty of WGAN-GP at random points between pictures (Gulrajani et al., NeurIPS 2017, eq. 3).

    Parameters
    ----------
    critic : module
        (N, C, H, W) to (N, 1).
    real, fake : float, (N, C, H, W)
    points : float, (N, 1, 1, 1)
        Where on the way from the fake picture (0) to the real one (1), drawn evenly.
    """
    between = (points * real + (1 - points) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
