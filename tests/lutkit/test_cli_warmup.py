"""`lutkit warmup`: what it asks for, and what it says."""

import json

import pytest
from click.testing import CliRunner

from lutkit.cli import main
from lutkit_runtime.engine import warmup


@pytest.fixture
def asked(monkeypatch):
    """Warm nothing up; return the backends that were asked."""
    backends = []

    def warm_up(backend, on_done, processes):
        backends.append((backend, processes))
        outcomes = [warmup.Outcome(backend, "a", 2.5, True), warmup.Outcome(backend, "b", 0.25, False)]
        for outcome in outcomes:
            on_done(outcome)
        return outcomes

    monkeypatch.setattr(warmup, "warm_up", warm_up)
    monkeypatch.setattr(warmup, "find_cache", lambda backend: f"/cache/{backend}")
    return backends


def test_every_backend_that_compiles_is_asked(asked, monkeypatch):
    monkeypatch.setattr("lutkit_runtime.engine.suitable_backends", lambda: ("numpy", "cpu", "cuda"))
    result = CliRunner().invoke(main, ["warmup"])
    assert result.exit_code == 0, result.stderr
    assert [name for name, _ in asked] == ["cpu", "cuda"]
    assert all(processes >= 1 for _, processes in asked)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0] == "numpy: nothing to compile"
    assert lines[1] == "cpu: kernels are kept in /cache/cpu"
    assert lines[2].split() == ["cpu", "2.50", "s", "compiled", "a"]
    assert lines[3].split() == ["cpu", "0.25", "s", "there", "already", "b"]
    assert lines[-1] == "4 cases in 0 s, 2 of them compiled"


def test_json_has_folders_and_seconds(asked):
    result = CliRunner().invoke(main, ["warmup", "--backend", "cpu", "--json"])
    found = json.loads(result.stdout)
    assert found["folders"] == {"cpu": "/cache/cpu"}
    assert found["seconds"] >= 0
    assert found["cases"][0] == {"backend": "cpu", "case": "a", "seconds": 2.5, "compiled": True}


def test_a_folder_that_cannot_be_used_is_said_and_nothing_refused(asked, monkeypatch):
    monkeypatch.setattr(warmup, "find_cache", lambda backend: None)
    result = CliRunner().invoke(main, ["warmup", "--backend", "cpu", "--json"])
    assert result.exit_code == 0
    assert "NUMBA_CACHE_DIR" in result.stderr.splitlines()[0]
    assert json.loads(result.stdout)["folders"] == {"cpu": None}
    assert len(asked) == 1


def test_a_backend_that_cannot_run_is_one_line(asked, monkeypatch):
    monkeypatch.setattr("lutkit_runtime.engine.backends.CudaBackend.obstacle", lambda self: "no GPU: buy one")
    result = CliRunner().invoke(main, ["warmup", "--backend", "cuda"])
    assert result.exit_code == 1
    assert result.stderr == "Error: backend 'cuda' cannot be used: no GPU: buy one\n"
    assert asked == []
