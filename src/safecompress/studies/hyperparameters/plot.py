"""The picture of a search: every trial with its intervals on the front, and how much of the plane is covered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safecompress.errors import UsageError
from safecompress.report.picture import COLOURS, drawing, settle
from safecompress.studies.hyperparameters.result import StudyResult


def draw(result: StudyResult, path: Path) -> None:
    """Write the picture to ``path`` (.svg or .png), the same bytes for the same trials.

    Raises UsageError when matplotlib is not installed, or no trial has numbers.
    """
    if not result.front:
        raise UsageError("No trial has numbers, so there is nothing to draw.")
    with drawing(path, width=9.6, height=4.8) as figure:
        plane, course = figure.subplots(1, 2, width_ratios=(3, 2))
        _paint_trials(plane, result)
        _paint_course(course, result)


def _paint_trials(axes: Any, result: StudyResult) -> None:
    """A dot for each trial, coloured by its objective; the front as steps, numbered, with its intervals."""
    labels = sorted({tried.choice.objective for tried in result.trials})
    for label in labels:
        own = [tried for tried in result.trials if tried.choice.objective == label and tried.has_numbers]
        colour = COLOURS[labels.index(label) % len(COLOURS)]
        leaks, accuracies = ([figure["value"] for figure in figures] for figures in _figures(own))
        axes.scatter(leaks, accuracies, s=30, c=colour, alpha=0.85, linewidths=0.6, edgecolors="white", label=label)
    front = [result.trials[index] for index in result.front]
    leaks, accuracies = ([figure["value"] for figure in figures] for figures in _figures(front))
    axes.plot(
        leaks, accuracies, color="#888888", linewidth=1.2, linestyle=(0, (4, 2)), drawstyle="steps-post", zorder=1
    )
    for number, tried in enumerate(front, 1):
        x, y = tried.worst_auc, tried.accuracy
        axes.plot((x["low"], x["high"]), (y["value"],) * 2, color="#888888", linewidth=0.7, alpha=0.6, zorder=1)
        axes.plot((x["value"],) * 2, (y["low"], y["high"]), color="#888888", linewidth=0.7, alpha=0.6, zorder=1)
        axes.annotate(str(number), (x["value"], y["value"]), xytext=(5, 5), textcoords="offset points", fontsize=8)
    settle(
        axes, "worst AUC on selection rows (0.5 is guessing; further left leaks less)", "accuracy on validation rows"
    )
    axes.set_title("Numbers and dashes: the front. Thin lines: intervals over rows.", fontsize=8, color="#555555")
    axes.legend(fontsize=8, framealpha=0.9, loc="lower right")


def _paint_course(axes: Any, result: StudyResult) -> None:
    """The share of the plane that trials dominate, after each."""
    numbers = range(1, len(result.trials) + 1)
    axes.plot(numbers, result.hypervolumes, color=COLOURS[0], drawstyle="steps-post", marker=".", markersize=4)
    axes.xaxis.get_major_locator().set_params(integer=True)
    settle(axes, "trials", "hypervolume (1: perfect, and nothing leaks)")


def _figures(trials: Any) -> tuple[list[Any], list[Any]]:
    """Worst AUCs and accuracies."""
    return [tried.worst_auc for tried in trials], [tried.accuracy for tried in trials]
