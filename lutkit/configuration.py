"""Configuration of a run: what is trained, on what task, by which recipe. Imports families' records and msgspec; no torch."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lutkit.degradation import DEFAULT_QUALITY, DEFAULT_SIGMA, Task, make_task
from lutkit.families.spatial import SpatialConfig
from lutkit_runtime.errors import DataError


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a training run.

    Parameters
    ----------
    share : float
        Part of all steps, relative to the other phases.
    interval : int or None
        The networks are evaluated at the nodes of a lattice of this interval, and the tables that result run in place
        of the networks, so that training sees what the table will do. None evaluates the networks at every sample.
    """

    share: float = 1.0
    interval: int | None = None


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How parameters are optimised: Adam on the mean squared error, with warm-up and a cosine schedule.

    Parameters
    ----------
    steps : int
    batch, crop : int
        Patches per step, and their side before enlargement in pixels.
    learning_rate, final_rate : float
        Adam's step size at the start and at the end, for values in [-1, 1].
    warmup : int
        Steps over which the step size rises linearly.
    validate_every : int
        Steps between validations, each of which writes a checkpoint too.
    average : float
        Decay of the running average of the parameters that is validated and kept; 0 keeps the parameters themselves.
    phases : tuple of Phase
        For networks only.
    """

    steps: int
    batch: int
    crop: int
    learning_rate: float
    final_rate: float
    warmup: int = 0
    validate_every: int = 500
    average: float = 0.0
    phases: tuple[Phase, ...] = (Phase(),)

    def validate(self) -> None:
        """Raise DataError where a number is out of range."""
        for field in ("steps", "batch", "crop", "validate_every"):
            if getattr(self, field) < 1:
                raise DataError(f"recipe has {field} = {getattr(self, field)}; it must be at least 1")
        if self.warmup < 0:
            raise DataError(f"recipe has warmup = {self.warmup}; it must be at least 0")
        if not 0 < self.learning_rate <= 1 or not 0 <= self.final_rate <= self.learning_rate:
            raise DataError(
                f"recipe has learning rates {self.learning_rate} to {self.final_rate}; they must fall within 0 to 1"
            )
        if not 0 <= self.average < 1:
            raise DataError(f"recipe has average = {self.average}; it must be at least 0 and below 1")
        if not self.phases or not all(0 < phase.share < math.inf for phase in self.phases):
            raise DataError("recipe needs at least one phase, each with a finite share above 0")
        for phase in self.phases:
            if phase.interval is not None and not 0 <= phase.interval <= 8:
                raise DataError(f"recipe has a phase at interval {phase.interval}; 0 to 8 are possible")

    def interval_at(self, step: int) -> int | None:
        """Return the interval of the phase that a step (from 0) belongs to."""
        total = sum(phase.share for phase in self.phases)
        passed = 0.0
        for phase in self.phases:
            passed += phase.share / total * self.steps
            if step < round(passed):
                return phase.interval
        return self.phases[-1].interval


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where networks come from that were not trained here.

    Parameters
    ----------
    kind : str
        As `import --as` has it.
    file : str
        Name of the file.
    sha256 : str
        Of its content, hexadecimal.
    """

    kind: str
    file: str
    sha256: str


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that determines a run but the photos themselves.

    Parameters
    ----------
    family : str
    model : SpatialConfig
    recipe : Recipe
    sigma : float
        Noise level of `denoise`, in 8-bit codes.
    quality : int
        JPEG quality of `deblock`.
    seed : int
    data, val : str or None
        Folders of photos; None is generated images, or photos held out from `data`.
    origin : Origin or None
        Of imported networks, to whose training recipe, seed and folders say nothing.
    """

    family: str
    model: SpatialConfig
    recipe: Recipe
    sigma: float = DEFAULT_SIGMA
    quality: int = DEFAULT_QUALITY
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    data: str | None = None
    val: str | None = None
    origin: Origin | None = None

    @property
    def task(self) -> Task:
        """What the model undoes; raises DataError for an unknown task or a scale that does not fit it."""
        return make_task(self.model.task, self.model.scale, self.sigma, self.quality)


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

PAPER = {
    "mulut": Recipe(steps=200_000, batch=32, crop=48, learning_rate=1e-3, final_rate=1e-4, validate_every=2000),
    "sr-lut": Recipe(steps=200_000, batch=32, crop=48, learning_rate=1e-4, final_rate=1e-4, validate_every=2000),
}
"""The published recipes: Li et al., ECCV 2022, section 5.1; Jo and Kim, CVPR 2021, section 4.1."""

QUICK_WIDTH = 32
"""Hidden features with `quick`: the table forgets the width."""

FINETUNE = Recipe(steps=2500, batch=16, crop=48, learning_rate=1e-3, final_rate=1e-5, validate_every=250)
"""Default of `lutkit finetune`: about two minutes on two cores."""


def read_config(path: Path) -> dict[str, Any]:
    """Read the overrides of a `--config` file, JSON or TOML by suffix; raises DataError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        raise DataError(f"configuration {path} cannot be read ({error.strerror}): check the path") from error
    except ValueError as error:
        raise DataError(f"configuration {path} is neither valid JSON nor TOML ({error}): mend the file") from error
    if not isinstance(content, dict):
        raise DataError(f"configuration {path} holds a {type(content).__name__}; a table of fields is needed")
    return content


def override(config: RunConfig, changes: dict[str, Any], source: str) -> RunConfig:
    """Return the configuration with fields replaced; nested tables replace only the fields they name.

    Raises DataError, naming `source`, for unknown fields and wrong types.
    """
    plain = msgspec.to_builtins(config)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(plain.get(name), dict):
            plain[name] = {**plain[name], **value}
        else:
            plain[name] = value
    try:
        return msgspec.convert(plain, RunConfig)
    except msgspec.ValidationError as error:
        raise DataError(f"{source} does not fit a run ({error}): see docs/training.md for the fields") from error
