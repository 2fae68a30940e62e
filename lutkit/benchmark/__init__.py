"""How fast models run on this machine, beside other programs. May import the runtime; torch inside one function only.

`measuring` takes times, `engines` says who can take part, `machine` what it runs on. `cubes`, `curves` and `spatial` hold
cases: what every engine does with one picture, and what its result ought to be. `running` measures the cases that were
asked for; `table` and `chart` show the rows.
"""

from __future__ import annotations

from lutkit.benchmark.measuring import Contender, Timing, measure_interleaved, measure_times
from lutkit.benchmark.rows import Row
from lutkit.benchmark.spatial import HEIGHT, WIDTH, make_contenders, make_mulut

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Contender",
    "Row",
    "Timing",
    "make_contenders",
    "make_mulut",
    "measure_interleaved",
    "measure_times",
]
