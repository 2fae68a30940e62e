"""Who may import whom, as far as import-linter cannot see it: at what time, and with torch missing."""

import os
import subprocess
import sys

import numpy as np
from fresh_python import refuse_imports
from PIL import Image

WITHOUT_TORCH = refuse_imports("torch", "safetensors")


def run_without_torch(code, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_commands_import_libraries_inside_functions_only():
    code = (
        "import click, importlib\n"
        "before = set(sys.modules)\n"
        "from lutkit.cli.group import COMMANDS\n"
        "for entry in COMMANDS.values(): importlib.import_module(entry.module)\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(tops - sys.stdlib_module_names - {'lutkit'}))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('lutkit.') and '.cli' not in name))"
    )
    done = run_without_torch(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n\n"


def test_runtime_imports_with_torch_missing():
    code = (
        "import importlib, pkgutil, lutkit_runtime\n"
        "names = [m.name for m in pkgutil.walk_packages(lutkit_runtime.__path__, 'lutkit_runtime.')]\n"
        "for name in names:\n"
        "    if '.cuda' not in name: importlib.import_module(name)\n"
        "assert 'lutkit' not in sys.modules\n"
        "print(len(names))"
    )
    done = run_without_torch(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_apply_works_with_torch_missing(tmp_path, tiny_model):
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "in.png")
    code = "from lutkit.cli import main; main(sys.argv[1:])"
    done = run_without_torch(code, "apply", tmp_path / "in.png", "-m", tiny_model, "-o", tmp_path / "out.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as out:
        assert out.size == (8, 8)


def test_train_says_what_to_install_with_torch_missing(tmp_path):
    done = run_without_torch("from lutkit.cli import main; main(sys.argv[1:])", "train", cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'lutkit[train]'" in done.stderr
    assert done.stderr.count("\n") == 1
