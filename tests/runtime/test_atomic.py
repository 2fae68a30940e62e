"""Atomic writing: whatever goes wrong, the folder is as it was."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lutkit_runtime import atomic
from lutkit_runtime.atomic import write_all_atomically, write_atomically
from lutkit_runtime.errors import FormatError, LutkitError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fail_at(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, problem: BaseException, call: int = 1) -> None:
    """Make the call with this number raise; the others do what they always do."""
    original: Callable[..., Any] = getattr(target, name)
    calls = 0

    def failing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise problem
        return original(*arguments, **named)

    monkeypatch.setattr(target, name, failing)


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"data")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a").read_bytes() == b"data"
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_atomically(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("problem", [full_disk(), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_of_an_interrupted_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException, overwrite: bool
) -> None:
    path = tmp_path / "a"
    if overwrite:
        path.write_bytes(b"old")
    before = contents(tmp_path)
    fail_at(monkeypatch, atomic.os, "fsync", problem)
    with pytest.raises(FormatError if isinstance(problem, OSError) else type(problem)) as caught:
        write_atomically(path, b"new", overwrite=overwrite, error=FormatError)
    assert contents(tmp_path) == before
    if isinstance(problem, OSError):
        assert "No space left" in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("problem", [KeyboardInterrupt, full_disk(), MemoryError, ValueError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_of_a_stream_whose_writer_fails(
    tmp_path: Path, problem: BaseException | type[BaseException], overwrite: bool
) -> None:
    path = tmp_path / "a"
    if overwrite:
        path.write_bytes(b"old")
    before = contents(tmp_path)
    expected = FormatError if isinstance(problem, OSError) else problem
    with (
        pytest.raises(expected),  # type: ignore[arg-type]
        atomic.open_atomically(path, overwrite=overwrite, error=FormatError) as stream,
    ):
        stream.write(b"half")
        stream.flush()
        assert len(contents(tmp_path)) == 1 + overwrite
        raise problem
    assert contents(tmp_path) == before


def test_a_stream_can_be_read_and_moved_in(tmp_path: Path) -> None:
    with atomic.open_atomically(tmp_path / "a") as stream:
        stream.write(b"abc")
        stream.seek(1)
        assert stream.read() == b"bc"
        stream.seek(0)
        stream.write(b"x")
        assert len(contents(tmp_path)) == 1
        assert not (tmp_path / "a").exists()
    assert contents(tmp_path) == {"a": b"xbc"}


def test_a_link_to_nothing_is_no_free_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(LutkitError, match="exists already"):
        write_atomically(tmp_path / "link", b"new")
    write_atomically(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "gone").read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    original = os.fsync

    def appear(handle: int) -> None:
        path.write_bytes(b"theirs")
        original(handle)

    monkeypatch.setattr(atomic.os, "fsync", appear)
    with pytest.raises(LutkitError, match="exists already"):
        write_atomically(path, b"ours")
    assert contents(tmp_path) == {"a": b"theirs"}


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "link", unsupported)
    write_atomically(tmp_path / "a", b"new")
    with pytest.raises(LutkitError, match="exists already"):
        write_atomically(tmp_path / "a", b"newer")
    write_all_atomically({tmp_path / "a": b"A", tmp_path / "b": b"B"}, overwrite=True)
    assert contents(tmp_path) == {"a": b"A", "b": b"B"}
    fail_at(monkeypatch, Path, "replace", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "c", b"new")
    assert contents(tmp_path) == {"a": b"A", "b": b"B"}


def test_targets_that_no_file_can_take(tmp_path: Path) -> None:
    with pytest.raises(LutkitError, match="is a folder"):
        write_atomically(tmp_path, b"", overwrite=True)
    with pytest.raises(LutkitError, match="there is no folder"):
        write_atomically(tmp_path / "missing" / "a", b"")
    with pytest.raises(LutkitError, match="no file name"):
        write_atomically("a\0b", b"")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LutkitError, match="device or pipe"):
        write_atomically(tmp_path / "pipe", b"", overwrite=True)
    with pytest.raises(LutkitError, match="cannot write"):
        write_atomically(tmp_path / ("x" * 300), b"")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize("name", ["fsync", "link"])
@pytest.mark.parametrize("problem", [full_disk(), KeyboardInterrupt()])
def test_a_group_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, name: str, problem: BaseException
) -> None:
    if name == "link" and isinstance(problem, OSError):
        problem = FileExistsError()
    fail_at(monkeypatch, atomic.os, name, problem, call)
    with pytest.raises((LutkitError, KeyboardInterrupt)):
        write_all_atomically({tmp_path / key: key.encode() for key in "abc"})
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize("problem", [full_disk(), KeyboardInterrupt()])
def test_a_group_that_fails_puts_back_what_it_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, problem: BaseException
) -> None:
    before = {"a": b"old a", "c": b"old c"}
    for key, content in before.items():
        (tmp_path / key).write_bytes(content)
    fail_at(monkeypatch, Path, "replace", problem, call)
    with pytest.raises((LutkitError, KeyboardInterrupt)):
        write_all_atomically({tmp_path / key: key.encode() for key in "abc"}, overwrite=True)
    assert contents(tmp_path) == before


def test_a_group_refuses_before_it_writes(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(LutkitError, match="exists already"):
        write_all_atomically({tmp_path / key: key.encode() for key in "ab"})
    assert contents(tmp_path) == {"b": b"old"}
    with pytest.raises(LutkitError, match="twice"):
        write_all_atomically({tmp_path / "a": b"", tmp_path / "." / ".." / tmp_path.name / "a": b""})
    assert contents(tmp_path) == {"b": b"old"}
