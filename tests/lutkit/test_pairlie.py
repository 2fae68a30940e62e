"""PairLIE from exposures to apply: its loss, its start, its data, the four verbs, published weights."""

import json
import signal

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from small_training import write_photos

torch = pytest.importorskip("torch")

from lutkit.bilateral.compiling import AnsweredSource  # noqa: E402
from lutkit.bilateral.lit import LitModel, LitModule, illuminate  # noqa: E402
from lutkit.bilateral.workbench import fill_program, read_values  # noqa: E402
from lutkit.cli import main  # noqa: E402
from lutkit.configuration import RunConfig  # noqa: E402
from lutkit.distil.teacher import open_teacher  # noqa: E402
from lutkit.families import find_family, pairlie  # noqa: E402
from lutkit.families.hdrnet import (  # noqa: E402
    PREDICTOR,
    SIDE,
    HdrnetConfig,
)
from lutkit.lowlight.exposures import ExposureSource, find_scene_pairs, gather_exposures  # noqa: E402
from lutkit.lowlight.losses import DARKEST, retinex_loss  # noqa: E402
from lutkit.lowlight.networks import Retinex, RetinexNetwork  # noqa: E402
from lutkit.lowlight.objective import ExposureObjective  # noqa: E402
from lutkit.lowlight.start import NODES, start_near_identity  # noqa: E402
from lutkit.onnx_export import export_network  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit_runtime.artefact import read_artefact  # noqa: E402
from lutkit_runtime.engine import Model, available_backends, load  # noqa: E402
from lutkit_runtime.errors import DataError, LutkitError  # noqa: E402
from lutkit_runtime.kernels.cuda.device import is_simulated  # noqa: E402
from lutkit_runtime.ops import Illuminate, Network  # noqa: E402
from lutkit_runtime.table_coding import Storage, TableCoding  # noqa: E402

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


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def assert_refused(result, *told, code=1):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and "internal error" not in last
    for words in told:
        assert words in last


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


def write_exposures(folder, count, *, exposures=2, reference="ref", side=32, seed=3):
    photos = write_photos(folder / ".photos", count=count, side=side, seed=seed)
    for number, path in enumerate(sorted(photos.iterdir())):
        (folder / f"scene{number}").mkdir()
        photo = cv2.imread(str(path))
        for exposure in range(exposures):
            dark = (photo * (0.15 + 0.1 * exposure)).astype(np.uint8)
            cv2.imwrite(str(folder / f"scene{number}" / f"{exposure}.png"), dark)
        if reference:
            cv2.imwrite(str(folder / f"scene{number}" / f"{reference}.png"), photo)
    return folder


def list_files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def gather(data, val=None, **fields):
    return gather_exposures(data, val, **{"crop": 16, "flip": 0.5, "longest_side": 640, "seed": 0, **fields})


# what is trained


def test_the_networks_are_of_the_published_size():
    assert sum(each.numel() for each in RetinexNetwork().parameters()) == 341_767


def test_the_loss_is_what_its_formula_says():
    rng = np.random.default_rng(0)
    picture, cleaned, reflectance, other = rng.random((4, 2, 3, 7, 6))
    light = rng.random((2, 1, 7, 6))
    cleaned[0, :, 2, 3], light[0, 0, 2, 3] = 0, 0  # where something must not be divided by 0
    cleaned[1, :, 1, 1], light[1, 0, 1, 1] = 3e-5, 2e-5

    def mean_square(first, second):
        return ((first - second) ** 2).mean()

    terms = {
        "consistency": mean_square(reflectance, other),
        "explained": mean_square(light * reflectance, cleaned),
        "reached": mean_square(reflectance, cleaned / np.maximum(np.maximum(light, cleaned), 1e-4)),
        "brightest": mean_square(light[:, 0], picture.max(axis=1)),
        "down": np.abs(light[:, :, 2:] - light[:, :, :-2]).mean(),
        "across": np.abs(light[..., 2:] - light[..., :-2]).mean(),
        "kept": 500 * mean_square(picture, cleaned),
    }
    assert DARKEST == 1e-4
    given, cleaned_t, light_t, reflectance_t, other_t = (
        torch.from_numpy(each) for each in (picture, cleaned, light, reflectance, other)
    )
    light_t.requires_grad_()
    second = Retinex(torch.rand_like(cleaned_t), torch.rand_like(light_t), other_t)
    loss = retinex_loss(given, Retinex(cleaned_t, light_t, reflectance_t), second)
    assert loss.item() == pytest.approx(sum(terms.values()), rel=1e-12)
    # no gradient to the illumination from where something is divided by it
    loss.backward()
    own = light_t.detach().clone().requires_grad_()
    (
        (own * reflectance_t - cleaned_t).square().mean()
        + (own[:, 0] - given.amax(1)).square().mean()
        + (own[:, :, 2:] - own[:, :, :-2]).abs().mean()
        + (own[..., 2:] - own[..., :-2]).abs().mean()
    ).backward()
    torch.testing.assert_close(light_t.grad, own.grad, rtol=1e-12, atol=1e-15)


def test_cleaning_starts_with_what_changes_nothing():
    torch.manual_seed(4)
    network = RetinexNetwork(54)
    start_near_identity(network)
    codes = np.stack([np.random.default_rng(seed).permutation(256).reshape(16, 16) for seed in range(3)])
    picture = torch.from_numpy(codes.astype(np.float32) / 255)[None]
    with torch.no_grad():
        cleaned, light, reflectance = network.decompose(picture)
        flat = network.decompose(torch.full((1, 3, 9, 9), 0.25))
    error = (cleaned - picture).abs()
    assert error[picture <= NODES[-2] / 255].max() <= 0.01
    assert error.max() <= 0.1  # the last piece of the line is long
    assert light.mean() < 0.3
    brighter = reflectance.flatten()[picture.flatten() > 0.9].mean()
    assert brighter > reflectance.flatten()[picture.flatten() < 0.1].mean() + 0.2
    assert flat.reflectance.std() < 0.05


def test_narrow_networks_keep_what_cleans_as_it_was_drawn():
    network = RetinexNetwork(8)
    drawn = {name: each.clone() for name, each in network.named_parameters()}
    start_near_identity(network)
    kept = {name for name, each in network.named_parameters() if torch.equal(each, drawn[name])}
    assert {name for name in drawn if name.startswith("N_net")} <= kept
    assert not any(name.startswith(("L_net.L_net.1.", "R_net.R_net.1.")) for name in kept)


def test_training_lowers_the_loss_and_reaches_every_weight():
    torch.manual_seed(0)
    network = RetinexNetwork(8)
    start_near_identity(network)
    exposures = gather(None)
    recipe = msgspec.structs.replace(pairlie.QUICK, batch=2, crop=16, cleaning_rate=0.03, reflectance_rate=0.5)
    objective = ExposureObjective(network, recipe, exposures.source)
    groups = objective.parameter_groups()
    assert [group.get("share", 1.0) for group in groups] == [1.0, 0.5, 0.03]
    assert len({id(each) for group in groups for each in group["params"]}) == len(list(network.parameters()))
    adam = torch.optim.Adam([{"params": group["params"]} for group in groups], lr=2e-3)
    before, weights = objective.watch(exposures.held_out), [each.clone() for each in network.parameters()]
    assert objective.watch(exposures.held_out) == before
    rng = np.random.default_rng(0)
    for step in range(25):
        adam.zero_grad()
        objective.loss(rng, step).backward()
        adam.step()
    assert objective.watch(exposures.held_out) > before + 1
    assert not any(torch.equal(*each) for each in zip(weights, network.parameters(), strict=True))


@pytest.mark.parametrize("field", ["cleaning_rate", "reflectance_rate"])
@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_out_of_range_are_refused(field, rate):
    with pytest.raises(DataError, match=rf"{field} = .*; a finite number above 0 is needed"):
        msgspec.structs.replace(pairlie.QUICK, **{field: rate}).validate()


# what it is trained on


def test_scenes_with_references(tmp_path):
    data = write_exposures(tmp_path, 11, exposures=3)
    made = gather(data, flip=0.0, crop=64)
    assert (made.description, made.held_out_description) == (
        f"9 scenes of {data.name}",
        f"scenes held out of {data.name}",
    )
    assert [pair.name for pair in made.pairs] == ["scene0", "scene9"]  # in order of their names: scene10 is the third
    assert len(made.dark) == 27 and len(made.dark_held_out) == 2
    for pair in made.pairs:
        np.testing.assert_array_equal(pair.target, cv2.imread(str(data / pair.name / "ref.png"))[..., ::-1])
        np.testing.assert_array_equal(pair.degraded, cv2.imread(str(data / pair.name / "0.png"))[..., ::-1])
    exposures = {
        number: {cv2.imread(str(data / f"scene{number}" / f"{each}.png"))[..., ::-1].tobytes() for each in range(3)}
        for number in range(11)
    }
    rng, seen = np.random.default_rng(0), set()
    for _ in range(60):
        pair = [np.rint(each.transpose(1, 2, 0) * 255).astype(np.uint8).tobytes() for each in made.source.sample(rng)]
        (scene,) = (number for number, own in exposures.items() if pair[0] in own)
        assert pair[1] in exposures[scene] and pair[0] != pair[1]
        seen.add(scene)
    assert seen == set(range(11)) - {0, 9}
    assert len(find_scene_pairs(data)) == 33


def test_scenes_without_references(tmp_path):
    made = gather(write_exposures(tmp_path, 3, reference=None))
    assert made.description.startswith("2 scenes of") and made.pairs == []
    assert find_scene_pairs(tmp_path) == []


def test_crops_are_of_one_place_and_mirrored_together():
    ramp = np.add.outer(np.arange(40), 5 * np.arange(30)).astype(np.uint8)
    source = ExposureSource([lambda _rng: (np.dstack([ramp] * 3), np.dstack([ramp // 2] * 3))], crop=7, flip=0.5)
    rng, directions = np.random.default_rng(1), set()
    for _ in range(20):
        one, two = (np.rint(each * 255) for each in source.sample(rng))
        assert one.shape == two.shape == (3, 7, 7)
        np.testing.assert_array_equal(one // 2, two)
        directions.add(bool(one[0, 0, 0] < one[0, 0, 1]))
    assert directions == {True, False}


def test_photos_are_darkened(tmp_path):
    data = write_photos(tmp_path / "photos", count=4, side=24)
    made = gather(data)
    assert made.description == "3 photos of photos" and made.held_out_description == "photos held out of photos"
    assert len(made.dark) == 6 and len(made.pairs) == 1
    (pair,) = made.pairs
    assert pair.degraded.mean() < pair.target.mean() / 2
    np.testing.assert_array_equal(pair.degraded, made.dark_held_out[0]())
    np.testing.assert_array_equal(made.dark[1](), made.dark[1]())
    assert not np.array_equal(made.dark[0](), made.dark[1]())
    first, second = made.source.sample(np.random.default_rng(3))
    assert first.shape == second.shape == (3, 16, 16) and not np.array_equal(first, second)


def test_generated_photos_and_a_folder_apart(tmp_path):
    made = gather(None)
    assert "generated images (seed 0)" in made.description and len(made.pairs) == 8
    val = write_exposures(tmp_path / "val", 2)
    assert [pair.name for pair in gather(None, val).pairs] == ["scene0", "scene1"]
    data = write_exposures(tmp_path / "data", 2, seed=5)
    made = gather(data, val)
    assert (made.description, made.held_out_description) == ("2 scenes of data", "pictures of val")
    assert len(made.pairs) == 2
    (tmp_path / "all").mkdir()
    (tmp_path / "val").rename(tmp_path / "all" / "val")
    (tmp_path / "data").rename(tmp_path / "all" / "data")
    assert gather(tmp_path / "all", tmp_path / "all" / "val").description == "2 scenes of all"


def test_what_cannot_be_learned_from_is_one_line(tmp_path):
    data = write_exposures(tmp_path / "data", 3)
    cases = []
    (data / "scene1" / "1.png").unlink()
    cases.append((lambda: gather(data), "scene1 holds 1 exposures of a scene; at least 2 are needed"))
    uneven = write_exposures(tmp_path / "uneven", 3)
    cv2.imwrite(str(uneven / "scene1" / "1.png"), np.zeros((32, 20, 3), np.uint8))
    cv2.imwrite(str(uneven / "scene2" / "1.png"), np.zeros((32, 20, 3), np.uint8))
    source = gather(uneven).source
    cases.append((lambda: source.sample(np.random.default_rng(0)), "exposures of one scene must be of one size"))
    lone = write_exposures(tmp_path / "lone", 1)
    cases.append((lambda: gather(lone), "lone holds one scene, which leaves none to validate on"))
    cases.append((lambda: gather(uneven, uneven), "every scene of"))
    pairs = tmp_path / "pairs"
    for name in ("input", "target"):
        write_photos(pairs / name, count=3, side=16)
    cases.append((lambda: gather(pairs), "pairs holds pairs, and pairlie learns from two exposures"))
    stamps = write_photos(tmp_path / "stamps", count=2, side=16)
    for path in stamps.iterdir():
        cv2.imwrite(str(path), np.zeros((2, 9, 3), np.uint8))
    tiny = gather(stamps, data.parent / "uneven").source
    cases.append(
        (
            lambda: tiny.sample(np.random.default_rng(0)),
            "has 9x2 pixels once it is reduced; training needs 3 or more a side",
        )
    )
    cases.append((lambda: gather(tmp_path / "nowhere"), "nowhere does not exist"))
    for action, told in cases:
        with pytest.raises(LutkitError) as refusal:
            action()
        assert told in str(refusal.value) and "\n" not in str(refusal.value)


# the compiled form


def test_light_to_a_power_is_the_runtimes_bit_for_bit():
    rng = np.random.default_rng(0)
    reflectance = rng.uniform(-0.2, 1.3, (20, 30, 3)).astype(np.float32)
    root = rng.uniform(-0.2, 1.2, (20, 30, 3)).astype(np.float32)
    root[0, :5, 0] = (0, 1, 1e-9, -0.0, 0.5)
    light = Illuminate(reflectance="r", illumination="i", gamma="g", is_root=True, output="lit")
    planes = [torch.from_numpy(each.transpose(2, 0, 1).copy()) for each in (reflectance, root)]
    for gamma in (0.0, 0.14, 0.2, 0.5, 1.0):
        made = illuminate(planes[0], planes[1][:1], gamma).numpy().transpose(1, 2, 0)
        assert np.array_equal(made, light.bind(gamma).illuminate(reflectance, root))


def test_light_to_a_power_has_the_powers_gradient():
    root = torch.linspace(-0.1, 1.1, 49)[None, None].clone().requires_grad_()
    reflectance = torch.full((3, 1, 49), 0.5).requires_grad_()
    illuminate(reflectance, root, 0.2).sum().backward()
    inside = (root >= 0) & (root <= 1)
    slope = 1.5 * 0.8 * root.detach().clamp(1e-3, 1) ** -0.2
    torch.testing.assert_close(root.grad, torch.where(inside, slope, torch.zeros(())))
    torch.testing.assert_close(reflectance.grad[0], root.detach()[0].clamp(0, 1) ** 0.8, rtol=0, atol=1e-3)
    # black has a slope, however infinite that of the power is
    dark = torch.zeros(1, 1, 1, requires_grad=True)
    illuminate(torch.ones(3, 1, 1), dark, 0.05).sum().backward()
    assert 0 < dark.grad.item() < 1e3


@pytest.fixture(scope="module")
def lit():
    """A model of random grids and its predictor's file."""
    torch.manual_seed(2)
    config = pairlie.PairlieConfig(grid=HdrnetConfig(guide="curves", spatial=4, levels=3, width=1, start="identity"))
    module = LitModule(config.grid).eval()
    with torch.no_grad():
        for table in (module.columns, module.illumination):
            table.add_(0.1 * torch.randn_like(table))
    return config, LitModel(module, config.gamma), export_network(module.network, (1, 3, SIDE, SIDE))


@pytest.mark.parametrize(("storage", "bound"), [("float32", 1e-4), ("int16", 1e-3), ("int8", 0.2)])
def test_the_compiled_program_is_the_torch_model(lit, storage, bound):
    config, model, graph = lit
    coding = TableCoding(Storage(storage))
    skeleton = pairlie.build_compiled(
        config, graph_bytes=len(graph), reflectance=coding, illumination=coding, curves=coding, result=coding
    )
    filled = fill_program(skeleton, read_values(model), {PREDICTOR: graph})
    picture = np.random.default_rng(1).random((37, 45, 3), np.float32)
    with torch.no_grad():
        outputs, _ = model.run([torch.from_numpy(picture.transpose(2, 0, 1).copy())])
    made = Model(filled.program, filled.tables).apply(picture)
    error = np.abs(made - outputs[0].numpy().transpose(1, 2, 0)).max()
    assert error <= bound
    assert (filled.table_error == 0) == (storage == "float32") and (storage != "int8" or error > 1e-4)
    parts = LitModel(model.module, config.gamma, shows_parts=True)
    with torch.no_grad():
        shown, _ = parts.run([torch.from_numpy(picture.transpose(2, 0, 1).copy())])
    torch.testing.assert_close(illuminate(shown[0][:3], shown[0][3:], config.gamma), outputs[0], rtol=0, atol=0)


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
