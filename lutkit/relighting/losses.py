"""What relighting lowers: differences of pixels, of structure in wavelet bands, and of what VGG19 sees. Imports torch.

Yang et al., "S3Net: A Single Stream Structure for Depth Guided Image Relighting", CVPR workshops 2021, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lutkit.relighting.vgg import PerceptualLoss
from lutkit.relighting.wavelet import wavelet_loss

EPSILON = 1e-3
"""Where the Charbonnier loss turns from square to linear: what is added to squares is its square, 1e-6.

The formula adds a squared epsilon, and the constant that goes with it is 1e-6. Read as the epsilon itself, the loss is the
mean absolute difference to six digits; the code that goes around adds 1e-6 to the squares, which is an epsilon of 1e-3.
"""


@dataclass(frozen=True)
class LossWeights:
    """How much each part of the loss counts.

    Parameters
    ----------
    charbonnier, wavelet, perceptual : float
        Published: 1, 1.1, 0.1.
    """

    charbonnier: float = 1.0
    wavelet: float = 1.1
    perceptual: float = 0.1


def charbonnier_loss(output: torch.Tensor, target: torch.Tensor, epsilon: float = EPSILON) -> torch.Tensor:
    """Return the mean of sqrt(d^2 + epsilon^2) over the differences d of two tensors of one shape: a scalar.

    Parameters
    ----------
    output, target : float
    epsilon : float
        In the unit of the tensors; see `EPSILON` for its two readings.
    """
    return ((output - target).square() + epsilon * epsilon).sqrt().mean()


def relighting_loss(
    output: torch.Tensor,
    target: torch.Tensor,
    perceptual: PerceptualLoss | None = None,
    weights: LossWeights | None = None,
    epsilon: float = EPSILON,
) -> torch.Tensor:
    """Return the loss of pictures as the weighed sum of its parts: a scalar.

    Parameters
    ----------
    output, target : (N, 3, H, W), 0 to 1
        Sides must be multiples of 4.
    perceptual : PerceptualLoss, optional
        None where there are no weights of VGG19: then that part is left out.
    weights : LossWeights, optional
        The published ones if not given.
    epsilon : float
        Of the Charbonnier loss.

    Raises
    ------
    ValueError
        Where the shapes differ or a side is no multiple of 4.
    """
    weights = weights or LossWeights()
    loss = weights.charbonnier * charbonnier_loss(output, target, epsilon)
    loss = loss + weights.wavelet * wavelet_loss(output, target)
    if perceptual is not None:
        loss = loss + weights.perceptual * perceptual(output, target)
    return loss
