"""The page of a search: the front, its caveats, every trial, how it was made."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from safecompress.attacks.reference import companions_of
from safecompress.report.markdown import markdown_table, plain_text
from safecompress.studies.engine import name_apart
from safecompress.studies.engine.page import (
    changed_options,
    environment_line,
    failure_lines,
    note_lines,
    picture_lines,
    with_interval,
)
from safecompress.studies.hyperparameters.result import StudyResult
from safecompress.studies.hyperparameters.space import Range
from safecompress.studies.hyperparameters.trial import TrialResult

FIGURES = ("accuracy", "worst AUC", "attack", "TM-score", "bytes")

COLUMNS = {"density": "density", "objective": "objective", "branches": "branches", "learning_rate": "learning rate"}
"""The fields of TrialParams, by the words of their columns."""


def to_markdown(
    result: StudyResult, *, files: Sequence[str] = (), picture: str | None = None, missing: str | None = None
) -> str:
    """The page. ``files`` are the front's specs, ``picture`` the file beside it, ``missing`` why there is none."""
    parts = [
        f"# Tuning: {plain_text(result.name)}",
        f"{len(result.trials)} trials; {sum(trial.has_numbers for trial in result.trials)} have numbers, and "
        f"{len(result.front)} are on the front: no other trial is at least as accurate, leaks no more, and is better "
        "in one of the two.",
        *_warning(result),
        "## The front",
        *_front(result, files),
        *picture_lines(picture, missing),
        *_progress(result),
        "## Every trial",
        markdown_table(*trial_rows(result)),
        *failure_lines({f"trial {number}": trial for number, trial in enumerate(result.trials, 1)}),
        *note_lines(f"- trial {n}: {plain_text(note)}" for n, t in enumerate(result.trials, 1) for note in t.notes),
        "## How it was made",
        *_made(result),
    ]
    return "\n\n".join(parts) + "\n"


def _warning(result: StudyResult) -> list[str]:
    if not result.front:
        return []
    return [
        "**These figures chose, so they flatter.** Accuracy is of validation rows and leakage of the selection pools: "
        "the rows on which every trial picked its candidates, and by which the front was picked from "
        f"{len(result.trials)} trials. The best of many noisy figures lies beyond what the model does on new rows, and "
        "the more trials, the further. Intervals are over rows, one trial at a time: they know nothing of that choice. "
        "No test or verdict row was read. What is to ship is certified anew, on those rows, by `safecompress compress`."
    ]


def front_rows(result: StudyResult, files: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Header and a row for each point of the front, by rising leak."""
    shown = _shown(result)
    header = ["point", "trial", *(COLUMNS[name] for name in shown), *FIGURES]
    rows = []
    for number, index in enumerate(result.front, 1):
        trial = result.trials[index]
        cells = [str(number), str(index + 1), *_setting(trial, shown), *_figures(trial)]
        rows.append([*cells, *([files[number - 1]] if files else [])])
    return [*header, *(["spec"] if files else [])], rows


def _front(result: StudyResult, files: Sequence[str]) -> list[str]:
    if not result.front:
        return ["No trial has numbers, so there is no front. What failed is listed below."]
    paragraphs = [
        "Accuracy on validation rows and the largest AUC of all attacks on the selection pools, each with its "
        f"{1 - result.tuning.job.spec.alpha:.0%} interval. 0.5 is guessing; the largest of several AUCs lies a little "
        "above it by chance alone. Points are counted by rising leak. TM-score: accuracy over the worst attack's "
        "balanced accuracy, at least 0.5. A model that has learned nothing leaks nothing: look at the accuracy first.",
        markdown_table(*front_rows(result, files)),
        *_overlaps(result),
    ]
    place = result.likeliest
    if files and place is not None:
        paragraphs.append(
            f"Each point has a spec. To certify point {place}, which has the highest TM-score of the front: "
            f"`safecompress compress {files[place - 1]}`. All of them are judged on "
            "the same verdict rows, and every opening of those spends half of the error rate that is left: decide "
            "first which one you want."
        )
    return paragraphs


def _overlaps(result: StudyResult) -> list[str]:
    """Which neighbours on the front the intervals do not tell apart."""
    pairs = [
        (number, first, second)
        for number, (first, second) in enumerate(itertools.pairwise(result.trials[index] for index in result.front), 1)
    ]
    alike = [
        f"{number} and {number + 1}"
        for number, first, second in pairs
        if first.worst_auc["high"] >= second.worst_auc["low"] and first.accuracy["high"] >= second.accuracy["low"]
    ]
    if not alike:
        return []
    return [
        f"The intervals of neighbouring points overlap in both figures for {', '.join(alike)}: which of those is "
        "better, these rows do not show by intervals alone."
    ]


def _progress(result: StudyResult) -> list[str]:
    if not result.front:
        return []
    values, batch = result.hypervolumes, result.tuning.batch
    ends = sorted({*range(batch, len(values) + 1, batch), len(values)})
    last = next(number for number, value in enumerate(values, 1) if value == values[-1])
    return [
        "## How far the search came",
        "Hypervolume: the share of the rectangle accuracy 0 to 1 by worst AUC 0.5 to 1 that the trials so far "
        f"dominate. It rose last with trial {last} of {len(values)}. It is made of the figures above, and flatters as "
        "they do.",
        markdown_table(["trials", "hypervolume"], [[str(end), f"{values[end - 1]:.4f}"] for end in ends]),
    ]


def trial_rows(result: StudyResult) -> tuple[list[str], list[list[str]]]:
    """Header and a row for each trial."""
    shown, on_front = _shown(result), set(result.front)
    header = ["trial", *(COLUMNS[name] for name in shown), *FIGURES, "seconds", "front"]
    rows = [
        [
            str(index + 1),
            *_setting(trial, shown),
            *(_figures(trial) if trial.has_numbers else ["failed", *["-"] * (len(FIGURES) - 1)]),
            f"{trial.seconds:.1f}",
            "yes" if index in on_front else "",
        ]
        for index, trial in enumerate(result.trials)
    ]
    return header, rows


def _shown(result: StudyResult) -> list[str]:
    return [name for name in COLUMNS if name in result.tuning.space.varied]


def _setting(trial: TrialResult, shown: Iterable[str]) -> list[str]:
    values = [getattr(trial.choice, name) for name in shown]
    return [value if isinstance(value, str) else f"{value:g}" for value in values]


def _figures(trial: TrialResult) -> list[str]:
    """What FIGURES names."""
    size = "-" if trial.num_bytes is None else f"{trial.num_bytes:,}"
    return [
        with_interval(trial.accuracy),
        with_interval(trial.worst_auc),
        trial.worst_attack,
        f"{trial.tm_score:.3f}",
        size,
    ]


def _made(result: StudyResult) -> list[str]:
    tuning = result.tuning
    space, job = tuning.space, tuning.job
    same = "; ".join(f"{COLUMNS[name]} {value}" for name, value in _fixed(result).items())
    fixed = f" Fixed: {plain_text(same)}." if same else ""
    varied = [[COLUMNS[name], _values(getattr(space, _plural(name)))] for name in _shown(result)]
    modes = sorted({trial.shadows for trial in result.trials if trial.shadows is not None})
    shadows = f" Shadow models: {', '.join(modes)}, drawn for the selection pool." if modes else ""
    sampler = {"tpe": "by tree-structured Parzen estimators (the first ten trials at random)", "random": "at random"}
    return [
        f"Settings were drawn {sampler[tuning.sampler]}, {tuning.batch} at a time, seed {job.seed}. "
        f"All trials share split, first weights and seed.{fixed}",
        markdown_table(["setting", "values"], varied),
        f"Attacks: {plain_text(', '.join(map(_attack, tuning.attacks)))}.{shadows}",
        f"Rows that trials read: {', '.join(f'{part} {count}' for part, count in result.split.items())}.",
        environment_line(result.environment),
    ]


def _attack(attack: Any) -> str:
    """Its name, the options that are not its defaults, and what runs beside it."""
    changed = changed_options(attack)
    if changed is None:
        return repr(attack)
    options = ", ".join(f"{name} = {own!r}" for name, (own, _) in changed.items())
    said = f"{attack.name} ({options})" if options else str(attack.name)
    beside = " and ".join(map(name_apart, companions_of(attack)))
    return f"{said}, beside it {beside}: the largest figure counts" if beside else said


def _fixed(result: StudyResult) -> dict[str, Any]:
    """What no trial varied, with its value."""
    space = result.tuning.space
    return {name: next(iter(getattr(space, _plural(name)))) for name in COLUMNS if name not in space.varied}


def _plural(name: str) -> str:
    return {"density": "densities", "branches": "branches"}.get(name, f"{name}s")


def _values(dimension: Any) -> str:
    if isinstance(dimension, Range):
        return f"{dimension.low:g} to {dimension.high:g}"
    return "; ".join(value if isinstance(value, str) else f"{value:g}" for value in dimension)
