"""What a person sees at the end: the verdict table. The view during a run is `live`."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from safecompress.cli._support.output import stdout_console
from safecompress.cli._support.shown import shown
from safecompress.metrics.catalogue import parse_name
from safecompress.report import Report
from safecompress.report.people import people_lines, worst_off_line
from safecompress.report.record import bound_lines, record_line
from safecompress.report.text import (
    AS_TRAINED,
    DENSE,
    MEANING,
    arms_line,
    columns_beside,
    figure_rows,
    health_line,
    num_rounds_beyond_noise,
    ranking_line,
    requirement_rows,
    size_line,
    strongest_line,
)

COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "ERROR": "magenta"}


def show_report(report: Report, folder: Path | None, *, speed: str | None = None, quiet: bool = False) -> None:
    """Print the figures, the requirements with their verdicts, and where the rest is; ``speed`` is the latency line.

    With ``quiet``, print only the line of the verdict.
    """
    console = stdout_console()
    colour = COLOURS[report.verdict]
    verdict = f"[bold {colour}]{report.verdict}[/]: {MEANING[report.verdict]}; {shown(report.claim)}."
    if quiet:
        console.print(verdict, soft_wrap=True)
        return
    console.print(_figures(report))
    console.print(_requirements(report))
    for line in bound_lines(report):
        console.print(f"{shown(line)}.", highlight=False)
    strongest = strongest_line(report)
    if strongest is not None:
        console.print(f"{shown(strongest)}.", highlight=False)
    worst = worst_off_line(report)
    for line in people_lines(report):
        if line == worst:
            continue  # it stands beside the verdict
        console.print(f"{shown(line[:1].upper() + line[1:])}.", highlight=False)
    if report.rounds:
        beyond, total = num_rounds_beyond_noise(report)
        if total:
            words = "the winner's leak differed from keeping the pattern beyond noise"
            console.print(f"In {beyond} of {total} rounds {words}.")
    chosen = arms_line(report)
    if chosen is not None:
        console.print(f"{shown(chosen)}.", highlight=False)
    ranked = ranking_line(report)
    if ranked is not None:
        console.print(f"{shown(ranked)}.", highlight=False)
    console.print(f"Artifact: {shown(size_line(report))}.", highlight=False)
    if speed is not None:
        console.print(f"{shown(speed)}.", highlight=False)
    for name, reason in report.errors.items():
        console.print(f"[magenta]ERROR[/] {shown(name)}: {shown(reason)}")
    if report.health:
        console.print(f"{shown(health_line(report))}.", highlight=False)
    for doubt in report.doubts:
        console.print(f"[yellow]Doubt[/] {shown(doubt)}", highlight=False)
    for note in report.notes:
        console.print(shown(note))
    recorded = record_line(report)
    if recorded is not None:
        console.print(f"Record: {shown(recorded)}.", highlight=False)
    if worst is not None:
        console.print(f"{shown(worst[:1].upper() + worst[1:])}.", highlight=False)
    console.print(verdict)
    if folder is not None:
        console.print(f"Report: {shown(str(folder / 'report.html'))}", highlight=False, soft_wrap=True)


def _figures(report: Report) -> Table:
    table = Table(title=f"{shown(report.name)}: figures on held-out rows", title_justify="left")
    for header in ("metric", "artifact", *columns_beside(report)):
        table.add_column(header)
    for metric, *figures in figure_rows(report):
        name = parse_name(metric)
        if name is not None and name.metric.is_shown:
            pairs = zip(figures[::2], figures[1::2], strict=True)
            table.add_row(shown(metric), *(shown(f"{value} {interval}") for value, interval in pairs))
    keys = ("artifact", *({AS_TRAINED: "trained", DENSE: "dense"}[name] for name in columns_beside(report)))
    scores = ["-" if (score := report.tm_score.get(key)) is None else f"{score:.3f}" for key in keys]
    table.add_row("TM-score", *scores)
    return table


def _coloured(verdict: str) -> str:
    return f"[{COLOURS[verdict]}]{verdict}[/]" if verdict in COLOURS else verdict


def _requirements(report: Report) -> Table:
    table = Table(title="Requirements", title_justify="left")
    for header in ("requirement", "measured", "verdict", *columns_beside(report), "why"):
        table.add_column(header)
    for requirement, value, interval, *verdicts, why in requirement_rows(report):
        table.add_row(shown(requirement), shown(f"{value} {interval}"), *map(_coloured, verdicts), shown(why))
    return table
