"""What PairLIE's networks start from: cleaning starts as what changes nothing. Imports torch.

From random weights, cleaning takes most of the training until it gives back the picture, and until then illumination and
reflectance learn from what is not one. Our own; the architecture is as published.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lutkit.lowlight.networks import ReflectedConvolutions, RetinexNetwork

NODES = (0, 1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 170, 212, 255)
"""8-bit codes between which the inverse of the logistic function is taken as a line."""
BLACK = 6e-4
"""Stands for 0, whose inverse is infinite."""
SCALE = 16.0
"""Of the first layer's results, so that the second one's weights stay small."""
NOISE = 0.1
"""Scale of the random weights that remain, from which the other channels learn."""
DARK = -2.0
"""What illumination starts from before the logistic function: 0.12, as dark pictures have."""
GAIN = 3.0
"""Of the colours that are handed through to the last layers of illumination and reflectance."""
COLOURS = 3


@torch.no_grad()
def start_near_identity(network: RetinexNetwork) -> None:
    """Change drawn weights in place: N gives its input, L and R hand the colours through to their last layer."""
    channels = len(NODES) * COLOURS
    if network.width >= channels:
        _clean_nothing(network.N_net)
    for net, bias in ((network.L_net, DARK), (network.R_net, 0.0)):
        *inner, last = _list_convolutions(net)
        for number, convolution in enumerate(inner):
            for colour in range(COLOURS):
                _connect(convolution, colour, colour, GAIN if number == 0 else 1.0)
        assert last.bias is not None
        last.bias.fill_(bias)


def _clean_nothing(net: ReflectedConvolutions) -> None:
    """Make a network return its input: ramps between the nodes, whose sum is bent as the logistic function bends back."""
    nodes = np.array(NODES) / 255
    bounded = nodes.clip(BLACK, 1 - BLACK)
    bent = np.log(bounded / (1 - bounded))
    count = len(nodes)
    first, second, *inner, last = _list_convolutions(net)
    for convolution in (second, *inner, last):
        convolution.weight *= NOISE
        assert convolution.bias is not None
        convolution.bias *= 0
    for colour in range(COLOURS):
        for number, node in enumerate(nodes):
            _connect(first, colour * count + number, colour, SCALE, bias=-SCALE * float(node))
        for ramp in range(count - 1):
            channel, step = colour * count + ramp, SCALE * float(nodes[ramp + 1] - nodes[ramp])
            second.weight[channel, colour * count + ramp, 1, 1] += 1 / step
            second.weight[channel, colour * count + ramp + 1, 1, 1] -= 1 / step
            for convolution in inner:
                convolution.weight[channel, channel, 1, 1] += 1
            last.weight[colour, channel, 1, 1] += float(bent[ramp + 1] - bent[ramp])
    assert last.bias is not None
    last.bias.fill_(float(bent[0]))


def _connect(convolution: nn.Conv2d, output: int, source: int, weight: float, bias: float = 0.0) -> None:
    """Make a channel the weighed value of another one at the same pixel, plus a bias."""
    assert convolution.bias is not None
    convolution.weight[output] = 0
    convolution.weight[output, source, 1, 1] = weight
    convolution.bias[output] = bias


def _list_convolutions(net: ReflectedConvolutions) -> list[nn.Conv2d]:
    return [each for each in net.modules() if isinstance(each, nn.Conv2d)]
