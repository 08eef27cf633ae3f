"""The share of its weights that each layer keeps: before the search, after it, and how many it ever tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from safecompress.report.plots.axis import Axis, percent
from safecompress.report.plots.svg import line, picture, rect, text

WIDTH, STEP = 360.0, 40.0


def layers_plot(layer_shares: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """A bar a layer: kept at the end (filled), ever tried (light), kept at the start (tick)."""
    x, bottom = Axis(0, 1, 0, WIDTH - 14), STEP * len(layer_shares)
    marks = [line((x(value), 20), (x(value), bottom), "grid") for value in (0.25, 0.5, 0.75, 1.0)]
    for place, layer in enumerate(layer_shares):
        top = place * STEP
        kept = _share(layer["end"]) + (f" of {layer['num_weights']:,}" if layer["num_weights"] else "")
        tip = f"{layer['name']}: {_share(layer['start'])} at the start, {kept} at the end"
        marks.append(text(0, top + 13, layer["name"], most=30))
        marks.append(text(WIDTH - 14, top + 13, kept, "label strong", anchor="end"))
        marks.append(rect(0, top + 19, WIDTH - 14, 10, "track"))
        if layer["ever"] is not None:
            marks.append(rect(0, top + 19, x(layer["ever"]), 10, "amount ever", f"{_share(layer['ever'])} ever tried"))
        marks.append(rect(0, top + 19, max(1.5, x(layer["end"])), 10, "amount artifact", tip))
        if layer["start"] is not None:
            marks.append(line((x(layer["start"]), top + 15), (x(layer["start"]), top + 33), "bound"))
    for value in (0.0, 0.5, 1.0):
        anchor = "start" if value == 0 else "middle"
        marks.append(text(x(value), bottom + 10, percent(value), "tick", anchor=anchor))
    description = "; ".join(
        f"{one['name']}: {_share(one['start'])} before, {_share(one['end'])} after" for one in layer_shares
    )
    return picture(WIDTH, bottom + 16, "Density of each layer", description, *marks, name=name, class_="wide")


def _share(number: float | None) -> str:
    return "unknown" if number is None else f"{100 * number:.1f}%"
