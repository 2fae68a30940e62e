"""Windows and one-sample blocks: network and tables say the same for every input, on windows and on whole pictures."""

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lutkit.families import find_family  # noqa: E402
from lutkit.generated import render_dead_leaves  # noqa: E402
from lutkit.spatial_transfer import transfer_networks  # noqa: E402
from lutkit.trainable import NetworkModel  # noqa: E402
from lutkit_runtime.engine import Model  # noqa: E402
from lutkit_runtime.ops import Lookup, ReconstructedConvolution  # noqa: E402

SIZES = ((1, 1), (2, 9), (13, 4), (21, 26))


def make_networks(**fields) -> NetworkModel:
    """Return an RCLUT whose random functions are neither flat nor straight."""
    torch.manual_seed(5)
    family = find_family("rclut")
    config = msgspec.structs.replace(family.defaults, interval=6, width=8, window_width=8, scale=2, **fields)
    model = NetworkModel(family, config)
    with torch.no_grad():
        for name, value in model.module.state_dict().items():
            if "window" in name and "leave" in name:
                value += 2 * torch.randn_like(value)
    return model


def render(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a crop of a generated picture, (height, width, 3)."""
    return np.ascontiguousarray(render_dead_leaves(random, 32, 32)[:height, :width])


def evaluate_functions(network, activation: bool) -> np.ndarray:
    """Return the functions of a window at all codes in float64, (positions, 256), layer by layer and code by code."""
    weights = {name: value.double().numpy() for name, value in network.state_dict().items()}
    values = np.empty((len(weights["line"]), 256))
    for position in range(len(values)):
        for code in range(256):
            hidden = weights["enter_weight"][position] * (code / 255) + weights["enter_bias"][position]
            hidden = np.maximum(hidden, 0) if activation else hidden
            values[position, code] = hidden @ weights["leave_weight"][position] + weights["leave_bias"][position]
            values[position, code] += weights["line"][position] * code / 255
    return values


def convolve(op: ReconstructedConvolution, quantised: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Return codes from functions of fake-quantised values, pixel by pixel, as the facts of the method have it."""
    codes = np.empty(plane.shape, int)
    for row, column in np.ndindex(plane.shape):
        seen = [
            plane[min(max(row + y, 0), plane.shape[0] - 1), min(max(column + x, 0), plane.shape[1] - 1)]
            for y, x in op.offsets
        ]
        mean = np.mean([quantised[position, code] for position, code in enumerate(seen)])
        codes[row, column] = round(127 * np.tanh(mean)) + 127
    return codes


@pytest.fixture(scope="module", params=[{}, {"activation": False, "compat": True, "squash": False}])
def transferred(request):
    model = make_networks(**request.param)
    program, tables = transfer_networks(model, 6)
    return model, program, tables, request.param.get("activation", True)


def test_every_position_holds_its_function_of_all_codes(transferred):
    model, program, tables, activation = transferred
    for op in program.table_ops():
        if isinstance(op, ReconstructedConvolution):
            scale = op.unit / op.positions
            assert np.log2(scale) == round(np.log2(scale))
            expected = evaluate_functions(model.fillings[op.slot].network, activation) * scale
            found = tables[op.slot].reshape(op.positions, 256)
            assert found.dtype == np.int16
            assert np.abs(expected).max() < 32768
            # float32 and float64 may fall on two sides of the middle between integers
            assert np.abs(found - expected).max() < 0.5 + 0.01
            assert (found == np.rint(expected)).mean() > 0.99


@pytest.mark.parametrize("size", SIZES)
def test_code_maps_of_network_and_tables_are_equal(transferred, size):
    _, program, tables, _ = transferred
    random = np.random.default_rng(sum(size))
    planes = [random.integers(0, 256, size, np.uint8), render(random, *size)[:, :, 0]]
    for op in program.table_ops():
        if isinstance(op, ReconstructedConvolution):
            quantised = tables[op.slot].reshape(op.positions, 256) / (op.unit / op.positions)
            for plane in planes:
                found = op.reference({op.input: plane}, tables)
                np.testing.assert_array_equal(found, convolve(op, quantised, plane))


def test_one_sample_blocks_hold_what_the_network_gives_for_every_code(transferred):
    model, program, tables, _ = transferred
    found = 0
    for op in program.lookups():
        samples = np.minimum(np.arange(op.entries), 255)[:, None] if op.pattern.samples == 1 else op.node_samples()
        with torch.no_grad():
            entries = model.fillings[op.slot].entries(torch.from_numpy(samples.astype(np.float32))).numpy()
        np.testing.assert_array_equal(tables[op.slot], entries)
        found += op.pattern.samples == 1
    assert found == 2


def test_a_program_of_windows_and_one_sample_blocks_loses_nothing():
    """Without tables of four samples, networks and tables are one function: whole pictures are equal, borders too."""
    model = make_networks()
    single = {op.slot for op in model.program.lookups() if op.pattern.samples == 1}
    program, tables = transfer_networks(model, 6)
    # a lookup of four samples is taken out by a network, and so a table, of zeros
    for slot, filling in model.fillings.items():
        if slot not in single and any(isinstance(op, Lookup) and op.slot == slot for op in program.lookups()):
            with torch.no_grad():
                for name, value in filling.network.named_parameters():
                    value.zero_() if "leave" in name else None
    program, tables = transfer_networks(model, 6)
    random = np.random.default_rng(0)
    for size in SIZES:
        for picture in (random.integers(0, 256, (*size, 3), np.uint8), render(random, *size)):
            np.testing.assert_array_equal(model.restore(picture), Model(program, tables).apply(picture))


def test_extra_tanh_is_composed_into_the_next_table():
    model = make_networks()
    program, _ = transfer_networks(model, 6)
    op = next(op for op in program.lookups() if op.pattern.samples == 1)
    filling = model.fillings[op.slot]
    codes = torch.arange(256).float()[:, None]
    with torch.no_grad():
        plain = filling.network(torch.tanh(codes / 255))
        assert torch.equal(filling.entries(codes), torch.round(plain.clip(-1, 1) * 127))


def test_int8_windows_are_an_option_whose_unit_is_smaller():
    model = make_networks()
    wide, _ = transfer_networks(model, 6)
    narrow, tables = transfer_networks(model, 6, storage="int8")
    for before, after in zip(wide.table_ops(), narrow.table_ops(), strict=True):
        if isinstance(after, ReconstructedConvolution):
            assert tables[after.slot].dtype == np.int8
            assert after.unit * 256 == before.unit
            assert np.abs(tables[after.slot]).max() >= 63
