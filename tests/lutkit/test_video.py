"""`lutkit apply` on videos: every frame becomes one frame at its own time, and nothing else of the file is lost."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from click.testing import CliRunner
from colour_models import make_adaptive
from fresh_python import refuse_imports, run_python
from PIL import Image
from small_videos import make_pixels, make_smooth, read_video, write_video

from lutkit.cli import main
from lutkit.cli.apply import command as apply_command
from lutkit.video.encoders import ENCODERS
from lutkit.video.rawvideo import PIXEL_FORMATS
from lutkit.video.suffixes import CONTAINERS
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.engine import load

SAME = "LUT_3D_SIZE 2\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 0 1\n1 0 1\n0 1 1\n1 1 1\n"
EXACT = {"codec": "ffv1", "pixels": "bgr0"}
"""A video whose decoded frames are the pixels that were written."""


@pytest.fixture
def run(tiny_model, tmp_path, monkeypatch):
    """Return a function that runs `lutkit apply` in a fresh folder, which holds same.cube, a look that changes nothing."""
    monkeypatch.chdir(tmp_path)
    Path("same.cube").write_text(SAME)

    def invoke(*arguments, model="same.cube"):
        return CliRunner().invoke(main, ["apply", *map(str, arguments), "-m", str(model)])

    return invoke


def list_files() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != "same.cube")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_lossless_frames_are_what_apply_makes_of_each(run, tiny_model, suffix):
    pixels = make_pixels(7)
    write_video(Path("in.mkv"), pixels, **EXACT, time_base=Fraction(1, 1000))
    done = run("in.mkv", "-o", f"out{suffix}", "--lossless", model=tiny_model)
    assert done.exit_code == 0, done.stderr
    found = read_video(Path(f"out{suffix}"), "rgb24")
    model = load(tiny_model)
    assert len(found.frames) == 7
    for frame, image in zip(found.frames, pixels, strict=True):
        assert np.array_equal(frame, model.apply(image))


def test_a_model_that_adapts_looks_at_every_frame(run):
    artefact = make_adaptive()
    write_artefact("adaptive.h5", artefact)
    pixels = make_pixels(4) // np.array([1, 2, 3, 4], np.uint8)[:, None, None, None]
    write_video(Path("in.mkv"), pixels, **EXACT)
    assert run("in.mkv", "-o", "out.mkv", "--lossless", model="adaptive.h5").exit_code == 0
    model = load("adaptive.h5")
    for frame, image in zip(read_video(Path("out.mkv"), "rgb24").frames, pixels, strict=True):
        assert np.array_equal(frame, model.apply(image))


def test_deep_frames_are_computed_with_16_bits_and_kept_so_without_loss(run, tiny_model):
    pixels = make_pixels(3, dtype=np.uint16)
    write_video(Path("in.mkv"), pixels, codec="ffv1", pixels="gbrp16le")
    assert run("in.mkv", "-o", "out.mkv", "--lossless").exit_code == 0
    found = read_video(Path("out.mkv"), "rgb48le")
    assert np.abs(np.array(found.frames).astype(int) - pixels).max() <= 1
    assert "8-bit" not in run("in.mkv", "-o", "again.mkv").stderr
    refused = run("in.mkv", "-o", "out.mp4", "--lossless")
    assert refused.exit_code == 1
    assert "use .mkv" in refused.stderr
    told = run("in.mkv", "-o", "larger.mkv", model=tiny_model).stderr
    assert told.count("this model works in 8 bits; 16-bit frames are converted in and back") == 1


VARIABLE = [0, 100, 1000, 1024, 5000, 5001, 9999, 20000]


@pytest.mark.parametrize(
    ("times", "options"),
    [
        (None, {}),
        (VARIABLE, {}),
        (VARIABLE, {"bf": "3", "b-adapt": "0"}),
        ([4000 + 512 * index for index in range(8)], {"bf": "2"}),
        (VARIABLE, {"bf": "0"}),
    ],
    ids=["constant", "variable", "variable-b-frames", "late", "no-b-frames"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_are_exactly_those_of_the_frames(run, times, options, suffix):
    write_video(Path("in.mp4"), make_smooth(8), times=times, options=options)
    assert run("in.mp4", "-o", f"out{suffix}").exit_code == 0
    before, after = read_video(Path("in.mp4")), read_video(Path(f"out{suffix}"))
    assert after.times == before.times
    if times is None:  # of a variable rate, MP4 tells the lengths in the order of decoding
        assert after.lengths == before.lengths


def test_matroska_keeps_times_to_its_millisecond(run):
    write_video(Path("in.mp4"), make_smooth(8), times=VARIABLE)
    assert run("in.mp4", "-o", "out.mkv").exit_code == 0
    before, after = read_video(Path("in.mp4")).times, read_video(Path("out.mkv")).times
    assert len(after) == 8
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(before, after, strict=True))


def test_a_video_without_times_of_frames_gets_those_of_its_order(run):
    write_video(Path("in.avi"), make_smooth(5), codec="mpeg4", time_base=Fraction(1, 10))
    done = run("in.avi")
    assert done.exit_code == 0
    assert "in.avi -> in_same.mkv" in done.stderr
    found = read_video(Path("in_same.mkv")).times
    assert [b - a for a, b in itertools.pairwise(found)] == [Fraction(1, 10)] * 4


@pytest.mark.parametrize(("suffix", "audio"), [(".mp4", "aac"), (".mkv", "libopus"), (".mov", "aac")])
def test_other_streams_are_copied_packet_by_packet(run, suffix, audio):
    source = write_video(Path(f"in{suffix}"), make_smooth(20), audio=audio, title="Two Birds")
    assert run(source, "-o", f"out{suffix}").exit_code == 0
    before, after = read_video(source), read_video(Path(f"out{suffix}"))
    assert before.others
    assert after.others == before.others
    assert len(before.packets) > 10
    assert after.packets == before.packets
    assert after.title == "Two Birds"
    assert run(source, "-o", f"bare{suffix}", "--strip").exit_code == 0
    assert read_video(Path(f"bare{suffix}")).title is None


def test_subtitles_and_fonts_stay_and_the_video_need_not_come_first(run):
    write_video(Path("plain.mkv"), make_pixels(9), **EXACT, audio="aac", time_base=Fraction(1, 1000))
    Path("in.srt").write_text("1\n00:00:00,200 --> 00:00:00,700\nHello bird\n")
    with av.open("plain.mkv") as plain, av.open("in.srt") as text, av.open("in.mkv", "w") as output:
        video, sound = plain.streams.video[0], plain.streams.audio[0]
        first, second, third = map(output.add_stream_from_template, (text.streams[0], sound, video))
        output.add_attachment("a.ttf", "application/x-truetype-font", b"123456")
        for packet in (*text.demux(), *plain.demux(video, sound)):
            if packet.dts is not None:
                packet.stream = {"subtitle": first, "audio": second, "video": third}[packet.stream.type]
                output.mux(packet)
    done = run("in.mkv", "-o", "out.mkv")
    assert done.exit_code == 0, done.stderr
    assert len(read_video(Path("out.mkv")).times) == 9
    with av.open("out.mkv") as container:
        kinds = [stream.type for stream in container.streams]
        assert sorted(kinds) == ["attachment", "audio", "subtitle", "video"]
        (text,) = [bytes(packet) for packet in container.demux(subtitles=0) if packet.pts is not None]
        assert text == b"Hello bird"
    done = run("in.mkv", "-o", "out.mp4")
    assert done.exit_code == 0, done.stderr
    assert ".mp4 files take no subtitle of the kind" in done.stderr
    assert ".mp4 files take no attachment; it is left out" in done.stderr
    assert [kind for kind, _, _ in read_video(Path("out.mp4")).others] == ["audio"]


def test_a_stream_that_the_container_does_not_take_is_named_and_left_out(run):
    write_video(Path("in.mp4"), make_smooth(), audio="aac")
    done = run("in.mp4", "-o", "out.webm")
    assert done.exit_code == 0
    assert "in.mp4: .webm files take no audio of the kind aac; it is left out" in done.stderr
    assert read_video(Path("out.webm")).others == []


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        ("yuv420p", (1, 1, 1, 1)),
        ("yuv444p", (6, 1, 6, 6)),
        ("yuv420p", (5, 2, 5, 6)),
        ("yuv422p10le", (9, 1, 9, 16)),
    ],
)
def test_colours_come_back_with_the_tags_they_had(run, pixels, tags):
    write_video(Path("in.mp4"), make_smooth(), pixels=pixels, tags=tags, options={"crf": "1"})
    assert run("in.mp4", "-o", "out.mp4", "--crf", "1").exit_code == 0
    before, after = read_video(Path("in.mp4")), read_video(Path("out.mp4"))
    assert after.tags == tags == before.tags
    assert after.pixels == before.pixels
    # swscale rounds colour differences of whole range to one side, there and back.
    assert np.abs(average_planes("out.mp4") - average_planes("in.mp4")).max() < (1 if tags[1] == 1 else 2)


def average_planes(path: str) -> np.ndarray:
    """Return the mean of every plane of every frame, in steps of 8 bits."""
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    kind = np.uint16 if frames[0].format.components[0].bits > 8 else np.uint8
    return np.array(
        [
            [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].mean() for plane in frame.planes]
            for frame in frames
        ]
    ) / (4 if kind is np.uint16 else 1)


def test_a_matrix_that_is_not_named_is_named_in_the_result(run, tiny_model):
    """Small frames without a name are BT.601; enlarged and without a name, players would take them for BT.709."""
    write_video(Path("in.mp4"), make_smooth(2))
    assert read_video(Path("in.mp4")).tags[:2] == (2, 0)
    assert run("in.mp4", "-o", "out.mp4", model=tiny_model).exit_code == 0
    assert read_video(Path("out.mp4")).tags == (6, 1, 2, 2)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_frames_are_turned_upright_as_pictures_are(run, rotation):
    pixels = make_smooth(2, 20, 12)
    write_video(Path("in.mp4"), pixels, rotation=rotation, aspect=Fraction(4, 3), pixels="yuv444p", options={"qp": "0"})
    assert run("in.mp4", "-o", "out.mp4", "--lossless").exit_code == 0
    found = read_video(Path("out.mp4"), "rgb24")
    expected = np.rot90(pixels, rotation // 90, axes=(1, 2))
    assert found.rotation == 0
    assert found.aspect == (Fraction(3, 4) if rotation % 180 else Fraction(4, 3))
    assert np.abs(np.array(found.frames).astype(int) - expected).max() <= 4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_shape_of_pixels_is_kept(run, suffix):
    write_video(Path(f"in{suffix}"), make_smooth(), aspect=Fraction(16, 11))
    assert run(f"in{suffix}", "-o", f"out{suffix}").exit_code == 0
    assert read_video(Path(f"out{suffix}")).aspect == Fraction(16, 11)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 2), (17, 13), (16, 13), (17, 12)])
def test_frames_of_any_size_keep_every_pixel(run, width, height):
    write_video(Path("in.mkv"), make_pixels(2, width, height), **EXACT)
    done = run("in.mkv", "-o", "out.mp4")
    assert done.exit_code == 0, done.stderr
    assert read_video(Path("out.mp4")).size == (width, height)
    assert done.stderr.count("is odd, so colours are stored for every pixel") <= 1


def test_a_cut_begins_with_the_first_frame_of_its_time_and_sound_with_it(run):
    pixels = make_pixels(40)
    write_video(
        Path("in.mp4"),
        pixels,
        audio="aac",
        codec="libx264rgb",
        pixels="rgb24",
        options={"g": "12", "qp": "0", "bf": "2"},
    )
    done = run("in.mp4", "-o", "out.mp4", "--start", "1.5", "--frames", "10", "--lossless")
    assert done.exit_code == 0, done.stderr
    whole, found = read_video(Path("in.mp4")), read_video(Path("out.mp4"), "rgb24")
    assert found.times == [Fraction(index, 10) for index in range(10)]
    assert np.array_equal(found.frames, pixels[15:25])
    shifted = [(kind, at - Fraction(3, 2), digest) for kind, at, digest in whole.packets]
    expected = [(kind, digest) for kind, at, digest in shifted if 0 <= at < 1]
    assert [(kind, digest) for kind, _, digest in found.packets] == expected
    assert len(expected) >= 7
    times = {digest: at for _, at, digest in shifted}
    assert all(abs(at - times[digest]) < Fraction(1, 1000) for _, at, digest in found.packets)


def test_a_cut_beyond_the_end_is_refused(run):
    write_video(Path("in.mp4"), make_smooth(4))
    done = run("in.mp4", "-o", "out.mp4", "--start", "3")
    assert done.exit_code == 1
    assert "in.mp4: ends before --start 3" in done.stderr
    assert list_files() == ["in.mp4"]


@pytest.mark.parametrize(("start", "told"), [("nan", "nan is no number"), ("inf", "inf is not in the range")])
def test_a_start_that_is_no_time_is_wrong_usage(run, start, told):
    write_video(Path("in.mp4"), make_smooth(4))
    done = run("in.mp4", "-o", "out.mp4", "--start", start)
    assert done.exit_code == 2
    assert told in done.stderr


def test_videos_and_pictures_of_a_folder_become_their_own_kind(run, tiny_model):
    Path("in").mkdir()
    write_video(Path("in/a.mp4"), make_smooth(3))
    write_video(Path("in/b.avi"), make_smooth(3), codec="mpeg4", time_base=Fraction(1, 10))
    Image.fromarray(make_pixels(1)[0]).save("in/c.png")
    Path("in/d.mkv").write_bytes(b"no video")
    done = run("in", "-o", "out", "--json", model=tiny_model)
    assert done.exit_code == 1
    assert "in/d.mkv: is no video, or damaged" in done.stderr.replace(os.sep, "/")
    assert "4 inputs: 3 done, 1 failed" in done.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.mp4", "b.mkv", "c.png"]
    assert read_video(Path("out/a.mp4")).size == (64, 48)
    statuses = [json.loads(line)["status"] for line in done.stdout.splitlines()]
    assert sorted(statuses) == ["done", "done", "done", "failed"]


def test_names_follow_the_template_and_nothing_is_replaced_unasked(run):
    write_video(Path("in.mp4"), make_smooth(3))
    assert run("in.mp4").exit_code == 0
    before = Path("in_same.mp4").read_bytes()
    refused = run("in.mp4")
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr
    assert Path("in_same.mp4").read_bytes() == before
    assert run("in.mp4", "-y", "--frames", "1").exit_code == 0
    assert len(read_video(Path("in_same.mp4")).times) == 1
    assert list_files() == ["in.mp4", "in_same.mp4"]
    assert run("in.mp4", "-o", "in.mp4", "-y", "--frames", "2").exit_code == 0
    assert len(read_video(Path("in.mp4")).times) == 2


def damage(data: bytes, kind: str) -> bytes:
    half = len(data) // 2
    if kind == "cut":
        return data[: len(data) * 2 // 3]
    return data[:half] + bytes(byte ^ 0x55 for byte in data[half : half + 200]) + data[half + 200 :]


@pytest.mark.parametrize(
    ("suffix", "kind", "container"),
    [(".mp4", "cut", {"movflags": "+faststart"}), (".mkv", "cut", {}), (".mp4", "flip", {"movflags": "+faststart"})],
)
def test_a_video_that_breaks_is_refused_and_what_comes_before_can_be_had(run, suffix, kind, container):
    path = write_video(Path(f"in{suffix}"), make_pixels(40, 64, 48), options={"g": "10"}, container=container)
    path.write_bytes(damage(path.read_bytes(), kind))
    done = run(path, "-o", f"out{suffix}")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"in{suffix}: breaks after frame ")
    count = int(line.split("--frames ")[1].split()[0])
    assert 10 < count < 40
    assert list_files() == [f"in{suffix}"]
    assert run(path, "-o", f"out{suffix}", "--frames", count).exit_code == 0
    assert len(read_video(Path(f"out{suffix}")).times) == count


def test_files_that_are_no_videos_are_one_line(run):
    write_video(Path("good.mp4"), make_smooth(8))
    good = Path("good.mp4").read_bytes()
    Path("empty.mp4").write_bytes(b"")
    Path("text.mov").write_text("no video " * 99)
    Path("headless.mp4").write_bytes(good[: good.index(b"moov")])
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux([*stream.encode(sound), *stream.encode(None)])
    for name in ("empty.mp4", "text.mov", "headless.mp4", "sound.mp4", "missing.mp4"):
        done = run(name, "-o", "out.mp4")
        assert done.exit_code == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{name}: ")
        assert "; " in line
    assert "holds no video, only audio" in run("sound.mp4", "-o", "out.mp4").stderr
    assert not Path("out.mp4").exists()


def test_large_frames_are_refused_before_they_are_decoded(run):
    write_video(Path("in.mp4"), make_smooth(2))
    done = run("in.mp4", "--max-pixels", "700")
    assert done.exit_code == 1
    assert "frames of 32x24 are more than 700 pixels: raise --max-pixels" in done.stderr


def test_a_size_that_changes_within_a_video_is_named(run):
    """Two streams one after another, as recordings of broadcasts are; nothing is written."""
    write_video(Path("a.m2v"), make_smooth(8), codec="mpeg2video", time_base=Fraction(1, 25))
    write_video(Path("b.m2v"), make_smooth(8, 64, 48), codec="mpeg2video", time_base=Fraction(1, 25))
    Path("in.m2v").write_bytes(Path("a.m2v").read_bytes() + Path("b.m2v").read_bytes())
    done = run("in.m2v", "-o", "out.mp4")
    assert done.exit_code == 1
    assert "the size changes from 32x24 to 64x48" in done.stderr
    assert not Path("out.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["in.mp4", "-o", "out.png"], "cannot write '.png' files: use one of .m4v, .mkv, .mov, .mp4, .webm"),
        (["in.mp4", "-o", "{stem}.avi"], "cannot write the video in.mp4 as 'in.avi'"),
        (["in.png", "-o", "{stem}.mp4"], "cannot write 'in.mp4'"),
        (["in.mp4", "-o", "-"], "cannot go to stdout"),
        (["in.mp4", "in.mp4", "in.png", "-o", "out.mp4"], "2 inputs cannot go to the one file"),
        (["in.mp4", "--lossless", "--crf", "3"], "exclude each other"),
        (["in.png", "--crf", "3"], "--crf is for videos, and no input is one"),
        (["in.mp4", "--pix-fmt", "gray"], "--pix-fmt is for --rawvideo"),
        (["in.mp4", "--codec", "realvideo"], "libx264"),
    ],
)
def test_wrong_usage_exits_with_2(run, arguments, told):
    write_video(Path("in.mp4"), make_smooth(2))
    Image.fromarray(make_pixels(1)[0]).save("in.png")
    done = run(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert list_files() == ["in.mp4", "in.png"]


def test_a_dry_run_says_where_videos_would_go(run):
    write_video(Path("in.avi"), make_smooth(2), codec="mpeg4", time_base=Fraction(1, 10))
    done = run("in.avi", "--dry-run")
    assert done.stdout == "in.avi -> in_same.mkv\n"
    assert list_files() == ["in.avi"]


def test_without_pyav_one_line_says_what_to_install(tmp_path):
    (tmp_path / "in.mp4").write_bytes(b"")
    (tmp_path / "same.cube").write_text(SAME)
    code = refuse_imports("av") + (
        "import os, io, contextlib\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "from lutkit.cli import main\n"
        "told = io.StringIO()\n"
        "with contextlib.redirect_stderr(told), contextlib.suppress(SystemExit):\n"
        "    main(['apply', 'in.mp4', '-m', 'same.cube'])\n"
        "print(told.getvalue())"
    )
    assert run_python(code).strip() == "in.mp4: videos need PyAV: run pip install 'lutkit[video]'"


def test_a_pyav_that_is_too_old_is_named(run, monkeypatch):
    write_video(Path("in.mp4"), make_smooth(2))
    monkeypatch.setattr(av, "__version__", "15.1.0")
    done = run("in.mp4")
    assert done.exit_code == 1
    assert "videos need PyAV 18, not 15.1.0" in done.stderr


def test_the_page_about_videos_names_what_there_is():
    page = (Path(__file__).resolve().parents[2] / "docs/video.md").read_text(encoding="utf-8")
    options = {option for parameter in apply_command.params for option in parameter.opts if option.startswith("--")}
    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= options
    for name in (*ENCODERS, *CONTAINERS, *PIXEL_FORMATS):
        assert f"`{name}`" in page
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shown = []
    model = SimpleNamespace(stream=lambda frames, threads: iter(frames))
    exec(
        code.replace("import lutkit_runtime", "").replace("lutkit_runtime.load", "load"),
        {"load": lambda name: model, "frames": [1, 2], "show": shown.append},
    )
    assert shown == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of the terminal are others there")
def test_an_interrupt_leaves_nothing_behind(tmp_path):
    write_video(tmp_path / "in.mp4", make_smooth(2000, 64, 48), options={"preset": "ultrafast"})
    (tmp_path / "same.cube").write_text(SAME)
    command = [sys.executable, "-m", "lutkit", "apply", "in.mp4", "-m", "same.cube", "--backend", "numpy"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".lutkit-*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "Interrupted."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "same.cube"]


@pytest.mark.data
@pytest.mark.parametrize(("name", "model"), [("cockatoo", "warm-film"), ("bikes", "sr-x2")])
def test_real_videos_keep_times_and_sound(run, shared_data, name, model):
    source = shared_data / "video" / f"{name}.mp4"
    assert run(source, "-o", "out.mp4", "--frames", "8", "--start", "2", "--lossless", model=model).exit_code == 0
    found = read_video(Path("out.mp4"), "rgb24")
    rate = {"cockatoo": 20, "bikes": 25}[name]
    assert found.times == [Fraction(index, rate) for index in range(8)]
    assert bool(found.packets) == (name == "cockatoo")
    scale = 2 if model == "sr-x2" else 1
    assert found.size == tuple(side * scale for side in {"cockatoo": (1280, 720), "bikes": (640, 272)}[name])
