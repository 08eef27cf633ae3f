"""compare: every cell through an executor, one file each, so that a killed or a grown comparison goes on."""

from __future__ import annotations

import contextlib
import platform
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from safecompress import __version__
from safecompress.errors import ArtifactError, RunFolderError, UsageError
from safecompress.progress import Progress, Silent
from safecompress.runfolder import IDENTITY
from safecompress.search import Executor, SerialExecutor
from safecompress.storage import read_json, write_bytes, write_json, writing
from safecompress.studies.comparison.cell import Result, run_cell
from safecompress.studies.comparison.compared import Compared
from safecompress.studies.comparison.plan import Study
from safecompress.studies.comparison.plot import draw
from safecompress.studies.comparison.table import to_markdown

MARKDOWN, JSON, PICTURE = "compare.md", "compare.json", "compare.svg"

_CELLS, _CACHE, _KEY, _LOCK = "cells", "cache", "compare.key", ".lock"


def compare(
    study: Study,
    out: str | Path,
    *,
    name: str = "comparison",
    spec: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
) -> Compared:
    """Make and attack every cell of ``study``; leave the page, the JSON document and the picture in the folder ``out``.

    Exploratory: there is no ledger and no verdict. Cells that ``out`` holds are read instead of made, unless they
    failed; so a killed comparison goes on, and one with another method or seed does only what is missing. ``cache`` is
    a private folder for trained stages and shadow models (default: inside ``out``). ``spec`` is what was asked for, as
    written, for the document.

    Raises UsageError (and its kinds) before any training for what no cell can do, RunFolderError when ``out`` is in use
    or holds a run of `compress`, StorageError when the disk refuses. A method that fails does not raise.
    """
    study.check()
    folder, watcher, worker = Path(out), progress or Silent(), executor or SerialExecutor()
    with _opened(folder) as key:
        store = Path(cache) if cache is not None else folder / _CACHE
        first, second = study.comparison.stages()
        paths = {cell: folder / _CELLS / f"{study.digest(cell, key)}.json" for cell in (*first, *second)}
        done = {cell: result for cell, path in paths.items() if (result := _kept(path)) is not None}
        if done:
            watcher.say(f"{len(done)} of {len(paths)} cells are there already")
        watcher.begin("cells", len(paths) - len(done))
        for stage in (first, second):
            work = [(cell, paths[cell]) for cell in stage if cell not in done]
            for result in worker.map(partial(run_cell, study, store), work):
                done[result.cell] = result
                watcher.advance()
                watcher.say(_line(result))
        compared = Compared(
            name,
            study,
            tuple(done[cell] for cell in paths),
            _environment(study),
            study.rows(study.comparison.seeds[0]).raw.summary(),
            spec or {},
        )
        _leave(compared, folder, watcher)
    return compared


def _leave(compared: Compared, folder: Path, watcher: Progress) -> None:
    """Write the picture, if it can be drawn, the page and the document."""
    picture: str | None = None
    try:
        draw(compared.study.comparison, compared.results, folder / PICTURE)
        picture = PICTURE
        missing = None
    except UsageError as error:
        (folder / PICTURE).unlink(missing_ok=True)
        missing = str(error)
        watcher.say(missing)
    write_bytes(folder / MARKDOWN, to_markdown(compared, picture=picture, missing=missing).encode())
    write_json(folder / JSON, compared.to_json())


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[bytes]:
    """The key of ``folder``, which is made or reopened, and locked while open."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if (folder / IDENTITY).exists():
        raise RunFolderError(f"{folder} holds a run of compress. Choose another folder with --out.")
    lock = FileLock(folder / _LOCK)
    with writing(folder / _LOCK):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:  # an OSError, too
            raise RunFolderError(
                f"Another process is working in {folder}. Wait for it, or choose another folder with --out."
            ) from error
    try:
        path = folder / _KEY
        if not path.exists():
            write_bytes(path, secrets.token_bytes(32), mode=0o600)
        for part in folder.glob("**/.*.part"):  # half-written by a process that was killed
            part.unlink(missing_ok=True)
        yield path.read_bytes()
    finally:
        lock.release()


def _kept(path: Path) -> Result | None:
    """The result in ``path``, or None where there is none or it failed. Raises ArtifactError for a broken file."""
    if not path.exists():
        return None
    try:
        result = Result.from_json(read_json(path))
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is no result of a cell ({error}). Delete it, and run again.") from error
    return None if result.error is not None else result


def _environment(study: Study) -> dict[str, Any]:
    return {
        "safecompress": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": study.threads,
    }


def _line(result: Result) -> str:
    """One line for whoever watches."""
    if result.error is not None:
        return f"{result.cell}: failed ({result.error})"
    worst, accuracy = result.worst("auc"), result.value("accuracy")
    leak = f"worst AUC {worst:.3f}" if worst is not None else f"no number from {', '.join(result.broken)}"
    return f"{result.cell}: accuracy {accuracy:.3f}, {leak}, {sum(result.seconds.values()):.1f} s"
