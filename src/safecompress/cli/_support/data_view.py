"""The facts of a data set and the files that each expects, for a person."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from safecompress.cli._support.output import stdout_console
from safecompress.cli._support.shown import shown
from safecompress.data.facts import DatasetFacts
from safecompress.errors import printable
from safecompress.tables import TableSurvey

MOST = 20
"""Classes that a table lists; of more it shows the largest and the smallest."""


def show_facts(facts: DatasetFacts) -> None:
    """Print everything that was counted."""
    console = stdout_console()
    table = Table(title=shown(printable(facts.name)), title_justify="left", box=None, show_header=False)
    for what, value in _rows(facts):
        table.add_row(f"[bold]{what}[/]", shown(value))
    console.print(table)
    if len(facts.classes) > MOST:
        half, total = MOST // 2, len(facts.classes)
        console.print(f"Of {total} classes the {half} largest and the {half} smallest:", highlight=False)
    console.print(_classes(facts))
    for note in facts.notes:
        console.print(shown(note), highlight=False)


def show_columns(survey: TableSurvey) -> None:
    """Print what each column of a table is, and sentences on them. No cell is shown."""
    console = stdout_console()
    table = Table("column", "kind", "distinct", "missing", "lines", "to know", title_justify="left",
                  title=f"{shown(printable(survey.table.path.name))}: columns")  # fmt: skip
    table.columns[2].justify = table.columns[3].justify = table.columns[4].justify = "right"
    for column in survey.columns:
        lines = "" if column.first_line is None else f"{column.first_line} .. {column.last_line}"
        words = f"[bold red]{shown(column.remark)}[/]" if column.is_fault else shown(column.remark)
        name, missing = shown(printable(column.name)), f"{column.missing:,}" if column.missing else ""
        table.add_row(name, column.kind, f"{column.distinct:,}", missing, lines, words)
    console.print(table)
    for note in survey.notes:
        console.print(shown(printable(note)), highlight=False)


def show_layouts(layouts: Mapping[str, Mapping[str, str]]) -> None:
    """Print each data set: its name, what it is, and which files it expects."""
    console = stdout_console()
    for name, words in layouts.items():
        origin = "" if words["origin"] == "built in" else f" ({words['origin']})"
        console.print(f"[bold]{shown(name)}[/]{shown(origin)}  {shown(words['summary'])}", highlight=False)
        if words["files"]:
            console.print(f"  {shown(words['files'])}", highlight=False)
        console.print()


def line_of(facts: DatasetFacts) -> str:
    """The facts in one line."""
    shape = " x ".join(map(str, facts.shape))
    return f"{printable(facts.name)}: {facts.rows:,} rows of {shape} ({facts.kind}), {len(facts.classes)} classes"


def _rows(facts: DatasetFacts) -> list[tuple[str, str]]:
    counts = facts.classes.values()
    rows = [
        ("rows", f"{facts.rows:,}"),
        ("a row", f"{' x '.join(map(str, facts.shape))}, {facts.kind}"),
        ("classes", f"{len(counts)}, of {min(counts):,} to {max(counts):,} rows (balance {facts.balance:.3g})"),
    ]
    if facts.groups is not None:
        rows.append(("groups", f"{facts.groups:,}"))
    if facts.values is not None:
        rows.append(("values", "{:.6g} to {:.6g}".format(*facts.values)))
    if facts.lengths is not None:
        shortest, median, longest = facts.lengths
        rows.append(("tokens a row", f"{shortest} to {longest}, median {median:g}; vocabulary {facts.vocab_size:,}"))
    same = facts.repeats
    rows.append(("equal rows", f"{same.rows:,} in {same.sets:,} sets, {same.conflicting:,} with different labels"))
    if facts.near is not None:
        rows.append(("similar rows", f"{max(0.0, facts.near):.0%} have one across a split by rows, beyond chance"))
    rows.append(("memory", f"{facts.memory / 2**20:,.1f} MiB"))
    if facts.split is not None:
        rows.append(("default split", ", ".join(f"{part} {size:,}" for part, size in facts.split.items())))
    return rows


def _classes(facts: DatasetFacts) -> Table:
    """All classes in their order; of very many, the ten largest and the ten smallest."""
    listed = list(facts.classes.items())
    if len(listed) > MOST:
        by_size = sorted(listed, key=lambda item: -item[1])
        listed = [*by_size[: MOST // 2], *by_size[-(MOST // 2) :]]
    table = Table("class", "rows", "share")
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, count in listed:
        table.add_row(shown(printable(name)), f"{count:,}", f"{count / facts.rows:.2%}")
    return table
