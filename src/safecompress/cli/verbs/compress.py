"""``safecompress compress SPEC.toml``: the whole run, from a spec to a judged artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress import __version__
from safecompress.cli._support.complete import spec_files
from safecompress.cli._support.gate import GITHUB, JUNIT, SARIF, Gate
from safecompress.cli._support.output import AS_JSON, QUIET
from safecompress.cli.app import app

if TYPE_CHECKING:
    from safecompress.config import Config

SPEC = typer.Argument(..., help="The spec: data, model, limits (TOML).", autocompletion=spec_files)
OUT = typer.Option(None, "--out", help="Run folder.  (default: runs/<name>)", show_default=False)
MODEL = typer.Option(None, "--model", metavar="PKG.MODULE:FACTORY", help="Your own model instead of the spec's.")
LEDGER = typer.Option(
    None, "--ledger", help="File that counts openings of verdict rows.  (default: ledger.jsonl beside the run folder)"
)
CACHE = typer.Option(
    None, "--cache", help="Private folder that keeps shadow models for other runs too.  (default: in the run folder)"
)
RELEASED = typer.Option(None, "--released", help="List of versions already out, for joint_lira (see release).")
WORKERS = typer.Option(1, "--workers", min=1, help="Processes for candidates and shadows, one thread each.")
LOG = typer.Option([], "--log", metavar="KIND:TARGET", help="Log to tensorboard:FOLDER or mlflow:URI; may be repeated.")
BENCH = typer.Option(False, "--bench", help="Time the file beside the dense model at the end (see bench).")
DRY_RUN = typer.Option(False, "--dry-run", help="Train nothing: say what was found, memory and time by phase.")
SCALE = typer.Option(None, "--scale", metavar="NAME", help="The spec's shortened version, its table \\[scale.NAME].")
SET = typer.Option(
    [], "--set", metavar="NAME=VALUE", help="A value in place of the spec's: data.source.root=/data (may be repeated)."
)
DENSITY = typer.Option(None, "--density", help="Share of weights kept, in place of the spec's.")
DEVICE = typer.Option("cpu", "--device", help="Where models run: cpu, cuda.")
THREADS = typer.Option(1, "--threads", min=1, help="Threads of this process; part of what digests depend on.")


@app.command()
def compress(
    context: typer.Context,
    spec: Path = SPEC,
    out: Path | None = OUT,
    model: str | None = MODEL,
    ledger: Path | None = LEDGER,
    cache: Path | None = CACHE,
    released: Path | None = RELEASED,
    workers: int = WORKERS,
    threads: int = THREADS,
    device: str = DEVICE,
    bench: bool = BENCH,
    dry_run: bool = DRY_RUN,
    scale: str | None = SCALE,
    density: float | None = DENSITY,
    settings: list[str] = SET,
    log: list[str] = LOG,
    junit: Path | None = JUNIT,
    sarif: Path | None = SARIF,
    github: bool = GITHUB,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Train small, attack every candidate, keep the best, certify the file that ships.

    A killed run goes on with the same command. Exit code: 0 PASS, 1 FAIL, 2 usage or spec error, 3 ERROR or
    INCONCLUSIVE.
    """
    from safecompress.api import fixed_threads, run_job
    from safecompress.certify import Ledger
    from safecompress.cli._support.console import show_report
    from safecompress.cli._support.output import watching
    from safecompress.cli._support.reproduce import Option, again
    from safecompress.config import load_config
    from safecompress.loggers import logging_to
    from safecompress.report import save_report
    from safecompress.runfolder import ARTIFACT, ONNX
    from safecompress.runtime.bench import quick_bench, speed_line
    from safecompress.storage import write_bytes
    from safecompress.workflows.loading import executor_of, load_rows, make_job, set_values

    gate = Gate.here(context, junit, sarif, github, as_json, str(spec))
    values = set_values(settings) | ({} if density is None else {"compress.density": density})
    config = load_config(spec, model_given=model is not None, scale=scale, settings=values)
    if density is not None:
        config = replace(config, name=f"{config.name}-{density:g}")  # a run folder of its own
    if dry_run:
        _estimate(config, model, device, workers, threads, as_json)
        return
    folder = out if out is not None else Path("runs") / config.name
    shipped = folder / (ONNX if config.packing.format == "onnx" else ARTIFACT)
    gate.artifact = str(shipped)
    book = Ledger(ledger if ledger is not None else folder.resolve().parent / "ledger.jsonl")
    with fixed_threads(threads):
        job = make_job(config, load_rows(config), model, device)
        with (
            watching(quiet) as shown,
            logging_to(log, shown, settings=_settings(config)) as watcher,
            executor_of(workers) as executor,
        ):
            result = run_job(
                job, folder, ledger=book, executor=executor, progress=watcher, cache=cache, released=released
            )
    written = config.moved_to(folder.resolve())
    text = written.to_toml() if model is None else _with_option(model, replace(written, model=None).to_toml())
    write_bytes(folder / "spec.toml", text.encode())
    with fixed_threads(threads):
        speed = quick_bench(shipped) if bench else None
    told: dict[str, Option] = {"model": model, "released": released, "threads": threads if threads > 1 else None}
    typed = again("compress", Path("spec.toml"), **told, device=device if device != "cpu" else None)
    notes = [*result.report.notes, *config.notes()]
    report = replace(
        result.report, notes=notes, command=f"{typed} --out ../again", speed=speed.speed_to_json() if speed else None
    )
    save_report(report, folder)
    line = speed_line(speed) if speed else None
    gate.finish(report, lambda: show_report(report, folder, speed=line, quiet=quiet))


def _estimate(config: Config, model: str | None, device: str, workers: int, threads: int, as_json: bool) -> None:
    """Print what the run would cost."""
    from safecompress.api import fixed_threads
    from safecompress.cli._support.dryrun import show_estimate
    from safecompress.cli._support.output import say_json
    from safecompress.estimate import estimate
    from safecompress.workflows.loading import load_rows, make_job

    with fixed_threads(threads):
        found = estimate(make_job(config, load_rows(config), model, device), workers=workers)
    if as_json:
        say_json({"name": config.name, **found.to_json()})
    else:
        show_estimate(config.name, found, workers)


def _settings(config: Config) -> dict[str, object]:
    """What a log says of the run that its figures are of."""
    plan, recipe = config.plan, config.recipe.facts()
    return {
        "safecompress": __version__,
        "name": config.name,
        "seed": config.seed,
        "density": plan.density,
        "rounds": plan.rounds,
        "branches": ", ".join(branch.name for branch in plan.branches),
        "selector": repr(plan.selector),
        **{f"recipe.{name}": value for name, value in recipe.items()},
    }


def _with_option(model: str, text: str) -> str:
    """The spec with a first line that says where its model came from: a spec cannot name code itself."""
    return f"# The model was made by --model {model}: give that option with this spec.\n{text}"
