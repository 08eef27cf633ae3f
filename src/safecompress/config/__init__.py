"""Config: a spec file in TOML, read strictly into the product's own values, and written back with every default.

Names are loaded when they are first used: that a spec is missing is said before PyTorch is loaded (`config.text`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safecompress.config.read import load_config, load_limits, parse_config
    from safecompress.config.values import Config, DataConfig, Limits, ModelConfig

_HOMES = {
    "Config": "values",
    "DataConfig": "values",
    "Limits": "values",
    "ModelConfig": "values",
    "load_config": "read",
    "load_limits": "read",
    "parse_config": "read",
}

__all__ = ["Config", "DataConfig", "Limits", "ModelConfig", "load_config", "load_limits", "parse_config"]


def __getattr__(name: str) -> Any:
    """Load a name of the room when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"safecompress.config.{_HOMES[name]}"), name)
