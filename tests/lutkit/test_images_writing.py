"""Laws of writing: what is written is read back, files appear whole or not at all, and nothing is overwritten unasked."""

import io
import os
import re
import stat
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from lutkit.images import (
    Picture,
    check_suffix,
    check_target,
    decode_picture,
    encode_picture,
    png_encoder,
    read_picture,
    supported_suffixes,
    tiff_encoder,
    write_picture,
)
from lutkit_runtime import atomic
from lutkit_runtime.errors import ImageError

RNG = np.random.default_rng(11)
SUFFIXES = supported_suffixes()
LOSSLESS = set(SUFFIXES) - {".jpg", ".jpeg", ".hdr"}
KINDS = ["u1", "u2", "f4"]
RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_PROFILE = RGB_PROFILE[:16] + b"GRAY" + RGB_PROFILE[20:]


def make_pixels(kind, channels, height=37, width=53):
    shape = (height, width) if channels == 1 else (height, width, channels)
    if np.dtype(kind).kind == "f":
        return (RNG.random(shape) * 3).astype(kind)
    return RNG.integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


def make_exif(orientation=6, width=9, height=7):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[271] = "Maker"
    exif.get_ifd(0x8769).update(
        {0xA002: width, 0xA003: height, 0x829A: IFDRational(1, 125), 0x9286: b"ASCII\0\0\0comment"}
    )
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 0.5)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def load_exif(block):
    exif = Image.Exif()
    exif.load(block)
    return exif


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_written_is_read_back(tmp_path, suffix, kind, channels):
    """Or refused, and then every suffix that the message proposes works."""
    picture = Picture(make_pixels(kind, channels))
    path = tmp_path / f"picture{suffix}"
    try:
        check_suffix(path, picture.pixels.dtype, channels)
    except ImageError as error:
        with pytest.raises(ImageError, match=re.escape(str(error))):
            write_picture(path, picture)
        assert list(tmp_path.iterdir()) == []
        proposed = str(error).split("use one of ")[1].split(", ")
        assert suffix not in proposed
        for other in proposed:
            write_picture(tmp_path / f"other{other}", picture)
        return
    notes = write_picture(path, picture)
    found = read_picture(path)
    assert found.pixels.dtype == kind
    expected = picture.pixels
    if found.channels != channels:
        assert any("gray is stored as RGB" in note for note in notes)
        gray = expected if channels == 1 else expected[..., 0]
        expected = np.dstack([gray, gray, gray] + ([expected[..., 1]] if channels == 2 else []))
    assert found.pixels.shape == expected.shape
    if suffix in LOSSLESS:
        assert np.array_equal(found.pixels, expected)
    elif suffix == ".hdr":  # 8 bits below the largest of the three samples
        assert (np.abs(found.pixels - expected) <= expected.max(axis=2, keepdims=True) / 128).all()
    assert encode_picture(picture, suffix) == (path.read_bytes(), notes)


def test_jpeg_is_near():
    ramps = np.dstack(np.meshgrid(np.arange(256), np.arange(256))).astype(np.uint8)
    pixels = np.dstack([ramps, 255 - ramps[..., 0]])
    found = decode_picture(encode_picture(Picture(pixels), ".jpg")[0], "x").pixels
    assert np.abs(found.astype(int) - pixels).max() < 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_other_programs_read_the_tiffs(kind, channels):
    """tifffile and OpenCV agree with lutkit on what its TIFF and PNG files hold; views with odd strides included."""
    import cv2
    import tifffile

    pixels = make_pixels(kind, channels)[::-1, ::2]
    data, _ = encode_picture(Picture(pixels), ".tif")
    assert np.array_equal(tifffile.imread(io.BytesIO(data)), pixels)
    if kind != "f4":
        found = cv2.imdecode(np.frombuffer(encode_picture(Picture(pixels), ".png")[0], np.uint8), cv2.IMREAD_UNCHANGED)
        order = {1: slice(None), 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
        assert np.array_equal(found if channels == 1 else found[..., order], pixels)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 4]), st.sampled_from(["u1", "u2"]), st.data())
def test_png_strips_make_one_picture(height, width, channels, kind, data):
    """However the rows are cut into strips and spread over threads, Pillow and the checker read the same pixels."""
    pixels = make_pixels(kind, channels, height, width)
    if data.draw(st.booleans(), "smooth"):
        pixels = np.sort(pixels, axis=0)
    files = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png_encoder, "_STRIP_BYTES", data.draw(st.sampled_from([1, 100, 1 << 20]), "strip"))
        for threads in (1, 3):
            patch.setattr(png_encoder, "_count_cores", lambda threads=threads: threads)
            files.add(encode_picture(Picture(pixels), ".png")[0])
    assert len(files) == 1, "the number of threads shows in the bytes"
    file = files.pop()
    assert np.array_equal(decode_picture(file, "x").pixels, pixels)
    with Image.open(io.BytesIO(file)) as image:
        image.load()
        if kind == "u1":
            assert np.array_equal(np.asarray(image), pixels)


def test_png_of_smooth_pictures_is_small():
    rows, columns = np.mgrid[0:512, 0:512]
    pixels = np.dstack([rows // 2, columns // 2, (rows + columns) // 4]).astype(np.uint8)
    assert len(encode_picture(Picture(pixels), ".png")[0]) < pixels.nbytes / 20


class Nowhere(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        return len(data)


@pytest.mark.parametrize("encode", [png_encoder.encode_png, tiff_encoder.encode_tiff])
def test_large_pictures_are_encoded_in_little_memory(encode):
    picture = Picture(np.zeros((4000, 6000, 3), np.uint8))
    tracemalloc.start()
    try:
        encode(Nowhere(), picture)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < picture.pixels.nbytes


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_metadata_is_carried_over(suffix):
    picture = Picture(make_pixels("u1", 3), make_exif(), RGB_PROFILE)
    data, notes = encode_picture(picture, suffix)
    assert notes == ()
    found = decode_picture(data, "x")
    assert found.pixels.shape == picture.pixels.shape, "the orientation was written although the pixels are upright"
    assert found.icc == RGB_PROFILE
    exif = load_exif(found.exif)
    assert exif[271] == "Maker"
    assert exif.get(0x0112, 1) == 1
    inner, position = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    assert (inner[0xA002], inner[0xA003]) == (53, 37)
    assert inner[0x829A] == pytest.approx(1 / 125)
    assert inner[0x9286] == b"ASCII\0\0\0comment"
    assert [float(number) for number in position[2]] == [51, 30, 0.5]
    with Image.open(io.BytesIO(data)) as image:  # and another program finds them
        assert image.getexif()[271] == "Maker"
        assert image.info["icc_profile"] == RGB_PROFILE


def test_the_thumbnail_goes():
    """A second directory after the first is unlinked: it holds the thumbnail of the unprocessed picture."""
    entry = struct.pack("<HHHI", 1, 0x0112, 3, 1) + struct.pack("<HH", 1, 0)
    thumbnail = struct.pack("<H", 1) + struct.pack("<HHI", 0x0103, 3, 1) + struct.pack("<HHI", 6, 0, 0)
    exif = struct.pack("<2sHI", b"II", 42, 8) + entry + struct.pack("<I", 8 + len(entry) + 4) + thumbnail
    assert load_exif(exif).get_ifd(ExifTags.IFD.IFD1)  # the premise: Pillow finds it
    found = decode_picture(encode_picture(Picture(make_pixels("u1", 3), exif), ".png")[0], "x")
    assert not load_exif(found.exif).get_ifd(ExifTags.IFD.IFD1)


def test_metadata_without_a_place_is_named():
    picture = Picture(make_pixels("u1", 3), make_exif(), RGB_PROFILE)
    assert encode_picture(picture, ".bmp")[1] == ("BMP files have no place for EXIF and colour profile",)
    wrong = encode_picture(Picture(make_pixels("u1", 1), None, RGB_PROFILE), ".png")
    assert "colour profile for RGB dropped" in wrong[1][0]
    assert decode_picture(wrong[0], "x").icc is None
    gray = Picture(make_pixels("u1", 1), None, GRAY_PROFILE)
    assert decode_picture(encode_picture(gray, ".png")[0], "x").icc == GRAY_PROFILE
    assert "colour profile for gray dropped" in encode_picture(gray, ".webp")[1]
    large = Picture(make_pixels("u1", 3), make_exif() + bytes(70000))
    data, notes = encode_picture(large, ".jpg")
    assert "too large" in notes[0]
    assert decode_picture(data, "x").exif is None


def test_suffixes_of_any_case_and_unknown_ones(tmp_path):
    write_picture(tmp_path / "a.PNG", Picture(make_pixels("u1", 3)))
    assert (tmp_path / "a.PNG").read_bytes()[:4] == b"\x89PNG"
    for name in ("a", "a.gif", "a.png.txt", ".png"):
        with pytest.raises(ImageError, match=r"use one of \.png, "):
            check_target(tmp_path / name)


def test_formats_with_short_sides_refuse_long_pictures(tmp_path):
    for suffix, side in ((".webp", 16384), (".jpg", 65501)):
        with pytest.raises(ImageError, match=rf"{side}x1 pixels are too many .* use \.png or \.tif"):
            write_picture(tmp_path / f"a{suffix}", Picture(np.zeros((1, side), np.uint8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "pixels", [np.zeros((0, 3), np.uint8), np.zeros((2, 2, 5), np.uint8), np.zeros((2, 2), np.int16)]
)
def test_impossible_pictures_are_a_programming_error(pixels):
    with pytest.raises(ValueError, match="pixels"):
        encode_picture(Picture(pixels), ".png")


PICTURE = Picture(make_pixels("u1", 3))


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "kept.png"
    path.write_bytes(b"precious")
    for attempt in (check_target, lambda path: write_picture(path, PICTURE)):
        with pytest.raises(ImageError, match=r"kept\.png exists already: .*-y"):
            attempt(path)
    assert path.read_bytes() == b"precious"
    check_target(path, overwrite=True)
    write_picture(path, PICTURE, overwrite=True)
    assert np.array_equal(read_picture(path).pixels, PICTURE.pixels)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, links):
    """With hard links, and on file systems without them."""
    if not links:
        monkeypatch.setattr(atomic.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    path = tmp_path / "late.png"
    check = atomic.check_target

    def check_and_wait(*arguments, **named):
        result = check(*arguments, **named)
        path.write_bytes(b"precious")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "check_target", check_and_wait)
        with pytest.raises(ImageError, match="exists already"):
            write_picture(path, PICTURE)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]
    other = tmp_path / "other.png"
    write_picture(other, PICTURE)
    assert np.array_equal(read_picture(other).pixels, PICTURE.pixels)
    assert sorted(tmp_path.iterdir()) == [path, other]


# Writes a picture of the wanted kind to each path, where files may have no more than 1000 bytes, and prints what came of it.
_CHILD = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import numpy as np
from lutkit.images import Picture, write_picture
from lutkit_runtime import atomic
from lutkit_runtime.errors import ImageError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
for path in sys.argv[1:]:
    pixels = noise[..., 0] if path.endswith("pgm") else noise
    try:
        write_picture(path, Picture(pixels.astype(np.float32) if path.endswith(("hdr", "pfm")) else pixels))
        print(path, "was written")
    except ImageError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_nothing_behind(tmp_path):
    paths = [str(tmp_path / f"a{suffix}") for suffix in SUFFIXES]
    done = subprocess.run([sys.executable, "-c", _CHILD, *paths], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    for path, line in zip(paths, lines, strict=True):
        assert re.fullmatch(rf"cannot write {re.escape(path)} \(File too large\): .*", line)
    assert list(tmp_path.iterdir()) == []


def test_places_where_no_file_can_be(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    cases = {
        tmp_path / "missing" / "a.png": "there is no folder",
        file / "a.png": "is a file, not a folder",
        tmp_path / "folder.png": "is a folder",
        tmp_path / ("n" * 300 + ".png"): "cannot write",
        Path("nul\0.png"): "no file name",
    }
    for path, message in cases.items():
        for attempt in (check_target, lambda path: write_picture(path, PICTURE, overwrite=True)):
            with pytest.raises(ImageError, match=rf"{message}[^\n]*"):
                attempt(path)
    assert sorted(tmp_path.iterdir()) == [file, tmp_path / "folder.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_not_replaced(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="device or pipe"):
        write_picture(pipe, PICTURE, overwrite=True)
    assert pipe.is_fifo()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folders_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ImageError, match="is not writable"):
        check_target(tmp_path / "a.png")


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and permissions of POSIX")
def test_links_stay_links_and_files_have_usual_permissions_or_keep_theirs(tmp_path):
    real, link = tmp_path / "real.png", tmp_path / "link.png"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with pytest.raises(ImageError, match="exists already"):
        write_picture(link, PICTURE)
    write_picture(link, PICTURE, overwrite=True)
    assert link.is_symlink()
    assert np.array_equal(read_picture(real).pixels, PICTURE.pixels)
    write_picture(tmp_path / "new.png", PICTURE)
    plain = tmp_path / "plain"
    plain.touch()
    real.chmod(0o600)
    write_picture(real, PICTURE, overwrite=True)
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert (tmp_path / "new.png").stat().st_mode == plain.stat().st_mode


def test_large_tiffs_become_bigtiff(monkeypatch):
    monkeypatch.setattr(tiff_encoder, "_LARGEST_CLASSIC", 1000)
    picture = Picture(make_pixels("f4", 4), make_exif())
    data, notes = encode_picture(picture, ".tiff")
    assert data[:4] == b"II+\0"
    assert "EXIF is not written" in notes[0]
    assert np.array_equal(decode_picture(data, "x").pixels, picture.pixels)
