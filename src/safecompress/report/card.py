"""model_card.md: what a person who is offered the file should know, in the form that model hubs read.

YAML metadata first (tags, metrics, results), then the verdict, its limits, and how to load the file. It is not called
README.md: a run may be written into a folder that has one, and that folder holds keys and dense weights that must not
be published with it. Put it beside the artifact as README.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safecompress.metrics.catalogue import ACCURACY, AUC, COMPRESSION_RATIO, DENSITY, SIZE_BYTES, parse_name
from safecompress.report.escaping import yaml_string
from safecompress.report.glossary import lead, limits
from safecompress.report.markdown import markdown_table, plain_text
from safecompress.report.model import Report
from safecompress.report.people import people_lines
from safecompress.report.record import bound_lines, record_rows
from safecompress.report.text import (
    DENSE,
    columns_beside,
    figure_rows,
    health_line,
    requirement_rows,
    size_line,
    strongest_line,
)

TAGS = ("safecompress", "model-compression", "sparsity", "privacy", "membership-inference")

SHOWN = tuple(metric.name for metric in (ACCURACY, DENSITY, SIZE_BYTES, COMPRESSION_RATIO))
"""Metrics of the card's table beside every attack's AUC."""

LOADING = """```python
from safecompress.runtime import load

model = load("{file}")
probabilities = model.predict(samples)  # raw samples, float32, of shape (rows, {shape})
```"""


def to_card(report: Report, *, license_id: str | None = None) -> str:
    """The card. ``license_id`` is an SPDX name; without one none is claimed."""
    doubts = [f"- {plain_text(doubt)}" for doubt in report.doubts]
    parts = [
        "\n".join(["---", *_metadata(report, license_id), "---"]),
        f"# {plain_text(report.name)}",
        f"A compressed classifier with a privacy verdict: **{report.verdict}**. {plain_text(lead(report))}",
        f"{plain_text(report.claim[:1].upper() + report.claim[1:])}. {plain_text(limits(report))}",
        *(["What keeps the verdict from PASS:", "\n".join(doubts)] if doubts else []),
        "## Requirements",
        markdown_table(["requirement", "measured", "interval", "verdict", *columns_beside(report)], _required(report)),
        *(["\n".join(f"- {plain_text(line)}." for line in lines)] if (lines := bound_lines(report)) else []),
        *(f"{plain_text(line[:1].upper() + line[1:])}." for line in people_lines(report)),
        "## Figures",
        *([f"{plain_text(line)}."] if (line := strongest_line(report)) else []),
        markdown_table(["metric", "this file", "interval", DENSE, "interval"], _figures(report)),
        *([f"{plain_text(health_line(report))}."] if report.health else []),
        "## The file",
        f"{plain_text(size_line(report))}.",
        *_loading(report),
        "## Data",
        f"{_rows(report)} No row, score or label is in this card or in the report it comes from.",
        "## Provenance",
        *([markdown_table(["record", ""], [list(row) for row in rows])] if (rows := record_rows(report)) else []),
        f"Made and judged by safecompress {plain_text(report.version)}; digest of the artifact's content "
        f"`{plain_text(str(report.digests.get('artifact', 'unknown')))}`. The whole evidence is in report.html and "
        "report.json of the run.",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(report: Report, license_id: str | None) -> Iterator[str]:
    if license_id is not None:
        yield f"license: {yaml_string(license_id)}"
    yield "library_name: safecompress"
    task = _task(report)
    if task is not None:
        yield f"pipeline_tag: {task}"
    yield "tags:"
    yield from (f"- {tag}" for tag in TAGS)
    yield "metrics:"
    yield "- accuracy"
    accuracy = report.measurements.get(ACCURACY.name)
    if accuracy is None:
        return
    data = yaml_string(str(report.split.get("name", "unknown")))
    yield "model-index:"
    yield f"- name: {yaml_string(report.name)}"
    yield "  results:"
    yield "  - task:"
    yield f"      type: {task or 'other'}"
    yield "      name: Classification"
    yield "    dataset:"
    yield f"      type: {data}"
    yield f"      name: {data}"
    yield "      split: test"
    yield "    metrics:"
    yield "    - type: accuracy"
    yield f"      value: {accuracy['value']:.6g}"
    yield "      name: Accuracy on test rows"
    for metric, figure in report.measurements.items():
        name = parse_name(metric)
        if name is not None and name.attack is not None and name.metric is AUC and not name.is_change:
            yield "    - type: membership_inference_auc"
            yield f"      value: {figure['value']:.6g}"
            yield f"      name: {yaml_string(f'AUC of the attack {name.attack} (0.5 is guessing)')}"


def _shape(report: Report) -> list[int]:
    model: Mapping[str, Any] = report.artifact.get("model") or {}
    return list(model.get("input_shape", ()))


def _task(report: Report) -> str | None:
    """The hub's word for the task, where the shape of a sample tells it."""
    return {1: "tabular-classification", 3: "image-classification"}.get(len(_shape(report)))


def _required(report: Report) -> list[list[str]]:
    return [row[:-1] for row in requirement_rows(report)]


def _figures(report: Report) -> list[list[str]]:
    shown = [row for row in figure_rows(report) if row[0] in SHOWN or _is_shown(row[0])]
    return [[*row[:3], *row[-2:]] for row in shown]


def _is_shown(metric: str) -> bool:
    """Of an attack its headline figure, and what the terminal shows but for its hard decisions."""
    name = parse_name(metric)
    if name is None or name.attack is None:
        return False
    return name.metric.is_headline or (name.metric.is_shown and not name.metric.is_decision)


def _rows(report: Report) -> str:
    parts = report.split["parts"]
    counts = {name: part["rows"] for name, part in parts.items() if part["rows"]}
    listed = ", ".join(f"{plain_text(name)} {rows:,}" for name, rows in counts.items())
    return f"Rows of {plain_text(str(report.split.get('name', 'the data')))}: {listed}."


def _loading(report: Report) -> list[str]:
    """How to load the file, where safecompress alone can: a network of its own, or an ONNX file."""
    is_onnx = report.artifact.get("format") == "onnx"
    if not is_onnx and not report.artifact.get("model"):
        return ["Its network is a class of its author's, who has to give it to whoever loads the weights."]
    file = "artifact.onnx" if is_onnx else "artifact.safetensors"
    shape = ", ".join(str(int(size)) for size in _shape(report)) or "..."
    return [LOADING.format(file=file, shape=shape)]
