"""Run code in a Python process of its own, in which the tests' modules can be imported."""

import os
import subprocess
import sys
from pathlib import Path


def refuse_imports(*packages: str) -> str:
    """Return code after which importing these packages fails as if they were not installed."""
    return (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {packages!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )


def run_python(code: str, **environment: str) -> str:
    """Return what `code` prints; fails with its stderr where it ends in an error."""
    search = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    return done.stdout
