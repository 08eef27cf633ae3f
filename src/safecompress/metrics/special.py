"""SciPy's special functions, loaded when one is first asked for: who shows a report again needs none of them."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """The function of `scipy.special` called ``name``."""
    return getattr(importlib.import_module("scipy.special"), name)
