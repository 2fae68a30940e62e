"""S3Net from scenes to apply: both forms against torch, the four verbs, what stands beside pictures, ImageNet weights."""

import json
import signal

import cv2
import numpy as np
import pytest
from commands import assert_refused, call, done, list_files
from small_training import write_photos, write_scenes

torch = pytest.importorskip("torch")

from lutkit.bilateral.compiling import AnsweredSource  # noqa: E402
from lutkit.bilateral.model import BilateralModel, BilateralModule  # noqa: E402
from lutkit.bilateral.workbench import fill_program, read_values  # noqa: E402
from lutkit.evaluate import mean_finite_psnr, score_pairs  # noqa: E402
from lutkit.families import find_family, s3net  # noqa: E402
from lutkit.families.hdrnet import (  # noqa: E402
    PREDICTOR,
    SIDE,
    HdrnetConfig,
)
from lutkit.onnx_export import export_network  # noqa: E402
from lutkit.relighting.networks import RelightingNetwork  # noqa: E402
from lutkit.relighting.pairs import RelightingSource, make_pairs  # noqa: E402
from lutkit.relighting.scenes import read_scenes  # noqa: E402
from lutkit.relighting.start import start_with_picture  # noqa: E402
from lutkit.relighting.vgg import VGG  # noqa: E402
from lutkit.relighting.workbench import restore_with, stack_channels  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.workbench import find_workbench  # noqa: E402
from lutkit_runtime.artefact import read_artefact  # noqa: E402
from lutkit_runtime.engine import Model, available_backends, load  # noqa: E402
from lutkit_runtime.kernels.cuda.device import is_simulated  # noqa: E402
from lutkit_runtime.table_coding import Storage, TableCoding  # noqa: E402

GRID = {"guide": "curves", "spatial": 4, "levels": 2, "width": 1}
SMALL = {
    "model": {"depths": [1, 1, 1], "width": 16, "grid": GRID},
    "recipe": {
        "steps": 4,
        "batch": 1,
        "side": 32,
        "warmup": 0,
        "validate_every": 2,
        "scenes": 4,
        "answers": 4,
        "compiling": {"steps": 3, "batch": 1, "warmup": 0, "validate_every": 2},
    },
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Four scenes under three lights, whose sides are no multiples of 32."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), count=4, side=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scenes):
    """A folder with a run that was trained and transferred in both ways."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "small.json").write_text(json.dumps(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = done("train", "s3net", "--data", scenes, "--config", "small.json", "--run", "runs/light")
        assert f"training on 3 scenes of {scenes.name}, validating on 3 pairs of" in result.stderr
        result = done("transfer", "runs/light")
        assert "grids and networks agree to" in result.stderr and "on 3 pairs of" in result.stderr
        done("transfer", "runs/light", "--exact", "-o", "exact.h5")
    return folder


@pytest.fixture
def work(folder, monkeypatch):
    """That folder as the current one."""
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(scenes):
    """Every scene under every light."""
    return make_pairs(read_scenes(scenes), 0)


def find_network(folder):
    run = Run(folder)
    return find_workbench(find_family("s3net")).load_network(run, run.read_config())


def host_backends():
    return [each for each in available_backends() if each != "cuda" or not is_simulated()]


def draw_pictures(height, width, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"image": (3,), "guide": (3,), "depth": (), "guide_depth": ()}
    return {name: rng.random((height, width, *channels), np.float32) for name, channels in sizes.items()}


def to_channels(pictures):
    height, width = pictures["image"].shape[:2]
    planes = np.concatenate([each.reshape(height, width, -1) for each in pictures.values()], axis=2)
    return torch.from_numpy(planes.transpose(2, 0, 1).copy())


def test_a_pairs_channels_are_in_the_networks_order(pairs):
    stacked = stack_channels(pairs[1])
    assert stacked.shape == (8, 40, 40) and stacked.dtype == np.float32
    parts = (stacked[:3], pairs[1].degraded, 255), (stacked[3:6], pairs[1].companions["guide"], 255)
    for made, given, peak in parts:
        np.testing.assert_allclose(made.transpose(1, 2, 0) * peak, given, rtol=0, atol=1e-4)
    for number, name in ((6, "depth"), (7, "guide_depth")):
        np.testing.assert_allclose(stacked[number] * 65535, pairs[1].companions[name], rtol=0, atol=0.01)


def test_quick_networks_start_with_the_picture_and_narrow_ones_as_they_were_drawn():
    """What a network of the quick width answers at first depends on the picture's place and colour, not on the rest."""
    torch.manual_seed(0)
    narrow = RelightingNetwork((1, 1, 1), 16)
    drawn = [each.clone() for each in narrow.parameters()]
    start_with_picture(narrow)
    assert all(torch.equal(*each) for each in zip(drawn, narrow.parameters(), strict=True))
    wide = RelightingNetwork((1, 1, 1), 32)
    start_with_picture(wide)
    given = to_channels(draw_pictures(64, 64))
    given[:3] = torch.linspace(0, 1, 64)[None, None, :]
    wide.train()
    with torch.no_grad():
        made = wide(given[None].repeat(2, 1, 1, 1))[0]
    shown = made.mean((0, 1))
    assert torch.corrcoef(torch.stack((shown, torch.linspace(0, 1, 64))))[0, 1] > 0.9


# both forms


@pytest.mark.parametrize("size", [(32, 64), (37, 45), (5, 70)])
def test_the_exact_program_is_the_network_at_any_size(work, size):
    network, model = find_network(work / "runs/light"), load("exact.h5")
    pictures = draw_pictures(*size)
    with torch.no_grad():
        expected = network.relight(to_channels(pictures)[None])[0].numpy().transpose(1, 2, 0)
    image, *beside = pictures
    for backend in host_backends():
        made = model.apply(pictures[image], backend=backend, **{name: pictures[name] for name in beside})
        assert made.shape == (*size, 3)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize(("storage", "bound"), [("float32", 1e-4), ("int16", 1e-3), ("int8", 0.2)])
def test_the_compiled_program_is_the_torch_model(storage, bound):
    torch.manual_seed(2)
    config = s3net.S3netConfig(grid=HdrnetConfig(guide="curves", spatial=4, levels=3, width=1, start="identity"))
    module = BilateralModule(config.grid, s3net.CHANNELS).eval()
    with torch.no_grad():
        module.columns.add_(0.1 * torch.randn_like(module.columns))
    model, graph = BilateralModel(module), export_network(module.network, (1, s3net.CHANNELS, SIDE, SIDE))
    coding = TableCoding(Storage(storage))
    skeleton = s3net.build_compiled(config, graph_bytes=len(graph), columns=coding, curves=coding, result=coding)
    filled = fill_program(skeleton, read_values(model), {PREDICTOR: graph})
    results = []
    for seed in range(2):
        pictures = draw_pictures(37, 45) | {"guide": draw_pictures(37, 45, seed)["guide"]}
        with torch.no_grad():
            outputs, _ = model.run([to_channels(pictures)])
        image = pictures.pop("image")
        results.append(Model(filled.program, filled.tables).apply(image, **pictures))
        assert np.abs(results[-1] - outputs[0].numpy().transpose(1, 2, 0)).max() <= bound
    assert not np.array_equal(*results)


# the four verbs


def test_both_forms_are_scored_on_scenes_that_were_held_out(work, scenes):
    compiled, exact = read_artefact("runs/light/lut.h5"), read_artefact("exact.h5")
    first, step = compiled.provenance["history"][0], compiled.provenance["history"][-1]
    assert first["step"] == "train" and compiled.provenance["data"] == scenes.name
    assert (step["form"], step["storage"], step["images"]) == ("compiled", "int16", 3)
    last = exact.provenance["history"][-1]
    assert (last["form"], last["table_psnr"]) == ("exact", step["network_psnr"])
    assert exact.program.ops[0].sources == ("image", "guide", "depth", "guide_depth")


def test_validation_is_what_apply_gives(work, pairs):
    network, task = find_network(work / "runs/light"), Run(work / "runs/light").read_config().task
    own = score_pairs(restore_with(network), pairs[:3], task)
    applied = score_pairs(load("exact.h5").apply, pairs[:3], task)
    assert mean_finite_psnr(own) == pytest.approx(mean_finite_psnr(applied), abs=0.01)


def test_finetune_and_eval(work, scenes):
    result = done("finetune", "runs/light", "--steps", 2, "--batch", 1, "-o", "better.h5")
    assert "finetuning on 3 scenes of" in result.stderr and "validating on 3 pairs of" in result.stderr
    assert_refused(call("finetune", "exact.h5", "--data", scenes), "keeps its network", "transfer without --exact")
    (work / "lone").mkdir(exist_ok=True)
    for name in ("run.json", "network.safetensors"):
        (work / "lone" / name).write_bytes((work / "runs/light" / name).read_bytes())
    scores = {}
    for model in ("lone", "exact.h5", "runs/light", "better.h5"):
        scores[model] = json.loads(done("eval", model, "--hr", scenes, "--json").stdout)
    assert len(scores["lone"]["images"]) == 12
    assert scores["lone"]["psnr"] == pytest.approx(scores["exact.h5"]["psnr"]) != scores["runs/light"]["psnr"]
    plain = done("eval", "exact.h5", "--hr", scenes, "--task", "relight")
    assert "task relight, 12 images" in plain.stderr
    assert_refused(call("eval", "exact.h5", "--hr", scenes, "--task", "lowlight"), "task is relight, not lowlight")


def test_finetuning_takes_the_side_of_the_run(work):
    found = find_workbench(find_family("s3net"))
    preset = s3net.FINETUNE
    assert found.finetuning_recipe(None, preset, None).longest_side == 64
    assert found.finetuning_recipe(Run(work / "runs/light").read_config(), preset, None).longest_side == 32


def test_apply_with_what_stands_beside(work, pairs):
    pair = pairs[4]
    cv2.imwrite("a.png", pair.degraded[..., ::-1])
    cv2.imwrite("guide.png", pair.companions["guide"][..., ::-1])
    for name in ("depth", "guide_depth"):
        cv2.imwrite(f"{name}.png", pair.companions[name])
    options = ["--guide", "guide.png", "--depth", "depth.png", "--guide-depth", "guide_depth.png"]
    for model in ("runs/light", "exact.h5"):
        done("apply", "a.png", "-m", model, *options, "-o", "out.png", "-y")
        found = load("runs/light/lut.h5" if model == "runs/light" else model)
        np.testing.assert_array_equal(cv2.imread("out.png")[..., ::-1], found.apply(pair.degraded, **pair.companions))
        refused = call("apply", "a.png", "-m", model, *options[:2], *options[4:], "-o", "none.png")
        assert refused.exit_code == 1 and "needs depth beside the picture: give --depth FILE" in refused.stderr
        assert not (work / "none.png").exists()


def test_scenes_are_rendered_where_there_are_none(work):
    result = done("train", "s3net", "--config", "small.json", "--run", "runs/rendered", "--seed", 3)
    assert "rendered scenes are used; --data DIR trains on your scenes instead" in result.stderr
    assert "training on 3 rendered scenes (seed 3), validating on 40 pairs of" in result.stderr
    result = done("transfer", "runs/rendered", "--steps", 2, "-o", "rendered.h5", "--storage", "int8")
    assert "rendered scenes are used" in result.stderr and "int8 moves table entries by" in result.stderr
    program = read_artefact("rendered.h5").program
    assert [each.name for each in program.companions] == ["guide", "depth", "guide_depth"]


def test_scenes_apart(work, scenes, tmp_path):
    val = write_scenes(tmp_path / "val", count=1, side=32, seed=9)
    options = ("--config", "small.json", "--data", scenes, "--val", val)
    result = done("train", "s3net", *options, "--run", "runs/apart", "--steps", 1)
    assert "training on 4 scenes of" in result.stderr and "validating on 3 pairs of scenes of val" in result.stderr
    other = write_scenes(tmp_path / "other", count=1, side=32, lights=2)
    result = call("train", "s3net", *options[:-1], other, "--run", "runs/none")
    assert_refused(result, "different lights")
    (val / "scene_0000" / "depth.png").unlink()
    assert_refused(call("train", "s3net", *options, "--run", "runs/none"), "scene_0000 has no depth*.png")
    photos = write_photos(tmp_path / "photos", count=2, side=32)
    assert_refused(call("train", "s3net", "--data", photos, "--run", "runs/none"), "photos holds no scenes")
    two = write_scenes(tmp_path / "two", count=2, side=32)
    assert_refused(call("train", "s3net", "--data", two, "--run", "runs/none"), "there are 2 scenes", "add some")
    assert not (work / "runs/none").exists()


def test_stopped_training_goes_on_as_if_it_had_not_been(work, scenes, monkeypatch):
    sample, drawn = RelightingSource.sample, []

    def sample_and_press(self, rng):
        drawn.append(None)
        if len(drawn) == 3:
            signal.raise_signal(signal.SIGINT)
        return sample(self, rng)

    with monkeypatch.context() as patch:
        patch.setattr(RelightingSource, "sample", sample_and_press)
        stopped = call("train", "s3net", "--data", scenes, "--config", "small.json", "--run", "runs/cut")
    assert stopped.exit_code == 130 and "--resume" in stopped.stderr
    done("train", "--run", "runs/cut", "--resume")
    names = ("runs/light/network.safetensors", "runs/cut/network.safetensors")
    assert (work / names[0]).read_bytes() == (work / names[1]).read_bytes()


def test_transfer_that_is_stopped_writes_nothing(work, monkeypatch):
    def press(self, rng):
        signal.raise_signal(signal.SIGINT)
        return sample(self, rng)

    sample, before = AnsweredSource.sample, list_files(work)
    monkeypatch.setattr(AnsweredSource, "sample", press)
    result = call("transfer", "runs/light", "-y", "--steps", 50)
    assert result.exit_code == 130 and result.stderr.endswith("interrupted; nothing was written\n")
    assert list_files(work) == before


# weights of ImageNet


def write_config(path, **recipe):
    path.write_text(json.dumps({**SMALL, "recipe": {**SMALL["recipe"], **recipe}}))
    return path


def test_weights_named_in_the_recipe_are_used(work, scenes, tmp_path, monkeypatch):
    """Paths count from the current folder, and the run is told where that is."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(7)
    encoder = RelightingNetwork((1, 1, 1), 16, channels=3).encoder.state_dict()
    torch.save(encoder, "encoder.pth")
    torch.save(VGG().state_dict(), "vgg.pth")
    write_config(tmp_path / "with.json", encoder="encoder.pth", vgg="vgg.pth", steps=1, validate_every=1)
    result = done("train", "s3net", "--data", scenes, "--config", "with.json", "--run", "run")
    assert "best of 1 steps" in result.stderr
    recipe = Run(tmp_path / "run").read_config().recipe
    assert (recipe.encoder, recipe.vgg) == (str(tmp_path / "encoder.pth"), str(tmp_path / "vgg.pth"))
    made = find_network(tmp_path / "run").encoder.state_dict()
    name = "layer1.0.conv1.weight"
    assert (made[name] - encoder[name]).abs().max() < 2e-3  # as far as one step goes
    assert made["conv1.0.weight"].shape[1] == 8
    plain = find_network(work / "runs/light").encoder.state_dict()
    assert (plain[name] - encoder[name]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("field", "leave", "told"),
    [
        ("encoder", "layer2.0.conv3.weight", "lacks 1 of"),
        ("vgg", "features.2.bias", "lacks 1 of 10 weights, the first 'features.2.bias'"),
        ("encoder", None, "No such file"),
        ("vgg", None, "No such file"),
    ],
)
def test_weights_that_are_missing_are_one_line_and_leave_nothing(scenes, tmp_path, monkeypatch, field, leave, told):
    monkeypatch.chdir(tmp_path)
    network = RelightingNetwork((1, 1, 1), 16, channels=3).encoder if field == "encoder" else VGG()
    if leave:
        torch.save({name: each for name, each in network.state_dict().items() if name != leave}, "w.pth")
    write_config(tmp_path / "c.json", **{field: "w.pth"})
    before = list_files(tmp_path)
    assert_refused(call("train", "s3net", "--data", scenes, "--config", "c.json", "--run", "run"), "w.pth", told)
    assert list_files(tmp_path) == before and not (tmp_path / "run").exists()


# other commands


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["s3net", "--task", "retouch"], "cannot learn task 'retouch'"),
        (["hdrnet", "--task", "relight"], "cannot learn task 'relight'"),
        (["s3net", "--scale", "2"], "keeps the size"),
    ],
)
def test_tasks_of_other_families_are_wrong_usage(tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert_refused(call("train", *arguments), told, code=2)
    assert list(tmp_path.iterdir()) == []


def test_other_commands_say_what_stands_beside(work, scenes):
    image = scenes / "scene_0001" / "depth.png"
    for model in ("runs/light/lut.h5", "exact.h5"):
        facts = json.loads(done("info", model, "--json").stdout)
        assert [each["name"] for each in facts["companions"]] == ["guide", "depth", "guide_depth"]
        assert "guide_depth" in done("info", model).stdout
        refused = call("export", model, "--to", "cube", "--image", image, "-o", "out.cube")
        assert_refused(
            refused, "by other pictures (guide, depth, guide_depth), which no colour LUT can do: use it as it is"
        )
        assert not (work / "out.cube").exists()
        assert_refused(call("bench", "-m", model), f"{model} needs guide, depth, guide_depth", "which bench has not")
    assert_refused(call("distil", "exact.h5", "--data", scenes, "-o", "out.h5"), "needs guide, depth, guide_depth")
