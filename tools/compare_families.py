"""Measure models of several families on size, quality, receptive field and speed, and draw them.

Example
-------
    python tools/compare_families.py --hr Set5/HR --lr Set5/LR_bicubic/X4 --photo photo.png --json families.json \\
        --plot docs/images/families.png 'sr-x4-tiny=sr-x4-tiny' 'RCLUT=runs/rclut'

Every argument is LABEL=MODEL, as `lutkit eval` takes models. Quality is the mean PSNR of luma on the photos of --hr, speed
the median time in which a 320 x 180 crop of --photo is enlarged on all threads, all models taking turns; size is the
bytes of all tables. Figures that are there already in --json are kept for labels that are not given again, so that the
plot can be drawn without models at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from benchmark_runtime import read_crop

from lutkit.benchmark import Contender, measure_interleaved
from lutkit.degradation import make_task
from lutkit.evaluate import mean_finite_psnr, read_pairs, score_pairs
from lutkit.resolve import find_model, open_model
from lutkit_runtime.engine import Model

Figures = dict[str, Any]


def measure_quality(model: Model, hr: Path, lr: Path) -> float:
    """Return the mean PSNR of luma in dB."""
    task = make_task("sr", model.scale, 0.0, 0)
    pairs = read_pairs(hr, lr, task)
    return mean_finite_psnr(score_pairs(model.apply, pairs, task))


def draw(figures: dict[str, Figures], path: Path) -> None:
    """Draw quality against size, the area of a point growing with its time, its label naming the receptive field."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), dpi=110)
    for label, each in figures.items():
        own = each["own"]
        axes.scatter(
            each["bytes"] / 1000,
            each["psnr_y"],
            s=12 * each["milliseconds"],
            color="#1f77b4" if own else "#bbbbbb",
            edgecolors="#333333",
            linewidths=0.6,
            alpha=0.8,
            zorder=3,
        )
        field = each["receptive_field"]
        axes.annotate(
            f"{label}\n{field}×{field}, {each['milliseconds']:.0f} ms",
            (each["bytes"] / 1000, each["psnr_y"]),
            xytext=(9, 5),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xlabel("bytes of all tables / 1000")
    axes.set_ylabel("PSNR of luma on Set5, ×4, in dB")
    axes.set_title("Size, quality, receptive field and time (area) of table networks")
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.margins(x=0.22, y=0.12)
    figure.tight_layout()
    figure.savefig(path)


def tabulate(figures: dict[str, Figures]) -> str:
    """Return the figures as a Markdown table, smallest first."""
    lines = ["| Model | Bytes of tables | PSNR, Set5 ×4 | Receptive field | 320×180, ms |", "|---|---:|---:|---:|---:|"]
    for label, each in sorted(figures.items(), key=lambda item: item[1]["bytes"]):
        field = each["receptive_field"]
        lines.append(
            f"| {label} | {each['bytes']:,} | {each['psnr_y']:.3f} | {field}×{field} | {each['milliseconds']:.1f} |"
        )
    return "\n".join(lines)


@click.command()
@click.argument("models", nargs=-1, metavar="LABEL=MODEL...")
@click.option("--hr", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--lr", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "store", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--published", multiple=True, help="Label of tables that others have published; drawn in gray.")
@click.option("--threads", default=2, show_default=True)
def main(
    models: tuple[str, ...],
    hr: Path | None,
    lr: Path | None,
    photo: Path | None,
    store: Path,
    plot: Path | None,
    published: tuple[str, ...],
    threads: int,
) -> None:
    """Measure what is given, keep the figures, print them as a table and draw them."""
    figures: dict[str, Figures] = json.loads(store.read_text()) if store.exists() else {}
    if models:
        if hr is None or lr is None or photo is None:
            raise click.UsageError("models are measured on --hr, --lr and --photo: give all three")
        figures.update(_measure(models, hr, lr, photo, threads, published))
        store.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    click.echo(tabulate(figures))
    if plot is not None:
        draw(figures, plot)


def _measure(
    models: tuple[str, ...], hr: Path, lr: Path, photo: Path, threads: int, published: tuple[str, ...]
) -> dict[str, Figures]:
    image = read_crop(photo)
    found: dict[str, Figures] = {}
    contenders: list[Contender] = []
    for entry in models:
        label, _, name = entry.partition("=")
        artefact = open_model(find_model(name))
        model = Model(artefact.program, artefact.tables)
        found[label] = {
            "bytes": sum(table.nbytes for table in artefact.tables.values()),
            "psnr_y": round(measure_quality(model, hr, lr), 4),
            "receptive_field": 2 * model.program.halo + 1,
            "own": label not in published,
        }
        contenders.append(Contender(label, threads, _apply(model, image, threads)))
        click.echo(f"{label}: {found[label]}", err=True)
    for contender, milliseconds in zip(contenders, measure_interleaved(contenders, rounds=21), strict=True):
        found[contender.engine]["milliseconds"] = round(milliseconds, 2)
    return found


def _apply(model: Model, image: Any, threads: int) -> Callable[[], Any]:
    return lambda: model.apply(image, threads=threads)


if __name__ == "__main__":
    main()
