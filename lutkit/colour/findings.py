"""What a check of a colour cube says: code, severity, sentence, figures. Imports nothing of the package."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Code(enum.Enum):
    """What is found."""

    CLIPPING = "clipping"
    """Entries outside 0 to 1, and colours that all become 0 or 1."""
    ORDER = "not-monotone"
    """A channel falls while its own input rises."""
    BANDING = "banding"
    """A channel jumps by several levels where its input rises by one."""
    UNVISITED = "unvisited"
    """Cells that no training colour fell into."""
    TINT = "tint"
    """Grays that get a colour."""
    FOLDS = "folds"
    """Colours turned inside out: neighbours in one order come out in the other."""


class Severity(enum.Enum):
    """How much a finding matters."""

    NOTE = "note"
    """Worth knowing; many good looks have it."""
    WARNING = "warning"
    """Likely to show in pictures."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    code : Code
    severity : Severity
    message : str
        One sentence with figures, and the input colour (red, green, blue) where it is worst.
    numbers : mapping of str to float or list of float
        The figures by name: shares of 0 to 1, colours as three floats.
    """

    code: Code
    severity: Severity
    message: str
    numbers: Mapping[str, Any]
