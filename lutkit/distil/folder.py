"""The folder of a distillation: where its settings, pairs, rungs and reports lie. Imports the atomic writer; no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lutkit.run import Run
from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.errors import DataError


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What makes one distillation another; how far to climb and the tolerance do not.

    Parameters
    ----------
    teacher : str
        What it is, for people.
    sha256 : str
        Of the teacher's files.
    data, val : str or None
        Folders of photos.
    photos : str
        Stamp of these.
    variants : int
        Other versions of each photo.
    longest_side : int
        Of photos, in pixels.
    steps : int or None
        Of training; None is the family's own number.
    seed : int
    """

    teacher: str
    sha256: str
    data: str | None
    val: str | None
    photos: str
    variants: int
    longest_side: int
    steps: int | None
    seed: int


@dataclass(frozen=True)
class Folder:
    """The folder of a distillation.

    Parameters
    ----------
    path : Path
    rungs : tuple of str
        Names of all rungs, each of which has a folder of its own.
    """

    path: Path
    rungs: tuple[str, ...]

    @property
    def settings_file(self) -> Path:
        """JSON of the settings; marks the folder as one of these."""
        return self.path / "distil.json"

    @property
    def pairs(self) -> Path:
        """Pairs that are fitted to: the folders ``input`` and ``target``."""
        return self.path / "pairs"

    @property
    def held_out(self) -> Path:
        """Pairs that nothing is fitted to."""
        return self.path / "held-out"

    @property
    def student(self) -> Path:
        """The artefact that was chosen, unless it is asked for elsewhere."""
        return Run(self.path).student_file

    @property
    def report_json(self) -> Path:
        """Figures."""
        return self.path / "report.json"

    @property
    def report_html(self) -> Path:
        """The same with pictures, for people."""
        return self.path / "report.html"

    def rung(self, name: str) -> Run:
        """Return the folder of a rung; its table file is the student of that rung."""
        return Run(self.path / name)

    def _list_names(self) -> list[Path]:
        """Return what a distillation calls its own."""
        names = (self.settings_file, self.pairs, self.held_out, self.student, self.report_json, self.report_html)
        return [*names, *(self.path / name for name in self.rungs)]

    def _holds(self, file: Path) -> bool:
        """Whether a file is, or lies in, what a distillation calls its own."""
        folder = self.path.resolve()
        return any(file.resolve().is_relative_to(folder / own.name) for own in self._list_names())

    def _own(self) -> list[Path]:
        """Return what is there of it."""
        return [path for path in self._list_names() if path.exists()]

    def check(
        self, settings: Settings, *, teacher: Sequence[Path], output: Path | None, resume: bool, overwrite: bool
    ) -> None:
        """Make sure that the folder may be used with these settings; nothing is changed.

        Parameters
        ----------
        settings : Settings
        teacher : sequence of Path
            The teacher's files.
        output : Path or None
            Where the student is asked for.
        resume, overwrite : bool
            Go on with what is there; replace it.

        Raises
        ------
        DataError
            Where something is in the way that nobody asked to replace, there is nothing to go on with, or the folder and those
            of the photos lie in each other: pairs would be taken for photos, or photos deleted as pairs.
        """
        for name in ("data", "val"):
            photos = getattr(settings, name)
            if photos is None:
                continue
            inner, outer = self.path.resolve(), Path(photos)
            if inner.is_relative_to(outer):
                raise DataError(
                    f"{self.path} lies in the folder of --{name}, where its pairs would be taken for photos: name a folder "
                    "elsewhere with --run"
                )
            if self._holds(outer):
                raise DataError(
                    f"the folder of --{name} lies in {self.path}, as part of a distillation: name another folder with --run"
                )
        if output is not None and self._holds(output) and output.resolve() != self.student.resolve():
            raise DataError(f"{output} is a part of the distillation in {self.path}: name another file with -o")
        if resume:
            self._check_same(settings)
            return
        for file in teacher:
            if self._holds(file):
                raise DataError(
                    f"the teacher {file} is a part of the distillation in {self.path}, which would be removed: name another "
                    "folder with --run"
                )
        own = self._own()
        if own and not self.settings_file.is_file():
            raise DataError(
                f"{self.path} holds {own[0].name}, which is of no distillation and would be overwritten: name another folder "
                "with --run"
            )
        if own and not overwrite:
            raise DataError(
                f"{self.path} holds a distillation: go on with --resume, name another folder with --run, or start anew over "
                "it with -y"
            )

    def begin(self, settings: Settings) -> None:
        """Remove what is left of another distillation and write the settings down; call `check` first.

        Raises
        ------
        DataError
            Where the folder cannot be written to.
        """
        try:
            for path in self._own():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.path} cannot be used ({error.strerror}): choose another --run") from error
        content = json.dumps(msgspec.to_builtins(settings), indent=2) + "\n"
        write_atomically(self.settings_file, content.encode(), overwrite=True, error=DataError)

    def _check_same(self, settings: Settings) -> None:
        """Raise DataError unless the folder holds a distillation of the same settings."""
        try:
            before = msgspec.json.decode(self.settings_file.read_bytes(), type=Settings)
        except OSError as error:
            raise DataError(
                f"{self.path} holds no distillation to go on with ({self.settings_file.name}: {error.strerror}): leave "
                "--resume out"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{self.settings_file} is damaged ({error}): start anew with -y, not --resume") from error
        for name in settings.__struct_fields__:
            old, new = getattr(before, name), getattr(settings, name)
            if old != new and name != "teacher":
                told = {"sha256": "another teacher", "photos": "other photos, or some of them have changed since"}
                what = told.get(name, f"{name.replace('_', ' ')} {old}, not {new}")
                raise DataError(
                    f"{self.path} was begun with {what}: resume with the options of its beginning, or start anew with -y"
                )
