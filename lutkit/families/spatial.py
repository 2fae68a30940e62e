"""Skeletons of parallel lookups in stages, shared by the spatial-LUT families. Imports the runtime only."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lutkit.recipe import Phase, Recipe
from lutkit_runtime.errors import DataError
from lutkit_runtime.interpolation import Interpolation
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, BodyOp, Ensemble, Lookup, Op, ReconstructedConvolution, Requantise
from lutkit_runtime.ops.ensemble import TURNS
from lutkit_runtime.ops.reconstructed_convolution import WINDOWS
from lutkit_runtime.padding import Padding
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern, Offset

WORKBENCH = "lutkit.spatial_workbench:SpatialWorkbench"

CENTRE = 127
"""Code that a table entry of 0 stands for between stages."""

QUICK = Recipe(
    steps=3000,
    batch=16,
    crop=48,
    learning_rate=2e-3,
    final_rate=6e-5,
    warmup=100,
    validate_every=200,
    phases=(Phase(interval=5, share=0.3), Phase(interval=4, share=0.7)),
)
"""Ends within ten minutes on two cores; the table of an ever finer lattice is trained through its network."""

QUICK_WIDTH = 32
"""Hidden features with `quick`: the table forgets the width."""

FINETUNE = Recipe(steps=2500, batch=16, crop=48, learning_rate=1e-3, final_rate=1e-5, validate_every=250)
"""Default of `lutkit finetune`: about two minutes on two cores."""

TASKS = ("sr", "denoise", "deblock")
"""What lookups of single channels can be trained for."""

Patterns = dict[str, IndexPattern]


def read_patterns(patterns: Sequence[str | Sequence[Offset]]) -> Patterns:
    """Name the patterns of a configuration: a published name, or a list of (row, column) offsets.

    Returns a mapping of name to pattern in the given order; patterns given by offsets are named ``p0``, ``p1``, ...
    Raises DataError for unknown names and repeated patterns, ProgramError for offsets out of range.
    """
    named: Patterns = {}
    for position, entry in enumerate(patterns):
        if isinstance(entry, str):
            if entry not in NAMED_PATTERNS:
                raise DataError(
                    f"unknown pattern '{entry}': use one of {', '.join(NAMED_PATTERNS)} or a list of offsets"
                )
            name, pattern = entry, NAMED_PATTERNS[entry]
        else:
            name, pattern = f"p{position}", IndexPattern(tuple((int(row), int(column)) for row, column in entry))
        pattern.validate()
        if name in named:
            raise DataError(f"pattern '{name}' is listed twice; list every pattern once")
        named[name] = pattern
    if not named:
        raise DataError("no patterns are given; name at least one, for example s")
    return named


class SpatialConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration of a spatial-LUT model; `--config` files hold these fields.

    Parameters
    ----------
    patterns : tuple of str or of (row, column) lists
        Index patterns of every stage.
    stages : int
    scale : int
        Enlargement, 1 to 4.
    interval : int
        Binary logarithm of the lattice step of the tables that transfer makes, 2 to 8 (0 to 8 for one or two samples);
        training uses the intervals of the recipe's phases.
    width : int
        Hidden features of the networks.
    task : str
        ``sr``, ``denoise`` or ``deblock``.
    rc : tuple of int
        Windows of reconstructed convolutions before the lookups of every stage: one for all patterns, or one for each;
        3, 5, 7 or 9. Empty: none.
    activation : bool
        An activation inside the networks of the windows; liuguandu/RC-LUT has none.
    squash : bool
        The networks behind a window are given the hyperbolic tangent of its codes / 255, as there.
    window_width : int
        Hidden features of the networks of the windows.
    """

    patterns: tuple[str | tuple[Offset, ...], ...]
    stages: int
    scale: int
    interval: int = 4
    width: int = 64
    task: str = "sr"
    rc: tuple[int, ...] = ()
    activation: bool = True
    squash: bool = True
    window_width: int = 64

    def windows(self) -> tuple[int | None, ...]:
        """Return the window before each pattern, None for none; raises DataError where their number does not fit."""
        if not self.rc:
            return (None,) * len(self.patterns)
        check_windows(self.rc, self.window_width)
        if len(self.rc) not in (1, len(self.patterns)):
            raise DataError(
                f"{len(self.rc)} windows are configured for {len(self.patterns)} patterns: give one for all or one each"
            )
        return self.rc * (len(self.patterns) // len(self.rc))

    def named_patterns(self) -> Patterns:
        """Return the patterns by name; raises DataError for a configuration that is out of range."""
        if not 1 <= self.stages <= 8:
            raise DataError(f"{self.stages} stages are configured; 1 to 8 are possible")
        if not 1 <= self.scale <= 4:
            raise DataError(f"scale {self.scale} is configured; 1, 2, 3 or 4 are possible")
        if self.interval < 0:
            raise DataError(f"interval {self.interval} is configured; 0 to 8 are possible")
        if not 1 <= self.width <= 512:
            raise DataError(f"width {self.width} is configured; 1 to 512 are possible")
        return read_patterns(self.patterns)


def check_windows(windows: Sequence[int], width: int) -> None:
    """Raise DataError for windows that reconstructed convolutions cannot have, or networks of no such width."""
    for window in windows:
        if window not in WINDOWS:
            raise DataError(f"window {window} is configured; {', '.join(map(str, WINDOWS))} are possible")
    if not 1 <= width <= 512:
        raise DataError(f"window width {width} is configured; 1 to 512 are possible")


def convolve(name: str, window: int, source: str, *, first: int = 0) -> ReconstructedConvolution:
    """Return a reconstructed convolution of a plane; its slots are named after it."""
    return ReconstructedConvolution(
        output=name, input=source, slot=f"{name}/window", post=f"{name}/codes", window=window, first=first
    )


def check_task(task: str) -> None:
    """Raise DataError for a task that lookups of single channels cannot be trained for."""
    if task not in TASKS:
        raise DataError(
            f"task '{task}' cannot be learned by tables of samples: use one of {', '.join(TASKS)}; adaptive-3dlut "
            "learns retouch, hdrnet learns retouch and detail"
        )


def configure_spatial(defaults: SpatialConfig, preset: str, task: str | None) -> SpatialConfig:
    """Return the configuration that a preset and a task mean: enlargement 4 where the task enlarges, else 1.

    Raises DataError for a task that needs all channels together.
    """
    task = task or "sr"
    check_task(task)
    config = msgspec.structs.replace(defaults, task=task, scale=4 if task == "sr" else 1)
    return config if preset == "paper" else msgspec.structs.replace(config, width=QUICK_WIDTH)


def build_stage(
    stage: int,
    patterns: Patterns,
    *,
    source: str,
    result: str,
    interval: int,
    block: int,
    bias_codes: int,
    mean_over: int,
    padding: Padding,
    interpolation: Interpolation = Interpolation.SIMPLEX,
    windows: Sequence[int | None] = (),
) -> tuple[Op, ...]:
    """Return the ops of one stage: all patterns under the rotation ensemble, summed, then requantised.

    Parameters
    ----------
    stage : int
        Number of the stage from 1; slots are named ``stage{n}/{pattern}``.
    bias_codes : int
        Added to the mean before rounding, in codes.
    mean_over : int
        How many lookups the sum is divided by.
    windows : sequence of int or None
        Windows of reconstructed convolutions whose codes the patterns read instead of the plane; empty: none.
    """
    before = dict(zip(patterns, windows, strict=True)) if windows else {}
    convolutions = {
        name: convolve(f"stage{stage}/{name}-rc{window}", window, source) for name, window in before.items() if window
    }
    lookups = [
        Lookup(
            output=f"stage{stage}/{name}",
            input=convolutions[name].output if name in convolutions else source,
            slot=f"stage{stage}/{name}",
            pattern=pattern,
            lattice=Lattice(axes=pattern.samples, interval=interval),
            block=block,
            padding=padding,
            interpolation=interpolation,
        )
        for name, pattern in patterns.items()
    ]
    body: list[BodyOp] = [*convolutions.values(), *lookups]
    if len(lookups) > 1:
        body.append(Add(output=f"stage{stage}/turn", terms=tuple(op.output for op in lookups)))
    divisor = mean_over << interval
    total = f"stage{stage}/sum"
    return (
        Ensemble(output=total, input=source, body=tuple(body)),
        Requantise(output=result, input=total, bias=bias_codes * divisor, divisor=divisor),
    )


def lookups_per_pixel(patterns: Patterns) -> int:
    """Return how many lookups one stage sums for every pixel: patterns times turns."""
    return len(patterns) * TURNS
