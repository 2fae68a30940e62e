"""Which pictures and videos the INPUT arguments of a command mean. May import click and the standard library only."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

STANDARD_STREAM = "-"


@dataclass(frozen=True)
class Source:
    """A picture or video to work on.

    Parameters
    ----------
    path : Path
        The file; ``-`` is stdin.
    subfolder : Path
        Where it lies below the folder that was given, ``.`` for files named one by one.
    found : bool
        Whether it was found in a folder or by a pattern rather than named.
    """

    path: Path
    subfolder: Path = Path()
    found: bool = False

    @property
    def is_stdin(self) -> bool:
        """Whether the picture comes from stdin."""
        return str(self.path) == STANDARD_STREAM and not self.found

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its suffix."""
        from lutkit.video.suffixes import is_video

        return is_video(self.path)

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return "stdin" if self.is_stdin else str(self.path)

    @property
    def stem(self) -> str:
        """Name without suffix, for output names."""
        return "stdin" if self.is_stdin else self.path.stem


@dataclass(frozen=True)
class Problem:
    """An input that cannot be worked on, and why."""

    source: str
    message: str


def find_sources(inputs: Sequence[str], suffixes: Iterable[str]) -> tuple[list[Source], list[Problem]]:
    """Return the pictures and videos that files, folders and patterns mean, each once, and what was not found.

    Parameters
    ----------
    inputs : sequence of str
        File names, folder names (searched with their subfolders), patterns (``*``, ``?``, ``[..]``, ``**``) and ``-``.
    suffixes : iterable of str
        Lower-case suffixes of the files that count in folders; hidden files and folders do not.

    Raises
    ------
    click.UsageError
        Where an input is empty, as an unset variable of a shell is: as a path it would mean the current folder.
    """
    if "" in inputs:
        raise click.UsageError("INPUT is empty: name a file, a folder or a pattern, or . for the current folder")
    known = frozenset(suffixes)
    sources: dict[str, Source] = {}
    problems: list[Problem] = []
    for entry in inputs:
        unreadable: list[Problem] = []
        try:
            found = _find_entry(entry, known, unreadable)
            if not found and not unreadable:
                unreadable.append(Problem(entry, _explain_nothing(entry)))
        except OSError as problem:
            found = []
            unreadable.append(Problem(entry, _explain_refusal(problem)))
        problems += unreadable
        for source in found:
            sources.setdefault(entry if source.is_stdin else os.path.realpath(source.path), source)
    return list(sources.values()), problems


def name_kind(sources: Iterable[Source]) -> str:
    """Return what inputs are called together: ``picture``, ``video``, or ``input`` where there are both."""
    kinds = {source.is_video for source in sources}
    return "input" if len(kinds) > 1 else "video" if True in kinds else "picture"


def _find_entry(entry: str, suffixes: frozenset[str], problems: list[Problem]) -> list[Source]:
    path = Path(entry)
    if entry == STANDARD_STREAM:
        return [Source(path)]
    if path.is_dir():
        return _find_in_folder(path, path, suffixes, problems)
    if os.path.lexists(path):
        return [Source(path)]
    if not glob.has_magic(entry):
        return []
    found: list[Source] = []
    base = _fixed_part(path)
    # Path.glob would take hidden files too, unlike a shell.
    for name in sorted(glob.glob(entry, recursive=True)):  # noqa: PTH207
        match = Path(name)
        if match.is_dir():
            # `**` lists what is in folders by itself; a folder that another pattern matches is searched as if named.
            found += [] if "**" in path.parts else _find_in_folder(match, base, suffixes, problems)
        elif match.suffix.lower() in suffixes:
            found.append(Source(match, match.parent.relative_to(base), found=True))
    return found


def _find_in_folder(folder: Path, base: Path, suffixes: frozenset[str], problems: list[Problem]) -> list[Source]:
    found: list[Source] = []

    def tell(problem: OSError) -> None:
        problems.append(Problem(str(problem.filename), _explain_refusal(problem)))

    for parent, folders, names in os.walk(folder, onerror=tell):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                found.append(Source(path, path.parent.relative_to(base), found=True))
    return found


def _fixed_part(pattern: Path) -> Path:
    """Return the folders of a pattern before its first wildcard."""
    fixed: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _explain_refusal(problem: OSError) -> str:
    return f"{problem.strerror or problem}; check the name and the permissions"


def _explain_nothing(entry: str) -> str:
    if Path(entry).is_dir():
        return "the folder holds no pictures or videos; name another one"
    if glob.has_magic(entry):
        return "no picture or video matches; check the pattern"
    return "there is no such file; check the name"
