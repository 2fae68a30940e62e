"""Feed the .cube reader with inputs that coverage finds interesting, until one does harm. Needs atheris.

An optional job, beside the tests' own random inputs:

    pip install atheris
    python tools/fuzz_cube.py corpus -max_total_time=600 -max_len=4096 -rss_limit_mb=512

`corpus` is a folder that the fuzzer fills; without one it starts from the seeds below. Any exception but FormatError, a
LUT that does not survive writing and reading, and a message of several lines are findings: the input is written to
`crash-...` in the current folder and belongs into the tests.
"""

from __future__ import annotations

import sys

import atheris  # pyright: ignore[reportMissingImports]

with atheris.instrument_imports(include=["lutkit.formats", "lutkit.colour"]):
    from lutkit.formats.cube import decode_cube
    from lutkit.formats.cube_writer import encode_cube

from lutkit_runtime.errors import FormatError

ROWS = b"0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 0 1\n1 0 1\n0 1 1\n1 1 1\n"
SEEDS = (
    b"LUT_3D_SIZE 2\n" + ROWS,
    b'TITLE "t"\r\nLUT_1D_SIZE 2\nDOMAIN_MIN -1 0 0\nDOMAIN_MAX 1 2 3\n# c\n.5 1. 1e-3\n-1 +2 3\n',
    b"LUT_1D_SIZE 2\nLUT_1D_INPUT_RANGE 0 2\nLUT_3D_SIZE 2\nLUT_3D_INPUT_RANGE 0 1\n0 0 0\n2 2 2\n" + ROWS,
)


def examine(data: bytes) -> None:
    """Read bytes as a .cube file; raise whatever is wrong with how that ends."""
    try:
        lut = decode_cube(data, "fuzz.cube")
    except FormatError as problem:
        if not str(problem).isprintable() or len(str(problem)) > 250:
            raise AssertionError(f"a message that cannot be shown: {str(problem)!r}") from problem
        return
    lut.validate()
    again = decode_cube(encode_cube(lut), "fuzz.cube")
    for first, second in ((lut.curves, again.curves), (lut.cube, again.cube)):
        if (first is None) != (second is None):
            raise AssertionError("a table was lost")
        if first is not None and second is not None and first.values.tobytes() != second.values.tobytes():
            raise AssertionError("values changed")


def mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Return changed data; where there is little to change, one of the seeds."""
    if len(data) < 8:
        data = SEEDS[seed % len(SEEDS)]
    return atheris.Mutate(data, longest)


def main() -> None:
    """Run until the limits on the command line, or the first finding."""
    for seed in SEEDS:
        examine(seed)
    atheris.Setup(sys.argv, examine, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
