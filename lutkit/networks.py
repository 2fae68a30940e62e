"""Networks of a few samples that fill the slots of spatial-LUT programs. Imports torch only."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

ROWS_IN_CACHE = 4096


class DenseBlock(nn.Module):
    """Densely connected linear layers with a final tanh (Li et al., ECCV 2022, section 4.1).

    Every hidden layer sees the concatenation of all earlier features: inputs of width, 2 width, 3 width, 4 width.

    Parameters
    ----------
    samples, outputs : int
        Inputs (codes / 255) and outputs (in [-1, 1]).
    width : int
        Features that each layer adds; 64 as published.
    """

    def __init__(self, samples: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(samples, width)
        self.hidden = nn.ModuleList(nn.Linear(width * depth, width) for depth in range(1, 5))
        self.leave = nn.Linear(width * 5, outputs)
        initialise(self)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Map samples (M, samples) in [0, 1] to outputs (M, outputs) in [-1, 1]."""
        device = samples.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else samples.dtype
        parameters = [
            parameter.to(kind) for layer in (self.enter, *self.hidden) for parameter in (layer.weight, layer.bias)
        ]
        features: torch.Tensor = _DenseFeatures.apply(samples.to(kind), *parameters)  # type: ignore[assignment]
        return torch.tanh(self.leave(features))


class _DenseFeatures(torch.autograd.Function):
    """Densely connected layers with ReLU: samples (M, s), then weight and bias of each layer, to features (M, n width).

    The same as ``features = cat(features, relu(layer(features)))`` for every layer, without the copies: all layers
    write into one array and read from it, some rows after the other, so that these stay in the processor's cache.
    """

    @staticmethod
    def forward(ctx: Any, samples: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        weights, biases = parameters[0::2], parameters[1::2]
        width = len(biases[0])
        features = samples.new_empty(len(samples), width * len(weights))
        for rows in _split_rows(samples):
            read = samples[rows]
            for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                new = features[rows, depth * width : (depth + 1) * width]
                torch.clamp_min(torch.addmm(bias, read, weight.t()), 0, out=new)
                read = features[rows, : (depth + 1) * width]
        ctx.save_for_backward(samples, features, *weights)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        samples, features, *weights = ctx.saved_tensors
        width = len(weights[0])
        # Sums over rows are kept at least as exact as float32, whatever the layers compute in.
        exact = torch.promote_types(samples.dtype, torch.float32)
        to_weights = [torch.zeros_like(weight, dtype=exact) for weight in weights]
        to_biases = [weight.new_zeros(width, dtype=exact) for weight in weights]
        to_samples = torch.empty_like(samples) if ctx.needs_input_grad[0] else None
        for rows in _split_rows(samples):
            slopes = gradients[0][rows].clone()
            for depth in reversed(range(len(weights))):
                made = slice(depth * width, (depth + 1) * width)
                slope = torch.ops.aten.threshold_backward(slopes[:, made], features[rows, made], 0)
                read = features[rows, : depth * width] if depth else samples[rows]
                to_weights[depth] += slope.t() @ read
                to_biases[depth] += slope.sum(dim=0)
                if depth:
                    slopes[:, : depth * width].addmm_(slope, weights[depth])
                elif to_samples is not None:
                    to_samples[rows] = slope @ weights[0]
        to_parameters = [
            gradient.to(samples.dtype) for pair in zip(to_weights, to_biases, strict=True) for gradient in pair
        ]
        return (to_samples, *to_parameters)


def _split_rows(samples: torch.Tensor) -> list[slice]:
    """Return which rows are worked on together: few on a CPU for its cache, all on a GPU for its many processors."""
    together = ROWS_IN_CACHE if samples.device.type == "cpu" else max(1, len(samples))
    return [slice(start, start + together) for start in range(0, len(samples), together)]


class PlainBlock(nn.Module):
    """A stack of linear layers without a final activation (Jo and Kim, CVPR 2021, section 3.1)."""

    def __init__(self, samples: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(samples, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.leave = nn.Linear(width, outputs)
        initialise(self)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Map samples (M, samples) in [0, 1] to outputs (M, outputs), clamped to [-1, 1] by the quantiser."""
        features = torch.relu(self.enter(samples))
        for layer in self.hidden:
            features = torch.relu(layer(features))
        return self.leave(features)


def initialise(module: nn.Module) -> None:
    """Draw every linear weight from Kaiming's normal distribution and set biases to zero, as both papers' code does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)


class WindowFunctions(nn.Module):
    """A function of one sample for each position of a window (liuguandu/RC-LUT; Liu et al., ICCV 2023, section 3.2).

    Each is a linear layer of one input, an activation, and a linear layer of one output, beside a straight line from
    input to output. It starts near the sample of one position, so that what follows first sees the picture itself.

    Parameters
    ----------
    positions : int
    width : int
        Hidden features; 64 as published.
    activation : bool
        ReLU between the layers. Without it, as published, every function is a straight line.
    anchor : int
        Position that the networks start near.
    """

    START_SLOPE = 1.2
    """Of the anchor: a picture from black to white covers codes 21 to 233."""

    def __init__(self, positions: int, width: int = 64, *, activation: bool = True, anchor: int = 0) -> None:
        super().__init__()
        self._activation = activation
        self.enter_weight = nn.Parameter(torch.randn(positions, width))
        self.enter_bias = nn.Parameter(-self.enter_weight.detach() * torch.rand(positions, width))
        self.leave_weight = nn.Parameter(torch.randn(positions, width) * (0.1 / width**0.5))
        self.leave_bias = nn.Parameter(torch.zeros(positions))
        line = torch.zeros(positions)
        # of a mean over all positions
        line[anchor] = 2 * self.START_SLOPE * positions
        self.line = nn.Parameter(line)
        with torch.no_grad():
            self.leave_bias[anchor] = -self.START_SLOPE * positions

    def forward(self) -> torch.Tensor:
        """Return the functions at all codes / 255, (positions, 256), whose mean over the window is the argument of tanh."""
        samples = torch.arange(256, device=self.line.device) / 255
        hidden = self.enter_weight[:, None, :] * samples[None, :, None] + self.enter_bias[:, None, :]
        hidden = torch.relu(hidden) if self._activation else hidden
        values = (hidden * self.leave_weight[:, None, :]).sum(dim=-1) + self.leave_bias[:, None]
        return values + self.line[:, None] * samples


class AxisFunctions(nn.Module):
    """Functions of one small integer for several taps, each with several outputs.

    Parameters
    ----------
    taps, outputs : int
    low, size : int
        The integers are low to low + size; the last one is beyond the values, for interpolation between nodes.
    width : int
        Hidden features of each of the two hidden layers.
    """

    def __init__(self, taps: int, outputs: int, low: int, size: int, width: int = 16) -> None:
        super().__init__()
        centre, half = low + size / 2, size / 2
        places = (torch.arange(low, low + size + 1, dtype=torch.float32) - centre) / half
        self.register_buffer("places", places, persistent=False)
        self.enter_weight = nn.Parameter(torch.randn(taps, 1, width))
        self.enter_bias = nn.Parameter(-self.enter_weight.detach() * torch.rand(taps, 1, width).mul(2).sub(1))
        self.hidden_weight = nn.Parameter(torch.randn(taps, width, width) * (2 / width) ** 0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(taps, 1, width))
        self.leave_weight = nn.Parameter(torch.randn(taps, width, outputs) * (0.1 / width**0.5))
        self.leave_bias = nn.Parameter(torch.zeros(taps, 1, outputs))
        self.line = nn.Parameter(torch.randn(taps, 1, outputs) * 0.1)

    def forward(self) -> torch.Tensor:
        """Return the functions at all integers, (taps, size + 1, outputs), to be clamped to [-1, 1] by the quantiser."""
        places: torch.Tensor = self.places  # type: ignore[assignment]
        features = torch.relu(self.enter_weight * places[None, :, None] + self.enter_bias)
        features = torch.relu(torch.baddbmm(self.hidden_bias, features, self.hidden_weight))
        return torch.baddbmm(self.leave_bias, features, self.leave_weight) + self.line * places[None, :, None]
