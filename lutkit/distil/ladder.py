"""The ladder: rungs are fitted from the cheapest up until one comes near enough to the teacher. Imports rungs; no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import lutkit_runtime
from lutkit.distil.cube_rung import CubeRung
from lutkit.distil.explained import ColourStatistics, Explained
from lutkit.distil.fidelity import Figures, measure
from lutkit.distil.folder import Folder, Settings
from lutkit.distil.pairs import PairFile, Pairs
from lutkit.distil.rung import Fitted, Rung, Scope, Work
from lutkit.distil.teacher import Teacher
from lutkit.distil.trained_rung import TrainedRung
from lutkit.evaluate import PERFECT_PSNR
from lutkit.families import FAMILIES
from lutkit_runtime.artefact import Artefact
from lutkit_runtime.engine import Model

LARGEST_GAP = 1.0
"""dB by which photos that were fitted to may come out better than others, before a warning."""
MOST_MEASURED = 100
"""Fitted photos of which figures are taken, evenly spread over all."""

_TRAINED = (TrainedRung("adaptive-3dlut", Scope.PICTURE), TrainedRung("hdrnet", Scope.PLACE))


def list_rungs() -> tuple[Rung, ...]:
    """Return the rungs, the cheapest first."""
    return (CubeRung(), *(rung for rung in _TRAINED if rung.name in FAMILIES))


@dataclass(frozen=True)
class Survey:
    """What is known of the teacher's answers before anything is fitted.

    Parameters
    ----------
    of_set : Explained
        By one colour map for all pictures.
    of_pictures : tuple of Explained
        By one for each, the fitted ones first.
    untouched : Figures
        What photos are worth as they are, on the held-out ones.
    """

    of_set: Explained
    of_pictures: tuple[Explained, ...]
    untouched: Figures

    @property
    def ceiling_of_pictures(self) -> float | None:
        """Mean over pictures of the PSNR that a colour map of its own could reach, dB; 100 where that is everything."""
        known = [each.ceiling for each in self.of_pictures if each.ceiling is not None]
        return float(np.mean([min(ceiling, PERFECT_PSNR) for ceiling in known])) if known else None


@dataclass(frozen=True)
class Climbed:
    """A rung that was fitted and measured.

    Parameters
    ----------
    name : str
    scope : Scope
    fitted : Fitted
    held_out, seen : Figures
        On photos that nothing was fitted to, and on those that it was.
    bytes : int
        Of its artefact.
    seconds : float
        That fitting took; nothing where it was taken over from before an interruption.
    """

    name: str
    scope: Scope
    fitted: Fitted
    held_out: Figures
    seen: Figures
    bytes: int
    seconds: float

    @property
    def gap(self) -> float:
        """How much better fitted photos come out than held-out ones, in dB."""
        return self.seen.psnr - self.held_out.psnr


@dataclass(frozen=True)
class Outcome:
    """Where the climb ended.

    Parameters
    ----------
    climbed : tuple of Climbed
    chosen : Climbed
        The first within the tolerance, else the best on held-out photos.
    tolerance : float
        Mean PSNR in dB.
    reasons : tuple of str
        For each rung, one line: what it reached, and why the next one was tried or not.
    warnings : tuple of str
    """

    climbed: tuple[Climbed, ...]
    chosen: Climbed
    tolerance: float
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def survey(pairs: Pairs) -> Survey:
    """Look at the teacher's answers to all photos."""
    statistics = ColourStatistics()
    explained = []
    for pair in (*pairs.fitted, *pairs.held_out):
        photo, answer = pair.read()
        explained.append(
            statistics.add((photo >> 8).astype(np.uint8), answer)
        )  # codes times 257: the upper byte is the code
    untouched = measure(lambda photo: photo, _read(pairs.held_out))
    return Survey(statistics.explain(), tuple(explained), untouched)


def climb(
    rungs: Sequence[Rung], work_on: Callable[[Rung], Work], known: Survey, tolerance: float, say: Callable[[str], None]
) -> Outcome:
    """Fit rungs until one is within the tolerance; raises what fitting raises.

    Parameters
    ----------
    rungs : sequence of Rung
        The cheapest first.
    work_on : callable
        Returns what a rung is given.
    known : Survey
    tolerance : float
        Mean PSNR in dB on held-out photos that is near enough.
    say : callable
        Takes a line about every rung.
    """
    climbed: list[Climbed] = []
    reasons: list[str] = []
    for place, rung in enumerate(rungs):
        work = work_on(rung)
        started = time.perf_counter()
        fitted = rung.fit(work)
        seconds = time.perf_counter() - started
        climbed.append(_measure(rung, fitted, work, seconds))
        reached = climbed[-1].held_out.psnr >= tolerance
        above = rungs[place + 1].name if place + 1 < len(rungs) else None
        reasons.append(explain(climbed[-1], known, tolerance, above))
        say(reasons[-1])
        if reached:
            break
    near = [each for each in climbed if each.held_out.psnr >= tolerance]
    chosen = near[0] if near else max(climbed, key=lambda each: each.held_out.psnr)
    return Outcome(tuple(climbed), chosen, tolerance, tuple(reasons), tuple(_warn(chosen, tolerance)))


def explain(rung: Climbed, known: Survey, tolerance: float, above: str | None) -> str:
    """Return one line on what a rung reached and why the one above is tried, or nothing is.

    Parameters
    ----------
    rung : Climbed
    known : Survey
    tolerance : float
    above : str or None
        Name of the next rung, None where there is none.
    """
    count = len(rung.held_out.pictures)
    reached = f"{rung.name}: {rung.held_out.psnr:.1f} dB on {count} unseen photo{'' if count == 1 else 's'}"
    if rung.held_out.psnr >= tolerance:
        return f"{reached}, within the tolerance of {tolerance:g} dB: done"
    why = _tell_limit(rung.scope, known)
    end = f"climbing to {above}" if above else "there is no rung above"
    return f"{reached}, {tolerance:g} dB are wanted; {why + ': ' if why else ''}{end}"


def _tell_limit(scope: Scope, known: Survey) -> str:
    """Return what students of a scope could reach at best, as far as that is known."""
    if scope is Scope.SET and known.of_set.share is not None and known.of_set.ceiling is not None:
        if math.isinf(known.of_set.ceiling):
            return "the teacher is a colour map, which this one does not meet between its nodes or where no photo goes"
        return (
            f"a colour map for the whole set can explain {max(known.of_set.share, 0):.1%} of the variance, at best "
            f"{known.of_set.ceiling:.1f} dB over all pixels"
        )
    ceiling = known.ceiling_of_pictures
    if scope is Scope.PICTURE and ceiling is not None:
        return f"a colour map for each picture can reach {ceiling:.1f} dB at best"
    return ""


def _measure(rung: Rung, fitted: Fitted, work: Work, seconds: float) -> Climbed:
    model = Model(fitted.artefact.program, fitted.artefact.tables)
    pairs = work.pairs
    return Climbed(
        name=rung.name,
        scope=rung.scope,
        fitted=fitted,
        held_out=measure(model.apply, _read(pairs.held_out)),
        seen=measure(model.apply, _read(spread(pairs.fitted))),
        bytes=work.run.table_file.stat().st_size,
        seconds=seconds,
    )


def spread(pairs: Sequence[PairFile]) -> Sequence[PairFile]:
    """Return at most `MOST_MEASURED` of these, evenly spread."""
    return pairs[:: max(1, math.ceil(len(pairs) / MOST_MEASURED))]


def _read(pairs: Sequence[PairFile]) -> Any:
    return ((pair.name, *pair.read_8_bits()) for pair in pairs)


def _warn(chosen: Climbed, tolerance: float) -> list[str]:
    warnings = []
    short = tolerance - chosen.held_out.psnr
    if short > 0:
        warnings.append(
            f"no rung is within the tolerance of {tolerance:g} dB: {chosen.name}, the best, misses it by {short:.1f} dB"
        )
    if chosen.gap > LARGEST_GAP:
        warnings.append(
            f"{chosen.name} is worth {chosen.gap:.1f} dB less on unseen photos ({chosen.held_out.psnr:.1f} dB) than on those "
            f"that it was fitted to ({chosen.seen.psnr:.1f} dB): give it more photos, and more various ones, with --data"
        )
    return warnings


def sign(chosen: Climbed, teacher: Teacher, settings: Settings, pairs: Pairs, tolerance: float) -> Artefact:
    """Return the student's artefact with its provenance: whose answers, on which photos, and what it is worth."""
    before = dict(chosen.fitted.artefact.provenance)
    history = before.get("history")
    step = {
        "step": "distil",
        "teacher": teacher.label,
        "teacher_sha256": teacher.sha256,
        "rung": chosen.name,
        "photos": pairs.description,
        "versions": settings.variants,
        "longest_side": settings.longest_side,
        "seed": settings.seed,
        "tolerance": tolerance,
        "held_out": pairs.held_out_description,
        "held_out_psnr": round(chosen.held_out.psnr, 4),
        "fitted_psnr": round(chosen.seen.psnr, 4),
        "delta_e": round(chosen.held_out.delta_e, 5),
        "largest_error": chosen.held_out.largest_error,
    }
    provenance = {
        **before,
        "lutkit_version": lutkit_runtime.__version__,
        "title": f"{teacher.label} as {chosen.name}",
        "data": pairs.description,
        "history": [*(history if isinstance(history, list) else []), step],
    }
    return replace(chosen.fitted.artefact, provenance=provenance)


def make_folder(path: Any) -> Folder:
    """Return the folder of a distillation at a path."""
    return Folder(path, tuple(rung.name for rung in (CubeRung(), *_TRAINED)))
