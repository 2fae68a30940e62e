"""Compression: what is kept, units that follow, nothing lost where nothing can be, networks at the kept nodes only."""

import dataclasses
import itertools

import msgspec
import numpy as np
import pytest

from lutkit.compression import choose_diagonal, compress_artefact, compress_program, compress_tables
from lutkit.families import find_family, mulut, srlut
from lutkit.families.spatial import read_patterns
from lutkit.workbench import OptionError, TransferOptions
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.diagonal import Diagonal
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError, ProgramError
from lutkit_runtime.lattice import Lattice
from lutkit_runtime.ops import Add, Ensemble, Lookup, PixelShuffle, ReconstructedConvolution, Requantise
from lutkit_runtime.ops.reconstructed_convolution import find_thresholds
from lutkit_runtime.pattern import NAMED_PATTERNS, IndexPattern
from lutkit_runtime.program import Program


def make_rclut(interval=6, rc=(3, 5)):
    family = find_family("rclut")
    return family.skeleton(msgspec.structs.replace(family.defaults, rc=rc, wide=5, scale=2, interval=interval))


def make_mulut(interval=6, patterns="sy", stages=2, scale=2):
    return mulut.build_program(read_patterns(patterns), stages=stages, scale=scale, interval=interval)


PROGRAMS = {
    "mulut": make_mulut(),
    "mulut of four and three samples": make_mulut(patterns="sfd"),
    "sr-lut": srlut.build_program("s", scale=3, interval=5),
    "rclut, whose second stage adds tables of one sample": make_rclut(),
    "mulut behind windows": mulut.build_program(read_patterns("sd"), stages=2, scale=2, interval=6, windows=(3, 5)),
}


def fill(program, seed=0, make_entries=None):
    """Return tables at random, those of four samples by a function of the lattice and the outputs where one is given."""
    random = np.random.default_rng(seed)
    tables = {}
    for op in program.inner_ops():
        for name, slot in op.slots.items():
            limits = np.iinfo(slot.dtype)
            tables[name] = random.integers(limits.min // 2, limits.max // 2, slot.shape, slot.dtype, endpoint=True)
        if isinstance(op, ReconstructedConvolution):
            tables[op.post] = find_thresholds(op.positions * 4000.0)
        if isinstance(op, Lookup) and op.pattern.samples == 4 and make_entries:
            tables[op.slot] = make_entries(op.lattice, slot.outputs, random)
    return tables


def make_plane(lattice, outputs, random):
    """Return entries that rise evenly along every axis: any lattice interpolates them exactly."""
    nodes = np.array(list(itertools.product(range(lattice.nodes_per_axis), repeat=4)))
    slopes = random.integers(0, 2, (4, outputs)) * (4 * lattice.step // 64)
    slopes[0] = 4 * lattice.step // 64
    entries = nodes @ slopes + random.integers(10, 50, outputs)
    assert entries.max() <= 127
    return entries.astype(np.int8)


def picture(height=6, width=7, seed=0, low=0, high=255):
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8, endpoint=True)


def run(program, tables, image):
    return Model(program, tables).apply(image, backend="numpy")


@pytest.mark.parametrize("name", PROGRAMS)
def test_evenly_rising_tables_lose_nothing(name):
    """Units are followed right: whatever a picture holds, both lattices answer alike, so the codes are the same."""
    program = PROGRAMS[name]
    tables = fill(program, make_entries=make_plane)
    compressed = compress_program(program, choose_diagonal(program, 1))
    small = compress_tables(program, tables, compressed)
    assert sum(table.size for table in small.values()) < sum(table.size for table in tables.values())
    assert any(op.diagonal for op in compressed.lookups())
    for seed in range(3):
        image = picture(seed=seed)
        expected = run(program, tables, image)
        assert np.unique(expected).size > 5
        np.testing.assert_array_equal(run(compressed, small, image), expected)


@pytest.mark.parametrize(("width", "low", "high"), [(1, 100, 116), (2, 60, 92)])
def test_flat_pictures_lose_nothing(width, low, high):
    """Where all samples of a pattern are within the width, only the fine nodes count, whatever the table holds."""
    program = make_mulut(interval=4, stages=1)
    tables = fill(program)
    compressed = compress_program(program, Diagonal(width, 5))
    small = compress_tables(program, tables, compressed)
    image = picture(low=low, high=high)
    np.testing.assert_array_equal(run(compressed, small, image), run(program, tables, image))
    wide = picture()
    assert (run(compressed, small, wide) != run(program, tables, wide)).any()


def test_all_samples_far_from_the_first_read_the_coarse_lattice():
    """A table whose fine nodes between the coarse ones are nonsense: far from the diagonal nothing is seen of it."""
    pattern = IndexPattern(((0, 0), (0, 1), (0, 1), (0, 1)))
    program = mulut.build_program({"p": pattern}, stages=1, scale=1, interval=5, task="denoise")
    tables = fill(program, make_entries=make_plane)
    compressed = compress_program(program, Diagonal(1, 6))
    spoilt = {slot: table.copy() for slot, table in tables.items()}
    (slot,) = spoilt
    odd = (np.indices((9,) * 4).reshape(4, -1) % 2).any(axis=0)
    spoilt[slot][odd] = 77
    image = np.zeros((5, 5, 3), np.uint8)
    image[1::2, ::2] = image[::2, 1::2] = 200
    small = compress_tables(program, spoilt, compressed)
    # at the border a pixel is its own neighbour
    inside = (slice(1, -1), slice(1, -1))
    np.testing.assert_array_equal(run(compressed, small, image)[inside], run(program, tables, image)[inside])


def test_published_sizes():
    """MuLUT-SDY-X2 x4: 4.06 MB of tables become 0.41 (Li et al., CVPR 2024, table 1)."""
    program = make_mulut(interval=4, patterns="sdy", scale=4)
    compressed = compress_program(program, choose_diagonal(program, 2))
    assert choose_diagonal(program, 2) == Diagonal(2, 5)
    sizes = [sum(slot.entries * slot.outputs for slot in each.slots.values()) for each in (program, compressed)]
    assert sizes == [3 * 83521 * 17, 3 * 8368 * 17]
    first, last = compressed.ops[1], compressed.ops[3]
    assert (first.divisor, first.bias) == (2 * 192, 127 * 2 * 192)
    assert (last.divisor, last.bias) == (2 * 48, 0)


def test_terms_of_other_units_are_weighted():
    compressed = compress_program(make_rclut(interval=4), Diagonal(2, 5))
    (add,) = (op for op in compressed.ops[2].body if isinstance(op, Add))
    assert add.weights == (32, 1)
    assert compressed.ops[3].divisor == 2 * 32
    (add,) = (op for op in compressed.ops[0].body if isinstance(op, Add))
    assert add.weights == ()


def test_tables_of_fewer_samples_stay():
    program = PROGRAMS["mulut of four and three samples"]
    tables = fill(program)
    compressed = compress_program(program, Diagonal(1, 7))
    small = compress_tables(program, tables, compressed)
    for op in compressed.lookups():
        assert (op.diagonal is None) == (op.pattern.samples == 3)
        assert (small[op.slot] is tables[op.slot]) == (op.diagonal is None)
    assert {op.step for op in compressed.lookups()} == {64, 128}


def test_units_pass_through_codes_and_rearranged_planes():
    """A lookup, rearranged, as it is and rounded between: the second sum starts in its own unit again."""
    look = Lookup(
        output="wide",
        input="image",
        slot="a",
        pattern=NAMED_PATTERNS["s"],
        lattice=Lattice(4, 6),
    )
    ops = (
        look,
        PixelShuffle(output="same", input="wide", block=1),
        Requantise(output="codes", input="same", bias=64 * 100, divisor=64),
        Ensemble(
            output="sum",
            input="codes",
            body=(msgspec.structs.replace(look, output="turn", input="codes", slot="b"),),
        ),
        Add(output="both", terms=("sum", "wide", "image")),
        Requantise(output="result", input="both", bias=70, divisor=200),
    )
    program = Program(family="test", task="denoise", ops=ops)
    program.validate()
    tables = fill(program, make_entries=make_plane)
    compressed = compress_program(program, choose_diagonal(program, 1))
    assert compressed.ops[4].weights == (1, 1, 2)
    image = picture()
    np.testing.assert_array_equal(
        run(compressed, compress_tables(program, tables, compressed), image), run(program, tables, image)
    )


def refusal_of(action, kind=OptionError):
    with pytest.raises(kind) as refusal:
        action()
    message = str(refusal.value)
    assert "\n" not in message
    return message


def make_tiny():
    family = find_family("tiny-lut")
    return family.skeleton(msgspec.structs.replace(family.defaults, channels=4, scale=2))


@pytest.mark.parametrize(
    ("make", "width", "told"),
    [
        (make_tiny, 2, "tiny-lut for sr has no tables of 4 samples"),
        (lambda: srlut.build_program("f", scale=2, interval=4), 2, "no tables of 4 samples"),
        (lambda: srlut.build_program("s", scale=2, interval=4, compat=True), 2, "without --compat"),
        (lambda: make_mulut(interval=8), 2, "interval 8 has no coarser lattice"),
        (lambda: make_mulut(interval=7), 2, "make no table smaller"),
        (lambda: compress_program(make_mulut(), Diagonal(1, 7)), 2, "compressed already"),
    ],
)
def test_what_cannot_be_compressed_is_refused(make, width, told):
    program = make()
    assert told in refusal_of(lambda: compress_program(program, choose_diagonal(program, width)))


def test_a_sum_that_is_added_after_rounding_is_refused():
    look = Lookup(output="wide", input="image", slot="a", pattern=NAMED_PATTERNS["s"], lattice=Lattice(4, 6))
    program = Program(
        family="test",
        task="denoise",
        ops=(look, Requantise(output="result", input="image", bias=0, divisor=1, residual="wide")),
    )
    program.validate()
    assert "adds the sum 'wide'" in refusal_of(lambda: compress_program(program, Diagonal(1, 7)), ProgramError)


# artefacts


def make_artefact(provenance=None):
    program = make_mulut(patterns="s", stages=1)
    return Artefact(program, fill(program), provenance or {})


def test_an_artefact_is_compressed_and_compared(tmp_path, photos):
    history = [{"step": "transfer", "table_psnr": 20.0}]
    artefact = make_artefact({"task": "sr-x2", "data": "mine", "history": history, "figures": {"set5_psnr": 20.0}})
    options = TransferOptions(diagonal=1, val=photos)
    compressed, fidelity = compress_artefact(artefact, options)
    assert fidelity.images == 6
    assert fidelity.before != fidelity.after
    write_artefact(tmp_path / "small.h5", compressed)
    read = read_artefact(tmp_path / "small.h5")
    program = compress_program(artefact.program, Diagonal(1, 7))
    assert read.program == program
    for slot, table in compress_tables(artefact.program, artefact.tables, program).items():
        np.testing.assert_array_equal(read.tables[slot], table)
    assert read.provenance["data"] == "mine"
    assert "figures" not in read.provenance  # they were measured of other tables
    assert read.provenance["history"] == [
        *history,
        {
            "step": "compress",
            "diagonal_width": 1,
            "coarse_step": 128,
            "images": 6,
            "on": f"photos of {photos.name}",
            "table_psnr": round(fidelity.before, 4),
            "compressed_psnr": round(fidelity.after, 4),
            "receptive_field": 3,
            "table_bytes": (97 + 81) * 4,
        },
    ]


@pytest.mark.parametrize("fields", [{"interval": 4}, {"storage": "int8"}])
def test_options_of_networks_are_refused(fields):
    options = dataclasses.replace(TransferOptions(diagonal=2), **fields)
    assert "belongs to runs" in refusal_of(lambda: compress_artefact(make_artefact(), options))


def test_pictures_that_are_not_there_are_refused(tmp_path):
    refusal_of(lambda: compress_artefact(make_artefact(), TransferOptions(diagonal=1, val=tmp_path)), DataError)


# networks


@pytest.fixture
def model():
    """A network model of two patterns, one of which has three samples; drawn at random."""
    torch = pytest.importorskip("torch")
    from small_training import make_config

    from lutkit.trainable import NetworkModel

    torch.manual_seed(1)
    config = make_config(None, patterns=("s", "f"))
    return NetworkModel(find_family("mulut"), config.model)


def test_networks_are_evaluated_at_the_kept_nodes_only(model, monkeypatch):
    """What comes out are the kept rows of the full tables."""
    from lutkit.spatial_transfer import transfer_in_full, transfer_networks

    full = transfer_in_full(model, 5)
    asked = []
    filling = model.fillings["stage1/s"]
    evaluate = filling.entries
    monkeypatch.setattr(filling, "entries", lambda samples: asked.append(len(samples)) or evaluate(samples))
    program, tables = transfer_networks(model, 5, diagonal=2)
    assert program == compress_program(full[0], Diagonal(2, 6))
    assert sum(asked) == program.slots["stage1/s"].entries < full[0].slots["stage1/s"].entries
    for slot, table in compress_tables(*full, program).items():
        # a matrix product of another size adds up in another order, which shows at a tie only
        assert np.mean(tables[slot] != table) < 0.002
        assert np.abs(tables[slot].astype(int) - table).max() <= 1


def test_full_tables_are_left_out_where_they_take_long(model, monkeypatch):
    import lutkit.spatial_transfer

    monkeypatch.setattr(lutkit.spatial_transfer, "FULL_ROWS_AT_MOST", 5**4 + 5**3 - 1)
    assert lutkit.spatial_transfer.transfer_in_full(model, 6) is None
    monkeypatch.setattr(lutkit.spatial_transfer, "FULL_ROWS_AT_MOST", 5**4 + 5**3)
    assert lutkit.spatial_transfer.transfer_in_full(model, 6) is not None


def test_compressed_tables_are_finetuned_as_they_are_applied(photos, tmp_path):
    """The forward pass is the runtime's bit for bit, gradients reach both kinds of rows, training makes them better."""
    torch = pytest.importorskip("torch")
    from lutkit.degradation import AddNoise
    from lutkit.finetune import finetune
    from lutkit.recipe import Recipe
    from lutkit.trainable import TableModel
    from lutkit.workbench import FinetuneJob, Watch

    program = mulut.build_program(read_patterns("s"), stages=1, scale=1, interval=6, task="denoise")
    full = Artefact(program, fill(program, make_entries=make_plane), {"task": "denoise-s25"})
    artefact, _ = compress_artefact(full, TransferOptions(diagonal=1, val=photos))
    image = picture(9, 8)
    model = TableModel(artefact.program, artefact.tables)
    result = model.run(torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)), None)
    np.testing.assert_array_equal(
        result.detach().numpy().transpose(1, 2, 0), run(artefact.program, artefact.tables, image)
    )
    ((result - 128) ** 2).mean().backward()
    gradient = model.tables["stage1/s"].grad.numpy()
    assert gradient[:97].any() and gradient[97:].any()

    recipe = Recipe(steps=20, batch=2, crop=12, learning_rate=2e-2, final_rate=1e-2, validate_every=10)
    job = FinetuneJob(artefact, AddNoise(25), recipe, photos, None, 0, tmp_path / "better.h5")
    better = finetune(job, torch.device("cpu"), Watch(say=lambda _line: None))
    assert better.fidelity.gain > 0
    assert better.best.program == artefact.program
    better.best.validate()


def test_families_without_such_tables_refuse(tmp_path):
    pytest.importorskip("torch")
    from lutkit.configuration import RunConfig
    from lutkit.run import Run
    from lutkit.spatial_transfer import transfer_networks
    from lutkit.trainable import NetworkModel
    from lutkit.transfer import transfer

    tiny = find_family("tiny-lut")
    networks = NetworkModel(tiny, msgspec.structs.replace(tiny.defaults, channels=4, scale=2))
    assert "tiny-lut for sr has no tables" in refusal_of(lambda: transfer_networks(networks, 0, diagonal=2))
    colours = find_family("adaptive-3dlut")
    config = RunConfig(family=colours.name, model=colours.defaults, recipe=colours.presets["quick"])
    told = refusal_of(lambda: transfer(Run(tmp_path), config, TransferOptions(diagonal=2)))
    assert "adaptive-3dlut has no tables of samples, which --dfc compresses" in told
