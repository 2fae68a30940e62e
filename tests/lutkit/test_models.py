"""Built-in models are found by name, and each is an artefact."""

import pytest

from lutkit import models
from lutkit.colour.looks import LOOKS
from lutkit.degradation import Downscale, Retouch
from lutkit.evaluate import make_pairs, mean_delta_e, mean_psnr, mean_ssim, score_pairs
from lutkit.models import builtin_names, find_builtin
from lutkit_runtime.artefact import read_artefact
from lutkit_runtime.engine import load
from lutkit_runtime.errors import DataError

BUILT_IN = {"sr-x2": ("sr", 2), "sr-x3": ("sr", 3), "sr-x4": ("sr", 4), "denoise-25": ("denoise", 1)}


def test_the_built_in_models_are_there():
    assert set(builtin_names()) >= BUILT_IN.keys() | LOOKS.keys()


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_builtin_model_is_a_sound_artefact_that_says_how_it_was_made(name):
    artefact = read_artefact(find_builtin(name))
    artefact.validate()
    assert (artefact.program.task, artefact.program.scale) == BUILT_IN[name]
    assert "CC BY-SA 4.0" in artefact.provenance["data"]
    assert [step["step"] for step in artefact.provenance["history"]][:3] == ["train", "transfer", "finetune"]
    for figures in artefact.provenance["figures"].values():
        assert figures["finetuned"]["psnr"] > figures["table"]["psnr"]


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name, (task, _) in BUILT_IN.items() if task == "sr"])
def test_builtin_figures_are_those_that_are_measured(name, shared_data):
    """PSNR-Y and SSIM of Set5, whose small versions are made as the field makes them."""
    model = load(find_builtin(name))
    task = Downscale(model.scale)
    scores = list(score_pairs(model.apply, make_pairs(shared_data / "benchmarks/Set5/HR", task, 0), task))
    stated = model.provenance["figures"]["Set5"]["finetuned"]
    assert mean_psnr(scores) == pytest.approx(stated["psnr"], abs=0.001)
    assert mean_ssim(scores) == pytest.approx(stated["ssim"], abs=0.0001)


def test_the_retouching_model_says_how_it_was_made():
    artefact = read_artefact(find_builtin("retouch"))
    artefact.validate()
    assert (artefact.program.family, artefact.program.task) == ("adaptive-3dlut", "retouch")
    assert "CC BY-SA 4.0" in artefact.provenance["data"] and artefact.provenance["visits"]["share"] > 0.3
    figures = artefact.provenance["figures"]["CID22 validation"]
    assert figures["table"]["psnr"] > figures["input"]["psnr"] + 6
    assert abs(figures["table"]["psnr"] - figures["network"]["psnr"]) < 0.01


@pytest.mark.data
def test_retouching_figures_are_those_that_are_measured(shared_data):
    model = load(find_builtin("retouch"))
    scores = score_pairs(model.apply, make_pairs(shared_data / "val/photos", Retouch(), 0), Retouch())
    stated = model.provenance["figures"]["CID22 validation"]["table"]
    # The predictor is computed in floats by OpenCV, which rounds a little differently from machine to machine.
    assert mean_psnr(scores) == pytest.approx(stated["psnr"], abs=0.01)
    assert mean_ssim(scores) == pytest.approx(stated["ssim"], abs=0.0005)
    assert mean_delta_e(scores) == pytest.approx(stated["delta_e"], abs=0.01)


def test_builtin_models_take_at_most_25_megabytes():
    assert sum(find_builtin(name).stat().st_size for name in builtin_names()) <= 25_000_000


def test_names_come_from_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"no built-in model 'sr-x4'.*none in this installation.*artefact"):
        find_builtin("sr-x4")
    for name in ("b", "a"):
        (tmp_path / f"{name}.h5").touch()
    (tmp_path / "c.txt").touch()
    assert builtin_names() == ("a", "b")
    assert find_builtin("b") == tmp_path / "b.h5"
    with pytest.raises(DataError, match="the names are a, b"):
        find_builtin("../a")
