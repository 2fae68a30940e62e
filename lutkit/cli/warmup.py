"""`lutkit warmup`: compile every kernel now, so that nobody waits for it later. May import click; the rest inside functions."""

from __future__ import annotations

import click

from lutkit.cli.options import backend_option, examples, json_option, print_json


@click.command(epilog=examples("lutkit warmup", "lutkit warmup --backend cpu", "lutkit warmup --json > kernels.json"))
@backend_option
@json_option
def command(backend: str, as_json: bool) -> None:
    """Compile every kernel now, so that nobody waits for it later.

    Kernels are compiled when something needs them first, which takes seconds each, and are kept in a folder of the
    user's; NUMBA_CACHE_DIR names another one. This compiles all of them, those of training too, on all cores, which
    takes some minutes; afterwards it takes seconds and changes nothing. With --backend auto, every backend of this
    machine is asked.
    """
    import dataclasses
    import os
    import time

    from lutkit_runtime.engine import suitable_backends
    from lutkit_runtime.engine.backends import find_backend
    from lutkit_runtime.engine.warmup import Outcome, compiles, find_cache, warm_up

    def tell(outcome: Outcome) -> None:
        how = "compiled" if outcome.compiled else "there already"
        click.echo(f"{outcome.backend}  {outcome.seconds:6.2f} s  {how:<13}  {outcome.case}", err=True)

    names = suitable_backends() if backend == "auto" else (find_backend(backend).name,)
    found: dict[str, str | None] = {}
    outcomes: list[Outcome] = []
    start = time.perf_counter()
    for name in names:
        if not compiles(name):
            click.echo(f"{name}: nothing to compile", err=True)
            continue
        found[name] = find_cache(name)
        if found[name] is None:
            click.echo(
                f"{name}: no folder of the user's own can keep compiled kernels, so every process compiles what it "
                "needs: set NUMBA_CACHE_DIR to a folder that you can write to",
                err=True,
            )
        else:
            click.echo(f"{name}: kernels are kept in {found[name]}", err=True)
        outcomes += warm_up(name, tell, os.cpu_count() or 1)
    seconds = time.perf_counter() - start
    compiled = sum(outcome.compiled for outcome in outcomes)
    click.echo(f"{len(outcomes)} cases in {seconds:.0f} s, {compiled} of them compiled", err=True)
    if as_json:
        cases = [dataclasses.asdict(outcome) for outcome in outcomes]
        print_json({"folders": found, "seconds": seconds, "cases": cases})
