"""The four lines of a newcomer, in processes of their own, in an empty folder with a picture; only smaller."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from small_training import run_lutkit

from lutkit.generated import render_dead_leaves
from lutkit_runtime import load

SMALL = {
    "model": {"patterns": ["s"], "width": 8},
    "recipe": {"batch": 2, "crop": 12, "phases": [{"interval": 6}]},
}


@pytest.mark.slow
def test_the_four_lines_work_as_they_stand(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    image = render_dead_leaves(np.random.default_rng(8), 40, 56)
    cv2.imwrite(str(folder / "img.png"), image[:, :, ::-1])
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    run = folder / "runs" / "default"
    lines = (
        (("train", "--config", "../small.json", "--steps", 12), ("generated images", "--data DIR", "lutkit transfer")),
        (("transfer", "--interval", 4), (" dB -> table ", "wrote runs/default/lut.h5")),
        (("finetune", "--steps", 4), ("generated images", "--data DIR", "wrote runs/default/lut-finetuned.h5")),
        (("apply", "img.png"), ("lut-finetuned.h5 of the run runs/default",)),
    )
    for arguments, told in lines:
        done = run_lutkit(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert "Warning" not in done.stderr
        for words in told:
            assert words in done.stderr

    assert {file.name for file in run.iterdir()} == {
        "run.json",
        "network.safetensors",
        "checkpoint.pt",
        "log.jsonl",
        "lut.h5",
        "lut-finetuned.h5",
        "lut-finetuned-log.jsonl",
    }
    model = load(run / "lut-finetuned.h5")
    assert [step["step"] for step in model.provenance["history"]] == ["train", "transfer", "finetune"]
    assert {slot: table.shape for slot, table in model.tables.items()} == {
        "stage1/s": (17**4, 1),
        "stage2/s": (17**4, 16),
    }
    written = cv2.imread(str(folder / "img_default.png"), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(written, model.apply(image))
    assert sorted(path.name for path in folder.iterdir()) == ["img.png", "img_default.png", "runs"]
