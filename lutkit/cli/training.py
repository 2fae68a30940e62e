"""What the commands of the train side share: configurations from options, interruption. Imports click and the train side."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from lutkit.cli.group import FAILED, INTERRUPTED
from lutkit.configuration import AnyConfig, RunConfig, override, read_config
from lutkit.families import find_family
from lutkit_runtime.errors import DataError

if TYPE_CHECKING:
    from lutkit.parallel import Crew
    from lutkit.workbench import Watch


def make_config(
    *,
    family: str | None,
    data: Path | None,
    val: Path | None,
    task: str | None,
    scale: int | None,
    sigma: float | None,
    quality: int | None,
    preset: str | None,
    steps: int | None,
    config: Path | None,
    seed: int | None,
    rc: tuple[int, ...] | None = None,
    unpaired: bool | None = None,
    start: Path | None = None,
    precision: str | None = None,
) -> AnyConfig:
    """Return the configuration that options mean: the preset, then the `--config` file, then the options.

    Raises DataError where they do not fit each other, click.UsageError where an option is of another task.
    """
    changes = read_config(config) if config else {}
    described = changes.pop("family", "mulut")
    changes.pop("origin", None)  # of a run.json of imported networks: what is trained here does not come from there
    name = family or described
    fields = changes.get("model", {})
    if not isinstance(name, str) or not isinstance(fields, dict):
        raise DataError(f"{config} does not fit a run (family is text, model a table): see docs/training.md")
    found = find_family(name)
    if unpaired and not hasattr(found.defaults, "training"):
        raise click.UsageError(f"--unpaired belongs to adaptive-3dlut; {name} learns from pairs")
    if rc is not None and "rc" not in found.defaults.__struct_fields__:
        raise click.UsageError(f"--rc belongs to mulut, sr-lut and rclut; {name} has no windows before tables")
    if scale is not None and "scale" not in found.defaults.__struct_fields__:
        raise click.UsageError(f"{name} keeps the size of pictures: leave --scale out")
    preset = preset or "quick"
    try:
        model = found.configure(preset, task or fields.get("task"))
    except DataError as error:
        raise click.UsageError(str(error)) if task else error from error
    variants = ["-unpaired"] * bool(unpaired or fields.get("training") == "unpaired")
    variants += ["-xyz"] * (fields.get("colour_space") == "XYZ")
    recipe = found.presets.get(preset + "".join(variants)) or found.presets.get(preset + "".join(variants[:1]))
    recipe = recipe or found.presets[preset]
    made = RunConfig(family=name, model=model, recipe=recipe)
    if config:
        made = override(made, changes, str(config))
    options = {
        "data": str(data) if data else None,
        "val": str(val) if val else None,
        "start": str(start) if start else None,
        "sigma": sigma,
        "quality": quality,
        "seed": seed,
        "precision": precision,
        "model": {
            **_leave_out_none({"task": task, "scale": scale, "training": "unpaired" if unpaired else None}),
            **choose_windows(made.model, rc),
        },
        "recipe": {"steps": steps, "validate_every": min(made.recipe.validate_every, steps)} if steps else None,
    }
    made = _locate(override(made, _leave_out_none(options), "the command line"))
    for option, value, needed in (("--sigma", sigma, "denoise"), ("--quality", quality, "deblock")):
        if value is not None and made.model.task != needed:
            raise click.UsageError(f"{option} belongs to --task {needed}, but the task is {made.model.task}")
    _ = made.task
    return made


def _locate(config: AnyConfig) -> AnyConfig:
    """Return a configuration whose files and folders are found from everywhere: later verbs may run in another folder."""

    def locate(fields: Any, *names: str) -> Any:
        named = {name: getattr(fields, name, None) for name in names}
        return msgspec.structs.replace(
            fields, **{name: _make_absolute(name, path) for name, path in named.items() if path is not None}
        )

    return locate(
        msgspec.structs.replace(config, recipe=locate(config.recipe, "vgg", "encoder")), "data", "val", "start"
    )


def _make_absolute(name: str, path: str) -> str:
    try:
        if not path:
            raise ValueError("it is empty")
        return str(Path(path).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a null byte; links that go round
        raise DataError(f"{name} = {path!r} is no path ({error}): name a file or folder that exists") from error


def choose_windows(model: Any, windows: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the fields of a model that --rc means: the windows, and which is wide where the model's is none of them."""
    if windows is None:
        return {}
    if getattr(model, "wide", windows[0]) in windows:
        return {"rc": windows}
    return {"rc": windows, "wide": sorted(windows)[len(windows) // 2]}


def _leave_out_none(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise DataError, before long work, where its result could not be written."""
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists: overwrite it with -y, or name another file with -o")
    if path.is_dir() or not path.parent.is_dir():
        raise DataError(f"cannot write {path}: it must be a file in a folder that exists")


def watch_of(crew: Crew, *, tensorboard: bool = False) -> Watch:
    """Return what people see of training: lines and a bar on stderr, of the leading process alone."""
    from lutkit.workbench import Watch

    if not crew.leads:
        return Watch(say=lambda _line: None)
    return Watch(
        say=lambda line: click.echo(line, err=True), show_progress=sys.stderr.isatty(), tensorboard=tensorboard
    )


@contextmanager
def report_interruption(resume_command: str) -> Generator[None]:
    """Turn an interrupted loop into one line that says how to go on, and the exit code of interruption.

    A process that ends because another failed says nothing.
    """
    from lutkit.loop import Interrupted
    from lutkit.parallel import Deserted

    try:
        yield
    except Deserted as end:
        raise click.exceptions.Exit(FAILED) from end
    except Interrupted as stop:
        click.echo(f"{stop}; the checkpoint is written, go on with: {resume_command}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from stop


@contextmanager
def end_interrupted() -> Generator[None]:
    """Turn an interrupted loop that keeps no checkpoint into one line and the exit code of interruption."""
    from lutkit.loop import Interrupted

    try:
        yield
    except Interrupted as stop:
        click.echo("interrupted; nothing was written", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from stop
