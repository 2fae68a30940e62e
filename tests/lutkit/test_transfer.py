"""Transfer: every table entry is the quantised output of the network at its node; what it costs is written down."""

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_training import make_config  # noqa: E402

import lutkit.spatial_transfer  # noqa: E402
from lutkit.configuration import RunConfig  # noqa: E402
from lutkit.evaluate import Pair, make_pairs, mean_psnr, score_pairs  # noqa: E402
from lutkit.families import find_family  # noqa: E402
from lutkit.spatial_transfer import make_artefact, measure_transfer, transfer_networks  # noqa: E402
from lutkit.trainable import NetworkModel, round_tables  # noqa: E402
from lutkit_runtime.artefact import read_artefact, write_artefact  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.errors import ArtefactError, LutkitError  # noqa: E402

TIE = 1e-3
"""Where float32 and float64 may round to different neighbours: this close to the middle between two levels."""

ONE = ((0, 0),)
TWO = ((0, 0), (0, 1))
CASES = [
    *(((ONE, TWO), interval) for interval in range(2, 9)),
    *((("s",), interval) for interval in range(4, 9)),
    ((((0, 0), (0, 1), (-1, 0)),), 5),
]


def make_networks(config: RunConfig) -> NetworkModel:
    """Return random networks with large outputs, so that levels of either sign and the clamp occur."""
    torch.manual_seed(2)
    model = NetworkModel(find_family(config.family), config.model)
    with torch.no_grad():
        for name, value in model.module.state_dict().items():
            value *= 3 if "leave.weight" in name else 1
            value += 0.1 * torch.randn_like(value)
    return model


def evaluate_dense(state, samples):
    """The dense block in float64, in other words than the network's: returns outputs for samples 0 to 1."""
    weights = {name: value.double().numpy() for name, value in state.items()}
    features = np.maximum(samples @ weights["enter.weight"].T + weights["enter.bias"], 0)
    for layer in range(4):
        new = features @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"]
        features = np.hstack([features, np.maximum(new, 0)])
    return np.tanh(features @ weights["leave.weight"].T + weights["leave.bias"])


def evaluate_plain(state, samples):
    """The plain block in float64."""
    weights = {name: value.double().numpy() for name, value in state.items()}
    features = samples
    for name in ("enter", "hidden.0", "hidden.1", "hidden.2", "hidden.3"):
        features = np.maximum(features @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], 0)
    return features @ weights["leave.weight"].T + weights["leave.bias"]


def assert_entries_are_outputs(table, outputs):
    """Compare a table with outputs at its nodes: equal to the rounded ones, but for ties that float32 cannot see."""
    exact = 127 * np.clip(outputs, -1, 1)
    assert table.dtype == np.int8
    assert table.shape == exact.shape
    assert np.abs(table - exact).max() <= 0.5 + TIE
    clear = np.abs(np.abs(exact - np.floor(exact)) - 0.5) > TIE
    assert np.array_equal(table[clear], np.rint(exact)[clear])
    assert clear.mean() > 0.98
    assert np.unique(table).size > 1  # a table of one value would prove nothing


def nodes_of(samples, interval):
    """Every combination of node codes, the first sample slowest; the last node is evaluated at 255."""
    codes = [min(code, 255) for code in range(0, 257, 2**interval)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*[codes] * samples, indexing="ij")], axis=-1)


@pytest.mark.parametrize(("patterns", "interval"), CASES)
def test_network_and_table_agree_at_every_node(patterns, interval):
    model = make_networks(make_config(None, patterns=patterns, stages=2))
    program, tables = transfer_networks(model, interval)
    assert tables.keys() == program.slots.keys()
    for lookup in program.lookups():
        network = model.fillings[lookup.slot].network
        samples = nodes_of(lookup.pattern.samples, interval)
        assert lookup.lattice.interval == interval
        assert_entries_are_outputs(tables[lookup.slot], evaluate_dense(network.state_dict(), samples / 255))


def test_outputs_beyond_one_are_clamped():
    config = msgspec.structs.replace(make_config(None, width=16), family="sr-lut")
    model = make_networks(config)
    _, tables = transfer_networks(model, 6)
    outputs = evaluate_plain(model.fillings["stage1/s"].network.state_dict(), nodes_of(4, 6) / 255)
    assert np.abs(outputs).max() > 1
    assert_entries_are_outputs(tables["stage1/s"], outputs)


@pytest.mark.parametrize("rows", [1, 7, 100, 624])
def test_batches_do_not_matter(monkeypatch, rows):
    model = make_networks(make_config(None))
    _, whole = transfer_networks(model, 6)
    monkeypatch.setattr(lutkit.spatial_transfer, "ROWS_AT_ONCE", rows)
    _, parts = transfer_networks(model, 6)
    outputs = evaluate_dense(model.fillings["stage1/s"].network.state_dict(), nodes_of(4, 6) / 255)
    # A matrix product of other size adds up in other order, which shows at a tie only.
    assert_entries_are_outputs(parts["stage1/s"], outputs)
    assert np.mean(parts["stage1/s"] != whole["stage1/s"]) < 0.001


def test_training_through_tables_sees_the_tables_of_transfer():
    model = make_networks(make_config(None))
    _, transferred = transfer_networks(model, 5)
    seen = round_tables(model.program_at(5), model.tables(5))
    assert np.mean(seen["stage1/s"] != transferred["stage1/s"]) < 0.001


def test_a_table_of_every_code_is_the_network():
    """With a node at every code nothing is interpolated: table and network give the same picture."""
    model = make_networks(make_config(None, patterns=(TWO,), stages=2))
    program, tables = transfer_networks(model, 0)
    image = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    assert np.mean(Model(program, tables).apply(image) != model.restore(image)) < 0.01


def test_lattices_that_no_artefact_holds_are_refused_before_the_work(monkeypatch):
    model = make_networks(make_config(None))
    monkeypatch.setattr(model.fillings["stage1/s"], "entries", lambda _: pytest.fail("the network was evaluated"))
    with pytest.raises(ArtefactError, match="choose a larger interval"):
        transfer_networks(model, 1)
    with pytest.raises(LutkitError, match="choose a larger interval"):
        transfer_networks(model, 0)


def test_the_report_is_measured_and_goes_into_the_provenance(tmp_path, photos):
    config = make_config(photos)
    model = make_networks(config)
    program, tables = transfer_networks(model, 6)
    pairs = make_pairs(photos, config.task, seed=0, limit=2)
    fidelity = measure_transfer(model, program, tables, pairs, config.task, "photos of mine")
    assert fidelity.before == mean_psnr(score_pairs(model.restore, pairs, config.task))
    assert fidelity.after == mean_psnr(score_pairs(Model(program, tables).apply, pairs, config.task))
    assert fidelity.before != fidelity.after
    assert fidelity.gain == fidelity.after - fidelity.before

    write_artefact(tmp_path / "lut.h5", make_artefact(config, 6, program, tables, fidelity))
    artefact = read_artefact(tmp_path / "lut.h5")
    trained, transferred = artefact.provenance["history"]
    assert artefact.provenance["task"] == "sr-x2"
    assert artefact.provenance["data"] == photos.name
    assert (trained["step"], trained["family"], trained["seed"]) == ("train", "mulut", 0)
    assert trained["steps"] == config.recipe.steps
    assert transferred == {
        "step": "transfer",
        "interval": 6,
        "images": 2,
        "on": "photos of mine",
        "network_psnr": round(fidelity.before, 4),
        "table_psnr": round(fidelity.after, 4),
        "receptive_field": 3,
        "table_bytes": 2500,
    }
    assert all(np.array_equal(artefact.tables[slot], table) for slot, table in tables.items())


def test_a_perfect_picture_hides_no_other_and_can_be_written_down(tmp_path):
    config = make_config(None)
    model = make_networks(config)
    program, tables = transfer_networks(model, 6)
    image = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    perfect = Pair("perfect", image, model.restore(image))
    other = Pair("other", image, np.zeros((24, 24, 3), np.uint8))
    (score,) = score_pairs(model.restore, [other], config.task)
    fidelity = measure_transfer(model, program, tables, [perfect, other], config.task, "two")
    assert fidelity.before == pytest.approx((100 + score.psnr) / 2)
    write_artefact(tmp_path / "lut.h5", make_artefact(config, 6, program, tables, fidelity))
