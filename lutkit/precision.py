"""In what numbers networks are computed while they are trained. Imports torch and the configuration; llvmlite where a CPU is asked.

Only matrix products and convolutions of networks are concerned. Losses, gradients of tables and steps of Adam are
float32; tables are integers; transfer and every validation compute networks in float32 whatever training did.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from lutkit.configuration import Precision
from lutkit_runtime.errors import DataError


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes bfloat16 matrix products in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    return bool(features.get("avx512bf16") or features.get("amx-bf16"))


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise DataError for tf32 on a device that has none."""
    if precision == "tf32" and device.type != "cuda":
        raise DataError("precision tf32 is for NVIDIA GPUs: choose fp32 or bf16 for the CPU, or leave --precision out")


def takes_bfloat16(precision: Precision, device: torch.device, *, bears: bool) -> bool:
    """Return whether networks are computed in bfloat16.

    Parameters
    ----------
    precision : Precision
    device : torch.device
    bears : bool
        Whether a network of this kind may be computed so where `precision` leaves it open.

    Raises
    ------
    DataError
        As `check_precision`.
    """
    check_precision(precision, device)
    return precision == "bf16" or (precision == "auto" and bears and has_fast_bfloat16(device))


@contextmanager
def multiply_in(precision: Precision) -> Generator[None]:
    """Let GPUs multiply float32 numbers as they are, or as tf32 where that is asked for.

    torch rounds the factors of convolutions where nobody says otherwise. Changes settings of the process for a while.
    """
    matrices: Any = torch.backends.cuda.matmul
    convolutions: Any = torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    matrices.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before
