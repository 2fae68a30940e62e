"""`lutkit models`: list the built-in models. May import click; the rest inside functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from lutkit.cli.options import examples, json_option, print_json


@click.command(epilog=examples("lutkit models", "lutkit models --json", "lutkit apply photo.png -m sr-x4"))
@json_option
def command(as_json: bool) -> None:
    """List the built-in models.

    The figures are those that were measured when a model was made; `lutkit info NAME` shows all of them.
    """
    models = list_models()
    if as_json:
        print_json(models)
        return
    rows = [("name", "family", "task", "scale", "bytes", "figures")]
    rows += [
        (
            model["name"],
            model["family"],
            model["task"],
            str(model["scale"]),
            f"{model['file_bytes']:,}",
            ", ".join(f"{name} {describe_figure(value)}" for name, value in model["figures"].items()),
        )
        for model in models
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def list_models() -> list[dict[str, Any]]:
    """Return name, family, task, scale, size and measured figures of every built-in model, as JSON values."""
    from lutkit.models import builtin_names, find_builtin
    from lutkit_runtime.artefact import read_artefact

    found: list[dict[str, Any]] = []
    for name in builtin_names():
        path = find_builtin(name)
        artefact = read_artefact(path)
        found.append(
            {
                "name": name,
                "family": artefact.program.family,
                "task": artefact.program.task,
                "scale": artefact.program.scale,
                "file_bytes": path.stat().st_size,
                "figures": find_figures(artefact.provenance),
            }
        )
    return found


def find_figures(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured, name to value: ``figures``, else the PSNR values of the last step of ``history``."""
    match provenance:
        case {"figures": dict() as figures}:
            return figures
        case {"history": [*_, dict() as last]}:
            return {name: value for name, value in last.items() if name.endswith("_psnr")}
        case _:
            return {}


def describe_figure(value: Any) -> str:
    """Say a figure in few words; of a model measured in several forms, the one that is applied."""
    match value:
        case {"finetuned": {"psnr": psnr, "ssim": ssim}}:
            return f"{psnr} dB / {ssim}"
        case {"table": {"psnr": psnr, "ssim": ssim}, "input": {"psnr": before}}:
            return f"{psnr} dB / {ssim} (input {before} dB)"
        case _:
            return str(value)
