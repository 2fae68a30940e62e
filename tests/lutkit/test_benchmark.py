"""The benchmark: its rows are complete and consistent, contenders take turns."""

import numpy as np
import pytest

from lutkit.benchmark import Contender, make_mulut, measure_interleaved, run_cases
from lutkit.families import mulut
from lutkit_runtime.engine import Model
from lutkit_runtime.pattern import NAMED_PATTERNS


def test_rows_name_every_engine_once_and_agree_with_themselves() -> None:
    program = mulut.build_program({"v": NAMED_PATTERNS["v"]}, stages=1, scale=2, interval=4)
    model = Model(program, {"stage1/v": np.zeros((289, 4), np.int8)})
    rows = run_cases(model, rounds=1, threads=(1, 10_000))
    assert [row["engine"] for row in rows[:2]] == ["numpy", "cpu"]
    assert len({(row["engine"], row["threads"]) for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"case", "engine", "threads", "milliseconds", "megapixels_per_second"}
        assert row["case"] == "mulut x2, 320x180 RGB"
        rounding = 0.0006 * row["milliseconds"]  # of the speed, which has three decimals
        assert row["megapixels_per_second"] * row["milliseconds"] == pytest.approx(640 * 360 / 1000, abs=rounding + 0.1)


def test_contenders_take_turns_and_slow_ones_sit_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own: on a busy machine a short sleep may take long."""
    calls: list[str] = []
    now = 0.0
    monkeypatch.setattr("lutkit.benchmark.time.perf_counter", lambda: now)

    def spend(name: str, seconds: float) -> None:
        nonlocal now
        calls.append(name)
        now += seconds

    medians = measure_interleaved(
        [
            Contender("slow", 1, lambda: spend("slow", 0.02)),
            Contender("quick", 1, lambda: spend("quick", 0.001)),
        ],
        rounds=4,
        seconds=0.03,
    )
    assert calls == ["slow", "quick"] * 3 + ["quick"] * 2
    assert medians == pytest.approx([20, 1])


def test_default_model_has_the_published_size() -> None:
    tables = make_mulut().tables
    assert sum(table.size for table in tables.values()) == 3 * 17**4 * (1 + 16)
