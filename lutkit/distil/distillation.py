"""A whole distillation: from a teacher and folders of photos to a student and its report. Imports the rest of the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lutkit.distil.fidelity import Image8
from lutkit.distil.folder import Settings
from lutkit.distil.ladder import Outcome, climb, list_rungs, make_folder, sign, survey
from lutkit.distil.pairs import Pairs, ask_teacher, read_photos
from lutkit.distil.photos import choose_photos, make_text
from lutkit.distil.report import Report, render_json
from lutkit.distil.report_page import choose_shown, render_html
from lutkit.distil.rung import Rung, Work
from lutkit.distil.speed import THREADS, measure_speed
from lutkit.distil.teacher import Teacher
from lutkit.photos import GENERATED_NOTE
from lutkit.workbench import Watch
from lutkit_runtime.artefact import write_artefact
from lutkit_runtime.atomic import write_atomically
from lutkit_runtime.engine import Model
from lutkit_runtime.errors import DataError


@dataclass(frozen=True)
class Job:
    """What to distil and how.

    Parameters
    ----------
    teacher : Teacher
    data, val : Path or None
        Folders of photos; see `choose_photos`.
    highest : str
        Name of the highest rung that may be climbed.
    tolerance : float
        Mean PSNR in dB on held-out photos that is near enough.
    run : Path
        Folder for everything that is made.
    output : Path or None
        Artefact to write; None is in the folder.
    steps : int or None
        Of training; None is the family's own number.
    variants : int
        Other versions of each photo.
    longest_side : int
    seed : int
    """

    teacher: Teacher
    data: Path | None
    val: Path | None
    highest: str
    tolerance: float
    run: Path
    output: Path | None
    steps: int | None
    variants: int
    longest_side: int
    seed: int


def distil(
    job: Job, choose_device: Callable[[], Any], watch: Watch, *, resume: bool = False, overwrite: bool = False
) -> Report:
    """Distil a teacher and write the student and the report.

    Nothing is written before all photos have been read.

    Parameters
    ----------
    job : Job
    choose_device : callable
        Returns the torch device to train on; called when a rung needs one.
    watch : Watch
    resume : bool
        Go on with what lies in the folder.
    overwrite : bool
        Replace what lies there, unless it is gone on with, and a file that is the output.

    Raises
    ------
    Interrupted
        Where training is stopped; `resume` goes on.
    DataError
        Where photos, folder or teacher cannot be used.
    """
    rungs = _choose_rungs(job.highest)
    teacher, folder = job.teacher, make_folder(job.run)
    photos = choose_photos(job.data, job.val, seed=job.seed, longest_side=job.longest_side, multiple=teacher.multiple)
    settings = Settings(
        teacher=make_text(teacher.description),
        sha256=teacher.sha256,
        data=make_text(str(job.data.resolve())) if job.data else None,
        val=make_text(str(job.val.resolve())) if job.val else None,
        photos=photos[0].stamp + photos[1].stamp,
        variants=job.variants,
        longest_side=job.longest_side,
        steps=job.steps,
        seed=job.seed,
    )
    folder.check(settings, teacher=teacher.files, output=job.output, resume=resume, overwrite=overwrite)
    # before anything is written or removed: a photo that cannot be used leaves no trace
    read_photos(photos, show_progress=watch.show_progress)
    if not resume:
        folder.begin(settings)
    if job.data is None:
        watch.say(GENERATED_NOTE)
    pairs = ask_teacher(
        teacher, folder, photos, variants=job.variants, seed=job.seed, show_progress=watch.show_progress
    )
    watch.say(f"{teacher.description} on {pairs.description}, measured on {pairs.held_out_description}")

    def work_on(rung: Rung) -> Work:
        return Work(pairs, folder.rung(rung.name), resume, job.steps, job.seed, choose_device, watch)

    known = survey(pairs)
    outcome = climb(rungs, work_on, known, job.tolerance, watch.say)
    output = job.output or folder.student
    student = sign(outcome.chosen, teacher, settings, pairs, job.tolerance)
    report = Report(teacher, settings, pairs, known, outcome, str(output), _time(outcome, teacher, pairs))
    shown = choose_shown(report, Model(student.program, student.tables).apply)
    # the folder, once it is made ready, holds nobody else's files
    write_artefact(output, student, overwrite=overwrite or job.output is None)
    write_atomically(folder.report_json, render_json(report), overwrite=True, error=DataError)
    write_atomically(
        folder.report_html, render_html(report, shown).encode(errors="replace"), overwrite=True, error=DataError
    )
    return report


def _choose_rungs(highest: str) -> tuple[Rung, ...]:
    rungs = list_rungs()
    names = [rung.name for rung in rungs]
    if highest not in names:
        raise DataError(f"there is no rung '{highest}': the rungs are {', '.join(names)}")
    return rungs[: names.index(highest) + 1]


def _time(outcome: Outcome, teacher: Teacher, pairs: Pairs) -> dict[str, float | None]:
    """Return the milliseconds of all rungs and of the teacher."""
    models = {rung.name: Model(rung.fitted.artefact.program, rung.fitted.artefact.tables) for rung in outcome.climbed}
    runs: dict[str, Callable[[Image8], object]] = {
        name: partial(model.apply, threads=THREADS) for name, model in models.items()
    }
    runs["teacher"] = lambda picture: teacher.answer(picture, THREADS)
    return measure_speed(runs, pairs.held_out[0].read_8_bits()[0], {"teacher": teacher.multiple})
