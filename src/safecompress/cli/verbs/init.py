"""``safecompress init``: a commented spec that runs, from flags, or from questions where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safecompress.cli._support.complete import dataset_names, model_names
from safecompress.cli._support.output import AS_JSON, QUIET, say_json
from safecompress.cli.app import app

if TYPE_CHECKING:
    from safecompress.certify import Prospect

SPEC = typer.Argument(None, help="The spec to write.  (default: <name of the data>.toml)", show_default=False)
DATA = typer.Option(
    None, "--data", help="A file of yours (.csv, .npz, .jsonl), or a data set's name.", autocompletion=dataset_names
)
ROOT = typer.Option(None, "--root", help="The folder of a data set that has files.")
LABEL = typer.Option(None, "--label", help="The column (.csv) or array (.npz) of classes.")
GROUP = typer.Option(None, "--group", help="The column whose rows belong together: a person, an author.")
OPTION = typer.Option([], "--option", "-o", metavar="KEY=VALUE", help="Any other option of the data; repeat as needed.")
MODEL = typer.Option(
    None, "--model", help="A network's name.  (default: what fits the data)", autocompletion=model_names
)
DENSITY = typer.Option(None, "--density", min=0.0, max=1.0, help="Share of weights to keep.  (default: 0.1)")
ACCESS = typer.Option(None, "--access", help="What attackers are given: weights, scores, labels.  (default: weights)")
MAX_AUC = typer.Option(
    None, "--max-auc", min=0.0, max=1.0, help="Bound on every attack's AUC.  (default: one that the rows can certify)"
)
MAX_DROP = typer.Option(
    None,
    "--max-drop",
    min=0.0,
    max=1.0,
    help="Accuracy that may be lost to the dense model.  (default: what rows tell)",
)
MIN_ACCURACY = typer.Option(None, "--min-accuracy", min=0.0, max=1.0, help="Accuracy that must be reached.")
MAX_BYTES = typer.Option(None, "--max-bytes", min=1, help="Bytes that the file may take.")
EPOCHS = typer.Option(60, "--epochs", min=1, help="Epochs of training.")
SEED = typer.Option(0, "--seed", min=0, help="Seed of the split and of all training.")
YES = typer.Option(False, "--yes", "-y", help="Ask nothing: flags and defaults.")


@app.command()
def init(
    spec: Path | None = SPEC,
    data: str | None = DATA,
    root: Path | None = ROOT,
    label: str | None = LABEL,
    group: str | None = GROUP,
    option: list[str] = OPTION,
    model: str | None = MODEL,
    density: float | None = DENSITY,
    access: str | None = ACCESS,
    max_auc: float | None = MAX_AUC,
    max_drop: float | None = MAX_DROP,
    min_accuracy: float | None = MIN_ACCURACY,
    max_bytes: int | None = MAX_BYTES,
    epochs: int = EPOCHS,
    seed: int = SEED,
    yes: bool = YES,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Write a commented spec for your data, with limits that its rows can certify. Nothing is trained.

    Asks for what no flag says where there is a terminal. Exit code: 0 the spec is written and runs, 2 it would not.
    """
    from safecompress.cli._support.feasible import fit_to_rows, rehearse
    from safecompress.cli._support.prompts import Asker, access_of, columns_of, name_of, source_of
    from safecompress.cli._support.template import Answers, propose, propose_drop, write_draft
    from safecompress.storage import write_bytes

    asker = Asker(is_asking=not yes and sys.stdin.isatty())
    if spec is not None:
        _refuse_existing(spec)
    question = "Your data: a file (.csv, .npz, .jsonl), or the name of a data set"
    data = asker.require(question, data, "Say which data: --data people.csv --label diagnosis, or --data digits.")
    spec = spec if spec is not None else Path(f"{name_of(data)}.toml")
    _refuse_existing(spec)
    source = source_of(data, root, spec.absolute().parent, option)
    if source["name"] == "csv" and "label" not in source:
        columns = columns_of(Path(data))
        refusal = f"Say which column of {data} holds the class: --label. Its columns: {columns}."
        label = asker.require(f"The column of classes ({columns})", label, refusal)
    source |= {key: value for key, value in (("label", label), ("group", group)) if value is not None}
    answers = Answers(
        name=name_of(spec.name),
        source=source,
        model={} if model is None else {"name": model},
        access=access_of(asker.ask("What an attacker is given: weights, scores or labels", access, "weights")),
        density=asker.ask("Share of weights to keep", density, 0.1),
        epochs=epochs,
        min_accuracy=min_accuracy,
        max_bytes=max_bytes,
        seed=seed,
    )
    answers, rows, prospects, alpha = fit_to_rows(answers, spec)
    drop = propose_drop(rows.raw.size("test"), alpha)
    answers = replace(answers, max_drop=asker.ask("Accuracy that may be lost to the dense model", max_drop, drop))
    bound = asker.ask("Bound on every attack's AUC (0.5 is guessing)", max_auc, propose(prospects, answers.metrics))
    text = write_draft(answers, rows.raw, bound, prospects)
    prospects = rehearse(text, spec, rows)
    _refuse_existing(spec)
    write_bytes(spec, text.encode())
    _tell(spec, prospects, as_json, quiet)


def _refuse_existing(spec: Path) -> None:
    from safecompress.errors import UsageError

    if spec.exists():
        raise UsageError(f"{spec} exists, and nothing is written over. Name another file, or move that one.")
    if not spec.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {spec.parent} for the spec. Make it first.")


def _tell(spec: Path, prospects: Sequence[Prospect], as_json: bool, quiet: bool) -> None:
    if as_json:
        told = [{"requirement": str(p.requirement), "tightest": p.tightest, "note": p.note} for p in prospects]
        say_json({"spec": str(spec), "requirements": told})
        return
    if not quiet:
        for prospect in prospects:
            tightest = "" if prospect.tightest is None else f"the tightest certifiable is {prospect.tightest:.4g}; "
            typer.echo(f"{prospect.requirement}: {tightest}{prospect.note}")
    typer.echo(f"Wrote {spec}. Next: safecompress compress {spec}")
