"""The .cube reader and writer: what must load, what must be refused with which words, and what no bytes may cause."""

import contextlib
import random
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lutkit.colour.lut import ColourLut, Cube, Curves, identity_cube
from lutkit.formats.cube import BYTES_PER_ROW, decode_cube, read_cube
from lutkit.formats.cube_header import MAX_HEADER_BYTES
from lutkit.formats.cube_writer import encode_cube, write_cube
from lutkit_runtime.errors import FormatError

ROWS_2 = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 0 1\n1 0 1\n0 1 1\n1 1 1\n"
FIXED_MEMORY = 12 << 20  # what a block of text may become, whatever the file's size


def decode(text):
    return decode_cube(text.encode() if isinstance(text, str) else text, "x.cube")


def refusal(text):
    with pytest.raises(FormatError) as caught:
        decode(text)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 220
    assert message.startswith("x.cube")
    return message


def equal(first, second):
    for one, other in ((first.curves, second.curves), (first.cube, second.cube)):
        if (one is None) != (other is None):
            return False
        if one is not None and not (
            one.values.tobytes() == other.values.tobytes() and (one.low, one.high) == (other.low, other.high)
        ):
            return False
    return first.title == second.title


def test_smallest_cube():
    lut = decode("LUT_3D_SIZE 2\n" + ROWS_2)
    assert np.array_equal(lut.cube.values, identity_cube(2).values)
    assert lut.curves is None and lut.title == ""


def test_two_tables_are_a_shaper_and_a_cube():
    lut = decode(
        "LUT_1D_SIZE 2\nLUT_1D_INPUT_RANGE -1 3\nLUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE 0 4\n5 6 7\n8 9 10\n" + ROWS_2
    )
    assert lut.curves.values.tolist() == [[5, 6, 7], [8, 9, 10]]
    assert (lut.curves.low, lut.curves.high) == ((-1,) * 3, (3,) * 3)
    assert (lut.cube.low, lut.cube.high) == ((0,) * 3, (4,) * 3)
    assert np.array_equal(lut.cube.values, identity_cube(2).values)


@pytest.mark.parametrize("keyword", ["LUT_1D_INPUT_RANGE", "LUT_3D_INPUT_RANGE"])
def test_the_only_range_is_that_of_the_only_table(keyword):
    assert decode(f"LUT_3D_SIZE 2\n{keyword} -1 2\n{ROWS_2}").domain == ((-1,) * 3, (2,) * 3)


def test_one_domain_line_leaves_the_other_end_as_usual():
    assert decode("LUT_3D_SIZE 2\nDOMAIN_MAX 2 3 4\n" + ROWS_2).domain == ((0, 0, 0), (2, 3, 4))


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("TITLE \"a 'b' c\"", "a 'b' c"),
        ("TITLE bare words", "bare words"),
        ('TITLE ""', ""),
        ("TITLE", ""),
        ('title\t"x"', "x"),
        ('TITLE "a\x1b[31m\x7fb"', "a [31m b"),
        ('TITLE "' + "t" * 1000 + '"', "t" * 250),
    ],
)
def test_titles(line, title):
    assert decode(f"{line}\nLUT_3D_SIZE 2\n{ROWS_2}").title == title


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.cube is empty"),
        (" \n\t\r\n", "x.cube is empty"),
        (("LUT_3D_SIZE 2\n" + ROWS_2).encode("utf-16"), "UTF-16"),
        (("LUT_3D_SIZE 2\n" + ROWS_2).encode("utf-16-le"), "line 1: there is a NUL byte"),
        ("# only\n# comments\n", "line 3: no line LUT_1D_SIZE or LUT_3D_SIZE"),
        ("LUT_3D_SIZE 2\nSIZE 3\n" + ROWS_2, "line 2: unknown keyword 'SIZE'; the known ones are TITLE, LUT_1D_SIZE"),
        ("LUT_3D_SIZE\n" + ROWS_2, "line 1: LUT_3D_SIZE has 0 values; it takes 1"),
        ("LUT_3D_SIZE 2 2\n" + ROWS_2, "line 1: LUT_3D_SIZE has 2 values; it takes 1"),
        ("LUT_3D_SIZE 2 # two\n" + ROWS_2, "line 1: LUT_3D_SIZE has 3 values; it takes 1"),
        ("LUT_3D_SIZE 130\n" + ROWS_2, "line 1: LUT_3D_SIZE is '130'; it is a whole number from 2 to 129"),
        ("LUT_1D_SIZE 65537\n" + ROWS_2, "line 1: LUT_1D_SIZE is '65537'; it is a whole number from 2 to 65536"),
        ("LUT_1D_SIZE 0x8\n" + ROWS_2, "'0x8'"),
        ("LUT_1D_SIZE 1_0\n" + ROWS_2, "'1_0'"),
        ("LUT_1D_SIZE ٨\n" + ROWS_2, "is '"),
        ("LUT_3D_SIZE 65\n" + ROWS_2, "line 2: LUT_3D_SIZE 65 needs 274625 rows, but only 48 bytes follow"),
        ("LUT_3D_SIZE 2\nLUT_3D_SIZE 2\n" + ROWS_2, "line 2: LUT_3D_SIZE stands in line 1 already"),
        ("TITLE a\nTITLE a\nLUT_3D_SIZE 2\n" + ROWS_2, "line 2: TITLE stands in line 1 already"),
        ("LUT_3D_SIZE 2\nDOMAIN_MIN 0 0 0\nLUT_3D_INPUT_RANGE 0 1\n" + ROWS_2, "line 2: DOMAIN_MIN or DOMAIN_MAX"),
        (
            "LUT_1D_SIZE 2\nLUT_3D_SIZE 2\nDOMAIN_MAX 1 1 1\n0 0 0\n" + ROWS_2,
            "line 3: DOMAIN_MIN or DOMAIN_MAX fits no",
        ),
        ("LUT_1D_SIZE 8\nLUT_3D_INPUT_RANGE 0 1\n" + ROWS_2, "line 2: LUT_3D_INPUT_RANGE without LUT_3D_SIZE"),
        ("LUT_3D_SIZE 2\nLUT_1D_INPUT_RANGE 0 1\nLUT_3D_INPUT_RANGE 0 1\n" + ROWS_2, "line 2: LUT_1D_INPUT_RANGE with"),
        ("LUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE 1 1\n" + ROWS_2, "line 2: the domain of red goes from 1 to 1"),
        ("LUT_3D_SIZE 2\nDOMAIN_MIN 0 0 2\n" + ROWS_2, "line 2: the domain of blue goes from 2 to 1"),
        ("LUT_3D_SIZE 2\nDOMAIN_MIN 0 0 -1e40\n" + ROWS_2, "line 2: '-1e40' is too large"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", "1e39", 1), "line 3: '1e39' is too large; values go from -1e+30"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", "-1.1e30", 1), "line 3: '-1.1e30' is too large"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1e31 1\n", "line 3: '1e31' is too large"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", "0x1p-2", 1), "line 3: '0x1p-2' is no decimal number"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", "1_0", 1), "line 3: '1_0' is no decimal number"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", "1-0", 1), "line 3: '1-0' is no decimal number"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", ".", 1), "line 3: '.' is no decimal number"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", "1.#QNAN", 1), "line 3: '1.#QNAN' is not finite"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("0 0 0", "-Infinity 0 0"), "line 2: '-Infinity' is not finite"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("0 0 0", "nan 0 0"), "line 2: 'nan' is not finite"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1", "0" * 65, 1), "has 65 characters; numbers have at most 64"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1 1 0", "1 1 0 # c"), "line 5: '#' is no decimal number"),
        (
            "LUT_3D_SIZE 2\n" + ROWS_2.replace("1 1 0", "1,0 1 0"),
            "line 5: '1,0' is no decimal number; write decimals wi",
        ),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1 1 0", "1\v1 0"), "line 5: there is a control character"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1 1 0", "1\u00a01 0"), r"line 5: '1\xc2\xa01' is no decimal number"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1 1 0", " 1 1"), "line 5: the row has 2 values; it takes 3"),
        ("LUT_3D_SIZE 2\n" + ROWS_2.replace("1 1 0", "title x"), "line 5: 'title' after the first value"),
        ("LUT_3D_SIZE 2\n" + ROWS_2 + "0 0 0", "line 10: row 9 is one too many; LUT_3D_SIZE 2 needs 8 rows"),
        (
            "LUT_3D_SIZE 2\n#\n" + ROWS_2[:-6].replace("0", "00"),
            "line 9: the file ends after 7 rows; LUT_3D_SIZE 2 needs 8",
        ),
        ("LUT_3D_SIZE 2\n" + ROWS_2 + "x" * 60, "line 10: '" + "x" * 45 + "...' is no decimal"),
        ("LUT_3D_SIZE 2\n" + ROWS_2 + "\0", "line 10: there is a NUL byte"),
        ("\x1b[2J" + "LUT_3D_SIZE 2\n" + ROWS_2, "line 1: no line LUT_1D_SIZE"),
        ("#" * (MAX_HEADER_BYTES + 9) + "\n\nLUT_3D_SIZE 2\n" + ROWS_2, "line 2: no values within the first"),
        (
            "LUT_3D_SIZE 2\n" + ROWS_2 + "#" * (MAX_HEADER_BYTES + 8 * BYTES_PER_ROW),
            "bytes follow; the file is damaged",
        ),
    ],
)
def test_refusals_name_line_and_cause(text, message):
    assert message in refusal(text)


LARGEST = float(np.float32(1e30))
finite32 = st.floats(-LARGEST, LARGEST, width=32)
ends = st.tuples(st.floats(-1e6, 0.25), st.floats(0.5, 1e6))
titles = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=60)


@st.composite
def luts(draw):
    """Return a LUT that a .cube file can hold."""
    has_curves, has_cube = draw(st.sampled_from([(True, False), (False, True), (True, True)]))

    def domain():
        spans = [draw(ends)] * 3 if has_curves and has_cube else [draw(ends) for _ in range(3)]
        return tuple(low for low, _ in spans), tuple(high for _, high in spans)

    curves = cube = None
    if has_curves:
        curves = Curves(draw(arrays(np.float32, (draw(st.integers(2, 9)), 3), elements=finite32)), *domain())
    if has_cube:
        size = draw(st.integers(2, 4))
        cube = Cube(draw(arrays(np.float32, (size, size, size, 3), elements=finite32)), *domain())
    title = " ".join(draw(titles).replace('"', "'").split())
    return ColourLut(curves, cube, title)


@given(luts())
@settings(max_examples=150)
def test_what_is_written_is_read_bit_by_bit(lut):
    assert equal(decode(encode_cube(lut)), lut)


def test_values_that_no_model_takes_are_not_written():
    with pytest.raises(FormatError, match=r"values beyond 1e\+30"):
        encode_cube(ColourLut(Curves(np.array([[0, 0, 0], [1, 2e30, 1]], np.float32))))


def test_every_float32_survives_its_nine_digits():
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 1 << 32, 3 * 60000, dtype=np.uint32)
    values = bits.view(np.float32).reshape(-1, 3)
    values = np.append(values[(np.abs(values) <= LARGEST).all(axis=1)], np.float32([[LARGEST, -LARGEST, 0]]), axis=0)
    assert decode(encode_cube(ColourLut(Curves(values)))).curves.values.tobytes() == values.tobytes()


@given(luts(), st.sampled_from(["\r\n", "\r"]), st.sampled_from(["", "\ufeff"]), st.booleans())
@settings(max_examples=40)
def test_line_ends_marks_comments_and_case_change_nothing(lut, line_end, mark, comments):
    lines = encode_cube(ColourLut(lut.curves, lut.cube)).decode().splitlines()
    lines = [line.lower().replace(" ", " \t ") + "  " for line in lines]
    if comments:
        lines = [each for line in lines for each in ("# TITLE 1 2", "", line)]
    assert equal(decode(mark + line_end.join(lines)), ColourLut(lut.curves, lut.cube))


def test_titles_are_written_so_that_they_can_be_read():
    lut = ColourLut(None, identity_cube(), 'two "quoted"\nlines\x1b \ud800' + "x" * 500)
    first = encode_cube(lut).splitlines()[0]
    assert first.startswith(b"TITLE \"two 'quoted' lines ") and len(first) < 250
    decode(encode_cube(lut))


def test_dialects_differ_only_where_they_must():
    cube, curves = identity_cube(2), Curves(np.array([[0, 0, 0], [0.1, 2, 1e-9]], np.float32))
    assert encode_cube(ColourLut(None, cube)).decode() == "LUT_3D_SIZE 2\n" + ROWS_2
    assert encode_cube(ColourLut(curves)).decode() == "LUT_1D_SIZE 2\n0 0 0\n0.100000001 2 9.99999972e-10\n"
    both = encode_cube(ColourLut(curves, cube)).decode()
    assert both.startswith(
        "LUT_1D_SIZE 2\nLUT_1D_INPUT_RANGE 0.0 1.0\nLUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE 0.0 1.0\n0 0 0\n"
    )
    wide = ColourLut(None, Cube(cube.values, (0.0, -1.0, 0.0)))
    assert "DOMAIN_MIN 0.0 -1.0 0.0\nDOMAIN_MAX 1.0 1.0 1.0\n" in encode_cube(wide).decode()


def test_a_range_by_channel_beside_curves_is_refused(tmp_path):
    lut = ColourLut(Curves(np.eye(3, dtype=np.float32), (0.0, -1.0, 0.0)), identity_cube())
    with pytest.raises(FormatError, match=r"one input range for all channels, but .* green -1\.\.1"):
        write_cube(lut, tmp_path / "x.cube")
    assert not list(tmp_path.iterdir())


def test_files_are_replaced_only_when_asked(tmp_path):
    path, lut = tmp_path / "x.cube", ColourLut(None, identity_cube(3))
    write_cube(lut, path)
    with pytest.raises(FormatError, match="exists already"):
        write_cube(lut, path)
    write_cube(lut, path, overwrite=True)
    assert equal(read_cube(path), lut)


@pytest.mark.parametrize("name", ["missing.cube", ".", "nul\0byte.cube"])
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(FormatError, match=r"does not exist|is a folder|no file name|is no ordinary file"):
        read_cube(tmp_path / name)


def test_files_over_the_limit_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("lutkit.formats.cube.MAX_BYTES", 99)
    (tmp_path / "x.cube").write_bytes(b"#" * 100)
    with pytest.raises(FormatError, match="has 100 bytes; at most 99"):
        read_cube(tmp_path / "x.cube")


def outcome(data):
    """Return the LUT or None; fails on any other error, on several lines, and on memory beyond the stated bound."""
    tracemalloc.start()
    try:
        lut = decode_cube(data, "x.cube")
        lut.validate()
    except FormatError as problem:
        lut = None
        assert str(problem).isprintable() and len(str(problem)) < 220
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 4 * len(data) + FIXED_MEMORY
    return lut


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_random_bytes_do_no_harm(data):
    outcome(data)


_KEYWORDS = "TITLE LUT_1D_SIZE LUT_3D_SIZE DOMAIN_MIN DOMAIN_MAX LUT_1D_INPUT_RANGE LUT_3D_INPUT_RANGE lut_3d_size"
_TOKENS = "2 3 0 1 0.5 -1 1e9 1e400 nan inf 99999999999 129 65536 0x1 1_0 1,5 é"
words = st.sampled_from([*_KEYWORDS.split(), *_TOKENS.split(), "#", '"', "\t", "\0", "\r"])


@given(st.lists(st.lists(words, max_size=5).map(" ".join), max_size=14).map("\n".join))
@settings(max_examples=300)
def test_sentences_of_the_grammar_do_no_harm(text):
    outcome(text.encode())


def test_changed_files_do_no_harm():
    generator = random.Random(0)
    originals = [
        ("LUT_3D_SIZE 2\n" + ROWS_2).encode(),
        ('TITLE "t"\nLUT_1D_SIZE 2\nLUT_1D_INPUT_RANGE 0 2\nLUT_3D_SIZE 2\n0 0 0\n2 2 2\n' + ROWS_2).encode(),
        ("LUT_3D_SIZE 2\nDOMAIN_MIN 0 0 0\nDOMAIN_MAX 2 2 2\n# c\n" + ROWS_2.replace("1", "1.25e-1")).encode(),
    ]
    results = []
    for _ in range(1500):
        data = bytearray(generator.choice(originals))
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(data))
            match generator.randrange(4):
                case 0:
                    data[place] = generator.randrange(256)
                case 1:
                    del data[place : place + generator.randint(1, 9)]
                case 2:
                    data[place:place] = data[: generator.randint(1, 30)]
                case 3:
                    data[place:place] = generator.choice([b"\n", b" ", b"9", b"e", b"-", b"\xff", b"nan"])
            data = data or bytearray(b" ")
        results.append(outcome(bytes(data)))
    assert sum(lut is not None for lut in results) > 50
    assert sum(lut is None for lut in results) > 500


@pytest.mark.parametrize(
    "data",
    [
        b"LUT_3D_SIZE 129\n" + b"0 0 0\n" * 1000,
        b"LUT_1D_SIZE 65536\n" + b"0 0 0\n" * 65535,
        b"LUT_3D_SIZE 2\n" + b"\n" * 200_000 + ROWS_2.encode(),
        b"LUT_3D_SIZE 2\n" + b"1 " * 500_000,
        b"LUT_3D_SIZE 2\n" + b"9" * 1_000_000,
        b"LUT_3D_SIZE 2\n" + b"#" * 1_000_000 + b"\n" + ROWS_2.encode(),
        b"LUT_3D_SIZE 2\n" + b"#\r" * 200_000 + ROWS_2.encode(),
        b"LUT_3D_SIZE 2\nDOMAIN_MIN " + b"1 " * 500_000,
        b"A" * 1_000_000,
        b"\0" * 1_000_000,
    ],
)
def test_large_nonsense_costs_neither_time_nor_memory(data):
    start = time.process_time()
    with contextlib.suppress(FormatError):
        decode_cube(data, "x.cube")
    assert time.process_time() - start < 3  # well below a second; the rest is for slow machines
    outcome(data)


def test_large_cubes_are_read_fast():
    values = np.random.default_rng(0).random((65, 65, 65, 3), np.float32)
    data = encode_cube(ColourLut(None, Cube(values)))
    start = time.process_time()
    lut = decode_cube(data, "x.cube")
    assert time.process_time() - start < 3  # about 0.35 seconds; the rest is for slow machines
    assert np.array_equal(lut.cube.values, values)


@pytest.mark.data
def test_odd_but_valid_files_load(shared_data):
    folder = shared_data / "colour-luts/valid"
    plain = read_cube(folder / "plain.cube")
    axis = np.linspace(0, 1, 4)
    assert np.abs(plain.cube.values[0, 0, :, 0] - (0.05 + 0.9 * axis)).max() < 1e-6
    assert np.abs(plain.cube.values[0, :, 0, 1] - axis**2).max() < 1e-6
    assert np.abs(plain.cube.values[:, 0, 0, 2] - (0.2 + 0.8 * axis)).max() < 1e-6
    same = """comment_long crlf cr_only bom bom_crlf no_final_newline tabs_and_spaces blank_lines_and_comments
        lowercase_keywords title_utf8 title_latin1"""
    for name in same.split():
        lut = read_cube(folder / f"{name}.cube")
        assert np.array_equal(lut.cube.values, plain.cube.values), name
        assert lut.domain == plain.domain
    assert np.abs(read_cube(folder / "exponents.cube").cube.values - plain.cube.values).max() < 1e-6
    assert read_cube(folder / "title_latin1.cube").title == "été"
    expected = {
        "domain_minus1_2": {(0.5, 0.5, 0.5): (0.5, 0.277778, 0.6), (2, 2, 2): (0.95, 1, 1)},
        "input_range_3d": {(0.5, 0.5, 0.5): (0.5, 0.277778, 0.6), (2, 2, 2): (0.95, 1, 1)},
        "lut1d_5": {(0.5, 0.25, 0.75): (0.25, 0.25, 0.25), (0.125, 1, 0): (0.03125, 1, 1)},
        "resolve_1d_3d": {(1, 1, 1): (0.4, 0.4, 0.4), (2, 2, 2): (1, 1, 1)},
        "order_red_fastest": {(1, 0, 0): (1, 0, 0), (0, 1, 0): (0, 0.5, 0), (0, 0, 1): (0, 0, 0.25)},
        "integers": {(0.5, 0.25, 0.75): (0.5, 0.25, 0.75)},
    }
    for name, pairs in expected.items():
        lut = read_cube(folder / f"{name}.cube")
        for colour, result in pairs.items():
            assert lut.evaluate(colour) == pytest.approx(result, abs=2e-6), name
    values = read_cube(folder / "values_outside_0_1.cube").cube.values
    assert (values.min(), values.max()) == (-1, 3)
    assert read_cube(folder / "domain_per_channel.cube").domain == ((0, -0.5, 0), (1, 1.5, 4))


@pytest.mark.data
@pytest.mark.parametrize(
    ("pattern", "count"),
    [("valid/*.cube", 21), ("film/*.cube", 25), ("ocio/*.cube", 3), ("colour/*_cube/*.cube", 16)],
)
def test_every_file_loads_and_survives_writing(shared_data, pattern, count):
    files = sorted((shared_data / "colour-luts").glob(pattern))
    assert len(files) == count
    for path in files:
        lut = read_cube(path)
        assert equal(decode(encode_cube(lut)), lut), path.name


@pytest.mark.data
def test_every_malformed_file_is_refused(shared_data):
    folder = shared_data / "colour-luts/malformed"
    whole_file = {"empty.cube": "is empty", "utf16.cube": "UTF-16"}
    lines = {
        "binary": 1, "comment_long_missing_rows": 66, "cut_mid_number": 66, "domain_equal": 4, "domain_nan": 3,
        "domain_reversed": 4, "domain_two_values": 3, "keyword_after_data": 35, "mixed_1d_3d_short": 66, "nul_bytes": 23,
        "row_decimal_comma": 3, "row_four_columns": 13, "row_text": 13, "row_two_columns": 13, "rows_extra": 67,
        "rows_missing": 63, "size_0": 1, "size_1": 1, "size_4000": 1, "size_missing": 2, "size_negative": 1,
        "size_not_integer": 1, "size_overflow": 1, "size_twice": 2, "value_inf": 13, "value_nan": 13, "value_overflow": 13,
    }  # fmt: skip
    files = sorted(folder.glob("*.cube"))
    assert {path.name for path in files} == {f"{name}.cube" for name in lines} | set(whole_file)
    for path in files:
        data = path.read_bytes()
        assert outcome(data) is None
        with pytest.raises(FormatError) as caught:
            read_cube(path)
        message = str(caught.value).replace(str(path), "")
        assert "\n" not in message and len(message) < 220
        if path.name in whole_file:
            assert whole_file[path.name] in message
        else:
            assert message.startswith(f", line {lines[path.stem]}: "), message


@pytest.mark.data
def test_opencolorio_agrees(shared_data):
    ocio = pytest.importorskip("PyOpenColorIO")
    from lutkit_runtime.cube import CubeInterpolation

    kinds = {
        CubeInterpolation.TRILINEAR: ocio.INTERP_LINEAR,
        CubeInterpolation.TETRAHEDRAL: ocio.INTERP_TETRAHEDRAL,
    }
    folder = shared_data / "colour-luts"
    refused = {"resolve_cube/Demo.cube", "LogC_Video.cube", "With_Shaper.cube", "resolve_cube/eotf_sRGB_3D.cube"}
    refused |= {"cr_only.cube"}
    files = [path for part in ("valid", "film", "ocio", "colour") for path in sorted((folder / part).rglob("*.cube"))]
    files = [path for path in files if not any(str(path).endswith(name) for name in refused)]
    assert len(files) == 60
    for path in files:
        lut = read_cube(path)
        low, high = (np.array(end) for end in lut.domain)
        colours = np.random.default_rng(0).uniform(low - 0.1, high + 0.1, (400, 3)).astype(np.float32)
        for kind, name in kinds.items():
            transform = ocio.FileTransform(str(path), interpolation=name)
            processor = ocio.Config.CreateRaw().getProcessor(transform)
            cpu = processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_NONE)
            expected = colours.copy()
            cpu.applyRGB(expected)
            result = lut.evaluate(colours, kind)
            error = np.abs(result - expected) / np.maximum(1, np.abs(result))
            assert error.max() < 1e-6, (path.name, kind, error.max())
