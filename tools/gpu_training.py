"""Time training steps on a device, for `check_gpu`. Imports torch and lutkit's training side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from benchmark_training import CROP, make_batch, make_smooth_tables

from lutkit.families import mulut
from lutkit.precision import has_fast_bfloat16
from lutkit.trainable import NetworkModel, TableModel, Trainable


@dataclass(frozen=True)
class TrainingTime:
    """How long a step takes.

    Parameters
    ----------
    case : str
    batch : int
        Crops of 48 x 48.
    milliseconds : float
    loss : float
        After the last step: the CPU's must be near.
    """

    case: str
    batch: int
    milliseconds: float
    loss: float


def time_training(device: torch.device, batch: int, steps: int) -> list[TrainingTime]:
    """Return the times of a step of networks and of one of tables, MuLUT-SDY-X2 at scale 4, on a device."""
    low = has_fast_bfloat16(device)
    networks = NetworkModel(mulut, mulut.defaults, low_precision=low)
    tables = TableModel(mulut.skeleton(mulut.defaults), make_smooth_tables())
    return [
        _time_steps(f"networks, {'bfloat16' if low else 'float32'}", networks, 1e-3, device, batch, steps),
        _time_steps("tables", tables, 0.1, device, batch, steps),
    ]


def _time_steps(case: str, model: Trainable, rate: float, device: torch.device, batch: int, steps: int) -> TrainingTime:
    model.module.to(device)
    optimiser = torch.optim.Adam(model.module.parameters(), lr=rate, fused=True)
    repeats = -(-batch // make_batch()[0].shape[0])
    planes, targets = (part.repeat(repeats, 1, 1)[:batch].to(device) for part in make_batch())

    def step() -> torch.Tensor:
        loss = ((model.run(planes, None) - targets) / 255).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        model.confine()
        return loss.detach()

    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    loss = step()
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        loss = step()
    wait()
    taken = (time.perf_counter() - start) / steps
    return TrainingTime(f"{case}, crops of {CROP} x {CROP}", batch, round(taken * 1000, 3), round(loss.item(), 6))
