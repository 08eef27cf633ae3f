"""A Runner measures the items of a study through an executor, one file each, so that a killed study resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Generic

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.compression.search import Executor
from safecompress.errors import StorageError, is_out_of_memory
from safecompress.progress import Progress
from safecompress.report.escaping import without_places
from safecompress.storage import Seal
from safecompress.studies.engine.folder import StudyFolder
from safecompress.studies.engine.study import ItemT, ResultT, Study
from safecompress.threads import fixed_threads


class Runner(Generic[ItemT, ResultT]):
    """The results of a study in ``folder``: those it holds are read, unless they failed, and the others are measured.

    ``cache`` is the private folder of trained stages and shadow models (default: inside ``folder``). Raises UsageError
    for one that is not private.
    """

    def __init__(
        self,
        study: Study[ItemT, ResultT],
        folder: StudyFolder,
        executor: Executor,
        progress: Progress,
        cache: Path | None = None,
    ) -> None:
        self._study = study
        self._folder = folder
        self._executor = executor
        self._progress = progress
        self._cache = cache if cache is not None else folder.cache
        PrivateFolder(self._cache).prepare()
        self._done: dict[ItemT, ResultT] = {}

    def begin(self, items: Sequence[ItemT]) -> None:
        """Say how many of ``items`` are there already, and begin a phase of as many steps as there are others."""
        wanted, missing, nouns = len(set(items)), len(self.missing(items)), f"{self._study.noun}s"
        if missing < wanted:
            self._progress.say(f"{wanted - missing} of {wanted} {nouns} are there already")
        self._progress.begin(nouns, missing)

    def missing(self, items: Iterable[ItemT]) -> list[ItemT]:
        """Those of ``items``, each once, that have to be measured."""
        for item in items:
            if item not in self._done and (kept := self._kept(item)) is not None:
                self._done[item] = kept
        return [item for item in dict.fromkeys(items) if item not in self._done]

    def results(self, items: Sequence[ItemT], line: Callable[[ResultT], str]) -> list[ResultT]:
        """The results of ``items``, in their order; each new one advances the phase and is reported as a ``line``."""
        work = [(item, self._path(item)) for item in self.missing(items)]
        for result in self._executor.map(partial(run_item, self._study, self._cache, Seal(self._folder.key)), work):
            self._done[result.item] = result
            self._progress.advance()
            self._progress.say(line(result))
        return [self._done[item] for item in items]

    def _path(self, item: ItemT) -> Path:
        return self._folder.path / f"{self._study.noun}s" / f"{self._study.digest(item, self._folder.key)}.json"

    def _kept(self, item: ItemT) -> ResultT | None:
        """The result in the item's file, or None where there is none, it failed, or is not what was written."""
        path = self._path(item)
        stored = Seal(self._folder.key).read_json(path, path.stem)
        if stored is None:
            return None
        try:
            result = self._study.read(stored)
        except (KeyError, TypeError):  # of another version
            return None
        return None if result.error is not None else result


def run_item(study: Study[ItemT, ResultT], cache: Path, seal: Seal, work: tuple[ItemT, Path]) -> ResultT:
    """Measure an item and write the result to its file, sealed, in this process or a worker.

    Whatever an item raises becomes a result with an error, so that the work on other items is not lost; StorageError
    and errors that say that memory ran out go through.
    """
    item, path = work
    began = time.perf_counter()
    with fixed_threads(study.threads):
        try:
            result = study.measure(item, PrivateFolder(cache))
        except StorageError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            text = without_places(" ".join(f"{type(error).__name__}: {error}".split()))
            result = study.failed(item, text, time.perf_counter() - began)
    if not path.parent.parent.is_dir():
        raise StorageError(f"{path.parent.parent} was removed while the study needed it. Run the same command again.")
    seal.write_json(path, path.stem, result.to_json())
    return result
