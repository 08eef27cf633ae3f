"""``safecompress init``: writes a commented spec that runs, from flags, or from questions where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from safecompress.cli._support.complete import dataset_names, model_names
from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, QUIET, data_option, data_root_option

if TYPE_CHECKING:
    from safecompress.certify import Feasibility
    from safecompress.cli._support.feasible import FittedAnswers
    from safecompress.cli._support.prompts import Prompter
    from safecompress.cli._support.template import InitAnswers

SPEC = typer.Argument(None, help="The spec to write.  (default: <name of the data>.toml)", show_default=False)
DATA = typer.Option(
    None, "--data", help="A file of yours (.csv, .npz, .jsonl), or a data set's name.", autocompletion=dataset_names
)
ROOT = data_root_option("The folder of a data set that has files.")
LABEL = typer.Option(None, "--label", help="The column (.csv) or array (.npz) of classes.")
GROUP = typer.Option(None, "--group", help="The column whose rows belong together: a person, an author.")
OPTION = data_option("Any other option of the data; repeat as needed.")
MODEL = typer.Option(
    None, "--model", help="A network's name.  (default: what fits the data)", autocompletion=model_names
)
DENSITY = typer.Option(None, "--density", min=0.0, max=1.0, help="Share of weights to keep.  (default: 0.1)")
ACCESS = typer.Option(None, "--access", help="What attackers are given: weights, scores, labels.  (default: weights)")
MAX_AUC = typer.Option(
    None, "--max-auc", min=0.0, max=1.0, help="Bound on every attack's AUC, 0.5 is guessing.  (default: 0.6)"
)
MAX_DROP = typer.Option(
    None,
    "--max-drop",
    min=0.0,
    max=1.0,
    help="Accuracy that may be lost to the dense model.  (default: 0.05)",
)
MIN_ACCURACY = typer.Option(None, "--min-accuracy", min=0.0, max=1.0, help="Accuracy that must be reached.")
MAX_WORST_CASE = typer.Option(
    None,
    "--max-worst-case",
    min=0.0,
    max=1.0,
    help="Bound on how surely the most exposed people show, 0.5 is guessing.  (default: 0.8)",
)
MAX_BYTES = typer.Option(None, "--max-bytes", min=1, help="Bytes that the file may take.")
EPOCHS = typer.Option(60, "--epochs", min=1, help="Epochs of training.")
SEED = typer.Option(0, "--seed", min=0, help="Seed of the split and of all training.")
FOR_AUDIT = typer.Option(
    None,
    "--for-audit",
    metavar="FILE",
    help="Write a spec for a model that was trained elsewhere (.onnx, .safetensors), which an audit can certify.",
)
QUICK = typer.Option(
    False, "--quick", help="Add a version of the spec for a rough verdict in about a minute, which is never PASS."
)
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
    max_worst_case: float | None = MAX_WORST_CASE,
    max_bytes: int | None = MAX_BYTES,
    epochs: int = EPOCHS,
    seed: int = SEED,
    quick: bool = QUICK,
    for_audit: Path | None = FOR_AUDIT,
    yes: bool = YES,
    as_json: bool = AS_JSON,
    quiet: bool = QUIET,
) -> None:
    """Write a commented spec for your data, with limits whose meaning is said in words. Nothing is trained.

    Asks for what no flag says where there is a terminal. Exit code: 0 the spec is written and runs, 2 it would not.
    """
    from safecompress.cli._support.feasible import check_spec, fit_to_data
    from safecompress.cli._support.prompts import Prompter, access_of, name_of, source_of
    from safecompress.cli._support.template import Bound, InitAnswers, write_template
    from safecompress.storage import PUBLISHED, write_bytes

    if for_audit is not None:
        _init_for_audit(for_audit, spec, access, max_auc, min_accuracy, seed, as_json)
        return
    prompter = Prompter(is_interactive=not yes and sys.stdin.isatty())
    if spec is not None:
        _refuse_existing(spec)
    question = "Your data: a file (.csv, .npz, .jsonl), or the name of a data set"
    data = prompter.require(question, data, "Say which data: --data people.csv --label diagnosis, or --data digits.")
    spec = spec if spec is not None else Path(f"{name_of(data)}.toml")
    _refuse_existing(spec)
    answers = InitAnswers(
        name=name_of(spec.name),
        file=str(spec),
        source=_source(prompter, source_of(data, root, spec.absolute().parent, option), data, label, group),
        model={} if model is None else {"name": model},
        access=access_of(prompter.ask("What an attacker is given: weights, scores or labels", access, "weights")),
        density=prompter.ask("Share of weights to keep", density, 0.1),
        epochs=epochs,
        bound=Bound(1.0),
        max_drop=Bound(1.0),
        max_worst_case=None if max_worst_case is None else Bound(max_worst_case),
        min_accuracy=min_accuracy,
        max_bytes=max_bytes,
        seed=seed,
        quick=quick,
    )
    columns = _survey(answers.source, spec, quiet=quiet or as_json)
    fitted = _with_bounds(prompter, fit_to_data(answers, spec, fit_pools=max_auc is None), max_drop, max_auc)
    text = write_template(fitted.answers, fitted.data.raw, fitted.prospects)
    prospects = check_spec(text, spec, fitted.data)
    text = write_template(fitted.answers, fitted.data.raw, prospects)  # with what rows certify of every requirement
    if quick:
        check_spec(text, spec, fitted.data, quick=True)
    _refuse_existing(spec)
    write_bytes(spec, text.encode(), mode=PUBLISHED)
    _show(fitted.answers, prospects, columns, as_json, quiet)


def _init_for_audit(
    model_path: Path,
    spec: Path | None,
    access: str | None,
    max_auc: float | None,
    min_accuracy: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Write a spec for a model from elsewhere, whose rows are named when it is audited."""
    from safecompress.cli._support.audit_template import (
        AuditAnswers,
        audit_bound,
        check_model_file,
        write_audit_template,
    )
    from safecompress.cli._support.prompts import access_of, name_of
    from safecompress.config.read import parse_limits
    from safecompress.storage import PUBLISHED, write_bytes

    check_model_file(model_path)
    spec = spec if spec is not None else Path(f"{name_of(model_path.name)}-audit.toml")
    _refuse_existing(spec)
    given = access_of("labels" if access is None else access)
    bound, name = audit_bound(max_auc), name_of(spec.name)
    answers = AuditAnswers(name, str(spec), model_path, given, bound, min_accuracy, seed)
    text = write_audit_template(answers)
    parse_limits(text, base=spec.absolute().parent, source=str(spec))
    write_bytes(spec, text.encode(), mode=PUBLISHED)
    first, second = answers.commands
    if as_json:
        say_json({"spec": str(spec), "next": [first, second], "left_out": list(answers.left_out)})
        return
    typer.echo(f"Wrote {spec}.")
    typer.echo(f"Next, where the model was trained, so that its members are proved: {first}")
    typer.echo(f"Then, here: {second}")


def _survey(source: Mapping[str, Any], spec_path: Path, *, quiet: bool) -> list[dict[str, Any]]:
    """What the columns of a CSV file are, shown unless ``quiet``. Raises DataError that lists every fault of the file.

    Other data has no columns. A fault of the options is left to whoever reads the spec.
    """
    from safecompress.cli._support.data_view import show_columns
    from safecompress.config.options import convert, read_options
    from safecompress.config.reading import SpecReader
    from safecompress.data import read_csv
    from safecompress.tables import Roles, survey_csv

    options = {key: value for key, value in source.items() if key != "name"}
    reading = SpecReader(base=Path())
    written = read_options(read_csv, options, "[data] source", "", reading) if source["name"] == "csv" else None
    if written is None:
        return []
    arguments = convert(read_csv, written, spec_path.absolute().parent)
    survey = survey_csv(arguments.pop("path"), Roles(**arguments))
    if not quiet:
        show_columns(survey)
    survey.require_sound()
    return [column.to_json() for column in survey.columns]


def _source(
    prompter: Prompter, source: Mapping[str, Any], data: str, label: str | None, group: str | None
) -> dict[str, Any]:
    """``[data] source`` with the columns of classes and of groups; a table needs to know its classes."""
    from safecompress.cli._support.prompts import columns_of

    if source["name"] == "csv" and "label" not in source:
        listing = columns_of(Path(data))
        refusal = f"Say which column of {data} holds the class: --label. Its columns: {listing}."
        label = prompter.require(f"The column of classes ({listing})", label, refusal)
    columns = {"label": label, "group": group}
    return {**source, **{key: value for key, value in columns.items() if value is not None}}


def _with_bounds(
    prompter: Prompter, fitted: FittedAnswers, max_drop: float | None, max_auc: float | None
) -> FittedAnswers:
    """The answers with the bounds that flags or a person name, or that are proposed for what they mean."""
    from safecompress.cli._support.template import Bound, propose_bound, propose_drop

    answers, drop = fitted.answers, propose_drop(fitted.data.raw.size("test"), fitted.alpha)
    asked = prompter.ask("Accuracy that may be lost to the dense model", max_drop, drop.value)
    proposal = propose_bound(fitted.prospects, answers.metrics)
    bound = prompter.ask("Bound on every attack's AUC (0.5 is guessing)", max_auc, proposal.value)
    chosen = replace(answers, max_drop=Bound.chosen(asked, drop), bound=Bound.chosen(bound, proposal))
    return replace(fitted, answers=chosen)


def _refuse_existing(spec_path: Path) -> None:
    from safecompress.errors import UsageError

    if spec_path.exists():
        raise UsageError(f"{spec_path} exists, and nothing is written over. Name another file, or move that one.")
    if not spec_path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {spec_path.parent} for the spec. Make it first.")


def _show(
    answers: InitAnswers, prospects: Sequence[Feasibility], summaries: Sequence[Any], as_json: bool, quiet: bool
) -> None:
    """What was written: what the rows can certify, what each bound means, and which command is next."""
    from safecompress.cli._support.template import QUICK, bounds_in_words

    full = f"safecompress compress {answers.file}"
    command = f"{full} --scale {QUICK}" if answers.quick else full
    meanings = bounds_in_words(answers)
    if as_json:
        told = {"requirements": [prospect.to_json() for prospect in prospects], "meanings": meanings, "next": command}
        say_json({"spec": answers.file, **told} | ({"columns": list(summaries)} if summaries else {}))
        return
    if not quiet:
        for line in [*map(str, prospects), *meanings]:
            typer.echo(line)
        if answers.quick:
            typer.echo(f"A rough verdict takes about a minute and is never PASS. The full one: {full}")
    typer.echo(f"Wrote {answers.file}. Next: {command}")
