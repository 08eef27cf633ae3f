"""The reference of the Python API: the public names, whose docstrings the site shows."""

from __future__ import annotations

from words import page

import safecompress as sc
from safecompress.attacks import ATTACKS

GROUPS = (
    ("Compress and judge", ("compress", "audit", "CompressionResult", "Report", "ProcessExecutor")),
    ("What an audit can prove", ("record_training", "write_members")),
    ("What must hold", ("SafetySpec", "at_most", "at_least", "within", "Verdict")),
    ("Data and members", ("Dataset", "make_split", "plant_canaries", "DataSplit", "SplitSizes")),
    ("Training and search", ("ModelSpec", "ClassScores", "Recipe", "Plan", "Branch")),
    ("Sparse training of your own", ("SparseTraining", "SparsityPattern")),
    ("What ships", ("Artifact", "TaskInfo", "Packing")),
    ("Errors", ("SafeCompressError",)),
)


def python_page() -> str:
    """The page. Raises KeyError when a public name belongs to no group."""
    rooms = {"attacks", "data", "models", "sparsity"}
    missing = {*sc.__all__} - rooms - {name for _, names in GROUPS for name in names}
    if missing:
        raise KeyError(f"Say in docs/tools/python_page.py where these belong: {sorted(missing)}.")
    blocks = [
        "`import safecompress as sc` is free: a name is loaded when it is first used. What is below is public; the "
        "rooms `sc.attacks`, `sc.data`, `sc.models` and `sc.sparsity` hold what a spec can [name](names.md)."
    ]
    for title, names in GROUPS:
        blocks += [f"## {title}", *(_entry(getattr(sc, name)) for name in names)]
    blocks += ["## A saved file, asked for answers", "::: safecompress.runtime.load.load"]
    attacks = [_entry(ATTACKS.builtins[name]) for name in sorted(ATTACKS.builtins)]
    blocks += ["## Attacks", *(f"{entry}\n    options:\n      members: false" for entry in attacks)]
    return page("Python", *blocks)


def _entry(thing: type) -> str:
    return f"::: {thing.__module__}.{thing.__qualname__}"
