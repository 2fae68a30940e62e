"""Laws of reading: content decides, pixels come upright at their own depth, and nothing damaged passes."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from lutkit.images import DEFAULT_MAX_PIXELS, Picture, decode_picture, encode_picture, read_picture
from lutkit.images.quiet import quiet_descriptor, quiet_messages
from lutkit.images.reading import turn_upright
from lutkit_runtime.errors import ImageError

RNG = np.random.default_rng(5)
ORIENTATIONS = range(1, 9)
# Orientation n is undone by storing the picture turned by the inverse of n; only 6 and 8 are not their own inverse.
INVERSE = {6: 8, 8: 6}


def make_pixels(kind, channels, height=37, width=53):
    shape = (height, width) if channels == 1 else (height, width, channels)
    if np.dtype(kind).kind == "f":
        return (RNG.random(shape) * 3 - 1).astype(kind)
    return RNG.integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


def make_exif(orientation, **fields):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[271] = "Maker"
    for tag, value in fields.items():
        exif[int(tag[1:])] = value
    return exif.tobytes()


def save(pixels, form, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def read_orientation(exif):
    found = Image.Exif()
    found.load(exif)
    return found[0x0112], found[271]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_exif_orientation_is_applied_once(form, orientation):
    upright = make_pixels("u1", 3, 5, 3)
    stored = turn_upright(upright, INVERSE.get(orientation, orientation))
    data = save(stored, form, exif=make_exif(orientation), **({"lossless": True} if form == "WEBP" else {}))
    with Image.open(io.BytesIO(data)) as image:  # the premise: the file is turned, and says how
        assert image.getexif()[0x0112] == orientation
        assert np.array_equal(np.asarray(image), stored)
    picture = decode_picture(data, "turned")
    assert np.array_equal(picture.pixels, upright)
    assert read_orientation(picture.exif) == (1, "Maker")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientations_turn_as_pillow_turns(orientation):
    stored = make_pixels("u1", 3, 4, 7)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    from PIL import ImageOps

    assert np.array_equal(turn_upright(stored, orientation), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_found_in_both_byte_orders_and_types(order):
    for kind, value in ((3, struct.pack(order + "HH", 6, 0)), (4, struct.pack(order + "I", 6))):
        magic = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
        exif = magic + struct.pack(order + "HHHI", 1, 0x0112, kind, 1) + value + bytes(4)
        picture = decode_picture(save(make_pixels("u1", 3, 2, 5), "PNG", exif=exif), "x")
        assert picture.pixels.shape == (5, 2, 3)
        assert len(picture.exif) == len(exif)
        assert decode_picture(encode_picture(picture, ".png")[0], "x").pixels.shape == (5, 2, 3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("kind", "compression"),
    [("u1", "raw"), ("u1", "tiff_lzw"), ("u1", "zlib"), ("u2", None), ("u2", "zlib"), ("f4", None), ("f4", "zlib")],
)
def test_tiff_orientation_is_applied_once(kind, compression, orientation):
    upright = make_pixels(kind, 3, 5, 3)
    stored = turn_upright(upright, INVERSE.get(orientation, orientation))
    if compression in ("raw", "tiff_lzw"):
        data = save(stored, "TIFF", compression=compression, tiffinfo={0x0112: orientation})
    else:
        data = encode_tiff(stored, compression=compression, extratags=[(0x0112, 3, 1, orientation, True)])
    assert np.array_equal(decode_picture(data, "turned").pixels, upright)


def encode_tiff(pixels, **options):
    stream = io.BytesIO()
    options.setdefault("photometric", "rgb" if pixels.ndim == 3 and pixels.shape[2] > 2 else "minisblack")
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        options.setdefault("extrasamples", ["unassalpha"])
    if options.get("planarconfig") == "separate":
        pixels = np.moveaxis(pixels, 2, 0)
    elif pixels.ndim == 3:
        options.setdefault("planarconfig", "contig")
    tifffile.imwrite(stream, pixels, metadata=None, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiff_layouts(kind, channels, byteorder, tile):
    """Whatever the layout, the pixels come as they were stored, or the file is refused; never other pixels."""
    read = 0
    for compression, predictor in ((None, False), ("zlib", False), ("zlib", kind[0] == "u")):
        for planar in ("contig", "separate") if channels > 1 else (None,):
            pixels = make_pixels(kind, channels)
            layout = {"compression": compression, "predictor": predictor, "planarconfig": planar}
            data = encode_tiff(pixels, byteorder=byteorder, tile=tile, **layout)
            try:
                picture = decode_picture(data, "x.tif")
            except ImageError:
                assert channels == 2, "only gray with alpha has layouts that are not supported"
                continue
            read += 1
            assert picture.pixels.dtype == ("f4" if kind == "f8" else kind)
            assert np.array_equal(picture.pixels, pixels.astype(picture.pixels.dtype))
            with pytest.raises(ImageError):
                decode_picture(data[: len(data) // 2], "half.tif")
    assert read > 0


def test_tiff_white_is_zero_and_premultiplied_alpha():
    for kind in ("u1", "u2"):
        gray = make_pixels(kind, 1)
        inverted = np.iinfo(kind).max - gray
        for compression in (None, "zlib"):
            data = encode_tiff(inverted, photometric="miniswhite", compression=compression)
            assert np.array_equal(decode_picture(data, "x").pixels, gray)
    colours = np.array([[[60000, 30000, 0, 65535], [20000, 10000, 0, 32768], [0, 0, 0, 0]]], np.uint16)
    picture = decode_picture(encode_tiff(colours, extrasamples=["assocalpha"]), "x")
    expected = [[[60000, 30000, 0, 65535], [39999, 20000, 0, 32768], [0, 0, 0, 0]]]
    assert np.abs(picture.pixels.astype(int) - expected).max() <= 1
    assert picture.notes == ("premultiplied alpha divided out",)


def test_tiff_pages_and_raw_files():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for value in (1, 2, 3):
            writer.write(np.full((4, 5), value, np.uint16), contiguous=False, metadata=None)
    picture = decode_picture(stream.getvalue(), "x")
    assert (picture.pixels == 1).all()
    assert picture.notes == ("first of 3 pages",)
    raw = encode_tiff(make_pixels("u1", 3), extratags=[(50706, 1, 4, b"\1\4\0\0", True)])
    with pytest.raises(ImageError, match="camera raw"):
        decode_picture(raw, "x.dng")


def test_float_pixels_keep_their_range_and_must_be_finite():
    pixels = make_pixels("f4", 3) * 1e5
    assert np.array_equal(decode_picture(encode_tiff(pixels), "x").pixels, pixels)
    for bad in (np.nan, np.inf, -np.inf):
        broken = pixels.copy()
        broken[20, 30, 1] = bad
        with pytest.raises(ImageError, match="NaN or infinite"):
            decode_picture(encode_tiff(broken), "x")
    with pytest.raises(ImageError, match="NaN or infinite"):
        decode_picture(encode_tiff(np.full((4, 4), 1e300)), "doubles beyond single precision")


# A PNG encoder of a few lines: it knows interlacing and every bit depth, and can be made to lie.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
KINDS = (
    [(0, d) for d in (1, 2, 4, 8, 16)] + [(3, d) for d in (1, 2, 4, 8)] + [(c, d) for c in (2, 4, 6) for d in (8, 16)]
)


def pack_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pack_rows(samples, depth):
    rows = samples.reshape(samples.shape[0], -1)
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits)


def build_png(samples, colour, depth, interlace=False, chunks=b"", data=None):
    """Return a PNG of (H, W, samples) values; `data` replaces the compressed pixels, `chunks` go before them."""
    height, width = samples.shape[:2]
    parts = [samples[y::down, x::across] for x, y, across, down in PASSES] if interlace else [samples]
    raw = b"".join(pack_rows(part, depth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = pack_chunk(b"IHDR", header) + chunks + pack_chunk(b"IDAT", zlib.compress(raw) if data is None else data(raw))
    return b"\x89PNG\r\n\x1a\n" + body + pack_chunk(b"IEND", b"")


def make_samples(colour, depth, height=11, width=13):
    return RNG.integers(0, 1 << depth, (height, width, SAMPLES[colour]), dtype=np.uint16)


def expand(samples, depth):
    """Return samples in the range of uint8 or uint16."""
    if depth == 16:
        return samples
    return (samples * 255 // ((1 << depth) - 1)).astype(np.uint8)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_png_of_every_kind(colour, depth, interlace):
    for height, width in ((11, 13), (1, 1), (1, 9), (9, 1), (3, 2)):
        samples = make_samples(colour, depth, height, width)
        palette = RNG.integers(0, 256, (1 << depth, 3), dtype=np.uint8)
        chunks = pack_chunk(b"PLTE", palette.tobytes()) if colour == 3 else b""
        picture = decode_picture(build_png(samples, colour, depth, interlace, chunks), "x.png")
        expected = palette[samples[..., 0]] if colour == 3 else expand(samples, depth)
        assert np.array_equal(picture.pixels, expected if SAMPLES[colour] > 1 or colour == 3 else expected[..., 0])
        assert picture.pixels.dtype == (np.uint16 if depth == 16 else np.uint8)


@pytest.mark.parametrize(("colour", "depth"), [kind for kind in KINDS if kind[0] in (0, 2, 3)])
def test_png_transparent_colours_become_alpha(colour, depth):
    samples = make_samples(colour, depth)
    samples[3:5] = samples[3, 3]
    key = samples[3, 3]
    palette = RNG.integers(0, 256, (1 << depth, 3), dtype=np.uint8)
    if colour == 3:
        alphas = np.full(1 << depth, 255, np.uint8)
        alphas[key[0]] = 77
        chunks = pack_chunk(b"PLTE", palette.tobytes()) + pack_chunk(b"tRNS", alphas.tobytes())
        expected = np.dstack([palette[samples[..., 0]], alphas[samples[..., 0]]])
    else:
        chunks = pack_chunk(b"tRNS", key.astype(">u2").tobytes())
        values = expand(samples, depth)
        opaque = (samples != key).any(axis=2)
        expected = np.dstack([values, np.where(opaque, np.iinfo(values.dtype).max, 0).astype(values.dtype)])
        assert not opaque.all()
    picture = decode_picture(build_png(samples, colour, depth, chunks=chunks), "x.png")
    assert np.array_equal(picture.pixels, expected)


BOMB = zlib.compress(bytes(100_000_000))
LIES = {
    "cut in the middle": lambda raw: zlib.compress(raw)[: len(raw) // 3],
    "rows missing": lambda raw: zlib.compress(raw[: len(raw) // 2]),
    "last byte missing": lambda raw: zlib.compress(raw[:-1]),
    "one byte more": lambda raw: zlib.compress(raw + b"\0"),
    "no checksum": lambda raw: zlib.compress(raw)[:-4],
    "wrong checksum": lambda raw: zlib.compress(raw)[:-4] + b"abcd",
    "unknown filter": lambda raw: zlib.compress(b"\5" + raw[1:]),
    "not compressed": lambda raw: raw,
    "empty": lambda raw: b"",
    "bomb": lambda raw: BOMB,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(
    ("colour", "depth"), [(0, 1), (0, 8), (0, 16), (2, 8), (2, 16), (3, 4), (4, 8), (4, 16), (6, 16)]
)
def test_png_with_wrong_pixel_data_is_refused(colour, depth, interlace, lie, capfd):
    palette = pack_chunk(b"PLTE", bytes(3 << depth)) if colour == 3 else b""
    data = build_png(make_samples(colour, depth), colour, depth, interlace, palette, LIES[lie])
    with pytest.raises(ImageError, match=r"x\.png: .*; .*new copy"):
        decode_picture(data, "x.png")
    assert capfd.readouterr() == ("", "")


def test_png_chunks():
    samples = make_samples(2, 8)
    good = build_png(samples, 2, 8)
    at = 8 + 25  # behind signature and header

    def with_chunk(chunk):
        return good[:at] + chunk + good[at:]

    for harmless in (pack_chunk(b"tEXt", b"a\0b"), pack_chunk(b"gAMA", bytes(4)), pack_chunk(b"abCd", b"?")):
        assert np.array_equal(decode_picture(with_chunk(harmless), "x").pixels, samples)
    damaged = pack_chunk(b"eXIf", make_exif(6))[:-1] + b"?"
    picture = decode_picture(with_chunk(damaged), "x")
    assert picture.exif is None
    assert picture.notes == ("damaged PNG chunk eXIf dropped",)
    for bad in (pack_chunk(b"ABCD", b"must be known"), pack_chunk(b"IHDR", good[16:29]), pack_chunk(b"tRNS", b"abc")):
        with pytest.raises(ImageError):
            decode_picture(with_chunk(bad), "x")
    for end in (4, 12, 13, 30):
        with pytest.raises(ImageError, match="ends before"):
            decode_picture(good[:-end], "x")
    flipped = bytearray(good)
    flipped[-20] ^= 1
    with pytest.raises(ImageError, match="checksum"):
        decode_picture(bytes(flipped), "x")


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_png_text_and_profile_bombs_are_not_expanded(name):
    bomb = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[name] + BOMB
    samples = make_samples(2, 8)
    data = build_png(samples, 2, 8, chunks=pack_chunk(name, bomb))
    tracemalloc.start()
    try:
        picture = decode_picture(data, "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(picture.pixels, samples)
    assert picture.icc is None
    assert peak < 40e6


def make_every_format():
    """Return a file of each format that can be read, by name; all show 21 x 17 pixels."""
    rgb, gray = make_pixels("u1", 3, 17, 21), make_pixels("u1", 1, 17, 21)
    files = {
        suffix[1:]: encode_picture(Picture(rgb), suffix)[0] for suffix in (".png", ".jpg", ".webp", ".bmp", ".ppm")
    }
    files |= {
        suffix[1:]: encode_picture(Picture(make_pixels("f4", 3, 17, 21)), suffix)[0] for suffix in (".pfm", ".hdr")
    }
    files |= {"gif": save(gray, "GIF"), "tif": encode_tiff(rgb), "deep tif": encode_tiff(make_pixels("u2", 3, 17, 21))}
    files |= {
        "lzw tif": save(rgb, "TIFF", compression="tiff_lzw"),
        "deep png": build_png(make_samples(6, 16, 17, 21), 6, 16),
    }
    numbers = b" ".join(b"%d" % value for value in gray.reshape(-1))
    return files | {"plain pgm": b"P2 # comment\n21 17 255\n" + numbers}


EVERY_FORMAT = make_every_format()


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_the_pixel_limit_holds_for_every_format(name):
    data = EVERY_FORMAT[name]
    assert decode_picture(data, "any.name", 21 * 17).pixels.shape[:2] == (17, 21)
    with pytest.raises(ImageError, match=r"any\.name: 21x17 .*--max-pixels 357"):
        decode_picture(data, "any.name", 21 * 17 - 1)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_cut_files_are_refused(name, capfd):
    data = EVERY_FORMAT[name]
    for keep in (0.1, 0.3, 0.5, 0.7, 0.9):
        with pytest.raises(ImageError, match=r"^cut: [^\n]*; [^\n]*$"):
            decode_picture(data[: int(len(data) * keep)], "cut")
    assert capfd.readouterr() == ("", "")


@settings(max_examples=400)
@given(st.sampled_from(sorted(EVERY_FORMAT)), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6))
def test_damaged_bytes_give_a_picture_or_a_refusal(name, changes):
    data = bytearray(EVERY_FORMAT[name])
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        decode_picture(bytes(data), "x", 1_000_000).validate()
    except ImageError as error:
        assert "\n" not in str(error)


def test_content_decides_and_not_the_suffix(tmp_path):
    path = tmp_path / "really-a-jpeg.png"
    path.write_bytes(EVERY_FORMAT["jpg"])
    assert np.array_equal(read_picture(path).pixels, decode_picture(EVERY_FORMAT["jpg"], "x").pixels)


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x89PNG", b"%PDF-1.7", bytes(100), b"8BPS\0\1", b"BM"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"picture\.png: [^\n]*; [^\n]*"):
        read_picture(path)


def test_unreadable_paths_are_refused(tmp_path):
    for path in (
        tmp_path / "missing.png",
        tmp_path,
        tmp_path / "a" / "b.png",
        tmp_path / ("n" * 300 + ".png"),
        "nul\0",
    ):
        with pytest.raises(ImageError, match=r"cannot be read: [^\n]*; check the path"):
            read_picture(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(EVERY_FORMAT["png"],))
    writer.start()
    picture = read_picture(pipe)
    writer.join()
    assert np.array_equal(picture.pixels, decode_picture(EVERY_FORMAT["png"], "x").pixels)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"P1\n# c\n3 2\n1 0 1\n010", [[0, 255, 0], [255, 0, 255]]),
        (b"P4 9 1\n\x0f\x80", [[255, 255, 255, 255, 0, 0, 0, 0, 0]]),
        (b"P2\n3 1\n15\n0 7 15\n", [[0, 119, 255]]),
        (b"P3 1 1 65535 1 2 65535", [[[1, 2, 65535]]]),
        (b"P5 2 1 1023\n\x03\xff\x02\x00", [[65535, 32800]]),
        (b"P6 1 1 255\nabc", [[[97, 98, 99]]]),
        (b"Pf 1 2 1\n" + struct.pack(">2f", 1.5, -2), [[-2], [1.5]]),
        (b"PF 1 1 -1\n" + struct.pack("<3f", 1, 2, 3), [[[1, 2, 3]]]),
    ],
)
def test_netpbm_by_hand(text, expected):
    assert decode_picture(text, "x").pixels.tolist() == expected
    with pytest.raises(ImageError):
        decode_picture(text[:-6], "x")


@pytest.mark.parametrize(
    "text",
    [b"P5 2 1 0\nab", b"P5 -2 1 255\nab", b"P2 2 1 255 1 -1", b"P2 2 1 9 1 10", b"P2 1 1 255 x", b"Pf 1 1 nan\nabcd"],
)
def test_netpbm_nonsense_is_refused(text):
    with pytest.raises(ImageError):
        decode_picture(text, "x")


def test_cmyk_is_converted_and_its_profile_dropped():
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:, 8:] = (250, 20, 30)
    stream = io.BytesIO()
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"CMYK"  # claims to be what it is not, so that it cannot be used either
    Image.fromarray(upright).convert("CMYK").save(stream, "JPEG", quality=100, icc_profile=bytes(profile))
    picture = decode_picture(stream.getvalue(), "x")
    assert picture.icc is None
    assert "CMYK converted to sRGB" in picture.notes
    assert np.abs(picture.pixels.astype(int) - upright).max() < 8


def test_profiles_must_match_the_pixels():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode_picture(save(make_pixels("u1", 3), "PNG", icc_profile=profile), "x").icc == profile
    for pixels, icc in (
        (make_pixels("u1", 1), profile),
        (make_pixels("u1", 3), b"no profile"),
        (make_pixels("u1", 3), profile[:-1]),
        (make_pixels("u1", 3), profile[:36] + b"none" + profile[40:]),
    ):
        picture = decode_picture(save(pixels, "PNG", icc_profile=icc), "x")
        assert picture.icc is None
        assert any("profile" in note and "dropped" in note for note in picture.notes)


def test_damaged_exif_costs_only_the_exif():
    exif = make_exif(6).removeprefix(b"Exif\0\0")
    pixels = make_pixels("u1", 3, 2, 5)
    for broken, shape in (
        (exif[:7], (2, 5)),
        (b"?" + exif, (2, 5)),
        (exif[:36], (5, 2)),
        (exif[:4] + b"\xff" * 4, (2, 5)),
    ):
        picture = decode_picture(save(pixels, "PNG", exif=broken), "x")
        assert picture.exif is None
        assert picture.pixels.shape[:2] == shape
        assert picture.notes == ("unusable EXIF dropped",)


def test_animations_and_palettes_say_so():
    frames = [Image.fromarray(make_pixels("u1", 3, 8, 8)) for _ in range(3)]
    for form in ("GIF", "WEBP", "PNG"):
        stream = io.BytesIO()
        frames[0].save(stream, form, save_all=True, append_images=frames[1:])
        notes = decode_picture(stream.getvalue(), "x").notes
        assert "only the first picture of an animation is used" in notes
    assert "palette expanded to RGB" in decode_picture(save(np.asarray(frames[0]), "GIF"), "x").notes


def test_silence_ends_and_nests(capfd):
    with quiet_descriptor(), quiet_messages(), quiet_descriptor():
        os.write(2, b"swallowed")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_silence_is_shared_by_threads(capfd):
    """The first thread leaves while the second stays: silence must last until the second leaves, and then end."""
    entered, left = threading.Event(), threading.Event()

    def stay():
        with quiet_descriptor():
            entered.set()
            left.wait(10)
            os.write(2, b"swallowed")

    thread = threading.Thread(target=stay)
    with quiet_descriptor():
        thread.start()
        entered.wait(10)
    left.set()
    thread.join()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_importing_loads_no_image_library():
    script = "import sys, lutkit.images; print({'PIL', 'cv2', 'tifffile', 'numba', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_default_limit_has_room_for_large_cameras():
    assert 11648 * 8736 < DEFAULT_MAX_PIXELS < 20000 * 20000
