"""Hald pictures: the identity, the order of the nodes, what is lost and said, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lutkit.colour.lut import ColourLut, Cube, Curves, grid, identity_cube
from lutkit.formats.hald import choose_level, identity_hald, read_hald, write_hald
from lutkit.images import read_picture
from lutkit_runtime.errors import FormatError


def random_lut(size, low=0.0, high=1.0):
    values = np.random.default_rng(0).uniform(low, high, (size, size, size, 3)).astype(np.float32)
    return ColourLut(None, Cube(values))


@given(st.integers(2, 5), st.sampled_from([8, 16]))
def test_identity_runs_red_first_then_green_then_blue(level, bits):
    pixels, size = identity_hald(level, bits), level**2
    peak = 2**bits - 1
    assert pixels.shape == (level**3, level**3, 3)
    flat = pixels.reshape(-1, 3)
    for place in (0, 1, size - 1, size, size**2, size**3 - 1):
        digits = [place % size, place // size % size, place // size**2]
        assert flat[place].tolist() == [round(digit / (size - 1) * peak) for digit in digits]


@pytest.mark.parametrize("bits", [8, 16])
def test_identity_picture_changes_nothing(tmp_path, bits):
    report = write_hald(ColourLut(None, identity_cube(9)), tmp_path / "x.png", bits=bits, level=3)
    assert (report.level, report.clipped, report.resampled) == (3, 0, False)
    pixels = read_picture(tmp_path / "x.png").pixels
    assert pixels.dtype == f"uint{bits}" and np.array_equal(pixels, identity_hald(3, bits))
    colours = np.random.default_rng(1).random((500, 3))
    assert np.abs(read_hald(tmp_path / "x.png").evaluate(colours) - colours).max() <= 0.5001 / (2**bits - 1)


@pytest.mark.parametrize("bits", [8, 16])
def test_writing_and_reading_costs_half_a_step_once(tmp_path, bits):
    lut = random_lut(16)
    write_hald(lut, tmp_path / "a.png", bits=bits)
    first = read_hald(tmp_path / "a.png")
    assert np.abs(first.cube.values - lut.cube.values).max() <= 0.5001 / (2**bits - 1)
    write_hald(first, tmp_path / "b.png", bits=bits)
    assert np.array_equal(read_hald(tmp_path / "b.png").cube.values, first.cube.values)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert first.title == "a"


def test_clipped_nodes_are_counted(tmp_path):
    lut = random_lut(4, -1.0, 2.0)
    outside = ((lut.cube.values < 0) | (lut.cube.values > 1)).any(axis=-1).sum()
    assert 0 < outside < 64
    assert write_hald(lut, tmp_path / "x.png").clipped == outside
    assert np.abs(read_hald(tmp_path / "x.png").cube.values - lut.cube.values.clip(0, 1)).max() < 1e-5


def test_other_sizes_domains_and_curves_are_resampled(tmp_path):
    curves = Curves(np.array([[0, 0, 0], [0.25, 0.5, 1], [1, 1, 0]], np.float32), (-0.5,) * 3, (1.5,) * 3)
    lut = ColourLut(curves, identity_cube(5))
    assert write_hald(lut, tmp_path / "x.png").resampled
    read = read_hald(tmp_path / "x.png")
    assert read.cube.size == 9
    assert np.abs(read.cube.values - lut.evaluate(grid(9)).clip(0, 1)).max() < 1e-5


def test_levels_hold_the_cube():
    sizes = {2: 2, 4: 2, 5: 3, 17: 5, 33: 6, 64: 8, 65: 9, 121: 11, 129: 11}
    luts = {size: ColourLut(None, Cube(np.zeros((size,) * 3 + (3,), np.float32))) for size in sizes}
    assert {size: choose_level(lut) for size, lut in luts.items()} == sizes
    assert choose_level(ColourLut(Curves(np.eye(3, dtype=np.float32)))) == 8


def test_gray_and_alpha_are_read(tmp_path):
    pixels = identity_hald(2)
    alpha = np.dstack([pixels, np.arange(64, dtype=np.uint8).reshape(8, 8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    assert np.abs(read_hald(tmp_path / "alpha.png").cube.values - identity_cube(4).values).max() < 0.002
    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    expected = (pixels[..., [0]].reshape(4, 4, 4, 1).repeat(3, axis=3) / 255).astype(np.float32)
    assert np.array_equal(read_hald(tmp_path / "gray.png").cube.values, expected)


def save(path, size, **options):
    Image.new("RGB", size).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: save(folder / "x.png", (1024, 2048)), r"has 1024x2048 pixels; a Hald picture is square"),
        (lambda folder: save(folder / "x.png", (100, 100)), r"side of 8, 27, 64, 125, 216, 343, 512, 729, 1000, 1331"),
        (lambda folder: save(folder / "x.png", (64, 64), format="JPEG"), "JPEG picture, whose losses"),
        (lambda folder: save(folder / "x.png", (64, 64), format="BMP"), "no PNG picture"),
        (lambda folder: folder / "missing.png", "does not exist"),
        (lambda folder: folder, "is a folder"),
    ],
)
def test_other_pictures_are_refused(tmp_path, make, message):
    with pytest.raises(FormatError, match=message):
        read_hald(make(tmp_path))


def test_damaged_pictures_are_refused(tmp_path):
    path = save(tmp_path / "x.png", (64, 64))
    data = path.read_bytes()
    for place in (9, 20, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:place])
        with pytest.raises(FormatError):
            read_hald(path)
    # A header that claims the largest picture must not make room for it before the size of the data is known.
    path.write_bytes(data[:16] + (10**9).to_bytes(4, "big") * 2 + data[24:])
    with pytest.raises(FormatError, match="1000000000x1000000000"):
        read_hald(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"level": 1}, "level 1 is asked"), ({"level": 12}, "level 12 is asked"), ({"bits": 10}, "of 10 bits is asked")],
)
def test_impossible_pictures_are_refused(tmp_path, options, message):
    with pytest.raises(FormatError, match=message):
        write_hald(random_lut(4), tmp_path / "x.png", **options)
    assert not list(tmp_path.iterdir())


def test_names_and_existing_files_are_respected(tmp_path):
    with pytest.raises(FormatError, match=r"let it end in \.png"):
        write_hald(random_lut(4), tmp_path / "x.jpg")
    write_hald(random_lut(4), tmp_path / "x.png")
    with pytest.raises(FormatError, match="exists already"):
        write_hald(random_lut(4), tmp_path / "x.png")
    write_hald(random_lut(4), tmp_path / "x.png", overwrite=True)


@pytest.mark.data
def test_pictures_that_are_no_hald_are_refused(shared_data):
    with pytest.raises(FormatError, match="1024x2048"):
        read_hald(shared_data / "published/nilut/Original_Image.png")
