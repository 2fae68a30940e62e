"""Who may import whom, as far as import-linter cannot see it: at what time, and with torch missing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COMMAND_LINE = sorted((ROOT / "lutkit" / "cli").glob("*.py"))

WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
"""


def run_without_torch(code, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def list_imports_at_start(tree):
    """Yield the modules that a file imports when it is imported itself."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
        else:
            # Anything but a definition, such as `try:`, could hide an import that runs at once.
            hidden = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
            defines = isinstance(node, ast.FunctionDef | ast.ClassDef)
            types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            assert not hidden or defines or types_only, f"line {node.lineno} hides an import"


@pytest.mark.parametrize("file", COMMAND_LINE, ids=lambda file: file.stem)
def test_command_line_imports_libraries_inside_functions_only(file):
    for module in list_imports_at_start(ast.parse(file.read_text(encoding="utf-8"))):
        top = module.partition(".")[0]
        assert top in sys.stdlib_module_names or top == "click" or module.startswith("lutkit.cli"), module


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
