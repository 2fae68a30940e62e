"""Training in several processes: the results of one process, one voice, one end."""

import functools
import json
import operator
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("this torch has no process groups", allow_module_level=True)

from lutkit.checkpoints import load_checkpoint, load_networks  # noqa: E402
from lutkit.colour.predictor import BatchDropout, divide_dropout  # noqa: E402
from lutkit.data import PatchSource  # noqa: E402
from lutkit.degradation import AddNoise, Downscale  # noqa: E402
from lutkit.generated import render_collection  # noqa: E402
from lutkit.parallel import ALONE, Crew, find_place  # noqa: E402
from lutkit.train import choose_device  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402

TESTS = Path(__file__).resolve().parents[1]
CASES = ("spatial", "cut and resumed", "tables", "tables halved", "paired", "unpaired")


def start(*arguments, **environment):
    """Start a process of tests/crew_member.py."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", TESTS / "crew_member.py", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_crew(*arguments, size=2):
    """Start several processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(*arguments, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(size)]


def finish(processes):
    """Return the exit codes of processes and what they said; none is left running."""
    try:
        said = [process.communicate(timeout=270)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [process.returncode for process in processes], said


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos):
    """Folders of what one process and what two have made of every case."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    processes = [start(alone, photos, *CASES), *start_crew(together, photos, *CASES)]
    codes, said = finish(processes)
    assert codes == [0, 0, 0], said
    return alone, together


def read_log(folder):
    lines = [json.loads(line) for file in sorted(folder.rglob("*log.jsonl")) for line in file.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_same_log(folders, case, loss, psnr):
    one, two = (read_log(folder / case) for folder in folders)
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for first, second in zip(one, two, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=loss)
        assert second["psnr"] == pytest.approx(first["psnr"], abs=psnr)
        assert second["learning_rate"] == first["learning_rate"]


def assert_same_gradients(folders, case, bound):
    """Adam's running averages of the gradients, as parts of the largest one's length."""
    files = (folder / case / "run" / "checkpoint.pt" for folder in folders)
    states = [load_checkpoint(file)["optimiser"]["state"] for file in files]
    one, two = ({number: state["exp_avg"] for number, state in each.items()} for each in states)
    assert one.keys() == two.keys()
    longest = max(gradient.norm() for gradient in one.values())
    assert max(float((one[number] - two[number]).norm() / longest) for number in one) < bound


def furthest(folders, case):
    """Return how far parameters of networks are apart."""
    one, two = (load_networks(folder / case / "run" / "network.safetensors") for folder in folders)
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def test_networks_of_two_processes_are_those_of_one(trained):
    """What is left is the order of additions; noise is drawn for the whole batch, an average is kept."""
    assert_same_log(trained, "spatial", loss=1e-5, psnr=0.005)
    assert_same_gradients(trained, "spatial", 1e-4)
    assert furthest(trained, "spatial") < 1e-5


@pytest.mark.parametrize(("case", "loss", "slope"), [("paired", 1e-6, 1e-5), ("unpaired", 1e-3, 1e-2)])
def test_adaptive_networks_of_two_processes_are_those_of_one(trained, case, loss, slope):
    """Dropout, the critic and its random points are those of the whole batch.

    Adam gives parameters whose gradient is nothing but rounding, such as biases before a normalisation, steps as long as
    any other's: gradients are compared, not parameters. The critic has taken two such steps before.
    """
    assert_same_log(trained, case, loss=loss, psnr=0.05)
    assert_same_gradients(trained, case, slope)


@pytest.mark.parametrize("case", ["tables", "tables halved"])
def test_tables_of_two_processes_are_those_of_one(trained, case):
    """The log bit for bit, but for the mean of the losses, where both add up the same two parts."""
    assert_same_log(trained, case, loss=1e-6, psnr=0 if case == "tables halved" else 1e-3)
    one, two = (np.load(folder / case / "tables-0.npz") for folder in trained)
    other = np.load(trained[1] / case / "tables-1.npz")
    for slot in one:
        assert np.array_equal(two[slot], other[slot])
        assert np.mean(one[slot] == two[slot]) > (0.999 if case == "tables" else 0.99999)
    assert read_log(trained[1] / case)[-1]["psnr"] > read_log(trained[1] / case)[0]["psnr"]


def test_a_signal_to_one_stops_all_and_resuming_equals_one_go(trained):
    _, together = trained
    said = (together / "cut and resumed" / "said.txt").read_text()
    assert "0: stopped after step 3" in said and "1: stopped after step 3" in said
    files = [together / case / "run" / "network.safetensors" for case in ("spatial", "cut and resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert read_log(together / "spatial") == read_log(together / "cut and resumed")


def test_one_that_fails_ends_all_and_only_it_speaks(tmp_path, photos):
    codes, ends = finish(start_crew(tmp_path, photos, "failing"))
    assert codes == [1, 1]
    assert ends[0].strip().endswith("Deserted: another process has failed")
    assert ends[1].strip().endswith("DataError: this process has had enough")
    assert not (tmp_path / "failing" / "run" / "run.json").exists()  # nothing is in the way of the next run


@pytest.mark.slow
def test_torchrun_trains_and_says_everything_once(tmp_path, photos):
    def run(*arguments):
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node",
                "2",
                "-m",
                "--",
                "lutkit",
            ]
            + [str(argument) for argument in arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        )

    fields = {"model": {"patterns": ["s"], "stages": 1, "scale": 2, "interval": 6, "width": 8}}
    fields["recipe"] = {"batch": 2, "crop": 8, "warmup": 0, "phases": [{"interval": 6}]}
    (tmp_path / "small.json").write_text(json.dumps(fields))
    done = run("train", "--config", "small.json", "--data", photos, "--steps", 3, "--run", "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training on 5 photos") == done.stderr.count("next: lutkit transfer run") == 1
    assert load_networks(tmp_path / "run" / "network.safetensors")
    refused = run("train", "--config", "small.json", "--data", photos, "--run", "run")
    assert refused.returncode != 0
    assert refused.stderr.count("Error: run run exists: go on with --resume") == 1


@given(st.integers(1, 40), st.integers(1, 9))
def test_parts_are_the_batch(batch, size):
    crews = [Crew(rank, size) for rank in range(size)]
    parts = [list(range(batch))[crew.part_of(batch)] for crew in crews]
    assert functools.reduce(operator.concat, parts) == list(range(batch))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [crew.share_of(batch) for crew in crews] == [len(part) / batch for part in parts]
    if batch < size:
        with pytest.raises(DataError, match=f"batch = {batch}, which {size} processes cannot share"):
            crews[0].check_batch(batch)
    else:
        crews[0].check_batch(batch)
        assert min(map(len, parts)) > 0


@pytest.mark.parametrize("task", [Downscale(2), AddNoise(15.0)])
def test_parts_of_patches_are_the_batchs_and_leave_the_generator_alike(task):
    source = PatchSource(render_collection(1, 2, 32), task)
    whole_rng = np.random.default_rng(4)
    whole = source.sample(whole_rng, 5, 6)
    for rank in range(2):
        rng = np.random.default_rng(4)
        part = Crew(rank, 2).part_of(5)
        for some, all_of_it in zip(source.sample(rng, 5, 6, part), whole, strict=True):
            assert np.array_equal(some, all_of_it[part])
        assert rng.bit_generator.state == whole_rng.bit_generator.state


def test_parts_of_a_batch_are_dropped_as_the_whole_is():
    layer = torch.nn.Sequential(BatchDropout(0.4))
    values = torch.randn(5, 7)
    torch.manual_seed(3)
    whole = layer(values)
    assert 0 < (whole == 0).sum() < whole.numel()
    for rank in range(2):
        part = Crew(rank, 2).part_of(5)
        divide_dropout(layer, 5, part)
        torch.manual_seed(3)
        assert torch.equal(layer(values[part]), whole[part])
    layer.eval()
    assert torch.equal(layer(values[part]), values[part])


def test_one_process_sends_nothing():
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    assert ALONE.add_up_gradients([parameter], True) is True
    assert ALONE.meet(3.0) == [3.0] and ALONE.ask_leader(lambda: 4.0) == 4.0
    assert torch.equal(parameter.grad, torch.tensor([1.0, 2.0]))


def test_gradients_that_cannot_be_joined_fail_before_the_others_wait_for_them(monkeypatch):
    """What is announced at a meeting has to be sent: a process that ran out of memory after it would leave the others waiting."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    met = []
    monkeypatch.setattr(Crew, "meet", lambda _crew, value: met.append(value))

    def run_out(_tensors):
        raise MemoryError

    monkeypatch.setattr(torch, "cat", run_out)
    with pytest.raises(MemoryError):
        Crew(0, 2).add_up_gradients([parameter])
    assert met == []


def test_places(monkeypatch):
    assert find_place({}) == (ALONE, 0)
    assert find_place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == (Crew(3, 4), 1)
    for wrong in (
        {"RANK": "4", "WORLD_SIZE": "4", "LOCAL_RANK": "0"},
        {"RANK": "x", "WORLD_SIZE": "4", "LOCAL_RANK": "0"},
    ):
        with pytest.raises(DataError, match="start with torchrun"):
            find_place(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert choose_device("auto") == torch.device("cuda", 1)
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DataError, match="process 2 of this machine finds 2 GPUs"):
        choose_device("auto")
