"""SafeCompress: train a small sparse classifier that passes its membership-inference tests, and keep the evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from safecompress import attacks, data, models, sparsity
    from safecompress.api import CompressionResult, audit, compress
    from safecompress.auditing.members import write_members
    from safecompress.auditing.recorded_training import record_training
    from safecompress.compression.search import Branch, Plan, ProcessExecutor
    from safecompress.data import Dataset, DataSplit, SplitSizes, make_split, plant_canaries
    from safecompress.errors import SafeCompressError
    from safecompress.export import Artifact, Packing, TaskInfo
    from safecompress.models import ModelSpec
    from safecompress.networks import ClassScores
    from safecompress.report import Report
    from safecompress.sparsity import SparseTraining, SparsityPattern
    from safecompress.spec import SafetySpec, Verdict, at_least, at_most, within
    from safecompress.training import Recipe

_HOMES = {
    "Artifact": "export",
    "Branch": "compression.search",
    "ClassScores": "networks",
    "CompressionResult": "api",
    "DataSplit": "data",
    "Dataset": "data",
    "ModelSpec": "models",
    "Packing": "export",
    "Plan": "compression.search",
    "ProcessExecutor": "compression.search",
    "Recipe": "training",
    "Report": "report",
    "SafeCompressError": "errors",
    "SafetySpec": "spec",
    "SparseTraining": "sparsity",
    "SparsityPattern": "sparsity",
    "SplitSizes": "data",
    "TaskInfo": "export",
    "Verdict": "spec",
    "at_least": "spec",
    "at_most": "spec",
    "audit": "api",
    "compress": "api",
    "make_split": "data",
    "plant_canaries": "data",
    "record_training": "auditing.recorded_training",
    "within": "spec",
    "write_members": "auditing.members",
}
_ROOMS = ("attacks", "data", "models", "sparsity")

__all__ = [
    "Artifact",
    "Branch",
    "ClassScores",
    "CompressionResult",
    "DataSplit",
    "Dataset",
    "ModelSpec",
    "Packing",
    "Plan",
    "ProcessExecutor",
    "Recipe",
    "Report",
    "SafeCompressError",
    "SafetySpec",
    "SparseTraining",
    "SparsityPattern",
    "SplitSizes",
    "TaskInfo",
    "Verdict",
    "at_least",
    "at_most",
    "attacks",
    "audit",
    "compress",
    "data",
    "make_split",
    "models",
    "plant_canaries",
    "record_training",
    "sparsity",
    "within",
    "write_members",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing the package is free."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"safecompress.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"safecompress.{name}")
    raise AttributeError(f"module 'safecompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
