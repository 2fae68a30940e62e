"""Where the result of each input goes: the meaning of -o, and the checks before any work. May import click."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from lutkit.cli.sources import STANDARD_STREAM, Source, name_kind

TEMPLATE_FIELDS = ("stem", "name", "model", "ext")
DEFAULT_TEMPLATE = "{stem}_{model}{ext}"
FALLBACK_SUFFIX = ".png"
FALLBACK_VIDEO_SUFFIX = ".mkv"
"""What results are written as whose own format is only read."""

COLOUR_SUFFIXES = {".pgm": ".ppm"}
"""Suffixes of files that hold no colours, to those of the same format that do."""


@dataclass(frozen=True)
class Template:
    """Output names made from input names.

    Parameters
    ----------
    text : str
        With the fields {stem} (name without suffix), {name} (with it), {model} and {ext} (suffix with its dot). Without
        a folder in it the output lies beside the input, else the folder counts from the current one.
    """

    text: str

    def __post_init__(self) -> None:
        """Raise click.UsageError for fields that do not exist, and for anything else in braces."""
        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as problem:
            raise click.UsageError(f"the template '{self.text}' is malformed: {problem}") from None
        for _, field, form, conversion in parts:
            if field is not None and (field not in TEMPLATE_FIELDS or form or conversion):
                known = ", ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
                raise click.UsageError(f"the template '{self.text}' has the field '{{{field}}}'; known are {known}")

    def target(self, source: Source, model: str, suffix: str) -> Path:
        """Return the output of one input."""
        name = self.text.format(
            stem=clean_name(source.stem),
            name=clean_name(source.stem if source.is_stdin else source.path.name),
            model=clean_name(model),
            ext=suffix,
        )
        path = Path(name)
        if path.name == name:
            return path if source.is_stdin else source.path.with_name(name)
        return path.parent / source.subfolder / path.name


@dataclass(frozen=True)
class Folder:
    """Outputs in one folder, under the names and in the subfolders of the inputs."""

    path: Path

    def target(self, source: Source, model: str, suffix: str) -> Path:
        """Return the output of one input."""
        return self.path / source.subfolder / f"{source.stem}{suffix}"


@dataclass(frozen=True)
class File:
    """One output; ``-`` is stdout."""

    path: Path

    def target(self, source: Source, model: str, suffix: str) -> Path:
        """Return the one output."""
        return self.path


Destination = Template | Folder | File


@dataclass(frozen=True)
class Job:
    """One picture or video to read and where its result goes.

    Parameters
    ----------
    source : Source
    target : Path
        ``-`` is stdout.
    makes_folders : bool
        Whether folders of the target that do not exist are made; those of a file that was named are not.
    """

    source: Source
    target: Path
    makes_folders: bool

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to stdout."""
        return str(self.target) == STANDARD_STREAM


def clean_name(name: str) -> str:
    """Return a name that is one part of a path on every system: no separators, control characters or leading dots."""
    cleaned = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", name).lstrip(".").rstrip(". ")
    return cleaned or "_"


def read_destination(output: str | None, sources: Sequence[Source], suffixes: Collection[str]) -> Destination:
    """Return what -o means.

    Parameters
    ----------
    output : str or None
        ``-``, a template (with braces), a folder (one that exists, or a name without suffix or with a slash at its end)
        or a file. None is stdout for stdin, and otherwise the default template.
    sources : sequence of Source
    suffixes : collection of str
        Lower-case suffixes of the files that can be written.

    Raises
    ------
    click.UsageError
        Where `output` is empty, several inputs would go to one file, or the suffix cannot be written.
    """
    if output == "":
        raise click.UsageError("-o is empty: give it a file, a folder or a template, or . for the current folder")
    if output is None:
        output = STANDARD_STREAM if any(source.is_stdin for source in sources) else DEFAULT_TEMPLATE
    if "{" in output or "}" in output:
        return Template(output)
    path = Path(output)
    if output != STANDARD_STREAM:
        if path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix:
            return Folder(path)
        able = sorted({suffix for source in sources for suffix in list_suffixes(source, suffixes)})
        if sources and path.suffix.lower() not in able:
            raise click.UsageError(f"cannot write '{path.suffix}' files: use one of {', '.join(able)}")
    if len(sources) > 1:
        place = "stdout" if output == STANDARD_STREAM else f"the one file {output}"
        what = f"{len(sources)} {name_kind(sources)}s cannot go to {place}"
        raise click.UsageError(f"{what}: give -o a folder or a template such as '{DEFAULT_TEMPLATE}'")
    return File(path)


def plan_jobs(
    sources: Sequence[Source],
    destination: Destination,
    model: str,
    suffixes: Collection[str],
    *,
    in_colour: bool = False,
) -> tuple[list[Job], list[Source]]:
    """Return one job per picture or video, and the pictures left out because they are results of others.

    A picture that a folder or pattern turned up and that is the output of another one is the result of an earlier run,
    not an input.

    Parameters
    ----------
    sources : sequence of Source
    destination : Destination
    model : str
        Its short name.
    suffixes : collection of str
        Lower-case suffixes of the files that can be written.
    in_colour : bool
        Whether all results are RGB, so that those of gray files may need another suffix.

    Raises
    ------
    click.UsageError
        Where two pictures would go to the same file, one would replace another input, or a suffix cannot be written.
    """
    jobs: list[Job] = []
    for source in sources:
        able = list_suffixes(source, suffixes)
        fallback = FALLBACK_VIDEO_SUFFIX if source.is_video else FALLBACK_SUFFIX
        suffix = source.path.suffix if source.path.suffix.lower() in able else fallback
        suffix = COLOUR_SUFFIXES.get(suffix.lower(), suffix) if in_colour else suffix
        target = destination.target(source, model, suffix)
        _check_kind(source, target, able)
        jobs.append(Job(source, target, makes_folders=not isinstance(destination, File)))
    made_from = {_identify(job.target): job.source for job in jobs if not job.to_stdout}
    results = [
        job.source
        for job in jobs
        if job.source.found and made_from.get(_identify(job.source.path), job.source) is not job.source
    ]
    jobs = [job for job in jobs if job.source not in results]
    _refuse_collisions(jobs)
    return jobs, results


def list_suffixes(source: Source, suffixes: Collection[str]) -> Collection[str]:
    """Return the suffixes of what an input can become: a video a video, a picture one of `suffixes`."""
    from lutkit.video.suffixes import CONTAINERS

    return CONTAINERS if source.is_video else suffixes


def _check_kind(source: Source, target: Path, able: Collection[str]) -> None:
    """Raise click.UsageError where the result of an input cannot be a file of this name."""
    if str(target) == STANDARD_STREAM:
        if source.is_video:
            raise click.UsageError(f"the video {source.path} cannot go to stdout: give -o a file")
        return
    if target.suffix.lower() not in able:
        what = f"the video {source.path} as '{target}'" if source.is_video else f"'{target}'"
        raise click.UsageError(f"cannot write {what}: use one of the suffixes {', '.join(sorted(able))}")


def check_folders(path: Path) -> None:
    """Raise ImageError where the folders of a path that do not exist yet cannot be made; makes none."""
    from lutkit_runtime.errors import ImageError

    for folder in path.parents:
        if folder.is_dir():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ImageError(f"{path}: the folder {folder} is not writable; check its permissions")
            return
        if os.path.lexists(folder):
            raise ImageError(f"{path}: {folder} is a file, not a folder; choose another output")


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    taken: dict[str, Job] = {}
    inputs = {_identify(job.source.path): job for job in jobs if not job.source.is_stdin}
    for job in jobs:
        if job.to_stdout:
            continue
        place = _identify(job.target)
        other = taken.setdefault(place, job)
        if other is not job:
            raise click.UsageError(
                f"{other.source.path} and {job.source.path} would both become {job.target}: "
                "give -o a template that tells them apart, such as '{name}_{model}.png'"
            )
        if inputs.get(place, job) is not job:
            raise click.UsageError(
                f"the result of {job.source.path} would replace the input {job.target}: choose other names with -o"
            )


def _identify(path: Path) -> str:
    return os.path.realpath(path)
