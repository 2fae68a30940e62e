"""Pages about LUTs: what they show is what the LUT does, files are whole and load nothing, names cannot break them."""

import base64
import dataclasses
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lutkit.cli import main
from lutkit.colour.looks import make_look
from lutkit.colour.lut import ColourLut, Cube, Curves, grid, identity_cube
from lutkit.colour.plot_content import CURVE_POINTS, LATTICE_SIZE, LONGEST_SIDE, STRIP_NAMES, collect_content
from lutkit.colour.plot_page import render_html
from lutkit.colour.programs import make_lut_artefact
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.errors import LutkitError

HOSTILE = "<script>alert(1)</script> $x^2 {y}$ @outputs@ \u5f71 &amp;"


def make_photo(height: int = 90, width: int = 120) -> np.ndarray:
    row, column = np.mgrid[:height, :width]
    return np.stack([row % 256, column % 256, (row + column) // 2 % 256], axis=-1).astype(np.uint8)


@pytest.fixture
def look():
    return make_lut_artefact(make_look("warm-film"))


@pytest.fixture
def content(look):
    return collect_content(look, "warm", make_photo())


class Reader(HTMLParser):
    """Collects tags, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.texts.append(data)


def test_identity_changes_nothing_that_is_shown():
    content = collect_content(make_lut_artefact(ColourLut(cube=identity_cube(9))), "identity", make_photo())
    np.testing.assert_allclose(content.lattice, grid(LATTICE_SIZE), atol=1e-6)
    ramp = np.linspace(0, 1, CURVE_POINTS)[:, None] * np.ones(3)
    np.testing.assert_allclose(content.grays, ramp, atol=1e-6)
    np.testing.assert_allclose(content.ramps, ramp, atol=1e-6)
    np.testing.assert_array_equal(content.strips[:, 0], content.strips[:, 1])
    np.testing.assert_array_equal(content.before, content.after)
    assert content.weights == () and content.findings == ()


def test_curves_are_those_of_the_lut(content):
    look = make_look("warm-film")
    share = np.linspace(0, 1, CURVE_POINTS)
    np.testing.assert_allclose(content.grays, look.evaluate(share[:, None] * np.ones(3)), atol=1e-6)
    green = np.full((CURVE_POINTS, 3), 0.5)
    green[:, 1] = share
    np.testing.assert_allclose(content.ramps[:, 1], look.evaluate(green)[:, 1], atol=1e-6)
    assert content.strips.shape == (len(STRIP_NAMES), 2, CURVE_POINTS, 3)
    assert [finding.code.value for finding in content.findings] == ["tint"]
    np.testing.assert_array_equal(content.before, make_photo())
    assert np.abs(content.after.astype(int) - content.before).mean() > 3


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_depths_and_sizes_are_shown_in_8_bits(look, dtype):
    photo = make_photo(1300, 40)
    deep = photo.astype(dtype) * np.array(257, dtype) if dtype == np.uint16 else (photo / 255).astype(dtype)
    content = collect_content(look, "deep", deep)
    assert content.before.shape == content.after.shape == (LONGEST_SIDE, 39, 3)
    expected = collect_content(look, "deep", photo)
    for one, other in ((content.before, expected.before), (content.after, expected.after)):
        assert one.dtype == np.uint8
        assert np.abs(one.astype(int) - other).max() <= 1


def test_domains_and_curves_are_shown(look):
    curves = Curves(np.linspace((0, 0, 0), (1, 1, 0.5), 7).astype(np.float32), (-1.0, 0.0, 0.0), (2.0, 1.0, 1.0))
    content = collect_content(make_lut_artefact(ColourLut(curves=curves)), "curves")
    assert content.low == (-1.0, 0.0, 0.0)
    assert content.ramps[-1].tolist() == pytest.approx([1, 1, 0.5])
    assert "inputs -1 to 2" in content.facts and "curves of 7 nodes" in content.facts
    assert content.before is None


def test_page_holds_everything_and_loads_nothing(content):
    page = render_html(dataclasses.replace(content, weights=(1.5, -0.25)))
    reader = Reader(page)
    assert reader.addresses and all(address.startswith("data:image/") for address in reader.addresses)
    assert not {"link", "iframe", "object", "form"} & set(reader.tags)
    assert reader.tags.count("script") == 1 and reader.tags.count("img") == 2 + len(STRIP_NAMES)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|import\(", page)
    assert "default-src 'none'" in page
    assert not re.search(r"@[a-z]+@", page)
    text = " ".join(reader.texts)
    for word in ("warm", "1.500", "-0.250", "tint", "cube of 33 nodes per axis, tetrahedral"):
        assert word in text


def test_page_holds_the_lattice_and_the_pictures(content):
    page = render_html(content)
    encoded = re.search(r'outputs = decode\("([^"]+)"\)', page)
    lattice = np.frombuffer(base64.b64decode(encoded[1]), "<i2").reshape(content.lattice.shape) / 10000
    np.testing.assert_allclose(lattice, content.lattice, atol=0.6e-4)
    images = [base64.b64decode(address.partition(",")[2]) for address in Reader(page).addresses]
    after, before = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in images[:2])
    for shown, expected in ((before, content.before), (after, content.after)):
        assert np.abs(shown.astype(int) - expected).mean() < 2
    strips = [np.asarray(Image.open(io.BytesIO(data))) for data in images[2:]]
    np.testing.assert_array_equal(np.stack(strips), content.strips)


def test_names_cannot_break_the_page(content):
    page = render_html(dataclasses.replace(content, label=HOSTILE, facts=(HOSTILE,)))
    reader = Reader(page)
    assert reader.tags.count("script") == 1
    assert sum(HOSTILE in text for text in reader.texts) >= 2


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: the script's syntax is not checked")
def test_script_is_sound(content, tmp_path):
    script = tmp_path / "page.js"
    script.write_text(re.search(r"<script>(.*)</script>", render_html(content), re.DOTALL)[1], encoding="utf-8")
    done = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_picture_is_drawn_from_the_content(content):
    pytest.importorskip("matplotlib")
    from lutkit.colour.plots import render_png

    data = render_png(content)
    assert data == render_png(content)
    with_pictures = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    plain = Image.open(io.BytesIO(render_png(dataclasses.replace(content, before=None, after=None))))
    assert plain.width == with_pictures.shape[1] == 1540 and plain.height < with_pictures.shape[0]
    # The colours of the strip of hues are on the page as they are, before and after.
    for row in (0, 1):
        colour = content.strips[4, row, 128].astype(int)
        assert (np.abs(with_pictures - colour).max(axis=-1) <= 3).sum() > 10


def test_names_cannot_break_the_picture(content):
    pytest.importorskip("matplotlib")
    from lutkit.colour.plots import render_png

    finding = dataclasses.replace(content.findings[0], message="half of $x is $ " * 30)
    many = tuple(float(weight) for weight in np.linspace(-1, 1, 64))
    for weights in ((), (0.0, 0.0), (2.0, -1.0, 0.5), many):
        odd = dataclasses.replace(content, label=HOSTILE, facts=(HOSTILE,), weights=weights, findings=(finding,) * 9)
        assert render_png(odd).startswith(b"\x89PNG")


def test_without_matplotlib_the_error_names_the_extra(content, monkeypatch):
    from lutkit.colour.plots import render_png

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(LutkitError, match=r"pip install 'lutkit\[plot\]'.*\.html"):
        render_png(content)
    assert render_html(content)


@pytest.fixture
def run(tmp_path, monkeypatch, look):
    """Return a function that runs the command in a folder with a model and a picture."""
    monkeypatch.chdir(tmp_path)
    write_artefact("look.h5", look)
    Image.fromarray(make_photo()[..., 0]).save("gray.png")
    return lambda *arguments: CliRunner().invoke(main, ["plot", *arguments])


def test_command_writes_a_page_once(run, tmp_path):
    result = run("look.h5", "--image", "gray.png", "-o", "page.html")
    assert result.exit_code == 0 and result.output == "wrote page.html\n", result.output
    first = (tmp_path / "page.html").read_bytes()
    result = run("look.h5", "-o", "page.html")
    assert result.exit_code == 1 and "page.html exists already" in result.output and "-y" in result.output
    assert (tmp_path / "page.html").read_bytes() == first
    assert run("look.h5", "-o", "page.html", "-y").exit_code == 0
    assert (tmp_path / "page.html").read_bytes() != first
    assert {path.name for path in tmp_path.iterdir()} == {"look.h5", "gray.png", "page.html"}


def test_command_draws_a_picture(run, tmp_path):
    pytest.importorskip("matplotlib")
    result = run("look.h5", "-o", "page.PNG")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "page.PNG") as picture:
        assert picture.format == "PNG"


def test_command_refuses_other_files_and_models(run):
    assert run("look.h5", "-o", "page.svg").exit_code == 2
    result = run("sr-x4", "-o", "page.html")
    assert result.exit_code == 1 and result.output.startswith("Error: ") and result.output.count("\n") == 1


@pytest.mark.data
def test_adaptive_model_needs_a_picture_and_shows_its_weights(run, shared_data, tmp_path):
    pytest.importorskip("torch")
    from lutkit.formats.adaptive_networks import import_model

    folder = shared_data / "published" / "adaptive-3dlut"
    write_artefact("published.h5", import_model([folder / "LUTs.pth", folder / "classifier.pth"]))
    result = run("published.h5", "-o", "page.html")
    assert result.exit_code == 1 and "--image" in result.output
    result = run("published.h5", "-o", "page.html", "--image", str(folder / "a1629.jpg"))
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for weight in ("1.908", "-0.346", "-0.928"):
        assert f"<td>{weight}</td>" in page


def test_a_cube_that_makes_everything_black_is_drawn():
    cube = Cube(np.zeros((2, 2, 2, 3), np.float32))
    content = collect_content(make_lut_artefact(ColourLut(cube=cube)), "black", make_photo())
    assert content.lattice.max() == 0 and content.after.max() == 0
    assert "nothing found" in render_html(content)
