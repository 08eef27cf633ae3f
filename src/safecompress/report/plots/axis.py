"""Axes: from a figure to its pixel, ticks that people read easily, and the marks of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from safecompress.report.plots.svg import Frame, group, line, text

Label = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """Figures from ``low`` to ``high`` laid on pixels from ``start`` to ``end``; beyond them the end is shown."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of ``value``."""
        low, high, at = (self._scaled(number) for number in (self.low, self.high, value))
        share = min(1.0, max(0.0, (at - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.is_log else value

    def ticks(self, most: int = 6) -> list[float]:
        """Round figures inside the axis: powers of ten on a logarithmic one."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least * (1 - 1e-9))


def around(values: Sequence[float], *, least: float, within: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float]:
    """Limits of an axis that shows ``values`` with some room beside them, ``least`` wide, inside ``within``."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, (least - (high - low)) / 2)
    bottom, top = max(within[0], low - room), min(within[1], high + room)
    return (bottom, top) if top > bottom else (bottom, bottom + least)


def short(value: float) -> str:
    """A tick's figure: ``0.05``, ``1``, ``20k``."""
    if abs(value) >= 1e4:
        return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value / 1e3:g}k"
    return f"{value:g}"


def percent(value: float) -> str:
    """A tick's share in percent: ``0.1%``."""
    return f"{100 * value:g}%"


def draw_axes(
    x: Axis, y: Axis, frame: Frame, x_name: str, y_name: str, *, axis_labels: tuple[Label, Label] = (short, short)
) -> Markup:
    """Grid, ticks and names of both axes; the vertical one is named on top, where it is read without tilting."""
    x_label, y_label = axis_labels
    marks: list[Markup] = []
    for value in y.ticks():
        marks.append(line((frame.left, y(value)), (frame.right, y(value)), "grid"))
        marks.append(text(frame.left - 6, y(value) + 4, y_label(value), "tick", anchor="end"))
    for value in x.ticks():
        marks.append(line((x(value), frame.top), (x(value), frame.bottom), "grid"))
        marks.append(text(x(value), frame.bottom + 16, x_label(value), "tick", anchor="middle"))
    marks.append(text(frame.left - 34, frame.top - 10, y_name, "axis", most=60))
    marks.append(text(frame.right, frame.bottom + 34, x_name, "axis", anchor="end", most=60))
    return group(*marks)
