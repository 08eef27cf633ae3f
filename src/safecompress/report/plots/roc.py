"""A ROC on logarithmic axes, where the few who are found with certainty can be seen, with its band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from safecompress.report.plots.axis import Axis, draw_axes, percent
from safecompress.report.plots.svg import Frame, Point, line, path, picture, steps, text

WIDTH, HEIGHT = 240, 214
FRAME = Frame(40, 26, 230, 174)

Points = Sequence[Mapping[str, float]]


def roc_plot(
    attack_name: str, points: Points, dense_points: Points | None, num_non_members: int | None, name: str
) -> Markup:
    """Found members against falsely accused: band and line of what ships, a line of the dense model, chance dashed."""
    floor = points[0]["fpr"]
    x, y = (Axis(floor, 1.0, *ends, is_log=True) for ends in ((FRAME.left, FRAME.right), (FRAME.bottom, FRAME.top)))
    low, high, middle = (_corners(points, key, x, y) for key in ("low", "high", "tpr"))
    marks = [
        draw_axes(x, y, FRAME, "falsely accused (FPR) →", "↑ found (TPR)", axis_labels=(percent, percent)),
        path([*high, *reversed(low)], "band", closed=True),
        line((x(floor), y(floor)), (x(1), y(1)), "chance"),
    ]
    if num_non_members and floor < 1 / num_non_members < 1:
        at = x(1 / num_non_members)
        marks.append(line((at, FRAME.top), (at, FRAME.bottom), "resolution"))
        marks.append(text(at + 4, FRAME.top + 10, f"1 of {num_non_members}", "tick"))
    if dense_points:
        marks.append(path(_corners(dense_points, "tpr", x, y), "roc dense"))
    marks.append(path(middle, "roc artifact"))
    description = "; ".join(
        f"at FPR {percent(p['fpr'])} it finds {100 * p['tpr']:.1f}% ({100 * p['low']:.1f} to {100 * p['high']:.1f}%)"
        for p in points
        if p["fpr"] in (0.001, 0.01, 0.1)
    )
    return picture(WIDTH, HEIGHT, f"ROC of {attack_name}", description, *marks, name=name, class_="panel")


def _corners(points: Points, key: str, x: Axis, y: Axis) -> list[Point]:
    """The step function as pixels, up to the right edge."""
    at = [(x(point["fpr"]), y(point[key])) for point in points]
    return steps([*at, (x(1.0), at[-1][1])])
