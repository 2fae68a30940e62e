"""In what numbers networks are trained: which are taken where, what is refused, and that settings are put back."""

import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from lutkit import precision  # noqa: E402
from lutkit.cli import main  # noqa: E402
from lutkit.precision import multiply_in, takes_bfloat16  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("bears", [False, True])
def test_bfloat16_is_taken_where_asked_or_where_it_is_fast_and_borne(device, fast, bears, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda _device: fast)
    assert takes_bfloat16("bf16", device, bears=bears)
    assert not takes_bfloat16("fp32", device, bears=bears)
    assert takes_bfloat16("auto", device, bears=bears) == (fast and bears)
    if device is GPU:
        assert not takes_bfloat16("tf32", device, bears=bears)
    else:
        with pytest.raises(DataError, match="tf32 is for NVIDIA GPUs"):
            takes_bfloat16("tf32", device, bears=bears)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("wanted", ["auto", "fp32", "bf16", "tf32"])
def test_factors_are_rounded_on_demand_only_and_settings_put_back(before, wanted):
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    found = [each.allow_tf32 for each in settings]
    try:
        for each in settings:
            each.allow_tf32 = before
        with pytest.raises(ZeroDivisionError), multiply_in(wanted):
            assert [each.allow_tf32 for each in settings] == [wanted == "tf32"] * 2
            raise ZeroDivisionError
        assert [each.allow_tf32 for each in settings] == [before] * 2
    finally:
        for each, value in zip(settings, found, strict=True):
            each.allow_tf32 = value


def test_tf32_without_a_gpu_is_refused_before_photos_are_read(tmp_path):
    run = tmp_path / "run"
    arguments = ["train", "--run", run, "--precision", "tf32", "--device", "cpu", "--data", tmp_path / "missing"]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: precision tf32 is for NVIDIA GPUs")
    assert result.stderr.count("\n") == 1
    assert not run.exists()
