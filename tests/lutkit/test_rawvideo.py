"""`lutkit apply --rawvideo`: raw frames from a pipe to a pipe, until the stream ends or breaks."""

import io
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from fresh_python import refuse_imports, run_python
from hypothesis import given
from hypothesis import strategies as st
from small_videos import make_pixels

from lutkit.cli import main
from lutkit.cli.raw_frames import _open_input, _open_output
from lutkit.video.library import VideoError
from lutkit.video.rawvideo import PIXEL_FORMATS, RawFormat, parse_size, read_frames, write_frame
from lutkit_runtime.engine import load

SAME = "LUT_3D_SIZE 2\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 0 1\n1 0 1\n0 1 1\n1 1 1\n"


@pytest.fixture
def run(tiny_model, tmp_path, monkeypatch):
    """Return a function that sends bytes through `lutkit apply --rawvideo` in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "same.cube").write_text(SAME)

    def invoke(data, *arguments, model=tiny_model, size="9x7"):
        chosen = ["apply", "-", "--rawvideo", size, "-m", str(model), *map(str, arguments)]
        return CliRunner().invoke(main, chosen, input=data)

    return invoke


def make_frames(form: RawFormat, count: int = 5) -> np.ndarray:
    channels = PIXEL_FORMATS[form.pixel_format][1]
    return make_pixels(count, form.width, form.height, channels, form.dtype).reshape(count, *form.shape)


class Dribble(io.BytesIO):
    """A pipe that hands out a few bytes at a time."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:5])


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from(sorted(PIXEL_FORMATS)), st.integers(1, 4))
def test_frames_come_out_of_a_stream_as_they_went_in(width, height, pixel_format, count):
    form = RawFormat(width, height, pixel_format)
    frames = make_frames(form, count)
    stream = io.BytesIO()
    for frame in frames:
        write_frame(stream, frame)
    assert len(stream.getvalue()) == count * form.size
    found = list(read_frames(Dribble(stream.getvalue()), form, "a pipe"))
    assert np.array_equal(found, frames)
    assert {frame.dtype for frame in found} == {form.dtype}


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_results_are_what_apply_makes_of_every_frame(run, tiny_model, pixel_format):
    form = RawFormat(9, 7, pixel_format)
    frames = make_frames(form)
    done = run(frames.tobytes(), "-o", "-", "--pix-fmt", pixel_format)
    assert done.exit_code == 0, done.stderr
    model = load(tiny_model)
    assert done.stdout_bytes == b"".join(model.apply(frame).tobytes() for frame in frames)
    assert ("works in 8 bits" in done.stderr) == (pixel_format == "rgb48le")


def test_files_serve_as_pipes_do(run, tmp_path):
    frames = make_frames(RawFormat(9, 7))
    (tmp_path / "in.raw").write_bytes(frames.tobytes())
    done = CliRunner().invoke(
        main, ["apply", "in.raw", "--rawvideo", "9x7", "-m", "same.cube", "-o", "out.raw"], input=b"not this"
    )
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out.raw").read_bytes() == frames.tobytes()
    again = run(frames.tobytes(), "-o", "out.raw", model="same.cube")
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert run(frames[:1].tobytes(), "-o", "out.raw", "-y", model="same.cube").exit_code == 0
    assert (tmp_path / "out.raw").read_bytes() == frames[:1].tobytes()


def test_a_broken_last_frame_is_one_error_after_the_whole_ones(run, tmp_path):
    frames = make_frames(RawFormat(9, 7), 3)
    data = frames.tobytes()[:-5]
    done = run(data, model="same.cube")
    assert done.exit_code == 1
    assert done.stdout_bytes == frames[:2].tobytes()
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Compiling")]
    assert line == ("Error: stdin: ends within frame 3, with 184 bytes of 189; check that 9x7 rgb24 is what is sent")
    assert run(data, "-o", "out.raw", model="same.cube").exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["same.cube"]


def test_a_stream_without_frames_is_an_error(run):
    done = run(b"", model="same.cube")
    assert done.exit_code == 1
    assert "stdin: no frame came" in done.stderr
    with pytest.raises(VideoError, match="frame 1, with 3 bytes of 12"):
        list(read_frames(io.BytesIO(b"abc"), RawFormat(2, 2), "a pipe"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pix-fmt", "gray", "-m", "same.cube"], "send --pix-fmt rgb24"),
        (["--pix-fmt", "yuv420p"], "rgb48le"),
        (["--lossless"], "--lossless is not for --rawvideo"),
        (["--json"], "--json is not for --rawvideo"),
        (["--frames", "3"], "--frames is not for --rawvideo"),
        (["--skip-existing"], "--skip-existing is not for --rawvideo"),
        (["--max-pixels", "9"], "--max-pixels is not for --rawvideo"),
        (["other.raw"], "takes one INPUT, not 2"),
    ],
)
def test_wrong_usage_exits_with_2(run, arguments, told):
    done = run(b"", *arguments)
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_a_closed_stream_is_one_line(monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    opening = (lambda: _open_input("-", None)) if name == "stdin" else (lambda: _open_output("-", False, None))
    with pytest.raises(VideoError, match=f"{name} is closed"):
        opening()


@pytest.mark.parametrize("text", ["", "9", "9x", "0x7", "9x7x3", "-9x7", "9 x 7", "1234567x1"])
def test_sizes_are_width_and_height(run, text):
    assert parse_size("1280x720") == (1280, 720)
    assert run(b"", size=text).exit_code == 2


def test_raw_frames_need_no_pyav(tmp_path):
    (tmp_path / "same.cube").write_text(SAME)
    (tmp_path / "in.raw").write_bytes(bytes(range(12)))
    code = refuse_imports("av") + (
        "import os\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "from lutkit.cli import main\n"
        "main(['apply', 'in.raw', '-o', 'out.raw', '--rawvideo', '2x2', '-m', 'same.cube'])"
    )
    run_python(code)
    assert (tmp_path / "out.raw").read_bytes() == bytes(range(12))


def start(tmp_path, **streams):
    (tmp_path / "same.cube").write_text(SAME)
    command = [sys.executable, "-m", "lutkit", "apply", "-", "--rawvideo", "64x48", "-m", "same.cube"]
    return subprocess.Popen(
        [*command, "--backend", "numpy"], cwd=tmp_path, stderr=subprocess.PIPE, bufsize=0, **streams
    )


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are others there")
def test_a_reader_that_leaves_is_no_error_to_speak_of(tmp_path):
    process = start(tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    frame = make_frames(RawFormat(64, 48), 1).tobytes()
    process.stdin.write(frame)
    process.stdin.flush()
    assert process.stdout.read(len(frame)) == frame
    process.stdout.close()
    try:
        process.stdin.write(frame * 50)
        process.stdin.close()
    except BrokenPipeError:
        pass
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert told == b""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of the terminal are others there")
def test_an_interrupt_ends_a_pipe_that_waits_for_frames(tmp_path):
    process = start(tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    frame = make_frames(RawFormat(64, 48), 1).tobytes()
    process.stdin.write(frame)
    process.stdin.flush()
    assert process.stdout.read(len(frame)) == frame
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    assert process.wait(60) == 130
    assert time.monotonic() - begun < 20
    assert told.splitlines()[-1] == b"Interrupted."
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
