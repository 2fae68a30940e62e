"""Fixtures shared by every test."""

from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the photographs, published tables and oracles; tests that need it are skipped where it is absent."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("needs the shared photographs, published tables and oracles, which are not part of the project")
    return _SHARED_DATA
