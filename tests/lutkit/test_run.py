"""Run folders: configuration there and back, what belongs to a run, refusals."""

import errno
import os
from pathlib import Path

import msgspec
import pytest
from small_training import RECIPE, make_config

from lutkit.recipe import Phase
from lutkit.run import Run
from lutkit_runtime.errors import DataError

CONFIG = make_config(
    None,
    recipe=msgspec.structs.replace(RECIPE, phases=(Phase(interval=None, share=0.3), Phase(interval=5))),
    patterns=("s", ((0, 0), (-1, 2))),
)


def one_line(refusal):
    message = str(refusal.value)
    assert "\n" not in message
    return message


def test_configurations_come_back(tmp_path):
    run = Run(tmp_path / "deep" / "run")
    assert not run.is_run()
    run.write_config(CONFIG)
    assert run.is_run()
    assert run.read_config() == CONFIG


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(DataError) as refusal:
        Run(tmp_path / "nowhere").read_config()
    assert "is no run folder" in one_line(refusal)
    assert f"lutkit train --run {tmp_path / 'nowhere'}" in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"family": "mulut"}', b'{"family": 3, "model": {}, "recipe": {}}'],
)
def test_damaged_configurations_are_refused(tmp_path, content):
    run = Run(tmp_path)
    run.config_file.write_bytes(content)
    with pytest.raises(DataError) as refusal:
        run.read_config()
    assert f"{run.config_file} is damaged" in one_line(refusal)


def test_configurations_with_unknown_fields_are_refused(tmp_path):
    run = Run(tmp_path)
    run.write_config(CONFIG)
    run.config_file.write_text(run.config_file.read_text().replace('"seed"', '"sed"'))
    with pytest.raises(DataError, match="sed"):
        run.read_config()


def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(DataError) as refusal:
        Run(tmp_path / "file" / "run").write_config(CONFIG)
    assert "cannot be made (Not a directory)" in one_line(refusal)
    assert (tmp_path / "file").read_text() == "keep"


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DataError) as refusal:
        Run(tmp_path / "run").write_config(CONFIG)
    assert "No space left on device" in one_line(refusal)
    assert list((tmp_path / "run").iterdir()) == []


def test_clearing_takes_what_is_the_runs_own_and_nothing_else(tmp_path):
    run = Run(tmp_path)
    own = [
        "run.json", "network.safetensors", "checkpoint.pt", "log.jsonl", "visits.json", "lut.h5",
        "lut-finetuned.h5", "lut-finetuned-checkpoint.pt", "lut-finetuned-log.jsonl",
    ]  # fmt: skip
    others = ["notes.txt", "lut2.h5", "model.h5", "lut-finetuned-old.h5", "lut-finetuned2.h5"]
    for name in own + others:
        (tmp_path / name).write_text(name)
    assert {file.name for file in run.own_files()} == set(own)
    run.clear()
    assert {file.name for file in tmp_path.iterdir()} == set(others)
    assert run.own_files() == []


def test_visits_come_back_and_damaged_ones_are_named(tmp_path):
    run = Run(tmp_path)
    assert run.read_visits() is None
    visits = {"size": 5, "share": 0.25, "cells": "eJw="}
    run.write_visits(visits)
    assert run.read_visits() == visits
    for content in ("[1]", "{", "\xff"):
        run.visits_file.write_text(content, encoding="latin-1")
        with pytest.raises(DataError) as refusal:
            run.read_visits()
        assert "visits.json" in str(refusal.value) and "\n" not in str(refusal.value)


def test_folders_without_permission_are_named(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    run.write_config(CONFIG)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(DataError) as refusal:
        run.clear()
    assert "run.json cannot be removed (Permission denied)" in one_line(refusal)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError) as refusal:
        Run(tmp_path / "other").write_config(CONFIG)
    assert "other cannot be made (Permission denied)" in one_line(refusal)
