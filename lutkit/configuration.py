"""Configuration of a run: what is trained, on what task, by which recipe. Imports families' records and msgspec; no torch."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

import lutkit_runtime
from lutkit.degradation import DEFAULT_QUALITY, DEFAULT_SIGMA, Task, make_task
from lutkit.families import Family, find_family
from lutkit_runtime.errors import DataError

Model = TypeVar("Model")
Plan = TypeVar("Plan")

Precision = Literal["auto", "fp32", "tf32", "bf16"]
"""Numbers of matrix products and convolutions. fp32: float32. tf32: factors rounded to 10 bits of fraction, on NVIDIA GPUs
only. bf16: results rounded to 7 bits of fraction. auto: what the device does in hardware and the kind of network bears."""


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


class RunConfig(msgspec.Struct, Generic[Model, Plan], frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that determines a run but the photos themselves.

    Parameters
    ----------
    family : str
    model : record of the family's
    recipe : Schedule
        Of the family's kind.
    sigma : float
        Noise level of `denoise`, in 8-bit codes.
    quality : int
        JPEG quality of `deblock`.
    seed : int
    data, val : str or None
        Folders of photos; None is generated images, or photos held out from `data`.
    start : str or None
        Folder of a run whose networks training starts from; None is networks drawn at random.
    precision : str
        In what numbers networks are trained.
    origin : Origin or None
        Of imported networks, to whose training recipe, seed and folders say nothing.
    """

    family: str
    model: Model
    recipe: Plan
    sigma: float = DEFAULT_SIGMA
    quality: int = DEFAULT_QUALITY
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    data: str | None = None
    val: str | None = None
    start: str | None = None
    precision: Precision = "auto"
    origin: Origin | None = None

    @property
    def task(self) -> Task:
        """What the model undoes; raises DataError for an unknown task or a scale that does not fit it."""
        model: Any = self.model
        return make_task(model.task, model.scale, self.sigma, self.quality)


AnyConfig = RunConfig[Any, Any]


class _Named(msgspec.Struct):
    """The one field of a configuration that tells how to read the others."""

    family: str


def config_type(family: Family) -> Any:
    """Return the type of a family's configurations, for msgspec."""
    return RunConfig[type(family.defaults), type(family.presets["quick"])]  # type: ignore[misc]


def decode_config(text: bytes) -> AnyConfig:
    """Read a configuration from JSON; raises msgspec.DecodeError where it is none, DataError for unknown families."""
    return msgspec.json.decode(text, type=config_type(find_family(msgspec.json.decode(text, type=_Named).family)))


def describe_training(config: AnyConfig) -> dict[str, Any]:
    """Return the provenance of a run's networks: task, data, and the first step of their history."""
    if config.origin:
        data = "unknown"
        made = {"step": "import", **msgspec.to_builtins(config.origin)}
    else:
        data = Path(config.data).name if config.data else "generated images"
        made = {"step": "train", "family": config.family, "seed": config.seed, **msgspec.to_builtins(config.recipe)}
    return {"lutkit_version": lutkit_runtime.__version__, "task": config.task.name, "data": data, "history": [made]}


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


def override(config: AnyConfig, changes: dict[str, Any], source: str) -> AnyConfig:
    """Return the configuration with fields replaced; nested tables replace only the fields they name.

    Raises DataError, naming `source`, for unknown fields and wrong types.
    """
    plain = _merge(msgspec.to_builtins(config), changes)
    try:
        return msgspec.convert(plain, config_type(find_family(config.family)))
    except msgspec.ValidationError as error:
        raise DataError(f"{source} does not fit a run ({error}): see docs/training.md for the fields") from error


def _merge(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return fields with some replaced; of a table, at any depth, only those that are named."""
    merged = dict(fields)
    for name, value in changes.items():
        own = fields.get(name)
        merged[name] = _merge(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
    return merged
