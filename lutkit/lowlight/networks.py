"""The networks of PairLIE: a picture is cleaned, then taken apart into illumination and reflectance. Imports torch.

Fu et al., "Learning a Simple Low-Light Image Enhancer from Paired Low-Light Instances", CVPR 2023, section 3.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import nn

DEPTH = 5
"""Convolutions of each network."""

HALO = 2 * DEPTH
"""Pixels around a pixel that its result depends on: two networks, one after the other, of 3 x 3 windows."""


class Retinex(NamedTuple):
    """What a picture is taken apart into, each (N, C, H, W) of 0 to 1.

    Parameters
    ----------
    cleaned : (N, 3, H, W)
        The picture without what no reflectance explains.
    illumination : (N, 1, H, W)
    reflectance : (N, 3, H, W)
    """

    cleaned: torch.Tensor
    illumination: torch.Tensor
    reflectance: torch.Tensor


class ReflectedConvolutions(nn.Module):
    """Five convolutions of 3 x 3 over a picture that is mirrored at its border, and a logistic function.

    Parameters
    ----------
    name : str
        Of the sequence of layers, as released weights call it.
    width : int
        Channels between the convolutions; published: 64.
    outputs : int
    """

    def __init__(self, name: str, width: int, outputs: int) -> None:
        super().__init__()
        channels = [3, *[width] * (DEPTH - 1), outputs]
        layers: list[nn.Module] = []
        for taken, given in itertools.pairwise(channels):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(taken, given, 3), nn.ReLU()]
        layers[-1] = nn.Sigmoid()
        self._name = name
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return (N, outputs, H, W), 0 to 1, for pictures (N, 3, H, W) of at least 2 x 2 pixels."""
        return self.get_submodule(self._name)(picture)


class RetinexNetwork(nn.Module):
    """N, L and R: cleaning, illumination and reflectance; 341 767 parameters as published.

    Parameters
    ----------
    width : int
        Channels between convolutions; published: 64.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.L_net = ReflectedConvolutions("L_net", width, 1)
        self.R_net = ReflectedConvolutions("R_net", width, 3)
        self.N_net = ReflectedConvolutions("N_net", width, 3)

    def decompose(self, picture: torch.Tensor) -> Retinex:
        """Take pictures (N, 3, H, W) of 0 to 1 apart."""
        cleaned = self.N_net(picture)
        return Retinex(cleaned, self.L_net(cleaned), self.R_net(cleaned))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return illumination and reflectance as planes (N, 4, H, W): what the exact program's network gives."""
        _, illumination, reflectance = self.decompose(picture)
        return torch.cat((illumination, reflectance), dim=1)
