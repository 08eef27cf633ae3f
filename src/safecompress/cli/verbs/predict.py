"""``safecompress predict ARTIFACT FILE``: the class of every row of a table, with its probabilities."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, artifact_argument

if TYPE_CHECKING:
    from safecompress.runtime.predictor import Prediction


class RowsFormat(StrEnum):
    """How predictions are written."""

    CSV = "csv"
    JSON = "json"


ARTIFACT = artifact_argument("An artifact (.safetensors) or an ONNX model (.onnx) that was trained on a table.")
FILE = typer.Argument(..., help="Rows to score: a .csv, .csv.gz or .csv.xz file with the columns of training.")
OUT = typer.Option(None, "--out", help="Write to this file, readable by you alone.  (default: standard output)")
FORMAT = typer.Option(RowsFormat.CSV, "--format", help="csv: one line for each row; json: one object.")


@app.command()
def predict(
    artifact: Path = ARTIFACT,
    file: Path = FILE,
    out: Path | None = OUT,
    format: RowsFormat = FORMAT,
    as_json: bool = AS_JSON,
) -> None:
    """Score the rows of a table: the class of each, and the probability of every class.

    Columns are found by name; the order does not matter, and other columns (the label, too) are passed over. Missing
    cells, numbers and dates are read as in training. Exit code 0; 2 with every row and column that cannot be scored,
    and nothing is scored then. Values far outside of what training saw are named on standard error.
    """
    import warnings

    from safecompress.runtime import load
    from safecompress.runtime.predictor import TableWarning
    from safecompress.storage import PRIVATE, write_bytes

    predictor = load(artifact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)  # they are printed below, without a line of code
        prediction: Prediction = predictor.predict(file)
    for warning in prediction.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    text = _as_json(prediction) if as_json or format is RowsFormat.JSON else _as_csv(prediction)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_bytes(out, text.encode(), mode=PRIVATE)
        typer.echo(f"Wrote {len(prediction):,} rows to {out}.", err=True)


def _as_csv(prediction: Prediction) -> str:
    import csv
    import io

    from safecompress.errors import printable

    names = [printable(name) for name in prediction.class_names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([prediction.noun, "class", *(f"p({name})" for name in names)])
    best = prediction.probabilities.argmax(1)
    for place, index, shares in zip(prediction.places, best, prediction.probabilities, strict=True):
        writer.writerow([place, names[index], *(f"{share:.6g}" for share in shares)])
    return text.getvalue()


def _as_json(prediction: Prediction) -> str:
    import json

    rows = [
        {prediction.noun: place, "class": name, "probabilities": [round(float(share), 8) for share in shares]}
        for place, name, shares in zip(prediction.places, prediction.classes, prediction.probabilities, strict=True)
    ]
    answer = {"classes": list(prediction.class_names), "rows": rows, "warnings": list(prediction.warnings)}
    return json.dumps(answer, allow_nan=False) + "\n"
