"""Numbers as people write them: "1,234", "12,5", "1.234,50", "45%", "$3.50", "(12)"; one way of writing a column."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

Decimal = Literal[".", ","]

PERCENT = "%"
_POINT = re.compile(r"[+-]?\d+\.(?!\d{3}$)\d+")  # most columns: a number by its point, none by a comma
_CURRENCY = r"US\$|[$€£¥₹₽₩]|\b(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN|CZK)\b"
_SHAPE = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[+\-−])?\s*(?P<before>{_CURRENCY})?\s*(?P<late>[+\-−])?\s*"
    rf"(?P<body>[\d.,'’\u00a0\u202f ]*\d[.,]?(?:[eE][+-]?\d+)?)\s*(?P<after>{_CURRENCY}|%)?\s*(?P<close>\))?"
)
_BLANKS = "\u00a0\u202f "
_BODIES = {
    mark: re.compile(
        rf"(?P<whole>\d{{1,3}}(?:(?P<by>[{other}'’{_BLANKS}])\d{{3}})(?:(?P=by)\d{{3}})*|\d*)"
        rf"(?:{re.escape(mark)}(?P<rest>\d*))?(?P<power>[eE][+-]?\d+)?"
    )
    for mark, other in ((".", ","), (",", "."))
}


def read_number(text: str, decimal: str) -> tuple[float, str] | None:
    """The number that ``text`` stands for and its unit ("", "%" or a currency); None where it is no number.

    ``decimal`` is the mark before a fraction. A percentage is a share: 45% is 0.45. Infinity and NaN are numbers here.
    """
    if decimal == ".":
        try:
            return float(text), ""  # as Python reads it: what most columns hold
        except ValueError:
            pass
    shape = _SHAPE.fullmatch(text)
    if shape is None or (shape["open"] is None) != (shape["close"] is None) or (shape["sign"] and shape["late"]):
        return None
    body = _BODIES[decimal].fullmatch(shape["body"].strip())
    if body is None or not (body["whole"] or body["rest"]) or (shape["before"] and shape["after"]):
        return None
    whole = body["whole"].replace(body["by"], "") if body["by"] else body["whole"]
    value = float(f"{whole or 0}.{body['rest'] or 0}{body['power'] or ''}")
    is_negative = (shape["sign"] or shape["late"] or "+") != "+" or shape["open"] is not None
    unit = shape["before"] or shape["after"] or ""
    value = value / 100 if unit == PERCENT else value
    return -value if is_negative else value, unit


def marks_of(texts: Iterable[str]) -> set[Decimal]:
    """The decimal marks by which ``texts`` can be told to be written: both where none of them tells.

    Only texts that are a number by one mark and not by the other tell: "12,5" tells a comma, "1,234" nothing.
    """
    found: set[Decimal] = set()
    for text in texts:
        if _POINT.fullmatch(text):
            found.add(".")
        elif "," in text or "." in text:
            dot, comma = read_number(text, "."), read_number(text, ",")
            if (dot is None) != (comma is None):
                found.add("." if comma is None else ",")
    return found or {".", ","}


def is_ambiguous(text: str) -> bool:
    """Whether ``text`` is one number by a decimal point and another by a decimal comma, such as "1,234"."""
    if "," not in text and "." not in text:
        return False
    dot, comma = read_number(text, "."), read_number(text, ",")
    return dot is not None and comma is not None and dot[0] != comma[0]


def whole_number(text: str) -> int | None:
    """The whole number that ``text`` writes, in whatever way: "1", "01", "1.0" and "+1" are 1."""
    shape = re.fullmatch(r"([+-]?\d{1,400})(?:\.0*)?", text)
    return None if shape is None else int(shape[1])


def merged(texts: Iterable[str]) -> dict[str, str]:
    """Each distinct text -> the one name of it: texts of one whole number are one, by its plainest writing.

    A text that no other equals stays as it is written.
    """
    distinct = sorted(set(texts))
    numbers = {text: whole_number(text) for text in distinct}
    written: dict[int, list[str]] = {}
    for text, number in numbers.items():
        if number is not None:
            written.setdefault(number, []).append(text)
    names = {number: same[0] if len(same) == 1 else str(number) for number, same in written.items()}
    return {text: text if number is None else names[number] for text, number in numbers.items()}


def in_order(texts: Iterable[str]) -> list[str]:
    """The distinct labels, by value when all are numbers, else as text."""
    distinct = sorted(set(texts))
    values = {text: _plain(text) for text in distinct}
    return sorted(distinct, key=lambda text: values[text] or 0.0) if None not in values.values() else distinct


def _plain(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
