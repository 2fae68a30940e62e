"""What PairLIE lowers: two exposures of a scene share their reflectance, and illumination is smooth. Imports torch.

Fu et al., CVPR 2023, section 3.3, equations 4 to 7, with the constants of the released code.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from lutkit.lowlight.networks import Retinex

CLEANING = 500.0
"""Weight of the difference between a picture and what is left of it once cleaned."""

DARKEST = 1e-4
"""What is darker counts as this where something is divided by it."""


def retinex_loss(picture: torch.Tensor, parts: Retinex, other: Retinex) -> torch.Tensor:
    """Return the loss of two exposures of one scene; a scalar.

    Parameters
    ----------
    picture : (N, 3, H, W), 0 to 1
        The first exposure.
    parts, other : Retinex
        Of the first and of the second exposure. Of the second, only the reflectance counts.
    """
    cleaned, illumination, reflectance = parts
    consistency = functional.mse_loss(reflectance, other.reflectance)
    explained = functional.mse_loss(illumination * reflectance, cleaned)
    # where the illumination is the darker one, no reflectance of 0 to 1 reaches it: 1 comes nearest
    divided = cleaned / torch.maximum(illumination.detach(), cleaned.detach()).clamp(min=DARKEST)
    reached = functional.mse_loss(reflectance, divided)
    brightest = functional.mse_loss(illumination, picture.amax(dim=1, keepdim=True))
    kept = functional.mse_loss(picture, cleaned)
    return consistency + explained + reached + brightest + measure_roughness(illumination) + CLEANING * kept


def measure_roughness(illumination: torch.Tensor) -> torch.Tensor:
    """Return the total variation over two pixels: mean |L[y + 2] - L[y]| + mean |L[x + 2] - L[x]|."""
    down = (illumination[..., 2:, :] - illumination[..., :-2, :]).abs().mean()
    across = (illumination[..., :, 2:] - illumination[..., :, :-2]).abs().mean()
    return down + across
