"""Checkpoints and network files: whole or not at all, and nothing in them is run."""

import errno
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lutkit.checkpoints import load_checkpoint, load_networks, save_checkpoint, save_networks  # noqa: E402
from lutkit_runtime.errors import DataError  # noqa: E402

STATE = {
    "model": {"weight": torch.arange(35.0).reshape(5, 7)},
    "progress": {"step": 3, "best_psnr": -1.5, "losses": [0.25, 0.5], "best": {}},
    "made_by": "{}",
}
PARAMETERS = {"stage1-s.enter.weight": torch.arange(6.0).reshape(2, 3), "stage1-s.enter.bias": torch.ones(2)}


class Malicious:
    """Pickles into a call that leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def assert_refused(read, path, *told):
    with pytest.raises(DataError) as refusal:
        read(path)
    message = str(refusal.value)
    assert "\n" not in message
    assert str(path) in message
    for words in told:
        assert words in message


def equal(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    return torch.equal(first, second) if torch.is_tensor(first) else first == second


def test_states_come_back(tmp_path):
    save_checkpoint(tmp_path / "c.pt", STATE)
    assert equal(load_checkpoint(tmp_path / "c.pt"), STATE)
    save_checkpoint(tmp_path / "c.pt", {"other": 1})
    assert load_checkpoint(tmp_path / "c.pt") == {"other": 1}


def test_networks_come_back(tmp_path):
    # A parameter that is a view of something larger, as torch makes them.
    save_networks(tmp_path / "n.safetensors", {**PARAMETERS, "turned": PARAMETERS["stage1-s.enter.weight"].T})
    loaded = load_networks(tmp_path / "n.safetensors")
    assert equal(loaded, {**PARAMETERS, "turned": PARAMETERS["stage1-s.enter.weight"].T})


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("save", "load", "old", "new"),
    [
        (save_checkpoint, load_checkpoint, STATE, {"step": 4}),
        (save_networks, load_networks, PARAMETERS, {"other": torch.zeros(1)}),
    ],
)
def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch, call, save, load, old, new):
    path = tmp_path / "state"
    save(path, old)

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*(os, "fsync") if call == "fsync" else (Path, "replace"), refuse)
        assert_refused(lambda target: save(target, new), path, "cannot write", "No space left on device")
    assert equal(load(path), old)
    assert os.listdir(tmp_path) == ["state"]  # noqa: PTH208


def test_missing_files_are_named_with_the_remedy(tmp_path):
    assert_refused(load_checkpoint, tmp_path / "c.pt", "No such file", "-y")
    assert_refused(load_networks, tmp_path / "run" / "n.safetensors", "No such file", f"--run {tmp_path / 'run'}")
    assert_refused(load_checkpoint, tmp_path, "Is a directory")
    assert_refused(load_networks, tmp_path, "Is a directory")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04", b"{}", pickle.dumps({"step": 1})])
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    assert_refused(load_checkpoint, path, "damaged")
    assert_refused(load_networks, path, "damaged")


@pytest.mark.parametrize("state", [[1, 2], torch.zeros(3), 7])
def test_what_torch_saved_but_is_no_state_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "c.pt")
    assert_refused(load_checkpoint, tmp_path / "c.pt", "damaged")


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_a_checkpoint_is_not_run(tmp_path, old_format):
    trace = tmp_path / "trace"
    path = tmp_path / "c.pt"
    torch.save({"model": Malicious(trace)}, path, _use_new_zipfile_serialization=not old_format)
    assert_refused(load_checkpoint, path, "damaged")
    assert not trace.exists()
    torch.load(path, weights_only=False)  # that it would have run, otherwise
    assert trace.exists()


def test_code_in_a_network_file_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / "network.safetensors"
    path.write_bytes(pickle.dumps(Malicious(trace)))
    assert_refused(load_networks, path, "damaged")
    assert not trace.exists()


def test_damage_to_a_checkpoint_is_found(tmp_path):
    """Whatever bytes change or are missing: the state is refused or, where they carry nothing, whole."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    data = path.read_bytes()
    chance = random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(data)) :]
        for _ in range(chance.choice([1, 3, 20])):
            if damaged:
                damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            assert equal(load_checkpoint(path), STATE)
        except DataError:
            refused += 1
    assert refused > 200


def test_a_changed_weight_in_a_checkpoint_is_found(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    data = bytearray(path.read_bytes())
    position = data.index(STATE["model"]["weight"].numpy().tobytes())
    data[position + 2] ^= 1
    path.write_bytes(data)
    torch.load(path, weights_only=True)  # torch itself does not notice
    assert_refused(load_checkpoint, path, "damaged")


def test_truncated_networks_are_refused(tmp_path):
    path = tmp_path / "n.safetensors"
    save_networks(path, PARAMETERS)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert_refused(load_networks, path, "damaged")


def test_an_archive_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert_refused(load_checkpoint, tmp_path / "c.pt", "damaged")
