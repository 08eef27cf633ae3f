"""Checks of options' ranges; the error says what is allowed and what to do."""

from __future__ import annotations

import math

from safecompress.errors import UsageError


def require_within(owner: object, name: str, *, least: float, most: float = math.inf, advice: str) -> None:
    """Raise UsageError unless the option ``name`` of ``owner`` is a finite number in [least, most]."""
    value = getattr(owner, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and least <= value <= most):
        allowed = f"at least {least:g}" if most == math.inf else f"in [{least:g}, {most:g}]"
        raise UsageError(f"{type(owner).__name__}: {name} must be a finite number {allowed}, got {value!r}. {advice}")


def require_whole(owner: object, name: str, *, least: int, advice: str) -> None:
    """Raise UsageError unless the option ``name`` of ``owner`` is a whole number of at least ``least``."""
    value = getattr(owner, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(
            f"{type(owner).__name__}: {name} must be a whole number of at least {least}, got {value!r}. {advice}"
        )
