"""How times are taken and what rows say: contenders take turns, the figures follow from the times."""

import numpy as np
import pytest

from lutkit.benchmark import Contender, make_contenders, make_mulut, measure_interleaved, measure_times
from lutkit.benchmark.machine import describe_machine, measure_copying, name_processor
from lutkit.benchmark.measuring import Timing
from lutkit.benchmark.rows import Case, Verdict, tabulate
from lutkit.benchmark.table import format_table
from lutkit.families import mulut
from lutkit_runtime.engine import Model
from lutkit_runtime.pattern import NAMED_PATTERNS


class Clock:
    """A clock of its own: on a busy machine a short sleep may take long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        monkeypatch.setattr("lutkit.benchmark.measuring.time.perf_counter", lambda: self.now)

    def spend(self, name: str, seconds: float) -> str:
        self.calls.append(name)
        self.now += seconds
        return name


def test_contenders_take_turns_and_slow_ones_sit_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    medians = measure_interleaved(
        [
            Contender("slow", 1, lambda: clock.spend("slow", 0.02)),
            Contender("quick", 1, lambda: clock.spend("quick", 0.001)),
        ],
        rounds=4,
        seconds=0.03,
    )
    assert clock.calls == ["slow", "quick"] * 3 + ["quick"] * 2
    assert medians == pytest.approx([20, 1])


def test_what_settles_an_engine_is_not_measured_and_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    contender = Contender("a", 1, lambda: clock.spend("run", 0.5), settle=lambda: clock.spend("settle", 9.0))
    (timing,) = measure_times([contender], rounds=2, seconds=10)
    assert clock.calls == ["settle", "run"] * 3
    assert timing == Timing(500, 500, 500, 500, 2)


def test_a_first_run_that_takes_all_the_time_counts_where_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    seen: list[tuple[str, str]] = []
    contenders = [
        Contender("reference", 1, lambda: clock.spend("reference", 3.0), patient=False),
        Contender("compiled", 1, lambda: clock.spend("compiled", 3.0)),
    ]
    timings = measure_times(contenders, 5, 1.0, lambda contender, result: seen.append((contender.engine, result)))
    assert clock.calls == ["reference", "compiled", "compiled"]
    assert [timing.runs for timing in timings] == [1, 1]
    assert [timing.median for timing in timings] == pytest.approx([3000, 3000])
    assert seen == [("reference", "reference"), ("compiled", "compiled")]


def test_a_failure_is_raised_unless_it_is_forgiven() -> None:
    def fail() -> None:
        raise RuntimeError("no")

    contenders = [Contender("able", 1, int), Contender("unable", 1, fail)]
    with pytest.raises(RuntimeError, match="no"):
        measure_times(contenders, 1)
    told: list[str] = []
    timings = measure_times(
        contenders, 1, forgive=lambda contender, problem: not told.append(f"{contender.engine} {problem}")
    )
    assert told == ["unable no"]
    assert len(timings) == 1


def test_quantiles_are_in_order_and_those_of_the_times() -> None:
    timing = Timing.summarise([0.004, 0.001, 0.003, 0.002, 0.005])
    assert (timing.minimum, timing.first_quartile, timing.median, timing.third_quartile) == pytest.approx((1, 2, 3, 4))
    assert timing.runs == 5


def test_rows_follow_from_the_times() -> None:
    contenders = (
        Contender("lutkit", 1, int, bytes_moved=4_000_000, version="9"),
        Contender("lutkit CUDA", 1, int, bytes_moved=4_000_000),
        Contender("Other", 1, int, bytes_moved=4_000_000, model="net"),
        Contender("Other", 2, int, bytes_moved=4_000_000),
    )
    case = Case("a case", 2_000_000, contenders, lambda _contender, _result: Verdict(None, None))
    timings = [Timing(median, median, median, median, 3) for median in (2.0, 1.0, 5.0, 4.0)]
    verdicts = [Verdict(1.0, 0.98), Verdict(0.0, 1.0), Verdict(None, None, "another method"), Verdict(None, None)]
    rows = tabulate(case, contenders, timings, verdicts, {1: 1e10}, "a machine")
    assert [row["megapixels_per_second"] for row in rows] == [1000, 2000, 400, 500]
    # 4 MB at 10 GB/s are 0.4 ms; nothing is known of copies by two threads, and nothing of those inside a GPU
    assert [row["roofline_percent"] for row in rows] == [20, None, 8, None]
    assert [row["times_lutkit"] for row in rows] == [1, 0.5, 2.5, None]
    assert (rows[0]["max_difference"], rows[0]["identical"], rows[0]["engine_version"]) == (1.0, 0.98, "9")
    header, *lines = format_table(rows)
    assert header.startswith("a case ")
    assert lines[0].split() == ["lutkit", "1", "2.00", "2.00-2.00", "1000.00", "20.0%", "1.00", "1", "98.00%"]
    assert lines[2].split() == [
        "Other",
        "net",
        "1",
        "5.00",
        "5.00-5.00",
        "400.00",
        "8.0%",
        "2.50",
        *"--",
        "another",
        "method",
    ]
    assert format_table([]) == []


def test_copying_is_measured_for_every_number_of_threads() -> None:
    found = measure_copying((1, 2), size=1 << 20, copies=3)
    assert set(found) == {1, 2}
    # between a megabyte and a petabyte per second
    assert all(1e6 < speed < 1e15 for speed in found.values())


def test_the_processor_is_named_as_the_system_does(tmp_path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nmodel name\t: other\n")
    assert name_processor(listing) == "Some CPU @ 3 GHz"
    assert name_processor(tmp_path / "missing")
    assert "\n" not in describe_machine()


def test_contenders_of_a_model_name_every_backend_once() -> None:
    program = mulut.build_program({"v": NAMED_PATTERNS["v"]}, stages=1, scale=2, interval=4)
    model = Model(program, {"stage1/v": np.zeros((289, 4), np.int8)})
    contenders = make_contenders(model, np.zeros((4, 6, 3), np.uint8), threads=(1, 10_000))
    assert [contender.engine for contender in contenders[:2]] == ["numpy", "cpu"]
    assert len({(contender.engine, contender.threads) for contender in contenders}) == len(contenders)
    assert {contender.run().shape for contender in contenders} == {(8, 12, 3)}


def test_default_model_has_the_published_size() -> None:
    tables = make_mulut().tables
    assert sum(table.size for table in tables.values()) == 3 * 17**4 * (1 + 16)
