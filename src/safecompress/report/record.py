"""The report as a record: what was judged when, by which spec, and what each bound means and who chose it."""

from __future__ import annotations

from collections.abc import Sequence

from safecompress.report.model import Report

MOST_COLUMNS = 20
"""Columns of a table that are named; of more the rest is counted."""


def record_rows(report: Report) -> list[tuple[str, str]]:
    """What was judged when: pairs of a name and a value. Empty for a report of an older schema."""
    record = report.record
    grouped = ", several rows of one person kept together" if record.get("grouped") else ""
    data = str(record.get("data", ""))
    if {"rows", "row", "classes"} <= record.keys():
        data += f": {record['rows']:,} rows of {record['row']}, {record['classes']} classes{grouped}"
    columns = list(record.get("columns", ()))
    told = {
        "Date": record.get("date"),
        "Data": data,
        "Columns used": _listed(columns) if columns else None,
        "Weights": record.get("weights"),
        "Spec": record.get("spec"),
    }
    return [(name, str(value)) for name, value in told.items() if value]


def record_line(report: Report) -> str | None:
    """The record in one sentence for the terminal, without a full stop."""
    rows = record_rows(report)
    return "; ".join(f"{name.lower()} {value}" for name, value in rows) if rows else None


def bound_lines(report: Report) -> list[str]:
    """What the bounds mean for a person and who chose them: a sentence for all requirements that share both."""
    groups: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        meaning = finding.get("meaning")
        if meaning:
            groups.setdefault((meaning, finding["chosen_by"]), []).append(finding["requirement"])
    return [
        f"{_joined(requirements)} ({chosen_by}): {meaning}" for (meaning, chosen_by), requirements in groups.items()
    ]


def _joined(requirements: Sequence[str]) -> str:
    """``lira.auc, neural.auc ≤ 0.6``: the bound is said once."""
    return ", ".join([*(one.rpartition(" ")[0].rpartition(" ")[0] for one in requirements[:-1]), requirements[-1]])


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:MOST_COLUMNS])
    return shown if len(columns) <= MOST_COLUMNS else f"{shown} and {len(columns) - MOST_COLUMNS} more"
