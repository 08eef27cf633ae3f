"""The folder of a study: one process at a time, never another study's or a run's, with a key for what it holds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from safecompress.compression.run_folder import IDENTITY, STUDY, key_of, locked, refuse_other_job
from safecompress.errors import RunFolderError
from safecompress.storage import Seal, sweep_parts

KEY = "study.key"


@dataclass(frozen=True)
class StudyFolder:
    """An opened folder; ``key`` keys the digests of what it holds."""

    path: Path
    key: bytes = field(repr=False)

    @property
    def cache(self) -> Path:
        """The private folder of trained stages and shadow models."""
        return self.path / "cache"


@contextlib.contextmanager
def open_study_folder(
    path: Path, kind: str, name: str, identity: Callable[[bytes], str] = lambda key: ""
) -> Iterator[StudyFolder]:
    """Make or reopen the folder of the study called ``name``; locked while open.

    A folder belongs to the first study that finishes an item there: one ``kind`` of study, such as "comparison", and
    one ``identity(key)``, which is what all of its items share. Raises RunFolderError when it holds something else, is
    in use by another process, cannot be written, or is no folder of ours.
    """
    if (path / IDENTITY).exists():
        raise RunFolderError(f"{path} holds a run of compress. Choose another folder with --out.")
    with locked(path, KEY):
        key = key_of(path / KEY)
        _claim(StudyFolder(path, key), kind, name, identity(key))
        sweep_parts(folder for folder in path.glob("**/") if folder.is_dir())  # of a process that was killed
        yield StudyFolder(path, key)


def _claim(folder: StudyFolder, kind: str, name: str, digest: str) -> None:
    """Write down whose folder this is, or check that it is ours."""
    path, seal = folder.path / STUDY, Seal(folder.key)
    owner = seal.read_json(path, STUDY) or {}
    if (owner.get("study"), owner.get("digest")) == (kind, digest):
        return
    if owner and any(folder.path.glob("*/*.json")):
        if owner.get("study") != kind:
            raise RunFolderError(
                f"{folder.path} holds another kind of study ({owner.get('study')}). Choose another folder with --out."
            )
        refuse_other_job(folder.path, owner)
    seal.write_json(path, STUDY, {"study": kind, "name": name, "digest": digest})
