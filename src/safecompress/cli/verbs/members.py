"""``safecompress members FILE --rows TRAIN.npz``: records who a model's members are, so that an audit can prove it."""

from __future__ import annotations

from pathlib import Path

import typer

from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, artifact_argument

MODEL = artifact_argument("The file that was trained: an artifact, an ONNX file, or weights.")
ROWS = typer.Option(..., "--rows", help="All rows that it was trained on (.npz: x, y with class numbers).")


@app.command()
def members(model: Path = MODEL, rows_path: Path = ROWS, as_json: bool = AS_JSON) -> None:
    """Write keyed digests of a model's train rows beside it, for audits of a model that was trained elsewhere.

    Run it where the model is trained. Without that file an audit by --members cannot prove that its rows are the
    model's members, and is INCONCLUSIVE at best. The file holds a secret key: keep it private, never ship it.
    """
    from safecompress.auditing.members import write_members
    from safecompress.errors import UsageError
    from safecompress.workflows.foreign_model import read_train_rows

    if not model.is_file():
        raise UsageError(f"{model} is no file. Name the model that was trained.")
    written = write_members(model, read_train_rows(rows_path))
    if as_json:
        say_json({"model": str(model), "members": str(written)})
        return
    typer.echo(
        f"{written} records who {model.name} was trained on. It holds a secret key: keep it, and do not ship it."
    )
