"""``safecompress compress SPEC.toml``: the whole run, from a spec to a judged artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress import __version__
from safecompress.cli._support.gate import Gate
from safecompress.cli._support.spec_file import require_spec
from safecompress.cli.app import app
from safecompress.cli.options import (
    AS_JSON,
    GITHUB,
    JUNIT,
    QUIET,
    RELEASED,
    SARIF,
    cache_option,
    ledger_option,
    model_factory_option,
    out_option,
    spec_argument,
    threads_option,
    workers_option,
)

if TYPE_CHECKING:
    from safecompress.config import Config
    from safecompress.progress import Progress
    from safecompress.report import Report

SPEC = spec_argument("The spec: data, model, limits (TOML).")
OUT = out_option("Run folder.  (default: runs/<name>)")
MODEL = model_factory_option("Your own model instead of the spec's.")
LEDGER = ledger_option("File that counts openings of verdict rows.  (default: ledger.jsonl beside the run folder)")
CACHE = cache_option("Private folder that keeps shadow models for other runs too.  (default: in the run folder)")
WORKERS = workers_option("Processes for candidates and shadows, one thread each.")
LOG = typer.Option([], "--log", metavar="KIND:TARGET", help="Log to tensorboard:FOLDER or mlflow:URI; may be repeated.")
BENCH = typer.Option(False, "--bench", help="Time the file beside the dense model at the end (see bench).")
DRY_RUN = typer.Option(False, "--dry-run", help="Train nothing: say what was found, memory and time by phase.")
SCALE = typer.Option(None, "--scale", metavar="NAME", help="The spec's shortened version, its table \\[scale.NAME].")
SET = typer.Option(
    [], "--set", metavar="NAME=VALUE", help="A value in place of the spec's: data.source.root=/data (may be repeated)."
)
DENSITY = typer.Option(None, "--density", help="Share of weights kept, in place of the spec's.")
DEVICE = typer.Option("cpu", "--device", help="Where models run: cpu, cuda.")
THREADS = threads_option("Threads of this process; part of what digests depend on.")


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

    A killed run resumes with the same command. Exit code: 0 PASS, 1 FAIL, 2 usage or spec error, 3 ERROR or
    INCONCLUSIVE.
    """
    gate = Gate.here(context, junit, sarif, github, as_json, str(spec))
    require_spec(spec)
    from safecompress.api import run_job
    from safecompress.certify import Ledger, load_released
    from safecompress.cli._support.console import show_report
    from safecompress.compression.run_folder import ARTIFACT, ONNX, claim_run_folder
    from safecompress.loggers.parse import check_logs
    from safecompress.report import save_report
    from safecompress.runtime.bench import quick_bench, speed_line
    from safecompress.storage import followed
    from safecompress.threads import fixed_threads
    from safecompress.workflows.compress import RunContext
    from safecompress.workflows.loading import executor_of, load_rows, make_job

    config = _load_config(spec, model, scale, density, settings)
    if dry_run:
        _estimate(config, model, device, workers, threads, as_json)
        return
    folder = out if out is not None else Path("runs") / config.name
    artifact = folder / (ONNX if config.packing.format == "onnx" else ARTIFACT)
    gate.artifact = str(artifact)
    book = Ledger(ledger if ledger is not None else followed(folder).parent / "ledger.jsonl")
    with fixed_threads(threads):
        job = make_job(config, load_rows(config), model, device)
        if log:  # which may write into the folder before the run does
            check_logs(log)
            claim_run_folder(folder)
        with _observers(config, log, quiet) as progress, executor_of(workers) as executor:
            run_context = RunContext(book, executor, progress, cache, load_released(released))
            complete = partial(_complete, config=config, command=_command(model, released, threads, device))
            report = run_job(job, folder, run_context, complete).report
        config = replace(config, plan=job.plan)
        _write_spec(config, folder, model)
        _write_front(config, report, folder, model)
        speed = quick_bench(artifact) if bench else None  # when nothing else is at work
    if speed is not None:
        report = replace(report, speed=speed.speed_to_json())
        save_report(report, folder)
    line = speed_line(speed) if speed else None
    gate.finish(report, lambda: show_report(report, folder, speed=line, quiet=quiet))


def _load_config(
    spec_path: Path, factory: str | None, scale: str | None, density: float | None, settings: Sequence[str]
) -> Config:
    """The spec with what the command line sets in it; another density is another run, with a folder of its own."""
    from safecompress.cli._support.assignments import read_settings
    from safecompress.config import load_config

    values = read_settings(settings) | ({} if density is None else {"compress.density": density})
    config = load_config(spec_path, model_given=factory is not None, scale=scale, settings=values)
    return config if density is None else replace(config, name=f"{config.name}-{density:g}")


def _estimate(config: Config, factory: str | None, device: str, workers: int, threads: int, as_json: bool) -> None:
    """Print what the run would cost."""
    from safecompress.cli._support.dryrun import show_estimate
    from safecompress.cli._support.output import say_json
    from safecompress.threads import fixed_threads
    from safecompress.workflows.estimate import estimate
    from safecompress.workflows.loading import load_rows, make_job

    with fixed_threads(threads):
        cost = estimate(make_job(config, load_rows(config), factory, device), workers=workers)
    if as_json:
        say_json({"name": config.name, **cost.to_json()})
    else:
        show_estimate(config.name, cost, workers)


@contextlib.contextmanager
def _observers(config: Config, log: Sequence[str], quiet: bool) -> Iterator[Progress]:
    """The progress on the terminal, and the logs that the command names."""
    from safecompress.cli._support.output import watching
    from safecompress.loggers import logging_to

    with watching(quiet) as shown, logging_to(log, shown, settings=_settings(config)) as progress:
        yield progress


def _settings(config: Config) -> dict[str, object]:
    """What a log records about the run that its figures belong to."""
    from safecompress.compression.search.arm import short_names

    plan, recipe = config.plan, config.recipe.to_json()
    arms = {} if plan.arms is None else {"arms": ", ".join(short_names(plan.each_arm).values())}
    return {
        "safecompress": __version__,
        "name": config.name,
        "seed": config.seed,
        "density": plan.density,
        **arms,
        "rounds": plan.rounds,
        "branches": ", ".join(branch.name for branch in plan.branches),
        "selector": repr(plan.selector),
        **{f"recipe.{name}": value for name, value in recipe.items()},
    }


def _write_spec(config: Config, folder: Path, factory: str | None) -> None:
    """Write the whole spec into the run folder. It cannot name code, so a comment tells where the model came from."""
    from safecompress.storage import PUBLISHED, followed, write_bytes

    moved = config.moved_to(followed(folder))
    if factory is None:
        text = moved.to_toml()
    else:
        comment = f"# The model was made by --model {factory}: give that option with this spec.\n"
        text = comment + replace(moved, model=None).to_toml()
    write_bytes(folder / "spec.toml", text.encode(), mode=PUBLISHED)


def _write_front(config: Config, report: Report, folder: Path, factory: str | None) -> None:
    """For the goal "front" write a spec for each arm that no other beats, to be certified by a run of its own."""
    from safecompress.compression.search.arm import short_names
    from safecompress.workflows.arms import one_arm

    arms = config.plan.arms
    if arms is None or arms.goal != "front":
        return
    on_front = {arm["name"] for arm in report.arms if arm["on_front"]}
    each = config.plan.each_arm
    for arm, name in short_names(each).items():
        if name in on_front:
            plan = replace(config.plan, density=arm.density, branches=(arm.branch,), arms=one_arm(arms, arm))
            own = replace(config, name=f"{config.name}-{arm.key.removeprefix('arm-').replace('+', '-')}", plan=plan)
            place = folder / "front" / arm.key
            place.mkdir(parents=True, exist_ok=True)
            _write_spec(own, place, factory)


def _complete(report: Report, config: Config, command: str) -> Report:
    """The report with what only the command line knows."""
    spec = {} if config.path is None else {"spec": config.path.name}
    record = {**report.record, **spec}
    return replace(report, notes=[*report.notes, *config.notes()], command=command, record=record)


def _command(factory: str | None, released: Path | None, threads: int, device: str) -> str:
    """The command that reproduces the verdict, from the run folder."""
    from safecompress.cli._support.reproduce import reproduce_command

    command = reproduce_command(
        "compress",
        Path("spec.toml"),
        model=factory,
        released=released,
        threads=threads if threads > 1 else None,
        device=device if device != "cpu" else None,
    )
    return f"{command} --out ../again"
