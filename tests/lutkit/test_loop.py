"""The optimisation loop: resuming, the choice of the best step, checkpoints, signals."""

import dataclasses
import errno
import json
import math
import os
import signal
import threading

import msgspec
import numpy as np
import pytest
from fresh_python import run_python

torch = pytest.importorskip("torch")

from lutkit.data import PatchSource  # noqa: E402
from lutkit.degradation import Downscale  # noqa: E402
from lutkit.families import mulut  # noqa: E402
from lutkit.families.spatial import SpatialConfig  # noqa: E402
from lutkit.generated import render_collection  # noqa: E402
from lutkit.loop import Interrupted, Loop  # noqa: E402
from lutkit.objective import PatchObjective  # noqa: E402
from lutkit.recipe import Phase, Recipe  # noqa: E402
from lutkit.run import Log  # noqa: E402
from lutkit.trainable import NetworkModel, TableModel, round_tables  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402

CONFIG = SpatialConfig(patterns=("s",), stages=2, scale=2, interval=6, width=8)
PHASES = (Phase(interval=6), Phase(interval=5), Phase(interval=None))
RECIPE = Recipe(
    steps=9, batch=2, crop=6, learning_rate=1e-2, final_rate=1e-3, warmup=3, validate_every=4, phases=PHASES
)


class Source:
    """Patches of a real source; before a step of your choice something happens."""

    def __init__(self, at=None, action=None):
        self._patches = PatchSource(render_collection(1, 2, 32), Downscale(2))
        self._drawn = 0
        self._at = at
        self._action = action

    def sample(self, rng, batch, crop, part=slice(None)):
        self._drawn += 1
        if self._drawn == self._at:
            self._action()
        return self._patches.sample(rng, batch, crop, part)


def make_networks():
    torch.manual_seed(5)
    return NetworkModel(mulut, CONFIG)


def make_tables():
    model = make_networks()
    program = model.program_at(6)
    return TableModel(program, round_tables(program, model.tables(6)))


def measure(model):
    """Return a figure that depends on every parameter, negative and rising as parameters shrink."""
    return -float(sum(value.square().sum() for value in model.module.state_dict().values()))


def make_loop(folder, make_model=make_networks, recipe=RECIPE, source=None, validate=None, seed=11):
    model = make_model()
    return Loop(
        objective=PatchObjective(model, recipe, source or Source(), mulut.loss),
        recipe=recipe,
        unit=127.0 if make_model is make_tables else 1.0,
        validate=validate or (lambda _step: measure(model)),
        seed=seed,
        checkpoint=folder / "checkpoint.pt",
        log=folder / "log.jsonl",
    )


def read_log(folder):
    """Return the log without times."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_same_end(first, second):
    """Compare two finished loops, each with its progress: parameters, best step, log, bit for bit."""
    (one, progress), (two, other) = first, second
    states = one.objective.module.state_dict(), two.objective.module.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    for name in ("step", "best_step", "best_psnr", "losses"):
        assert getattr(progress, name) == getattr(other, name)
    assert read_log(one.log.parent) == read_log(two.log.parent)


def folder_in(parent, name):
    (parent / name).mkdir()
    return parent / name


def die():
    raise RuntimeError("killed")


@pytest.mark.parametrize("average", [0.0, 0.8])
@pytest.mark.parametrize("make_model", [make_networks, make_tables])
@pytest.mark.parametrize("stop", [1, 4, 6])
def test_interrupted_and_resumed_equals_one_go(tmp_path, make_model, average, stop):
    recipe = msgspec.structs.replace(RECIPE, average=average)
    whole = make_loop(folder_in(tmp_path, "whole"), make_model, recipe)
    expected = whole.run(resume=False)

    cut = folder_in(tmp_path, "cut")
    source = Source(at=stop, action=lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted) as interruption:
        make_loop(cut, make_model, recipe, source).run(resume=False)
    assert interruption.value.step == stop
    resumed = make_loop(cut, make_model, recipe)
    progress = resumed.run(resume=True)

    assert len(read_log(cut)) == 3
    assert progress.seconds > 0
    assert_same_end((whole, expected), (resumed, progress))


def test_killed_after_a_validation_resumes_from_it_and_equals_one_go(tmp_path):
    whole = make_loop(folder_in(tmp_path, "whole"))
    expected = whole.run(resume=False)
    cut = folder_in(tmp_path, "cut")
    with pytest.raises(RuntimeError, match="killed"):
        make_loop(cut, source=Source(at=7, action=die)).run(resume=False)
    # What a process writes that dies between the log and the checkpoint, or in the middle of a line.
    with (cut / "log.jsonl").open("a") as log:
        log.write('{"step": 8, "psnr": 1.0}\n{"step": 8, "ps')
    drawn = []
    resumed = make_loop(cut, source=Source(at=5, action=lambda: drawn.append("fifth")))
    assert_same_end((whole, expected), (resumed, resumed.run(resume=True)))
    assert drawn == ["fifth"]  # steps 5 to 9 were done again


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    loop = make_loop(tmp_path)
    expected = loop.run(resume=False)
    again = make_loop(tmp_path, source=Source(at=1, action=die))
    assert_same_end((loop, expected), (again, again.run(resume=True)))


def test_a_seed_decides_everything(tmp_path):
    ends = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        loop = make_loop(folder_in(tmp_path, name), seed=seed)
        loop.run(resume=False)
        ends.append(torch.cat([value.flatten() for value in loop.objective.module.state_dict().values()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("average", [0.0, 0.8])
def test_the_best_validated_step_is_what_remains(tmp_path, average):
    scores = {2: 20.0, 4: 31.0, 6: 29.0, 8: 31.0}
    seen = {}

    def validate(step):
        seen[step] = {name: value.clone() for name, value in loop.objective.module.state_dict().items()}
        return scores[step]

    phases = (Phase(interval=6),)
    recipe = msgspec.structs.replace(RECIPE, steps=8, validate_every=2, average=average, phases=phases)
    loop = make_loop(tmp_path, recipe=recipe, validate=validate)
    progress = loop.run(resume=False)
    assert (progress.best_step, progress.best_psnr) == (4, 31.0)  # the first of equals
    for name, value in loop.objective.module.state_dict().items():
        assert torch.equal(value, seen[4][name])
        assert not torch.equal(value, seen[6][name]) or "bias" in name
    assert [line["psnr"] for line in read_log(tmp_path)] == list(scores.values())


@pytest.mark.parametrize("stop", [None, 3, 5, 7])
def test_steps_of_other_phases_do_not_compare(tmp_path, stop):
    """The best of the last phase remains, however well an earlier form of the model did; resuming changes nothing."""
    scores = {2: 40.0, 4: 41.0, 6: 30.0, 8: 29.0}
    phases = (Phase(interval=None), Phase(interval=6))
    recipe = msgspec.structs.replace(RECIPE, steps=8, validate_every=2, phases=phases)
    if stop is not None:
        source = Source(at=stop, action=lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted):
            make_loop(tmp_path, recipe=recipe, source=source, validate=scores.get).run(resume=False)
    progress = make_loop(tmp_path, recipe=recipe, validate=scores.get).run(resume=stop is not None)
    assert (progress.best_step, progress.best_psnr) == (6, 30.0)


def test_phases_of_one_interval_compare(tmp_path):
    scores = {2: 30.0, 4: 31.0, 6: 30.0, 8: 29.0}
    recipe = msgspec.structs.replace(RECIPE, steps=8, validate_every=2, phases=(Phase(interval=6), Phase(interval=6)))
    assert make_loop(tmp_path, recipe=recipe, validate=scores.get).run(resume=False).best_step == 4


def test_averages_are_what_is_validated(tmp_path):
    """The running average of three recorded parameter values, computed here by hand."""
    raw, validated = [], []
    recipe = msgspec.structs.replace(RECIPE, steps=3, validate_every=3, average=0.75)

    class Recording(TableModel):
        def confine(self):
            super().confine()
            raw.append(self.tables["stage1/s"].detach().double().clone())

    def make_recording():
        plain = make_tables()
        return Recording(plain.program, plain.entries())

    loop = make_loop(
        tmp_path,
        make_recording,
        recipe,
        validate=lambda _step: (
            validated.append(loop.objective.model.tables["stage1/s"].detach().double().clone()) or 1.0
        ),
    )
    start = loop.objective.model.tables["stage1/s"].detach().double().clone()
    loop.run(resume=False)
    expected = 0.75**3 * start + 0.25 * (0.75**2 * raw[0] + 0.75 * raw[1] + raw[2])
    torch.testing.assert_close(validated[0], expected, rtol=0, atol=1e-4)
    assert not torch.allclose(validated[0], raw[2], atol=1e-3)
    assert torch.equal(loop.objective.model.tables["stage1/s"].detach().double(), validated[0])


def test_learning_rate_follows_the_recipe(tmp_path):
    loop = make_loop(tmp_path)
    rates = [loop.rate_at(step) for step in range(RECIPE.steps)]
    assert rates[0] == pytest.approx(1e-2 / 3)
    cosine = [1e-3 + 9e-3 * (1 + math.cos(math.pi * step / 9)) / 2 for step in range(9)]
    assert rates[2:] == pytest.approx(cosine[2:])
    assert rates[1] == pytest.approx(cosine[1] * 2 / 3)
    loop.run(resume=False)
    assert [line["learning_rate"] for line in read_log(tmp_path)] == pytest.approx([rates[3], rates[7], rates[8]])


def test_the_rate_of_tables_counts_their_unit(tmp_path):
    loop = make_loop(tmp_path, make_tables)
    loop.run(resume=False)
    assert read_log(tmp_path)[-1]["learning_rate"] == pytest.approx(127 * loop.rate_at(8))


def test_tables_stay_within_their_levels(tmp_path):
    recipe = msgspec.structs.replace(RECIPE, learning_rate=1.0, final_rate=1.0, warmup=0)
    ends = []
    loop = make_loop(
        tmp_path,
        make_tables,
        recipe,
        validate=lambda _step: (
            ends.extend(map(float, loop.objective.model.tables["stage2/s"].detach().aminmax())) or 1.0
        ),
    )
    loop.run(resume=False)
    assert (min(ends), max(ends)) == (-128, 127)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_write_a_checkpoint_and_are_handed_back(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped after step 2"):
        make_loop(tmp_path, source=Source(at=2, action=lambda: signal.raise_signal(number))).run(resume=False)
    assert signal.getsignal(number) is before
    assert (tmp_path / "checkpoint.pt").is_file()
    assert not (tmp_path / "log.jsonl").exists()


def test_a_second_signal_stops_at_once(tmp_path):
    def press_twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        make_loop(tmp_path, source=Source(at=2, action=press_twice)).run(resume=False)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_signal_during_the_last_step_lets_the_run_end(tmp_path):
    source = Source(at=9, action=lambda: signal.raise_signal(signal.SIGINT))
    assert make_loop(tmp_path, source=source).run(resume=False).step == 9


def test_runs_outside_the_main_thread(tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.append(make_loop(tmp_path).run(resume=False).step))
    thread.start()
    thread.join()
    assert done == [9]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"steps": 12}, "steps = 9, not 12"),
        ({"learning_rate": 2e-2}, "learning_rate = 0.01, not 0.02"),
        ({"average": 0.5}, "average = 0.0, not 0.5"),
        ({"phases": (Phase(interval=6),)}, "phases = "),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, change, told):
    make_loop(tmp_path).run(resume=False)
    other = make_loop(tmp_path, recipe=msgspec.structs.replace(RECIPE, **change))
    with pytest.raises(DataError, match=r"checkpoint\.pt was made with") as refusal:
        other.run(resume=True)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_of_another_seed_is_refused(tmp_path):
    make_loop(tmp_path).run(resume=False)
    with pytest.raises(DataError, match="seed = 11, not 12"):
        make_loop(tmp_path, seed=12).run(resume=True)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    make_loop(tmp_path).run(resume=False)
    with pytest.raises(DataError, match=r"checkpoint\.pt is of another model"):
        make_loop(tmp_path, make_tables).run(resume=True)


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    whole = make_loop(folder_in(tmp_path, "whole"))
    expected = whole.run(resume=False)
    cut = folder_in(tmp_path, "cut")
    calls = []

    def refuse(handle, flush=os.fsync):
        # The log's cut and the first checkpoint, file and folder each, go through; the second checkpoint does not.
        calls.append(handle)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(DataError, match=r"cannot write .*checkpoint\.pt \(No space left on device\)") as failure:
            make_loop(cut).run(resume=False)
    assert "\n" not in str(failure.value)
    assert sorted(file.name for file in cut.iterdir()) == ["checkpoint.pt", "log.jsonl"]
    resumed = make_loop(cut)
    assert_same_end((whole, expected), (resumed, resumed.run(resume=True)))


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*log\.jsonl \(Is a directory\)"):
        make_loop(tmp_path).run(resume=False)


def test_numba_does_not_change_the_number_of_torch_threads():
    code = (
        "import numba, torch; from lutkit.threads import settle_threads\n"
        "settle_threads(); print(torch.get_num_threads())\n"
        "numba.set_num_threads(2); print(torch.get_num_threads())"
    )
    assert run_python(code, OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="2").split() == ["1", "1"]


def test_a_log_is_cut_to_the_steps_done(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.cut(3)
    assert not (tmp_path / "log.jsonl").exists()
    for step in (2, 3, 4):
        log.add({"step": step})
    with (tmp_path / "log.jsonl").open("ab") as stream:
        stream.write(b'"text"\n[1]\n{"psnr": 1}\n\xff\xfe\n{"step": 3, "ps')
    log.cut(3)
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 2}\n{"step": 3}\n'


def test_tensorboard_gets_every_validation(tmp_path):
    pytest.importorskip("tensorboard")
    loop = dataclasses.replace(make_loop(tmp_path), tensorboard=tmp_path / "board")
    loop.run(resume=False)
    assert list((tmp_path / "board").iterdir())


def test_losses_are_means_since_the_last_validation(tmp_path, monkeypatch):
    losses = iter(np.arange(1.0, 10.0))
    monkeypatch.setattr(Loop, "_step", lambda *_: (torch.tensor(next(losses)), False))
    make_loop(tmp_path).run(resume=False)
    assert [line["loss"] for line in read_log(tmp_path)] == [2.5, 6.5, 9.0]
