"""tune: settings asked for in batches, each trial a file of its own, so that a killed search goes on as it was."""

from __future__ import annotations

import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safecompress import __version__
from safecompress.data.sizes import PARTS
from safecompress.errors import ArtifactError, UsageError
from safecompress.progress import Progress, Silent
from safecompress.runfolder import open_run_folder
from safecompress.search import Executor, SerialExecutor
from safecompress.storage import read_json, write_bytes, write_json
from safecompress.studies.hyperparameters.ask import Asker
from safecompress.studies.hyperparameters.found import Found
from safecompress.studies.hyperparameters.plan import Tuning
from safecompress.studies.hyperparameters.plot import draw
from safecompress.studies.hyperparameters.space import Choice
from safecompress.studies.hyperparameters.spec import TuningSpec
from safecompress.studies.hyperparameters.table import to_markdown
from safecompress.studies.hyperparameters.trial import Tried, try_out

MARKDOWN, JSON, PICTURE = "search.md", "search.json", "search.svg"

_TRIALS, _CACHE = "trials", "cache"


def tune(
    tuning: Tuning,
    out: str | Path,
    *,
    spec: TuningSpec | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Found:
    """Try the settings that the sampler asks for; leave the page, the JSON document and the picture in ``out``.

    With the ``spec`` that ``tuning`` came of, every front point gets a spec for `compress`, ``front-1.toml`` and so on.
    Trials that ``out`` holds are read instead of made, unless they failed: the sampler is replayed, so that a killed
    search ends as one that was never killed, and one with more ``trials`` begins as the shorter did.

    Raises UsageError (and its kinds) before any training for what no trial can do and without Optuna, RunFolderError
    when ``out`` is in use or holds another run, StorageError when the disk refuses. A trial that fails does not raise.
    """
    tuning.check()
    asker = Asker(tuning.space, tuning.sampler, tuning.job.seed)
    folder, watcher, worker, name = Path(out), progress or Silent(), executor or SerialExecutor(), tuning.job.name
    sealed = tuning.sealed()
    with open_run_folder(folder, name, sealed.identity) as opened:
        known = _Known(sealed, opened.work / _TRIALS)
        watcher.begin("trials", tuning.trials)
        trials: list[Tried] = []
        while len(trials) < tuning.trials:
            choices = asker.ask(min(tuning.batch, tuning.trials - len(trials)))
            work = known.missing(choices)
            watcher.advance(len(choices) - len(work))
            for tried in worker.map(partial(try_out, sealed, opened.work / _CACHE), work):
                known.add(tried)
                watcher.advance()
                watcher.say(f"trial {len(trials) + choices.index(tried.choice) + 1}: {_line(tried)}")
            batch = [known.of(choice) for choice in choices]
            asker.tell([tried.objectives for tried in batch])
            trials += batch
        sizes = {part: sealed.job.raw.size(part) for part in PARTS if sealed.job.raw.size(part)}
        found = Found(name, tuning, tuple(trials), _environment(tuning), sizes, {} if spec is None else spec.tables)
        _leave(found, folder, spec, watcher)
    return found


class _Known:
    """The trials that are done, by setting: those in ``folder``, and those of this process."""

    def __init__(self, tuning: Tuning, folder: Path) -> None:
        self._tuning = tuning
        self._folder = folder
        self._done: dict[Choice, Tried] = {}

    def missing(self, choices: list[Choice]) -> list[tuple[Choice, Path]]:
        """What has to be tried out, each setting once, and where the result goes."""
        work = []
        for choice in dict.fromkeys(choices):
            path = self._folder / f"{self._tuning.digest(choice)}.json"
            if choice not in self._done and (kept := _kept(path, choice)) is not None:
                self._done[choice] = kept
            if choice not in self._done:
                work.append((choice, path))
        return work

    def add(self, tried: Tried) -> None:
        self._done[tried.choice] = tried

    def of(self, choice: Choice) -> Tried:
        return self._done[choice]


def _kept(path: Path, choice: Choice) -> Tried | None:
    """The result in ``path``, or None where there is none or it failed. Raises ArtifactError for a broken file."""
    if not path.exists():
        return None
    try:
        tried = Tried.from_json(read_json(path))
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is no result of a trial ({error}). Delete it, and run again.") from error
    if tried.choice != choice:
        raise ArtifactError(f"{path} holds the trial of another setting ({tried.choice}). Delete it, and run again.")
    return None if tried.error is not None else tried


def _leave(found: Found, folder: Path, spec: TuningSpec | None, watcher: Progress) -> None:
    """Write the picture, if it can be drawn, the specs of the front, the page and the document."""
    picture: str | None = PICTURE
    missing = None
    try:
        draw(found, folder / PICTURE)
    except UsageError as error:
        (folder / PICTURE).unlink(missing_ok=True)
        picture, missing = None, str(error)
        watcher.say(missing)
    for stale in folder.glob("front-*.toml"):
        if stale.stem.removeprefix("front-").isdigit():
            stale.unlink()
    if spec is not None:
        for number, index in enumerate(found.front, 1):
            text = spec.front_toml(number, index + 1, found.trials[index], folder.resolve())
            write_bytes(folder / front_file(number), text.encode())
    files = [front_file(number) for number in range(1, len(found.front) + 1)] if spec is not None else []
    write_bytes(folder / MARKDOWN, to_markdown(found, files=files, picture=picture, missing=missing).encode())
    write_json(folder / JSON, found.to_json())


def front_file(number: int) -> str:
    """The file of the ``number``-th point of the front."""
    return f"front-{number}.toml"


def _environment(tuning: Tuning) -> dict[str, Any]:
    return {
        "safecompress": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "optuna": version("optuna"),
        "machine": platform.machine(),
        "threads": tuning.threads,
    }


def _line(tried: Tried) -> str:
    """One line for whoever watches."""
    if tried.error is not None:
        return f"{tried.choice}: failed ({tried.error})"
    if not tried.has_numbers:
        return f"{tried.choice}: no number from {', '.join(tried.broken)}"
    accuracy, worst = tried.accuracy["value"], tried.worst["value"]
    return f"{tried.choice}: accuracy {accuracy:.3f}, worst AUC {worst:.3f} ({tried.worst_attack}), {tried.seconds} s"
