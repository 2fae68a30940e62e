"""Families: each builds a program from a configuration and gives the network for its slots. One file per family."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from lutkit.families.spatial import SpatialConfig
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program

FAMILIES: dict[str, str] = {
    "mulut": "lutkit.families.mulut",
    "sr-lut": "lutkit.families.srlut",
}
"""Family names to modules, imported when used."""


class Family(Protocol):
    """What a family's module provides."""

    name: str
    defaults: SpatialConfig

    def skeleton(self, config: SpatialConfig) -> Program:
        """Return the program with open slots."""
        ...

    def network(self, config: SpatialConfig, samples: int, outputs: int) -> Any:
        """Return the trainable filling (torch module) of a slot with `samples` inputs and `outputs` outputs."""
        ...


def find_family(name: str) -> Family:
    """Return the family's module; raises DataError with the known names."""
    if name not in FAMILIES:
        raise DataError(f"unknown family '{name}': use one of {', '.join(FAMILIES)}")
    return importlib.import_module(FAMILIES[name])  # type: ignore[return-value]
