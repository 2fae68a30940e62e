"""PairLIE on the command line: the four verbs, other commands, published weights."""

import json
import signal

import cv2
import numpy as np
import pytest
from commands import assert_refused, call, done, list_files
from small_training import write_exposures

torch = pytest.importorskip("torch")

from lutkit.bilateral.compiling import AnsweredSource  # noqa: E402
from lutkit.configuration import RunConfig  # noqa: E402
from lutkit.distil.teacher import open_teacher  # noqa: E402
from lutkit.families import find_family  # noqa: E402
from lutkit.lowlight.exposures import ExposureSource  # noqa: E402
from lutkit.lowlight.networks import RetinexNetwork  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit_runtime.artefact import read_artefact  # noqa: E402
from lutkit_runtime.engine import available_backends, load  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402
from lutkit_runtime.kernels.cuda.device import is_simulated  # noqa: E402
from lutkit_runtime.ops import Network  # noqa: E402

GRID = {"guide": "curves", "spatial": 4, "levels": 2, "width": 1}
SMALL = {
    "model": {"width": 4, "grid": GRID},
    "recipe": {
        "steps": 4,
        "batch": 1,
        "crop": 16,
        "warmup": 0,
        "validate_every": 2,
        "answers": 3,
        "compiling": {"steps": 3, "batch": 1, "warmup": 0, "validate_every": 2},
    },
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Five scenes with two exposures and a reference each."""
    return write_exposures(tmp_path_factory.mktemp("scenes"), 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scenes):
    """A folder with a run that was trained and transferred in both ways."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "small.json").write_text(json.dumps(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = done("train", "pairlie", "--data", scenes, "--config", "small.json", "--run", "runs/dark")
        assert "training on 4 scenes of" in result.stderr and "next: lutkit transfer runs/dark" in result.stderr
        assert "grids and networks agree to" in done("transfer", "runs/dark").stderr
        done("transfer", "runs/dark", "--exact", "-o", "exact.h5")
    return folder


@pytest.fixture
def work(folder, monkeypatch):
    """That folder as the current one."""
    monkeypatch.chdir(folder)
    return folder


# the command line


def test_both_forms_are_what_the_run_learned(work, scenes):
    compiled, exact = read_artefact("runs/dark/lut.h5"), read_artefact("exact.h5")
    assert [type(op).__name__ for op in exact.program.ops][:1] == ["Network"]
    step = compiled.provenance["history"][-1]
    assert (step["form"], step["storage"], step["images"]) == ("compiled", "int16", 1)
    assert exact.provenance["history"][-1]["form"] == "exact"
    assert step["network_psnr"] == exact.provenance["history"][-1]["table_psnr"]
    network = find_network(work / "runs/dark")
    picture = cv2.imread(str(scenes / "scene2" / "1.png"))[..., ::-1].astype(np.float32) / 255
    with torch.no_grad():
        _, light, reflectance = network.decompose(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None])
    for gamma in (0.2, 0.6):
        expected = (reflectance * light**gamma)[0].numpy().transpose(1, 2, 0)
        for backend in host_backends():
            made = load("exact.h5").apply(picture, gamma=gamma, backend=backend)
            np.testing.assert_allclose(made, expected, rtol=0, atol=2e-5)


def find_network(folder):
    from lutkit.workbench import find_workbench

    run = Run(folder)
    return find_workbench(find_family("pairlie")).load_network(run, run.read_config())


def host_backends():
    return [each for each in available_backends() if each != "cuda" or not is_simulated()]


def test_finetune_eval_and_apply(work, scenes):
    finetuned = done("finetune", "runs/dark", "--steps", 2, "--batch", 1, "-o", "better.h5")
    assert "finetuning on 8 pairs of" in finetuned.stderr  # two exposures of each of four scenes
    assert_refused(call("finetune", "exact.h5", "--data", scenes), "keeps its network", "transfer without --exact")
    (work / "lone").mkdir(exist_ok=True)
    (work / "lone" / "run.json").write_bytes((work / "runs/dark/run.json").read_bytes())
    (work / "lone" / "network.safetensors").write_bytes((work / "runs/dark/network.safetensors").read_bytes())
    scores = {}
    for model in ("lone", "exact.h5", "runs/dark", "better.h5"):
        scores[model] = json.loads(done("eval", model, "--hr", scenes, "--json").stdout)["psnr"]
    assert scores["lone"] == pytest.approx(scores["exact.h5"]) != pytest.approx(scores["runs/dark"])
    dark = scenes / "scene1" / "0.png"
    for gamma in ("0", "0.14"):
        for model in ("runs/dark", "exact.h5"):
            done("apply", dark, "-m", model, "--gamma", gamma, "-o", "out.png", "-y")
            found = load("runs/dark/lut.h5" if model == "runs/dark" else model)
            expected = found.apply(cv2.imread(str(dark))[..., ::-1].copy(), gamma=float(gamma))
            np.testing.assert_array_equal(cv2.imread("out.png")[..., ::-1], expected)


def test_scenes_that_nobody_lit_well_are_neither_scored_nor_finetuned_on(work, tmp_path):
    data = write_exposures(tmp_path / "lone", 3, reference=None)
    for arguments in (("eval", "runs/dark", "--hr", data), ("finetune", "runs/dark", "--data", data, "-o", "x.h5")):
        assert_refused(call(*arguments), "none shows the scene well lit: add a picture named ref")
    assert not (work / "x.h5").exists()


def test_stopped_training_goes_on_as_if_it_had_not_been(work, scenes, monkeypatch):
    sample, drawn = ExposureSource.sample, []

    def sample_and_press(self, rng):
        drawn.append(None)
        if len(drawn) == 19:  # the third step, after a validation on 16 crops
            signal.raise_signal(signal.SIGINT)
        return sample(self, rng)

    with monkeypatch.context() as patch:
        patch.setattr(ExposureSource, "sample", sample_and_press)
        stopped = call("train", "pairlie", "--data", scenes, "--config", "small.json", "--run", "runs/cut")
    assert stopped.exit_code == 130 and "--resume" in stopped.stderr
    done("train", "--run", "runs/cut", "--resume")
    names = ("runs/dark/network.safetensors", "runs/cut/network.safetensors")
    assert (work / names[0]).read_bytes() == (work / names[1]).read_bytes()


def test_transfer_that_is_stopped_writes_nothing(work, monkeypatch):
    def press(self, rng):
        signal.raise_signal(signal.SIGINT)
        return sample(self, rng)

    sample, before = AnsweredSource.sample, list_files(work)
    monkeypatch.setattr(AnsweredSource, "sample", press)
    result = call("transfer", "runs/dark", "-y", "--steps", 50)
    assert result.exit_code == 130 and result.stderr.endswith("interrupted; nothing was written\n")
    assert list_files(work) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--interval", "4"], "pairlie has no lattice"),
        (["--dfc"], "pairlie has no tables of samples"),
        (["--lr", ".", "--val", "."], "--lr belongs to other families"),
        (["--exact", "--storage", "int8"], "leave --storage out"),
        (["--exact", "--steps", "5"], "leave --steps out"),
    ],
)
def test_options_without_meaning_are_refused(work, options, told):
    assert_refused(call("transfer", "runs/dark", "-o", "other.h5", *options), told, code=2)
    assert not (work / "other.h5").exists()


@pytest.mark.parametrize("family", ["mulut", "adaptive-3dlut", "hdrnet"])
@pytest.mark.parametrize("options", [["--exact"], ["--data", "."], ["--steps", "3"]])
def test_other_families_have_nothing_to_compile(tmp_path, family, options):
    found = find_family(family)
    run = Run(tmp_path / "run")
    run.write_config(RunConfig(family=family, model=found.defaults, recipe=found.presets["quick"]))
    result = call("transfer", run.folder, *options)
    assert_refused(result, f"{options[0]} is for networks of full resolution, and {family} has none", code=2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["hdrnet", "--task", "lowlight"], "cannot learn task 'lowlight'"),
        (["adaptive-3dlut", "--task", "relight"], "cannot learn task 'relight'"),
        (["--task", "lowlight"], "task 'lowlight'"),
        (["pairlie", "--task", "retouch"], "cannot learn task 'retouch'"),
        (["pairlie", "--scale", "2"], "keeps the size"),
    ],
)
def test_tasks_of_other_families_are_wrong_usage(tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert_refused(call("train", *arguments), told, code=2)
    assert list(tmp_path.iterdir()) == []


def test_the_task_may_be_said(work):
    exact = call("train", "pairlie", "--task", "lowlight", "--data", "nowhere", "--run", "runs/none")
    assert_refused(exact, "nowhere does not exist")


def test_what_is_too_small_for_the_grid_is_refused(work, scenes, tmp_path):
    data = write_exposures(tmp_path, 2, side=16)
    for path in data.rglob("scene*/*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path))[:3])
    result = call("transfer", "runs/dark", "-o", "other.h5", "--data", data)
    assert_refused(result, "has 16x3 pixels", "grid of 4 x 4", "model.grid.spatial")
    assert not (work / "other.h5").exists()


def test_other_commands_know_both_forms(work, scenes):
    for model, slot in (("runs/dark/lut.h5", "reflectance/columns"), ("exact.h5", "network")):
        facts = json.loads(done("info", model, "--json").stdout)
        assert slot in json.dumps(facts) and "gamma" in json.dumps(facts)
        assert "gamma" in done("info", model).stdout
        done("bench", "-m", model, "--size", "32x24", "--rounds", 1, "--seconds", 0.01, "--engines", "lutkit")
    picture = cv2.imread(str(scenes / "scene1" / "0.png"))[..., ::-1].copy()
    teacher = open_teacher([str(work / "exact.h5")])
    np.testing.assert_array_equal(teacher.answer(picture, 1), load("exact.h5").apply(picture, gamma=0.2))
    image = scenes / "scene1" / "0.png"
    for model in ("runs/dark/lut.h5", "exact.h5"):
        result = call("export", model, "--to", "cube", "--image", image, "-o", "out.cube")
        assert_refused(result, "by its place in the picture, which no colour LUT can do")
        assert not (work / "out.cube").exists()


# published weights


def save_weights(path, changes=None, width=4, leave=()):
    torch.manual_seed(1)
    weights = dict(RetinexNetwork(width).state_dict()) | (changes or {})
    torch.save({name: each for name, each in weights.items() if name not in leave}, path)


def test_weights_become_a_run_or_an_artefact(tmp_path, scenes, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_weights("PairLIE.pth")
    result = done("import", "PairLIE.pth", "--as", "pairlie", "-o", "runs/pub")
    assert "next: lutkit transfer runs/pub --data DIR, or --exact" in result.stderr
    config = Run(tmp_path / "runs/pub").read_config()
    assert (config.model.width, config.origin.kind, config.origin.file) == (4, "pairlie", "PairLIE.pth")
    done("import", "PairLIE.pth", "--as", "pairlie", "-o", "pub.h5")
    done("transfer", "runs/pub", "--exact", "-o", "other.h5", "--data", scenes)
    one, other = read_artefact("pub.h5"), read_artefact("other.h5")
    assert one.program == other.program and one.tables["network"].tobytes() == other.tables["network"].tobytes()
    assert one.provenance["history"][0]["step"] == other.provenance["history"][0]["step"] == "import"
    assert_refused(call("import", "PairLIE.pth", "--as", "pairlie", "-o", "runs/pub"), "runs/pub exists")
    assert_refused(
        call("import", "PairLIE.pth", "--as", "pairlie", "-o", "x", "--task", "denoise"), "leave --task out", code=2
    )
    assert_refused(call("import", "PairLIE.pth", "--as", "pairlie", "-o", "x.h5", "--scale", 2), "no option --scale")


@pytest.mark.parametrize(
    ("changes", "leave", "told"),
    [
        ({}, ("N_net.N_net.13.bias",), "lacks 1 of 30 weights, the first 'N_net.N_net.13.bias'"),
        ({"extra.weight": torch.zeros(3)}, (), "holds 'extra.weight', which no PairLIE has"),
        ({"R_net.R_net.4.weight": torch.zeros(4, 4, 1, 1)}, (), "'R_net.R_net.4.weight' of (4, 4, 1, 1)"),
        ({"R_net.R_net.4.bias": torch.full((4,), float("nan"))}, (), "'R_net.R_net.4.bias'"),
        ({"R_net.R_net.4.bias": torch.zeros(4, dtype=torch.int64)}, (), "'R_net.R_net.4.bias'"),
        ({}, ("L_net.L_net.1.weight",), "is it PairLIE.pth?"),
    ],
)
@pytest.mark.parametrize("target", ["runs/x", "x.h5"])
def test_other_weights_are_refused(tmp_path, monkeypatch, changes, leave, told, target):
    monkeypatch.chdir(tmp_path)
    save_weights("w.pth", changes, leave=leave)
    assert_refused(call("import", "w.pth", "--as", "pairlie", "-o", target), "w.pth", told)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"w.pth"}


def test_several_files_are_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_weights("w.pth")
    assert_refused(call("import", "w.pth", "w.pth", "--as", "pairlie", "-o", "x.h5"), "one file of weights, not 2")


@pytest.mark.data
def test_published_weights_give_what_their_code_gives(shared_data, tmp_path):
    done("import", shared_data / "published/pairlie/PairLIE.pth", "--as", "pairlie", "-o", tmp_path / "pub.h5")
    model = load(tmp_path / "pub.h5")
    network = next(op for op in model.program.ops if isinstance(op, Network))
    tables = read_artefact(tmp_path / "pub.h5").tables
    with np.load(shared_data / "oracles/pairlie_crop.npz") as oracle:
        for name in ("lol", "fig_dark", "fig"):
            codes = oracle[f"{name}_crop_uint8"]
            picture = codes.astype(np.float32) / np.float32(255)
            planes = network.reference({"image": picture}, tables)
            expected = np.concatenate((oracle[f"{name}_L"], oracle[f"{name}_R"]))
            np.testing.assert_allclose(planes.transpose(2, 0, 1), expected, rtol=0, atol=1e-5)
            for gamma, suffix in ((0.2, "020"), (0.14, "014")):
                results = [model.apply(picture, gamma=gamma, backend=backend) for backend in host_backends()]
                assert len({each.tobytes() for each in results}) == 1
                expected = oracle[f"{name}_enh{suffix}"].transpose(1, 2, 0)
                np.testing.assert_allclose(results[0], expected, rtol=0, atol=1e-5)
            made = [model.apply(codes, backend=backend) for backend in host_backends()]
            assert len({each.tobytes() for each in made}) == 1
            assert np.abs(made[0].astype(int) - oracle[f"{name}_enh020_uint8"]).max() <= 1


def test_a_run_that_does_not_fit_is_refused(work, tmp_path):
    for name in ("run.json", "network.safetensors"):
        (tmp_path / name).write_bytes((work / "runs/dark" / name).read_bytes())
    text = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace('"width": 4', '"width": 5', 1))
    with pytest.raises(DataError, match="do not fit"):
        find_network(tmp_path)
