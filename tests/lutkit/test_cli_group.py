"""The command group: what it imports, and how errors reach the user."""

import errno
import subprocess
import sys
import types

import click
import pytest
from click.testing import CliRunner

from lutkit.cli import main
from lutkit.cli.group import COMMANDS, CommandEntry, describe_error
from lutkit_runtime.errors import LutkitError

HEAVY = ("numpy", "numba", "torch", "cv2", "h5py", "PIL")


@pytest.fixture
def raising(monkeypatch):
    """Return a function that makes `lutkit boom` raise an exception and runs it."""

    def run(problem, *arguments):
        @click.command()
        def command():
            raise problem

        module = types.ModuleType("boom_command")
        module.command = command
        monkeypatch.setitem(sys.modules, "boom_command", module)
        monkeypatch.setitem(COMMANDS, "boom", CommandEntry("boom_command", "Raise."))
        return CliRunner().invoke(main, [*arguments, "boom"])

    return run


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from lutkit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"assert not set({HEAVY!r}) & sys.modules.keys(), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name}  " in done.stdout or f"  {name} " in done.stdout for name in COMMANDS)


def test_version_is_that_of_the_runtime():
    from lutkit_runtime import __version__

    assert CliRunner().invoke(main, ["--version"]).output == f"lutkit {__version__}\n"


def test_unknown_command_is_wrong_usage():
    result = CliRunner().invoke(main, ["frobnicate"])
    assert result.exit_code == 2
    assert "frobnicate" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (LutkitError("slot 'x' has 3\nentries; needs 4"), "slot 'x' has 3 entries; needs 4"),
        (OSError(errno.ENOSPC, "No space left on device", "out.png"), "out.png: No space left on device; free"),
        (PermissionError(errno.EACCES, "Permission denied", "in.png"), "in.png: Permission denied; check"),
        (MemoryError(), "not enough memory"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "pip install 'lutkit[train]'"),
        (ZeroDivisionError("division by zero"), "internal error (ZeroDivisionError: division by zero): please report"),
        (ModuleNotFoundError("No module named 'nonsense'", name="nonsense"), "internal error"),
    ],
)
def test_errors_are_one_line_and_exit_code_one(raising, problem, told):
    result = raising(problem)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert told in result.stderr


def test_traceback_is_shown_on_request(raising):
    assert isinstance(raising(ZeroDivisionError("x"), "--traceback").exception, ZeroDivisionError)


def test_interruption_exits_with_130(raising):
    assert raising(KeyboardInterrupt()).exit_code == 130


def test_both_names_of_a_failed_rename_lead_to_the_target():
    problem = OSError(errno.EROFS, "Read-only file system", "a.part", None, "a.png")
    assert describe_error(problem).startswith("a.png: Read-only file system; ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_and_the_listed_summary(name):
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == COMMANDS[name].summary
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert "Examples:" in shown.output
    assert f"  lutkit {name}" in shown.output.partition("Examples:")[2]


def test_closed_pipe_is_left_silently():
    code = "from lutkit.cli import main; main(['--help'])"
    with subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep(0.3); {code}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        child.stdout.close()
        assert child.stderr.read() == b""
