"""SR-LUT: one lookup under four turns (Jo and Kim, "Practical Single-Image Super-Resolution Using LUT", CVPR 2021).

The skeleton needs the runtime only; torch is imported when a network is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lutkit.families.spatial import FINETUNE, QUICK, WORKBENCH, SpatialConfig, build_stage, configure_spatial
from lutkit.recipe import Recipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern
from lutkit_runtime.program import Program

if TYPE_CHECKING:
    import torch

name = "sr-lut"
defaults = SpatialConfig(patterns=("s",), stages=1, scale=4)

PAPER = Recipe(steps=200_000, batch=32, crop=48, learning_rate=1e-4, final_rate=1e-4, validate_every=2000)
"""The published recipe: Jo and Kim, CVPR 2021, section 4.1."""

presets = {"quick": QUICK, "paper": PAPER, "finetune": FINETUNE}
workbench = WORKBENCH


def build_program(
    pattern: str | IndexPattern,
    *,
    scale: int,
    interval: int,
    task: str = "sr",
    compat: bool = False,
    window: int | None = None,
) -> Program:
    """Return the skeleton: one lookup of block `scale`, the sum of its four turns, planes mirrored at their border.

    Parameters
    ----------
    pattern : str or IndexPattern
        ``s``, ``f`` or ``v`` as published, or any other pattern.
    compat : bool
        Interpolate with the branch that the released script takes, see `Interpolation.SRLUT`.
    window : int, optional
        Window of a reconstructed convolution before the lookup.

    Raises
    ------
    ProgramError
        Where a field is out of range.
    """
    label, offsets = (pattern, NAMED_PATTERNS[pattern]) if isinstance(pattern, str) else ("p0", pattern)
    ops = build_stage(
        1,
        {label: offsets},
        source="image",
        result="result",
        interval=interval,
        block=scale,
        bias_codes=0,
        mean_over=1,
        padding=Padding.REFLECT,
        interpolation=Interpolation.SRLUT if compat else Interpolation.SIMPLEX,
        windows=() if window is None else (window,),
    )
    program = Program(family=name, task=task, ops=ops)
    program.validate()
    return program


def configure(preset: str, task: str | None) -> SpatialConfig:
    """Return the configuration that a preset and a task mean."""
    return configure_spatial(defaults, preset, task)


def skeleton(config: SpatialConfig) -> Program:
    """Return the program with open slots that a configuration describes.

    Raises DataError unless the configuration has one pattern and one stage.
    """
    patterns = config.named_patterns()
    if config.stages != 1 or len(patterns) != 1:
        raise DataError(
            f"sr-lut has one stage and one pattern, not {config.stages} and {len(patterns)}: use mulut for more"
        )
    (label, pattern), *_ = patterns.items()
    known = NAMED_PATTERNS.get(label) == pattern
    return build_program(
        label if known else pattern,
        scale=config.scale,
        interval=config.interval,
        task=config.task,
        window=config.windows()[0],
    )


def network(config: SpatialConfig, samples: int, outputs: int) -> torch.nn.Module:
    """Return the trainable filling of a slot: a plain stack of layers without a final tanh (section 3.1)."""
    from lutkit.networks import PlainBlock

    return PlainBlock(samples, outputs, config.width)


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
