"""Built-in models are found by name, and each is an artefact."""

import pytest

from lutkit import models
from lutkit.models import builtin_names, find_builtin
from lutkit_runtime.artefact import read_artefact
from lutkit_runtime.errors import DataError


def test_every_builtin_model_is_a_sound_artefact():
    for name in builtin_names():
        artefact = read_artefact(find_builtin(name))
        artefact.validate()
        assert artefact.provenance, f"{name} does not say where it came from"


def test_builtin_models_take_at_most_25_megabytes():
    assert sum(find_builtin(name).stat().st_size for name in builtin_names()) <= 25_000_000


def test_names_come_from_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"no built-in model 'sr-x4'.*none in this installation.*artefact"):
        find_builtin("sr-x4")
    for name in ("b", "a"):
        (tmp_path / f"{name}.h5").touch()
    (tmp_path / "c.txt").touch()
    assert builtin_names() == ("a", "b")
    assert find_builtin("b") == tmp_path / "b.h5"
    with pytest.raises(DataError, match="the names are a, b"):
        find_builtin("../a")
