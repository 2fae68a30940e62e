"""Frozen models still load and still give the bytes that they gave when they were frozen; see tools/freeze_golden.py."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import lutkit_runtime

GOLDEN = Path(__file__).parent / "golden"
OUTPUTS = json.loads((GOLDEN / "outputs.json").read_text(encoding="utf-8"))


def make_picture():
    rows, columns = np.mgrid[0:23, 0:31]
    edge = np.where(columns > rows, 240, 12)
    picture = np.stack([(rows * 7 + columns * 5) % 256, edge, (rows * 37 + columns * 101) % 256], axis=-1).astype(
        np.uint8
    )
    picture[:3, :3], picture[-3:, -3:] = 255, 0
    return picture


def test_every_frozen_model_has_its_output():
    assert {file.stem for file in GOLDEN.glob("*.h5")} == OUTPUTS.keys()


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_frozen_model_gives_its_frozen_bytes(name, backend):
    model = lutkit_runtime.load(GOLDEN / f"{name}.h5")
    codes = make_picture()
    pictures = [codes]
    if name.startswith("colour-"):  # at every depth, one after another
        wide = codes.astype(np.uint16) * np.uint16(257) + np.uint16(3)
        pictures += [wide, wide.astype(np.float32) / np.float32(60000) - np.float32(0.05)]
    results = [model.apply(picture, backend=backend, tile=9) for picture in pictures]
    assert hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest() == OUTPUTS[name]
