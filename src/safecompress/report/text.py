"""The report as Markdown: the verdict first, then the figures behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safecompress.metrics.catalogue import (
    AUC,
    COMPRESSION_RATIO,
    headline_metric,
    headlines,
    is_change,
    strongest_attack,
)
from safecompress.progress import KEEP
from safecompress.report.markdown import markdown_table, plain_text
from safecompress.report.model import Report
from safecompress.report.people import people_lines, worst_off_line
from safecompress.report.record import bound_lines, record_rows

MEANING = {
    "PASS": "every requirement holds, with its whole interval inside the bound",
    "FAIL": "a requirement is broken, and chance does not explain it",
    "INCONCLUSIVE": "the confidence interval contains the bound, or a validity check failed",
    "ERROR": "something that was asked for could not be measured, so it does not pass",
}
"""What each verdict means, in words."""


GLOSSARY = (
    "Higher AUC, balanced accuracy, advantage and TPR mean that more leaks; an AUC of 0.5 is guessing. The TM-score is "
    "accuracy over the worst attack's balanced accuracy (at least 0.5). Epsilon per sample is a lower limit on "
    "ln(TPR / FPR), or ln(TNR / FNR), at the attack's one threshold: it describes the attack and is no bound on the "
    "model's privacy loss."
)


HEALTH = (
    "An attack that finds nothing proves something only if it could have found something. The positive control is a "
    "model that has memorised its members and must be caught; the negative control sets rows that the model never saw "
    "against each other, where nothing may be found; the blind baseline sees rows and labels but no model."
)


ARMS = (
    "An arm is a whole configuration: which share of a row's target comes from sub-models that never saw the row, how "
    "long the model trains, its density. Finalists were trained again several times on random halves of the rows for "
    "choosing, and each of those models was attacked by LiRA with the others as its shadow models; the limit is what "
    "the verdict was expected to hold against the bound. No verdict row was opened for it."
)


def to_markdown(report: Report) -> str:
    """The whole report."""
    parts = [
        f"# {plain_text(report.name)}: {report.verdict}",
        f"**{report.verdict}**: {MEANING[report.verdict]}.{_worst_off(report)} Scope: {plain_text(report.claim)}.",
        *_record(report),
        "## Requirements",
        markdown_table(
            ["requirement", "measured", "interval", "verdict", *columns_beside(report), "why"], requirement_rows(report)
        ),
        *_bounds(report),
        _levels(report),
        *_people(report),
        *_errors(report),
        *_doubts(report),
        "## Figures on the verdict rows",
        *([f"{plain_text(line)}."] if (line := strongest_line(report)) else []),
        markdown_table(
            ["metric", "artifact", "interval", *(c for name in columns_beside(report) for c in (name, "interval"))],
            figure_rows(report),
        ),
        "## Attacks",
        GLOSSARY,
        markdown_table(["attack", "epsilon per sample", "with these options"], attack_rows(report)),
        *_health(report),
        "## The artifact",
        _artifact_line(report),
        *_arms(report),
        *_rounds(report),
        "## How the data was split",
        markdown_table(["part", "rows"], [[name, str(part["rows"])] for name, part in report.split["parts"].items()]),
        "## Digests and versions",
        markdown_table(["what", "value"], _flat({**report.digests, **report.environment})),
        *_seconds(report),
        *(["## Notes", *(f"- {plain_text(note)}" for note in report.notes)] if report.notes else []),
    ]
    return "\n\n".join(parts) + "\n"


def _worst_off(report: Report) -> str:
    worst = worst_off_line(report)
    return "" if worst is None else f" {plain_text(worst[:1].upper() + worst[1:])}."


def _record(report: Report) -> list[str]:
    rows = [list(row) for row in record_rows(report)]
    return [markdown_table(["record", ""], rows)] if rows else []


def _bounds(report: Report) -> list[str]:
    lines = [f"- {plain_text(line)}." for line in bound_lines(report)]
    return ["What the bounds mean, and who chose them:", "\n".join(lines)] if lines else []


def _people(report: Report) -> list[str]:
    lines = [f"- {plain_text(line[:1].upper() + line[1:])}." for line in people_lines(report)]
    return ["\n".join(lines)] if lines else []


def _levels(report: Report) -> str:
    number, alpha = report.ledger["opening"], report.ledger["alpha"]
    return (
        f"Opening {number} of these verdict rows. The spec's alpha is shared out over openings, half of what is left "
        f"to each; this one has {alpha:g}, so intervals hold at {1 - alpha:.4g}, two-sided. PASS needs the whole "
        "interval inside the bound; FAIL is said when a wider one, for all requirements at once, lies outside it."
    )


AS_TRAINED, DENSE = "as trained", "dense model"


def columns_beside(report: Report) -> list[str]:
    """The models beside the artifact: as it was trained, where packing changed it, and the dense one."""
    return [*([AS_TRAINED] if report.trained else []), DENSE]


def requirement_rows(report: Report) -> list[list[str]]:
    """A row per requirement: requirement, figure, interval, verdict, the other models' verdicts, why."""
    beside = {AS_TRAINED: report.trained_verdicts, DENSE: report.dense_verdicts}
    return [
        [
            f["requirement"],
            *_value_and_interval(f["measurement"]),
            f["verdict"],
            *(beside[name].get(f["requirement"], "-") for name in columns_beside(report)),
            f["reason"],
        ]
        for f in report.findings
    ]


def attack_rows(report: Report) -> list[list[str]]:
    """A row per attack: its name, the lower limit on its epsilon per sample, its options."""
    epsilons = {name: f"{value:.2f}" for name, value in report.epsilon.items()}
    return [[name, epsilons.get(name, "-"), options] for name, options in report.attacks.items()]


def strongest_line(report: Report) -> str | None:
    """Which attack finds most in the artifact and in the dense model, and what the confidence attack alone would say.

    None without any attack's figures.
    """
    parts: list[tuple[str, str, str]] = []
    models = (("artifact", report.measurements), (AS_TRAINED, report.trained), (DENSE, report.dense))
    for which, figures in models:
        values = {name: figure["value"] for name, figure in figures.items()}
        aucs, strongest = headlines(values), strongest_attack(values)
        if strongest is not None:
            alone = f", confidence alone {aucs['confidence']:.3f}" if "confidence" in aucs else ""
            label = headline_metric(values, strongest).label
            parts.append((which, label, f"{aucs[strongest]:.3f} by {strongest}{alone}"))
    if all(label == AUC.label for _, label, _ in parts):
        return f"Largest AUC: {'; '.join(f'{which} {figure}' for which, _, figure in parts)}" if parts else None
    return f"Strongest attack: {'; '.join(f'{which} {label} {figure}' for which, label, figure in parts)}"


def health_line(report: Report) -> str:
    """How many checks hold, and which do not."""
    failed = [f"{check['check']} of {check['subject']}" for check in report.health if check["outcome"] != "PASS"]
    held = f"{len(report.health) - len(failed)} of {len(report.health)} health checks hold"
    return held + (f"; not: {', '.join(failed)}" if failed else "")


def figure_rows(report: Report) -> list[list[str]]:
    """A row per metric that artifact and the models beside it share, and per counted figure."""
    beside = {AS_TRAINED: report.trained, DENSE: report.dense}
    others = [beside[name] for name in columns_beside(report)]
    return [
        [metric, *_value_and_interval(figure), *(c for o in others for c in _value_and_interval(o.get(metric)))]
        for metric, figure in report.measurements.items()
        if not is_change(metric)
    ]


ARM_COLUMNS = ("arm", "accuracy", "worst cheap AUC", "LiRA among repeats", "limit", "what became of it")
"""Heads of the columns of `arm_rows`."""


def arm_rows(report: Report) -> list[list[str]]:
    """A row per arm: its name, its figures on rows for choosing, what its repeats gave, and what became of it."""
    rows = []
    for arm in report.arms:
        worst = strongest_attack({name: figure["value"] for name, figure in arm["metrics"].items()})
        cheap = "-" if worst is None else f"{headlines(arm['metrics'])[worst]['value']:.3f} ({worst})"
        found = arm["evidence"]["figures"][AUC.name] if arm["evidence"] else None
        lira = ["-", "-"] if found is None else [f"{found['value']:.3f}", f"{found['limit']:.3f}"]
        rows.append([arm["name"], f"{arm['accuracy']:.3f}", cheap, *lira, arm["reason"]])
    return rows


def arms_line(report: Report) -> str | None:
    """Which arm ships, of how many, and why; None for a report without arms."""
    chosen = next((arm for arm in report.arms if arm["state"] == "chosen"), None)
    if chosen is None:
        return None
    return f"Of {len(report.arms)} arms {chosen['name']} ships; {chosen['reason']}"


def round_rows(report: Report) -> list[list[str]]:
    """A row per round: the winner, its figures, and whether the choice beat noise."""
    rows = []
    for entry in report.rounds:
        winner = next(candidate for candidate in entry["candidates"] if candidate["won"])
        p_values = [versus["p_value"] for versus in entry["versus_keep"].values()]
        beats = f"p = {min(p_values):.2g}" if p_values else "keep won" if winner["branch"] == KEEP else "-"
        rows.append(
            [
                str(entry["round"] + 1),
                winner["branch"],
                f"{winner['accuracy']:.3f}",
                f"{winner['tm_score']:.4f}" if winner["tm_score"] is not None else "-",
                beats,
                winner["reason"],
            ]
        )
    return rows


def num_rounds_beyond_noise(report: Report, level: float = 0.05) -> tuple[int, int]:
    """In how many rounds the winner differs from ``keep`` beyond noise, of how many in which ``keep`` was tried.

    Paired DeLong, Bonferroni over the attacks and over the candidates that could have won instead.
    """
    beyond = total = 0
    for entry in report.rounds:
        if any(candidate["branch"] == KEEP for candidate in entry["candidates"]):
            versus, num_rivals = entry["versus_keep"], len(entry["candidates"]) - 1
            p_values = [difference["p_value"] for difference in versus.values()]
            beyond += bool(p_values) and min(p_values) * len(p_values) * num_rivals < level
            total += 1
    return beyond, total


def _value_and_interval(figure: Mapping[str, Any] | None) -> tuple[str, str]:
    if figure is None:
        return "-", "-"
    if figure["confidence"] == 1:
        return f"{figure['value']:g}", "exact"
    return f"{figure['value']:.3f}", f"[{figure['low']:.3f}, {figure['high']:.3f}]"


def _artifact_line(report: Report) -> str:
    return f"{size_line(report)}. TM-score {_score(report, 'artifact')}, dense model {_score(report, 'dense')}."


def size_line(report: Report) -> str:
    """What was judged, as far as it is known: bytes, how the file keeps weights, how many of them there are."""
    artifact = report.artifact
    parts = (
        [f"{artifact['size_bytes']:,} bytes, {packed_line(report)}"]
        if "size_bytes" in artifact
        else [packed_line(report)]
    )
    if "payload_bytes" in artifact:
        parts.append(
            f"{artifact['payload_bytes']:,} payload, {artifact['floor_ratio']:.3f} of its reference size "
            f"{artifact['reference_bytes']:,.0f}"
        )
    if "num_weights" in artifact:
        kept = f"{artifact['num_active']:,} of {artifact['num_weights']:,} weights kept"
        parts.append(f"{kept} (density {artifact['density']:.4g})")
    return "; ".join(parts)


def packed_line(report: Report) -> str:
    """How the model ships: ``int8 weights, dead units removed, 38.4 times smaller than the dense model``."""
    artifact = report.artifact
    kind = {"onnx": "an ONNX file", "safetensors": ""}.get(artifact.get("format", "safetensors"), "a network in memory")
    precision = f"{artifact['precision']} weights" if "precision" in artifact else ""
    removed = "dead units removed" if artifact.get("is_resized") else ""
    ratio = report.measurements.get(COMPRESSION_RATIO.name)
    smaller = f"{ratio['value']:.1f} times smaller than the dense model" if ratio else ""
    return ", ".join(filter(None, (kind, precision, removed, smaller)))


def _score(report: Report, which: str) -> str:
    value = report.tm_score[which]
    return "not measured" if value is None else f"{value:.4f}"


def _errors(report: Report) -> list[str]:
    if not report.errors:
        return []
    broken = "; ".join(f"{plain_text(attack)} ({plain_text(reason)})" for attack, reason in report.errors.items())
    return [f"Attacks that gave no number: {broken}."]


def _doubts(report: Report) -> list[str]:
    if not report.doubts:
        return []
    return [
        "Beside the requirements, these keep the verdict from PASS:",
        *(f"- {plain_text(d)}" for d in report.doubts),
    ]


def _health(report: Report) -> list[str]:
    if not report.health:
        return []
    rows = [[check["check"], check["subject"], check["outcome"], check["detail"]] for check in report.health]
    return ["## Health of the attacks", HEALTH, markdown_table(["check", "of", "outcome", "what was seen"], rows)]


def _arms(report: Report) -> list[str]:
    if not report.arms:
        return []
    return [
        "## Arms",
        ARMS,
        markdown_table(list(ARM_COLUMNS), [[plain_text(c) for c in row] for row in arm_rows(report)]),
    ]


def _rounds(report: Report) -> list[str]:
    if not report.rounds:
        return []
    beyond, total = num_rounds_beyond_noise(report)
    header = ["round", "winner", "accuracy", "TM-score", "against keep", "why"]
    note = (
        f"In {beyond} of {total} rounds the winner's leak differed from `keep`'s beyond noise (paired DeLong, .05, "
        "Bonferroni over attacks and candidates). Every candidate's numbers are in `candidates.jsonl`."
    )
    return ["## Rounds", markdown_table(header, round_rows(report)), note, *_ranking(report)]


def ranking_line(report: Report) -> str | None:
    """How well the cheap tests ranked the last round's candidates against each verdict attack."""
    ranking = report.rounds[-1].get("ranking") if report.rounds else None
    if ranking is None:
        return None
    parts = [
        f"{name} {'undecided (one side does not vary)' if tau is None else f'{tau:+.2f}'}"
        f" (the safest by it would have had {ranking['regret'][name]:.3f} less AUC)"
        for name, tau in ranking["tau"].items()
    ]
    parts += [f"{name} broke: {error}" for name, error in ranking.get("errors", {}).items()]
    return (
        f"Cheap tests against the verdict's attacks, Kendall's tau over {len(ranking['cheap'])} candidates of the "
        + (f"last round: {'; '.join(parts)}")
    )


def _ranking(report: Report) -> list[str]:
    line = ranking_line(report)
    if line is None:
        return []
    ranking = report.rounds[-1]["ranking"]
    names = list(ranking["verdict"])
    rows = [
        [branch, f"{auc:.3f}", *(f"{ranking['verdict'][name][branch]:.3f}" for name in names)]
        for branch, auc in ranking["cheap"].items()
    ]
    return [
        f"{plain_text(line)}. All AUCs are of the selection rows; no verdict row was opened.",
        markdown_table(["candidate", "worst cheap test", *names], rows),
    ]


def _seconds(report: Report) -> list[str]:
    if not report.seconds:
        return []
    return ["## Seconds", markdown_table(["phase", "s"], [[k, f"{v:.2f}"] for k, v in report.seconds.items()])]


def _flat(values: Mapping[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows.extend([f"{key} {name}", str(item)] for name, item in value.items())
        else:
            rows.append([key, str(value)])
    return rows
