"""Which pictures INPUT means and where their results go."""

import errno
import os
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkit.cli.sources import Source, find_sources
from lutkit.cli.targets import File, Folder, Template, clean_name, plan_jobs, read_destination

SUFFIXES = (".png", ".jpg", ".gif")
WRITABLE = (".png", ".jpg")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Return a folder of empty files, the current folder, with pictures, subfolders and other things."""
    for name in ("a.png", "b.JPG", "sub/a.png", "sub/deep/c.gif", "notes.txt", ".hidden.png", ".cache/d.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def list_found(*inputs):
    sources, problems = find_sources(inputs, SUFFIXES)
    return [str(source.path) for source in sources], [problem.source for problem in problems]


def plan(inputs, output=None, model="m"):
    sources, _ = find_sources(inputs, SUFFIXES)
    jobs, results = plan_jobs(sources, read_destination(output, sources, WRITABLE), model, WRITABLE)
    return {str(job.source.path): str(job.target) for job in jobs}, [str(source.path) for source in results]


def test_folders_are_searched_without_hidden_and_foreign_files(photos):
    found, problems = list_found("photos")
    assert found == ["photos/a.png", "photos/b.JPG", "photos/sub/a.png", "photos/sub/deep/c.gif"]
    assert problems == []


def test_patterns_are_expanded_when_the_shell_did_not(photos):
    assert list_found("photos/*.png") == (["photos/a.png"], [])
    assert list_found("photos/**/*.png")[0] == ["photos/a.png", "photos/sub/a.png"]
    assert list_found("photos/s*")[0] == ["photos/sub/a.png", "photos/sub/deep/c.gif"]


def test_a_file_that_looks_like_a_pattern_is_itself(photos):
    Path("photos/[1].png").touch()
    assert list_found("photos/[1].png") == (["photos/[1].png"], [])


def test_every_picture_comes_once(photos):
    assert list_found("photos/a.png", "photos", "photos/../photos/a.png")[0].count("photos/a.png") == 1


def test_what_is_not_there_is_named_and_the_rest_goes_on(photos):
    Path("empty").mkdir()
    found, problems = list_found("missing.png", "photos/a.png", "*.tiff", "empty")
    assert found == ["photos/a.png"]
    assert problems == ["missing.png", "*.tiff", "empty"]


def test_folders_that_cannot_be_read_are_named_and_the_rest_goes_on(photos, monkeypatch):
    able = os.scandir

    def scan(path):
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return able(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert list_found("photos") == (["photos/a.png", "photos/b.JPG"], ["photos/sub"])


def test_names_too_long_for_the_system_are_named(photos):
    assert list_found("a" * 300, "photos/a.png") == (["photos/a.png"], ["a" * 300])


def test_default_output_lies_beside_the_input(photos):
    jobs, _ = plan(["photos/a.png", "photos/sub/deep/c.gif"])
    assert jobs == {"photos/a.png": "photos/a_m.png", "photos/sub/deep/c.gif": "photos/sub/deep/c_m.png"}


def test_folder_output_keeps_names_and_subfolders(photos):
    expected = {
        "photos/a.png": "out/a.png",
        "photos/b.JPG": "out/b.JPG",
        "photos/sub/a.png": "out/sub/a.png",
        "photos/sub/deep/c.gif": "out/sub/deep/c.png",
    }
    assert plan(["photos"], "out")[0] == expected
    assert plan(["photos/"], "out/")[0] == expected
    assert plan(["photos/**/*"], "out")[0] == expected


def test_templates_name_outputs(photos):
    assert plan(["photos/a.png"], "{model}-{name}.png")[0] == {"photos/a.png": "photos/m-a.png.png"}
    assert plan(["photos/sub"], "out/{stem}@2{ext}")[0]["photos/sub/deep/c.gif"] == "out/deep/c@2.png"


def test_results_of_an_earlier_run_are_not_inputs(photos):
    for name in ("a_m.png", "a_m_m.png"):
        Path("photos", name).touch()
    jobs, results = plan(["photos"])
    assert results == ["photos/a_m.png", "photos/a_m_m.png"]
    assert "photos/a_m.png" not in jobs
    assert "photos/a_m.png" in plan(["photos/a_m.png"])[0]


def test_results_in_a_folder_within_the_input_are_not_inputs(photos):
    Path("photos/out").mkdir()
    Path("photos/out/a.png").touch()
    assert plan(["photos"], "photos/out")[1] == ["photos/out/a.png"]


@pytest.mark.parametrize(
    ("inputs", "output", "told"),
    [
        (["photos/a.png", "photos/sub/a.png"], "out", "both become out/a.png"),
        (["photos"], "{model}.png", "both become"),
        (["photos"], "one.png", "cannot go to the one file one.png"),
        (["photos"], "-", "cannot go to stdout"),
        (["photos/a.png", "photos/sub/a.png"], "photos/sub/{stem}.png", "would replace the input photos/sub/a.png"),
        (["photos/b.JPG", "photos/a.png"], "photos/a.png", "cannot go"),
        (["photos/a.png"], "a.xyz", "cannot write '.xyz'"),
        (["photos/a.png"], "{stem}{nonsense}", "field '{nonsense}'"),
        (["photos/a.png"], "{stem.__class__}.png", "field '{stem.__class__}'"),
        (["photos/a.png"], "{stem!r}.png", "known are"),
        (["photos/a.png"], "{stem:>99999999}.png", "known are"),
        (["photos/a.png"], "{}.png", "known are"),
        (["photos/a.png"], "{stem.png", "malformed"),
        (["photos/a.png"], "stem}.png", "malformed"),
    ],
)
def test_outputs_that_make_no_sense_are_wrong_usage(photos, inputs, output, told):
    with pytest.raises(click.UsageError) as caught:
        plan(inputs, output)
    assert told in caught.value.message


def test_one_result_may_not_replace_another_input(photos):
    Path("photos/a.jpg").touch()
    with pytest.raises(click.UsageError, match="would replace the input"):
        plan(["photos/a.jpg", "photos/a.png"], "{stem}.png")


def test_stdin_goes_to_stdout_unless_told_otherwise():
    source = Source(Path("-"))
    assert read_destination(None, [source], WRITABLE) == File(Path("-"))
    assert Template("{stem}_{model}{ext}").target(source, "m", ".png") == Path("stdin_m.png")
    assert Folder(Path("out")).target(source, "m", ".png") == Path("out/stdin.png")


@given(st.text())
def test_cleaned_names_are_one_part_of_a_path(name):
    cleaned = clean_name(name)
    assert len(Path(cleaned).parts) == 1
    assert cleaned not in {"", ".", ".."}
    assert not set(cleaned) & set("/\\:\0\n")
    assert clean_name(cleaned) == cleaned
