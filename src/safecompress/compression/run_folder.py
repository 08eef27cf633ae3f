"""The run folder: one job at a time, never another job's; and the logs that a run keeps there."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from safecompress.data import DataSplit
from safecompress.errors import ArtifactError, RunFolderError, StorageError
from safecompress.storage import read_json, write_bytes, write_json, writing

ARTIFACT, DENSE, ONNX = "artifact.safetensors", "dense.safetensors", "artifact.onnx"
IDENTITY, REPORT = "job.json", "report.json"
STUDY = "study.json"
"""The file by which a study claims a folder."""

KEY, _LOCK, _WORK = "split.key", ".lock", "work"


@dataclass(frozen=True)
class RunFolder:
    """An opened folder: ``key`` keys the digests of this run's rows, ``identity`` is the digest of its job."""

    path: Path
    identity: str
    key: bytes = field(repr=False)

    @property
    def work(self) -> Path:
        """What only a resumed run reads."""
        return self.path / _WORK


@contextlib.contextmanager
def open_run_folder(path: Path, name: str, digest: Callable[[bytes], str]) -> Iterator[RunFolder]:
    """Make or reopen the folder of the job whose keyed digest is ``digest(key)``; locked while open.

    It belongs to the first job that finishes something there: one that was refused or diverged before leaves it free.
    Raises RunFolderError when it holds another job's run or a study, is in use by another process, or cannot be
    written.
    """
    with locked(path):
        if (path / STUDY).exists():
            raise RunFolderError(f"{path} holds a study. Choose another folder with --out.")
        key = key_of(path / KEY)
        identity = digest(key)
        _claim(path, name, identity)
        _sweep(path)
        yield RunFolder(path, identity, key)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Make the folder if need be, and keep other processes out of it.

    Raises RunFolderError when it is in use by another process, or cannot be written.
    """
    try:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / _LOCK)
        with writing(path / _LOCK):
            try:
                lock.acquire(timeout=0)
            except Timeout as error:  # an OSError, too
                raise RunFolderError(
                    f"Another process is working in {path}. Wait for it, or choose another folder with --out."
                ) from error
    except StorageError as error:
        raise RunFolderError(str(error)) from error
    try:
        yield
    finally:
        lock.release()


def key_of(path: Path) -> bytes:
    """The secret in the file ``path``, which is drawn if it is not there."""
    if not path.exists():
        write_bytes(path, secrets.token_bytes(32))
    return path.read_bytes()


def _claim(path: Path, name: str, identity: str) -> None:
    """Record whose folder this is, or check that it is ours."""
    owner = read_json(path / IDENTITY) if (path / IDENTITY).exists() else {}
    if owner.get("digest") == identity:
        return
    if (path / ARTIFACT).exists() or any(file.is_file() for file in (path / _WORK).rglob("*")):
        refuse_other_job(path, owner)
    write_json(path / IDENTITY, {"name": name, "digest": identity})


def refuse_other_job(path: Path, owner: Mapping[str, Any]) -> NoReturn:
    """Raise RunFolderError: the folder is that of ``owner``, another job."""
    raise RunFolderError(
        f"{path} holds a run of another job ({owner.get('name', 'unknown')!r}): its data, model, spec, seed or version "
        "differ from this one's, so it cannot be resumed. Choose another folder with --out, or delete this one."
    )


def _sweep(path: Path) -> None:
    """Delete the half-written files of a process that was killed."""
    for folder, pattern in ((path, ".*.part"), (path / _WORK, "**/.*.part")):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def check_run_members(artifact_path: Path, known_digests: Collection[str], split: DataSplit) -> bool:
    """Whether the run folder around ``artifact_path`` proves that ``split`` names the rows it was trained on.

    False when the artifact lies elsewhere, or is not the one that the run left (``known_digests`` are its own, and that
    of the artifact it was exported from): it carries no digest of its members, by design. Raises ArtifactError when the
    folder proves the contrary.
    """
    key, report = artifact_path.parent / KEY, artifact_path.parent / REPORT
    if not (key.exists() and report.exists()):
        return False
    digests = read_json(report).get("digests", {})
    if not {digests.get("artifact"), digests.get("packed")} & set(known_digests):
        return False
    recorded = digests.get("split", {})
    changed = [part for part, digest in split.digest(key.read_bytes()).items() if recorded.get(part) != digest]
    if changed:
        raise ArtifactError(
            f"{artifact_path} was made with other rows than the ones given; these parts differ: {', '.join(changed)}. "
            "The data or its split has changed, so who its members are is not known and the audit would say nothing. "
            "Give the data file, [data] table and seed of the run."
        )
    return True


class PhaseTimer:
    """Seconds by phase. With a ``folder`` they are kept there, so that a resumed run adds to them."""

    def __init__(self, folder: RunFolder | None = None) -> None:
        self._path = None if folder is None else folder.work / "seconds.json"
        self.seconds: dict[str, float] = {}
        if self._path is not None and self._path.exists():
            self.seconds = read_json(self._path)

    @contextlib.contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Add what passes while the block runs."""
        began = time.perf_counter()
        yield
        self.add_all({phase: time.perf_counter() - began})

    def add_all(self, seconds: Mapping[str, float]) -> None:
        """Add to several phases."""
        for phase, more in seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + more
        if self._path is not None:
            write_json(self._path, self.seconds)


class RoundLog:
    """Finished rounds as JSON, one candidate a line in candidates.jsonl."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.work / "rounds.json"
        self._lines = folder.path / "candidates.jsonl"
        self.entries: list[dict[str, Any]] = read_json(self._path) if self._path.exists() else []

    def keep(self, num_rounds: int) -> None:
        """Forget rounds that were logged but not finished."""
        self.entries = self.entries[:num_rounds]

    def append(self, round_entry: dict[str, Any]) -> None:
        """Log a round that has just ended."""
        self.entries.append(round_entry)
        write_json(self._path, self.entries)
        lines = [json.dumps({"round": e["round"], **c}) for e in self.entries for c in e["candidates"]]
        write_bytes(self._lines, ("\n".join(lines) + "\n").encode())
