"""What PairLIE learns: its loss, its start, its exposures, the grids that it is compiled into."""

import cv2
import msgspec
import numpy as np
import pytest
from small_training import write_exposures, write_photos

torch = pytest.importorskip("torch")

from lutkit.bilateral.lit import LitModel, LitModule, illuminate  # noqa: E402
from lutkit.bilateral.workbench import fill_program, read_values  # noqa: E402
from lutkit.families import pairlie  # noqa: E402
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
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.errors import DataError, LutkitError  # noqa: E402
from lutkit_runtime.ops import Illuminate  # noqa: E402
from lutkit_runtime.table_coding import Storage, TableCoding  # noqa: E402


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
@pytest.mark.parametrize("rate", [0.0, -1.0, 101.0, float("nan"), float("inf")])
def test_rates_out_of_range_are_refused(field, rate):
    with pytest.raises(DataError, match=rf"{field} = .*; above 0 to 100 is possible"):
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
    with pytest.raises(DataError, match="none shows the scene well lit"):
        find_scene_pairs(tmp_path)


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
