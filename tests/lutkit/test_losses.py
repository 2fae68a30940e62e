"""Losses: laws and figures worked out by hand."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lutkit.colour.model import start_tables  # noqa: E402
from lutkit.colour.predictor import make_discriminator  # noqa: E402
from lutkit.losses import (  # noqa: E402
    mean_squared_error,
    measure_decreases,
    measure_smoothness,
    penalise_gradient,
)


def smoothness_by_hand(tables):
    """Sum the weighted means of squared steps slab by slab."""
    total = 0.0
    for table in tables:
        for axis in (1, 2, 3):
            steps = np.diff(table, axis=axis) ** 2
            weights = np.ones(steps.shape[axis])
            weights[[0, -1]] = 2
            shape = [1] * 4
            shape[axis] = -1
            total += (steps * weights.reshape(shape)).mean()
    return total


@pytest.mark.parametrize("size", [3, 5, 9])
def test_smoothness_is_the_weighted_mean_of_squared_steps(size):
    tables = np.random.default_rng(size).normal(size=(3, 3, size, size, size))
    assert measure_smoothness(torch.from_numpy(tables)).item() == pytest.approx(smoothness_by_hand(tables), rel=1e-12)


def test_the_identity_does_not_decrease_and_its_mirror_does():
    tables = start_tables(1, 9).double()
    assert measure_decreases(tables).item() == 0
    # each of three axes falls by 1/8 in one of three channels: 3 * (1/8) / 3
    assert measure_decreases(1 - tables).item() == pytest.approx(1 / 8)


def test_one_falling_step_counts_by_its_depth():
    tables = torch.zeros(2, 3, 4, 4, 4, dtype=torch.float64)
    tables[1, 2, 3, 3, 3] = -0.5
    steps = 3 * 4 * 4 * 3
    assert measure_decreases(tables).item() == pytest.approx(3 * 0.5 / steps)


def test_mean_squared_error():
    assert mean_squared_error(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])).item() == 2.5


def test_gradient_penalty_of_a_linear_critic_is_known():
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1, bias=False))
    with torch.no_grad():
        critic[1].weight.fill_(0.5)
    pictures = torch.rand(2, 3, 2, 2)
    norm = 0.5 * 12**0.5
    penalty = penalise_gradient(critic, pictures, 1 - pictures, torch.rand(2, 1, 1, 1))
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)


def test_gradient_penalty_trains_the_critic():
    torch.manual_seed(0)
    critic = make_discriminator()
    real, fake = torch.rand(2, 3, 256, 256), torch.rand(2, 3, 256, 256)
    penalise_gradient(critic, real, fake, torch.rand(2, 1, 1, 1)).backward()
    assert all(value.grad is not None for name, value in critic.named_parameters() if name.endswith("weight"))
