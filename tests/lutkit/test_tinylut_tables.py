"""Tables of TinyLUT: against the published arithmetic pixel by pixel, what is refused, and the published figures."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
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
from lutkit_runtime.errors import FormatError

HALVES = {"H6": (-32, 31), "L2": (0, 3)}
GAINS: dict[str, list[float]] = {
    # a half, which makes ties; beyond 1, which meets the clamp; below 0; one that makes all the same
    "hh1": [0.5, 1.25, -0.5, 0.97],
    "hl1": [0.5, 1.2, -4e-5, 0.6],
    "hh2": [0.3, 1.0, 0.75, 1.7],
    "hl2": [1.0, 0.17, 2.0, 0.5],
}
PUBLISHED = (33.05, 32.21, 25.12, 32.19, 28.53)


def scaled(gain: float, half: str) -> list[int]:
    """Return what the values of a half become, before the clamp."""
    low, high = HALVES[half]
    products = [float(np.float32(gain) * np.float32(value)) for value in range(low, high + 1)]
    return [round(product) for product in products]


def make_tables(seed: int, gains: dict[str, list[float]] = GAINS) -> dict[str, np.ndarray]:
    """Return random tables by the ends of their file names."""
    generator = np.random.default_rng(seed)
    channels = len(gains["hh1"])
    tables: dict[str, np.ndarray] = {}
    for half, (low, high) in HALVES.items():
        letter = half[0].lower()
        rows = {"L1_Depth": 9 * (high - low + 1)}
        for layer, number in (("L1_Point", 1), ("UP", 2)):
            runs = [scaled(gain, half) for gain in gains[f"h{letter}{number}"]]
            rows[layer] = sum(max(run) - min(run) + 1 for run in runs)
        for layer, count in rows.items():
            tables[f"{layer}_{half}"] = generator.integers(-128, 128, (count, channels)).astype(np.int8)
    return tables


def save_model(folder: Path, tables: dict[str, np.ndarray], gains: dict[str, list[float]] = GAINS) -> Path:
    folder.mkdir(exist_ok=True)
    scale = round(len(gains["hh1"]) ** 0.5)
    for name, table in tables.items():
        layer, _, half = name.rpartition("_")
        np.save(folder / f"Model_V_{layer}_x{scale}_{half}.npy", table[:, :, None, None])
    np.savez(folder / "clips.npz", **{name: np.array(each, np.float32) for name, each in gains.items()})
    return folder


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def mirror(place: int) -> int:
    """Return where a place is read that may lie up to two pixels above or left of the picture."""
    return -place if place < 0 else place


def restore_pixel(plane: np.ndarray, row: int, column: int, tables: dict[str, np.ndarray]) -> list[int]:
    """Return the block of a pixel of one turn, slowly, as the published script defines it."""
    channels = len(GAINS["hh1"])
    ends: list[list[int]] = []
    for half, (low, high) in HALVES.items():
        letter = half[0].lower()

        def split(place: tuple[int, int], half: str = half) -> int:
            value = int(plane[mirror(place[0]), mirror(place[1])]) - 128
            return value // 4 if half == "H6" else value % 4

        flow: list[int] = []
        for channel in range(channels):
            total = 0
            for number in range(9):
                seen = split((row - 2 + number // 3, column - 2 + number % 3))
                total += int(tables[f"L1_Depth_{half}"][number * (high - low + 1) + seen - low, channel])
            flow.append(clamp(round(Fraction(total, 9)) + split((row, column)), low, high))
        for layer, number in (("L1_Point", 1), ("UP", 2)):
            gains = GAINS[f"h{letter}{number}"]
            flow = [clamp(scaled(gain, half)[value - low], low, high) for gain, value in zip(gains, flow, strict=True)]
            totals, start = [0] * channels, 0
            for gain, value in zip(gains, flow, strict=True):
                run = scaled(gain, half)
                for output in range(channels):
                    totals[output] += int(tables[f"{layer}_{half}"][start + value - min(run), output])
                start += max(run) - min(run) + 1
            bounds = (-128, 127) if layer == "UP" else (low, high)
            flow = [
                clamp(round(Fraction(total, channels)) + value, *bounds)
                for total, value in zip(totals, flow, strict=True)
            ]
        ends.append(flow)
    return [clamp(high + low, -128, 127) for high, low in zip(*ends, strict=True)]


def restore(plane: np.ndarray, tables: dict[str, np.ndarray], scale: int) -> np.ndarray:
    """Return the enlarged plane, uint8."""
    total = np.zeros((plane.shape[0] * scale, plane.shape[1] * scale), np.int64)
    for turns in range(4):
        turned = np.rot90(plane, turns)
        result = np.zeros((turned.shape[0] * scale, turned.shape[1] * scale), np.int64)
        for row, column in np.ndindex(turned.shape):
            block = np.reshape(restore_pixel(turned, row, column, tables), (scale, scale))
            result[row * scale : (row + 1) * scale, column * scale : (column + 1) * scale] = block
        total += np.rot90(result, -turns)
    return (total.clip(-128, 127) + 128).astype(np.uint8)


def refusal(*sources: Path, **options: Any) -> str:
    with pytest.raises(FormatError) as caught:
        import_tables("tinylut", sources, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def apply(artefact: Artefact, image: np.ndarray, folder: Path, **options: Any) -> np.ndarray:
    write_artefact(folder / "model.h5", artefact, overwrite=True)
    return lutkit_runtime.load(folder / "model.h5").apply(image, **options)


# --- arithmetic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_every_pixel_is_as_published_borders_included(tmp_path: Path, backend: str) -> None:
    tables = make_tables(seed=1)
    # small entries let what comes before them be seen through the clamps
    small = {name: table if name.endswith("L2") else table // 8 for name, table in tables.items()}
    image = np.random.default_rng(2).integers(0, 256, (5, 4), dtype=np.uint8)
    for number, each in enumerate((tables, small)):
        artefact = import_tables("tinylut", [save_model(tmp_path / str(number), each)])
        expected = restore(image, each, scale=2)
        assert len(np.unique(expected)) > 20
        np.testing.assert_array_equal(apply(artefact, image, tmp_path, backend=backend), expected)


def test_rows_that_nothing_reads_change_nothing(tmp_path: Path) -> None:
    """Gain 1.25 makes rows for -40 to 39, of which the clamp leaves -32 to 31."""
    first, second = make_tables(seed=1), make_tables(seed=1)
    start = len({*scaled(0.5, "H6")})
    second["L1_Point_H6"][start : start + 8] ^= 85
    one, other = (
        import_tables("tinylut", [save_model(tmp_path / name, tables)])
        for name, tables in (("a", first), ("b", second))
    )
    assert one.program == other.program
    for slot, table in one.tables.items():
        np.testing.assert_array_equal(table, other.tables[slot])


def test_files_and_folder_give_the_same_model(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", make_tables(seed=3))
    whole = import_tables("tinylut", [folder])
    (folder / "README.md").write_text("a file that is no table\n")
    apart = import_tables("tinylut", [path for path in sorted(folder.iterdir()) if path.suffix != ".md"])
    assert import_tables("tinylut", [folder]).program == whole.program == apart.program
    assert whole.provenance["imported"]["files"]["up/low"]["name"] == "Model_V_UP_x2_L2.npy"
    assert (whole.program.family, whole.program.task, whole.program.scale) == ("tiny-lut", "sr", 2)


def test_tables_may_be_named_otherwise_and_be_floats(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", make_tables(seed=3))
    whole = import_tables("tinylut", [folder])
    for path in folder.glob("*.npy"):
        np.save(folder / path.name.removeprefix("Model_V_"), np.load(path).astype(np.float32).squeeze())
        path.unlink()
    renamed = import_tables("tinylut", [folder])
    for slot, table in whole.tables.items():
        np.testing.assert_array_equal(renamed.tables[slot], table)


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_command_imports_and_lists_the_kind(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", make_tables(seed=3))
    done = CliRunner().invoke(main, ["import", str(folder), "--as", "tinylut", "-o", str(tmp_path / "model.h5")])
    assert done.exit_code == 0, done.output
    assert "tiny-lut for sr, scale 2" in done.stderr
    assert "tinylut|shiftlut" in CliRunner().invoke(main, ["import", "--help"]).output
    refused = CliRunner().invoke(
        main, ["import", str(folder), "--as", "tinylut", "--scale", "2", "-o", str(tmp_path / "other.h5")]
    )
    assert refused.exit_code != 0 and not (tmp_path / "other.h5").exists()


# --- refusals -----------------------------------------------------------------------------------------------------


def spoil(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / name
        np.save(path, change(np.load(path)))

    return act


def set_gains(**changes: Any) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        gains: dict[str, Any] = {name: np.array(each, np.float32) for name, each in GAINS.items()}
        gains |= {name: np.asarray(each) for name, each in changes.items()}
        np.savez(folder / "clips.npz", **{name: each for name, each in gains.items() if each.size})

    return act


def pickle_array(folder: Path) -> None:
    np.save(folder / "Model_V_UP_x2_L2.npy", np.array([{}], dtype=object), allow_pickle=True)


def pickle_gains(folder: Path) -> None:
    np.savez(folder / "clips.npz", hh1=np.array([{}], dtype=object))


def inflate_gains(folder: Path) -> None:
    """Let a small archive hold a large array."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(1 << 22, np.int8))
    with zipfile.ZipFile(folder / "clips.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hh1.npy", stream.getvalue())


def repack_gains(folder: Path) -> None:
    with np.load(folder / "clips.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    with zipfile.ZipFile(folder / "clips.npz", "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, array)


def duplicate(folder: Path, old: str, new: str) -> None:
    shutil.copy(folder / old, folder / new)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "clips.npz").unlink(), "clips.npz is missing beside"),
        (lambda folder: (folder / "Model_V_UP_x2_L2.npy").unlink(), "Model_V_UP_x2_L2.npy is missing beside"),
        (
            lambda folder: duplicate(folder, "Model_V_L1_Point_x2_L2.npy", "Model_V_L2_Point_x2_L2.npy"),
            "Model_V_L2_Point_x2_L2.npy has no place in this model",
        ),
        (
            lambda folder: duplicate(folder, "Model_V_UP_x2_L2.npy", "Other_UP_x2_L2.npy"),
            "tables of 2 models (Model_V x2, Other x2)",
        ),
        (spoil("Model_V_L1_Depth_x2_H6.npy", lambda table: table[:-1]), "has 575 rows; 9 pixels of 64 values need 576"),
        (spoil("Model_V_UP_x2_H6.npy", lambda table: table[:-1]), "what the gains in clips.npz make need"),
        (spoil("Model_V_UP_x2_H6.npy", lambda table: table[:, :3]), "has 3 outputs; Model_V_L1_Depth_x2_H6.npy has 4"),
        (spoil("Model_V_L1_Depth_x2_H6.npy", lambda table: table[:, :3]), "has 3 outputs; a model enlarges s times"),
        (spoil("Model_V_L1_Depth_x2_H6.npy", lambda table: table.reshape(-1)), "has shape (2304,); a table is"),
        (spoil("Model_V_UP_x2_L2.npy", lambda table: table / np.float32(2)), "holds fractions"),
        (spoil("Model_V_UP_x2_L2.npy", lambda table: table * np.float32("nan")), "holds values beyond -128 to 127"),
        (spoil("Model_V_UP_x2_L2.npy", lambda table: table.astype(np.int16) + 200), "holds values beyond -128 to 127"),
        (spoil("Model_V_UP_x2_L2.npy", lambda table: table.astype(np.complex64)), "integers or floats are needed"),
        (spoil("Model_V_UP_x2_L2.npy", lambda table: table[:0]), "an array that is not empty is needed"),
        (pickle_array, "holds object values"),
        (pickle_gains, "holds object values"),
        (inflate_gains, "holds more than 4096 bytes in 'hh1.npy'"),
        (repack_gains, "in another way than numpy.savez"),
        (lambda folder: (folder / "clips.npz").write_bytes(b"PK\x03\x04"), "is no readable .npz file"),
        (lambda folder: (folder / "clips.npz").write_bytes(bytes((1 << 24) + 1)), "has 16777217 bytes"),
        (set_gains(hh2=[]), "has no array hh2"),
        (set_gains(hh2=[1.0, 1.0]), "has 2 gains in hh2; the tables have 4 channels"),
        (set_gains(hh2=[1.0, 1.0, 1.0, np.inf]), "gains in hh2 that are no numbers of at most 16"),
        (set_gains(hh2=[1.0, 1.0, 1.0, np.nan]), "gains in hh2 that are no numbers of at most 16"),
        (set_gains(hl2=[1.0, 1.0, 1.0, -1.0]), "gains below 0 in hl2"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: Callable[[Path], None], sentence: str) -> None:
    folder = save_model(tmp_path / "model", make_tables(seed=3))
    change(folder)
    assert sentence in refusal(folder)


def test_sources_that_are_no_such_model_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", make_tables(seed=3))
    (tmp_path / "empty").mkdir()
    assert "holds nothing of such a model" in refusal(tmp_path / "empty")
    assert "is nothing of such a model" in refusal(tmp_path / "table.npy")
    assert "has no tables beside it" in refusal(folder / "clips.npz")
    assert "have one name" in refusal(folder, folder)
    assert "no files are given" in refusal()
    assert "'tinylut' has no option --task: it takes none" in refusal(folder, task="sr")


def test_damaged_archives_are_refused_or_read_as_they_were(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", make_tables(seed=3))
    whole = import_tables("tinylut", [folder])
    content = (folder / "clips.npz").read_bytes()
    generator = np.random.default_rng(4)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << generator.integers(8)
        (folder / "clips.npz").write_bytes(damaged)
        try:
            assert import_tables("tinylut", [folder]).program == whole.program
        except FormatError as problem:
            assert "\n" not in str(problem)
            refused += 1
    assert refused > 75


# --- the published model ------------------------------------------------------------------------------------------


@pytest.mark.data
def test_the_published_tables_score_as_published(shared_data: Path, tmp_path: Path) -> None:
    write_artefact(tmp_path / "model.h5", import_tables("tinylut", [shared_data / "published/tinylut-s-x4"]))
    restorer = open_restorer(str(tmp_path / "model.h5"), task=None, sigma=None, quality=None, backend="numpy")
    set5 = shared_data / "benchmarks/Set5"
    plan = plan_read_pairs(set5 / "HR", set5 / "LR_bicubic/X4", restorer.task)
    scores = score_pairs(restorer.restore, (read() for read in plan), restorer.task, total=len(plan))
    assert [score.psnr for score in scores] == pytest.approx(PUBLISHED, abs=0.006)
    assert np.mean([score.psnr for score in scores]) == pytest.approx(30.220, abs=0.001)
