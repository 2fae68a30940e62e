"""The commands train, transfer, finetune and eval: what they refuse, write, say, and how they end."""

import errno
import json
import os
import signal
import subprocess
import time

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from small_training import LUTKIT, ONE_THREAD, write_photos  # noqa: E402

from lutkit.cli import main  # noqa: E402
from lutkit.data import PatchSource  # noqa: E402
from lutkit.evaluate import make_pairs, mean_psnr, score_pairs  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.spatial_workbench import load_model  # noqa: E402
from lutkit_runtime import load  # noqa: E402
from lutkit_runtime.artefact import read_artefact  # noqa: E402

SMALL = {
    "model": {"patterns": ["s"], "stages": 1, "scale": 2, "width": 8, "interval": 6},
    "recipe": {"steps": 6, "batch": 2, "crop": 8, "validate_every": 3, "warmup": 0, "phases": [{"interval": 6}]},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with a small configuration beside it."""
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def trained(folder, photos):
    """A trained run in runs/default of the folder."""
    assert_done(call("train", "--data", photos, "--config", "../small.json"))
    return Run(folder / "runs" / "default")


@pytest.fixture
def transferred(trained):
    """A trained and transferred run."""
    assert_done(call("transfer"))
    return trained


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_done(result):
    assert result.exit_code == 0, result.output


def assert_refused(result, *told, code=1):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    *before, last = result.stderr.splitlines()
    for words in told:
        assert words in (result.stderr if code == 2 else last)
    if code == 1:
        assert last.startswith("Error: ")
        assert "internal error" not in last
        assert all(line.startswith(("training on", "finetuning on", "generated images")) for line in before)


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.is_dir() else None


# train


def test_train_writes_a_run_and_says_what_comes_next(folder, photos):
    result = call("train", "--data", photos, "--config", "../small.json", "--seed", 4)
    assert_done(result)
    run = Run(folder / "runs" / "default")
    assert set(content(run.folder)) == {"run.json", "network.safetensors", "checkpoint.pt", "log.jsonl"}
    config = run.read_config()
    assert (config.seed, config.data, config.recipe.steps) == (4, str(photos), 6)
    assert [json.loads(line)["step"] for line in run.log_file.read_text().splitlines()] == [3, 6]
    assert result.stdout == ""
    assert "training on 5 photos of" in result.stderr
    assert "best of 6 steps: step " in result.stderr
    assert result.stderr.endswith("next: lutkit transfer\n")


def test_folders_named_in_a_config_file_are_found_from_everywhere(photos, folder):
    (folder / "here.json").write_text(json.dumps({**SMALL, "data": os.path.relpath(photos)}))
    assert_done(call("train", "--config", "here.json", "--run", "relative"))
    assert Run(folder / "relative").read_config().data == str(photos.resolve())


@pytest.mark.parametrize("field", ["data", "val", "start"])
@pytest.mark.parametrize("path", ["", "a\0b", "round"])
def test_paths_that_cannot_be_are_one_line(folder, photos, field, path):
    (folder / "round").symlink_to("round")
    (folder / "here.json").write_text(json.dumps({**SMALL, "data": str(photos), field: path}))
    result = call("train", "--config", "here.json", "--run", "run")
    assert result.exit_code == 1 and "internal error" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {field} = {path!r} is no path")
    assert not (folder / "run").exists()


def test_training_that_goes_astray_is_one_line(folder, photos, monkeypatch):
    monkeypatch.setattr("lutkit.objective.PatchObjective.loss", lose_the_way)
    result = call("train", "--data", photos, "--config", "../small.json", "--run", "run")
    assert result.exit_code == 1
    assert "up to step 3 is no finite number; lower recipe.learning_rate" in result.stderr.splitlines()[-1]
    assert not (folder / "run" / "network.safetensors").exists()


def lose_the_way(objective, *_arguments):
    return sum(each.sum() for each in objective.module.parameters()) * float("nan")


def test_train_of_another_run_names_it(folder, photos):
    result = call("train", "--data", photos, "--config", "../small.json", "--run", "mine")
    assert_done(result)
    assert result.stderr.endswith("next: lutkit transfer mine\n")


def test_train_keeps_a_run_that_exists(trained):
    before = content(trained.folder)
    assert_refused(call("train"), "runs/default exists", "--resume", "--run", "-y")
    assert content(trained.folder) == before


def test_train_starts_anew_when_asked(transferred, photos):
    before = content(transferred.folder)
    assert_done(call("train", "--data", photos, "--config", "../small.json", "--seed", 5, "-y"))
    after = content(transferred.folder)
    assert "lut.h5" in before
    assert "lut.h5" not in after
    assert after["network.safetensors"] != before["network.safetensors"]


def test_train_takes_no_files_that_are_not_of_a_run(folder, photos):
    (folder / "lut.h5").write_text("precious")
    arguments = ("train", "--data", photos, "--config", "../small.json", "--run", ".")
    assert_refused(call(*arguments), "holds lut.h5", "--run", "-y")
    assert content(folder) == {"lut.h5": b"precious"}
    assert_done(call(*arguments, "-y"))
    assert "lut.h5" not in content(folder)


def test_train_that_cannot_begin_keeps_the_run_even_with_y(trained):
    before = content(trained.folder)
    assert_refused(call("train", "--data", "nowhere", "-y"), "nowhere does not exist")
    assert content(trained.folder) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--steps", "9"], ["--steps"]),
        (["sr-lut", "--data", ".", "--seed", "0"], ["FAMILY", "--data", "--seed"]),
        (["--config", "x.json"], ["--config"]),
        (["--preset", "quick", "--sigma", "3"], ["--sigma", "--preset"]),
    ],
)
def test_resume_takes_no_other_options(trained, options, told):
    before = content(trained.folder)
    assert_refused(call("train", *options, "--resume"), "--resume goes on as the run began", *told, code=2)
    assert content(trained.folder) == before


def test_resume_of_a_finished_run_changes_nothing(trained):
    before = content(trained.folder)
    assert_done(call("train", "--resume", "--device", "cpu"))
    after = content(trained.folder)
    assert all(after[name] == before[name] for name in ("run.json", "network.safetensors", "log.jsonl"))


def test_resume_without_a_run_or_checkpoint_is_refused(trained):
    assert_refused(call("train", "--run", "other", "--resume"), "other is no run folder", "lutkit train --run other")
    trained.checkpoint_file.write_bytes(b"damaged")
    assert_refused(call("train", "--resume"), "checkpoint.pt is damaged", "-y")
    trained.checkpoint_file.unlink()
    assert_refused(call("train", "--resume"), "checkpoint.pt cannot be read (No such file or directory)", "-y")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--steps", "0"], "--steps"),
        (["train", "--scale", "5"], "--scale"),
        (["train", "--task", "paint"], "paint"),
        (["train", "--sigma", "0"], "--sigma"),
        (["train", "--sigma", "15"], "--sigma belongs to --task denoise"),
        (["train", "--task", "denoise", "--quality", "15"], "--quality belongs to --task deblock"),
        (["train", "mulut", "--task", "retouch"], "task 'retouch'"),
        (["train", "sr-lut", "--task", "retouch"], "task 'retouch'"),
        (["train", "adaptive-3dlut", "--task", "sr"], "task 'sr'"),
        (["train", "adaptive-3dlut", "--task", "detail"], "train hdrnet"),
        (["train", "mulut", "--task", "detail"], "hdrnet learns retouch and detail"),
        (["train", "--preset", "slow"], "slow"),
        (["train", "rc-lut"], "'rc-lut' is not one of mulut, sr-lut"),
        (["train", "--frobnicate"], "--frobnicate"),
        (["transfer", "--interval", "9"], "--interval"),
        (["transfer", "--lr", "."], "--lr needs --val"),
        (["finetune", "--rate", "2"], "--rate"),
        (["finetune", "--crop", "0"], "--crop"),
        (["eval", "model.h5"], "--hr"),
    ],
)
def test_wrong_usage_is_code_2(folder, arguments, told):
    assert_refused(call(*arguments), "Usage:", told, code=2)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--data", "nowhere"], ["nowhere does not exist"]),
        (["train", "--data", "../empty"], ["empty holds no images"]),
        (["train", "--data", "../small.json"], ["is not a folder"]),
        (["train", "--config", "nowhere.json"], ["nowhere.json", "No such file"]),
        (["train", "--config", "../wrong.json"], ["wrong.json does not fit a run", "steps"]),
        (["train", "--task", "denoise", "--scale", "2"], ["denoise keeps the size"]),
        (["train", "--data", "../photos", "--scale", "2"], ["a crop of 48 at scale 2 needs 96x96"]),
        (
            ["train", "--data", "../photos", "--config", "../small.json", "--run", "../small.json/run"],
            ["cannot be made"],
        ),
        (["train", "--device", "cuda"], ["--device cuda"]),
        (["transfer"], ["runs/default is no run folder", "lutkit train"]),
        (["finetune"], ["there is no runs/default", "lutkit train"]),
        (["finetune", ".."], [".. is no run folder"]),
        (["finetune", "../small.json"], ["small.json"]),
        (["eval", "nothing", "--hr", "."], ["there is no model 'nothing'"]),
        (["eval", "..", "--hr", "."], [".. is no run folder"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, photos, arguments, told):
    (folder / "../empty").mkdir()
    (folder / "../photos").symlink_to(photos)
    (folder / "../wrong.json").write_text('{"recipe": {"steps": "many"}}')
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert_refused(call(*arguments), *told)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_no_run(folder, photos, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        result = call("train", "--data", photos, "--config", "../small.json")
    assert result.exit_code == 1
    assert "run.json (No space left on device)" in result.stderr
    assert content(folder / "runs" / "default") == {}
    assert_done(call("train", "--data", photos, "--config", "../small.json"))


# interruption


def start(*arguments):
    return subprocess.Popen(
        [*LUTKIT, *map(str, arguments)],
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child):
    """Wait for a command; returns exit code, stdout and stderr."""
    out, err = child.communicate(timeout=120)
    return child.returncode, out, err


def read_log(run):
    """Return the log without times."""
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_ctrl_c_and_resume_give_the_run_that_was_never_stopped(folder, photos):
    """The real thing: processes, a signal at an unknown moment, the command that the message names."""
    changes = {"steps": 300, "validate_every": 25, "average": 0.9, "phases": [{"interval": 6}, {"interval": 5}]}
    config = {**SMALL, "recipe": {**SMALL["recipe"], **changes}}
    (folder / "long.json").write_text(json.dumps(config))
    arguments = ("train", "--data", photos, "--config", "long.json", "--run")
    whole, cut = Run(folder / "whole"), Run(folder / "cut")
    other = start(*arguments, "whole")
    child = start(*arguments, "cut")
    while child.poll() is None and not (cut.log_file.is_file() and cut.log_file.read_text()):
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    code, out, err = finish(child)
    assert code == 130
    assert out == ""
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("stopped after step ")
    assert last.endswith("the checkpoint is written, go on with: lutkit train --run cut --resume")
    assert 25 <= int(last.split()[3].rstrip(";")) < 300
    assert not cut.network_file.exists()

    code, _, err = finish(start("train", "--run", "cut", "--resume"))
    assert code == 0, err
    assert finish(other)[0] == 0
    assert cut.network_file.read_bytes() == whole.network_file.read_bytes()
    assert read_log(cut) == read_log(whole)


def test_interrupted_finetuning_names_the_way_on(transferred, monkeypatch):
    sample, drawn = PatchSource.sample, []

    def sample_and_press(self, *arguments):
        drawn.append(None)
        if len(drawn) == 2:
            signal.raise_signal(signal.SIGINT)
        return sample(self, *arguments)

    command = ("finetune", "--data", "../photos", "--steps", 4, "--batch", 1)
    write_photos(transferred.folder.parents[2] / "photos", count=2, side=100)
    with monkeypatch.context() as patch:
        patch.setattr(PatchSource, "sample", sample_and_press)
        result = call(*command)
    assert result.exit_code == 130
    assert result.stderr.endswith(
        "stopped after step 2; the checkpoint is written, go on with: the same command and --resume\n"
    )
    assert not transferred.finetuned_file.exists()
    assert_refused(call(*command, "--rate", 0.5, "--resume"), "learning_rate = 0.001, not 0.5")
    assert_done(call(*command, "--resume"))
    resumed = transferred.finetuned_file.read_bytes()
    assert_done(call(*command, "-y"))
    assert transferred.finetuned_file.read_bytes() == resumed
    assert not list(transferred.folder.glob("*finetuned-checkpoint*"))


# transfer


def test_transfer_writes_tables_and_says_what_they_cost(trained):
    result = call("transfer")
    assert_done(result)
    artefact = read_artefact(trained.table_file)
    assert artefact.program.slots["stage1/s"].entries == 5**4
    step = artefact.provenance["history"][-1]
    assert result.stdout == ""
    assert f"network {step['network_psnr']:.3f} dB -> table {step['table_psnr']:.3f} dB" in result.stderr
    assert "wrote " in result.stderr


def test_transfer_at_another_interval_and_place(trained):
    assert_done(call("transfer", "runs/default", "--interval", 5, "-o", "fine.h5"))
    assert read_artefact("fine.h5").program.slots["stage1/s"].entries == 9**4
    assert not trained.table_file.exists()


def test_transfer_measures_on_pairs_of_ones_own(trained, photos, folder):
    pictures = write_photos(folder / "hr", count=2, side=24, seed=9)
    degraded = folder / "lr"
    degraded.mkdir()
    for path in pictures.iterdir():
        cv2.imwrite(str(degraded / path.name), cv2.imread(str(path))[::2, ::2])
    steps = []
    for options in ([], ["--val", "hr"], ["--val", "hr", "--lr", "lr"]):
        assert_done(call("transfer", *options, "-y"))
        steps.append(read_artefact(trained.table_file).provenance["history"][-1])
    assert [(step["images"], step["on"]) for step in steps] == [
        (1, f"photos held out of {photos.name}"),
        (2, "photos of hr"),
        (2, "photos of hr"),
    ]
    assert len({step["table_psnr"] for step in steps}) == 3
    config = trained.read_config()
    pairs = make_pairs(pictures, config.task, config.seed)
    assert steps[1]["table_psnr"] == round(
        mean_psnr(score_pairs(load(trained.table_file).apply, pairs, config.task)), 4
    )
    model = load_model(trained, config)
    assert steps[1]["network_psnr"] == round(mean_psnr(score_pairs(model.restore, pairs, config.task)), 4)


def test_transfer_overwrites_only_when_asked(transferred):
    before = content(transferred.folder)
    assert_refused(call("transfer", "--interval", 7), "lut.h5 exists", "-y", "-o")
    assert content(transferred.folder) == before
    assert_done(call("transfer", "--interval", 7, "-y"))
    assert content(transferred.folder)["lut.h5"] != before["lut.h5"]


def test_transfer_leaves_no_older_finetuned_tables_to_be_used_instead(transferred):
    transferred.finetuned_file.write_text("old")
    transferred.table_file.unlink()
    assert_refused(call("transfer"), "lut-finetuned.h5 exists", "-y", "-o")
    assert not transferred.table_file.exists()
    assert_done(call("transfer", "-o", "other.h5", "-y"))
    assert transferred.finetuned_file.exists()
    assert_done(call("transfer", "-y"))
    assert not transferred.finetuned_file.exists()
    assert transferred.table_file.exists()


def test_results_that_could_not_be_written_are_refused_before_the_work(transferred, monkeypatch):
    monkeypatch.setattr("lutkit.spatial_workbench.transfer_networks", lambda *_, **__: pytest.fail("it worked in vain"))
    monkeypatch.setattr("lutkit.finetune.finetune", lambda *_, **__: pytest.fail("it worked in vain"))
    for command in ("transfer", "finetune"):
        assert_refused(call(command, "-o", "nowhere/x.h5"), "cannot write nowhere/x.h5", "folder that exists")
        assert_refused(call(command, "-o", "runs", "-y"), "cannot write runs")


def test_transfer_of_damaged_networks_is_refused(trained):
    data = trained.network_file.read_bytes()
    trained.network_file.write_bytes(data[:-1])
    assert_refused(call("transfer"), "network.safetensors are damaged")
    trained.network_file.write_bytes(data)
    trained.config_file.write_text(trained.config_file.read_text().replace('"width": 8', '"width": 9'))
    assert_refused(call("transfer"), "network.safetensors do not fit", "run.json")
    assert not trained.table_file.exists()


# finetune


def test_finetune_keeps_an_interrupted_one(transferred):
    checkpoint = transferred.folder / "lut-finetuned-checkpoint.pt"
    checkpoint.write_bytes(b"work")
    assert_refused(call("finetune"), "an interrupted finetuning lies in", "--resume", "-y")
    assert checkpoint.read_bytes() == b"work"


def test_finetune_of_a_run_and_of_an_artefact(transferred, folder):
    write_photos(folder / "large", count=2, side=100)
    options = ("--data", "large", "--steps", 2, "--batch", 1, "--rate", 0.01)
    result = call("finetune", *options)
    assert_done(result)
    step = read_artefact(transferred.finetuned_file).provenance["history"][-1]
    assert (step["step"], step["steps"], step["batch"], step["learning_rate"]) == ("finetune", 2, 1, 0.01)
    assert step["final_rate"] == pytest.approx(1e-4)
    assert f"table {step['table_psnr']:.3f} dB -> finetuned {step['finetuned_psnr']:.3f} dB" in result.stderr
    assert_refused(call("finetune", *options), "lut-finetuned.h5 exists", "-y")

    assert_done(call("finetune", transferred.table_file, *options, "-o", "other.h5"))
    first, second = (read_artefact(path).provenance["history"] for path in (transferred.finetuned_file, "other.h5"))
    assert (first[-1]["crop"], second[-1]["crop"]) == (8, 48)  # the run's, and the preset's
    assert first[:-1] == second[:-1] == read_artefact(transferred.table_file).provenance["history"]
    assert (folder / "other-log.jsonl").is_file()


# eval


def test_eval_scores_what_the_run_has_come_to(trained, folder, photos):
    """Networks first, then tables; the figures are those of the library."""
    config = trained.read_config()
    pairs = make_pairs(photos, config.task, 0)
    expected = score_pairs(load_model(trained, config).restore, pairs, config.task)
    result = call("eval", "runs/default", "--hr", photos, "--json")
    assert_done(result)
    figures = json.loads(result.stdout)
    assert set(figures) == {"psnr_y", "ssim_y", "images"}
    assert figures["psnr_y"] == pytest.approx(mean_psnr(expected))
    assert [image["name"] for image in figures["images"]] == [f"photo{number}" for number in range(6)]
    assert [image["psnr_y"] for image in figures["images"]] == pytest.approx([score.psnr for score in expected])

    assert_done(call("transfer"))
    tables = score_pairs(load(trained.table_file).apply, pairs, config.task)
    result = call("eval", "runs/default", "--hr", photos)
    assert_done(result)
    lines = result.stdout.splitlines()
    assert len(lines) == 7
    assert lines[-1].split()[:3] == ["mean", f"{mean_psnr(tables):.4f}", "dB"]
    assert "lut.h5 of the run runs/default, task sr-x2, 6 images" in result.stderr
    assert result.stdout == call("eval", trained.table_file, "--hr", photos, "--backend", "numpy").stdout


def test_eval_with_degraded_pictures_made_elsewhere(transferred, folder, photos):
    (folder / "lr").mkdir()
    for path in photos.iterdir():
        cv2.imwrite(str(folder / "lr" / path.name), cv2.imread(str(path))[::2, ::2])
    own = json.loads(call("eval", "runs/default", "--hr", photos, "--json").stdout)
    other = json.loads(call("eval", "runs/default", "--hr", photos, "--lr", "lr", "--json").stdout)
    assert other["psnr_y"] != own["psnr_y"]
    (folder / "lr" / "photo3.png").unlink()
    assert_refused(call("eval", "runs/default", "--hr", photos, "--lr", "lr"), "photo3.png has no partner in lr")


def test_eval_of_a_denoiser_takes_noise_and_seed(folder, photos):
    assert_done(
        call("train", "--data", photos, "--config", "../small.json", "--task", "denoise", "--scale", 1, "--sigma", 15)
    )
    figures = {}
    for name, options in {
        "own": [],
        "15": ["--sigma", 15],
        "40": ["--sigma", 40],
        "seed 1": ["--seed", 1],
        "lr": ["--lr", photos],
    }.items():
        result = call("eval", "runs/default", "--hr", photos, "--json", *options)
        assert_done(result)
        figures[name] = json.loads(result.stdout)["psnr_y"]
    assert figures["own"] == figures["15"]
    assert len(set(figures.values())) == 4
    assert_refused(call("eval", "runs/default", "--hr", photos, "--task", "sr"), "task is denoise, not sr")


def test_eval_of_a_perfect_picture_is_null(folder, tiny_model):
    model = load(tiny_model)
    for name in ("hr", "lr"):
        (folder / name).mkdir()
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    cv2.imwrite("lr/a.png", image[:, :, ::-1])
    cv2.imwrite("hr/a.png", model.apply(image)[:, :, ::-1])
    figures = json.loads(call("eval", tiny_model, "--hr", "hr", "--lr", "lr", "--json").stdout)
    assert figures["psnr_y"] is None
    assert figures["ssim_y"] == pytest.approx(1)


def test_eval_of_pictures_that_are_too_small_is_refused(folder, tiny_model):
    (folder / "hr").mkdir()
    cv2.imwrite("hr/dot.png", np.zeros((4, 4, 3), np.uint8))
    assert_refused(call("eval", tiny_model, "--hr", "hr"), "dot is 4x4", "use larger images")
