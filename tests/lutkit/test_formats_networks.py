"""Published networks become run folders; nothing in their files is run."""

import hashlib
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lutkit.evaluate import mean_psnr, read_pairs, score_pairs  # noqa: E402
from lutkit.formats import import_tables  # noqa: E402
from lutkit.formats.arrays import read_arrays  # noqa: E402
from lutkit.formats.networks import import_network  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.spatial_transfer import make_artefact, transfer_networks  # noqa: E402
from lutkit.spatial_workbench import load_model  # noqa: E402
from lutkit.trainable import validate_tables  # noqa: E402
from lutkit.workbench import Fidelity  # noqa: E402
from lutkit_runtime.errors import DataError, FormatError  # noqa: E402


def make_plain(samples: int, outputs: int, width: int = 4) -> dict[str, torch.Tensor]:
    """Arrays in the layout of yhjo09/SR-LUT, whose first kernel is as high and wide as its pattern."""
    rng = torch.Generator().manual_seed(samples)
    first = {4: (2, 2), 3: (1, 3), 2: (1, 2)}.get(samples, (1, samples))
    shapes = {"conv1": (width, 1, *first), **{f"conv{n}": (width, width, 1, 1) for n in range(2, 6)}}
    shapes["conv6"] = (outputs, width, 1, 1)
    arrays = {f"{name}.weight": torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    return arrays | {f"{name}.bias": torch.randn(shape[0], generator=rng) for name, shape in shapes.items()}


def make_dense(stages: int, patterns: str, outputs: int, width: int = 4) -> dict[str, torch.Tensor]:
    """Arrays in the layout of ddlee-cn/MuLUT."""
    rng = torch.Generator().manual_seed(0)
    arrays = {}
    for stage in range(1, stages + 1):
        for pattern in patterns:
            block = f"s{stage}_{pattern}.model"
            shapes = {"conv1.conv": (width, 1, 1, 4) if pattern == "y" else (width, 1, 2, 2)}
            shapes |= {f"conv{n}.conv1.conv": (width, width * (n - 1), 1, 1) for n in range(2, 6)}
            shapes["conv6.conv"] = (outputs if stage == stages else 1, width * 5, 1, 1)
            for name, shape in shapes.items():
                arrays[f"{block}.{name}.weight"] = torch.randn(shape, generator=rng)
                arrays[f"{block}.{name}.bias"] = torch.randn(shape[0], generator=rng)
    return arrays


@pytest.mark.parametrize(("samples", "pattern"), [(4, "s"), (3, "f"), (2, "v")])
@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_srlut_layout(tmp_path, samples, pattern, suffix):
    arrays = make_plain(samples, 9)
    source = tmp_path / f"model{suffix}"
    if suffix == ".pth":
        torch.save(arrays, source)
    elif suffix == ".npz":
        np.savez(source, **{name: array.numpy() for name, array in arrays.items()})
    else:
        from safetensors.torch import save_file

        save_file(arrays, source)
    run = Run(tmp_path / "run")
    config = import_network("sr-lut", source, run)
    assert (config.model.patterns, config.model.scale, config.model.width) == ((pattern,), 3, 4)
    network = load_model(run, run.read_config()).fillings[f"stage1/{pattern}"].network

    given = torch.rand(5, samples)
    kernel = arrays["conv1.weight"]
    expected = torch.nn.functional.conv2d(given.reshape(5, 1, *kernel.shape[2:]), kernel, arrays["conv1.bias"])
    for layer in range(2, 7):
        expected = torch.relu(expected)
        expected = torch.nn.functional.conv2d(expected, arrays[f"conv{layer}.weight"], arrays[f"conv{layer}.bias"])
    torch.testing.assert_close(network(given), expected.flatten(1), rtol=1e-5, atol=1e-5)


def test_mulut_layout(tmp_path):
    arrays = make_dense(2, "sy", 4)
    torch.save({f"module.{name}": array for name, array in arrays.items()}, tmp_path / "model.pth")
    run = Run(tmp_path / "run")
    config = import_network("mulut", tmp_path / "model.pth", run)
    assert (config.model.patterns, config.model.stages, config.model.scale) == (("s", "y"), 2, 2)
    network = load_model(run, run.read_config()).fillings["stage2/y"].network

    given = torch.rand(5, 4)
    block = "s2_y.model"
    kernel = arrays[f"{block}.conv1.conv.weight"]
    features = torch.relu(
        torch.nn.functional.conv2d(given.reshape(5, 1, *kernel.shape[2:]), kernel, arrays[f"{block}.conv1.conv.bias"])
    )
    for layer in range(2, 6):
        name = f"{block}.conv{layer}.conv1.conv"
        more = torch.nn.functional.conv2d(features, arrays[f"{name}.weight"], arrays[f"{name}.bias"])
        features = torch.cat((features, torch.relu(more)), dim=1)
    last = torch.nn.functional.conv2d(
        features, arrays[f"{block}.conv6.conv.weight"], arrays[f"{block}.conv6.conv.bias"]
    )
    torch.testing.assert_close(network(given), torch.tanh(last).flatten(1), rtol=1e-5, atol=1e-5)


class Trap:
    """What a hostile pickle would run."""

    def __reduce__(self):
        return (open, ("trapped", "w"))


BROKEN = {
    "pickled code": (lambda path: path.write_bytes(pickle.dumps(Trap())), ".pth", "pickles more than arrays"),
    "no archive": (lambda path: path.write_bytes(b"nothing"), ".npz", "holds no readable arrays"),
    "text": (lambda path: path.write_bytes(b"nothing at all"), ".safetensors", "holds no readable arrays"),
    "objects": (lambda path: np.savez(path, a=np.array([{}], object)), ".npz", "holds no readable arrays"),
    "a list": (lambda path: torch.save([torch.ones(1)], path), ".pth", "no state dict"),
    "another network": (
        lambda path: torch.save({"fc.weight": torch.ones(1)}, path),
        ".pth",
        "which no MuLUT network has",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, suffix, message = BROKEN[name]
    source = tmp_path / f"model{suffix}"
    make(source)
    with pytest.raises(FormatError, match=message) as caught:
        import_network("mulut", source, Run(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "trapped").exists()


def test_incomplete_and_odd_networks_are_refused(tmp_path):
    arrays = make_dense(2, "s", 4)
    cases = {
        "stage": {name: array for name, array in arrays.items() if not name.startswith("s1")},
        "lacks 's2_s.model.conv6.conv.bias'|lacks 'conv6.conv.bias'": {
            name: array for name, array in arrays.items() if name != "s2_s.model.conv6.conv.bias"
        },
        "no square block": make_dense(2, "s", 5),
        "finite": arrays | {"s1_s.model.conv1.conv.bias": torch.full((4,), float("nan"))},
        "other shapes": arrays | {"s1_s.model.conv3.conv1.conv.weight": torch.ones(4, 5, 1, 1)},
    }
    for message, content in cases.items():
        torch.save(content, tmp_path / "model.pth")
        with pytest.raises(FormatError, match=message):
            import_network("mulut", tmp_path / "model.pth", Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(FormatError, match="cannot be read"):
        read_arrays(tmp_path / "missing.pth")


def test_a_run_is_not_replaced_unasked(tmp_path):
    torch.save(make_plain(2, 4), tmp_path / "model.pth")
    run = Run(tmp_path / "run")
    import_network("sr-lut", tmp_path / "model.pth", run)
    with pytest.raises(DataError, match="exists"):
        import_network("sr-lut", tmp_path / "model.pth", run)
    import_network("sr-lut", tmp_path / "model.pth", run, overwrite=True)


@pytest.mark.data
@pytest.mark.slow
def test_published_networks_transfer_to_the_published_quality(tmp_path, shared_data):
    """Set5 x4: MuLUT 30.608 dB as a network and 30.525 dB as a table (transferred, not finetuned); SR-LUT-S 29.81 dB."""
    published = shared_data / "published"
    for kind, file, lr, network_psnr, table_psnr in (
        ("mulut", "mulut-x4-sdy-x2/Model_200000.state.npz", "benchmarks/Set5/LR_bicubic/X4", 30.608, 30.525),
        ("sr-lut", "sr-lut-s-x4/Model_S.state.npz", "published/sr-lut-s-x4/LR_x4", None, 29.81),
    ):
        run = Run(tmp_path / kind)
        config = import_network(kind, published / file, run)
        model = load_model(run, config)
        program, tables = transfer_networks(model, 4)
        pairs = read_pairs(shared_data / "benchmarks/Set5/HR", shared_data / lr, config.task)
        assert validate_tables(program, tables, pairs, config.task) == pytest.approx(table_psnr, abs=0.01)
        if network_psnr:
            assert mean_psnr(score_pairs(model.restore, pairs, config.task)) == pytest.approx(network_psnr, abs=0.01)


@pytest.mark.data
def test_tables_and_networks_of_one_publication_have_one_skeleton(tmp_path, shared_data):
    folder = shared_data / "published/mulut-x4-sdy-x2"
    config = import_network("mulut", folder / "Model_200000.state.npz", Run(tmp_path / "run"))
    program, _ = transfer_networks(load_model(Run(tmp_path / "run"), config), 4)
    assert import_tables("mulut", [folder]).program == program


def test_imports_keep_what_lies_in_the_folder(tmp_path):
    torch.save(make_plain(4, 4), tmp_path / "model.pth")
    (tmp_path / "lut.h5").write_text("precious")
    with pytest.raises(DataError, match=r"holds lut\.h5.*-o.*-y"):
        import_network("sr-lut", tmp_path / "model.pth", Run(tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == {"model.pth", "lut.h5"}
    import_network("sr-lut", tmp_path / "model.pth", Run(tmp_path), overwrite=True)
    assert not (tmp_path / "lut.h5").exists()


def test_imported_networks_tell_where_they_come_from(tmp_path):
    source = tmp_path / "model.pth"
    torch.save(make_plain(4, 4), source)
    run = Run(tmp_path / "run")
    import_network("sr-lut", source, run)
    config = run.read_config()
    program, tables = transfer_networks(load_model(run, config), 6)
    provenance = make_artefact(config, 6, program, tables, Fidelity(20.0, 19.0, 1, "photos")).provenance
    assert provenance["data"] == "unknown"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert provenance["history"][0] == {"step": "import", "kind": "sr-lut", "file": "model.pth", "sha256": digest}
    assert [step["step"] for step in provenance["history"]] == ["import", "transfer"]


def test_the_task_of_networks_can_be_told(tmp_path):
    torch.save(make_plain(4, 1), tmp_path / "model.pth")
    run = Run(tmp_path / "run")
    assert import_network("sr-lut", tmp_path / "model.pth", run).model.task == "denoise"
    assert import_network("sr-lut", tmp_path / "model.pth", run, task="deblock", overwrite=True).model.task == "deblock"
    with pytest.raises(DataError, match="task sr does not fit"):
        import_network("sr-lut", tmp_path / "model.pth", run, task="sr", overwrite=True)
    assert run.read_config().model.task == "deblock"
