"""Lights of rendered scenes: where a distant light stands and which colour it has. Imports NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

AZIMUTHS = {"N": 0, "NE": 45, "E": 90, "SE": 135, "S": 180, "SW": 225, "W": 270, "NW": 315}
"""Degrees, clockwise; north is away from the camera, east is to its right."""
TEMPERATURES = (2500, 3500, 4500, 5500, 6500)
"""Kelvin."""
ELEVATION = 38.0
"""Degrees above the ground, the same for all lights: a guide says from where light comes, not how high it stands."""

_XYZ_TO_RGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)


@dataclass(frozen=True)
class Light:
    """A distant light.

    Attributes
    ----------
    azimuth : float
        Degrees, clockwise from north: where it comes from.
    temperature : float
        Kelvin, 1667 to 25000.
    elevation : float
        Degrees above the ground, above 0, up to 90.
    """

    azimuth: float
    temperature: float = 6500.0
    elevation: float = ELEVATION

    @property
    def direction(self) -> Float64:
        """Unit vector (3,) towards the light: x to the east, y to the north, z up."""
        azimuth, elevation = np.radians((self.azimuth, self.elevation))
        across = np.cos(elevation)
        return np.array([across * np.sin(azimuth), across * np.cos(azimuth), np.sin(elevation)])

    @property
    def colour(self) -> Float64:
        """Linear sRGB (3,) of luminance 1."""
        return blackbody_colour(self.temperature)


def name_lights(count: int | None = None) -> dict[str, Light]:
    """Return lights by name, such as ``NE_4500``.

    Parameters
    ----------
    count : int, optional
        8 for those of 4500 K; all forty by default.

    Raises
    ------
    ValueError
        If the count is another.
    """
    if count not in (None, 8, 40):
        raise ValueError(f"{count} lights; 8 or all 40 are possible")
    temperatures = (4500,) if count == 8 else TEMPERATURES
    return {
        f"{name}_{temperature}": Light(azimuth, temperature)
        for name, azimuth in AZIMUTHS.items()
        for temperature in temperatures
    }


def blackbody_colour(temperature: float) -> Float64:
    """Return the linear sRGB (3,) of a black body, of luminance 1; negative parts count as 0.

    The chromaticity is the cubic approximation of the Planckian locus (Kim et al., US patent 7024034, 2002), 1667 to
    25000 K.

    Raises
    ------
    ValueError
        If the temperature is outside that range.
    """
    if not 1667 <= temperature <= 25000:
        raise ValueError(f"temperature is {temperature} K; 1667 to 25000 are possible")
    inverse = 1000.0 / temperature
    if temperature <= 4000:
        x = np.polyval([-0.2661239, -0.2343589, 0.8776956, 0.179910], inverse)
    else:
        x = np.polyval([-3.0258469, 2.1070379, 0.2226347, 0.240390], inverse)
    if temperature <= 2222:
        y = np.polyval([-1.1063814, -1.34811020, 2.18555832, -0.20219683], x)
    elif temperature <= 4000:
        y = np.polyval([-0.9549476, -1.37418593, 2.09137015, -0.16748867], x)
    else:
        y = np.polyval([3.0817580, -5.87338670, 3.75112997, -0.37001483], x)
    colour = np.maximum(_XYZ_TO_RGB @ np.array([x / y, 1.0, (1 - x - y) / y]), 0)
    return colour / (colour @ np.array([0.2126, 0.7152, 0.0722]))
