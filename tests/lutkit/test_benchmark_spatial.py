"""The benchmark of planes: networks are what they claim in every program, results are compared with references."""

from pathlib import Path

import numpy as np
import pytest

from lutkit.benchmark import networks, spatial
from lutkit.benchmark.engines import find_present
from lutkit.benchmark.network_reference import evaluate_network
from lutkit.benchmark.plan import Plan
from lutkit.benchmark.running import run_cases
from lutkit.benchmark.spatial import judge_models, make_denoising_case, make_enlarging_case, make_model_case, make_rclut
from lutkit_runtime import load


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 22, 3), np.uint8)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_the_reference_of_a_network_is_that_of_onnx(name: str) -> None:
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    graph = networks.NETWORKS[name](7, 5, 2)
    data = networks.encode_network(graph, 2)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    batch = np.random.default_rng(1).random((3, 1, 7, 5), np.float32)
    (expected,) = reference.ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"in": batch})
    found = evaluate_network(graph, batch)
    assert found.shape == expected.shape == (3, 1, 14, 10)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_the_rows_that_networks_look_at_are_no_more_than_is_said(name: str) -> None:
    graph = networks.NETWORKS[name](spatial.NETWORK_HALO + 1, 3, 4)
    batch = np.zeros(graph.shape)
    before = evaluate_network(graph, batch)
    batch[:, :, -1] = 1
    np.testing.assert_array_equal(evaluate_network(graph, batch)[:, :, :4], before[:, :, :4])


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize("program", ["OpenCV", "ONNX Runtime"])
def test_every_program_runs_the_same_network(name: str, program: str, picture: np.ndarray) -> None:
    make = networks.NETWORKS[name]
    if program == "OpenCV":
        run = networks.make_opencv_network(make, 4)(picture, 1)
    else:
        pytest.importorskip("onnxruntime")
        run = networks.make_onnxruntime(make, 4)(picture, 1)
    planes = evaluate_network(make(30, 22, 4), picture.transpose(2, 0, 1)[:, None] / 255)
    expected = np.floor((planes[:, 0] * 255).clip(0, 255) + 0.5).transpose(1, 2, 0)
    found = run()
    assert found.shape == (120, 88, 3)
    assert found.dtype == np.uint8
    assert expected.std() > 5
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.99


def test_fsrcnn_has_the_published_number_of_weights() -> None:
    # Dong et al., table 2: FSRCNN (56, 12, 4) has 12464 weights; slopes and biases not counted
    graph = networks.make_fsrcnn(4, 4)
    assert sum(array.size for name, array in graph.arrays.items() if array.ndim == 4 and "Conv" in name) == 12464


def test_cases_compare_models_with_numpy_and_mark_what_differs(picture: np.ndarray, tiny_model: Path) -> None:
    model = load(tiny_model)
    plan = Plan(find_present(("lutkit", "numpy")), Path(), (1, 2), size=(60, 44), photo=picture)
    case = make_model_case(plan, model)
    assert case.title == "mulut x2, 22x30 RGB"
    assert case.pixels == 60 * 44
    assert [(it.engine, it.threads) for it in case.contenders] == [("NumPy", 1), ("lutkit", 1), ("lutkit", 2)]
    tables = sum(table.nbytes for table in model.tables.values())
    for contender in case.contenders:
        assert contender.bytes_moved == 30 * 22 * 3 * 5 + tables
        result = contender.run_settled()
        assert case.judge(contender, result).identical == 1
        spoilt = result.copy()
        spoilt[0, 0, 0] ^= 1
        assert case.judge(contender, spoilt).note == "differs"


def test_enlarging_measures_models_networks_and_bicubic(
    picture: np.ndarray, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a small model in place of the built-in ones, whose kernels take long to compile."""
    monkeypatch.setattr(spatial, "SCALE", 2)
    monkeypatch.setattr(spatial, "open_builtin", lambda _name: load(tiny_model))
    plan = Plan(find_present(("lutkit", "opencv", "onnxruntime")), tmp_path, (1,), photo=picture, size=(40, 44))
    case = make_enlarging_case(plan)
    assert case.title == "enlarge x2, 22x20 RGB uint8"
    assert {it.model for it in case.contenders} == {"sr-x4", "rclut", "sr-x4-tiny", "FSRCNN", "ESPCN", "bicubic"}
    for contender in case.contenders:
        result = contender.run_settled()
        assert result.shape == (40, 44, 3)
        verdict = case.judge(contender, result)
        if contender.model == "bicubic":
            assert (verdict.max_difference, verdict.note) == (None, "another method")
        else:
            assert verdict.note == ""
            assert verdict.identical > 0.99


def test_denoising_measures_a_model_and_another_method(
    picture: np.ndarray, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spatial, "open_builtin", lambda _name: load(tiny_model))
    plan = Plan(find_present(("opencv",)), tmp_path, (1,), photo=picture, size=(30, 22))
    case = make_denoising_case(plan)
    (contender,) = case.contenders
    assert contender.run_settled().shape == picture.shape
    assert judge_models(picture, {})(contender, picture).note == "another method"


def test_rclut_of_random_tables_runs(picture: np.ndarray) -> None:
    model = make_rclut()
    assert model.scale == 4
    assert model.apply(picture[:4, :4], backend="numpy").shape == (16, 16, 3)


def test_a_program_that_fails_is_left_out_and_told_of(
    picture: np.ndarray, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_make: object, _scale: int) -> object:
        def prepare(_picture: object, _threads: int) -> None:
            raise RuntimeError("no such\nlayer")

        return prepare

    monkeypatch.setattr(spatial, "SCALE", 2)
    monkeypatch.setattr(spatial, "open_builtin", lambda _name: load(tiny_model))
    monkeypatch.setattr(networks, "make_opencv_network", refuse)
    said: list[str] = []
    rows = run_cases(
        ("enlarge",), engines=("opencv",), threads=(1,), photo=picture, size=(20, 22), rounds=1, announce=said.append
    )
    assert [row["model"] for row in rows] == ["bicubic"]
    assert said[1:] == [
        f"Left out: OpenCV {name}, enlarge x2, 11x10 RGB uint8: RuntimeError: no such layer"
        for name in networks.NETWORKS
    ]


def test_a_gpu_is_one_more_engine(picture: np.ndarray, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny_model)
    asked: list[str] = []
    apply = type(model).apply

    def apply_anywhere(self: object, image: np.ndarray, *, backend: str, threads: int) -> np.ndarray:
        asked.append(backend)
        return apply(self, image, backend="numpy", threads=threads)

    case = make_model_case(Plan({"cuda": "1", "numpy": "2"}, Path(), (1, 2), photo=picture, size=(20, 22)), model)
    monkeypatch.setattr(type(model), "apply", apply_anywhere)
    results = {(each.engine, each.threads): each.run_settled() for each in case.contenders}
    assert asked == ["numpy", "cuda"]
    assert set(results) == {("NumPy", 1), ("lutkit CUDA", 1)}
