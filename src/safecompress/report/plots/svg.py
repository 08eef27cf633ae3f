"""The few marks that pictures are made of. Every text and attribute is escaped here, so that no name can break out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from safecompress.errors import printable
from safecompress.report.escaping import shortened

Attribute = str | float | None
Point = tuple[float, float]


def number(value: float) -> str:
    """``value`` to a hundredth of a pixel, without idle zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def tag(name: str, *children: str, **attributes: Attribute) -> Markup:
    """An element; ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``; None leaves an attribute out.

    Children that are Markup stay as they are, other strings are text.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_written(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(child if isinstance(child, Markup) else escape(printable(child)) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>")


def _written(attribute: str | float) -> str:
    return escape(printable(attribute)) if isinstance(attribute, str) else number(attribute)


def picture(
    width: float,
    height: float,
    title: str,
    description: str,
    *marks: str,
    name: str,
    class_: str,
    is_fixed: bool = False,
) -> Markup:
    """An SVG with a name and a description for those who do not see it; ``name`` makes its ids, one a page.

    It grows and shrinks with the page, unless it ``is_fixed``: then it is scrolled where the page is narrower.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *marks,
        width=width if is_fixed else None,
        height=height if is_fixed else None,
        viewBox=f"0 0 {number(width)} {number(height)}",
        class_=f"picture {class_}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def text(x: float, y: float, words: str, class_: str = "label", *, anchor: str | None = None, most: int = 40) -> Markup:
    """A line of text; a long one is cut in its middle and shown whole by its tooltip."""
    short = shortened(printable(words), most)
    whole = [tag("title", words)] if short != printable(words) else []
    return tag("text", short, *whole, x=x, y=y, class_=class_, text_anchor=anchor)


def line(begin: Point, end: Point, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=begin[0], y1=begin[1], x2=end[0], y2=end[1], class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, tip: str | None = None) -> Markup:
    """A box; ``tip`` is shown where a pointer rests on it."""
    return tag("rect", *_tip(tip), x=x, y=y, width=max(0.0, width), height=max(0.0, height), class_=class_)


def dot(at: Point, radius: float, class_: str, tip: str | None = None) -> Markup:
    """A disc, or a ring, as its class says."""
    return tag("circle", *_tip(tip), cx=at[0], cy=at[1], r=radius, class_=class_)


def path(points: list[Point], class_: str, *, closed: bool = False) -> Markup:
    """Straight lines from point to point."""
    steps = " L ".join(f"{number(x)} {number(y)}" for x, y in points)
    return tag("path", d=f"M {steps}{' Z' if closed else ''}", class_=class_)


def steps(points: list[Point]) -> list[Point]:
    """The corners of a step function that holds each value until the next point."""
    corners = [points[0]]
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners


def group(*marks: str, class_: str | None = None) -> Markup:
    """Marks together."""
    return tag("g", *marks, class_=class_)


def _tip(words: str | None) -> list[Markup]:
    return [] if words is None else [tag("title", words)]


@dataclass(frozen=True)
class Frame:
    """The inside of a plot in pixels: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float
