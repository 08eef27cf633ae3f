"""Whole runs in small: a spec that takes half a second, the command line, and what a run left."""

import contextlib
import copy
import functools
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import tomli_w

SIZES = {
    "train": 450, "member_fit": 150, "member_select": 150, "member_verdict": 150, "validation": 100, "test": 200,
    "nonmember_fit": 150, "nonmember_select": 150, "nonmember_verdict": 150, "population": 150,
}  # fmt: skip

TINY = {
    "name": "tiny",
    "data": {"source": "digits", **SIZES},
    "model": {"name": "mlp", "hidden": [128]},
    "recipe": {"epochs": 12, "optimizer": "adam", "batch_size": 32, "learning_rate": 0.01, "weight_decay": 0.0},
    "compress": {"density": 0.2},
    "search": {"method": "rewiring", "rounds": 2, "branches": ["magnitude+random", "magnitude+gradient", "keep"]},
    "safety": {"access": "labels", "attacks": ["gap", {"name": "label_only", "queries": 16}]},
    "require": [
        {"metric": "gap.auc", "at_most": 0.75},
        {"metric": "label_only.auc", "at_most": 0.75},
        {"metric": "accuracy", "at_least": 0.6},
        {"metric": "artifact.size_bytes", "at_most": 40000},
    ],
}
"""A run that ends in PASS, on digits."""

BY_LOSS = {"attacks": ["gap", "loss"]}
"""For ``safety``: attacks that read scores. They are no reference set, so nothing passes by them alone."""

DIGESTS = ("artifact", "pattern", "weights", "dense", "verdict")
"""What equal jobs must agree on; the digests of the job and of the rows are keyed by folder."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_cli(*args) -> Ended:
    """``safecompress ARGS`` in this process."""
    import typer.main

    from safecompress.cli.main import main

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["safecompress", *map(str, args)]
    try:
        kept = patch.object(typer.main, "get_command", _kept_command(typer.main.get_command))
        with kept, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    return Ended(code, out.getvalue(), err.getvalue())


@functools.cache
def _kept_command(make):
    """Instead of ``make``: the command line as it is with the verbs that it has, read from their signatures once."""
    made = functools.cache(lambda app, num_verbs: make(app))
    return lambda app: made(app, len(app.registered_commands) + len(app.registered_groups))


def tiny(**changes) -> dict:
    """TINY with the tables in ``changes`` merged into its own; anything else replaces what is there.

    Other attacks are allowed all access, as in a spec that does not say.
    """
    spec = copy.deepcopy(TINY)
    for key, value in changes.items():
        spec[key] = {**spec.get(key, {}), **value} if isinstance(value, dict) else value
    if "attacks" in changes.get("safety", {}):
        spec["safety"]["access"] = changes["safety"].get("access", "weights")
    return spec


def write_spec(path: Path, **changes) -> Path:
    """A spec file with `tiny` in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(tiny(**changes)))
    return path


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def digests_of(folder: Path) -> dict:
    digests = report_of(folder)["digests"]
    return {name: digests[name] for name in DIGESTS}


def contents(folder: Path) -> dict:
    """Every file under ``folder`` with its bytes and its time of change, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def run_code(code: str, folder: Path) -> str:
    """What ``code`` prints when it runs in ``folder``, in this process."""
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        exec(compile(code, "<page>", "exec"), {"__name__": "__main__"})
    return said.getvalue()


def start_cli(*args, **environment) -> subprocess.Popen:
    """``safecompress ARGS`` in another process, which leads a process group of its own."""
    command = [Path(sys.executable).with_name("safecompress"), *args]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        start_new_session=True,
    )
