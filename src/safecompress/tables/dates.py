"""Dates and times as numbers that float32 holds without loss: day, second of the day, fraction of a second."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Literal, get_args

DateStyle = Literal["iso", "day first", "month first", "unix seconds", "unix milliseconds", "unix microseconds",
                    "unix nanoseconds"]  # fmt: skip
STYLES: tuple[str, ...] = get_args(DateStyle)
UNIX = {"unix seconds": 0, "unix milliseconds": 3, "unix microseconds": 6, "unix nanoseconds": 9}
"""Styles that count from 1970, and the decimals of a second that they count in."""

PARTS = ("day", "second", "fraction")
SECONDS, EPOCH = 86_400, datetime.date(1970, 1, 1).toordinal()
FIRST, LAST = 10**8, 42 * 10**8
"""Seconds from 1973 to 2103: numbers outside are not taken for times of themselves."""

Instant = tuple[int, int, float]
"""Days since 1970-01-01 (before it: negative), seconds since midnight, and the fraction of a second, all in UTC."""

_TIME = (
    r"(?:(?:[T,]| )\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<rest>\d{1,12}))?)?\s*"
    r"(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?)?"
)
_ISO = re.compile(r"(?P<y>\d{4})(?P<by>[-/.])(?P<m>\d{1,2})(?P=by)(?P<d>\d{1,2})" + _TIME)
_COMPACT = re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})" + _TIME)
_NUMBERS = re.compile(r"(?P<a>\d{1,2})(?P<by>[-/.])(?P<b>\d{1,2})(?P=by)(?P<y>\d{4})" + _TIME)
_NAMED = re.compile(r"(?P<d>\d{1,2})\.?[- ]?(?P<name>[A-Za-z]{3,9})\.?,?[- ]?(?P<y>\d{4})" + _TIME)
_NAME_FIRST = re.compile(r"(?P<name>[A-Za-z]{3,9})\.? (?P<d>\d{1,2}),? (?P<y>\d{4})" + _TIME)
_SHORT = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2}(?:[ T]\d{1,2}:\d{2}.*)?")
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
           "december")  # fmt: skip


def read_instant(text: str, style: str) -> Instant | None:
    """The instant that ``text`` stands for in ``style``; None where it is none.

    ISO dates and dates with the name of their month are read in every style but those of unix times.
    """
    if style in UNIX:
        return _from_unix(text, UNIX[style])
    for shape in (_ISO, _COMPACT, _NAMED, _NAME_FIRST):
        found = shape.fullmatch(text)
        if found is not None:
            groups = found.groupdict()
            month = int(groups["m"]) if "m" in groups else _month(groups["name"])
            return None if month is None else _instant(found, int(groups["y"]), month, int(groups["d"]))
    found = _NUMBERS.fullmatch(text)
    if found is None or style == "iso":
        return None
    first, second = int(found["a"]), int(found["b"])
    day, month = (first, second) if style == "day first" else (second, first)
    return _instant(found, int(found["y"]), month, day)


def looks_like_a_date(text: str) -> bool:
    """Whether ``text`` is a date in any style, unix times aside."""
    return any(read_instant(text, style) is not None for style in ("day first", "month first"))


def has_short_year(text: str) -> bool:
    """Whether ``text`` looks like a date whose year has two digits: nobody can tell 1947 from 2047."""
    return _SHORT.fullmatch(text) is not None


def styles_of(texts: Iterable[str]) -> list[DateStyle]:
    """The styles in which every one of ``texts`` is a date: two where nothing tells days from months.

    Where points separate its numbers, the day comes first.
    """
    texts = list(texts)
    if all(read_instant(text, "iso") is not None for text in texts):
        return ["iso"]
    both: tuple[DateStyle, ...] = ("day first", "month first")
    fitting = [style for style in both if all(read_instant(text, style) is not None for text in texts)]
    points = any("." in text.split(" ")[0] for text in texts)
    return fitting[:1] if points and fitting[:1] == ["day first"] else fitting


def unix_style(texts: Iterable[str]) -> DateStyle | None:
    """The style by which ``texts`` are unix times between 1973 and 2103; None where they are not."""
    styles: tuple[DateStyle, ...] = ("unix seconds", "unix milliseconds", "unix microseconds", "unix nanoseconds")
    values = [_exact(text) for text in texts]
    for style in styles:
        unit = 10 ** UNIX[style]
        if values and all(value is not None and FIRST * unit <= value <= LAST * unit for value in values):
            return style
    return None


def _from_unix(text: str, decimals: int) -> Instant | None:
    value = _exact(text)
    if value is None or abs(value) > 10 ** (12 + decimals):
        return None
    seconds = value.scaleb(-decimals)
    whole = math.floor(seconds)
    day, second = divmod(whole, SECONDS)
    return day, second, float(seconds - whole)


def _exact(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _month(name: str) -> int | None:
    fitting = [number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()) or
               (month == "september" and name.lower() == "sept")]  # fmt: skip
    return fitting[0] if len(fitting) == 1 else None


def _instant(found: re.Match[str], year: int, month: int, day: int) -> Instant | None:
    groups = found.groupdict()
    try:
        days = datetime.date(year, month, day).toordinal() - EPOCH
        hour = int(groups["hour"] or 0)
        if groups["half"]:
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + (12 if groups["half"][0] in "Pp" else 0)
        datetime.time(hour, int(groups["minute"] or 0), int(groups["second"] or 0))
    except ValueError:
        return None
    seconds = 3600 * hour + 60 * int(groups["minute"] or 0) + int(groups["second"] or 0) - _offset(groups["zone"])
    more, second = divmod(seconds, SECONDS)
    return days + more, second, float(f"0.{groups['rest']}") if groups["rest"] else 0.0


def _offset(zone: str | None) -> int:
    """Seconds that a zone is ahead of UTC."""
    if zone in (None, "Z", "UTC"):
        return 0
    assert zone is not None
    digits = zone[1:].replace(":", "")
    return (1 if zone[0] == "+" else -1) * (3600 * int(digits[:2]) + 60 * int(digits[2:]))
