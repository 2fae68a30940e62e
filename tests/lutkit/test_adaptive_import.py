"""Published weights of image-adaptive 3D LUTs: imported, written, and run without torch, against independent results."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from fresh_python import run_python
from PIL import Image

from lutkit.cli import main
from lutkit_runtime.artefact import read_artefact

pytestmark = [pytest.mark.data]

WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "safetensors", "onnx", "onnxruntime"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
"""

FILES = {"paired": ("LUTs.pth", "classifier.pth"), "unpaired": ("LUTs_unpaired.pth", "classifier_unpaired.pth")}


@pytest.fixture(scope="module", params=["paired", "unpaired"])
def published(request, shared_data, tmp_path_factory):
    """Return name and artefact of published weights, imported by the command."""
    pytest.importorskip("onnxscript")
    folder = shared_data / "published" / "adaptive-3dlut"
    path = tmp_path_factory.mktemp("adaptive") / f"{request.param}.h5"
    sources = [str(folder / name) for name in FILES[request.param]]
    done = CliRunner().invoke(main, ["import", *sources, "--as", "adaptive-3dlut", "-o", str(path)])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.splitlines() == [f"{path}: adaptive-3dlut for retouch"]
    return request.param, path


@pytest.fixture(scope="module")
def photo(shared_data):
    """Return the published example, whose pixels are those that the results were computed from."""
    path = shared_data / "published" / "adaptive-3dlut" / "a1629.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    with np.load(shared_data / "oracles" / "adaptive_3dlut_a1629.npz") as oracle:
        if hashlib.sha256(pixels.tobytes()).hexdigest() != str(oracle["sha256_rgb_pillow"]):
            pytest.skip("this decoder gives other pixels")
    return path


def test_weights_cubes_and_pictures_meet_the_oracle_where_torch_is_missing(published, photo, shared_data, tmp_path):
    """Everything after the import happens in a process in which importing torch raises."""
    name, model = published
    code = f"""{WITHOUT_TORCH}
import numpy as np
import lutkit_runtime
from lutkit.images import read_picture
pixels = read_picture({str(photo)!r}).pixels
model = lutkit_runtime.load({str(model)!r})
found = model.adapt(pixels)
outputs = {{backend: model.apply(pixels, backend=backend) for backend in ("numpy", "cpu")}}
floats = model.apply(pixels.astype(np.float32) / np.float32(255))
assert "torch" not in sys.modules
np.savez({str(tmp_path / "found.npz")!r}, **found, **outputs, floats=floats)
"""
    run_python(code, OMP_NUM_THREADS="1")
    with np.load(tmp_path / "found.npz") as file:
        found = dict(file)
    with np.load(shared_data / "oracles" / "adaptive_3dlut_a1629.npz") as file:
        oracle = {key.removeprefix(f"{name}_"): value for key, value in file.items() if key.startswith(f"{name}_")}
        rows, columns = file["positions_yx"].T if "positions_yx" in file else oracle["positions_yx"].T
    np.testing.assert_allclose(found["weights"], oracle["weights_f64"], rtol=0, atol=1e-5)
    fused = oracle["fused_lut_f32"].reshape(3, -1).T
    np.testing.assert_allclose(found["cube"], fused, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found["numpy"], found["cpu"])
    codes = found["numpy"][rows, columns].astype(int)
    difference = np.abs(codes - oracle["output_uint8"])
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999
    np.testing.assert_allclose(found["floats"][rows, columns], oracle["output_f64"], rtol=0, atol=2e-5)
    mean = found["floats"].astype(np.float64).mean(axis=(0, 1))
    np.testing.assert_allclose(mean, oracle["full_image_mean_f64"], rtol=0, atol=1e-5)


def test_the_exported_cube_gives_the_picture_back(published, photo, tmp_path):
    """Clipped nodes, as other exports of these models have them, reach 62 dB only."""
    from lutkit.cli.export import read_colours
    from lutkit.colour.baking import bake_lut, measure_residuals
    from lutkit.formats.cube import read_cube
    from lutkit.formats.cube_writer import write_cube

    artefact = read_artefact(published[1])
    pixels = read_colours(photo)
    lut = bake_lut(artefact, pixels)
    write_cube(lut, tmp_path / "a1629.cube")
    own, other = measure_residuals(artefact, read_cube(tmp_path / "a1629.cube"), pixels)
    assert own.psnr > 110
    assert own.psnr_8bit >= 75
    assert own.most_levels <= 1
    assert own.equal > 0.9995
    assert other.psnr_8bit < 60
    if published[0] == "paired":
        assert round(other.psnr_8bit, 1) == 56.2
        assert other.most_levels == 3
        outside = ((lut.cube.values < 0) | (lut.cube.values > 1)).mean()
        assert round(float(outside), 3) == 0.322


def test_info_tells_what_was_imported(published):
    name, model = published
    facts = json.loads(CliRunner().invoke(main, ["info", str(model), "--json"]).stdout)
    (step,) = facts["provenance"]["history"]
    assert (step["kind"], step["training"]) == ("adaptive-3dlut", name)
    assert len(step["files"]) == 2
    predictor, fusion, lookup, _ = facts["steps"]
    assert (predictor["thumbnail"], predictor["outputs"], len(fusion["tables"])) == (256, 3, 3)
    assert (lookup["cube"]["interpolation"], lookup["cube"]["stretch"]) == ("trilinear", 1.000001)


def test_published_looks_come_out_as_published(shared_data, tmp_path, monkeypatch):
    """A .cube file on the picture that its authors put through it, by the command."""
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "published" / "nilut"
    done = CliRunner().invoke(
        main, ["apply", str(folder / "Original_Image.png"), "-m", str(folder / "LUT01.cube"), "-o", "out.png"]
    )
    assert done.exit_code == 0, done.stderr
    with Image.open("out.png") as found, Image.open(folder / "LUT01_ContrastLUT.png") as expected:
        difference = np.abs(np.asarray(found).astype(int) - np.asarray(expected.convert("RGB")))
    assert difference.max() <= 1
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 54


@pytest.mark.parametrize(
    ("sources", "options", "told"),
    [
        (["LUTs.pth", "LUTs.pth"], [], "LUTs.pth is given twice"),
        (["classifier.pth", "classifier.pth"], [], "holds basis tables ('0' with 'LUT'): name LUTs.pth"),
        (["LUTs.pth"], [], "has 2 files"),
        (["LUTs.pth", "a1629.jpg"], [], "a1629.jpg"),
    ],
)
def test_other_files_are_refused(shared_data, tmp_path, sources, options, told):
    folder = shared_data / "published" / "adaptive-3dlut"
    paths = [str(folder / name) for name in sources]
    target = tmp_path / "out.h5"
    done = CliRunner().invoke(main, ["import", *paths, "--as", "adaptive-3dlut", "-o", str(target), *options])
    assert done.exit_code == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not target.exists()


def test_the_colour_space_is_what_is_said(shared_data, tmp_path):
    pytest.importorskip("onnxscript")
    folder = shared_data / "published" / "adaptive-3dlut"
    sources = [str(folder / name) for name in reversed(FILES["paired"])]  # in any order
    arguments = ["import", *sources, "--as", "adaptive-3dlut", "--colour-space", "XYZ", "-o", str(tmp_path / "m.h5")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert read_artefact(tmp_path / "m.h5").program.colour_space == "XYZ"
