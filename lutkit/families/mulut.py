"""MuLUT: stages of parallel lookups (Li et al., "MuLUT: Cooperating Multiple Look-Up Tables", ECCV 2022).

The skeleton needs the runtime only; torch is imported when a network is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lutkit.families.spatial import (
    CENTRE,
    FINETUNE,
    QUICK,
    WORKBENCH,
    Patterns,
    SpatialConfig,
    build_stage,
    configure_spatial,
    lookups_per_pixel,
)
from lutkit.recipe import Recipe
from lutkit_runtime.ops import Op
from lutkit_runtime.padding import Padding
from lutkit_runtime.program import Program

if TYPE_CHECKING:
    import torch

name = "mulut"
defaults = SpatialConfig(patterns=("s", "d", "y"), stages=2, scale=4)

PAPER = Recipe(steps=200_000, batch=32, crop=48, learning_rate=1e-3, final_rate=1e-4, validate_every=2000)
"""The published recipe: Li et al., ECCV 2022, section 5.1."""

presets = {"quick": QUICK, "paper": PAPER, "finetune": FINETUNE}
workbench = WORKBENCH


def build_program(
    patterns: Patterns,
    *,
    stages: int,
    scale: int,
    interval: int,
    task: str = "sr",
    windows: Sequence[int | None] = (),
) -> Program:
    """Return the skeleton: inner stages of block 1 that average all lookups, a last one of block `scale`.

    The last stage sums the four turns and averages over the patterns (section 3.2 and the released test script).
    Raises ProgramError where a field is out of range.
    """
    ops: list[Op] = []
    source = "image"
    for stage in range(1, stages + 1):
        last = stage == stages
        result = "result" if last else f"codes{stage}"
        ops += build_stage(
            stage,
            patterns,
            source=source,
            result=result,
            interval=interval,
            block=scale if last else 1,
            bias_codes=0 if last else CENTRE,
            mean_over=len(patterns) if last else lookups_per_pixel(patterns),
            padding=Padding.EDGE,
            windows=windows,
        )
        source = result
    program = Program(family=name, task=task, ops=tuple(ops))
    program.validate()
    return program


def configure(preset: str, task: str | None) -> SpatialConfig:
    """Return the configuration that a preset and a task mean."""
    return configure_spatial(defaults, preset, task)


def skeleton(config: SpatialConfig) -> Program:
    """Return the program with open slots that a configuration describes."""
    return build_program(
        config.named_patterns(),
        stages=config.stages,
        scale=config.scale,
        interval=config.interval,
        task=config.task,
        windows=config.windows(),
    )


def network(config: SpatialConfig, samples: int, outputs: int) -> torch.nn.Module:
    """Return the trainable filling of a slot: densely connected layers and a tanh (section 4.1 and released code)."""
    from lutkit.networks import DenseBlock

    return DenseBlock(samples, outputs, config.width)


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
