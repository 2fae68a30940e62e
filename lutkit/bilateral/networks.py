"""The trainable parts of HDRNet: what predicts a grid from a thumbnail, and what guides the slice. Imports torch.

Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement", SIGGRAPH 2017: sections 3.1 (coefficients) and
3.4.1 (guide), with the sizes, paddings and first values of the released google/hdrnet. A guide is trained through the
very tables that `lutkit apply` reads (`lutkit_runtime.bilateral.GuideTables`), so nothing is lost when it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import relu

from lutkit.families.hdrnet import TERMS_PER_WIDTH
from lutkit_runtime.bilateral import COEFFICIENTS
from lutkit_runtime.errors import DataError

SIGMOID_REACH = 8.0
"""The sigmoid is a table over -8 to 8. Beyond, it is within 0.0004 of its end, where a grid has no more levels."""

SMALLEST_REACH = 1e-3
"""A curve's argument is divided by how far it reaches, but by no less than this: one that reaches nowhere stays finite."""

Tables = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class CoefficientNetwork(nn.Module):
    """Everything before the last layer of what predicts grids: (N, channels, side, side) to (N, terms, spatial, spatial).

    Layers of stride 2 down to `spatial`; a path for places (two convolutions) and one for the whole picture (two more of
    stride 2, three fully connected layers), whose sum is cut off at 0. The last layer, which is linear, is no part of
    it: see `start_columns`.

    Parameters
    ----------
    side : int
        Of the thumbnails: `spatial` times a power of two; published: 256.
    spatial : int
        Rows and columns of the grid, a multiple of 4; published: 16.
    width : int
        Channels of the first layer, doubled by each one after it; published: as many as the grid has levels, 8.
    batch_norm : bool
        After each layer but the first and the last of both paths; published: off. Training then needs batches of at
        least two thumbnails.
    channels : int
        Of the thumbnails: 3, and those of what is seen beside the picture.

    Attributes
    ----------
    terms : int
        8 x width.

    Raises
    ------
    DataError
        Where the sizes do not fit each other.
    """

    def __init__(
        self, side: int = 256, spatial: int = 16, *, width: int = 8, batch_norm: bool = False, channels: int = 3
    ) -> None:
        super().__init__()
        halvings = (max(side // spatial, 1)).bit_length() - 1 if spatial > 0 else 0
        if spatial < 4 or spatial % 4 or halvings < 1 or side != spatial << halvings:
            raise DataError(
                f"a grid of {spatial} x {spatial} places cannot be predicted from thumbnails of {side} pixels: take a "
                "multiple of 4 places and 2, 4, 8, 16, ... times as many pixels"
            )
        self.terms = terms = TERMS_PER_WIDTH * width
        features = width << halvings - 1
        splat: list[nn.Module] = _halve(channels, width)
        for number in range(1, halvings):
            splat += _halve(width << number - 1, width << number, batch_norm)
        self.splat = nn.Sequential(*splat)
        self.whole = nn.Sequential(
            *_halve(features, terms, batch_norm),
            *_halve(terms, terms, batch_norm),
            nn.Flatten(),
            *_connect(terms * (spatial // 4) ** 2, 32 * width, batch_norm),
            *_connect(32 * width, 16 * width, batch_norm),
            nn.Linear(16 * width, terms),
        )
        self.local = nn.Sequential(
            nn.Conv2d(features, terms, 3, padding=1, bias=not batch_norm),
            *([nn.BatchNorm2d(terms)] if batch_norm else []),
            nn.ReLU(),
            nn.Conv2d(terms, terms, 3, padding=1, bias=False),
        )
        _initialise(self)

    def forward(self, thumbnails: torch.Tensor) -> torch.Tensor:
        """Return the weights (N, terms, spatial, spatial) for thumbnails (N, channels, side, side) float32, 0 to 1."""
        features = self.splat(thumbnails)
        whole = self.whole(features)
        return relu(self.local(features) + whole.reshape(len(whole), -1, 1, 1))


def start_columns(terms: int, levels: int, *, identity: bool = False, spread: float = 1.0) -> torch.Tensor:
    """Return the last layer of what predicts grids to start from, as the table that `GridFusion` reads.

    Published: weights of variance 2 / terms and no constant, so that training starts at black with noise.

    Parameters
    ----------
    terms, levels : int
    identity : bool
        Start at the constant column that leaves every colour as it is: our own, learns faster.
    spread : float
        Scale of the weights; published: 1.

    Returns
    -------
    float32, (terms + 1, 12 levels)
        The constant column first; entry 12 z + 4 o + i is what input i adds to output o at level z.
    """
    columns = torch.zeros(terms + 1, levels * COEFFICIENTS)
    nn.init.normal_(columns[1:], 0.0, spread * (2 / terms) ** 0.5)
    if identity:
        columns[0] = torch.eye(3, 4).flatten().repeat(levels)
    return columns


class CurveGuide(nn.Module):
    """The published guide: colours through a matrix, a curve for each, their weighted sum cut off at 0 and 1.

    Parameters
    ----------
    knots : int
        Bends of a curve, each with a place (`shifts`) and what it adds to the slope (`slopes`); published: 16.
    entries : int
        Nodes of the tables that the curves become. A bend between two nodes is rounded off by at most a quarter of the
        distance of the nodes, times what it adds to the slope.
    """

    def __init__(self, knots: int = 16, entries: int = 257) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(3) + 1e-4 * torch.randn(1))
        self.offset = nn.Parameter(torch.zeros(3))
        self.slopes = nn.Parameter(torch.eye(1, knots).T.repeat(1, 3))
        self.shifts = nn.Parameter((torch.arange(knots) / knots)[:, None].repeat(1, 3))
        self.weights = nn.Parameter(torch.full((3,), 1 / 3))
        self.bias = nn.Parameter(torch.zeros(1))
        self._entries = entries

    def tables(self, pictures: Sequence[torch.Tensor] | None = None) -> Tables:
        """Return mix (4, 3), curves (entries, 3) and result (2, 1), which carry gradients; pictures are not looked at.

        Each curve covers what its argument can be for colours of 0 to 1, so no argument is ever cut off.
        """
        lowest = self.matrix.clamp(max=0).sum(1)
        reach = (self.matrix.clamp(min=0).sum(1) - lowest).clamp(min=SMALLEST_REACH)
        mix = torch.cat((self.matrix.T, -lowest[None])) / reach
        places = torch.linspace(0, 1, self._entries, dtype=mix.dtype, device=mix.device)[:, None]
        arguments = self.offset + lowest + places * reach
        values = (self.slopes * relu(arguments[:, None] - self.shifts)).sum(1)
        result = torch.tensor([[0.0], [1.0]], dtype=mix.dtype, device=mix.device)
        return mix, _lift(self.weights * values, self.bias), result


class PointwiseGuide(nn.Module):
    """The other published guide: a network of one hidden layer, batch normalisation and ReLU, then a sigmoid.

    Statistics of the hidden layer follow from mean and covariance of the colours, as the layer is linear: the same as
    normalising every pixel, without its hidden values.

    Parameters
    ----------
    hidden : int
        Published: 16.
    entries : int
        Nodes of the table that the sigmoid becomes.
    """

    def __init__(self, hidden: int = 16, entries: int = 1025) -> None:
        super().__init__()
        self._entries = entries
        self.first = nn.Linear(3, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.last = nn.Linear(hidden, 1)
        _initialise(self)

    def tables(self, pictures: Sequence[torch.Tensor] | None = None) -> Tables:
        """Return mix (4, hidden), curves (2, hidden) and result (entries, 1), which carry gradients.

        Parameters
        ----------
        pictures : sequence of float32 (3, H, W), 0 to 1
            The batch, needed while training: all pixels together are normalised, and the running statistics follow them
            as those of torch's layers do. In evaluation the running ones count and pictures are not looked at.

        Raises
        ------
        ValueError
            Where it trains and is given no pictures.
        """
        if self.training:
            if not pictures:
                raise ValueError("a guide with batch normalisation needs the pictures that it trains on")
            mean, variance = self._observe(pictures)
        else:
            mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None
        scale = self.norm.weight / (variance + self.norm.eps).sqrt()
        colours = self.first.weight * scale[:, None]
        offset = self.norm.bias - mean * scale
        reach = (colours.clamp(min=0).sum(1) + offset).clamp(min=SMALLEST_REACH)
        mix = torch.cat((colours.T, offset[None])) / reach
        # the sum from -8 to 8 becomes 0 to 1; a curve is a ReLU because arguments below 0 count as 0
        ends = self.last.weight[0] * reach / (2 * SIGMOID_REACH)
        start = (self.last.bias + SIGMOID_REACH) / (2 * SIGMOID_REACH)
        sums = torch.linspace(-SIGMOID_REACH, SIGMOID_REACH, self._entries, dtype=mix.dtype, device=mix.device)
        return mix, _lift(torch.stack((torch.zeros_like(ends), ends)), start), torch.sigmoid(sums)[:, None]

    def _observe(self, pictures: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance of the hidden layer over all pixels; the running ones follow them."""
        count, mean, covariance = measure_colours(pictures)
        weight = self.first.weight
        # written out, because a product of matrices would be rounded to bfloat16 in a training of low precision
        average = (weight * mean.to(weight.dtype)).sum(1)
        variance = (weight[:, :, None] * covariance.to(weight.dtype) * weight[:, None, :]).sum((1, 2))
        norm = self.norm
        assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
        assert norm.num_batches_tracked is not None
        with torch.no_grad():
            norm.running_mean.lerp_(average.detach(), norm.momentum)
            norm.running_var.lerp_(variance.detach() * (count / max(count - 1, 1)), norm.momentum)
            norm.num_batches_tracked += 1
        return average, variance


@torch.no_grad()
def measure_colours(pictures: Sequence[torch.Tensor]) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Return number, mean (3,) and covariance (3, 3), divided by the number, of the pixels of pictures (3, H, W).

    Sums over a picture are taken in its own precision around its own mean, those over pictures in float64.
    """
    count = sum(picture[0].numel() for picture in pictures)
    means: list[torch.Tensor] = []
    spreads: list[torch.Tensor] = []
    shares = [picture[0].numel() / count for picture in pictures]
    with torch.autocast(pictures[0].device.type, enabled=False):
        for picture in pictures:
            colours = picture.flatten(1)
            mean = colours.mean(1)
            around = colours - mean[:, None]
            means.append(mean.double())
            spreads.append((around @ around.T).double() / around.shape[1])
        mean = sum(share * each for share, each in zip(shares, means, strict=True))
        covariance = sum(
            share * (spread + torch.outer(each - mean, each - mean))
            for share, spread, each in zip(shares, spreads, means, strict=True)
        )
    assert isinstance(mean, torch.Tensor) and isinstance(covariance, torch.Tensor)
    return count, mean, covariance


def _lift(curves: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Return curves of which the first is higher by an amount (1,): so is their sum."""
    return torch.cat((curves[:, :1] + amount, curves[:, 1:]), dim=1)


def _halve(channels: int, outputs: int, batch_norm: bool = False) -> list[nn.Module]:
    """Return a layer of stride 2, padded at the bottom and the right alone, as TensorFlow pads even sizes."""
    return [
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(channels, outputs, 3, stride=2, bias=not batch_norm),
        *([nn.BatchNorm2d(outputs)] if batch_norm else []),
        nn.ReLU(),
    ]


def _connect(inputs: int, outputs: int, batch_norm: bool) -> list[nn.Module]:
    norms: list[nn.Module] = [nn.BatchNorm1d(outputs)] if batch_norm else []
    return [nn.Linear(inputs, outputs, bias=not batch_norm), *norms, nn.ReLU()]


def _initialise(network: nn.Module) -> None:
    """Draw weights of variance 2 / inputs (He et al., 2015), without constants: the released code's choice."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
