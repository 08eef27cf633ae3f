"""``safecompress audit FILE --spec SPEC.toml``: the same requirements on a saved file, whoever trained it."""

from __future__ import annotations

from pathlib import Path

import typer

from safecompress.cli._support.complete import artifacts, spec_files
from safecompress.cli._support.gate import GITHUB, JUNIT, SARIF, Gate
from safecompress.cli._support.output import AS_JSON, QUIET
from safecompress.cli.app import app

ARTIFACT = typer.Argument(
    ...,
    help="The artifact (.safetensors), an ONNX file (.onnx), or weights for --model.",
    autocompletion=artifacts,
)
SPEC = typer.Option(
    ..., "--spec", help="The spec whose rows and requirements judge it (TOML).", autocompletion=spec_files
)
MEMBERS = typer.Option(
    None,
    "--members",
    help="Rows it was trained on (.npz: x, y), for a model trained elsewhere; the spec's are not used.",
)
OTHERS = typer.Option(None, "--non-members", help="Rows of the same source that it never saw (.npz: x, y).")
OUT = typer.Option(None, "--out", help="Folder for report.json and report.html.  (default: none are written)")
MODEL = typer.Option(
    None, "--model", metavar="PKG.MODULE:FACTORY", help="What makes the network, where its class is your own."
)
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
    context: typer.Context,
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
    junit: Path | None = JUNIT,
    sarif: Path | None = SARIF,
    github: bool = GITHUB,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Judge a saved model by a spec, with attackers trained anew.

    With --members and --non-members any classifier can be judged: an ONNX file, or a network of your own (--model) with
    weights from ARTIFACT. Of the spec only [safety] and [[require]] count then.

    Exit code: 0 PASS, 1 FAIL, 2 usage or spec error, 3 ERROR or INCONCLUSIVE. Reports for pipelines: --junit, --sarif,
    --github, --json.
    """
    from dataclasses import replace

    from safecompress.cli._support.reproduce import Option, again
    from safecompress.errors import UsageError
    from safecompress.runfolder import IDENTITY
    from safecompress.workflows.audit_file import audit_file

    gate = Gate.here(context, junit, sarif, github, as_json, str(artifact))
    if out is not None and (out / IDENTITY).exists():
        raise UsageError(f"{out} holds a run and the report of its verdict. Give --out a folder of its own.")
    report = audit_file(
        artifact,
        spec,
        members=members,
        non_members=non_members,
        model=model,
        dense=dense,
        ledger=ledger,
        cache=cache,
        released=released,
        workers=workers,
        threads=threads,
    )
    told: dict[str, Option] = {"spec": spec, "members": members, "non_members": non_members, "model": model}
    told |= {"dense": dense, "released": released, "threads": threads if threads > 1 else None}
    report = replace(report, command=again("audit", artifact, **told))

    def show() -> None:
        from safecompress.cli._support.console import show_report

        show_report(report, out, quiet=quiet)

    if out is not None:
        from safecompress.report import save_report

        save_report(report, out)
    gate.finish(report, show)
