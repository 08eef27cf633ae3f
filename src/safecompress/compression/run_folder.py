"""The run folder: one job at a time, never another job's; and the logs that a run keeps there."""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from filelock import FileLock, Timeout

from safecompress.data import DataSplit
from safecompress.errors import ArtifactError, RunFolderError, StorageError, printable
from safecompress.storage import (
    Seal,
    is_part,
    make_private_folder,
    read_json,
    read_regular,
    sweep_parts,
    write_bytes,
    writing,
)

if TYPE_CHECKING:
    from torch import Tensor

ARTIFACT, DENSE, ONNX = "artifact.safetensors", "dense.safetensors", "artifact.onnx"
IDENTITY, REPORT = "job.json", "report.json"
STUDY = "study.json"
"""The file by which a study claims a folder."""

KEY, _LOCK, _WORK = "split.key", ".lock", "work"
KEY_BYTES = 32
_SECONDS, _ROUNDS = "seconds.json", "rounds.json"
_FROM_A_GATE = (".xml", ".sarif", ".sarif.json")
"""How files end that a command may have written before the run's folder is looked at."""


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

    @property
    def work_key(self) -> bytes:
        """What seals the files of this job in `work`: those of another job are not believed."""
        return hmac.digest(self.key, self.identity.encode(), "sha256")

    def check_there(self) -> None:
        """Raise StorageError where the folder was removed since it was opened."""
        if not (self.path / KEY).exists():
            raise StorageError(f"{self.path} was removed while the run needed it. Run the same command again.")


@contextlib.contextmanager
def open_run_folder(path: Path, name: str, digest: Callable[[bytes], str]) -> Iterator[RunFolder]:
    """Make or reopen the folder of the job whose keyed digest is ``digest(key)``; locked while open.

    It belongs to the first job that finishes something there: one that was refused or diverged before leaves it free.
    Raises RunFolderError when it holds another job's run, a study or files of somebody else's, is in use by another
    process, or cannot be written.
    """
    if (path / STUDY).exists():
        raise RunFolderError(f"{path} holds a study. Choose another folder with --out.")
    with locked(path, KEY):
        key = key_of(path / KEY)
        identity = digest(key)
        folder = RunFolder(path, identity, key)
        _claim(folder, name)
        _sweep(path)
        with writing(path):
            make_private_folder(path / _WORK)
        yield folder


@contextlib.contextmanager
def locked(path: Path, key_name: str) -> Iterator[None]:
    """Make the folder if need be, with mode 0700, and keep other processes out of it.

    Raises RunFolderError when it is in use by another process, cannot be written, or is none of ours: one that holds
    files, and no secret key called ``key_name``, which the first of our processes leaves there.
    """
    _require_own(path, key_name)
    try:
        with writing(path):
            make_private_folder(path)
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


def claim_run_folder(path: Path) -> None:
    """Make the folder a run's, for a command that writes other files into it before the run begins.

    Raises RunFolderError as `open_run_folder` does.
    """
    with locked(path, KEY):
        key_of(path / KEY)


def _require_own(path: Path, key_name: str) -> None:
    """Raise RunFolderError for a folder with files in it that no process of ours began."""
    try:
        present = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror or error}). Check its permissions.") from error
    if key_name in present:
        return
    foreign = [name for name in present if name != _LOCK and not is_part(name) and not name.endswith(_FROM_A_GATE)]
    if foreign:
        names = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise RunFolderError(
            f"{path} is not a folder that safecompress made, and holds {printable(names)}, which might be written "
            "over. Name a new folder, or one of an earlier run, with --out."
        )


def key_of(path: Path) -> bytes:
    """The secret in the file ``path``, which is drawn if it is not there.

    Raises RunFolderError where the file holds no such secret: what was made with another cannot be resumed.
    """
    if not path.exists():
        write_bytes(path, secrets.token_bytes(KEY_BYTES))
    try:
        key = read_regular(path, at_most=KEY_BYTES)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror or error}). Name a new folder.") from error
    if len(key) != KEY_BYTES:
        raise RunFolderError(
            f"{path} holds {len(key)} bytes, and no key of {KEY_BYTES}: it was cut short or altered. Restore it, or "
            "name a new folder with --out."
        )
    return key


def write_dense(folder: RunFolder, weights: Mapping[str, Tensor]) -> None:
    """Keep the dense model's weights beside the artifact, sealed: an audit reads them back."""
    Seal(folder.key).write_tensors(folder.path / DENSE, DENSE, weights)


def read_dense(folder: RunFolder) -> dict[str, Tensor] | None:
    """What `write_dense` kept; None where there is nothing, or not what was kept."""
    found = Seal(folder.key).read_tensors(folder.path / DENSE, DENSE)
    return None if found is None else found[0]


def check_dense(path: Path) -> None:
    """Raise ArtifactError where the dense weights in ``path``, a folder with a run's key, are not what the run left."""
    if (path / KEY).exists() and not Seal(key_of(path / KEY)).is_sealed(path / DENSE, DENSE):
        raise ArtifactError(
            f"{path / DENSE} is not what the run in its folder left: it was altered, or put there. Run the same "
            "compress again, which writes it anew, or name the weights with --dense."
        )


def _claim(folder: RunFolder, name: str) -> None:
    """Record whose folder this is, or check that it is ours."""
    path, seal = folder.path / IDENTITY, Seal(folder.key)
    owner = seal.read_json(path, IDENTITY) or {}
    if owner.get("digest") == folder.identity:
        return
    is_used = (folder.path / ARTIFACT).exists() or any(file.is_file() for file in folder.work.rglob("*"))
    if is_used and (owner or not _is_work_of(folder)):
        refuse_other_job(folder.path, owner)
    seal.write_json(path, IDENTITY, {"name": name, "digest": folder.identity})


def _is_work_of(folder: RunFolder) -> bool:
    """Whether the seconds that every run keeps are of this job: the record of whose folder it is was lost."""
    return Seal(folder.work_key).read_json(folder.work / _SECONDS, _SECONDS) is not None


def refuse_other_job(path: Path, owner: Mapping[str, Any]) -> NoReturn:
    """Raise RunFolderError: the folder is that of ``owner``, another job; where it is empty, nobody knows whose."""
    if not owner:
        raise RunFolderError(
            f"{path} holds a run, and what it says of whose it is was removed or altered, so it cannot be resumed. "
            "Choose another folder with --out."
        )
    raise RunFolderError(
        f"{path} holds a run of another job ({owner.get('name', 'unknown')!r}): its data, model, spec, seed or version "
        "differ from this one's, so it cannot be resumed. Choose another folder with --out, or delete this one."
    )


def _sweep(path: Path) -> None:
    """Delete the half-written files of a process that was killed."""
    sweep_parts([path, path / _WORK, *(folder for folder in (path / _WORK).glob("**/") if folder.is_dir())])


def check_run_members(artifact_path: Path, known_digests: Collection[str], split: DataSplit) -> bool:
    """Whether the run folder around ``artifact_path`` proves that ``split`` names the rows it was trained on.

    False when the artifact lies elsewhere, or is not the one that the run left (``known_digests`` are its own, and that
    of the artifact it was exported from; or that of the run's dense weights): it carries no digest of its members, by
    design. Raises ArtifactError when the folder proves the contrary.
    """
    key, report = artifact_path.parent / KEY, artifact_path.parent / REPORT
    if not (key.exists() and report.exists()):
        return False
    digests = read_json(report).get("digests", {})
    if not {digests.get(name) for name in ("artifact", "packed", "dense")} & set(known_digests):
        return False
    recorded = digests.get("split", {})
    changed = [part for part, digest in split.digest(key.read_bytes()).items() if recorded.get(part) != digest]
    if changed:
        raise ArtifactError(
            f"{artifact_path} was made with other rows than the ones given; these parts differ: {', '.join(changed)}. "
            "The data or its split has changed, so who its members are is not known and the audit would say nothing. "
            "Give the data file, [data] table, seed and canaries of the run."
        )
    return True


class PhaseTimer:
    """Seconds by phase. With a ``folder`` they are kept there, so that a resumed run adds to them."""

    def __init__(self, folder: RunFolder | None = None) -> None:
        self._folder = folder
        self.seconds: dict[str, float] = {}
        if folder is not None:
            self.seconds = Seal(folder.work_key).read_json(folder.work / _SECONDS, _SECONDS) or {}

    @contextlib.contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Add what passes while the block runs."""
        began = time.perf_counter()
        yield
        self.add_all({phase: time.perf_counter() - began})

    def add_all(self, seconds: Mapping[str, float]) -> None:
        """Add to several phases. Raises StorageError where they cannot be kept."""
        for phase, more in seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + more
        if self._folder is not None:
            self._folder.check_there()
            Seal(self._folder.work_key).write_json(self._folder.work / _SECONDS, _SECONDS, self.seconds)


class RoundLog:
    """Finished rounds as JSON, one candidate a line in candidates.jsonl."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.work / _ROUNDS
        self._lines = folder.path / "candidates.jsonl"
        self._seal = Seal(folder.work_key)
        self.entries: list[dict[str, Any]] = self._seal.read_json(self._path, _ROUNDS) or []

    def keep(self, num_rounds: int) -> None:
        """Forget rounds that were logged but not finished."""
        self.entries = self.entries[:num_rounds]

    def append(self, round_entry: dict[str, Any]) -> None:
        """Log a round that has just ended."""
        self.entries.append(round_entry)
        self._seal.write_json(self._path, _ROUNDS, self.entries)
        lines = [json.dumps({"round": e["round"], **c}) for e in self.entries for c in e["candidates"]]
        write_bytes(self._lines, ("\n".join(lines) + "\n").encode())
