"""``safecompress audit ARTIFACT --spec SPEC.toml``: the same requirements on a saved file."""

from __future__ import annotations

from pathlib import Path

import typer

from safecompress.cli.app import app

ARTIFACT = typer.Argument(..., help="The artifact (artifact.safetensors).")
SPEC = typer.Option(..., "--spec", help="The spec whose rows and requirements judge it (TOML).")
OUT = typer.Option(None, "--out", help="Folder for report.json and report.md.  (default: none are written)")
MODEL = typer.Option(None, "--model", metavar="PKG.MODULE:FACTORY", help="Makes the network, if it is of your own.")
DENSE = typer.Option(
    None, "--dense", help="Dense weights (safetensors) for `within`.  (default: dense.safetensors beside the artifact)"
)
LEDGER = typer.Option(
    None, "--ledger", help="Ledger file.  (default: ledger.jsonl beside the artifact, or beside its run folder)"
)
CACHE = typer.Option(None, "--cache", help="Private folder that keeps shadow models.  (default: the run's own)")
RELEASED = typer.Option(None, "--released", help="List of versions already out, for joint_lira (see release).")
WORKERS = typer.Option(1, "--workers", min=1, help="Processes that train shadow models, one thread each.")
THREADS = typer.Option(1, "--threads", min=1, help="Threads of this process.")


@app.command()
def audit(
    artifact: Path = ARTIFACT,
    spec: Path = SPEC,
    out: Path | None = OUT,
    model: str | None = MODEL,
    dense: Path | None = DENSE,
    ledger: Path | None = LEDGER,
    cache: Path | None = CACHE,
    released: Path | None = RELEASED,
    workers: int = WORKERS,
    threads: int = THREADS,
) -> None:
    """Judge an artifact by a spec, with fresh attackers. Exit codes as compress."""
    from safecompress import api
    from safecompress.cli.console import show_report
    from safecompress.cli.setup import as_trained, call_factory, check_data_digest, executor_of, load_rows, load_weights
    from safecompress.config import load_config
    from safecompress.deploy import Artifact
    from safecompress.errors import UsageError
    from safecompress.report import save_report
    from safecompress.runfolder import ARTIFACT as ARTIFACT_NAME
    from safecompress.runfolder import IDENTITY

    if out is not None and (out / IDENTITY).exists():
        raise UsageError(f"{out} holds a run and the report of its verdict. Give --out a folder of its own.")
    if not artifact.is_file():
        raise UsageError(f"{artifact} is no file. Name the artifact: RUN/{ARTIFACT_NAME}.")
    loaded = Artifact.load(artifact)
    if loaded.model_spec is None and model is None:
        raise UsageError(
            f"{artifact} holds a network of its author's own class. Say what makes it: --model pkg.module:f."
        )
    config = load_config(spec, model_given=True)
    check_data_digest(loaded.metadata.get("data_spec", ""), config, artifact)
    rows = load_rows(config)
    shapes = {"input_shape": loaded.task.input_shape, "num_classes": loaded.task.num_classes}
    network = call_factory(model, shapes) if model else None
    beside = artifact.parent / "dense.safetensors"
    weights = dense if dense is not None else beside if beside.exists() else None
    dense_model = None
    if weights is not None:
        template = network if network is not None else loaded.build()
        dense_model = api.served(loaded, load_weights(weights, template), network)
    folder = artifact.resolve().parent
    if (folder / IDENTITY).exists():
        folder = folder.parent  # a run's ledger lies beside its folder
    kept = artifact.parent / "work" / "cache"  # a run's own, which this audit would train again
    with executor_of(workers) as executor:
        report = api.audit(
            artifact,
            rows.raw,
            spec=config.spec,
            model=network,
            dense=dense_model,
            seed=config.seed,
            recipe=as_trained(config, loaded.metadata),
            dense_recipe=config.dense_recipe,
            start=config.plan.start,
            cache=cache if cache is not None else kept if kept.exists() else None,
            released=released,
            ledger=ledger if ledger is not None else folder / "ledger.jsonl",
            executor=executor,
            threads=threads,
        )
    if out is not None:
        save_report(report, out)
    show_report(report, out)
    raise typer.Exit(report.exit_code)
