"""Image-adaptive 3D LUTs from training to apply: pairs, spoilt photos, two sets; transfer, storage, finetuning."""

import json
import shutil

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from colour_models import TETRAHEDRAL, make_adaptive
from small_training import run_lutkit, write_photos

torch = pytest.importorskip("torch")

from lutkit.cli import main  # noqa: E402
from lutkit.colour.model import AdaptiveModel, AdaptiveModule, flatten_tables, stack_tables, start_tables  # noqa: E402
from lutkit.colour.objectives import PairedObjective, UnpairedObjective  # noqa: E402
from lutkit.colour.pairs import gather_pictures  # noqa: E402
from lutkit.colour.pictures import PictureCache, find_pair_folders, match_pairs, read_colours  # noqa: E402
from lutkit.colour.sampling import PictureSource  # noqa: E402
from lutkit.colour.workbench import count_training_visits, load_model, measure_resemblance  # noqa: E402
from lutkit.configuration import RunConfig  # noqa: E402
from lutkit.degradation import Retouch  # noqa: E402
from lutkit.families import adaptive_3dlut  # noqa: E402
from lutkit.families.adaptive_3dlut import AdaptiveConfig  # noqa: E402
from lutkit.finetune import find_job, finetune, write_finetuned  # noqa: E402
from lutkit.loop import Loop  # noqa: E402
from lutkit.recipe import ColourRecipe  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.train import train  # noqa: E402
from lutkit.transfer import transfer  # noqa: E402
from lutkit.workbench import FinetuneJob, TransferOptions, Watch, find_workbench  # noqa: E402
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact  # noqa: E402
from lutkit_runtime.cube import CubeInterpolation  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402
from lutkit_runtime.ops import ColourLookup, TableFusion  # noqa: E402
from lutkit_runtime.ops.colour_lookup import Domain  # noqa: E402
from lutkit_runtime.program import Parameter  # noqa: E402
from lutkit_runtime.table_coding import Storage, encode_table  # noqa: E402

CPU = torch.device("cpu")
QUIET = Watch(say=lambda _line: None)
CONFIG = AdaptiveConfig(luts=2, size=5, spread=0.02, dropout=0.1)
RECIPE = ColourRecipe(
    steps=6, batch=1, learning_rate=2e-5, final_rate=1e-6, validate_every=3, table_rate=50.0, longest_side=48
)


def brighten(image):
    """Change colours as a simple retouch does, exactly what a small cube can say."""
    return np.rint(255 * (0.1 + 0.8 * image / 255.0)).astype(np.uint8)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_photos(folder / "input", count=4, side=64)
    (folder / "after").mkdir()
    for path in (folder / "input").iterdir():
        cv2.imwrite(str(folder / "after" / path.name), brighten(cv2.imread(str(path))))
    return folder


def make_config(data, recipe=RECIPE, **model):
    return RunConfig(
        family="adaptive-3dlut",
        model=msgspec.structs.replace(CONFIG, **model),
        recipe=recipe,
        data=str(data) if data else None,
        val=str(data) if data else None,
    )


def make_run(folder, config):
    run = Run(folder)
    train(run, config, CPU, QUIET)
    return run


def make_source(pairs, recipe=RECIPE, *, paired=True):
    return gather_pictures(pairs, pairs, Retouch(), recipe, 0, paired=paired).source


def test_training_starts_at_the_identity_and_applies_what_it_is(pairs):
    torch.manual_seed(0)
    model = AdaptiveModel(AdaptiveModule(msgspec.structs.replace(CONFIG, spread=0.0)), CubeInterpolation.TRILINEAR)
    image = read_colours(next((pairs / "input").iterdir()))
    assert np.array_equal(model.restore(image), image)


def test_tables_travel_to_the_runtime_and_back():
    tables = torch.rand(3, 3, 4, 4, 4)
    assert torch.equal(stack_tables(list(flatten_tables(tables).values())), tables)
    flat = flatten_tables(start_tables(1, 3))["basis/0"]
    assert flat[1].tolist() == [0.5, 0, 0] and flat[3].tolist() == [0, 0.5, 0] and flat[9].tolist() == [0, 0, 0.5]


def test_pairs_are_learned_and_transferred_without_loss(tmp_path, pairs):
    recipe = msgspec.structs.replace(RECIPE, steps=150, validate_every=50, brightness=(1, 1), saturation=(1, 1))
    run = make_run(tmp_path / "run", make_config(pairs, recipe))
    log = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    assert log[-1]["psnr"] > log[0]["psnr"] > 0
    config = run.read_config()
    artefact, fidelity = transfer(run, config, TransferOptions())
    assert fidelity.images == 4 and abs(fidelity.gain) < 0.01
    write_artefact(run.table_file, artefact)
    read = read_artefact(run.table_file)
    image = read_colours(next((pairs / "input").iterdir()))
    network = load_model(run, config.model).restore(image)
    for backend in ("numpy", "cpu"):
        applied = Model(read.program, read.tables).apply(image, backend=backend)
        assert np.abs(applied.astype(int) - network).max() <= 1
    assert 0 < read.provenance["visits"]["share"] < 1
    for storage, loss in (("int16", 2e-5), ("int8", 0.01)):
        stored, _ = transfer(run, config, TransferOptions(storage=storage))
        assert stored.tables["basis/0"].dtype == storage
        assert 0 < stored.provenance["history"][-1]["largest_table_error"] < loss


def test_finetuning_goes_on_from_the_artefact_and_helps(tmp_path, pairs):
    run = make_run(tmp_path / "run", make_config(pairs))
    artefact, _ = transfer(run, run.read_config(), TransferOptions(storage="int16"))
    write_artefact(run.table_file, artefact)
    plain = {"brightness": (1, 1), "saturation": (1, 1), "table_rate": 1.0, "monotonicity": 0.1}
    recipe = msgspec.structs.replace(RECIPE, steps=100, validate_every=20, learning_rate=3e-3, **plain)
    job = find_job(run.folder, recipe, data=None, val=None, sigma=None, quality=None, seed=None, output=None)
    result = finetune(job, CPU, QUIET)
    assert result.fidelity.after > result.fidelity.before + 0.5
    write_finetuned(job, result, overwrite=False)
    best = read_artefact(job.output)
    assert best.tables["basis/0"].dtype == np.int16
    assert np.array_equal(best.tables["predictor"], artefact.tables["predictor"])
    assert [step["step"] for step in best.provenance["history"]] == ["train", "transfer", "finetune"]


@pytest.mark.parametrize("training", ["paired", "unpaired"])
def test_resumed_equals_one_go(tmp_path, pairs, training):
    def make_loop(folder, steps):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(1)
        recipe = msgspec.structs.replace(RECIPE, steps=steps, validate_every=2, brightness=(0.6, 1.4))
        config = msgspec.structs.replace(CONFIG, training=training)
        model = AdaptiveModel(AdaptiveModule(config), CubeInterpolation.TRILINEAR)
        source = make_source(pairs, paired=training == "paired")
        objective = (
            PairedObjective(model, recipe, source, adaptive_3dlut.loss)
            if training == "paired"
            else UnpairedObjective(model, recipe, source, 5)
        )
        return Loop(
            objective=objective,
            recipe=recipe,
            unit=1.0,
            validate=lambda step: float(step),
            seed=3,
            checkpoint=folder / "c.pt",
            log=folder / "log.jsonl",
        )

    whole = make_loop(tmp_path / "whole", 4)
    whole.run(resume=False)
    cut = make_loop(tmp_path / "cut", 4)
    seen = []

    def stop(step):
        seen.append(step)
        if step == 4:
            raise RuntimeError("killed")
        return float(step)

    object.__setattr__(cut, "validate", stop)
    with pytest.raises(RuntimeError, match="killed"):
        cut.run(resume=False)
    again = make_loop(tmp_path / "cut", 4)
    torch.manual_seed(99)
    again.run(resume=True)
    first, second = whole.objective.module.state_dict(), again.objective.module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_unpaired_training_needs_no_partners(tmp_path, pairs):
    for path in (pairs / "after").iterdir():
        picture = cv2.imread(str(path))
        (tmp_path / "data" / "good").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "data" / "good" / f"other-{path.name}"), picture)
    (tmp_path / "data" / "input").symlink_to(pairs / "input")
    config = make_config(None, training="unpaired")
    config = msgspec.structs.replace(config, data=str(tmp_path / "data"))
    run = make_run(tmp_path / "run", config)
    artefact, fidelity = transfer(run, run.read_config(), TransferOptions())
    assert fidelity.images == 0
    assert Model(artefact.program, artefact.tables).apply(np.zeros((8, 9, 3), np.uint8)).shape == (8, 9, 3)


def test_transfer_needs_no_training_data(tmp_path, pairs):
    data = shutil.copytree(pairs, tmp_path / "data")
    config = msgspec.structs.replace(make_config(data), val=None)
    run = make_run(tmp_path / "run", config)
    seen = transfer(run, config, TransferOptions())[0].provenance["visits"]
    shutil.move(data, tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"data is gone, .* give --val DIR"):
        transfer(run, config, TransferOptions())
    artefact, fidelity = transfer(run, config, TransferOptions(val=pairs))
    assert artefact.provenance["visits"] == seen and fidelity.images == 4
    run.visits_file.unlink()  # as of a run that was trained before they were kept
    said = []
    artefact, fidelity = transfer(run, config, TransferOptions(val=pairs, say=said.append))
    assert "visits" not in artefact.provenance and fidelity.images == 4
    assert len(said) == 1 and "data" in said[0]
    shutil.move(tmp_path / "elsewhere", data)
    assert transfer(run, config, TransferOptions(val=pairs))[0].provenance["visits"] == seen


def test_what_storage_costs_is_said_without_pairs_too(tmp_path, pairs):
    config = {"model": {"size": 5, "luts": 2}, "recipe": {"longest_side": 48, "batch": 1, "critic_steps": 1}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    options = ("--unpaired", "--data", pairs, "--steps", 1, "--config", "c.json")
    assert run_lutkit("train", "adaptive-3dlut", *options, folder=tmp_path).returncode == 0
    done = run_lutkit("transfer", "--storage", "int8", folder=tmp_path)
    step = read_artefact(tmp_path / "runs" / "default" / "lut.h5").provenance["history"][-1]
    assert step["largest_table_error"] > 0
    assert f"int8 moves table entries by up to {step['largest_table_error']:.2g}" in done.stderr


def make_foreign_artefact(**cube):
    """Return a model whose thumbnails, storages, stretch, interpolation and strength are not what training makes."""
    artefact = make_adaptive(5, TETRAHEDRAL)
    coding, codes = encode_table(artefact.tables["basis/0"], Storage.INT8)
    ops = []
    for op in artefact.program.ops:
        if isinstance(op, TableFusion):
            op = msgspec.structs.replace(op, bases=(msgspec.structs.replace(op.bases[0], coding=coding), op.bases[1]))
        elif isinstance(op, ColourLookup):
            op = msgspec.structs.replace(op, cube=msgspec.structs.replace(op.cube, **{"stretch": 1.0005, **cube}))
        ops.append(op)
    strength = Parameter(name="strength", default=0.5, low=0.0, high=2.0)
    program = msgspec.structs.replace(
        artefact.program, family="adaptive-3dlut", task="retouch", ops=tuple(ops), parameters=(strength,)
    )
    return Artefact(program, {**artefact.tables, "basis/0": codes})


def prepare(artefact, pairs, folder):
    job = FinetuneJob(artefact, Retouch(), RECIPE, pairs, pairs, 0, folder / "out.h5")
    return find_workbench(adaptive_3dlut).prepare_finetuning(job, CPU, QUIET)


def test_finetuning_keeps_the_arithmetic_of_the_artefact(tmp_path, pairs):
    artefact = make_foreign_artefact()
    finetuning = prepare(artefact, pairs, tmp_path)
    objective = finetuning.training.objective
    with torch.no_grad():
        objective.model.bases.add_(
            torch.linspace(-0.1, 0.1, objective.model.bases.numel()).view_as(objective.model.bases)
        )
    program, tables = finetuning.program(), finetuning.tables()
    assert [tables[f"basis/{number}"].dtype for number in (0, 1)] == [np.int8, np.int16]
    for given, made in zip(artefact.program.ops, program.ops, strict=True):
        if isinstance(given, TableFusion):
            assert made.bases != given.bases
            made = msgspec.structs.replace(made, bases=given.bases)
        assert made == given
    assert program.parameters == artefact.program.parameters
    picture = np.random.default_rng(0).random((4, 4, 3), np.float32)  # as large as its thumbnail: reducing it rounds
    outputs, _ = objective.model.run([torch.from_numpy(picture.transpose(2, 0, 1).copy())])
    expected = Model(program, tables).apply(picture)
    assert np.array_equal(outputs[0].detach().numpy().transpose(1, 2, 0), expected)


def test_finetuning_refuses_what_it_does_not_compute(tmp_path, pairs):
    with pytest.raises(DataError, match="does something else"):
        prepare(make_foreign_artefact(domain=Domain((0.0, 0.0, 0.0), (1.0, 1.0, 2.0))), pairs, tmp_path)


def test_resemblance_is_high_for_equal_sets_and_low_for_dark_ones(pairs):
    torch.manual_seed(0)
    model = AdaptiveModel(AdaptiveModule(msgspec.structs.replace(CONFIG, spread=0.0)), CubeInterpolation.TRILINEAR)
    recipe = msgspec.structs.replace(RECIPE, brightness=(1, 1), saturation=(1, 1), crop_ratio=(1, 1), flip=0.0)
    photos = PictureCache([lambda path=path: read_colours(path) for path in sorted((pairs / "input").iterdir())])
    dark = PictureCache([lambda path=path: read_colours(path) // 4 for path in sorted((pairs / "input").iterdir())])
    equal = PictureSource(photos, photos, Retouch(), recipe, paired=True, saturate=True)
    darker = PictureSource(dark, photos, Retouch(), recipe, paired=True, saturate=True)
    assert measure_resemblance(model, equal, 0) > 60
    assert measure_resemblance(model, darker, 0) < 20


def test_visited_cells_are_those_of_the_inputs(pairs):
    black = PictureCache([lambda: np.zeros((4, 4, 3), np.uint8), lambda: np.full((4, 4, 3), (255, 0, 0), np.uint8)])
    source = PictureSource(black, black, Retouch(), RECIPE, paired=True, saturate=True)
    visits = count_training_visits(source, 5, 0)
    assert visits.sum() == 32 and visits[0, 0, 0] == visits[0, 0, 3] == 16


def test_augmentation_stays_in_range_and_keeps_pairs_together(pairs):
    source = make_source(pairs, msgspec.structs.replace(RECIPE, brightness=(1, 1), saturation=(1, 1)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        before, after = source.sample(rng)
        assert before.shape == after.shape and before.dtype == np.float32
        assert min(before.shape[1:]) >= round(0.6 * 48) and max(before.shape[1:]) <= 48
        assert np.abs(after - (0.1 + 0.8 * before)).max() < 0.02
    bright = make_source(pairs, msgspec.structs.replace(RECIPE, brightness=(1.4, 1.4)))
    before, _ = bright.sample(rng)
    assert before.max() <= 1 and before.min() >= 0


def test_sixteen_bit_inputs_keep_their_depth(tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "target").mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "input" / f"{name}.png"), deep)
        cv2.imwrite(str(tmp_path / "target" / f"{name}.png"), (deep >> 8).astype(np.uint8))
    pictures = gather_pictures(tmp_path, None, Retouch(), RECIPE, 0, saturate=False)
    assert pictures.pairs[0].degraded.dtype == np.uint16 and pictures.pairs[0].target.dtype == np.uint8
    assert "held out" in pictures.pairs_description


def test_photos_that_are_validated_on_are_not_trained_on(tmp_path):
    write_photos(tmp_path / "data", count=3, side=16)
    write_photos(tmp_path / "data" / "val", count=2, side=16, seed=9)
    gathered = gather_pictures(tmp_path / "data", tmp_path / "data" / "val", Retouch(), RECIPE, 0)
    assert gathered.description.startswith("3 photos") and len(gathered.pairs) == 2
    with pytest.raises(DataError, match="leaves none to train on"):
        gather_pictures(tmp_path / "data" / "val", tmp_path / "data", Retouch(), RECIPE, 0)


def test_too_few_to_hold_out_are_called_what_they_are(tmp_path):
    write_photos(tmp_path / "photos", count=1, side=16)
    for folder in ("input", "target"):
        write_photos(tmp_path / "pairs" / folder, count=1, side=16)
    for name, what in (("photos", "photo"), ("pairs", "pair")):
        with pytest.raises(DataError, match=f"holds one {what}, .* add {what}s or"):
            gather_pictures(tmp_path / name, None, Retouch(), RECIPE, 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "more").mkdir(), "more"),
        (lambda folder: next((folder / "target").iterdir()).unlink(), "no partner"),
    ],
)
def test_folders_that_are_no_pairs_are_refused(tmp_path, change, told):
    write_photos(tmp_path / "input", count=2, side=16)
    write_photos(tmp_path / "target", count=2, side=16)
    assert len(match_pairs(find_pair_folders(tmp_path))) == 2
    change(tmp_path)
    with pytest.raises(DataError, match=told):
        match_pairs(find_pair_folders(tmp_path))


def call_lutkit(*arguments):
    """Run a command in this process, where torch is imported already."""
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def test_the_four_verbs_and_eval_on_the_command_line(tmp_path, pairs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"model": {"size": 5, "luts": 2}, "recipe": {"longest_side": 48, "batch": 1}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    train_it = ("train", "adaptive-3dlut", "--data", pairs, "--val", pairs, "--steps", 2, "--config", "c.json")
    finetune_it = ("finetune", "--steps", 2, "--batch", 1)
    for command in (train_it, ("transfer",), finetune_it):
        done = call_lutkit(*command)
        assert done.exit_code == 0, done.stderr
    picture = next((pairs / "input").iterdir())
    done = call_lutkit("apply", picture, "-o", "out.png")
    assert done.exit_code == 0 and cv2.imread(str(tmp_path / "out.png")).shape == (64, 64, 3), done.stderr
    scored = call_lutkit("eval", "runs/default", "--hr", pairs / "after", "--lr", pairs / "input", "--json")
    figures = json.loads(scored.stdout)
    assert {"psnr", "ssim", "delta_e", "images"} == figures.keys() and len(figures["images"]) == 4
    for wrong, told in (
        (("transfer", "--interval", "4"), "leave --interval out"),
        (("transfer", "--lr", pairs, "--val", pairs), "--lr belongs"),
        (("finetune", "--crop", "8"), "leave --crop out"),
    ):
        refused = call_lutkit(*wrong, "-y")
        assert refused.exit_code == 2 and told in refused.stderr
