"""Training runs from photos to networks: they learn, resume bit for bit, and bad input leaves nothing behind."""

import errno
import json
import os
import signal

import cv2
import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_training import RECIPE, make_config, write_photos  # noqa: E402

import lutkit.photos  # noqa: E402
from lutkit.checkpoints import load_networks  # noqa: E402
from lutkit.data import PatchSource  # noqa: E402
from lutkit.evaluate import mean_psnr, score_image, score_pairs  # noqa: E402
from lutkit.loop import Interrupted  # noqa: E402
from lutkit.photos import gather_photos  # noqa: E402
from lutkit.recipe import Phase  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.spatial_transfer import transfer_networks  # noqa: E402
from lutkit.spatial_workbench import load_model  # noqa: E402
from lutkit.train import choose_device, train  # noqa: E402
from lutkit.workbench import Watch  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.errors import DataError, LutkitError  # noqa: E402

CPU = torch.device("cpu")


def quietly(run, config, *, resume=False):
    return train(run, config, CPU, Watch(say=lambda _: None), resume=resume)


def read_log(run):
    """Return the log without times."""
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def interrupt_at(monkeypatch, step, action):
    """Let something happen when the patches of a step are drawn."""
    sample, drawn = PatchSource.sample, []

    def sample_and_act(self, *arguments):
        drawn.append(None)
        if len(drawn) == step:
            action()
        return sample(self, *arguments)

    monkeypatch.setattr(PatchSource, "sample", sample_and_act)


def refusal_of(action, *told):
    with pytest.raises(LutkitError) as refusal:
        action()
    message = str(refusal.value)
    assert "\n" not in message
    for words in told:
        assert words in message


@pytest.mark.parametrize(("task", "steps"), [("sr", 240), ("denoise", 60), ("deblock", 100)])
def test_training_learns_the_task(tmp_path, photos, task, steps):
    """The result beats both the beginning and what costs nothing: repeated pixels, or the degraded picture itself."""
    recipe = msgspec.structs.replace(
        RECIPE, steps=steps, batch=4, crop=16, learning_rate=1e-2, validate_every=20, phases=(Phase(interval=5),)
    )
    config = make_config(photos, task=task, recipe=recipe, width=16)
    run = Run(tmp_path / "run")
    progress = quietly(run, config)
    log = read_log(run)
    pairs = gather_photos(photos, None, config.task, 0).pairs
    scale = config.task.scale
    nothing = mean_psnr(score_pairs(lambda image: image.repeat(scale, 0).repeat(scale, 1), pairs, config.task))
    assert progress.best_psnr == max(line["psnr"] for line in log) > max(log[0]["psnr"], nothing)
    assert log[-1]["loss"] < log[0]["loss"]
    program, tables = transfer_networks(load_model(run, config), 5)
    assert mean_psnr(score_pairs(Model(program, tables).apply, pairs, config.task)) == pytest.approx(
        progress.best_psnr, abs=0.05
    )


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_interrupted_and_resumed_equals_one_go(tmp_path, photos, monkeypatch, average):
    phases = (Phase(interval=6), Phase(interval=5), Phase(interval=None))
    recipe = msgspec.structs.replace(RECIPE, steps=9, phases=phases, average=average, warmup=2)
    config = make_config(photos, recipe=recipe, stages=2)
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    expected = quietly(whole, config)
    for step, resume in ((2, False), (3, True)):  # stopped after step 2, and again after step 5
        with monkeypatch.context() as patch:
            interrupt_at(patch, step, lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(Interrupted):
                quietly(cut, config, resume=resume)
    assert not cut.network_file.exists()
    progress = quietly(cut, cut.read_config(), resume=True)
    assert cut.network_file.read_bytes() == whole.network_file.read_bytes()
    assert read_log(cut) == read_log(whole)
    assert (progress.best_step, progress.best_psnr) == (expected.best_step, expected.best_psnr)


def test_what_is_saved_is_the_best_step(tmp_path, photos, monkeypatch):
    scores = iter([20.0, 30.0, 25.0])
    seen = []

    monkeypatch.setattr(
        "lutkit.spatial_workbench.validate_tables", lambda program, tables, *_: seen.append(tables) or next(scores)
    )
    config = make_config(photos)
    run = Run(tmp_path / "run")
    assert quietly(run, config).best_step == 6
    _, tables = transfer_networks(load_model(run, config), 6)
    same = [np.mean(tables["stage1/s"] == before["stage1/s"]) for before in seen]
    assert same[1] > 0.99 > max(same[0], same[2])


def test_a_validation_is_on_the_lattice_of_the_step_before_it(tmp_path, photos, monkeypatch):
    seen = []

    def score(program, *_):
        seen.append(next(program.lookups()).lattice.interval)
        return 1.0

    monkeypatch.setattr("lutkit.spatial_workbench.validate_tables", score)
    phases = (Phase(interval=6), Phase(interval=5))
    recipe = msgspec.structs.replace(RECIPE, steps=4, validate_every=2, phases=phases)
    quietly(Run(tmp_path / "run"), make_config(photos, recipe=recipe))
    assert seen == [6, 5]


def test_networks_at_every_sample_are_validated_in_the_middle_of_photos(tmp_path, photos, monkeypatch):
    sizes = []
    monkeypatch.setattr("lutkit.spatial_workbench.NETWORK_VALIDATION_SIDE", 10)
    monkeypatch.setattr(
        "lutkit.spatial_workbench.NetworkModel.restore",
        lambda self, image: sizes.append(image.shape) or image.repeat(2, 0).repeat(2, 1),
    )
    recipe = msgspec.structs.replace(RECIPE, steps=1, phases=(Phase(interval=None),))
    config = make_config(photos, recipe=recipe)
    progress = quietly(Run(tmp_path / "run"), config)
    assert sizes == [(10, 10, 3)]
    (pair,) = gather_photos(photos, None, config.task, 0).pairs
    middle = pair.degraded[11:21, 11:21].repeat(2, 0).repeat(2, 1)
    assert progress.best_psnr == score_image("", middle, pair.target[22:42, 22:42], config.task).psnr


def test_patterns_of_ones_own(tmp_path, photos):
    patterns = (((0, 0), (-1, 2)), ((0, 0),), ((0, 0), (0, 1), (1, 1)))
    config = make_config(photos, patterns=patterns, stages=2)
    run = Run(tmp_path / "run")
    quietly(run, config)
    assert {name.split(".")[0] for name in load_networks(run.network_file)} == {
        f"stage{stage}-p{number}" for stage in (1, 2) for number in range(3)
    }
    program, tables = transfer_networks(load_model(run, run.read_config()), 6)
    assert {name: table.shape for name, table in tables.items()} == {
        "stage1/p0": (25, 1),
        "stage1/p1": (5, 1),
        "stage1/p2": (125, 1),
        "stage2/p0": (25, 4),
        "stage2/p1": (5, 4),
        "stage2/p2": (125, 4),
    }
    assert program.halo == 4


def test_generated_images_are_announced(tmp_path, monkeypatch):
    monkeypatch.setattr(lutkit.photos, "GENERATED_PHOTOS", 2)
    monkeypatch.setattr(lutkit.photos, "GENERATED_SIDE", 64)
    said = []
    recipe = msgspec.structs.replace(RECIPE, steps=1)
    train(Run(tmp_path / "run"), make_config(None, recipe=recipe), CPU, Watch(say=said.append))
    text = " ".join(said)
    assert "generated images" in text
    assert "--data DIR" in text


def make_bad_folder(parent, kind):
    """Return a folder of photos that cannot be trained on, and words of the refusal."""
    folder = parent / kind
    if kind != "missing":
        folder.mkdir()
    if kind == "single":
        write_photos(folder, count=1, side=64)
    elif kind == "small":
        write_photos(folder, count=2, side=16)
    elif kind == "unreadable":
        write_photos(folder, count=3, side=64)
        (folder / "photo1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    return folder


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", ("missing does not exist",)),
        ("empty", ("empty holds no images",)),
        ("single", ("single holds one photo", "--val")),
        ("small", ("photo1.png is 16x16", "a crop of 9 at scale 2 needs 18x18")),
        ("unreadable", ("photo1.png",)),
    ],
)
@pytest.mark.parametrize("before", ["nothing", "a run"])
def test_bad_photos_are_refused_and_change_nothing(tmp_path, photos, kind, told, before):
    run = Run(tmp_path / "run")
    if before == "a run":
        quietly(run, make_config(photos))
    kept = {file.name: file.read_bytes() for file in run.folder.iterdir()} if run.is_run() else None
    config = make_config(make_bad_folder(tmp_path, kind), recipe=msgspec.structs.replace(RECIPE, crop=9))
    refusal_of(lambda: quietly(run, config), *told)
    if kept is None:
        assert not run.folder.exists()
    else:
        assert {file.name: file.read_bytes() for file in run.folder.iterdir()} == kept


def test_validation_photos_without_a_middle_are_refused_at_once(tmp_path, photos):
    (tmp_path / "val").mkdir()
    cv2.imwrite(str(tmp_path / "val" / "bird.png"), np.zeros((8, 8, 3), np.uint8))
    config = msgspec.structs.replace(make_config(photos, scale=4), val=str(tmp_path / "val"))
    refusal_of(lambda: quietly(Run(tmp_path / "run"), config), "bird is 8x8", "use larger images")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "model", "told"),
    [
        ({"batch": 0}, {}, ("batch = 0",)),
        ({"phases": (Phase(interval=6), Phase(interval=0))}, {}, ("interval 0", "choose a larger interval")),
        ({}, {"patterns": ("nothing",)}, ("unknown pattern 'nothing'",)),
        ({}, {"interval": 0}, ("interval 0", "choose a larger interval")),
    ],
)
def test_impossible_configurations_are_refused_before_anything(tmp_path, photos, recipe, model, told):
    config = make_config(photos, recipe=msgspec.structs.replace(RECIPE, **recipe), **model)
    if "interval" in model:
        config = msgspec.structs.replace(
            config, recipe=msgspec.structs.replace(config.recipe, phases=(Phase(interval=None),))
        )
    refusal_of(lambda: quietly(Run(tmp_path / "run"), config), *told)
    assert not (tmp_path / "run").exists()


def test_a_run_that_never_had_a_checkpoint_leaves_nothing_in_the_way(tmp_path, photos, monkeypatch):
    def fail():
        raise MemoryError

    interrupt_at(monkeypatch, 2, fail)
    run = Run(tmp_path / "run")
    with pytest.raises(MemoryError):
        quietly(run, make_config(photos))
    assert list(run.folder.iterdir()) == []


def test_networks_that_cannot_be_written_are_made_by_resuming(tmp_path, photos, monkeypatch):
    config = make_config(photos)
    whole, full = Run(tmp_path / "whole"), Run(tmp_path / "full")
    quietly(whole, config)

    def refuse(path, _):
        raise DataError(f"cannot write {path} ({os.strerror(errno.ENOSPC)}): check the folder and the disk")

    with monkeypatch.context() as patch:
        patch.setattr("lutkit.train.save_networks", refuse)
        refusal_of(lambda: quietly(full, config), "network.safetensors", "No space left on device")
    assert not full.network_file.exists()
    quietly(full, config, resume=True)
    assert full.network_file.read_bytes() == whole.network_file.read_bytes()


def test_networks_of_another_configuration_are_refused(tmp_path, photos):
    run = Run(tmp_path / "run")
    quietly(run, make_config(photos))
    refusal_of(lambda: load_model(run, make_config(photos, width=9)), "network.safetensors do not fit", "train again")
    run.network_file.write_bytes(b"")
    refusal_of(lambda: load_model(run, make_config(photos)), "damaged")
    run.network_file.unlink()
    refusal_of(lambda: load_model(run, make_config(photos)), "No such file", "lutkit train")


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    refusal_of(lambda: choose_device("cuda"), "--device cuda", "--device cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_resuming_without_a_usable_checkpoint_keeps_the_run(tmp_path, photos, monkeypatch, damage):
    run = Run(tmp_path / "run")
    config = make_config(photos)
    quietly(run, config)
    run.checkpoint_file.unlink()
    if damage == "damaged":
        run.checkpoint_file.write_bytes(b"damaged")
    kept = {file.name: file.read_bytes() for file in run.folder.iterdir()}
    monkeypatch.setattr("lutkit.spatial_workbench.gather_photos", lambda *_: pytest.fail("photos were read in vain"))
    refusal_of(lambda: quietly(run, config, resume=True), "checkpoint.pt")
    assert {file.name: file.read_bytes() for file in run.folder.iterdir()} == kept


def test_a_resumed_run_that_fails_is_kept(tmp_path, photos, monkeypatch):
    """Even where its checkpoint is taken away meanwhile."""
    run = Run(tmp_path / "run")
    config = make_config(photos)
    quietly(run, config)

    def lose(*_, **__):
        run.checkpoint_file.unlink()
        raise MemoryError

    monkeypatch.setattr("lutkit.loop.Loop.run", lose)
    kept = {file.name for file in run.folder.iterdir()} - {"checkpoint.pt"}
    with pytest.raises(MemoryError):
        quietly(run, config, resume=True)
    assert {file.name for file in run.folder.iterdir()} == kept


def test_validation_photos_among_the_data_are_not_trained_on(tmp_path):
    data = write_photos(tmp_path / "data", count=3, side=64)
    val = write_photos(data / "val", count=2, side=64, seed=4)
    (data / "link.png").symlink_to(val / "photo0.png")
    photos = gather_photos(data, val, make_config(data).task, 0)
    assert (len(photos.source), len(photos.pairs)) == (3, 2)
    refusal_of(lambda: gather_photos(data, data, make_config(data).task, 0), "none to train on", "--val")


def test_training_photos_are_read_one_after_the_other(tmp_path, photos, monkeypatch):
    import weakref

    alive, most, read = weakref.WeakSet(), [], lutkit.photos.read_rgb

    class Counted(np.ndarray):
        __hash__ = object.__hash__

    def read_and_count(path):
        image = read(path).view(Counted)
        alive.add(image)
        most.append(len(alive))
        return image

    monkeypatch.setattr(lutkit.photos, "read_rgb", read_and_count)
    val = write_photos(tmp_path / "val", count=1, side=64)
    gather_photos(photos, val, make_config(photos).task, 0)
    assert len(most) == 6
    assert max(most) <= 2


def test_an_interval_that_is_not_the_last_one_trained_is_mentioned(tmp_path, photos):
    recipe = msgspec.structs.replace(RECIPE, steps=1)
    for interval, mentioned in ((6, False), (5, True)):
        said = []
        train(
            Run(tmp_path / str(interval)),
            make_config(photos, recipe=recipe, interval=interval),
            CPU,
            Watch(said.append),
        )
        assert any("ends at interval 6" in line and "tables of interval 5" in line for line in said) == mentioned


def test_missing_tensorboard_is_noticed_before_anything_is_cleared(tmp_path, photos, monkeypatch):
    run = Run(tmp_path / "run")
    config = make_config(photos)
    train(run, config, choose_device("cpu"), Watch(say=print))
    before = {file.name: file.read_bytes() for file in run.own_files()}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'lutkit\[tensorboard\]'"):
        train(run, config, choose_device("cpu"), Watch(say=print, tensorboard=True))
    assert {file.name: file.read_bytes() for file in run.own_files()} == before
