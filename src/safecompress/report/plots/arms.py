"""The arms: how accurate each is, and what LiRA finds among its repeats, or the worst cheap test where it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from safecompress.metrics.catalogue import AUC
from safecompress.report.plots.axis import Axis, around, draw_axes
from safecompress.report.plots.search import FRAME, HEIGHT, WIDTH
from safecompress.report.plots.svg import dot, line, picture, text

Arm = Mapping[str, Any]


def arms_plot(arms: Sequence[Arm], name: str) -> Markup | None:
    """A dot for each arm with figures, with the limit that it was held to; None where there is none."""
    shown = [(arm, *_leak(arm)) for arm in arms if arm["leak"] is not None]
    if not shown:
        return None
    x = Axis(*around([end for _, leak, limit in shown for end in (leak, limit)], least=0.06), FRAME.left, FRAME.right)
    y = Axis(*around([arm["accuracy"] for arm, *_ in shown], least=0.1), FRAME.bottom, FRAME.top)
    marks = [draw_axes(x, y, FRAME, "AUC of LiRA, to its limit (0.5 is guessing) →", "↑ accuracy on validation rows")]
    for arm, leak, limit in shown:
        at, ships = (x(leak), y(arm["accuracy"])), arm["state"] == "chosen"
        tip = f"{arm['name']}: accuracy {arm['accuracy']:.3f}, AUC {leak:.3f}, limit {limit:.3f}; {arm['state']}"
        if limit > leak:
            marks.append(line(at, (x(limit), at[1]), f"whisker {'artifact' if ships else 'lost'}"))
        marks.append(dot(at, 6, "model artifact", tip) if ships else dot(at, 4, "lost", tip))
        marks.append(text(at[0] + 4, at[1] - 10, arm["name"], "label", anchor="start"))
    description = "; ".join(f"{arm['name']}: accuracy {arm['accuracy']:.3f}, AUC {leak:.3f}" for arm, leak, _ in shown)
    return picture(WIDTH, HEIGHT, "Arms that were compared", description, *marks, name=name, class_="panel")


def _leak(arm: Arm) -> tuple[float, float]:
    """The arm's leak, and the limit of it: the same where no repeats were trained."""
    found = arm["evidence"]["figures"][AUC.name] if arm["evidence"] else None
    return (arm["leak"], arm["leak"]) if found is None else (found["value"], found["limit"])
