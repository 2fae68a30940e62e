"""Formats read through OpenColorIO: same results as it gives, and a sentence for what has no equal."""

import importlib.util
import sys

import numpy as np
import pytest

from lutkit.colour.chain import ColourChain, Matrix, flatten, simplify
from lutkit.colour.chain_programs import make_chain_artefact
from lutkit.colour.lut import ColourLut, Cube, Curves, identity_cube, identity_curves
from lutkit.formats.opencolorio_luts import read_chain
from lutkit.lut_suffixes import OPENCOLORIO
from lutkit_runtime.cube import CubeInterpolation
from lutkit_runtime.errors import FormatError

needs_ocio = pytest.mark.skipif(
    importlib.util.find_spec("PyOpenColorIO") is None, reason="needs OpenColorIO: pip install 'lutkit[ocio]'"
)

BAKED = {"cdl_test1.cc", "cdl_test2.cc", "cdl_test_SATNode.cc"}
REFUSED = {
    "Exception_Raising.spi1d": "Invalid 'From' Tag",
    "Explicit_Domain.csp": "nonuniform cube sizes",
    "cdl_all_styles.clf": "the inverse of a CDL with saturation 1.05",
    "cdl_clamp_fwd.clf": "the operator CDL has no exact equal",
    "cdl_missing_sat.clf": "the operator CDL has no exact equal",
    "cdl_missing_style.clf": "the operator CDL has no exact equal",
    "cdl_test1.ccc": "holds 5 corrections",
    "cdl_test1.cdl": "holds 5 corrections",
    "cdl_test_ASC_SAT.cc": "warns: .*Unrecognized element 'ASC_SAT'",
    "cdl_test_ASC_SOP.cc": "warns: .*Unrecognized element 'ASC_SOP'",
    "difficult_syntax.clf": "warns: .*Unrecognized attribute 'unknown'",
    "error_truncated_file.lut": "Premature EOF",
    "exponent_all_styles.clf": "the operator Exponent has no exact equal",
    "id_bad_value.clf": "warns: ",
    "indexMap_test4_clfv2.clf": "Only two entry IndexMaps",
    "legacy_flmlk_desat.lut": "Syntax error",
    "legacy_slog_to_log_v3_lustre.lut": "Syntax error",
    "log_all_styles.clf": "the operator Log(Camera|) has no exact equal",
    "log_bad_version.clf": "does not support operator 'Log'",
    "lut1d_half_domain_raw_half_set.clf": "the operator Lut1D has no exact equal",
    "lut1d_lut3d_lut1d.clf": "the operator Lut1D has no exact equal",
    "lut3by1d_nan_infinity_example.clf": "operator Lut1D: curves: node 0 is not finite",
    "multiple_ops.clf": "the inverse of a CDL with saturation 0.85",
    "process_list_bad_version.clf": "not a valid version",
    "process_list_higher_ns_version.clf": "OpenColorIO refuses it",
    "process_list_higher_version.clf": "Unsupported transform file version",
    "transform_id_empty.clf": "'id' does not have a value",
    "transform_missing_id.clf": "'id' is missing",
}


def find_files(shared_data):
    folder = shared_data / "colour-luts"
    files = [path for part in ("ocio", "colour") for path in sorted((folder / part).rglob("*"))]
    return [path for path in files if path.suffix.lower() in OPENCOLORIO]


@needs_ocio
@pytest.mark.data
def test_every_file_is_equal_or_refused_with_its_reason(shared_data):
    import PyOpenColorIO as ocio

    files = find_files(shared_data)
    assert len(files) == 99
    refused = []
    for path in files:
        if path.name in REFUSED:
            with pytest.raises(FormatError, match=REFUSED[path.name]) as caught:
                read_chain(path)
            told = str(caught.value).replace(str(path), "")
            assert told.isprintable() and "/tmp" not in told  # no name of a copy that it was read from
            if "has no exact equal" in str(caught.value):
                assert str(caught.value).endswith("bake it to a .cube file first, as ociobakelut does")
            refused.append(path.name)
            continue
        imported = read_chain(path)
        assert bool(imported.baked) == (path.name in BAKED), path.name
        chain = imported.chain
        # OpenColorIO straight from the file, of other inputs than those it was compared with when it was read.
        tetrahedral = imported.interpolation is CubeInterpolation.TETRAHEDRAL
        has_cube = any(isinstance(step, ColourLut) and step.cube for step in chain.steps)
        kind = (ocio.INTERP_TETRAHEDRAL if tetrahedral else ocio.INTERP_LINEAR) if has_cube else ocio.INTERP_DEFAULT
        processor = ocio.Config.CreateRaw().getProcessor(ocio.FileTransform(str(path), interpolation=kind))
        low, high = (np.array(end) for end in chain.domain)
        colours = np.random.default_rng(7).uniform(low, high, (3000, 3)).astype(np.float32)
        expected = colours.copy()
        processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_NONE).applyRGB(expected)
        result = chain.evaluate(colours, imported.interpolation)
        allowed = 1e-6 * np.maximum(1, np.abs(expected)) + steepness(chain, colours, imported.interpolation)
        assert (np.abs(result - expected) <= allowed).all(), path.name
        if path.stem not in STEEP:
            assert np.abs((result - expected) / np.maximum(1, np.abs(expected))).max() < 3e-6, path.name
    assert sorted(refused) == sorted(REFUSED)


STEEP = ("cpf", "lut1d_5")
"""Curves with places where one step of an 11-bit code changes the result so much that float32 inputs show."""


def steepness(chain, colours, interpolation):
    """Return how far results move with the rounding of OpenColorIO's float32 inputs."""
    result = chain.evaluate(colours, interpolation)
    reach = max(np.abs(chain.domain).max(), 1)
    moved = [chain.evaluate(colours + sign * reach / 2**22, interpolation) for sign in (-1, 1)]
    return 2 * np.maximum(*(np.abs(each - result) for each in moved))


@needs_ocio
@pytest.mark.data
def test_models_of_files_compute_what_opencolorio_does(shared_data):
    import PyOpenColorIO as ocio

    from lutkit.resolve import find_model, open_model
    from lutkit_runtime.engine import Model

    trilinear = 0
    for path in find_files(shared_data):
        if path.name in REFUSED:
            continue
        artefact = open_model(find_model(path))
        # As OpenColorIO reads the file; where its format cannot say, cubes are tetrahedral here.
        says = path.suffix.lower() in (".clf", ".ctf")
        has_cube = any(getattr(op, "cube", None) for op in artefact.program.ops)
        kind = ocio.INTERP_DEFAULT if says or not has_cube else ocio.INTERP_TETRAHEDRAL
        processor = ocio.Config.CreateRaw().getProcessor(ocio.FileTransform(str(path), interpolation=kind))
        image = np.random.default_rng(5).random((20, 50, 3), np.float32)
        expected = image.copy()
        processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_NONE).applyRGB(expected)
        result = Model(artefact.program, artefact.tables).apply(image, backend="numpy")
        imported = read_chain(path)
        allowed = 2e-5 * np.maximum(1, np.abs(expected)) + 4 * steepness(imported.chain, image, imported.interpolation)
        assert (np.abs(result - expected) <= allowed).all(), path.name
        trilinear += has_cube and imported.interpolation is CubeInterpolation.TRILINEAR
    assert trilinear >= 3


@needs_ocio
@pytest.mark.data
def test_rows_in_any_order_are_the_same_cube(shared_data):
    folder = shared_data / "colour-luts/colour/sony_spi3d"
    ordered, shuffled = (
        read_chain(folder / f"Colour_Correct{each}.spi3d").chain.steps[0].cube.values for each in ("", "_Unordered")
    )
    assert np.array_equal(ordered, shuffled)


@needs_ocio
@pytest.mark.data
def test_named_corrections_of_a_collection_are_read(shared_data):
    path = shared_data / "colour-luts/ocio/cdl_test1.ccc"
    first, second = (read_chain(path, correction=name).chain for name in ("cc0001", "cc0002"))
    assert not np.allclose(first.evaluate([0.5, 0.5, 0.5]), second.evaluate([0.5, 0.5, 0.5]))
    with pytest.raises(FormatError, match="OpenColorIO refuses it"):
        read_chain(path, correction="no such")


@needs_ocio
@pytest.mark.data
@pytest.mark.parametrize("name", ["clf/xyz_to_rgb.clf", "indexMap_test1_clfv2.clf", "crosstalk.3dl", "cdl_test2.cc"])
def test_artefacts_of_chains_compute_the_chain(shared_data, name):
    imported = read_chain(shared_data / "colour-luts/ocio" / name)
    artefact = make_chain_artefact(imported.chain, interpolation=imported.interpolation)
    artefact.validate()
    assert_artefact_computes(artefact, imported.chain, imported.interpolation)


def assert_artefact_computes(artefact, chain, interpolation):
    from lutkit_runtime.engine import Model

    image = np.random.default_rng(0).random((16, 17, 3), np.float32)
    result = Model(artefact.program, artefact.tables).apply(image, backend="numpy")
    expected = chain.evaluate(image, interpolation)
    assert np.abs(result - expected).max() < 1e-5 * max(1, np.abs(expected).max())


@needs_ocio
def test_files_of_the_same_name_are_not_confused(tmp_path):
    path = tmp_path / "$x%d.spimtx"  # would be expanded, had OpenColorIO to find it
    for gain in (2.0, 3.0):
        path.write_text(f"{gain} 0 0 0\n0 1 0 0\n0 0 1 0\n")
        assert read_chain(path).chain.evaluate([1, 1, 1]).tolist() == [gain, 1, 1]


@needs_ocio
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.cube", "", "the suffix stands for no"),
        ("x.clf", "", "is empty"),
        ("x.clf", "<x/>", "OpenColorIO refuses it"),
        ("x.ctf", '<ProcessList><Reference path="/etc/passwd"/></ProcessList>', "refers to another file"),
        ("x.spimtx", "1 0 0 0\n0 1 0 0\n0 0 1\n", "OpenColorIO refuses it"),
        ("x.spi1d", "Version 1\nFrom 0 1\nLength 2\nComponents 1\n{\n0\nnan\n}\n", "x.spi1d"),
        ("x.spi1d", "Version 1\nFrom 0 1\nLength 2\nComponents 1\n{\n0\n1e31\n}\n", r"x.spi1d: .*beyond 1e\+30"),
        ("missing.clf", None, "does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=message) as caught:
        read_chain(tmp_path / name)
    assert str(caught.value).isprintable()


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "x.clf").write_text("<x/>")
    monkeypatch.setitem(sys.modules, "PyOpenColorIO", None)
    with pytest.raises(FormatError, match=r"pip install 'lutkit\[ocio\]'"):
        read_chain(tmp_path / "x.clf")


def random_steps(generator):
    """Return steps of every kind in random order."""
    steps = []
    for _ in range(generator.integers(1, 5)):
        low = tuple(generator.uniform(-1, 0, 3))
        high = tuple(generator.uniform(0.5, 2, 3))
        match generator.integers(6):
            case 0:
                rows = np.diag(generator.uniform(0.2, 3, 3))
                steps.append(Matrix(tuple(map(tuple, rows.tolist())), tuple(generator.normal(size=3).tolist())))
            case 1:
                rows = generator.normal(size=(3, 3))
                steps.append(Matrix(tuple(map(tuple, rows.tolist())), tuple(generator.normal(size=3).tolist())))
            case 2:
                steps.append(ColourLut(Curves(generator.normal(size=(5, 3)).astype(np.float32), low, high)))
            case 3:
                steps.append(ColourLut(identity_curves(2, (-5.0,) * 3, (5.0,) * 3)))
            case 4:
                steps.append(ColourLut(None, Cube(generator.normal(size=(3, 3, 3, 3)).astype(np.float32), low, high)))
            case 5:
                curves = Curves(generator.normal(size=(4, 3)).astype(np.float32))
                steps.append(ColourLut(curves, Cube(generator.normal(size=(2, 2, 2, 3)).astype(np.float32), low, high)))
    return tuple(steps)


@pytest.mark.parametrize("seed", range(40))
def test_simplified_chains_compute_the_same(seed):
    generator = np.random.default_rng(seed)
    chain = ColourChain(random_steps(generator))
    chain.validate()
    simple = simplify(chain)
    simple.validate()
    assert len(simple.steps) <= len(chain.steps)
    colours = generator.uniform(-2, 3, (500, 3))
    for kind in CubeInterpolation:
        first, second = chain.evaluate(colours, kind), simple.evaluate(colours, kind)
        # Tetrahedra of later cubes may magnify the rounding of nodes to float32.
        assert np.abs(first - second).max() < 1e-4 * max(1, np.abs(first).max())
    make_chain_artefact(chain).validate()


def test_matrices_and_ranges_around_a_cube_vanish():
    scale = Matrix(((2.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 4.0)), (0.5, 0.0, -1.0))
    mix = Matrix(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.5, 0.5)))
    bounds = ColourLut(Curves(np.array([[-1] * 3, [9] * 3], np.float32), (0.0,) * 3, (1.0,) * 3))
    curves = ColourLut(identity_curves(7))
    chain = ColourChain((bounds, scale, curves, ColourLut(None, identity_cube(3)), mix))
    (lut,) = simplify(chain).steps
    assert lut.curves.size == 7 and lut.cube.size == 3
    colours = np.random.default_rng(0).uniform(-0.5, 1.5, (300, 3))
    assert np.abs(lut.evaluate(colours) - chain.evaluate(colours)).max() < 1e-6


@pytest.mark.parametrize("steps", ["curves", "cube", "mixed"])
def test_flattened_chains_tell_how_far_off_they_are(steps):
    generator = np.random.default_rng(0)
    smooth = ColourLut(Curves((np.linspace(0, 1, 33)[:, None] ** [1.5, 2, 0.9]).astype(np.float32)))
    mix = Matrix(((0.8, 0.1, 0.1), (0.0, 0.9, 0.1), (0.2, 0.0, 0.8)))
    curved = ColourLut(None, Cube((identity_cube(5).values ** 1.2).astype(np.float32)))
    chains = {"curves": (smooth, smooth), "cube": (curved, mix, curved), "mixed": (smooth, mix, curved, smooth)}
    chain = ColourChain(chains[steps], "t")
    lut, difference = flatten(chain)
    assert lut.title == "t" and (lut.cube is None) == (steps == "curves")
    colours = generator.random((4000, 3))
    found = np.abs(lut.evaluate(colours) - chain.evaluate(colours)).max()
    assert found <= difference * 1.5 < {"curves": 1e-4, "cube": 0.01, "mixed": 0.01}[steps]


def test_impossible_chains_are_refused():
    with pytest.raises(FormatError, match="no steps"):
        ColourChain(()).validate()
    with pytest.raises(FormatError, match="not finite"):
        ColourChain((Matrix(((np.nan, 0, 0), (0, 1, 0), (0, 0, 1))),)).validate()
