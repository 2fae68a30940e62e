"""Fixtures of the train side: small photos, a cache of degraded photos that is not the user's, one thread."""

import sys
from pathlib import Path

import pytest
from small_training import write_photos


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests compute out of the user's cache folder."""
    monkeypatch.setenv("LUTKIT_CACHE", str(tmp_path_factory.getbasetemp() / "degraded"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Let torch work in one thread: work as small as in tests takes a hundred times as long in two on a busy machine."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of six generated photos of 64 x 64 pixels; not to be changed."""
    return write_photos(tmp_path_factory.mktemp("photos"), count=6, side=64)
