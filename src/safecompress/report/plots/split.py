"""How the rows were shared out: one bar, as long as the data."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from safecompress.report.plots.axis import Axis
from safecompress.report.plots.svg import picture, rect, text

WIDTH = 720.0

Part = tuple[str, int, str]
"""A part's name, its rows, its class."""


def split_plot(outer: Sequence[Part], inner: Sequence[Part], name: str) -> Markup:
    """``outer`` parts end to end; ``inner`` ones, the pools within the first, in a thinner bar under it."""
    x = Axis(0, max(1, sum(rows for _, rows, _ in outer)), 0, WIDTH)
    marks = [*_bar(outer, x, 20, 26), *_bar(inner, x, 50, 12)]
    description = "; ".join(f"{label}: {rows:,} rows" for label, rows, _ in (*outer, *inner))
    return picture(WIDTH, 66, "How the rows were shared out", description, *marks, name=name, class_="split")


def _bar(parts: Sequence[Part], x: Axis, top: float, height: float) -> list[Markup]:
    marks, begun = [], 0
    for label, rows, class_ in parts:
        left, right = x(begun), x(begun + rows)
        marks.append(rect(left, top, right - left - 1.5, height, f"part {class_}", f"{label}: {rows:,} rows"))
        if right - left > 8 * len(label) and height > 20:
            marks.append(text(left + 2, top - 6, label, "tick"))
        begun += rows
    return marks
