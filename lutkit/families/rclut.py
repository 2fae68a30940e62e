"""RCLUT: windows of one-dimensional tables before small lookups (Liu et al., "Reconstructed Convolution Module Based
Look-Up Tables for Efficient Image Super-Resolution", ICCV 2023).

The two stages of the paper's figure 2. The skeleton needs the runtime only; torch is imported when a network is asked
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lutkit.families.spatial import CENTRE, FINETUNE, QUICK, QUICK_WIDTH, WORKBENCH, check_task, check_windows, convolve
from lutkit.recipe import Recipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, BodyOp, Ensemble, Lookup, Op, Requantise
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern
from lutkit_runtime.program import Program

if TYPE_CHECKING:
    import torch


class RclutConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration of an RCLUT model; `--config` files hold these fields.

    Parameters
    ----------
    rc : tuple of int
        Windows of both stages: 3, 5, 7 or 9, each once.
    wide : int
        The window whose codes a table of four samples reads in the second stage; the others are read by tables of one.
    scale : int
        Enlargement, 1 to 4.
    interval : int
        Binary logarithm of the lattice step of the tables of four samples, 2 to 8.
    width, window_width : int
        Hidden features of the networks of lookups and of windows.
    activation : bool
        An activation inside the networks of the windows. liuguandu/RC-LUT has none, so that its tables are straight
        lines.
    squash : bool
        The networks behind a window are given the hyperbolic tangent of its codes / 255, as there.
    compat : bool
        A window of 7 begins two pixels before its own, as there; else all begin at their own pixel.
    task : str
        ``sr``, ``denoise`` or ``deblock``.
    """

    rc: tuple[int, ...] = (3, 5, 7)
    wide: int = 5
    scale: int = 4
    interval: int = 4
    width: int = 64
    window_width: int = 64
    activation: bool = True
    squash: bool = True
    compat: bool = False
    task: str = "sr"

    def validate(self) -> None:
        """Raise DataError where a field is out of range."""
        check_windows(self.rc, self.window_width)
        if not self.rc or len(set(self.rc)) != len(self.rc):
            raise DataError(f"windows {self.rc} are configured; name at least one, and each once")
        if self.wide not in self.rc:
            raise DataError(f"wide window {self.wide} is configured, which is none of {self.rc}: use one of these")
        if not 1 <= self.scale <= 4:
            raise DataError(f"scale {self.scale} is configured; 1, 2, 3 or 4 are possible")
        if not 2 <= self.interval <= 8:
            raise DataError(f"interval {self.interval} is configured; 2 to 8 are possible")
        if not 1 <= self.width <= 512:
            raise DataError(f"width {self.width} is configured; 1 to 512 are possible")


name = "rclut"
defaults = RclutConfig()

PAPER = Recipe(steps=200_000, batch=32, crop=48, learning_rate=1e-3, final_rate=1e-4, validate_every=2000)
"""The published recipe: Liu et al., ICCV 2023, section 4.1."""

presets = {"quick": QUICK, "paper": PAPER, "finetune": FINETUNE}
workbench = WORKBENCH

SINGLE = IndexPattern(((0, 0),))


def configure(preset: str, task: str | None) -> RclutConfig:
    """Return the configuration that a preset and a task mean; raises DataError for a task of all channels."""
    task = task or "sr"
    check_task(task)
    config = msgspec.structs.replace(defaults, task=task, scale=4 if task == "sr" else 1)
    return config if preset == "paper" else msgspec.structs.replace(config, width=QUICK_WIDTH)


def skeleton(config: RclutConfig) -> Program:
    """Return the program with open slots: a stage of one value per pixel, then one of a block (figure 2).

    Raises DataError or ProgramError where a field is out of range.
    """
    config.validate()
    ops = (
        *_build_stage(config, 1, "image", "codes1", block=1, bias_codes=CENTRE, mean_over=TURNS * len(config.rc)),
        *_build_stage(config, 2, "codes1", "result", block=config.scale, bias_codes=0, mean_over=len(config.rc)),
    )
    program = Program(family=name, task=config.task, ops=ops)
    program.validate()
    return program


def _build_stage(
    config: RclutConfig, stage: int, source: str, result: str, *, block: int, bias_codes: int, mean_over: int
) -> tuple[Op, ...]:
    convolutions = [
        convolve(f"stage{stage}/rc{window}", window, source, first=-2 if config.compat and window == 7 else 0)
        for window in config.rc
    ]
    lookups = [
        Lookup(
            output=f"stage{stage}/look{window}",
            input=convolution.output,
            slot=f"stage{stage}/look{window}",
            pattern=NAMED_PATTERNS["s"] if four else SINGLE,
            lattice=Lattice(4, config.interval) if four else Lattice(1, 0),
            block=block,
        )
        for window, convolution in zip(config.rc, convolutions, strict=True)
        for four in (stage == 1 or window == config.wide,)
    ]
    step = max(lookup.step for lookup in lookups)
    weights = tuple(step // lookup.step for lookup in lookups)
    total, turn = f"stage{stage}/sum", f"stage{stage}/turn"
    body: list[BodyOp] = [*convolutions, *lookups]
    if len(lookups) > 1:
        terms = tuple(lookup.output for lookup in lookups)
        body.append(Add(output=turn, terms=terms, weights=() if set(weights) == {1} else weights))
    divisor = mean_over * step
    return (
        Ensemble(output=total, input=source, body=tuple(body)),
        Requantise(output=result, input=total, bias=bias_codes * divisor, divisor=divisor),
    )


def network(config: RclutConfig, samples: int, outputs: int) -> torch.nn.Module:
    """Return the trainable filling of a lookup: MuLUT's block (section 3.3)."""
    from lutkit.networks import DenseBlock

    return DenseBlock(samples, outputs, config.width)


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error."""
    from lutkit.losses import mean_squared_error

    return mean_squared_error(output, target)
