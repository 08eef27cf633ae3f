"""Classes, and the most exposed rows, as dots with intervals beside the line of guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from safecompress.report.plots.axis import Axis, around, short
from safecompress.report.plots.svg import dot, line, picture, text

WIDTH, LEFT, STEP = 360.0, 128.0, 24.0

Row = tuple[str, Mapping[str, Any]]
"""A name, and a figure with its interval."""


def dots(exposed_rows: Sequence[Row], title: str, axis: str, name: str) -> Markup:
    """A row for each of ``exposed_rows``: name, figure, interval; the line at 0.5 is guessing."""
    values = [figure[key] for _, figure in exposed_rows for key in ("low", "high")]
    x = Axis(*around([*values, 0.5], least=0.2), LEFT, WIDTH - 12)
    top, bottom = 8.0, 8.0 + STEP * len(exposed_rows)
    marks = []
    for value in [0.5, *(value for value in x.ticks(4) if abs(x(value) - x(0.5)) > 24)]:
        marks.append(line((x(value), top), (x(value), bottom), "grid"))
        marks.append(text(x(value), bottom + 15, short(value), "tick", anchor="middle"))
    marks.append(line((x(0.5), top), (x(0.5), bottom), "chance"))
    for place, (label, figure) in enumerate(exposed_rows):
        y = top + STEP * (place + 0.5)
        class_ = "mark fail" if figure["low"] > 0.5 else "mark calm"
        tip = f"{label}: {figure['value']:.3f}, interval {figure['low']:.3f} to {figure['high']:.3f}"
        marks.append(text(LEFT - 10, y + 4, label, anchor="end", most=19))
        marks.append(line((x(figure["low"]), y), (x(figure["high"]), y), f"span {class_}"))
        marks.append(dot((x(figure["value"]), y), 4, f"value {class_}", tip))
    marks.append(text(WIDTH - 12, bottom + 33, axis, "axis", anchor="end", most=60))
    description = "; ".join(
        f"{label}: {f['value']:.2f} ({f['low']:.2f} to {f['high']:.2f})" for label, f in exposed_rows
    )
    return picture(WIDTH, bottom + 40, title, description, *marks, name=name, class_="panel")
