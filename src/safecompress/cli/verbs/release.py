"""``safecompress release ARTIFACT``: records that a version is out, so that later audits take it into account."""

from __future__ import annotations

from pathlib import Path

import typer

from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, artifact_argument

ARTIFACT = artifact_argument("The artifact that is being released.")
LIST = typer.Option(Path("released.jsonl"), "--to", help="The list of released versions.")


@app.command()
def release(artifact: Path = ARTIFACT, to: Path = LIST, as_json: bool = AS_JSON) -> None:
    """Add an artifact to the list of versions that are out.

    Whoever holds several versions of one model learns more than from each alone: give the list to compress and audit
    (--released) and bound joint_lira.auc.
    """
    from safecompress.certify import Released
    from safecompress.errors import UsageError

    if not artifact.is_file():
        raise UsageError(f"{artifact} is no file. Name the artifact: RUN/artifact.safetensors.")
    Released(to).add(artifact)
    if as_json:
        say_json({"artifact": str(artifact), "list": str(to)})
        return
    typer.echo(f"{artifact} is listed in {to} as released. Give --released {to} to compress and audit from now on.")
