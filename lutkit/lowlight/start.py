"""What PairLIE's networks start from: cleaning changes nothing, reflectance is local contrast. Imports torch.

From random weights, cleaning takes most of the training until it gives back the picture, and until then illumination and
reflectance learn from what is not one. Our own; the architecture is as published.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
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
BRIGHT = 0.5
"""What reflectance is before the logistic function where a pixel is as its surroundings: 0.62."""
SURROUNDINGS = 0.8
"""How much of the brightness of its surroundings is taken from a pixel's, both bent, to start reflectance."""
GAIN = 3.0
"""Of the colours that are handed through to the last layer of illumination."""
COLOURS = 3
WINDOW = 9
"""Pixels of the last layer's window."""


@torch.no_grad()
def start_near_identity(network: RetinexNetwork) -> None:
    """Change drawn weights in place; networks that are too narrow for it keep them, but for colours handed through."""
    wide = network.width >= len(NODES) * COLOURS
    if wide:
        _clean_nothing(network.N_net)
        _show_contrast(network.R_net)
    for net, bias in ((network.L_net, DARK), *([] if wide else [(network.R_net, 0.0)])):
        *inner, last = _list_convolutions(net)
        for number, convolution in enumerate(inner):
            for colour in range(COLOURS):
                _connect(convolution, colour, colour, GAIN if number == 0 else 1.0)
        _fill_bias(last, bias)


def _clean_nothing(net: ReflectedConvolutions) -> None:
    """Make a network return its input."""
    bent, last = _split_into_ramps(net)
    last.weight.zero_()
    for colour in range(COLOURS):
        for ramp, rise in enumerate(np.diff(bent)):
            last.weight[colour, colour * (len(NODES) - 1) + ramp, 1, 1] += float(rise)
    _fill_bias(last, float(bent[0]))


def _show_contrast(net: ReflectedConvolutions) -> None:
    """Make a network return how bright a colour is against its surroundings, roughly as a quotient."""
    bent, last = _split_into_ramps(net)
    for ramp, rise in enumerate(np.diff(bent)):
        for colour in range(COLOURS):
            channel = colour * (len(NODES) - 1) + ramp
            last.weight[:, channel] -= SURROUNDINGS * float(rise) / (COLOURS * WINDOW)
            last.weight[colour, channel, 1, 1] += float(rise)
    _fill_bias(last, BRIGHT)


def _split_into_ramps(net: ReflectedConvolutions) -> tuple[NDArray[np.float64], nn.Conv2d]:
    """Make each colour ramps of 0 to 1 between neighbouring nodes, handed through to the last layer.

    Returns the nodes bent as the logistic function bends back, and that layer.
    """
    nodes = np.array(NODES) / 255
    bounded = nodes.clip(BLACK, 1 - BLACK)
    count = len(nodes)
    first, second, *inner, last = _list_convolutions(net)
    for convolution in (second, *inner, last):
        convolution.weight *= NOISE
        _fill_bias(convolution, 0.0)
    for convolution in (second, *inner):
        # what is handed through is not mixed with the random rest: the first layer's results are large
        convolution.weight[: COLOURS * (count - 1)] = 0
    for colour in range(COLOURS):
        for number, node in enumerate(nodes):
            _connect(first, colour * count + number, colour, SCALE, bias=-SCALE * float(node))
        for ramp, length in enumerate(np.diff(nodes)):
            channel, step = colour * (count - 1) + ramp, SCALE * float(length)
            second.weight[channel, colour * count + ramp, 1, 1] += 1 / step
            second.weight[channel, colour * count + ramp + 1, 1, 1] -= 1 / step
            for convolution in inner:
                convolution.weight[channel, channel, 1, 1] += 1
    return np.log(bounded / (1 - bounded)), last


def _fill_bias(convolution: nn.Conv2d, value: float) -> None:
    assert convolution.bias is not None
    convolution.bias.fill_(value)


def _connect(convolution: nn.Conv2d, output: int, source: int, weight: float, bias: float = 0.0) -> None:
    """Make a channel the weighed value of another one at the same pixel, plus a bias."""
    assert convolution.bias is not None
    convolution.weight[output] = 0
    convolution.weight[output, source, 1, 1] = weight
    convolution.bias[output] = bias


def _list_convolutions(net: ReflectedConvolutions) -> list[nn.Conv2d]:
    return [each for each in net.modules() if isinstance(each, nn.Conv2d)]
