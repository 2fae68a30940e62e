"""The tool that checks and times a GPU runs through in the simulator."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lutkit_runtime.engine import available_backends
from lutkit_runtime.kernels.cuda.device import is_simulated

if "cuda" not in available_backends() or not is_simulated():
    pytest.skip("needs numba-cuda, and no GPU", allow_module_level=True)


def test_every_result_is_checked_and_written_down(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    from check_gpu import main

    options = ["--small", "--no-tests", "--launches", "1"]
    done = CliRunner().invoke(
        main, [*options, "--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md")]
    )
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert len(report["measurements"]) == 13
    assert all(each["identical"] for each in report["measurements"])
    assert "simulator" in report["device"]
    assert (tmp_path / "gpu.md").read_text().count("| yes |") == 13
    sys.modules.pop("check_gpu")


def test_steps_of_training_are_timed_on_any_device(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    from gpu_training import time_training

    times = time_training(torch.device("cpu"), batch=1, steps=1)
    assert [each.batch for each in times] == [1, 1]
    assert all(each.milliseconds > 0 and 0 <= each.loss < 1 for each in times)
