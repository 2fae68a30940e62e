"""The report of a distillation as JSON. Imports what was measured; no torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import lutkit_runtime
from lutkit.benchmark.machine import describe_machine
from lutkit.distil.explained import Explained
from lutkit.distil.fidelity import PROTOCOL
from lutkit.distil.folder import Settings
from lutkit.distil.ladder import Climbed, Outcome, Survey
from lutkit.distil.pairs import Pairs
from lutkit.distil.speed import HEIGHT, THREADS, WIDTH
from lutkit.distil.teacher import Teacher


@dataclass(frozen=True)
class Report:
    """All that a report tells.

    Parameters
    ----------
    teacher : Teacher
    settings : Settings
    pairs : Pairs
    known : Survey
    outcome : Outcome
    output : str
        Where the student was written.
    milliseconds : dict of name to float or None
        Of the rungs by name, and of the teacher as ``teacher``; None where it failed on such a picture.
    """

    teacher: Teacher
    settings: Settings
    pairs: Pairs
    known: Survey
    outcome: Outcome
    output: str
    milliseconds: dict[str, float | None]

    @property
    def protocol(self) -> str:
        """What the figures are, in sentences."""
        return PROTOCOL.format(side=self.settings.longest_side)

    @property
    def speed_protocol(self) -> str:
        """How times were taken."""
        return (
            f"Median milliseconds for {WIDTH}x{HEIGHT} pixels of 8 bits, {THREADS} threads, all in turns, on "
            f"{describe_machine()}. Students: lutkit's kernels. Teacher: {self.teacher.engine}"
            + (", conversion to planes of floats and back included." if "ONNX" in self.teacher.engine else ".")
        )

    def describe(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        settings, pairs, outcome = self.settings, self.pairs, self.outcome
        return {
            "lutkit_version": lutkit_runtime.__version__,
            "teacher": {
                "name": self.teacher.label,
                "description": self.teacher.description,
                "engine": self.teacher.engine,
                "bytes": self.teacher.bytes,
                "sha256": self.teacher.sha256,
                "milliseconds": _round(self.milliseconds.get("teacher")),
                "multiple_of_sides": self.teacher.multiple,
            },
            "photos": {
                "fitted": len(pairs.fitted),
                "versions_of_each": settings.variants,
                "held_out": len(pairs.held_out),
                "description": pairs.description,
                "held_out_description": pairs.held_out_description,
                "longest_side": settings.longest_side,
                "seed": settings.seed,
            },
            "protocol": self.protocol,
            "speed_protocol": self.speed_protocol,
            "tolerance": outcome.tolerance,
            "explained": {
                "by_one_map": _describe(self.known.of_set),
                "by_a_map_for_each_picture": {
                    "ceiling_psnr": _round(self.known.ceiling_of_pictures),
                    "pictures": len(self.known.of_pictures),
                },
            },
            "untouched": self.known.untouched.describe(),
            "rungs": [self._describe_rung(rung) for rung in outcome.climbed],
            "reasons": list(outcome.reasons),
            "warnings": list(outcome.warnings),
            "student": {"rung": outcome.chosen.name, "file": self.output},
        }

    def _describe_rung(self, rung: Climbed) -> dict[str, Any]:
        return {
            "name": rung.name,
            "within_tolerance": rung.held_out.psnr >= self.outcome.tolerance,
            "bytes": rung.bytes,
            "milliseconds": _round(self.milliseconds.get(rung.name)),
            "seconds_to_fit": round(rung.seconds, 1),
            "gap": round(rung.gap, 4),
            "held_out": rung.held_out.describe(),
            "fitted": rung.seen.describe(),
            "notes": dict(rung.fitted.notes),
        }


def render_json(report: Report) -> bytes:
    """Return the report as a JSON file."""
    return (json.dumps(report.describe(), indent=2, allow_nan=False) + "\n").encode()


def _describe(explained: Explained) -> dict[str, Any]:
    return {
        "share": _round(explained.share, 6),
        "ceiling_psnr": _round(explained.ceiling),
        "pixels_counted": round(explained.counted, 6),
        "colours": explained.colours,
    }


def _round(value: float | None, digits: int = 4) -> float | None:
    """Return a number as JSON has it: what is unknown or endless is null."""
    return round(value, digits) if value is not None and math.isfinite(value) else None
