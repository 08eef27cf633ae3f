"""``safecompress data check NAME`` and ``data list``: what is in your files, and which files a data set expects."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from safecompress.cli._support.output import say_json
from safecompress.cli.app import App, app
from safecompress.cli.options import AS_JSON, QUIET, data_option, data_root_option

if TYPE_CHECKING:
    from inspect import Parameter

    from safecompress.data import Dataset
    from safecompress.tables import TableSurvey

NAME = typer.Argument(..., help="A data set, as `safecompress data list` names them.")
ROOT = data_root_option("The folder, or the file, that holds the data.")
OPTION = data_option("An option of the data set, as in \\[data] source; repeat as needed.")

data = App(name="data", help="Look at data before anything is trained.", no_args_is_help=True)
app.add_typer(data)


@data.command()
def check(
    name: str = NAME, root: Path | None = ROOT, option: list[str] = OPTION, as_json: bool = AS_JSON, quiet: bool = QUIET
) -> None:
    """Load a data set and count: rows, classes and balance, equal rows, ranges, memory, sizes of the default split.

    Of a CSV file the columns come first: what each is, how many values differ or are missing, and the first and the
    last line of what is odd. No cell is shown.

    Exit code 0 when the data can be used, 2 with every fault that was found when it cannot.
    """
    from safecompress.cli._support.data_view import line_of, show_columns, show_facts
    from safecompress.data.facts import facts_of

    if name == "csv":
        survey = _survey(root, option)
        if not as_json and not quiet:
            show_columns(survey)
        dataset = _dataset_of(survey)
        columns = {"columns": [column.to_json() for column in survey.columns], "table_notes": list(survey.notes)}
    else:
        dataset, columns = load(name, root, option), {}
    facts = facts_of(dataset)
    if as_json:
        say_json(facts.to_json() | columns)
    elif quiet:
        typer.echo(line_of(facts))
    else:
        show_facts(facts)


@data.command(name="list")
def list_data(as_json: bool = AS_JSON) -> None:
    """List the data sets with the files that each expects."""
    from safecompress.cli._support.data_view import show_layouts
    from safecompress.data import DATASETS

    layouts = {
        name: {"origin": origin, "summary": summary, "files": files_of(DATASETS.factory(name))}
        for name, (origin, summary) in DATASETS.describe().items()
    }
    if as_json:
        say_json(layouts)
    else:
        show_layouts(layouts)


def load(name: str, root: Path | None, assignments: Sequence[str]) -> Dataset:
    """The data set called ``name``. Raises UsageError with all faults of the options, DataError for unusable files."""
    from safecompress.data import DATASETS

    return DATASETS.factory(name)(**_arguments(name, root, assignments))


def _survey(root: Path | None, assignments: Sequence[str]) -> TableSurvey:
    from safecompress.tables import Roles, survey_csv

    arguments = _arguments("csv", root, assignments)
    return survey_csv(arguments.pop("path"), Roles(**arguments))


def _dataset_of(survey: TableSurvey) -> Dataset:
    from safecompress.data.tabular.files import dataset_of

    return dataset_of(survey)


def _arguments(name: str, root: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """What the factory of the data set ``name`` is called with. Raises UsageError with all faults of the options."""
    from safecompress.config.options import convert, parameters_of, read_options
    from safecompress.config.reading import SpecReader
    from safecompress.data import DATASETS
    from safecompress.errors import UsageError

    factory = DATASETS.factory(name)
    parameters, _ = parameters_of(factory, ())
    reading = SpecReader(base=Path())
    options = _options(assignments, parameters, reading.note)
    place = next((key for key in ("root", "path") if key in parameters), None)
    if root is None and place is not None and place not in options:
        if parameters[place].default is parameters[place].empty:
            reading.note("--root", f"say where the files of {name!r} lie: {files_of(factory) or 'a folder or a file'}")
            options[place] = "."
    elif root is not None:
        if place is None:
            reading.note("--root", f"the dataset {name!r} is read from no folder. Leave it out.")
        elif place in options:
            reading.note("--root", f"--option {place} says it, too. Keep one of them.")
        else:
            options[place] = str(root)
    written = read_options(factory, options, "--option", f"the dataset {name!r}", reading)
    if written is None or reading.faults:
        raise UsageError.from_faults(f"data check {name}", reading.faults)
    return convert(factory, written, Path())


def files_of(factory: Callable[..., Any]) -> str:
    """What a factory's documentation says after "Files: ", up to the next empty line; empty where it says nothing."""
    paragraphs = [" ".join(text.split()) for text in (factory.__doc__ or "").split("\n\n")]
    return next((text.removeprefix("Files: ") for text in paragraphs if text.startswith("Files: ")), "")


def _options(
    assignments: Sequence[str], parameters: Mapping[str, Parameter], note: Callable[[str, str], None]
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not (key and equals):
            note("--option", f"takes key=value, got {text!r}.")
        elif key in options:
            note("--option", f"{key!r} is given twice. Keep one of them.")
        else:
            options[key] = _value(value, parameters.get(key))
    return options


def _value(text: str, option: Parameter | None) -> Any:
    """``text`` as a TOML value if it is one; what takes text gets numbers and words as they are written."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = table.get("value")
    is_quoted = isinstance(value, str | list) and len(table) == 1
    return text if len(table) != 1 or (not is_quoted and _takes_text(option)) else value


def _takes_text(option: Parameter | None) -> bool:
    from typing import get_args

    annotation = None if option is None else option.annotation
    return any(kind in (str, Path) for kind in (annotation, *get_args(annotation)))
