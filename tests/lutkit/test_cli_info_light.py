"""`lutkit info` on models of light: networks, planes, illumination, and what has to be given beside a picture."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from illumination_models import make_compiled, make_exact
from network_models import DEPTH, GUIDE, draw_convolutions, make_network_op, make_planes_program

from lutkit.cli import main
from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.program import Companion


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a command in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def test_info_tells_a_network_and_what_it_is_given(run, tmp_path):
    made = draw_convolutions(np.random.default_rng(0), (7, 3), (3,))
    network = make_network_op(made.write(), 3, ("image", "guide", "depth"), multiple=32)
    guide_depth = Companion(name="guide_depth", channels=1)
    program = make_planes_program(network, GUIDE, DEPTH, guide_depth, numbers=(2, 1, 0))
    write_artefact(tmp_path / "m.h5", Artefact(program, {"network": made.write()}))
    facts = json.loads(run("info", "m.h5", "--json").stdout)
    assert facts["companions"] == [
        {"name": "guide", "channels": 3},
        {"name": "depth", "channels": 1},
        {"name": "guide_depth", "channels": 1},
    ]
    network, planes = facts["steps"]
    assert (network["sources"], network["planes"], network["reach"]) == (["image", "guide", "depth"], 3, None)
    assert (network["multiple"], network["smallest"], network["bytes"]) == (32, 1, len(made.write()))
    assert planes["planes"] == [2, 1, 0]
    text = run("info", "m.h5").stdout
    for words in (
        "--guide          needed beside the picture and of its size: a photo\n",
        "--guide-depth    needed beside the picture and of its size: a map of one channel\n",
        "image and guide and depth, the whole picture",
        "multiples of 32",
        "of planes the planes 2, 1, 0",
    ):
        assert words in text


def test_info_tells_light_and_its_parameters(run, tmp_path):
    write_artefact(tmp_path / "exact.h5", make_exact())
    facts = json.loads(run("info", "exact.h5", "--json").stdout)
    assert [each["name"] for each in facts["parameters"]] == ["gamma", "strength"]
    assert (facts["companions"], facts["halo"], facts["receptive_field"]) == ([], 1, 3)
    text = run("info", "exact.h5").stdout
    for words in ("--gamma          0 to 1, default 0.2", "up to 1 px around each pixel", "to the power of gamma"):
        assert words in text
    write_artefact(tmp_path / "compiled.h5", make_compiled())
    *_, light, _ = json.loads(run("info", "compiled.h5", "--json").stdout)["steps"]
    assert (light["op"], light["is_root"], light["gamma"]) == ("illuminate", True, "gamma")
    assert (
        "reflectance with illumination, which holds fourth roots, to the power of gamma"
        in run("info", "compiled.h5").stdout
    )


@pytest.mark.parametrize(
    "command",
    [["export", "m.h5", "--to", "cube", "-o", "made.cube"], ["lint", "m.h5"], ["diff", "m.h5", "m.h5"]],
    ids=lambda words: words[0],
)
def test_no_lut_holds_a_network(run, tmp_path, command):
    write_artefact(tmp_path / "m.h5", make_exact())
    result = run(*command)
    assert result.exit_code != 0 and result.exception.__class__ is SystemExit
    assert "by its place in the picture" in result.output
