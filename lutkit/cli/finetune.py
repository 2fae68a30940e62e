"""`lutkit finetune`: train the tables themselves. May import click; the train side inside functions."""

from __future__ import annotations

from pathlib import Path

import click

from lutkit import DEFAULT_RUN
from lutkit.cli.options import PATH, device_option, examples, optional_seed_option, overwrite_option


@click.command(
    epilog=examples(
        "lutkit finetune",
        "lutkit finetune runs/x2 --data photos --val photos-val --steps 8000",
        "lutkit finetune model.h5 --data photos -o better.h5",
        "lutkit finetune model-dfc.h5 --data photos --teacher model.h5",
        "lutkit finetune retouch --data pairs",
    ),
)
@click.argument("source", metavar="[MODEL]", default=str(DEFAULT_RUN))
@click.option("--data", type=PATH, help="Folder of photos to train on; default: the run's, else generated images.")
@click.option("--val", type=PATH, help="Folder of photos to validate on; default: the run's, else held out.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimisation steps; default: 2500, of colours 600 or 1000.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Learning rate at the start; default: 0.001, of colours 0.0001 to 0.0003.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Patches or pictures per step; default: 16, of colours 4.")
@click.option(
    "--crop",
    type=click.IntRange(min=1),
    help="Side of a patch before enlargement; default: the run's, else 48; not for colours.",
)
@click.option("--sigma", type=click.FloatRange(0, 255, min_open=True), help="Noise to remove; default: the model's.")
@click.option("--quality", type=click.IntRange(1, 100), help="JPEG quality to repair; default: the model's.")
@click.option(
    "--teacher",
    metavar="MODEL",
    help="Learn what this model makes of the photos, in place of the photos themselves: for tables that were compressed.",
)
@optional_seed_option
@device_option
@click.option(
    "-o", "--output", type=PATH, help="Artefact to write; default: lut-finetuned.h5 in the run, NAME-finetuned.h5."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of an interrupted finetuning.")
@overwrite_option
def command(
    source: str,
    data: Path | None,
    val: Path | None,
    steps: int | None,
    rate: float | None,
    batch: int | None,
    crop: int | None,
    sigma: float | None,
    quality: int | None,
    teacher: str | None,
    seed: int | None,
    device: str,
    output: Path | None,
    resume: bool,
    overwrite: bool,
) -> None:
    """Train the tables themselves.

    MODEL is a run folder with transferred tables (by default runs/default), an artefact or a built-in name. What is
    optimised is exactly what lutkit apply computes; the best step on the validation photos is kept. Next: lutkit apply.
    """
    from dataclasses import replace

    import msgspec

    from lutkit.cli.training import check_output, report_interruption, watch_of
    from lutkit.finetune import check_free, find_job, find_teacher, finetune, write_finetuned
    from lutkit.parallel import join_crew
    from lutkit.train import choose_device
    from lutkit.workbench import OptionError

    torch_device = choose_device(device)
    with report_interruption("the same command and --resume"), join_crew(torch_device) as crew:
        watch = watch_of(crew)
        try:
            job = find_job(
                source, None, data=data, val=val, sigma=sigma, quality=quality, seed=seed, output=output, crop=crop
            )
            preset = job.recipe
            changes = {"steps": steps, "learning_rate": rate, "batch": batch}
            changes = {name: value for name, value in changes.items() if value is not None}
            recipe = msgspec.structs.replace(preset, **changes)
            recipe = msgspec.structs.replace(
                recipe,
                final_rate=recipe.learning_rate * preset.final_rate / preset.learning_rate,
                validate_every=min(recipe.validate_every, recipe.steps),
            )
            job = replace(job, recipe=recipe, teacher=None if teacher is None else find_teacher(teacher))
            if crew.leads:  # the others may look when it has written already
                check_output(job.output, overwrite=overwrite)
                check_free(job, resume=resume, overwrite=overwrite)
            crew.meet()
            result = finetune(job, torch_device, watch, resume=resume, crew=crew)
        except OptionError as error:
            raise click.UsageError(str(error)) from error
        if crew.leads:
            write_finetuned(job, result, overwrite=overwrite)
        fidelity = result.fidelity
        watch.say(
            f"table {fidelity.before:.3f} dB -> finetuned {fidelity.after:.3f} dB ({fidelity.gain:+.3f} dB) on "
            f"{fidelity.images} {fidelity.pairs}, best step {result.best_step}; wrote {job.output}"
        )
