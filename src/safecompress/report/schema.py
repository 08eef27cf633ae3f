"""The published JSON schema of report.json, versioned with it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

SCHEMA = "report.schema.json"


def schema_text() -> str:
    """The schema as it is published (JSON Schema, draft 2020-12)."""
    return (resources.files("safecompress.report") / SCHEMA).read_text(encoding="utf-8")


def load_schema() -> dict[str, Any]:
    """The schema as a JSON object."""
    schema: dict[str, Any] = json.loads(schema_text())
    return schema
