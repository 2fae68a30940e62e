"""Tables of ShiftLUT: against the published arithmetic pixel by pixel, what is refused, and the published figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lutkit_runtime
from lutkit.cli import main
from lutkit.evaluate import plan_read_pairs, score_pairs
from lutkit.formats import import_tables
from lutkit.scoring import open_restorer
from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.errors import DataError, FormatError

PUBLISHED = (33.23, 32.69, 25.38, 32.33, 28.84)


@dataclass
class Layer:
    """Tables by (input, output), and their steps."""

    inputs: int
    outputs: int
    steps: dict[tuple[int, int], int]
    tables: dict[tuple[int, int], list[int]]

    def look_up(self, place: tuple[int, int], index: int) -> Fraction:
        step, table = self.steps[place], self.tables[place]
        if step == 1:
            return Fraction(table[index])
        fraction = Fraction(index % step, step)
        return table[index // step] * (1 - fraction) + table[index // step + 1] * fraction


@dataclass
class Model:
    """What the files of a model say."""

    layers: dict[str, Layer]
    shifts: np.ndarray

    @property
    def channels(self) -> int:
        return self.shifts.shape[2]

    @property
    def scale(self) -> int:
        return round(self.layers["UP_MSB"].outputs ** 0.5)


def make_layer(
    generator: np.random.Generator, inputs: int, outputs: int, size: int, steps: tuple[int, ...], largest: int
) -> Layer:
    places = list(np.ndindex(inputs, outputs))
    chosen = {place: int(generator.choice(steps)) for place in places}
    lengths = {place: size if step == 1 else size // step + 1 for place, step in chosen.items()}
    tables = {
        place: [int(value) for value in generator.integers(-largest, largest, length)]
        for place, length in lengths.items()
    }
    return Layer(inputs, outputs, chosen, tables)


def make_model(seed: int, *, stacks: int, outputs: int, channels: int = 4, largest: int = 128) -> Model:
    generator = np.random.default_rng(seed)
    steps = (1, 2, 4, 8, 16, 32, 64)
    layers: dict[str, Layer] = {"DW0_LSB": make_layer(generator, 9, channels, 4, (1,), min(largest, 8))}
    for number in range(stacks):
        layers[f"DW{number}_MSB"] = make_layer(generator, 9, channels, 64, steps, largest)
        layers[f"PW{number}_MSB"] = make_layer(generator, channels, channels, 64, steps, largest)
    layers["UP_MSB"] = make_layer(generator, channels, outputs, 64, steps, largest)
    shifts = generator.integers(-2, 3, (stacks, 2, channels)).astype(np.int32)
    return Model(layers, shifts)


def save_model(folder: Path, model: Model) -> Path:
    folder.mkdir(exist_ok=True)
    for number, (name, layer) in enumerate(model.layers.items()):
        arrays = {f"i{place[0]}o{place[1]}": table for place, table in layer.tables.items()}
        kind = np.float32 if number % 2 else np.int8
        np.savez(folder / f"{name}.npz", **{each: np.array(table, kind) for each, table in arrays.items()})
        said = {
            "IN": layer.inputs,
            "OUT": layer.outputs,
            "LUTs": [{"in": place[0], "out": place[1], "step": step} for place, step in layer.steps.items()],
        }
        (folder / f"{name}.json").write_text(json.dumps(said, indent=2))
    np.save(folder / "offset.npy", model.shifts)
    return folder


def clamp(value: int, low: int = -32, high: int = 31) -> int:
    return min(max(value, low), high)


def read_at(plane: np.ndarray, row: int, column: int) -> int:
    """Return the value at a place, or the nearest one of the plane."""
    return int(plane[min(max(row, 0), plane.shape[0] - 1), min(max(column, 0), plane.shape[1] - 1)])


def average_window(plane: np.ndarray, row: int, column: int, layer: Layer, channel: int, low: int) -> int:
    total = Fraction(0)
    for number in range(9):
        seen = read_at(plane, row - 1 + number // 3, column - 1 + number % 3)
        total += layer.look_up((number, channel), seen - low)
    return round(total / 9)


def average_channels(pixel: list[int], layer: Layer) -> list[int]:
    totals = [
        sum((layer.look_up((channel, output), value + 32) for channel, value in enumerate(pixel)), Fraction(0))
        for output in range(layer.outputs)
    ]
    return [round(total / layer.inputs) for total in totals]


def restore_turn(image: np.ndarray, model: Model) -> np.ndarray:
    """Return one turn as the published script defines it, (H * scale, W * scale)."""
    codes = image.astype(np.int64) - 128
    high, low = codes // 4, codes % 4
    channels, places = range(model.channels), list(np.ndindex(image.shape))
    planes = np.zeros((model.channels, *image.shape), np.int64)
    for channel in channels:
        for row, column in places:
            upper = average_window(high, row, column, model.layers["DW0_MSB"], channel, -32) + int(high[row, column])
            lower = average_window(low, row, column, model.layers["DW0_LSB"], channel, 0) + int(low[row, column])
            planes[channel, row, column] = clamp(upper + clamp(lower, 0, 3))
    for number, shift in enumerate(model.shifts):
        if number:
            layer, before = model.layers[f"DW{number}_MSB"], planes.copy()
            for channel in channels:
                for row, column in places:
                    mean = average_window(before[channel], row, column, layer, channel, -32)
                    planes[channel, row, column] = clamp(mean + int(before[channel, row, column]))
        before = planes.copy()
        for row, column in places:
            pixel = [read_at(before[c], row + int(shift[0, c]), column + int(shift[1, c])) for c in channels]
            mixed = average_channels(pixel, model.layers[f"PW{number}_MSB"])
            for channel in channels:
                planes[channel, row, column] = clamp(mixed[channel] + pixel[channel])
    scale = model.scale
    result = np.zeros((image.shape[0] * scale, image.shape[1] * scale), np.int64)
    for row, column in places:
        pixel = [int(value) for value in planes[:, row, column]]
        block = average_channels(pixel, model.layers["UP_MSB"])
        if len(block) == len(pixel):
            block = [mean + value for mean, value in zip(block, pixel, strict=True)]
        for place, value in enumerate(block):
            result[row * scale + place // scale, column * scale + place % scale] = clamp(value, -128, 127)
    return result


def restore(image: np.ndarray, model: Model) -> np.ndarray:
    total = sum(np.rot90(restore_turn(np.rot90(image, turns), model), -turns) for turns in range(4))
    base = 128 if model.scale > 1 else image.astype(np.int64)
    return (total + base).clip(0, 255).astype(np.uint8)


def refusal(*sources: Path, **options: Any) -> str:
    with pytest.raises(FormatError) as caught:
        import_tables("shiftlut", sources, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def apply(artefact: Artefact, image: np.ndarray, folder: Path, **options: Any) -> np.ndarray:
    write_artefact(folder / "model.h5", artefact, overwrite=True)
    return lutkit_runtime.load(folder / "model.h5").apply(image, **options)


# --- arithmetic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize(
    ("stacks", "outputs", "task"), [(1, 4, "sr"), (2, 4, "sr"), (2, 9, "sr"), (2, 1, "denoise"), (3, 1, "deblock")]
)
def test_every_pixel_is_as_published_borders_included(
    tmp_path: Path, stacks: int, outputs: int, task: str, backend: str
) -> None:
    for largest in (128, 30):  # small entries let what comes before them be seen through the clamps
        model = make_model(stacks + outputs, stacks=stacks, outputs=outputs, largest=largest)
        image = np.random.default_rng(2).integers(0, 256, (5, 4), dtype=np.uint8)
        artefact = import_tables("shiftlut", [save_model(tmp_path / "model", model)], {"task": task})
        expected = restore(image, model)
        assert len(np.unique(expected)) > 10
        np.testing.assert_array_equal(apply(artefact, image, tmp_path, backend=backend), expected)
        assert artefact.program.task == task


def test_tiles_change_nothing(tmp_path: Path) -> None:
    model = make_model(5, stacks=3, outputs=4, largest=30)
    artefact = import_tables("shiftlut", [save_model(tmp_path / "model", model)])
    image = np.random.default_rng(3).integers(0, 256, (40, 37, 3), dtype=np.uint8)
    whole = apply(artefact, image, tmp_path, backend="numpy")
    np.testing.assert_array_equal(apply(artefact, image, tmp_path, backend="numpy", tile=16), whole)


def test_scale_channels_and_task_follow_from_the_files(tmp_path: Path) -> None:
    program = import_tables("shiftlut", [save_model(tmp_path / "a", make_model(1, stacks=2, outputs=9))]).program
    assert (program.family, program.task, program.scale) == ("tiny-lut", "sr", 3)
    folder = save_model(tmp_path / "b", make_model(1, stacks=1, outputs=1, channels=3))
    program = import_tables("shiftlut", [folder]).program
    assert (program.task, program.scale) == ("denoise", 1)
    assert len(program.slots["up"].axes) == 1
    (folder / "README.md").write_text("a file that is no table\n")
    artefact = import_tables("shiftlut", [path for path in sorted(folder.iterdir()) if path.suffix != ".md"])
    assert artefact.program == import_tables("shiftlut", [folder]).program == program
    assert artefact.provenance["imported"]["files"]["pointwise0"]["name"] == "PW0_MSB.npz"
    with pytest.raises(DataError, match="task sr does not fit"):
        import_tables("shiftlut", [folder], {"task": "sr"})


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_command_imports(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", make_model(1, stacks=1, outputs=1))
    arguments = ["import", str(folder), "--as", "shiftlut", "--task", "deblock", "-o", str(tmp_path / "model.h5")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "tiny-lut for deblock, scale 1" in done.stderr


# --- refusals -----------------------------------------------------------------------------------------------------


def say(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change what a JSON file says."""

    def act(folder: Path) -> None:
        said = json.loads((folder / name).read_text())
        change(said)
        (folder / name).write_text(json.dumps(said))

    return act


def set_step(step: object) -> Callable[[Path], None]:
    return say("PW0_MSB.json", lambda said: said["LUTs"][5].update(step=step))


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def set_arrays(name: str, change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        with np.load(folder / name) as archive:
            arrays = {each: archive[each] for each in archive.files}
        change(arrays)
        np.savez(folder / name, **arrays)

    return act


def set_shifts(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "offset.npy", change(np.load(folder / "offset.npy")))


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def copy(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / new).write_bytes((folder / old).read_bytes()) and None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (remove("offset.npy"), "offset.npy is missing beside"),
        (remove("PW1_MSB.json"), "PW1_MSB.json is missing beside"),
        (remove("DW0_MSB.npz"), "DW0_MSB.npz is missing beside"),
        (copy("PW1_MSB.npz", "PW2_MSB.npz"), "PW2_MSB.npz has no place in this model: a model of 2 stack(s) is"),
        (copy("DW0_LSB.npz", "DW1_LSB.npz"), "DW1_LSB.npz has no place in this model"),
        (copy("DW1_MSB.npz", "DW7_MSB.npz"), "DW2_MSB.npz is missing beside"),
        (set_step(3), "says step 3 of i1o1; powers of two are possible"),
        (set_step(128), "Expected `int` <= 64"),
        (set_step(0), "Expected `int` >= 1"),
        (set_step(True), "Expected `int`, got `bool`"),
        (set_step("2"), "Expected `int`, got `str`"),
        (set_step(1.5), "Expected `int`, got `float`"),
        (set_step(10**400), "does not say the steps of tables"),
        (set_step(None), "Expected `int`, got `null`"),
        (say("PW0_MSB.json", lambda said: said.pop("IN")), "missing required field `IN`"),
        (say("PW0_MSB.json", lambda said: said.update(IN=10**9)), "Expected `int` <= 64"),
        (say("PW0_MSB.json", lambda said: said.update(alpha=1)), "unknown field `alpha`"),
        (say("PW0_MSB.json", lambda said: said["LUTs"].pop()), "says the steps of 15 tables; IN 4 and OUT 4 need each"),
        (say("PW0_MSB.json", lambda said: said["LUTs"].append(said["LUTs"][0])), "says the steps of 17 tables"),
        (say("PW0_MSB.json", lambda said: said["LUTs"][0].update({"in": 1})), "each of 16 once"),
        (write("PW0_MSB.json", b""), "does not say the steps of tables"),
        (write("PW0_MSB.json", b"[" * 100_000), "does not say the steps of tables"),
        (write("PW0_MSB.json", b"\xff\xfe{}"), "does not say the steps of tables"),
        (set_arrays("UP_MSB.npz", lambda arrays: arrays.pop("i0o0")), "has no array 'i0o0'"),
        (set_arrays("UP_MSB.npz", lambda arrays: arrays.update(more=arrays["i0o0"])), "has the array 'more'"),
        (
            set_arrays("UP_MSB.npz", lambda arrays: arrays.update(i0o0=np.zeros(40, np.int8))),
            "i0o0 has shape (40,); step",
        ),
        (
            set_arrays("UP_MSB.npz", lambda arrays: arrays.update(i0o0=arrays["i0o0"] / 2 + 0.25)),
            "i0o0 holds fractions",
        ),
        (set_arrays("UP_MSB.npz", lambda arrays: arrays.update(i0o0=arrays["i0o0"] + 300.0)), "beyond -128 to 127"),
        (set_arrays("UP_MSB.npz", lambda arrays: arrays.update(i0o0=np.array([{}], object))), "holds object values"),
        (write("UP_MSB.npz", b"no archive"), "is no readable .npz file"),
        (set_shifts(lambda shifts: shifts[:1]), "has shape (1, 2, 4); 2 stack(s) of 4 channels need (2, 2, 4)"),
        (set_shifts(lambda shifts: shifts + 0.5), "holds fractions"),
        (set_shifts(lambda shifts: shifts + 100), "holds values beyond -64 to 64"),
        (set_shifts(lambda shifts: shifts.astype("U8")), "integers or floats are needed"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: Callable[[Path], None], sentence: str) -> None:
    folder = save_model(tmp_path / "model", make_model(1, stacks=2, outputs=4))
    change(folder)
    assert sentence in refusal(folder)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "sentence"),
    [
        ("PW1_MSB", 4, 5, "has 4 inputs and 5 outputs; 4 and 4 fit the others"),
        ("DW1_MSB", 9, 3, "has 9 inputs and 3 outputs; 9 and 4 fit the others"),
        ("DW0_MSB", 25, 4, "has 25 inputs and 4 outputs; 9 and 4 fit the others"),
        ("UP_MSB", 4, 5, "has 4 inputs and 5 outputs; 4 and 4 fit the others"),
        ("UP_MSB", 3, 4, "has 3 inputs and 4 outputs; 4 and 4 fit the others"),
    ],
)
def test_layers_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, name: str, inputs: int, outputs: int, sentence: str
) -> None:
    model = make_model(1, stacks=2, outputs=4)
    model.layers[name] = make_layer(np.random.default_rng(0), inputs, outputs, 64, (1,), 10)
    assert sentence in refusal(save_model(tmp_path / "model", model))


def test_models_out_of_bounds_are_refused(tmp_path: Path) -> None:
    assert "has 9 files DW..._MSB.npz; 1 to 8 are read" in refusal(
        save_model(tmp_path / "deep", make_model(1, stacks=9, outputs=4))
    )
    assert "2 to 64 channels" in refusal(save_model(tmp_path / "thin", make_model(1, stacks=1, outputs=1, channels=1)))
    (tmp_path / "empty").mkdir()
    assert "holds nothing of such a model" in refusal(tmp_path / "empty")
    assert "'shiftlut' has no option --scale: it takes --task" in refusal(tmp_path / "empty", scale=4)


# --- the published model ------------------------------------------------------------------------------------------


@pytest.mark.data
def test_the_published_tables_score_as_published(shared_data: Path, tmp_path: Path) -> None:
    write_artefact(tmp_path / "model.h5", import_tables("shiftlut", [shared_data / "published/shiftlut-s-x4"]))
    restorer = open_restorer(str(tmp_path / "model.h5"), task=None, sigma=None, quality=None, backend="numpy")
    set5 = shared_data / "benchmarks/Set5"
    plan = plan_read_pairs(set5 / "HR", set5 / "LR_bicubic/X4", restorer.task)
    scores = score_pairs(restorer.restore, (read() for read in plan), restorer.task, total=len(plan))
    assert [score.psnr for score in scores] == pytest.approx(PUBLISHED, abs=0.006)
    assert np.mean([score.psnr for score in scores]) == pytest.approx(30.494, abs=0.001)
