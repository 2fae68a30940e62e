"""Families: each builds a program from a configuration, gives the networks for its slots, the loss and the recipes.

One file per family. The module of a family imports the runtime only; torch inside functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from lutkit.recipe import Schedule
from lutkit_runtime.errors import DataError
from lutkit_runtime.program import Program

FAMILIES: dict[str, str] = {
    "mulut": "lutkit.families.mulut",
    "sr-lut": "lutkit.families.srlut",
    "rclut": "lutkit.families.rclut",
    "tiny-lut": "lutkit.families.tiny_lut",
    "adaptive-3dlut": "lutkit.families.adaptive_3dlut",
    "hdrnet": "lutkit.families.hdrnet",
    "pairlie": "lutkit.families.pairlie",
    "s3net": "lutkit.families.s3net",
}
"""Family names to modules, imported when used."""


class Family(Protocol):
    """What a family's module provides."""

    name: str
    defaults: Any
    """Configuration of a model: a frozen record with at least ``task`` and ``scale``."""
    presets: Mapping[str, Schedule]
    """Recipes by name: quick and paper for training, finetune for tables."""
    workbench: str
    """``module:class`` of the train side for programs of this kind, see `lutkit.workbench`."""

    def configure(self, preset: str, task: str | None) -> Any:
        """Return the configuration that a preset and a task (None: the family's usual one) mean.

        Raises DataError for a task that is not the family's.
        """
        ...

    def skeleton(self, config: Any) -> Program:
        """Return the program with open slots."""
        ...

    def network(self, config: Any, samples: int, outputs: int) -> Any:
        """Return the trainable filling (torch module) of a slot with `samples` inputs and `outputs` outputs."""
        ...

    def loss(self, output: Any, target: Any) -> Any:
        """Return what training lowers: a scalar (torch) of an output and its target, both 0 to 1."""
        ...


def find_family(name: str) -> Family:
    """Return the family's module; raises DataError with the known names."""
    if name not in FAMILIES:
        raise DataError(f"unknown family '{name}': use one of {', '.join(FAMILIES)}")
    return importlib.import_module(FAMILIES[name])  # type: ignore[return-value]
