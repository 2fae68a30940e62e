"""Teachers: models of lutkit and ONNX files of others, and what is said of those that cannot be."""

import hashlib

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from onnx_teachers import BAD, identity_between, save_blur, save_exposure, save_gamma, save_halving

from lutkit.cli import main
from lutkit.distil.teacher import open_teacher
from lutkit.models import find_builtin
from lutkit_runtime import load
from lutkit_runtime.errors import DataError, LutkitError

PHOTO = np.random.default_rng(0).integers(0, 65536, (33, 47, 3), dtype=np.uint16)


@pytest.fixture
def runner():
    return CliRunner()


def test_an_onnx_file_answers_what_its_operators_mean(tmp_path):
    path = save_gamma(tmp_path / "gamma.onnx", 0.7)
    teacher = open_teacher([str(path)])
    assert teacher.multiple == 1 and teacher.bytes == path.stat().st_size
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    expected = np.rint(65535 * (PHOTO / 65535) ** 0.7)
    for threads in (None, 1, 2):
        answer = teacher.answer(PHOTO, threads)
        assert answer.dtype == np.uint16
        assert np.abs(answer - expected).max() <= 1
    small = (PHOTO >> 8).astype(np.uint8)
    assert np.abs(teacher.answer(small, None) - 255 * (small / 255) ** 0.7).max() <= 0.51


def test_pictures_keep_rows_columns_and_channels(tmp_path):
    shapes = ([1, 3, None, None], ["N", "C", "H", "W"], [1, 3, "H", "W"])
    for number, shape in enumerate(shapes):
        teacher = open_teacher([str(identity_between(tmp_path / f"{number}.onnx", shape))])
        assert np.array_equal(teacher.answer(PHOTO, None), PHOTO)


@pytest.mark.parametrize(("save", "multiple"), [(save_exposure, 1), (save_blur, 1), (save_halving, 2)])
def test_sides_that_a_network_needs_are_found(tmp_path, save, multiple):
    teacher = open_teacher([str(save(tmp_path / "teacher.onnx"))])
    assert teacher.multiple == multiple
    even = PHOTO[:32, :46]
    assert teacher.answer(even, None).shape == even.shape


def test_a_file_with_weights_beside_it_counts_both(tmp_path):
    import onnx

    path = save_gamma(tmp_path / "gamma.onnx")
    model = onnx.load(str(path))
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 0.7, np.float32), "power"))
    onnx.save(model, str(path), save_as_external_data=True, location="gamma.bin", size_threshold=0)
    teacher = open_teacher([str(path)])
    beside = tmp_path / "gamma.bin"
    assert beside.stat().st_size >= 12
    assert teacher.bytes == path.stat().st_size + beside.stat().st_size
    assert teacher.sha256 == hashlib.sha256(path.read_bytes() + beside.read_bytes()).hexdigest()


@pytest.mark.parametrize("fault", BAD)
def test_bad_onnx_files_are_refused_in_one_line_with_a_remedy(tmp_path, fault):
    make, said = BAD[fault]
    path = make(tmp_path / "bad.onnx")
    with pytest.raises(DataError) as problem:
        open_teacher([str(path)])
    text = str(problem.value)
    assert said in text and str(path) in text and "\n" not in text
    assert any(remedy in text for remedy in ("export it", "check the name"))


def test_the_command_line_says_one_line_and_exits_with_1(tmp_path, runner, capfd):
    make, said = BAD["fixed size"]
    result = runner.invoke(
        main, ["distil", str(make(tmp_path / "bad.onnx")), "--to", "cube", "--run", str(tmp_path / "run")]
    )
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ") and said in line
    assert capfd.readouterr().err == "" and not (tmp_path / "run").exists()


def test_a_runtime_error_of_the_network_is_one_line_too(tmp_path, capfd):
    make, _ = BAD["fails"]
    with pytest.raises(DataError):
        open_teacher([str(make(tmp_path / "bad.onnx"))])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["warm-film", "retouch", "denoise-25"])
def test_built_in_models_answer_as_apply_does(name):
    teacher = open_teacher([name])
    assert np.array_equal(teacher.answer(PHOTO, 1), load(find_builtin(name)).apply(PHOTO))
    assert teacher.label == name and teacher.multiple == 1


def test_models_that_enlarge_are_refused():
    with pytest.raises(DataError, match=r"sr-x4: pictures come out 4 times as large.*keeps their size"):
        open_teacher(["sr-x4"])


def test_names_that_are_nothing_are_refused(tmp_path):
    with pytest.raises(LutkitError, match="there is no model 'no-such'"):
        open_teacher(["no-such"])
    with pytest.raises(DataError, match="there is no file"):
        open_teacher([str(tmp_path / "no.onnx")])


def test_published_files_are_imported(tmp_path):
    from lutkit.colour.lut import ColourLut, Cube, grid
    from lutkit.formats.cube_writer import write_cube

    write_cube(ColourLut(cube=Cube(grid(3).astype(np.float32) * np.float32(0.5))), tmp_path / "half.cube")
    for sources, kind in (([str(tmp_path / "half.cube")], "cube"), ([str(tmp_path / "half.cube")], None)):
        teacher = open_teacher(sources, kind)
        assert np.abs(teacher.answer(PHOTO, None) - PHOTO / 2).max() <= 1
        assert teacher.bytes == (tmp_path / "half.cube").stat().st_size


def test_networks_of_a_run_that_was_not_transferred_are_a_teacher(tmp_path):
    torch = pytest.importorskip("torch")
    from lutkit.checkpoints import save_networks
    from lutkit.colour.model import AdaptiveModule
    from lutkit.configuration import RunConfig
    from lutkit.families import adaptive_3dlut
    from lutkit.families.adaptive_3dlut import AdaptiveConfig
    from lutkit.run import Run

    torch.manual_seed(0)
    config = AdaptiveConfig(luts=2, size=5, spread=0.0, predictor="pooled", dropout=0.0)
    run = Run(tmp_path / "run")
    run.write_config(RunConfig(family="adaptive-3dlut", model=config, recipe=adaptive_3dlut.QUICK))
    save_networks(run.network_file, AdaptiveModule(config).state_dict())
    teacher = open_teacher([str(run.folder)])
    small = (PHOTO >> 8).astype(np.uint8)  # it starts at the identity
    assert np.array_equal(teacher.answer(small, 1), small)
    assert np.abs(teacher.answer(PHOTO, None) / 257 - PHOTO / 257).max() <= 0.51
    assert "torch" in teacher.engine and teacher.bytes == run.network_file.stat().st_size
