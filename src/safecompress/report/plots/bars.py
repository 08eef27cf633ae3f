"""Intervals beside a bound, and figures beside each other: the small bars of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from safecompress.metrics.catalogue import direction_of, parse_name
from safecompress.metrics.measurement import Direction
from safecompress.report.plots.axis import Axis, around
from safecompress.report.plots.svg import dot, line, picture, rect, text

WIDTH, HEIGHT, MIDDLE = 260, 34, 14

Domain = tuple[float, float]


def domain_of(metric: str, findings: Sequence[Mapping[str, Any]], dense_figures: Mapping[str, Any]) -> Domain:
    """What the bar of ``metric`` spans. All AUCs share it, so that their bars can be compared."""
    kind, values = _kind(metric), []
    for finding in findings:
        if _kind(finding["metric"]) == kind:
            values.append(finding["bound"])
            for figure in (finding["measurement"], dense_figures.get(finding["metric"])):
                if figure is not None:
                    values += [figure["low"], figure["value"], figure["high"]]
    largest = max(1.0, *(abs(value) for value in values))
    limits = (-1.0, 1.0) if largest <= 1 else (0.0, 2 * largest)
    low, high = around(values, least=0.05 * largest, within=limits)
    return (0.0, high) if largest > 1 else (low, high)


def _kind(name: str) -> str:
    """What bars share one span: headline figures of all attacks; any other metric has its own."""
    parsed = parse_name(name)
    is_shared = parsed is not None and parsed.metric.is_headline and not parsed.is_change
    return parsed.metric.name if parsed is not None and is_shared else name


def requirement_bar(
    finding: Mapping[str, Any], dense_figures: Mapping[str, Any] | None, domain: Domain, name: str
) -> Markup:
    """The interval against the bound: where it may lie is tinted, and the dense model's figure is a ring."""
    x = Axis(*domain, 4, WIDTH - 4)
    bound, figure = x(finding["bound"]), finding["measurement"]
    is_upper = direction_of(finding["metric"]) is Direction.LOWER
    allowed = (x.start, bound) if is_upper else (bound, x.end)
    marks = [
        rect(x.start, MIDDLE - 8, x.end - x.start, 16, "track"),
        rect(allowed[0], MIDDLE - 8, allowed[1] - allowed[0], 16, "allowed"),
        line((bound, MIDDLE - 11), (bound, MIDDLE + 11), "bound"),
    ]
    words = "nothing was measured"
    if figure is not None:
        mark = f"mark {finding['verdict'].lower()}"
        words = f"measured {_describe(figure)}"
        marks.append(line((x(figure["low"]), MIDDLE), (x(figure["high"]), MIDDLE), f"span {mark}"))
        marks += [line((x(end), MIDDLE - 4), (x(end), MIDDLE + 4), f"cap {mark}") for end in _ends(figure)]
        marks.append(dot((x(figure["value"]), MIDDLE), 4, f"value {mark}", words))
    if dense_figures is not None:
        marks.append(
            dot((x(dense_figures["value"]), MIDDLE), 4, "ring dense", f"dense model {_describe(dense_figures)}")
        )
        words += f"; dense model {_describe(dense_figures)}"
    anchor = "start" if bound < WIDTH * 0.2 else "end" if bound > WIDTH * 0.8 else "middle"
    marks.append(text(bound, HEIGHT - 1, f"{finding['bound']:,g}", "tick", anchor=anchor))
    return picture(WIDTH, HEIGHT, finding["requirement"], words, *marks, name=name, class_="bar")


def _ends(figure: Mapping[str, Any]) -> tuple[float, ...]:
    return () if figure["low"] == figure["high"] else (figure["low"], figure["high"])


def _describe(figure: Mapping[str, Any]) -> str:
    if figure["low"] == figure["high"]:
        return f"{figure['value']:,.6g}"
    return f"{figure['value']:.3f}, interval {figure['low']:.3f} to {figure['high']:.3f}"


def amounts(bars: Sequence[tuple[str, float, str, str]], title: str, name: str) -> Markup:
    """Bars from zero, one a row: its name, its amount, the amount in words, its class."""
    width, step = 360.0, 34.0
    x = Axis(0, max(amount for _, amount, _, _ in bars) or 1.0, 0, width)
    marks = []
    for place, (label, amount, words, class_) in enumerate(bars):
        top = place * step
        marks.append(text(0, top + 12, label))
        marks.append(text(width, top + 12, words, "label strong", anchor="end"))
        marks.append(rect(0, top + 17, width, 9, "track"))
        marks.append(rect(0, top + 17, max(1.5, x(amount)), 9, f"amount {class_}"))
    description = "; ".join(f"{label}: {words}" for label, _, words, _ in bars)
    return picture(width, step * len(bars), title, description, *marks, name=name, class_="wide")
