"""HDRNet from training to apply: a local operator is learned, stored, finetuned; what cannot be trained is refused."""

import cv2
import msgspec
import numpy as np
import pytest
from bilateral_models import make_bilateral
from small_training import write_photos

torch = pytest.importorskip("torch")

from lutkit.bilateral.model import BilateralModel, BilateralModule, fuse_grids, shrink_nearest  # noqa: E402
from lutkit.bilateral.parts import find_parts, store_values  # noqa: E402
from lutkit.colour.local_contrast import enhance_detail, split_luma  # noqa: E402
from lutkit.colour_metrics import psnr_rgb  # noqa: E402
from lutkit.configuration import RunConfig  # noqa: E402
from lutkit.degradation import make_task  # noqa: E402
from lutkit.families import find_family, hdrnet  # noqa: E402
from lutkit.families.hdrnet import HdrnetConfig  # noqa: E402
from lutkit.finetune import finetune, write_finetuned  # noqa: E402
from lutkit.recipe import ColourRecipe  # noqa: E402
from lutkit.run import Run  # noqa: E402
from lutkit.train import train  # noqa: E402
from lutkit.transfer import transfer  # noqa: E402
from lutkit.workbench import FinetuneJob, OptionError, TransferOptions, Watch, find_workbench  # noqa: E402
from lutkit_runtime.artefact import Artefact, read_artefact  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402
from lutkit_runtime.ops import ColourMatrix, GridFusion  # noqa: E402
from lutkit_runtime.ops.predictor import Sampling, sample_thumbnail  # noqa: E402
from lutkit_runtime.table_coding import Storage  # noqa: E402

CPU = torch.device("cpu")
QUIET = Watch(say=lambda _line: None)
CONFIG = HdrnetConfig(spatial=8, levels=4, width=2, start="identity", task="detail")
RECIPE = ColourRecipe(
    steps=120,
    batch=2,
    learning_rate=3e-3,
    final_rate=1e-4,
    validate_every=60,
    smoothness=0.0,
    monotonicity=0.0,
    longest_side=64,
    crop_ratio=(1.0, 1.0),
    flip=0.0,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos whose left half is to become darker and whose right half is to become brighter: no colour map does that."""
    folder = tmp_path_factory.mktemp("sides")
    write_photos(folder / "input", count=4, side=64)
    (folder / "after").mkdir()
    gain = np.linspace(0.4, 1.3, 64)[None, :, None]
    for path in (folder / "input").iterdir():
        cv2.imwrite(str(folder / "after" / path.name), np.clip(cv2.imread(str(path)) * gain, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, photos):
    run = Run(tmp_path_factory.mktemp("run") / "hdrnet")
    train(run, make_config(photos), CPU, QUIET)
    return run


def make_config(data, recipe=RECIPE, **model):
    model = msgspec.structs.replace(CONFIG, **model)
    return RunConfig(family="hdrnet", model=model, recipe=recipe, data=str(data), val=str(data))


def prepare(artefact, data, folder):
    job = FinetuneJob(artefact, make_task("retouch", 1), RECIPE, data, data, 0, folder / "out.h5")
    return find_workbench(hdrnet).prepare_finetuning(job, CPU, QUIET)


def test_what_depends_on_the_place_is_learned(run, photos):
    artefact, fidelity = transfer(run, run.read_config(), TransferOptions())
    assert fidelity.after > 25 and abs(fidelity.gain) < 0.01
    model = Model(artefact.program, artefact.tables)
    before, after = (cv2.imread(str(next((photos / name).iterdir())))[..., ::-1].copy() for name in ("input", "after"))
    assert psnr_rgb(model.apply(before), after) > psnr_rgb(before, after) + 6


def test_storage_costs_what_is_said_and_finetuning_wins_back_what_is_lost(run, photos, tmp_path):
    artefact, fidelity = transfer(run, run.read_config(), TransferOptions(storage="int8"))
    parts = find_parts(artefact.program)
    assert set(parts.storages.values()) == {Storage.INT8, Storage.FLOAT32} and parts.storages["mix"] is Storage.FLOAT32
    assert 0 < fidelity.table_error <= max(coding.step for coding in parts.codings.values()) / 2 * 1.001
    values = parts.decode(artefact.tables)
    values["columns"][0] *= 0.88  # darker everywhere: something to be won back
    worse = Artefact(*store_values(artefact.program, values, artefact.tables), artefact.provenance)
    recipe = msgspec.structs.replace(RECIPE, steps=60, validate_every=20, learning_rate=1e-3)
    job = FinetuneJob(worse, make_task("detail", 1), recipe, photos, photos, 0, tmp_path / "better.h5")
    result = finetune(job, CPU, QUIET)
    write_finetuned(job, result, overwrite=False)
    better = read_artefact(job.output)
    assert find_parts(better.program).storages == parts.storages
    assert result.fidelity.after > result.fidelity.before + 2
    assert better.provenance["history"][-1]["finetuned_psnr"] == pytest.approx(result.fidelity.after, abs=1e-3)


def test_finetuning_computes_what_apply_does_at_any_strength(photos, tmp_path):
    artefact = make_bilateral()
    finetuning = prepare(artefact, photos, tmp_path)
    objective = finetuning.training.objective
    with torch.no_grad():
        for table in objective.model.module.tables.values():
            table.add_(torch.linspace(-0.05, 0.05, table.numel()).view_as(table))
    picture = np.random.default_rng(0).random((40, 30, 3), np.float32)
    outputs, _ = objective.model.run([torch.from_numpy(picture.transpose(2, 0, 1).copy())])
    expected = Model(finetuning.program(), finetuning.tables()).apply(picture)
    assert np.array_equal(outputs[0].detach().numpy().transpose(1, 2, 0), expected)
    assert {op.output for op in finetuning.program().ops} == {op.output for op in artefact.program.ops}


def test_finetuning_refuses_what_it_does_not_compute(photos, tmp_path):
    artefact = make_bilateral()
    extra = ColourMatrix(
        input=artefact.program.output, matrix=((1, 0, 0), (0, 1, 0), (0, 0, 1)), offset=(0, 0, 0), output="last"
    )
    program = msgspec.structs.replace(artefact.program, ops=(*artefact.program.ops, extra), output="last")
    with pytest.raises(DataError, match="does something else"):
        prepare(Artefact(program, artefact.tables), photos, tmp_path)


def test_values_that_are_stored_come_back():
    artefact = make_bilateral()
    parts = find_parts(artefact.program)
    values = parts.decode(artefact.tables)
    program, tables = store_values(artefact.program, values, artefact.tables)
    again = find_parts(program).decode(tables)
    for name, table in values.items():
        np.testing.assert_allclose(again[name], table, rtol=0, atol=find_parts(program).codings[name].step / 2 + 1e-7)


@pytest.mark.parametrize(
    ("changes", "model", "named"),
    [
        ({"monotonicity": 1.0}, {}, "no cubes whose steps"),
        ({"batch": 1}, {"batch_norm": True}, "batches of at least 2"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_read(tmp_path, changes, model, named):
    config = make_config(tmp_path / "missing", msgspec.structs.replace(RECIPE, **changes), **model)
    with pytest.raises(DataError, match=named):
        train(Run(tmp_path / "run"), config, CPU, QUIET)


def test_one_picture_of_a_shared_batch_is_too_few_for_batch_normalisation():
    """Several processes share a batch: the recipe cannot tell how many pictures each has."""
    module = BilateralModule(msgspec.structs.replace(CONFIG, batch_norm=True))
    pictures = list(torch.rand(2, 3, 9, 8))
    assert module.predict(pictures).shape == (2, CONFIG.terms, 64)
    with pytest.raises(DataError, match="at least 2 pictures of a batch in each process"):
        module.predict(pictures[:1])
    assert module.eval().predict(pictures[:1]).shape == (1, CONFIG.terms, 64)


def test_a_photo_smaller_than_the_grid_is_named(tmp_path):
    write_photos(tmp_path / "photos", count=3, side=64)
    cv2.imwrite(str(tmp_path / "photos" / "stamp.png"), np.zeros((7, 30, 3), np.uint8))
    config = msgspec.structs.replace(make_config(tmp_path / "photos"), val=None)
    with pytest.raises(DataError, match=r"stamp\.png has 30x7 pixels .* grid of 8 x 8"):
        train(Run(tmp_path / "run"), config, CPU, QUIET)


def test_options_of_other_families_are_refused(run):
    for options, named in (
        ({"interval": 4}, "no lattice"),
        ({"diagonal": 2}, "no tables of samples"),
    ):
        with pytest.raises(OptionError, match=named):
            transfer(run, run.read_config(), TransferOptions(**options))


@pytest.mark.parametrize("task", ["sr", "denoise"])
def test_other_tasks_are_refused(task):
    with pytest.raises(DataError, match=f"cannot learn task '{task}'"):
        find_family("hdrnet").configure("quick", task)


def test_smoothness_is_the_mean_squared_step_along_each_axis():
    model = BilateralModel(BilateralModule(CONFIG))
    grids = torch.zeros(2, 8, 8, 4, 12)
    grids[:, :, 4:] = 1.0
    recipe = msgspec.structs.replace(RECIPE, smoothness=3.0)
    assert float(model.regularise(grids, recipe)) == pytest.approx(3 / 7)
    assert float(model.regularise(grids, RECIPE)) == 0


def test_thumbnails_are_those_of_the_runtime():
    picture = np.random.default_rng(1).random((37, 301, 3), np.float32)
    made = shrink_nearest(torch.from_numpy(picture.transpose(2, 0, 1).copy()), 256)
    expected = sample_thumbnail(picture, 256, Sampling.NEAREST)
    assert np.array_equal(made.numpy().transpose(1, 2, 0), expected)


def test_grids_are_those_of_the_runtime_and_have_their_gradient():
    random = np.random.default_rng(2)
    weights = random.normal(size=(2, 5, 12)).astype(np.float32)
    columns = random.normal(size=(6, 24)).astype(np.float32)
    fusion = GridFusion(weights="w", slot="t", terms=5, rows=3, columns=4, depth=2, output="g")
    made = fuse_grids(torch.from_numpy(weights), torch.from_numpy(columns)).numpy()
    for number in range(2):
        assert np.array_equal(made[number].reshape(3, 4, 2, 12), fusion.fuse(weights[number].reshape(-1), columns))
    doubles = [torch.from_numpy(each[..., :6]).double().requires_grad_() for each in (weights, columns)]
    assert torch.autograd.gradcheck(fuse_grids, doubles)


def test_the_operator_leaves_flat_pictures_flat_and_depends_on_the_surroundings():
    for level in (20, 115, 240):
        flat = enhance_detail(np.full((40, 50, 3), level, np.uint8))
        assert flat.min() == flat.max()
    dark, bright = np.full((64, 64, 3), 100, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    dark[:, 33:], bright[:, 33:] = 10, 190
    assert enhance_detail(dark)[32, 31, 0] > enhance_detail(bright)[32, 31, 0] + 10


def test_the_base_keeps_the_mean_and_is_smooth():
    luma = np.random.default_rng(3).random((80, 80), np.float32) * 0.2 + 0.4
    base = split_luma(luma, 8)
    assert base.std() < 0.35 * luma.std() and abs(base.mean() - luma.mean()) < 0.01


def test_gray_photos_and_small_ones_have_detail():
    task = make_task("detail", 1)
    assert task.aim(np.zeros((3, 2), np.uint8)).shape == (3, 2, 3)
    assert np.array_equal(task.degrade(np.full((2, 2), 7, np.uint8), np.random.default_rng(0)), np.full((2, 2, 3), 7))
