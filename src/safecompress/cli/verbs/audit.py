"""``safecompress audit FILE --spec SPEC.toml``: the same requirements on a saved file, whoever trained it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress.cli._support.complete import spec_files
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
    artifact_argument,
    cache_option,
    dense_option,
    ledger_option,
    model_factory_option,
    out_option,
    threads_option,
    workers_option,
)

if TYPE_CHECKING:
    from safecompress.workflows.audit_file import AuditRequest

ARTIFACT = artifact_argument("The artifact (.safetensors), an ONNX file (.onnx), or weights for --model.")
SPEC = typer.Option(
    ..., "--spec", help="The spec whose rows and requirements judge it (TOML).", autocompletion=spec_files
)
MEMBERS = typer.Option(
    None,
    "--members",
    help="Rows it was trained on (.npz: x, y), for a model trained elsewhere; the spec's are not used.",
)
OTHERS = typer.Option(None, "--non-members", help="Rows of the same source that it never saw (.npz: x, y).")
OUT = out_option("Folder for report.json and report.html.  (default: none are written)")
MODEL = model_factory_option("What makes the network, where its class is your own.")
DENSE = dense_option("Dense weights (safetensors) for `within`.  (default: dense.safetensors beside the artifact)")
LEDGER = ledger_option("Ledger file.  (default: ledger.jsonl beside the artifact, or beside its run folder)")
CACHE = cache_option("Your own private folder that keeps shadow models.  (default: all are trained anew)")
WORKERS = workers_option("Processes that train shadow models, one thread each.")
THREADS = threads_option("Threads of this process.")


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
    gate = Gate.here(context, junit, sarif, github, as_json, str(artifact))
    require_spec(spec)
    from safecompress.cli._support.console import show_report
    from safecompress.cli._support.output import watching
    from safecompress.report import save_report
    from safecompress.workflows.audit_file import AuditRequest, audit_file

    _refuse_run_folder(out)
    request = AuditRequest(
        artifact_path=artifact,
        spec_path=spec,
        members_path=members,
        non_members_path=non_members,
        model_factory=model,
        dense_path=dense,
        ledger_path=ledger,
        cache_path=cache,
        released_path=released,
        workers=workers,
        threads=threads,
    )
    with watching(quiet) as progress:
        judged = audit_file(request, progress)
    record = {**judged.record, "spec": spec.name} if judged.record else {}
    report = replace(judged, command=_command(request), record=record)
    if out is not None:
        save_report(report, out)
    gate.finish(report, lambda: show_report(report, out, quiet=quiet))


def _refuse_run_folder(out: Path | None) -> None:
    """Raise UsageError where the report would take the place of a run's own, or of files of somebody else's."""
    from safecompress.compression.run_folder import IDENTITY
    from safecompress.errors import UsageError
    from safecompress.report.files import require_own_pages

    if out is not None and (out / IDENTITY).exists():
        raise UsageError(f"{out} holds a run and the report of its verdict. Give --out a folder of its own.")
    if out is not None:
        require_own_pages(out)


def _command(request: AuditRequest) -> str:
    """The command that reproduces the verdict."""
    from safecompress.cli._support.reproduce import reproduce_command

    return reproduce_command(
        "audit",
        request.artifact_path,
        spec=request.spec_path,
        members=request.members_path,
        non_members=request.non_members_path,
        model=request.model_factory,
        dense=request.dense_path,
        released=request.released_path,
        threads=request.threads if request.threads > 1 else None,
    )
