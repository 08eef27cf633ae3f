"""``safecompress audit FILE --spec SPEC.toml``: the same requirements on a saved file, whoever trained it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from safecompress.cli.app import app

if TYPE_CHECKING:
    from safecompress.report import Report

ARTIFACT = typer.Argument(..., help="The artifact (.safetensors), an ONNX file (.onnx), or weights for --model.")
SPEC = typer.Option(..., "--spec", help="The spec whose rows and requirements judge it (TOML).")
MEMBERS = typer.Option(
    None,
    "--members",
    help="Rows it was trained on (.npz: x, y), for a model trained elsewhere; the spec's are not used.",
)
OTHERS = typer.Option(None, "--non-members", help="Rows of the same source that it never saw (.npz: x, y).")
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
    members: Path | None = MEMBERS,
    non_members: Path | None = OTHERS,
    out: Path | None = OUT,
    model: str | None = MODEL,
    dense: Path | None = DENSE,
    ledger: Path | None = LEDGER,
    cache: Path | None = CACHE,
    released: Path | None = RELEASED,
    workers: int = WORKERS,
    threads: int = THREADS,
) -> None:
    """Judge a file by a spec, with fresh attackers. Exit codes as compress.

    With --members and --non-members any classifier can be judged: an ONNX file, or a network of your own (--model) with
    weights from FILE. Of the spec only [safety] and [[require]] count then.
    """
    from safecompress import api
    from safecompress.cli.setup import as_trained, call_factory, check_data_digest, executor_of, load_rows, load_weights
    from safecompress.config import load_config
    from safecompress.deploy import Artifact
    from safecompress.errors import UsageError
    from safecompress.runfolder import ARTIFACT as ARTIFACT_NAME
    from safecompress.runfolder import IDENTITY

    if out is not None and (out / IDENTITY).exists():
        raise UsageError(f"{out} holds a run and the report of its verdict. Give --out a folder of its own.")
    if not artifact.is_file():
        raise UsageError(f"{artifact} is no file. Name the artifact: RUN/{ARTIFACT_NAME}.")
    if members is not None or non_members is not None:
        unread = {"--dense": dense, "--cache": cache, "--released": released}
        given = [option for option, value in unread.items() if value is not None]
        if given:
            raise UsageError(
                f"{' and '.join(given)}: nothing is compared with, and no shadow is trained for, a model that was "
                "trained elsewhere. Leave it out with --members and --non-members."
            )
        report = _audit_foreign(artifact, spec, members, non_members, model, ledger, threads)
        _finish(report, out)
    source = artifact.parent / ARTIFACT_NAME if artifact.suffix == ".onnx" else artifact
    if not source.is_file() or (source != artifact and not (artifact.parent / IDENTITY).exists()):
        raise UsageError(
            f"{artifact} does not lie in the folder of a run, which alone knows its members. Name rows that it was "
            "trained on and rows that it never saw: --members and --non-members."
        )
    loaded = Artifact.load(source)
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
        template = network
        if loaded.model_spec is not None and network is None:
            loaded.build()  # refuses sizes that are not the file's, before memory is taken for the whole
            template = api.build(loaded.model_spec, config.seed)  # of the whole size, whatever units were removed
        assert template is not None  # refused above
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
    _finish(report, out)


def _audit_foreign(
    file: Path,
    spec: Path,
    members: Path | None,
    others: Path | None,
    factory: str | None,
    ledger: Path | None,
    threads: int,
) -> Report:
    """The verdict on a model that was trained elsewhere, by rows that the user names."""
    from dataclasses import replace

    from safecompress import api
    from safecompress.cli.setup import foreign_model, load_pools
    from safecompress.config import load_limits
    from safecompress.errors import UsageError

    if members is None or others is None:
        raise UsageError("--members and --non-members go together: attacks tell the ones from the others.")
    limits = load_limits(spec)
    target, own, num_classes = foreign_model(file, factory, members)
    split = load_pools(members, others, num_classes, limits.seed)
    book = ledger if ledger is not None else file.resolve().parent / "ledger.jsonl"
    report = api.audit(target, split, spec=limits.spec, model=own, seed=limits.seed, ledger=book, threads=threads)
    return replace(report, name=limits.name)


def _finish(report: Report, out: Path | None) -> NoReturn:
    """Save the report, show it, and leave with its exit code."""
    from safecompress.cli.console import show_report
    from safecompress.report import save_report

    if out is not None:
        save_report(report, out)
    show_report(report, out)
    raise typer.Exit(report.exit_code)
