"""What S3Net starts from: the picture in small, handed through by the first stage. Imports torch.

The first stage's features become pixels by shuffling alone, 16 channels to a block of 4 x 4. Drawn at random,
neighbouring pixels show 16 unrelated features, each a mixture of the picture, of the guide and of both depths, and most of
a short training passes until there is a picture again. So the channels of a block start alike (Aitken et al.,
"Checkerboard artifact free sub-pixel convolution", 2017, section 3), and six of them show the picture's colours. Our own;
the architecture is as published, and weights that are loaded afterwards take the place of these.
"""

from __future__ import annotations

import torch
from torch import nn

from lutkit.relighting.networks import WINDOWS, RelightingNetwork
from lutkit.relighting.res2net import Res2NetBlock

BLOCK = 16
"""Pixels of a block: two shuffles by 2."""
COLOURS = 3
SHOWN = 2 * COLOURS
"""Channels that hand colours through, and their negatives: what takes the largest of neighbours leaves both ends."""
LIFT = 2.0
"""Added to what is normalised, so that little of it is cut off at 0."""
BRANCH = 0.2
"""Scale of what the blocks of the first stage add to what they are given."""
NOISE = 0.3
"""Scale of the random weights that remain where colours become the result."""
GRAY, CONTRAST = 0.42, 0.2
"""Mean and standard deviation of the first results, as pictures have them."""


@torch.no_grad()
def start_with_picture(network: RelightingNetwork) -> None:
    """Change drawn weights in place; networks that are too narrow for it, of a width of 16, keep them."""
    encoder = network.encoder
    if encoder.layer1[0].conv3.out_channels < BLOCK * SHOWN:  # type: ignore[union-attr]
        return
    first, first_norm, _, second, second_norm, _, third = encoder.conv1
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d) and isinstance(third, nn.Conv2d)
    first.weight[:SHOWN] = 0
    for channel in range(SHOWN):
        first.weight[channel, channel % COLOURS] = (1 if channel < COLOURS else -1) / 9
    for convolution in (second, third):
        convolution.weight[:SHOWN] = 0
        for channel in range(SHOWN):
            convolution.weight[channel, channel, 1, 1] = 1
    for norm in (first_norm, second_norm, encoder.bn1):
        assert isinstance(norm, nn.BatchNorm2d)
        norm.bias[:SHOWN] = LIFT
    for block in encoder.layer1:
        assert isinstance(block, Res2NetBlock)
        block.conv3.weight.copy_(_make_alike(block.conv3.weight))
        block.bn3.weight.fill_(BRANCH)
        if block.downsample is not None:
            _, convolution, norm = block.downsample
            assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            convolution.weight.copy_(_make_alike(convolution.weight))
            for channel in range(SHOWN):
                rows = slice(BLOCK * channel, BLOCK * (channel + 1))
                convolution.weight[rows] = 0
                convolution.weight[rows, channel] = 1
                norm.bias[rows] = LIFT
    _show_colours(network)


def _show_colours(network: RelightingNetwork) -> None:
    """Make the result the colours that the first stage hands through, gray in the middle."""
    enhancer, tail = network.enhancer, network.tail[1]
    assert isinstance(tail, nn.Conv2d)
    taken = tail.in_channels - network.encoder.layer1[0].conv3.out_channels // BLOCK  # type: ignore[union-attr]
    for convolution in (enhancer.first, enhancer.second, enhancer.last, tail):
        assert convolution.bias is not None
        convolution.weight *= NOISE
        convolution.bias *= NOISE
    for colour in range(COLOURS):
        for convolution in (enhancer.first, enhancer.second, enhancer.last, tail):
            convolution.weight[colour] *= 0
        # what was lifted cancels out; one keeps the sum above 0, where the next layer is a line
        enhancer.first.weight[colour, taken + colour, 1, 1] = 0.25
        enhancer.first.weight[colour, taken + COLOURS + colour, 1, 1] = -0.25
        enhancer.second.weight[colour, colour, 1, 1] = 1
        enhancer.last.weight[colour, len(WINDOWS) + colour, 1, 1] = 0.5
        tail.weight[colour, colour, 3, 3] = 4 * CONTRAST
        for convolution, bias in ((enhancer.first, 1.0), (enhancer.second, 0.0), (enhancer.last, -0.5), (tail, GRAY)):
            assert convolution.bias is not None
            convolution.bias[colour] = bias


def _make_alike(weight: torch.Tensor) -> torch.Tensor:
    """Return weights in which all 16 channels of a block are the first one."""
    return weight[::BLOCK].repeat_interleave(BLOCK, dim=0)
