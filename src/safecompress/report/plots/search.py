"""Accuracy against the worst attack: every candidate of every round, and what ships beside the dense model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from safecompress.metrics.catalogue import attack_of, headlines, strongest_attack
from safecompress.report.plots.axis import Axis, around, draw_axes
from safecompress.report.plots.svg import Frame, Point, dot, line, path, picture, rect, text

WIDTH, HEIGHT = 360, 300
FRAME = Frame(44, 30, 348, 254)

Figure = Mapping[str, Any]
Spot = tuple[str, str, Figure, Figure]
"""A model's words, its class, its accuracy, its worst attack's AUC."""


def shared_attacks(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """The attacks that tested every candidate of every round: by these alone can candidates be compared."""
    tested = [headlines(candidate["metrics"]).keys() for entry in rounds for candidate in entry["candidates"]]
    first = headlines(rounds[0]["candidates"][0]["metrics"]) if rounds else {}
    return [attack for attack in first if all(attack in met for met in tested)]


def worst_auc(metrics: Mapping[str, Figure], attack_names: Sequence[str] | None = None) -> tuple[str, Figure] | None:
    """The largest AUC among ``attack_names`` (default: all that were measured) and whose it is.

    Of attacks on other questions their own headline figure counts, compared on the scale of an AUC.
    """
    shown = {n: f for n, f in metrics.items() if attack_names is None or attack_of(n) in attack_names}
    worst = strongest_attack({name: float(figure["value"]) for name, figure in shown.items()})
    return None if worst is None else (worst, headlines(shown)[worst])


def candidates_plot(rounds: Sequence[Mapping[str, Any]], name: str) -> Markup | None:
    """Every candidate a dot, the winners joined in the order of their rounds; None without attacks in common."""
    attacks = shared_attacks(rounds)
    if not attacks:
        return None
    spots = []
    for entry in rounds:
        for one in entry["candidates"]:
            worst = worst_auc(one["metrics"], attacks)
            if worst is not None:
                spots.append((entry["round"] + 1, one, worst[1]["value"], one["accuracy"]))
    x = Axis(*around([spot[2] for spot in spots], least=0.06), FRAME.left, FRAME.right)
    y = Axis(*around([spot[3] for spot in spots], least=0.1), FRAME.bottom, FRAME.top)
    marks = [draw_axes(x, y, FRAME, "AUC of the worst test (0.5 is guessing) →", "↑ accuracy on validation rows")]
    won: list[Point] = []
    numbers = []
    for number, one, auc, accuracy in spots:
        tip = f"round {number}, {one['branch']}: accuracy {accuracy:.3f}, worst AUC {auc:.3f}"
        at = (x(auc), y(accuracy))
        if one["won"]:
            won.append(at)
            numbers.append((at, number, f"{tip}; it won"))
        else:
            marks.append(dot(at, 3.2, "lost", tip))
    if len(won) > 1:
        marks.append(path(won, "route"))
    for at, number, tip in numbers:
        marks.append(dot(at, 8, "won", tip))
        marks.append(text(at[0], at[1] + 3.5, str(number), "number", anchor="middle"))
    description = f"{len(spots)} candidates of {len(rounds)} rounds; accuracy from {y.low:.2f} to {y.high:.2f}"
    return picture(WIDTH, HEIGHT, "Candidates of the search", description, *marks, name=name, class_="panel")


def verdict_plot(spots: Sequence[Spot], bounds: tuple[float | None, float | None], name: str) -> Markup:
    """What ships and what stands beside it, with intervals both ways; ``bounds`` are the AUC's and the accuracy's."""
    auc_bound, accuracy_bound = bounds
    aucs = [auc[key] for *_, auc in spots for key in ("low", "high")] + ([auc_bound] if auc_bound else [])
    accuracies = [accuracy[key] for _, _, accuracy, _ in spots for key in ("low", "high")]
    accuracies += [accuracy_bound] if accuracy_bound else []
    x = Axis(*around(aucs, least=0.06), FRAME.left, FRAME.right)
    y = Axis(*around(accuracies, least=0.1), FRAME.bottom, FRAME.top)
    right = x(auc_bound) if auc_bound else FRAME.right
    bottom = y(accuracy_bound) if accuracy_bound else FRAME.bottom
    marks = []
    if auc_bound or accuracy_bound:
        marks.append(rect(FRAME.left, FRAME.top, right - FRAME.left, bottom - FRAME.top, "allowed"))
    marks.append(draw_axes(x, y, FRAME, "AUC of the strongest attack (0.5 is guessing) →", "↑ accuracy on test rows"))
    if auc_bound:
        marks.append(line((right, FRAME.top), (right, FRAME.bottom), "bound"))
    if accuracy_bound:
        marks.append(line((FRAME.left, bottom), (FRAME.right, bottom), "bound"))
    for words, class_, accuracy, auc in spots:
        at, tip = (x(auc["value"]), y(accuracy["value"])), f"{words}: accuracy {_span(accuracy)}, AUC {_span(auc)}"
        marks.append(line((x(auc["low"]), at[1]), (x(auc["high"]), at[1]), f"whisker {class_}"))
        marks.append(line((at[0], y(accuracy["low"])), (at[0], y(accuracy["high"])), f"whisker {class_}"))
        marks.append(dot(at, 6, f"model {class_}", tip))
    description = "; ".join(f"{words}: accuracy {_span(acc)}, AUC {_span(auc)}" for words, _, acc, auc in spots)
    return picture(WIDTH, HEIGHT, "What ships, beside the dense model", description, *marks, name=name, class_="panel")


def _span(point: Figure) -> str:
    return f"{point['value']:.3f} ({point['low']:.3f} to {point['high']:.3f})"
