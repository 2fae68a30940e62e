"""Fixtures shared by every test; where there is no GPU, CUDA kernels run in Numba's simulator."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from lutkit.families.mulut import build_program
from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.kernels.cuda.device import SIMULATOR, find_gpu_obstacle
from lutkit_runtime.pattern import NAMED_PATTERNS

if find_gpu_obstacle() is not None:
    # Numba reads it when it is imported, which nothing above does
    assert "numba" not in sys.modules
    os.environ.setdefault(SIMULATOR, "1")

settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the photographs, published tables and oracles; tests that need it are skipped where it is absent."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("needs the shared photographs, published tables and oracles, which are not part of the project")
    return _SHARED_DATA


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artefact file of a small random model of scale 2; not to be changed."""
    program = build_program({"s": NAMED_PATTERNS["s"]}, stages=2, scale=2, interval=6)
    generator = np.random.default_rng(0)
    tables = {
        name: generator.integers(-127, 128, (slot.entries, slot.outputs), dtype=np.int8)
        for name, slot in program.slots.items()
    }
    path = tmp_path_factory.mktemp("models") / "tiny.h5"
    write_artefact(path, Artefact(program, tables, {"made": "at random, for tests"}))
    return path
