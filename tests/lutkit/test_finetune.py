"""Finetuning tables: the forward pass is the runtime's, nothing gets worse, runs resume bit for bit."""

import dataclasses
import errno
import json
import os
import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import filled_programs, images

torch = pytest.importorskip("torch")

from small_training import make_config, write_photos  # noqa: E402

import lutkit.photos  # noqa: E402
from lutkit.data import PatchSource  # noqa: E402
from lutkit.degradation import AddNoise, CompressJpeg, Downscale  # noqa: E402
from lutkit.evaluate import mean_psnr, score_pairs  # noqa: E402
from lutkit.families import FAMILIES, find_family, mulut, srlut  # noqa: E402
from lutkit.families.spatial import read_patterns  # noqa: E402
from lutkit.fillings import TableFilling  # noqa: E402
from lutkit.finetune import check_free, describe_job, find_job, finetune, write_finetuned  # noqa: E402
from lutkit.fused import claim_program  # noqa: E402
from lutkit.loop import Interrupted  # noqa: E402
from lutkit.models import find_builtin  # noqa: E402
from lutkit.photos import gather_photos  # noqa: E402
from lutkit.recipe import Recipe  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.skeleton import run_program  # noqa: E402
from lutkit.spatial_workbench import SpatialWorkbench  # noqa: E402
from lutkit.trainable import TableModel, add_thresholds, run_tables  # noqa: E402
from lutkit.workbench import FinetuneJob, Teacher, Watch  # noqa: E402
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.errors import LutkitError  # noqa: E402

CPU = torch.device("cpu")
RECIPE = Recipe(steps=9, batch=2, crop=9, learning_rate=1e-2, final_rate=1e-3, validate_every=4)
PROGRAMS = {
    "mulut": mulut.build_program(read_patterns("sy"), stages=2, scale=2, interval=6),
    "sr-lut": srlut.build_program("s", scale=2, interval=5),
    "sr-lut as published": srlut.build_program("s", scale=3, interval=4, compat=True),
    "three stages": mulut.build_program(read_patterns(["f", ((0, 0), (-1, 2))]), stages=3, scale=1, interval=5),
}


def make_random_tables(program, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(-127, 128, (slot.entries, slot.outputs), dtype=np.int8)
        for name, slot in program.slots.items()
    }


def make_blunt_artefact():
    """Return a program of one stage at scale 2 whose tables repeat the pixel, not very exactly."""
    program = mulut.build_program(read_patterns("s"), stages=1, scale=2, interval=6)
    nodes = next(program.lookups()).lattice.node_samples().astype(float)
    # The last stage sums four turns of entries that span 127: a quarter of code 255 is entry 64.
    repeated = np.rint(nodes[:, :1] / 4).repeat(4, axis=1)
    return Artefact(program, {"stage1/s": repeated.astype(np.int8)}, {"task": "sr-x2", "history": [{"step": "made"}]})


def make_job(folder, photos, artefact=None, recipe=RECIPE):
    return FinetuneJob(
        artefact=artefact or make_blunt_artefact(),
        task=Downscale(2),
        recipe=recipe,
        data=photos,
        val=None,
        seed=3,
        output=folder / "better.h5",
    )


def quietly(job, *, resume=False):
    return finetune(job, CPU, Watch(say=lambda _: None), resume=resume)


def read_log(job):
    """Return the log without times."""
    lines = [json.loads(line) for line in job.log.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def refusal_of(action, *told):
    with pytest.raises(LutkitError) as refusal:
        action()
    message = str(refusal.value)
    assert "\n" not in message
    for words in told:
        assert words in message


def forward_every_way(program, tables, image):
    """Return what finetuning computes of an image (H, W, 3): as it does, and through plain torch ops."""
    planes = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))
    model = TableModel(program, tables)
    slots = program.slots
    fillings = {slot: TableFilling(table, slots[slot].quantiser) for slot, table in model.tables.items()}
    results = (model.run(planes, None), run_program(program, planes, fillings))
    return [result.detach().numpy().transpose(1, 2, 0) for result in results]


@pytest.mark.parametrize("name", PROGRAMS)
def test_forward_is_the_runtimes_on_every_backend(name):
    program = PROGRAMS[name]
    assert claim_program(program) is not None
    tables = make_random_tables(program)
    image = np.random.default_rng(1).integers(0, 256, (13, 11, 3), dtype=np.uint8)
    model = Model(program, tables)
    for backend in ("numpy", "cpu"):
        expected = model.apply(image, backend=backend)
        for result in forward_every_way(program, tables, image):
            assert np.array_equal(result, expected)


@settings(max_examples=15)
@given(filled_programs(), images(largest=6))
def test_forward_is_the_runtimes_for_any_program(filled, image):
    # over the whole range of the stored types, as tables of others are; thresholds follow from the ops
    tables = add_thresholds(filled.program, filled.tables)
    expected = Model(filled.program, tables).apply(image, backend="numpy")
    for result in forward_every_way(filled.program, tables, image):
        assert np.array_equal(result, expected)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_forward_rounds_the_parameters_as_saving_does(seed):
    """Between steps parameters are no integers: what is validated is what they are rounded to."""
    program = PROGRAMS["mulut"]
    model = TableModel(program, make_random_tables(program, seed))
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in model.tables.values():
            table += torch.rand(table.shape, generator=noise) * 6 - 3
            table[0] = torch.round(table[0]) + 0.5  # halves go to even
    model.confine()
    image = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    planes = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))
    result = model.run(planes, None).detach().numpy().transpose(1, 2, 0)
    assert np.array_equal(result, Model(program, model.entries()).apply(image))


def test_programs_that_no_kernel_takes_run_op_by_op(monkeypatch):
    program = PROGRAMS["mulut"]
    tables = {slot: torch.from_numpy(table.astype(np.float32)) for slot, table in make_random_tables(program).items()}
    planes = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 6, 5)).astype(np.float32))
    fused = run_tables(program, planes, tables)
    monkeypatch.setattr("lutkit.trainable.claim_program", lambda _: None)
    assert torch.equal(run_tables(program, planes, tables), fused)


def test_finetuning_improves_what_it_starts_from(tmp_path, photos):
    recipe = msgspec.structs.replace(RECIPE, steps=200, batch=4, crop=16, validate_every=50)
    job = make_job(tmp_path, photos, recipe=recipe)
    result = quietly(job)
    pairs = gather_photos(photos, None, job.task, job.seed).pairs
    assert result.fidelity.gain > 0.5
    for tables, psnr in ((job.artefact.tables, result.fidelity.before), (result.best.tables, result.fidelity.after)):
        restore = Model(job.artefact.program, tables).apply
        assert mean_psnr(score_pairs(restore, pairs, job.task)) == psnr
    assert result.fidelity.after == max(line["psnr"] for line in read_log(job))
    (best,) = [line["step"] for line in read_log(job) if line["psnr"] == result.fidelity.after][:1]
    assert result.best_step == best

    write_finetuned(job, result, overwrite=False)
    written = read_artefact(job.output)
    assert all(np.array_equal(written.tables[slot], table) for slot, table in result.best.tables.items())
    assert not job.checkpoint.exists()
    made, finetuned = written.provenance["history"]
    assert made == {"step": "made"}
    assert finetuned["table_psnr"] == round(result.fidelity.before, 4)
    assert finetuned["finetuned_psnr"] == round(result.fidelity.after, 4)
    assert (finetuned["steps"], finetuned["best_step"], finetuned["images"]) == (200, best, 1)
    assert finetuned["on"] == f"photos held out of {photos.name}"
    assert written.provenance["task"] == "sr-x2"


def test_where_nothing_is_better_the_tables_come_back(tmp_path, photos):
    wild = msgspec.structs.replace(RECIPE, learning_rate=1.0, final_rate=1.0)
    job = make_job(tmp_path, photos, recipe=wild)
    result = quietly(job)
    assert all(line["psnr"] < result.fidelity.before for line in read_log(job))
    assert (result.best_step, result.fidelity.gain) == (0, 0)
    assert result.best.tables.keys() == job.artefact.tables.keys()
    assert all(np.array_equal(result.best.tables[slot], table) for slot, table in job.artefact.tables.items())


@pytest.mark.parametrize("average", [0.0, 0.8])
@pytest.mark.parametrize("stop", [2, 4, 6])
def test_interrupted_and_resumed_equals_one_go(tmp_path, photos, monkeypatch, average, stop):
    recipe = msgspec.structs.replace(RECIPE, average=average)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole, cut = (make_job(tmp_path / name, photos, recipe=recipe) for name in ("whole", "cut"))
    expected = quietly(whole)
    sample, drawn = PatchSource.sample, []

    def sample_and_press(self, *arguments):
        drawn.append(None)
        if len(drawn) == stop:
            signal.raise_signal(signal.SIGINT)
        return sample(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PatchSource, "sample", sample_and_press)
        with pytest.raises(Interrupted):
            quietly(cut)
    assert cut.checkpoint.is_file()
    result = quietly(cut, resume=True)
    assert all(np.array_equal(result.best.tables[slot], table) for slot, table in expected.best.tables.items())
    assert (result.best_step, result.fidelity) == (expected.best_step, expected.fidelity)
    assert read_log(cut) == read_log(whole)


def test_resuming_with_another_recipe_is_refused(tmp_path, photos):
    quietly(make_job(tmp_path, photos))
    other = make_job(tmp_path, photos, recipe=msgspec.structs.replace(RECIPE, batch=3))
    refusal_of(lambda: quietly(other, resume=True), "better-checkpoint.pt", "batch = 2, not 3")


def test_starting_anew_forgets_the_log(tmp_path, photos):
    for _ in range(2):
        quietly(make_job(tmp_path, photos))
    assert [line["step"] for line in read_log(make_job(tmp_path, photos))] == [4, 8, 9]


def test_an_output_that_exists_is_kept(tmp_path, photos):
    job = make_job(tmp_path, photos)
    result = quietly(job)
    job.output.write_text("precious")
    refusal_of(lambda: write_finetuned(job, result, overwrite=False), "better.h5 exists", "-y")
    assert job.output.read_text() == "precious"
    assert job.checkpoint.exists()  # so that the work is not lost
    write_finetuned(job, result, overwrite=True)
    assert read_artefact(job.output).tables.keys() == result.best.tables.keys()


def test_a_full_disk_keeps_old_artefact_and_checkpoint(tmp_path, photos, monkeypatch):
    job = make_job(tmp_path, photos)
    result = quietly(job)
    write_finetuned(job, result, overwrite=False)
    old = job.output.read_bytes()
    quietly(job)

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        refusal_of(lambda: write_finetuned(job, result, overwrite=True), "better.h5", "No space left on device")
    assert job.output.read_bytes() == old
    assert {file.name for file in tmp_path.iterdir()} == {"better.h5", "better-checkpoint.pt", "better-log.jsonl"}


def test_generated_images_are_announced(tmp_path, monkeypatch):
    monkeypatch.setattr(lutkit.photos, "GENERATED_PHOTOS", 2)
    monkeypatch.setattr(lutkit.photos, "GENERATED_SIDE", 64)
    said = []
    finetune(make_job(tmp_path, None), CPU, Watch(say=said.append))
    assert "generated images" in " ".join(said)
    assert "--data DIR" in " ".join(said)


@pytest.fixture
def run(tmp_path, photos):
    """A run folder as transfer leaves it, for denoising at sigma 15."""
    run = Run(tmp_path / "run")
    config = msgspec.structs.replace(make_config(photos, task="denoise"), sigma=15.0, val=str(photos))
    run.write_config(config)
    program = mulut.skeleton(config.model)
    write_artefact(run.table_file, Artefact(program, make_random_tables(program), {"task": "denoise-s15"}))
    return run


def look_for_job(source, **options):
    nothing = {"data": None, "val": None, "sigma": None, "quality": None, "seed": 0, "output": None}
    return find_job(source, RECIPE, **{**nothing, **options})


def test_a_run_tells_what_options_leave_open(run, photos, tmp_path):
    job = look_for_job(run.folder)
    assert (job.task, job.data, job.val) == (AddNoise(15.0), photos, photos)
    assert (job.output, job.checkpoint.parent, job.log.parent) == (run.finetuned_file, run.folder, run.folder)
    assert {job.checkpoint.name, job.log.name} == {"lut-finetuned-checkpoint.pt", "lut-finetuned-log.jsonl"}
    other = look_for_job(run.folder, data=tmp_path, sigma=50.0, output=tmp_path / "o.h5")
    assert (other.task, other.data, other.val) == (AddNoise(50.0), tmp_path, None)
    assert other.output == tmp_path / "o.h5"


def test_a_run_tells_the_crop(run):
    assert look_for_job(run.folder).recipe == msgspec.structs.replace(RECIPE, crop=run.read_config().recipe.crop)
    assert look_for_job(run.table_file).recipe == RECIPE


def test_an_artefact_tells_its_task(run, tmp_path):
    job = look_for_job(run.table_file)
    assert (job.task, job.data, job.val, job.output) == (AddNoise(15.0), None, None, run.folder / "lut-finetuned.h5")
    assert look_for_job(run.table_file, sigma=30.0).task == AddNoise(30.0)
    program = mulut.build_program(read_patterns("s"), stages=1, scale=1, interval=6, task="deblock")
    write_artefact(tmp_path / "foreign.h5", Artefact(program, make_random_tables(program)))
    assert look_for_job(tmp_path / "foreign.h5", quality=30).task == CompressJpeg(30)
    assert look_for_job(tmp_path / "foreign.h5").output == tmp_path / "foreign-finetuned.h5"


def test_sources_without_tables_are_refused(run, tmp_path):
    refusal_of(lambda: look_for_job(tmp_path / "nowhere"), "there is no", "nowhere", "lutkit train")
    refusal_of(lambda: look_for_job(tmp_path), "is no run folder")
    run.table_file.write_bytes(b"damaged")
    refusal_of(lambda: look_for_job(run.folder), "lut.h5")
    run.table_file.unlink()
    refusal_of(lambda: look_for_job(run.folder), "holds no lut.h5", f"lutkit transfer {run.folder}")


def test_models_that_nothing_trains_are_refused():
    for source in ("warm-film", find_builtin("warm-film")):
        refusal_of(lambda source=source: look_for_job(source), "warm-film", "colour-lut", "nothing to train")


def test_colour_lut_files_are_refused_as_looks(tmp_path):
    (tmp_path / "look.cube").write_text("LUT_3D_SIZE 2\n" + "0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 0 1\n1 0 1\n0 1 1\n1 1 1\n")
    refusal_of(lambda: look_for_job(tmp_path / "look.cube"), "look.cube", "nothing to train")


@pytest.mark.parametrize("name", ["sr-x2", "retouch"])
def test_builtin_models_are_finetuned_into_the_current_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for source in (name, find_builtin(name)):
        job = look_for_job(source)
        assert job.output == Path(f"{name}-finetuned.h5") and job.checkpoint.parent == Path()
        assert job.artefact.program.family in FAMILIES
    # a file of the name is reached as ./name
    (tmp_path / name).write_bytes(b"none")
    assert look_for_job(name).output == Path(f"{name}-finetuned.h5")
    refusal_of(lambda: look_for_job(f"./{name}"), name)


@pytest.mark.parametrize("change", [{"steps": 0}, {"learning_rate": 2.0}, {"crop": 40}])
def test_impossible_recipes_leave_nothing(tmp_path, photos, change):
    job = make_job(tmp_path, photos, recipe=msgspec.structs.replace(RECIPE, **change))
    refusal_of(lambda: quietly(job))
    assert list(tmp_path.iterdir()) == []


def test_bad_photos_leave_nothing(tmp_path):
    refusal_of(lambda: quietly(make_job(tmp_path, tmp_path / "nowhere")), "nowhere does not exist")
    assert list(tmp_path.iterdir()) == []
    refusal_of(lambda: quietly(make_job(tmp_path, write_photos(tmp_path / "one", count=1, side=64))), "one photo")
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_an_interrupted_finetuning_belongs_to_its_tables_task_and_photos(tmp_path, photos):
    job = make_job(tmp_path, photos)
    quietly(job)
    other = make_blunt_artefact()
    other.tables["stage1/s"][0, 0] += 1
    changes = {
        "tables": {"artefact": other},
        "data = ": {"data": write_photos(tmp_path / "others", count=2, side=64)},
        "val = none": {"val": write_photos(tmp_path / "val", count=1, side=64)},
    }
    for told, change in changes.items():
        different = dataclasses.replace(job, **change)
        refusal_of(lambda different=different: quietly(different, resume=True), "better-checkpoint.pt", told)
    assert describe_job(job)["task"] == "sr-x2"


def test_an_interrupted_finetuning_is_given_up_only_when_asked(tmp_path, photos):
    job = make_job(tmp_path, photos)
    check_free(job, resume=False, overwrite=False)
    job.checkpoint.write_bytes(b"work")
    refusal_of(lambda: check_free(job, resume=False, overwrite=False), "better-checkpoint.pt", "--resume", "-y")
    check_free(job, resume=True, overwrite=False)
    check_free(job, resume=False, overwrite=True)


def test_resuming_without_a_checkpoint_keeps_the_log(tmp_path, photos):
    job = make_job(tmp_path, photos)
    job.log.write_text("kept")
    refusal_of(lambda: quietly(job, resume=True), "better-checkpoint.pt cannot be read")
    assert job.log.read_text() == "kept"


def test_a_run_tells_the_seed_and_an_option_the_crop(run):
    run.write_config(msgspec.structs.replace(run.read_config(), seed=7))
    assert look_for_job(run.folder, seed=None).seed == 7
    assert look_for_job(run.folder, seed=1).seed == 1
    assert look_for_job(run.table_file, seed=None).seed == 0
    assert look_for_job(run.folder, crop=5).recipe.crop == look_for_job(run.table_file, crop=5).recipe.crop == 5


def test_options_of_another_task_are_refused(run):
    refusal_of(lambda: look_for_job(run.folder, quality=10), "--quality belongs to task deblock", "denoise")
    refusal_of(lambda: look_for_job(run.table_file, quality=10), "--quality belongs to task deblock", "denoise")


def test_a_teacher_gives_the_targets(tmp_path):
    """Tables that are the teacher's have nothing to learn; others come closer to it than photos would bring them."""
    photos = write_photos(tmp_path / "photos", count=3, side=40)
    blunt = make_blunt_artefact()
    source = prepare_patches(blunt, photos, tmp_path, Teacher("itself", blunt))
    loss = source.loss(np.random.default_rng(0), 0)
    assert loss.item() == 0.0
    sharp = Artefact(blunt.program, {"stage1/s": np.roll(blunt.tables["stage1/s"], 3, axis=0)})
    objective = prepare_patches(blunt, photos, tmp_path, Teacher("other", sharp))
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    loss = objective.loss(rng, 0)
    rng.bit_generator.state = state
    degraded, _ = objective._source.sample(rng, RECIPE.batch, RECIPE.crop)
    expected = [
        (Model(each.program, each.tables).apply(np.ascontiguousarray(plane)).astype(float) / 255)
        for plane in degraded
        for each in (blunt, sharp)
    ]
    squares = [(ours - its) ** 2 for ours, its in zip(expected[::2], expected[1::2], strict=True)]
    assert loss.item() == pytest.approx(np.mean(squares), rel=1e-5)


def prepare_patches(artefact, photos, folder, teacher):
    job = dataclasses.replace(make_job(folder, photos, artefact), teacher=teacher)
    workbench = SpatialWorkbench(find_family("mulut"))
    return workbench.prepare_finetuning(job, CPU, Watch(say=lambda _: None)).training.objective


def test_a_teacher_of_another_task_is_refused(tmp_path):
    photos = write_photos(tmp_path / "photos", count=3, side=40)
    other = Artefact(PROGRAMS["sr-lut as published"], make_random_tables(PROGRAMS["sr-lut as published"]))
    refusal_of(
        lambda: prepare_patches(make_blunt_artefact(), photos, tmp_path, Teacher("x3", other)),
        "x3",
        "scale 3",
        "scale 2",
    )
