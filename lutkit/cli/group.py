"""The group of commands: imports a command when it is used, turns every error into one line. May import click only."""

from __future__ import annotations

import errno
import importlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

FAILED = 1
INTERRUPTED = 130
TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM has come: what is half done is cleaned up on the way out, as after Ctrl-C."""


class CommandEntry(NamedTuple):
    """Where a command lives, and its line in the list of commands, which is shown without importing it."""

    module: str
    summary: str


COMMANDS: dict[str, CommandEntry] = {
    "apply": CommandEntry("lutkit.cli.apply", "Run a model on pictures and videos."),
    "train": CommandEntry("lutkit.cli.train", "Train the networks of a model."),
    "transfer": CommandEntry("lutkit.cli.transfer", "Turn trained networks into tables."),
    "finetune": CommandEntry("lutkit.cli.finetune", "Train the tables themselves."),
    "distil": CommandEntry("lutkit.cli.distil", "Make tables of any model that keeps the size of pictures."),
    "eval": CommandEntry("lutkit.cli.evaluate", "Score a model on pictures with known answers."),
    "import": CommandEntry("lutkit.cli.import_", "Read tables or networks that others published."),
    "export": CommandEntry("lutkit.cli.export", "Write a model in another format."),
    "info": CommandEntry("lutkit.cli.info", "Show what a model is made of."),
    "lint": CommandEntry("lutkit.cli.lint", "Look for faults in a model's colour cubes."),
    "plot": CommandEntry("lutkit.cli.plot", "Draw what a model does to colours."),
    "compose": CommandEntry("lutkit.cli.compose", "Join two colour LUTs into one."),
    "resize": CommandEntry("lutkit.cli.resize", "Change how many nodes a colour LUT has."),
    "invert": CommandEntry("lutkit.cli.invert", "Make the colour LUT that undoes another."),
    "diff": CommandEntry("lutkit.cli.diff", "Measure how much two colour LUTs differ."),
    "models": CommandEntry("lutkit.cli.models", "List the built-in models."),
    "bench": CommandEntry("lutkit.cli.bench", "Measure how fast models run on this machine, beside other programs."),
    "warmup": CommandEntry("lutkit.cli.warmup", "Compile every kernel now, so that nobody waits for it later."),
    "verify": CommandEntry("lutkit.cli.verify", "Check that a model is intact and runs as it should."),
}
"""Every command by name; its module holds the click command as `command`."""

TRAIN_PACKAGES = frozenset({"torch", "safetensors", "onnx", "onnxruntime", "scipy"})
"""Packages of the extra `train`."""


class CommandGroup(click.Group):
    """A click group whose commands are imported when used and whose errors are one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of this name."""
        entry = COMMANDS.get(cmd_name)
        return importlib.import_module(entry.module).command if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error becomes one line on stderr and an exit code."""
        try:
            with _heed_termination():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except Terminated:
            click.echo("Terminated.", err=True)
            ctx.exit(TERMINATED)
        except BrokenPipeError:
            raise  # click leaves silently
        except Exception as problem:
            if ctx.params["traceback"]:
                raise
            click.echo(f"Error: {describe_error(problem, ctx.invoked_subcommand)}", err=True)
            ctx.exit(FAILED)


@contextmanager
def _heed_termination() -> Iterator[None]:
    """Let SIGTERM raise Terminated inside the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def describe_error(problem: Exception, command: str | None = None) -> str:
    """Return one line that says what is wrong, where, and the remedy.

    Parameters
    ----------
    problem : Exception
    command : str, optional
        Name of the command that met it.
    """
    from lutkit_runtime.errors import LutkitError

    match problem:
        case LutkitError():
            text = str(problem)
        case OSError() if problem.errno is not None:
            text = _describe_system_error(problem)
        case MemoryError():
            text = "not enough memory: use smaller pictures, or a smaller --tile"
        case ModuleNotFoundError(name=name) if name and name.partition(".")[0] in TRAIN_PACKAGES:
            text = f"lutkit {command or 'train'} needs {name}: run pip install 'lutkit[train]'"
        case _:
            text = (
                f"internal error ({type(problem).__name__}: {problem}): please report it, with what this shows: "
                f"lutkit --traceback {shlex.join(sys.argv[1:])}"
            )
    return one_line(text)


def one_line(text: str) -> str:
    """Return text as one line that steers no terminal: names of files may hold line ends and control characters."""
    return escape_controls(" ".join(text.split()))


def escape_controls(text: str) -> str:
    """Return text with characters that cannot be shown, such as those that steer a terminal, as escape sequences."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


_REMEDIES = {
    errno.ENOSPC: "free some space or write to another disk",
    errno.EDQUOT: "free some space or write to another disk",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "write to another folder",
    errno.ENOENT: "check the name",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "check the name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files with ulimit -n",
}


def _describe_system_error(problem: OSError) -> str:
    where = problem.filename2 or problem.filename
    reason = problem.strerror or type(problem).__name__
    remedy = _REMEDIES.get(problem.errno or 0, "check the file and the disk")
    return f"{where}: {reason}; {remedy}" if where is not None else f"{reason}; {remedy}"
