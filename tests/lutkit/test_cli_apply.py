"""`lutkit apply`: pictures in, pictures out, and everything that can go wrong on the way."""

import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

from lutkit.cli import main
from lutkit_runtime.engine import load


@pytest.fixture
def run(tiny_model, tmp_path, monkeypatch):
    """Return a function that runs `lutkit apply` with the tiny model in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, stdin=None, model=tiny_model):
        chosen = [] if model is None else ["-m", str(model)]
        return CliRunner().invoke(main, ["apply", *map(str, arguments), *chosen], input=stdin)

    return invoke


def make_pixels(height=5, width=6, channels=3):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = make_pixels() if pixels is None else pixels
    Image.fromarray(pixels).save(path, **options)
    return pixels


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_result_is_what_the_engine_computes(run, tmp_path, tiny_model):
    pixels = save(tmp_path / "in.png")
    result = run("in.png", "-o", "out.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "in.png -> out.png"
    np.testing.assert_array_equal(read("out.png"), load(tiny_model).apply(pixels, backend="numpy"))


@pytest.mark.parametrize("arguments", [[""], ["in.png", ""], ["in.png", "-o", ""], ["in.png", "-m", ""]])
def test_empty_arguments_are_wrong_usage(run, tmp_path, arguments):
    """An unset variable of a shell; as a path it would be the current folder."""
    save(tmp_path / "in.png")
    result = run(*arguments, model=None)
    assert result.exit_code == 2
    assert "is empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize("options", [["--backend", "numpy"], ["--backend", "cpu", "--threads", "1"], ["--tile", "2"]])
def test_options_of_the_computation_change_nothing(run, tmp_path, options):
    save(tmp_path / "in.png")
    assert run("in.png", "-o", "plain.png").exit_code == 0
    assert run("in.png", "-o", "other.png", *options).exit_code == 0
    np.testing.assert_array_equal(read("other.png"), read("plain.png"))


def test_default_name_lies_beside_the_input_and_is_never_overwritten(run, tmp_path):
    save(tmp_path / "photos" / "in.jpg")
    assert run("photos/in.jpg").exit_code == 0
    before = (tmp_path / "photos/in_tiny.jpg").read_bytes()
    save(tmp_path / "photos" / "in.jpg", make_pixels(9, 9))
    refused = run("photos/in.jpg")
    assert refused.exit_code == 1
    assert "exists already: choose another name or allow overwriting with -y" in refused.stderr
    assert (tmp_path / "photos/in_tiny.jpg").read_bytes() == before
    assert run("photos/in.jpg", "-y").exit_code == 0
    assert read("photos/in_tiny.jpg").shape == (18, 18, 3)


def test_input_is_replaced_only_when_asked(run, tmp_path):
    save(tmp_path / "in.png")
    assert run("in.png", "-o", "in.png").exit_code == 1
    assert read("in.png").shape == (5, 6, 3)
    assert run("in.png", "-o", "in.png", "-y").exit_code == 0
    assert read("in.png").shape == (10, 12, 3)


def test_bad_pictures_are_named_and_the_others_go_on(run, tmp_path):
    for name in ("a.png", "c.png", "e.png"):
        save(tmp_path / "in" / name)
    (tmp_path / "in/b.png").write_bytes(b"no picture")
    (tmp_path / "in/d.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:60])
    result = run("in", "missing.png", "-o", "out", "--json")
    assert result.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "e.png"]
    outcomes = {line["input"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert {name for name, line in outcomes.items() if line["status"] == "failed"} == {
        "in/b.png",
        "in/d.png",
        "missing.png",
    }
    assert outcomes["in/a.png"]["output"] == "out/a.png"
    for name in ("in/b.png", "in/d.png", "missing.png"):
        assert sum(line.startswith(f"{name}: ") for line in result.stderr.splitlines()) == 1
    assert result.stderr.splitlines()[-1] == "6 pictures: 3 done, 3 failed"


def test_names_with_strange_characters_stay_on_one_line(run, tmp_path):
    pixels = save(tmp_path / "a\n\x1b[31mb.png")
    done = run("a\n\x1b[31mb.png")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines()[-1] == r"a \x1b[31mb.png -> a__[31mb_tiny.png"
    assert read("a__[31mb_tiny.png").shape == (10, 12, 3)
    assert pixels.shape == (5, 6, 3)
    listed = run("a\n\x1b[31mb.png", "-y", "--dry-run", "--json")
    assert json.loads(listed.stdout)["input"] == "a\n\x1b[31mb.png"


def test_compilation_is_announced_once(run, tmp_path, monkeypatch):
    from lutkit_runtime.engine import Model

    def apply(self, image, *, on_compile, **options):
        on_compile()
        return image

    monkeypatch.setattr(Model, "apply", apply)
    save(tmp_path / "a.png")
    assert run("a.png").stderr.count("Compiling kernels") == 1


def test_existing_outputs_can_be_skipped(run, tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    save(tmp_path / "out/a.png", make_pixels(1, 1))
    assert run("a.png", "b.png", "-o", "out").exit_code == 1
    (tmp_path / "out/b.png").unlink()
    result = run("a.png", "b.png", "-o", "out", "--skip-existing")
    assert result.exit_code == 0
    assert read("out/a.png").shape == (1, 1, 3)
    assert read("out/b.png").shape == (10, 12, 3)
    assert result.stderr.splitlines()[-1] == "2 pictures: 1 done, 1 skipped"


def test_dry_run_writes_nothing_and_still_checks(run, tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    save(tmp_path / "out" / "b.png")
    result = run("a.png", "b.png", "-o", "out", "--dry-run")
    assert result.exit_code == 1
    assert result.stdout == "a.png -> out/a.png\n"
    assert "out/b.png exists already" in result.stderr
    assert os.listdir("out") == ["b.png"]  # noqa: PTH208


def test_folders_of_a_template_are_made(run, tmp_path):
    save(tmp_path / "in/sub/a.png")
    assert run("in", "-o", "new/{model}/{stem}{ext}").exit_code == 0
    assert read("new/tiny/sub/a.png").shape == (10, 12, 3)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("nowhere/out.png", "there is no folder nowhere"),
        ("file/out.png", "file is a file, not a folder"),
        ("file/{stem}{ext}", "file is a file, not a folder"),
        ("file/deeper/{stem}{ext}", "file is a file, not a folder"),
    ],
)
def test_places_that_cannot_be_written_are_found_before_the_work(run, tmp_path, monkeypatch, output, told):
    (tmp_path / "in.png").write_bytes(b"this would fail later, when it is read")
    (tmp_path / "file").touch()
    result = run("in.png", "-o", output)
    assert result.exit_code == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_folders_without_permission_are_named(run, tmp_path, monkeypatch):
    save(tmp_path / "in.png")
    (tmp_path / "locked").mkdir()
    able = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: "locked" not in str(path) and able(path, mode, **more))
    for output in ("locked/out.png", "locked/new/{stem}{ext}"):
        result = run("in.png", "-o", output)
        assert result.exit_code == 1
        assert "the folder locked is not writable" in result.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_unreadable_picture_is_named(run, tmp_path):
    save(tmp_path / "in.png")
    (tmp_path / "in.png").chmod(0)
    result = run("in.png", "-o", "out.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("in.png: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a.png", "b.png", "-o", "one.png"], "2 pictures cannot go to the one file one.png"),
        (["a.png", "b.png", "-o", "{model}.png"], "would both become"),
        (["a.png", "-o", "{wrong}.png"], "known are {stem}, {name}, {model}, {ext}"),
        (["a.png", "-o", "out.xyz"], "cannot write '.xyz'"),
        (["a.png", "-o", "{stem}"], "cannot write"),
        (["a.png", "-o", "-", "--json"], "--json"),
        (["a.png", "--tile", "0"], "--tile"),
        (["a.png", "--threads", "-1"], "--threads"),
        (["a.png", "--backend", "abacus"], "abacus"),
        (["a.png", "--sharpen"], "--sharpen"),
        ([], "Usage"),
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(run, tmp_path, arguments, told):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    result = run(*arguments, model=None) if not arguments else run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_unwritable_formats_fall_to_png(run, tmp_path):
    palette = Image.fromarray(make_pixels()).quantize(4)
    palette.save(tmp_path / "in.gif")
    result = run("in.gif")
    assert result.exit_code == 0, result.stderr
    assert read("in_tiny.png").shape == (10, 12, 3)
    assert "in.gif: " in result.stderr  # the palette was expanded


def test_stdin_goes_to_stdout_as_png(run):
    stream = io.BytesIO()
    pixels = make_pixels()
    Image.fromarray(pixels).save(stream, "BMP")
    result = run("-", stdin=stream.getvalue())
    assert result.exit_code == 0, result.stderr
    image = Image.open(io.BytesIO(result.stdout_bytes))
    assert (image.format, image.size) == ("PNG", (12, 10))


def test_stdin_can_go_to_a_file_and_a_file_to_stdout(run, tmp_path):
    save(tmp_path / "in.png")
    piped = run("in.png", "-o", "-")
    assert run("-", "-o", "out.png", stdin=(tmp_path / "in.png").read_bytes()).exit_code == 0
    np.testing.assert_array_equal(read("out.png"), np.asarray(Image.open(io.BytesIO(piped.stdout_bytes))))


def test_empty_stdin_is_one_line(run):
    result = run("-", stdin=b"")
    assert result.exit_code == 1
    assert result.stdout_bytes == b""
    assert result.stderr.startswith("stdin: the file is empty")
    assert result.stderr.count("\n") == 1


def test_other_depths_are_kept_and_said_once(run, tmp_path):
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, make_pixels().astype(np.uint16) * 257, photometric="rgb")
    result = run("a.tif", "b.tif", "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert tifffile.imread("out/a.tif").dtype == np.uint16
    assert result.stderr.count("works in 8 bits; 16-bit pixels") == 1


def test_transparency_is_kept(run, tmp_path):
    save(tmp_path / "in.png", make_pixels(channels=4))
    assert run("in.png", "-o", "out.png").exit_code == 0
    assert read("out.png").shape == (10, 12, 4)


def test_exif_is_kept_unless_stripped(run, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    save(tmp_path / "in.png", exif=exif)
    assert run("in.png", "-o", "kept.png").exit_code == 0
    assert run("in.png", "-o", "bare.png", "--strip").exit_code == 0
    with Image.open("kept.png") as kept, Image.open("bare.png") as bare:
        assert kept.getexif().get(0x010E) == "a description"
        assert not bare.getexif()


def test_large_pictures_are_refused(run, tmp_path):
    save(tmp_path / "in.png")
    result = run("in.png", "-o", "out.png", "--max-pixels", "29")
    assert result.exit_code == 1
    assert "--max-pixels 30" in result.stderr
    assert run("in.png", "-o", "out.png", "--max-pixels", "30").exit_code == 0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path, model: None, "there is no model"),
        (lambda path, model: path.mkdir(), "no run folder"),
        (lambda path, model: path.write_bytes(b"text"), "not a lutkit artefact"),
        (lambda path, model: path.write_bytes(model[:-1]), "cut off"),
        (lambda path, model: path.write_bytes(model[:-9] + b"?" + model[-8:]), "damaged"),
        (lambda path, model: path.write_bytes(b""), "empty"),
    ],
)
def test_models_that_cannot_be_used_are_one_line(run, tmp_path, tiny_model, make, told):
    save(tmp_path / "in.png")
    make(tmp_path / "model.h5", tiny_model.read_bytes())
    result = run("in.png", "-o", "out.png", model="model.h5")
    assert result.exit_code == 1
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_default_model_is_the_newest_of_the_default_run(run, tmp_path, tiny_model):
    save(tmp_path / "in.png")
    folder = tmp_path / "runs/default"
    folder.mkdir(parents=True)
    for name in ("lut.h5", "lut-finetuned.h5"):
        (folder / name).write_bytes(tiny_model.read_bytes())
        result = run("in.png", "-y", model=None)
        assert result.exit_code == 0, result.stderr
        assert f"Using {name} of the run runs/default." in result.stderr
    assert read("in_default.png").shape == (10, 12, 3)


def test_backend_that_cannot_run_is_said_once(run, tmp_path, monkeypatch):
    from lutkit_runtime.engine import backends

    monkeypatch.setattr(backends, "find_obstacle", lambda: "cuda needs a GPU: use the backend cpu")
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    result = run("a.png", "b.png", "--backend", "cuda")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "cuda" in result.stderr


def test_what_computes_is_said_where_there_is_a_gpu(run, tmp_path, monkeypatch):
    from lutkit_runtime.engine import backends
    from lutkit_runtime.kernels.cuda import device

    save(tmp_path / "in.png")
    monkeypatch.setattr(device, "find_misfit", lambda: "the driver is old: update it")
    done = run("in.png", "-o", "a.png")
    assert done.exit_code == 0
    assert "The GPU is not used: the driver is old: update it" in done.stderr
    monkeypatch.setattr(device, "find_misfit", lambda: None)
    monkeypatch.setattr(device, "describe_device", lambda: "a fine GPU")
    # the CPU stands in for it
    monkeypatch.setitem(backends.BACKENDS, "cuda", backends.CpuBackend(name="cuda"))
    monkeypatch.setattr(backends, "is_simulated", lambda: False)
    assert "Computing on a fine GPU" in run("in.png", "-o", "b.png").stderr
    assert "a fine GPU" not in run("in.png", "-o", "c.png", "--backend", "cpu").stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_nothing_half_written(tmp_path, tiny_model, number):
    save(tmp_path / "in.png")
    code = (
        "import os, sys\nfrom lutkit_runtime.engine.model import Model\n"
        f"def interrupt(*_, **__): os.kill(os.getpid(), {number.value})\n"
        "Model.apply = interrupt\n"
        "from lutkit.cli import main\nmain(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "apply", "in.png", "-m", tiny_model, "-o", "out/"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 128 + number
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["in.png"]
