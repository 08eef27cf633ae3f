"""What all benchmarks share: the environment they ran in, and results as JSON with a readable page beside."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy
import torch

from safecompress import __version__

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """Versions and machine, without names."""
    return {
        "safecompress": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def save(topic: str, command: str, results: Any, page: str) -> None:
    """Write ``<topic>.json`` and ``<topic>.md`` into benchmarks/results."""
    RESULTS.mkdir(exist_ok=True)
    document = {"command": command, "environment": environment(), "results": results}
    (RESULTS / f"{topic}.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / f"{topic}.md").write_text(f"{page}\nMade by `{command}`.\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *rows]) + "\n"
