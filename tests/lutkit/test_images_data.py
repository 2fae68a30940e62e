"""Every file of the shared picture collection does what the collection's table expects of it."""

import json
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lutkit.images import read_picture
from lutkit_runtime.errors import ImageError

pytestmark = pytest.mark.data

_TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "images" / "README.md"
_HOSTILE = ("bomb", "corrupt", "corrupt-tolerable")
_SECONDS = 5
_MEGABYTES = 500

# Reads the files named on the command line and prints, for each, a JSON line with what came of it.
_CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from lutkit.images import read_picture
from lutkit_runtime.errors import ImageError
for path in sys.argv[1:]:
    start = time.monotonic()
    try:
        picture = read_picture(path)
        found = {"shape": picture.pixels.shape, "notes": picture.notes}
    except ImageError as error:
        found = {"error": str(error)}
    found["seconds"] = time.monotonic() - start
    # Not ru_maxrss, which a child takes over from the process that started it.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    found["megabytes"] = int(peak.split()[1]) / 1024
    print(json.dumps(found))
"""


@dataclass(frozen=True)
class Row:
    """A line of the table: the file, what Pillow and OpenCV made of it, and the outcome that is expected."""

    name: str
    property: str
    pillow: str
    opencv: str
    expected: str

    @property
    def folder(self):
        return self.name.split("/")[0]

    @property
    def may_load(self):
        return (
            re.search(r"\bload\b|convert to RGB|first page|either|process in tiles|map non-finite", self.expected)
            is not None
        )

    @property
    def may_refuse(self):
        return re.search(r"\brefuse|\berror", self.expected) is not None


def _read_table():
    if not _TABLE.is_file():
        return []
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in _TABLE.read_text().splitlines() if "|" in line
    ]
    return [Row(c[0], c[2], c[3], c[4], c[5]) for c in cells if len(c) == 6 and "/" in c[0]]


ROWS = _read_table()
PEACEFUL = [row for row in ROWS if row.folder not in _HOSTILE]
HOSTILE = [row for row in ROWS if row.folder in _HOSTILE]


def _name(row):
    return row.name


def _run_child(paths):
    command = [sys.executable, "-c", _CHILD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS * max(2, len(paths)), check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def hostile_results(shared_data):
    folder = shared_data / "images"
    together = [row for row in HOSTILE if row.folder != "bomb"]
    results = dict(
        zip((row.name for row in together), _run_child([folder / row.name for row in together]), strict=True)
    )
    for row in HOSTILE:  # each bomb alone, so that its peak is its own
        if row.folder == "bomb":
            results[row.name] = _run_child([folder / row.name])[0]
    return results


def test_the_table_lists_every_file(shared_data):
    folder = shared_data / "images"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    others = {name for name in files if re.search(r"README|LICENSE|license", name)}
    assert {row.name for row in ROWS} == files - others
    assert len(ROWS) > 150
    assert all(row.may_load or row.may_refuse for row in ROWS)


@pytest.mark.parametrize("row", HOSTILE, ids=_name)
def test_hostile_file(row, hostile_results):
    found = hostile_results[row.name]
    assert found["seconds"] < _SECONDS
    assert found["megabytes"] < _MEGABYTES
    if "error" in found:
        assert row.may_refuse
        _check_message(found["error"], row)
    else:
        assert row.may_load


@pytest.mark.parametrize("row", PEACEFUL, ids=_name)
def test_file(row, shared_data, capfd):
    try:
        picture = read_picture(shared_data / "images" / row.name)
    except ImageError as error:
        assert row.may_refuse
        _check_message(str(error), row)
        return
    finally:
        captured = capfd.readouterr()
        assert captured.out == captured.err == ""
    assert row.may_load
    assert picture.pixels.shape[:2] == _upright_shape(row)
    assert picture.pixels.dtype == (row.opencv.split()[0] if row.opencv != "none" else "uint8")
    if picture.exif:
        from PIL import Image

        exif = Image.Exif()
        exif.load(picture.exif)
        assert exif.get(0x0112, 1) == 1
    if stored := re.search(r"icc=(\d+)B", row.pillow):
        assert (len(picture.icc) if picture.icc else None) == int(stored[1]) or "profile" in " ".join(picture.notes)
    CHECKS.get(row.folder, lambda *_: None)(row, picture, shared_data / "images")


def _check_message(message, row):
    assert "\n" not in message
    assert row.name in message
    assert ";" in message, "says what, then a remedy"


def _upright_shape(row):
    """Return height and width of the upright picture from Pillow's column, or OpenCV's where Pillow could not read it."""
    if size := re.search(r"(\d+)x(\d+)", row.pillow):
        width, height = int(size[1]), int(size[2])
    else:
        height, width = map(int, re.search(r"(\d+)x(\d+)", row.opencv).groups())
    orientation = re.search(r"or=(\d)", row.pillow)
    return (width, height) if orientation and int(orientation[1]) >= 5 else (height, width)


def _check_deep_png(row, picture, folder):
    import cv2

    expected = cv2.imread(str(folder / row.name), cv2.IMREAD_UNCHANGED)
    if expected.ndim == 3:
        expected = expected[..., [2, 1, 0, 3][: expected.shape[2]]]
        if picture.channels == 2:
            assert (expected[..., 0] == expected[..., 1]).all()
            expected = expected[..., [0, 3]]
    assert np.array_equal(picture.pixels, expected)


def _check_against_pillow(row, picture, folder):
    """Compare with what Pillow makes of the same file, for pictures that it reads at full depth."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings(action="ignore"), Image.open(folder / row.name) as image:
        if image.mode.startswith("I") or picture.pixels.dtype != np.uint8:
            return
        upright = ImageOps.exif_transpose(image)
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[picture.channels]
        assert picture.has_alpha == upright.has_transparency_data
        assert np.array_equal(picture.pixels, np.asarray(upright.convert(mode)))


def _check_alpha(row, picture, folder):
    assert picture.has_alpha or row.name == "alpha/transparent_background_text_L.png"  # which has no alpha after all
    if row.name == "alpha/i_trns.png":
        assert set(np.unique(picture.pixels[..., 1])) == {0, 65535}
    _check_against_pillow(row, picture, folder)


def _check_gray(row, picture, folder):
    assert picture.channels == 1
    _check_against_pillow(row, picture, folder)


def _check_palette(row, picture, folder):
    assert picture.channels in (3, 4)
    assert "palette expanded to RGB" in picture.notes
    _check_against_pillow(row, picture, folder)


def _check_scene(row, picture, folder):
    """All files of one scene show it the same way up: the reference is nearer than any turned version of it."""
    if row.name == "exif/orientation_rectangle.jpg":
        return
    scene = "exif/orientation__landscape_1.jpg" if "landscape" in row.name else "misc/hopper.bmp"
    reference = read_picture(folder / scene).pixels.astype(float)
    upright = np.abs(picture.pixels - reference).mean()
    assert upright < 20
    assert all(np.abs(turned - reference).mean() > 2 * upright for turned in _turn(picture.pixels, reference.shape))


def _turn(pixels, shape):
    for quarter_turns in range(4):
        for flip in (False, True):
            turned = np.rot90(np.fliplr(pixels) if flip else pixels, quarter_turns)
            if turned.shape == shape and (flip or quarter_turns):
                yield turned


def _check_converted(row, picture, folder):
    assert any("converted to sRGB" in note for note in picture.notes)
    assert picture.icc is None
    if "hopper" in row.name:
        reference = read_picture(folder / "misc/hopper.bmp").pixels
        assert np.abs(picture.pixels.astype(int) - reference).mean() < 4
    else:  # red letters on black; inverted, they would be cyan on white
        assert (picture.pixels[0, 0] > (200, -1, -1)).all()
        assert (picture.pixels[0, 0] < (256, 60, 60)).all()
        assert np.median(picture.pixels) < 20


def _check_deep_tiff(row, picture, folder):
    same_pixels = {
        "tiff16/rgba16_noise_33x31.tiff": "png16/rgba16_noise_33x31.png",
        "tiff16/tiff_strip_planar_16bit_RGB.tiff": "tiff16/tiff_16bit_RGB.tiff",
        "tiff16/tiff_tiled_planar_16bit_RGB.tiff": "tiff16/tiff_16bit_RGB.tiff",
        "tiff16/tiff_strip_planar_16bit_RGBa.tiff": "tiff16/tiff_16bit_RGBa.tiff",
        "tiff16/16bit.MM.cropped.tif": "tiff16/16bit.cropped.tif",
    }
    if row.name in same_pixels:
        assert np.array_equal(picture.pixels, read_picture(folder / same_pixels[row.name]).pixels)
    if row.name == "tiff16/uint16_1_4660.tif":
        assert (picture.pixels == 4660).all()
    if row.name == "tiff16/12bit.cropped.tif":
        small = read_picture(folder / "tiff16/12in16bit.tif").pixels  # the same values, not scaled
        assert (picture.pixels[:, : small.shape[1]] >> 4 == small).mean() > 0.9


def _check_float(row, picture, folder):
    import cv2
    from PIL import Image

    if row.name.endswith(".pfm"):  # OpenCV divides by the header's scale, which names no factor
        expected = np.asarray(Image.open(folder / row.name))
    else:
        expected = cv2.imread(str(folder / row.name), cv2.IMREAD_UNCHANGED)
        expected = expected[..., ::-1] if expected.ndim == 3 else expected
    assert np.array_equal(picture.pixels, expected)


def _check_misc(row, picture, folder):
    assert "first of 3 pages" in picture.notes or "multipage" not in row.name
    _check_against_pillow(row, picture, folder)


CHECKS = {
    "png16": _check_deep_png,
    "png16-icc": _check_deep_png,
    "tiff16": _check_deep_tiff,
    "alpha": _check_alpha,
    "gray": _check_gray,
    "palette": _check_palette,
    "exif": _check_scene,
    "exif-bad": _check_against_pillow,
    "icc": _check_against_pillow,
    "cmyk-lab": _check_converted,
    "float": _check_float,
    "misc": _check_misc,
    "tiny": _check_against_pillow,
}
