"""Run folders: where a training run keeps its configuration, networks, tables, checkpoints and log.

Imports the configuration and the atomic writer; no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lutkit.configuration import AnyConfig, decode_config
from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.errors import DataError


@dataclass(frozen=True)
class Run:
    """A run folder.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    @property
    def config_file(self) -> Path:
        """JSON of the RunConfig."""
        return self.folder / "run.json"

    @property
    def network_file(self) -> Path:
        """Best networks, safetensors, keys such as ``stage1-s.network.enter.weight``."""
        return self.folder / "network.safetensors"

    @property
    def log_file(self) -> Path:
        """JSON lines, one per validation."""
        return self.folder / "log.jsonl"

    @property
    def visits_file(self) -> Path:
        """JSON of the cells of a colour cube that training visited; of families of colours only."""
        return self.folder / "visits.json"

    @property
    def table_file(self) -> Path:
        """Artefact that transfer writes."""
        return self.folder / "lut.h5"

    @property
    def finetuned_file(self) -> Path:
        """Artefact that finetune writes."""
        return self.folder / "lut-finetuned.h5"

    @property
    def finetuning_files(self) -> tuple[Path, ...]:
        """What finetune writes: artefact, checkpoint and log."""
        return self.finetuned_file, finetuning_checkpoint(self.finetuned_file), finetuning_log(self.finetuned_file)

    @property
    def student_file(self) -> Path:
        """Artefact that a distillation chose."""
        return self.folder / "student.h5"

    @property
    def checkpoint_file(self) -> Path:
        """Newest state of training, from which `--resume` continues."""
        return self.folder / "checkpoint.pt"

    def is_run(self) -> bool:
        """Whether the folder holds a run."""
        return self.config_file.is_file()

    def read_config(self) -> AnyConfig:
        """Return the configuration; raises DataError where there is none or it is damaged."""
        try:
            return decode_config(self.config_file.read_bytes())
        except OSError as error:
            raise DataError(
                f"{self.folder} is no run folder ({self.config_file.name}: {error.strerror}): "
                f"run lutkit train --run {self.folder}, or name another run"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{self.config_file} is damaged ({error}): restore it or train again") from error

    def write_config(self, config: AnyConfig) -> None:
        """Create the folder and write the configuration."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"run folder {self.folder} cannot be made ({error.strerror}): choose another --run"
            ) from error
        text = json.dumps(msgspec.to_builtins(config), indent=2) + "\n"
        write_atomically(self.config_file, text.encode(), overwrite=True, error=DataError)

    def write_visits(self, visits: Mapping[str, Any]) -> None:
        """Write the visited cells as `lutkit.colour.visits.pack_visits` gives them; raises DataError where it cannot."""
        write_atomically(self.visits_file, (json.dumps(visits) + "\n").encode(), overwrite=True, error=DataError)

    def read_visits(self) -> dict[str, Any] | None:
        """Return the visited cells, None where training counted none; raises DataError where the file is damaged."""
        try:
            return msgspec.json.decode(self.visits_file.read_bytes(), type=dict[str, Any])
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self.visits_file} cannot be used ({error}): remove it, and transfer counts anew where the data are"
            ) from error

    def own_files(self) -> list[Path]:
        """Return the files in the folder that a run calls its own."""
        own = (
            self.config_file,
            self.network_file,
            self.checkpoint_file,
            self.log_file,
            self.visits_file,
            self.table_file,
        )
        events = self.folder.glob("tensorboard/events.out.tfevents.*")
        return [file for file in (*own, *self.finetuning_files, *events) if file.is_file()]

    def check_free(self, *, overwrite: bool, option: str, resumable: bool = False) -> None:
        """Raise DataError where a new run would take the place of an earlier one's files, unless that is asked for.

        `option` names the folder on the command line; `resumable` tells that --resume is another way on.
        """
        in_the_way = [] if overwrite else self.own_files()
        if not in_the_way:
            return
        if self.is_run():
            resume = "go on with --resume, " if resumable else ""
            raise DataError(
                f"run {self.folder} exists: {resume}name another with {option}, or start anew over it with -y"
            )
        raise DataError(
            f"{self.folder} is no run but holds {in_the_way[0].name}, which a run overwrites: name another folder with "
            f"{option}, or go ahead with -y"
        )

    def clear(self) -> None:
        """Remove what an earlier run left in the folder, and nothing else; raises DataError where it cannot."""
        _remove(self.own_files())

    def forget_finetuning(self) -> None:
        """Remove what was finetuned from tables that are no longer there; raises DataError where it cannot."""
        _remove(self.finetuning_files)


def finetuning_checkpoint(artefact: Path) -> Path:
    """Return the checkpoint that lies beside an artefact while it is being finetuned."""
    return artefact.with_name(f"{artefact.stem}-checkpoint.pt")


def finetuning_log(artefact: Path) -> Path:
    """Return the log that lies beside a finetuned artefact."""
    return artefact.with_name(f"{artefact.stem}-log.jsonl")


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{file} cannot be removed ({error.strerror}): check the permissions") from error


class Log:
    """A JSON-lines log that survives being cut off: a resumed run first drops the lines that it will write again.

    Parameters
    ----------
    file : Path
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def cut(self, step: int) -> None:
        """Drop the lines after a step, and a last line that was cut off."""
        if not self._file.is_file():
            return
        kept: list[str] = []
        for line in self._file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        write_atomically(self._file, "".join(kept).encode(), overwrite=True, error=DataError)

    def add(self, entry: dict[str, Any]) -> None:
        """Append one line; raises DataError where the system refuses."""
        try:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise DataError(f"cannot write {self._file} ({error.strerror}): check the folder and the disk") from error
