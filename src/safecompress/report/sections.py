"""The sections of report.html as values: tiles, rows and pictures, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from safecompress.metrics.catalogue import (
    ACCURACY,
    AUC,
    COMPRESSION_RATIO,
    LATENCY,
    attack_of,
    headline_metric,
    headlines,
)
from safecompress.report import glossary
from safecompress.report.model import Report
from safecompress.report.people import people_lines
from safecompress.report.plots.arms import arms_plot
from safecompress.report.plots.bars import amounts, domain_of, requirement_bar
from safecompress.report.plots.exposure import dots
from safecompress.report.plots.layers import layers_plot
from safecompress.report.plots.roc import roc_plot
from safecompress.report.plots.rounds import timeline
from safecompress.report.plots.search import Spot, candidates_plot, shared_attacks, verdict_plot, worst_auc
from safecompress.report.plots.split import split_plot
from safecompress.report.text import ARM_COLUMNS, AS_TRAINED, DENSE, arm_rows, columns_beside

MOST_CLASSES = 20
"""Classes that are drawn; the table below the picture has all."""

SHOWN_FPRS = (0.001, 0.01, 0.1)
"""The points of a ROC that its table shows."""

Section = dict[str, Any]


def tiles(report: Report) -> list[Section]:
    """The figures that readers look for first: a name, a figure, what stands beside it."""
    shown: list[Section] = []
    accuracy, dense = report.measurements.get(ACCURACY.name), report.dense.get(ACCURACY.name)
    if accuracy:
        beside = f"dense model {100 * dense['value']:.1f}%" if dense else "on test rows"
        shown.append({"name": "Accuracy", "value": f"{100 * accuracy['value']:.1f}%", "beside": beside})
    worst, before = worst_auc(report.measurements), worst_auc(report.dense)
    if worst:
        metric = headline_metric(report.measurements, worst[0])
        beside = f"by {worst[0]}" + ("; 0.5 is guessing" if metric is AUC else "")
        beside += f"; dense model {before[1]['value']:.3f}" if before else ""
        shown.append(
            {"name": f"Strongest attack, {metric.label}", "value": f"{worst[1]['value']:.3f}", "beside": beside}
        )
    if "size_bytes" in report.artifact:
        ratio = report.measurements.get(COMPRESSION_RATIO.name)
        beside = f"{ratio['value']:.1f} times smaller than dense" if ratio else "on disk"
        shown.append({"name": "File", "value": glossary.size(report.artifact["size_bytes"]), "beside": beside})
    if report.health:
        held = sum(check["outcome"] == "PASS" for check in report.health)
        beside = "of the attacks and the data hold"
        shown.append({"name": "Health checks", "value": f"{held} of {len(report.health)}", "beside": beside})
    return shown


def requirements(report: Report) -> Section:
    """A row per requirement with its bar; what the models beside the artifact would get."""
    beside = {AS_TRAINED: report.trained_verdicts, DENSE: report.dense_verdicts}
    rows = []
    for place, finding in enumerate(report.findings):
        domain = domain_of(finding["metric"], report.findings, report.dense)
        dense = report.dense.get(finding["metric"])
        rows.append(
            {
                **finding,
                "bar": requirement_bar(finding, dense, domain, f"requirement-{place}"),
                "others": [beside[name].get(finding["requirement"]) for name in columns_beside(report)],
                "figure": figure(finding["measurement"]),
                "people": report.exposure.get("people", {}).get(finding["metric"]),
            }
        )
    return {"columns": columns_beside(report), "rows": rows, "confidence": 1 - report.ledger["alpha"]}


def figure(measured: Mapping[str, Any] | None) -> tuple[str, str]:
    """A figure and its interval, in words."""
    if measured is None:
        return "–", "not measured"
    if measured["confidence"] == 1:
        return f"{measured['value']:,.6g}", "counted"
    return f"{measured['value']:.3f}", f"{measured['low']:.3f} to {measured['high']:.3f}"


def pareto(report: Report) -> Section:
    """The search's candidates, and what ships beside the dense model."""
    spots: list[Spot] = []
    models = (("dense model", "dense", report.dense), (AS_TRAINED, "trained", report.trained))
    for words, class_, metrics in (*models, ("what ships", "artifact", report.measurements)):
        worst, accuracy = worst_auc(metrics), metrics.get(ACCURACY.name)
        if worst and accuracy:
            spots.append((words, class_, accuracy, worst[1]))
    bounds = {f["metric"]: f["bound"] for f in report.findings}
    auc_bound = min(headlines(bounds).values(), default=None)
    return {
        "candidates": candidates_plot(report.rounds, "candidates") if report.rounds else None,
        "tests": shared_attacks(report.rounds),
        "verdict": verdict_plot(spots, (auc_bound, bounds.get(ACCURACY.name)), "verdict-plot") if spots else None,
        "legend": [(words, class_) for words, class_, *_ in spots],
    }


def roc(report: Report) -> Section | None:
    """A ROC for each attack of the verdict, those that the spec bounds first; None where none was kept."""
    known = report.exposure.get("roc", {})
    artifact, dense = known.get("artifact", {}), known.get("dense", {})
    if not artifact:
        return None
    parts = report.split["parts"]
    rows = parts.get("nonmember_verdict", {}).get("rows")
    bounded = {attack_of(finding["metric"]) for finding in report.findings}
    panels, aucs = [], headlines(report.measurements)
    for place, (attack, points) in enumerate(sorted(artifact.items(), key=lambda item: item[0] not in bounded)):
        panels.append(
            {
                "attack": attack,
                "does": glossary.ATTACKS.get(attack, ""),
                "is_bounded": attack in bounded,
                "auc": figure(aucs.get(attack)),
                "picture": roc_plot(attack, points, dense.get(attack), rows, f"roc-{place}"),
                "shown": [point for point in points if point["fpr"] in SHOWN_FPRS],
            }
        )
    return {"panels": panels, "rows": rows, "has_dense": bool(dense), "fprs": SHOWN_FPRS}


def exposure(report: Report) -> Section | None:
    """Classes apart under the attack that finds most, and the most exposed rows; None where neither is known."""
    classes, worst = report.exposure.get("classes"), report.exposure.get("worst_case")
    shown = [*classes["apart"], *([classes["others"]] if classes["others"] else [])] if classes else []
    strongest = worst_auc(report.measurements)
    attack = strongest[0] if strongest else ""
    rows = [(_class_name(one), one["auc"][attack]) for one in shown if attack in one["auc"]]
    rows.sort(key=lambda row: -float(row[1]["value"]))
    if not rows and not worst:
        return None
    return {
        "attack": attack,
        "classes": shown,
        "rows": rows,
        "num_untold": classes["num_untold"] if classes else 0,
        "picture": dots(rows[:MOST_CLASSES], f"AUC of {attack}, class by class", "AUC within the class", "classes")
        if rows
        else None,
        "num_drawn": min(MOST_CLASSES, len(rows)),
        "people": people_lines(report),
        "worst": worst,
        "worst_picture": _worst_picture(worst) if worst else None,
    }


def _class_name(row: Mapping[str, Any]) -> str:
    return str(row["name"]) if row["num_classes"] == 1 else f"{row['num_classes']} small classes"


def _worst_picture(worst: Mapping[str, Any]) -> Markup:
    rows = [(f"{worst['num_rows']} most exposed", worst["worst"]), (f"all {worst['num_eligible']}", worst["every"])]
    return dots(rows, "The most exposed rows", "chance that the model trained with the row is surer", "worst-case")


def layers(report: Report) -> Section | None:
    """Density of each layer before and after; of an audited file only after."""
    shares = report.search.get("layers") or [
        {"name": name, "num_weights": None, "start": None, "end": share, "ever": None}
        for name, share in report.artifact.get("layer_densities", {}).items()
    ]
    if not shares:
        return None
    return {"rows": shares, "picture": layers_plot(shares, "layers"), "has_start": bool(report.search.get("layers"))}


def arms(report: Report) -> Section | None:
    """The table of arms, and a picture of what they leak and how accurate they are; None where none was compared."""
    if not report.arms:
        return None
    rows = [
        {"name": arm["name"], "state": arm["state"], "cells": cells[1:]}
        for arm, cells in zip(report.arms, arm_rows(report), strict=True)
    ]
    repeats = [arm["evidence"]["repeats"] for arm in report.arms if arm["evidence"]]
    return {
        "columns": ARM_COLUMNS[1:],
        "rows": rows,
        "picture": arms_plot(report.arms, "arms-plot"),
        "repeats": repeats[0] if repeats else 0,
    }


def rounds(report: Report) -> Section | None:
    """The timeline, and each round's table."""
    if not report.rounds:
        return None
    tables = []
    for entry in report.rounds:
        candidates = entry["candidates"]
        longest = max(candidates, key=lambda one: len(one["metrics"]))["metrics"]
        attacks = list(headlines(longest))
        winner = next(one for one in candidates if one["won"])
        tables.append({"number": entry["round"] + 1, "winner": winner, "attacks": attacks, "candidates": candidates})
    return {"picture": timeline(report.rounds, "timeline"), "tables": tables}


def ships(report: Report) -> Section:
    """Bytes beside the dense model's, and latency where it was measured."""
    size, ratio = report.artifact.get("size_bytes"), report.measurements.get(COMPRESSION_RATIO.name)
    picture = None
    if size and ratio:
        dense = size * ratio["value"]
        bars = [
            ("dense model", dense, glossary.size(dense), "dense"),
            ("what ships", size, glossary.size(size), "artifact"),
        ]
        picture = amounts(bars, "Bytes beside the dense model", "bytes")
    latency = report.measurements.get(LATENCY.name)
    return {"picture": picture, "speeds": (report.speed or {}).get("speeds", []), "latency": latency}


def health(report: Report) -> list[Section]:
    """A row per kind of check: what it asks, how many hold, what did not."""
    kinds = dict.fromkeys(check["check"] for check in report.health)
    sections = []
    for kind in kinds:
        checks = [check for check in report.health if check["check"] == kind]
        broken = [check for check in checks if check["outcome"] != "PASS"]
        worst = "ERROR" if any(check["outcome"] == "ERROR" for check in broken) else "INCONCLUSIVE"
        sections.append(
            {
                "kind": kind.replace("_", " "),
                "asks": glossary.CHECKS.get(kind, ""),
                "held": len(checks) - len(broken),
                "total": len(checks),
                "outcome": worst if broken else "PASS",
                "broken": broken,
            }
        )
    return sections


def split(report: Report) -> Section:
    """The parts with their rows, and a bar of them."""
    parts = report.split["parts"]
    within = [name for name in parts if name.startswith("member_") or name == "canaries"]
    outer = [(name, parts[name]["rows"], _class(name)) for name in parts if name not in within]
    inner = [(name, parts[name]["rows"], _class(name)) for name in within]
    rows = [
        {
            "name": name,
            "rows": part["rows"],
            "use": glossary.PARTS.get(name, ""),
            "is_within": name in within,
            "class_": _class(name),
        }
        for name, part in parts.items()
    ]
    drawn = [part for part in outer if part[1]]
    return {"rows": rows, "picture": split_plot(drawn, inner, "split") if drawn else None}


def _class(part: str) -> str:
    """A part's class on the page: only known names may choose a colour."""
    return part if part in glossary.PARTS else ""


def digests(report: Report) -> Section:
    """Those of contents, which a repetition ends in; and those under the run's own key, which no other run shares."""
    keyed = {name: value for name, value in report.digests.items() if name == "job" or isinstance(value, Mapping)}
    return {"content": facts({k: v for k, v in report.digests.items() if k not in keyed}), "keyed": facts(keyed)}


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested values as rows of a table."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += [(f"{key} {name}", text) for name, text in facts(value)]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows.append((key, ", ".join(map(str, value))))
        else:
            rows.append((key, str(value)))
    return rows
