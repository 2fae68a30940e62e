"""Which encoder and which pixel format a video is given."""

import pytest

from lutkit.video.encoders import ENCODERS, Wish, choose_encoder, choose_encoding
from lutkit.video.library import VideoError
from lutkit.video.suffixes import CONTAINERS


def choose(suffix=".mp4", wish=None, **changes):
    facts = {"size": (64, 48), "depth": 8, "deep": False, "alpha": False, "sampling": "420", **changes}
    return choose_encoding(suffix, wish or Wish(), **facts)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_container_has_an_encoder_with_and_without_loss(suffix):
    assert choose_encoder(suffix, Wish()).lossy
    exact = choose_encoder(suffix, Wish(lossless=True))
    assert exact.lossless_formats[False, False]
    assert choose(suffix, Wish(lossless=True)).options == exact.lossless


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "yuv420p"),
        ({"sampling": "422"}, "yuv422p"),
        ({"sampling": "444", "depth": 10}, "yuv444p10le"),
        ({"depth": 10}, "yuv420p10le"),
        ({"depth": 9}, "yuv420p10le"),
        ({"size": (63, 48)}, "yuv444p"),
        ({"size": (64, 47)}, "yuv422p"),
        ({"size": (1, 1), "depth": 10}, "yuv444p10le"),
    ],
)
def test_the_closest_format_is_taken(changes, expected):
    assert choose(**changes).pixel_format == expected


def test_what_is_not_kept_is_noted():
    assert choose(depth=12).notes == ("libx264 keeps 10 bits of 12",)
    assert "no transparency" in choose(alpha=True).notes[0]
    assert "is odd" in choose(size=(63, 47)).notes[0]
    assert choose(".webm", alpha=True).pixel_format == "yuva420p"
    assert choose(".mkv", Wish("ffv1"), depth=16, alpha=True, sampling="444").pixel_format == "yuva444p16le"
    assert choose(".mkv", Wish("ffv1"), depth=16, alpha=True, sampling="444").notes == ()


def test_quality_is_the_encoders_own():
    assert choose().options["crf"] == str(ENCODERS["libx264"].quality)
    assert choose(wish=Wish(quality=30)).options["crf"] == "30"


@pytest.mark.parametrize(
    ("suffix", "wish", "changes", "told"),
    [
        (".mp4", Wish("ffv1"), {}, r"\.mp4 files take no ffv1: use --codec libx264"),
        (".mp4", Wish("libx264rgb"), {}, "libx264rgb is for --lossless"),
        (".mp4", Wish(quality=52), {}, "libx264 takes a --crf from 0 to 51, not 52"),
        (".mkv", Wish("ffv1", quality=3), {}, "ffv1 has no --crf"),
        (".mp4", Wish(lossless=True), {"deep": True}, r"cannot hold 16-bit RGB frames without loss: use \.mkv"),
        (".webm", Wish(lossless=True), {"alpha": True}, "8-bit RGBA frames"),
        (".mkv", Wish("libx264", lossless=True), {}, "without loss by libx264"),
        (".mov", Wish("prores_ks"), {"size": (63, 48)}, None),
        (".mp4", Wish("libx265"), {"size": (48, 63)}, "libx265 takes frames from 64x64 pixels, and these are 48x63"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(suffix, wish, changes, told):
    if told is None:
        assert choose(suffix, wish, **changes).pixel_format == "yuv444p10le"
        return
    with pytest.raises(VideoError, match=told):
        choose(suffix, wish, **changes)
