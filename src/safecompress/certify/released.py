"""The list of released versions: published models of the same training rows, which attackers may hold too."""

from __future__ import annotations

import json
import os
from pathlib import Path

from filelock import FileLock

from safecompress.errors import ArtifactError
from safecompress.export import Artifact
from safecompress.storage import PUBLISHED, one_file, write_bytes, writing


def load_released(path: str | Path | None) -> dict[str, Artifact]:
    """The versions in the list at ``path``, by their paths as written; none where there is no list.

    Raises ArtifactError as `Released.versions` does: a list that is not whole is found out before any work.
    """
    return {} if path is None else Released(Path(path)).versions()


class Released:
    """A file with one JSON line for each released artifact: its path, counted from the file's folder, and digest.

    A symbolic link at ``path`` is followed. Raises UsageError where it is no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = one_file(path, "the list released")

    def versions(self) -> dict[str, Artifact]:
        """The artifacts by their paths as written.

        Raises ArtifactError, naming the line, when the list is missing or broken, and when a file that it names is
        missing or is not the one that was released: what is out cannot be taken back, so it must be attacked with.
        """
        artifacts: dict[str, Artifact] = {}
        for number, line in enumerate(self._lines(), 1):
            place = f"{self.path}, line {number}"
            try:
                entry = json.loads(line)
                name, digest = str(entry["artifact"]), str(entry["digest"])
            except (ValueError, KeyError, TypeError) as error:
                raise ArtifactError(
                    f"{place}, is no released version ({error!r}). A line is made by safecompress release."
                ) from error
            file = self.path.parent / name
            if not file.is_file():
                raise ArtifactError(
                    f"{place}: there is no file {file}. It was released, so attackers may hold it: put it back, or "
                    "correct its path in the list."
                )
            artifact = Artifact.load(file)
            if artifact.digest() != digest:
                raise ArtifactError(f"{place}: {file} is not the artifact that was released. Restore the old one.")
            artifacts[name] = artifact
        return artifacts

    def add(self, path: Path) -> None:
        """Record the artifact at ``path`` as released; one that is listed already stays as it is."""
        artifact = Artifact.load(path)
        entry = {"artifact": os.path.relpath(path, self.path.parent), "digest": artifact.digest()}
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            listed = self.versions().values() if self.path.exists() else ()
            lines = self._lines() if self.path.exists() else []
            if all(version.digest() != entry["digest"] for version in listed):
                write_bytes(
                    self.path, "".join(f"{line}\n" for line in [*lines, json.dumps(entry)]).encode(), mode=PUBLISHED
                )

    def _lines(self) -> list[str]:
        try:
            return [line for line in self.path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"The list of released versions {self.path} cannot be read ({error}).") from error
