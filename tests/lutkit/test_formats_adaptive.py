"""Published weights of image-adaptive 3D LUTs: they compute what an independent float64 computation says; refusals."""

import hashlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fast_backends import FAST_BACKENDS  # noqa: E402

from lutkit.formats import import_tables  # noqa: E402
from lutkit.images import read_picture  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.errors import FormatError  # noqa: E402


@pytest.mark.data
@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_published_weights_meet_the_oracle(shared_data, kind):
    folder = shared_data / "published" / "adaptive-3dlut"
    oracle = np.load(shared_data / "oracles" / "adaptive_3dlut_a1629.npz")
    suffix = "" if kind == "paired" else "_unpaired"
    files = [folder / f"classifier{suffix}.pth", folder / f"LUTs{suffix}.pth"]
    artefact = import_tables("adaptive-3dlut", files)
    assert artefact.provenance["history"][0]["training"] == kind
    picture = read_picture(folder / "a1629.jpg").pixels
    assert hashlib.sha256(picture.tobytes()).hexdigest() == str(oracle["sha256_rgb_opencv"])
    model = Model(artefact.program, artefact.tables)
    adapted = model.adapt(picture)
    np.testing.assert_allclose(adapted["weights"], oracle[f"{kind}_weights_f64"], rtol=0, atol=1e-5)
    cube = adapted["cube"].reshape(33, 33, 33, 3).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(cube, oracle[f"{kind}_fused_lut_f32"], rtol=0, atol=2e-5)
    rows, columns = oracle["positions_yx"].T
    floats = model.apply((picture / np.float32(255)).astype(np.float32), backend=FAST_BACKENDS[-1])
    np.testing.assert_allclose(floats[rows, columns], oracle[f"{kind}_output_f64"], rtol=0, atol=5e-5)
    codes = model.apply(picture)[rows, columns].astype(int)
    expected = oracle[f"{kind}_output_uint8"]
    assert np.abs(codes - expected).max() <= 1
    assert (codes == expected).mean() > 0.995


@pytest.fixture
def files(tmp_path):
    """The two files of a tiny model, as published ones are, and a function that writes them anew."""
    from lutkit.colour.predictor import make_predictor

    def write(tables=None, predictor=None):
        tables = tables or {"0": {"LUT": torch.rand(3, 3, 3, 3)}, "1": {"LUT": torch.rand(3, 3, 3, 3)}}
        if predictor is None:
            named = make_predictor(2, paired=True).state_dict()
            predictor = {f"model.{name}": value for name, value in named.items()}
        torch.save(tables, tmp_path / "LUTs.pth")
        torch.save(predictor, tmp_path / "classifier.pth")
        return [tmp_path / "LUTs.pth", tmp_path / "classifier.pth"]

    return write


def test_layers_are_matched_by_their_order_whatever_their_names(files):
    artefact = import_tables("adaptive-3dlut", files(), {"colour_space": "XYZ"})
    assert (artefact.program.colour_space, artefact.program.ops[1].size) == ("XYZ", 3)
    assert Model(artefact.program, artefact.tables).apply(np.zeros((4, 5, 3), np.uint16)).shape == (4, 5, 3)


def test_a_folder_is_its_two_files(files, tmp_path):
    named = import_tables("adaptive-3dlut", files())
    folder = import_tables("adaptive-3dlut", [tmp_path])
    assert folder.program == named.program and folder.provenance == named.provenance
    for name, table in named.tables.items():
        assert np.array_equal(folder.tables[name], table)
    (tmp_path / "classifier.pth").unlink()
    with pytest.raises(FormatError, match=r"classifier\.pth cannot be read"):
        import_tables("adaptive-3dlut", [tmp_path])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda write: write()[:1], "2 files"),
        (lambda write: [write()[1]] * 2, "holds basis tables"),
        (lambda write: write(tables={"0": {"LUT": torch.rand(3, 3, 3, 4)}}), "needed"),
        (lambda write: write(tables={"0": {"LUT": torch.full((3, 3, 3, 3), torch.nan)}}), "not finite"),
        (lambda write: write(tables={str(n): {"LUT": torch.rand(3, 3, 3, 3)} for n in range(3)}), "2 weights"),
        (lambda write: write(predictor={"model.0.weight": torch.rand(4)}), "no convolutions"),
        (lambda write: write(predictor={"model.0.weight": torch.rand(2, 3, 3, 3), "model.0.bias": torch.rand(2)}), ""),
    ],
)
def test_other_files_are_refused(files, change, told):
    with pytest.raises(FormatError) as refusal:
        import_tables("adaptive-3dlut", change(files))
    assert told in str(refusal.value) and "\n" not in str(refusal.value)
