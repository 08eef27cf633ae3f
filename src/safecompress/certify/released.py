"""The list of released versions: published models of the same training rows, which attackers may hold too."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from safecompress.errors import ArtifactError
from safecompress.export import Artifact
from safecompress.storage import PUBLISHED, one_file, parse_json, read_regular, write_bytes, writing

MAX_BYTES = 16 << 20


def load_released(path: str | Path | None) -> dict[str, Artifact]:
    """The versions in the list at ``path``, by their paths as written; none where there is no list.

    Raises ArtifactError as `Released.versions` does: a list that is not whole is found out before any work.
    """
    return {} if path is None else Released(Path(path)).versions()


class Released:
    """A file with one JSON line for each released artifact: its path, counted from the file's folder, and digest.

    The last line counts them and holds the digest of their lines, so that a list that was cut short is noticed. A
    symbolic link at ``path`` is followed. Raises UsageError where it is no regular file.
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
            name, digest = _entry(line, place)
            file = self.path.parent / name
            if not os.path.isfile(file):  # noqa: PTH113 a name too long, too, is no file
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
                lines = [*lines, json.dumps(entry)]
                content = "".join(f"{line}\n" for line in [*lines, _closing(lines)])
                write_bytes(self.path, content.encode(), mode=PUBLISHED)

    def _lines(self) -> list[str]:
        """The lines of versions. Raises ArtifactError where the list cannot be read, or is not as it was closed."""
        try:
            text = read_regular(self.path, at_most=MAX_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"The list of released versions {self.path} cannot be read ({error}).") from error
        lines = [line for line in text.split("\n") if line.strip()]
        if not lines or lines[-1] != _closing(lines[:-1]):
            raise ArtifactError(
                f"{self.path} is not the list that was written: its last line, which counts the versions and holds the "
                "digest of their lines, is missing or does not fit. A version may be missing, and attackers may hold "
                "it. Restore the list, or list every version that is out again with safecompress release."
            )
        return lines[:-1]


def _closing(lines: Sequence[str]) -> str:
    """The last line of a list of ``lines``."""
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return json.dumps({"versions": len(lines), "digest": digest})


def _entry(line: str, place: str) -> tuple[str, str]:
    """Path and digest of the version in ``line``. Raises ArtifactError, naming ``place``, for anything else."""
    try:
        entry = parse_json(line)
        name, digest = entry["artifact"], entry["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{place}, is no released version ({error!r}). A line is made by safecompress release."
        ) from error
    if not isinstance(name, str) or not isinstance(digest, str) or "\0" in name:
        raise ArtifactError(f"{place}, names no file and digest. A line is made by safecompress release.")
    return name, digest
