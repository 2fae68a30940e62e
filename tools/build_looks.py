"""Write the looks that lutkit brings along into the package: lutkit/models/NAME.h5, made by the formulas of lutkit.colour.looks.

python tools/build_looks.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lutkit.colour.looks import LOOKS, make_look
from lutkit.colour.lut import ColourLut
from lutkit.colour.programs import extract_lut, make_lut_artefact
from lutkit.colour_metrics import to_lab
from lutkit_runtime.artefact import Artefact, write_artefact
from lutkit_runtime.table_coding import Storage

MODELS = Path(__file__).resolve().parents[1] / "lutkit" / "models"
TOLERANCE = 1e-5
"""What storing in 16 bits may cost, of 0 to 1."""


def build_look(name: str) -> Artefact:
    """Return the model of a look, in 16 bits where that costs next to nothing, with how it was made."""
    lut = make_look(name)
    loss = measure_storage(lut, Storage.INT16)
    storage = Storage.INT16 if loss < TOLERANCE else Storage.FLOAT32
    assert lut.cube is not None
    every = np.arange(lut.cube.size)
    grays = to_lab(lut.cube.values[every, every, every])
    provenance = {
        "name": name,
        "summary": LOOKS[name].summary,
        "data": "none: a formula (lutkit.colour.looks)",
        "licence": "MIT",
        "figures": {
            "contrast": LOOKS[name].slope,
            "tint_de76": round(float(np.hypot(grays[:, 1], grays[:, 2]).mean()), 2),
        },
        "history": [{"step": "formula", "look": name, "size": lut.cube.size, "storage": storage.value, "loss": loss}],
    }
    return make_lut_artefact(lut, storage=storage, provenance=provenance)


def measure_storage(lut: ColourLut, storage: Storage) -> float:
    """Return the largest error of a LUT's entries that a way of storing them makes."""
    stored = extract_lut(make_lut_artefact(lut, storage=storage))
    assert lut.cube is not None and stored.cube is not None
    return float(f"{np.abs(stored.cube.values - lut.cube.values).max():.3g}")


def main() -> None:
    """Write all looks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(LOOKS)}; default: all")
    parser.add_argument("--output", type=Path, default=MODELS, help="folder; default: the package's models")
    options = parser.parse_args()
    for name in options.names or LOOKS:
        path = options.output / f"{name}.h5"
        write_artefact(path, build_look(name), overwrite=True)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
