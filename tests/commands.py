"""Commands called in this process, and what is expected of their ends; shared by tests of the command line."""

from pathlib import Path

from click.testing import CliRunner, Result

from lutkit.cli import main


def call(*arguments: object) -> Result:
    """Run lutkit with arguments."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments: object) -> Result:
    """Run lutkit with arguments, which must succeed."""
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def assert_refused(result: Result, *told: str, code: int = 1) -> None:
    """Check that a command ended with one line that says these words, and wrote nothing for other programs."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and "internal error" not in last
    for words in told:
        assert words in last


def list_files(folder: Path) -> dict[Path, bytes]:
    """Return the files below a folder with what is in them."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
