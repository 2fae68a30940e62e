"""The contract that every op and every family keeps, whatever they compute; the cases are in `contract.py`.

Ops: fields are refused where they are out of range, definitions give what they say, depend on no more than they say,
and run alike in every backend, tile and number of threads. Families: programs travel through files, networks become
tables without loss, finetuning computes what apply does, and running needs nothing of what made them.
"""

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from contract import (
    FAMILY_CASES,
    OPS,
    VARIANTS,
    Example,
    bench_of,
    case_of_family,
    case_of_op,
    family_of,
    fill_program,
    find_companions,
    make_picture,
)
from fresh_python import refuse_imports, run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from network_models import make_companions

from lutkit.configuration import RunConfig, config_type, decode_config
from lutkit.degradation import TASKS, make_task
from lutkit.families import FAMILIES, find_family
from lutkit.recipe import Schedule
from lutkit.run import Run
from lutkit_runtime.artefact import Artefact, read_artefact, write_artefact
from lutkit_runtime.engine import Model, available_backends
from lutkit_runtime.errors import ArtefactError, DataError, LutkitError, ProgramError
from lutkit_runtime.kernels.cuda.device import is_simulated
from lutkit_runtime.ops import CODES, ChannelOp, GridFusion, Kind, Network, Op, Predictor, Value, follow_planes
from lutkit_runtime.program import Colour, Program
from lutkit_runtime.seal import BLOCK_BYTES, SCHEMA, seal

DOCS = Path(__file__).resolve().parents[1] / "docs"
DEPTHS = ("uint8", "uint16", "float32")
CLASSES = pytest.mark.parametrize("kind", OPS, ids=lambda kind: kind.__name__)
FAMILY_NAMES = pytest.mark.parametrize("name", FAMILIES)
NAMES = pytest.mark.parametrize("name", [*FAMILIES, *VARIANTS])


def find_op(program: Program, kind: type) -> Op:
    """Return the op of a kind in a program."""
    return next(op for op in program.ops if isinstance(op, kind))


def start_values(program: Program, picture: np.ndarray) -> dict[str, object]:
    """Return what ops read at the start: the picture or its planes, those beside it, and parameters."""
    image = picture if program.colour is Colour.RGB else np.moveaxis(picture, 2, 0)[:, None].copy()
    beside = make_companions(program, *picture.shape[:2])
    for each in (image, *beside.values()):
        each.setflags(write=False)
    return {program.input: image, **beside, **program.fill_parameters({})}


def assert_runs_alike(example: Example, pictures: list[np.ndarray]) -> None:
    """Fail unless every backend, tile and number of threads gives the bytes of the reference."""
    model = Model(example.program, example.tables)
    for picture in pictures:
        beside = find_companions(model.program, picture)
        expected = model.apply(picture, backend="numpy", **beside)
        assert expected.dtype == picture.dtype
        assert expected.shape == (picture.shape[0] * model.scale, picture.shape[1] * model.scale, picture.shape[2])
        for backend in available_backends():
            if backend == "cuda" and is_simulated():
                continue
            for tile, threads in ((None, 1), (1 if picture.size < 100 else 5, 2), (7, None)):
                found = model.apply(picture, backend=backend, tile=tile, threads=threads, **beside)
                assert found.tobytes() == expected.tobytes(), (backend, tile, threads, picture.dtype)
    if "cuda" in available_backends() and is_simulated():
        assert_simulation_runs_alike(model, pictures[0])


def assert_simulation_runs_alike(model: Model, picture: np.ndarray) -> None:
    """Fail unless the simulated GPU gives the bytes of the reference for a corner of a picture: it takes milliseconds a pixel."""
    corner = picture[:2, :3]
    beside = find_companions(model.program, corner)
    expected = model.apply(corner, backend="numpy", **beside).tobytes()
    assert model.apply(corner, backend="cuda", **beside).tobytes() == expected
    if model.program.halo < 3:  # else tiles of two pixels are the whole corner
        assert model.apply(corner, backend="cuda", tile=2, **beside).tobytes() == expected


@CLASSES
def test_an_op_is_described(kind):
    case_of_op(kind)
    tag = kind.__struct_config__.tag
    assert f"\n### {tag}\n" in (DOCS / "artefact.md").read_text(encoding="utf-8"), (
        f"docs/artefact.md has no section '### {tag}': describe what the op {kind.__name__} computes, to the bit"
    )


@CLASSES
@settings(max_examples=10)
@given(st.data())
def test_an_op_travels_as_json_and_refuses_what_is_out_of_range(kind, data):
    case = case_of_op(kind)
    program = data.draw(case.programs).program
    program.validate()
    op = find_op(program, kind)
    text = msgspec.json.encode(op)
    assert msgspec.json.decode(text, type=Op) == op
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps({**json.loads(text), "surprise": 1}), type=Op)
    for fields in case.broken:
        with pytest.raises(ProgramError) as refusal:
            msgspec.structs.replace(op, **fields).validate()
        assert str(refusal.value) and "\n" not in str(refusal.value)


@CLASSES
@settings(max_examples=20)
@given(st.data(), st.integers(1, 9), st.integers(1, 9), st.sampled_from(DEPTHS))
def test_a_definition_gives_what_it_says_and_changes_nothing(kind, data, height, width, depth):
    """Type and shape are those of `OpBase.reference`, sums stay within what `follow_planes` says; inputs are only read."""
    example = data.draw(case_of_op(kind).programs)
    program, wanted = example.program, find_op(example.program, kind)
    assert {name: (table.dtype.name, table.shape) for name, table in example.tables.items()} == {
        name: (slot.dtype, slot.shape) for name, slot in program.slots.items()
    }
    for table in example.tables.values():
        table.setflags(write=False)
    channels = program.colour is Colour.EACH_CHANNEL
    values = start_values(program, make_picture(height, width, "uint8" if channels else depth, seed=height * width))
    planes = {program.input: CODES}
    kinds = {} if channels else program_kinds(program)
    for op in program.ops:
        values[op.output] = result = op.reference(values, example.tables)
        if channels:
            plane = follow_planes([op], planes)
            planes[op.output] = plane
            rows, columns = values[op.inputs[0]].shape[-2:]
            assert result.dtype == (np.uint8 if plane.codes else np.int64)
            assert result.shape == (3, plane.channels, rows * op.upscale, columns * op.upscale)
            assert np.abs(result.astype(np.int64)).max() <= plane.largest
        else:
            size = kinds[op.output].size
            shapes = {Kind.PICTURE: (height, width, 3), Kind.VECTOR: (size,), Kind.TABLE: (size**3, 3)}
            shapes[Kind.PLANES] = (height, width, size)
            if isinstance(op, GridFusion):
                shapes[Kind.GRID] = (op.rows, op.columns, op.depth, 12)
            assert (result.dtype, result.shape) == (np.float32, shapes[kinds[op.output].kind])
        if op is wanted:
            return


def program_kinds(program: Program) -> dict:
    """Return kind and size of every value of a program for colours."""
    kinds = {program.input: Value(Kind.PICTURE), **{each.name: Value(Kind.SCALAR) for each in program.parameters}}
    kinds |= {each.name: Value(Kind.COMPANION, each.channels) for each in program.companions}
    for op in program.ops:
        kinds[op.output] = op.infer(kinds)
    return kinds


@CLASSES
@settings(max_examples=15)
@given(st.data(), st.integers(0, 8), st.integers(0, 8))
def test_a_pixel_reaches_no_further_than_the_halo(kind, data, row, column):
    example = data.draw(case_of_op(kind).programs)
    program, op = example.program, find_op(example.program, kind)
    if op.is_global:
        assert program.colour is Colour.RGB
        return
    # Changed is what this op reads, which for an op after others has another size than the picture.
    results = []
    values = start_values(program, make_picture(9, 9, "uint8", seed=1))
    for earlier in program.ops[: program.ops.index(op)]:
        values[earlier.output] = earlier.reference(values, example.tables)
    channels = isinstance(op, ChannelOp)
    pixels = [name for name in op.inputs if np.ndim(values[name]) == (4 if channels else 3)]
    assert pixels
    for change in (0, 1):
        changed = dict(values)
        for name in pixels:
            plane = np.array(values[name])
            place = (..., row, column) if channels else (row, column)
            if change:  # to another value of those that are there, which every table has an entry for
                plane[place] = plane.min() + plane.max() - plane[place] if channels else 255 - plane[place]
            changed[name] = plane
        results.append(op.reference(changed, example.tables))
    # what computes networks may round a whole block of pixels in another way
    noise = 1e-5 if isinstance(op, Network) else 0
    difference = np.abs(np.subtract(*results, dtype=np.float64))
    different = (difference > noise).any(axis=(0, 1) if channels else 2)
    rows, columns = (np.flatnonzero(different.any(axis=axis)) // op.upscale for axis in (1, 0))
    assert all(abs(place - row) <= op.halo for place in rows)
    assert all(abs(place - column) <= op.halo for place in columns)


@CLASSES
@settings(max_examples=6)
@given(st.data(), st.integers(0, 99))
def test_an_op_runs_alike_everywhere(kind, data, seed):
    example = data.draw(case_of_op(kind).programs)
    assert_runs_alike(example, [make_picture(7, 10, depth, seed) for depth in DEPTHS])


@FAMILY_NAMES
def test_a_family_is_described(name):
    case_of_family(name)
    family = find_family(name)
    assert family.name == name
    page = DOCS / "families" / f"{name}.md"
    assert page.is_file(), f"{page} is missing: describe the family {name} there"
    table = (DOCS / "families" / "README.md").read_text(encoding="utf-8")
    assert f"]({name}.md)" in table, f"docs/families/README.md has no row for {name}: add one that links its page"
    assert {"quick", "paper", "finetune"} <= family.presets.keys()
    assert all(isinstance(recipe, Schedule) for recipe in family.presets.values())
    assert all(type(family.configure(preset, None)) is type(family.defaults) for preset in ("quick", "paper"))
    assert FAMILY_CASES.keys() == FAMILIES.keys()


@NAMES
def test_skeletons_and_configurations_travel(name, tmp_path):
    case, family = case_of_family(name), family_of(name)
    for config in (case.config, family.defaults, family.configure("quick", None)):
        program = family.skeleton(config)
        program.validate()
        assert program.family == family.name
        assert program.task == config.task and program.scale == config.scale
        assert family.skeleton(config) == program
        assert msgspec.json.decode(msgspec.json.encode(program), type=Program) == program
        run = RunConfig(family=family.name, model=config, recipe=case.recipe)
        text = json.dumps(msgspec.to_builtins(run)).encode()
        assert decode_config(text) == run
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**msgspec.to_builtins(run), "surprise": 1}, config_type(family))
    example = fill_program(family.skeleton(case.config), seed=0)
    artefact = Artefact(example.program, dict(example.tables), {"note": "made for a test"})
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    write_artefact(paths[0], artefact)
    read = read_artefact(paths[0])
    assert read.program == artefact.program and read.provenance == artefact.provenance
    assert {slot: (table.dtype, table.tobytes()) for slot, table in read.tables.items()} == {
        slot: (table.dtype, table.tobytes()) for slot, table in artefact.tables.items()
    }
    write_artefact(paths[1], read)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@NAMES
def test_a_family_runs_alike_everywhere(name):
    example = fill_program(family_of(name).skeleton(case_of_family(name).config), seed=1)
    pictures = [make_picture(12, 17, depth) for depth in DEPTHS]
    assert_runs_alike(example, [*pictures, make_picture(1, 1, "uint8"), make_picture(6, 5, "uint16", channels=4)])


@NAMES
def test_damaged_and_newer_files_are_refused(name, tmp_path):
    example = fill_program(family_of(name).skeleton(case_of_family(name).config), seed=2)
    path = tmp_path / "model.h5"
    write_artefact(path, Artefact(example.program, dict(example.tables)))
    whole = path.read_bytes()
    payload = whole[BLOCK_BYTES:]
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data, told in (
        (bytes(flipped), "damaged"),
        (whole[:-1], ""),
        (seal(payload, SCHEMA + 1) + payload, "newer"),
        (b"", ""),
    ):
        path.write_bytes(data)
        with pytest.raises(ArtefactError) as refusal:
            read_artefact(path)
        assert told in str(refusal.value) and str(path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of tiny photos or scenes to train on and to validate on, made when a case asks for them."""
    made = {}

    def make(case):
        write = case.write_data
        if write not in made:
            folder = tmp_path_factory.mktemp("data")
            made[write] = write(folder / "data", count=2, side=32), write(folder / "val", count=1, side=32, seed=4)
        return made[write]

    return make


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folders):
    """Runs of every family after one step, made when they are asked for."""
    torch = pytest.importorskip("torch")
    from lutkit.train import train
    from lutkit.workbench import Watch

    torch.set_num_threads(1)
    runs = {}

    def make(name):
        if name not in runs:
            case = case_of_family(name)
            data, val = map(str, folders(case))
            config = RunConfig(family=family_of(name).name, model=case.config, recipe=case.recipe, data=data, val=val)
            runs[name] = Run(tmp_path_factory.mktemp(name)), config
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LUTKIT_CACHE", str(tmp_path_factory.getbasetemp() / "degraded"))
                train(*runs[name], torch.device("cpu"), Watch(say=lambda _line: None))
        return runs[name]

    return make


@pytest.fixture(scope="module")
def transferred(trained):
    """Artefacts of these runs with what transfer costs, made when they are asked for."""
    made = {}

    def make(name, fields):
        from lutkit.transfer import transfer
        from lutkit.workbench import TransferOptions

        key = (name, *fields.items())
        if key not in made:
            made[key] = transfer(*trained(name), TransferOptions(**fields))
        return made[key]

    return make


@NAMES
@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_trained_or_refused(name, task, folders, tmp_path, monkeypatch):
    """A task of another kind of family is refused in one line, by preset and by configuration, before a run is made."""
    torch = pytest.importorskip("torch")
    from lutkit.train import train
    from lutkit.workbench import Watch

    monkeypatch.setenv("LUTKIT_CACHE", str(tmp_path / "degraded"))
    family, case = family_of(name), case_of_family(name)
    try:
        usual = family.configure("quick", task)
    except LutkitError as error:
        assert "\n" not in str(error) and task in str(error)
        usual = None
    data, val = folders(case)
    scales = {"scale": case.config.scale if task == "sr" else 1} if "scale" in case.config.__struct_fields__ else {}
    config = RunConfig(
        family=family.name,
        model=msgspec.structs.replace(case.config, task=task, **scales),
        recipe=case.recipe,
        data=str(data),
        val=str(val),
    )
    run = Run(tmp_path / "run")
    try:
        train(run, config, torch.device("cpu"), Watch(say=lambda _line: None))
    except LutkitError as error:
        assert usual is None and "\n" not in str(error) and task in str(error)
        assert not run.folder.exists()
    else:
        assert usual is not None and usual.task == task and run.network_file.is_file()


@NAMES
def test_networks_become_tables_within_half_a_quantum(name, trained, transferred):
    """At every node, and for every storage and compression; what is lost on pictures stands in the artefact."""
    run, config = trained(name)
    bench = bench_of(family_of(name).workbench)
    for fields in case_of_family(name).transfers:
        artefact, fidelity = transferred(name, fields)
        assert bench.measure_transfer(run, config, artefact) <= 0.501
        first, *_, step = artefact.provenance["history"]
        assert (first["step"], step["step"]) == ("train", "transfer")
        assert (step["network_psnr"], step["table_psnr"]) == pytest.approx((fidelity.before, fidelity.after), abs=1e-4)
        assert Model(artefact.program, artefact.tables).scale == config.model.scale


@NAMES
def test_finetuning_computes_what_apply_does(name, transferred, folders, tmp_path):
    """Bit for bit, for every storage and compression. A predictor is given a picture of its own size: reducing it rounds."""
    torch = pytest.importorskip("torch")
    from lutkit.workbench import FinetuneJob, Watch, find_workbench

    family, case = family_of(name), case_of_family(name)
    for fields in case.transfers:
        artefact, _ = transferred(name, fields)
        task = make_task(case.config.task, case.config.scale)
        recipe = getattr(case.recipe, "compiling", case.recipe)
        job = FinetuneJob(artefact, task, recipe, *folders(case), 0, tmp_path / "out.h5")
        watch = Watch(say=lambda _line: None)
        if fields.get("exact"):
            with pytest.raises(DataError, match="keeps its network") as refusal:
                find_workbench(family).prepare_finetuning(job, torch.device("cpu"), watch)
            assert "\n" not in str(refusal.value)
            continue
        finetuning = find_workbench(family).prepare_finetuning(job, torch.device("cpu"), watch)
        objective = finetuning.training.objective
        with torch.no_grad():
            for values in objective.module.parameters():  # away from what a file can hold exactly
                values.add_(torch.linspace(-0.3, 0.3, values.numel()).reshape(values.shape) * finetuning.unit / 10)
        objective.confine()
        side = next((op.side for op in artefact.program.ops if isinstance(op, Predictor)), 23)
        forward = bench_of(family.workbench).run_finetuning(objective, make_picture(side, side, "uint8", seed=3))
        applied = Model(finetuning.program(), finetuning.tables()).apply(forward.picture, **forward.companions)
        assert applied.dtype == forward.result.dtype
        assert applied.tobytes() == forward.result.tobytes(), fields


def test_running_needs_neither_torch_nor_lutkit(tmp_path):
    """Every family's model in one process that has the runtime only; the bytes are those of this process."""
    picture = make_picture(9, 11, "uint8")
    np.save(tmp_path / "picture.npy", picture)
    expected = {}
    for name in (*FAMILIES, *VARIANTS):
        example = fill_program(family_of(name).skeleton(case_of_family(name).config), seed=4)
        write_artefact(tmp_path / f"{name}.h5", Artefact(example.program, dict(example.tables)))
        beside = find_companions(example.program, picture)
        np.savez(tmp_path / f"{name}.npz", **beside)
        result = Model(example.program, example.tables).apply(picture, backend="numpy", **beside)
        expected[name] = hashlib.sha256(result.tobytes()).hexdigest()
    found = run_python(
        refuse_imports("torch", "lutkit", "safetensors") + "import json, hashlib, pathlib\n"
        "import numpy as np\n"
        "import lutkit_runtime\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "picture = np.load(folder / 'picture.npy')\n"
        "done = {}\n"
        "for path in folder.glob('*.h5'):\n"
        "    beside = dict(np.load(path.with_suffix('.npz')))\n"
        "    result = lutkit_runtime.load(path).apply(picture, backend='numpy', **beside)\n"
        "    done[path.stem] = hashlib.sha256(result.tobytes()).hexdigest()\n"
        "print(json.dumps(done))\n"
    )
    assert json.loads(found) == expected
