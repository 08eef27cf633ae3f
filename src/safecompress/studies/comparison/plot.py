"""The picture of a comparison: accuracy against leakage, a point for each method and density, and the Pareto front."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safecompress.errors import UsageError
from safecompress.metrics.stats.pareto import pareto_front
from safecompress.report.picture import COLOURS, drawing, settle
from safecompress.studies.comparison.cell import CellResult
from safecompress.studies.comparison.plan import Comparison
from safecompress.studies.comparison.summary import groups_of

SHAPES = "osD^vPX*<>"
"""Markers: they tell apart what the colours leave."""

_MOST_NAMED = 24
"""Points that can all be named in the picture; of more the front is, and a legend tells the rest."""

_SMALLEST, _LARGEST = 30.0, 420.0
"""Areas of markers, in square points."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """One method at one density: means over seeds, with the lowest and highest; ``size`` in bytes."""

    label: str
    density: float
    leak: float
    accuracy: float
    leaks: tuple[float, float]
    accuracies: tuple[float, float]
    size: float


def points_of(comparison: Comparison, results: Sequence[CellResult], leak: str) -> list[Point]:
    """The points that have numbers; ``leak`` is a figure of FIGURES."""
    points = []
    for group in groups_of(comparison, results):
        x, y = group.over_seeds(leak), group.over_seeds("accuracy")
        sizes = [result.num_bytes for result in group.results if result.num_bytes is not None]
        if x is not None and y is not None and sizes:
            ranges = (x.lowest, x.highest), (y.lowest, y.highest)
            points.append(Point(group.entry.label, group.density, x.mean, y.mean, *ranges, float(np.mean(sizes))))
    return points


def draw(comparison: Comparison, results: Sequence[CellResult], path: Path, *, leak: str = "worst AUC") -> list[Point]:
    """Write the picture to ``path`` (.svg or .png), the same bytes for the same results; return its Pareto front.

    Raises UsageError when matplotlib is not installed, or nothing has numbers.
    """
    points = points_of(comparison, results, leak)
    if not points:
        raise UsageError("No cell has numbers, so there is nothing to draw.")
    front = [points[index] for index in pareto_front(np.array([(point.accuracy, point.leak) for point in points]))]
    is_crowded = len(points) > _MOST_NAMED
    with drawing(path, width=10.6 if is_crowded else 8.4, height=7.4 if is_crowded else 5.6) as figure:
        axes = figure.add_subplot()
        _paint(axes, points, front, leak)
        if is_crowded:
            _list_methods(axes, points)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        _name(axes, points, front if is_crowded else points)
    return front


def _paint(axes: Any, points: Sequence[Point], front: Sequence[Point], leak: str) -> None:
    """Ranges over seeds, markers, front, axes."""
    labels = list(dict.fromkeys(point.label for point in points))
    steps_x = [x for point in front for x in (point.leak, point.leak)][1:]
    steps_y = [y for point in front for y in (point.accuracy, point.accuracy)][:-1]
    axes.plot(steps_x, steps_y, color="#888888", linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    for point, area in zip(points, _areas(points), strict=True):
        colour, shape = _look(labels, point.label)
        axes.plot(point.leaks, (point.accuracy,) * 2, color=colour, linewidth=0.8, alpha=0.45, zorder=2)
        axes.plot((point.leak,) * 2, point.accuracies, color=colour, linewidth=0.8, alpha=0.45, zorder=2)
        axes.scatter(
            point.leak, point.accuracy, s=area, c=colour, marker=shape, alpha=0.85, linewidths=0.8,
            edgecolors="white", zorder=3,
        )  # fmt: skip
    axes.margins(0.14)
    settle(
        axes,
        f"{leak}, mean over seeds (0.5 is guessing; further left leaks less)",
        "test accuracy, mean over seeds",
    )
    seen = "Dashed: Pareto front. Thin lines: lowest to highest seed. Area of a marker: bytes of the packed file."
    axes.set_title(seen, fontsize=8, color="#555555", loc="left")


def _look(names: Sequence[str], label: str) -> tuple[str, str]:
    """Colour and marker of a method."""
    number = names.index(label)
    return COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]


def _list_methods(axes: Any, points: Sequence[Point]) -> None:
    """A legend, where there are too many points to name each; within a method the densities are told apart by size."""
    labels = list(dict.fromkeys(point.label for point in points))
    for label in labels:
        colour, shape = _look(labels, label)
        axes.scatter([], [], s=45, c=colour, marker=shape, edgecolors="white", linewidths=0.8, label=label)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)


def _areas(points: Sequence[Point]) -> list[float]:
    """Areas in proportion to bytes, kept within what can be seen."""
    largest = max(point.size for point in points)
    return [max(_SMALLEST, _LARGEST * point.size / largest) for point in points]


def _name(axes: Any, points: Sequence[Point], named: Sequence[Point]) -> None:
    """Write the names of ``named`` beside them, where they cover neither a marker nor another name."""
    from matplotlib.patheffects import withStroke

    halo = withStroke(linewidth=2.5, foreground="white")
    renderer = axes.figure.canvas.get_renderer()
    spots = axes.transData.transform([(point.leak, point.accuracy) for point in points])
    radii = [np.sqrt(area / np.pi) * axes.figure.dpi / 72 for area in _areas(points)]
    taken: list[Box] = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(spots, radii, strict=True)]
    for line in axes.lines:  # all run along an axis, in steps
        corners = axes.transData.transform(np.column_stack(line.get_data()))
        taken += [_around(*start, *end) for start, end in itertools.pairwise(corners)]
    room = axes.get_window_extent(renderer).padded(-4)
    for point, (x, y), radius in zip(points, spots, radii, strict=True):
        if point not in named:
            continue
        text = axes.text(0, 0, f"{point.label}  {point.density:g}", transform=None, fontsize=8, zorder=4)
        extent = text.get_window_extent(renderer)
        width, height = extent.width, extent.height
        boxes = _boxes(x, y, radius, width, height)
        inside = [b for b in boxes if b[0] >= room.x0 and b[2] <= room.x1 and b[1] >= room.y0 and b[3] <= room.y1]
        best = min(inside or boxes, key=lambda box: sum(_overlap(box, other) for other in taken))
        taken.append(best)
        to_data = axes.transData.inverted().transform
        place = to_data((best[0], best[1] + extent.height * 0.2))
        text.set(transform=axes.transData, position=place, path_effects=[halo])
        near = (float(np.clip(x, best[0], best[2])), float(np.clip(y, best[1], best[3])))
        if np.hypot(near[0] - x, near[1] - y) > radius + 12:
            (x0, y0), (x1, y1) = to_data((x, y)), to_data(near)
            axes.plot((x0, x1), (y0, y1), color="#999999", linewidth=0.6, zorder=1.5)


def _boxes(x: float, y: float, radius: float, width: float, height: float) -> list[Box]:
    """Places for a name around a marker, the nearest first."""
    boxes = []
    for gap in (4.0, 16.0, 30.0, 48.0, 70.0, 96.0):
        reach = radius + gap
        for angle in np.deg2rad([0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240]):
            across, up = np.cos(angle), np.sin(angle)
            centre = x + across * (reach + width / 2), y + up * (reach + height / 2)
            boxes.append((centre[0] - width / 2, centre[1] - height / 2, centre[0] + width / 2, centre[1] + height / 2))
    return boxes


def _around(x0: float, y0: float, x1: float, y1: float) -> Box:
    """What a line along an axis covers."""
    return min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1


def _overlap(box: Box, other: Box) -> float:
    """The area that two boxes share."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    up = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, across) * max(0.0, up)
