"""The rounds as a timeline: who was proposed, who came to the costly tests, who won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from safecompress.report.plots.svg import Point, dot, path, picture, text

LEFT, STEP, ROW = 190.0, 38.0, 28.0


def timeline(rounds: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """A column a round, a row a branch: a small ring lost, a large ring was a finalist, the filled one won."""
    branches = list(dict.fromkeys(one["branch"] for entry in rounds for one in entry["candidates"]))
    width, height = LEFT + STEP * len(rounds) + 8, 28 + ROW * len(branches)
    marks = [text(LEFT - 12, 14, "round", "axis", anchor="end")]
    won: list[Point] = []
    spots = []
    for place, entry in enumerate(rounds):
        x = LEFT + STEP * (place + 0.5)
        marks.append(text(x, 14, str(entry["round"] + 1), "tick", anchor="middle"))
        most = max(len(one["metrics"]) for one in entry["candidates"])
        is_tiered = any(len(one["metrics"]) < most for one in entry["candidates"])
        for one in entry["candidates"]:
            at = (x, 28 + ROW * (branches.index(one["branch"]) + 0.5))
            is_finalist = is_tiered and len(one["metrics"]) == most
            tip = f"round {entry['round'] + 1}, {one['branch']}: accuracy {one['accuracy']:.3f}; {one['reason']}"
            if one["won"]:
                won.append(at)
            spots.append(dot(at, 7 if one["won"] or is_finalist else 3.2, "won" if one["won"] else "lost", tip))
    for place, branch in enumerate(branches):
        marks.append(text(LEFT - 12, 28 + ROW * (place + 0.5) + 4, branch, anchor="end", most=28))
    route = [path(won, "route")] if len(won) > 1 else []
    winners = (f"round {e['round'] + 1} {next(c['branch'] for c in e['candidates'] if c['won'])}" for e in rounds)
    description = "Winners: " + ", ".join(winners)
    marks += [*route, *spots]
    return picture(
        width, height, "Rounds of the search", description, *marks, name=name, class_="timeline", is_fixed=True
    )
