"""A file of chained JSON lines: each carries the digest of all lines before it, and a head knows the last one.

Three files lie side by side: the lines, ``.key`` (the secret of all digests) and ``.head``. A line is written before
the head, so a head that is exactly one line behind is that of a process that was killed in between: it is mended.
Lines of before there was a chain have no digest; the first chained line and the head hold them, too.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safecompress.errors import ArtifactError, UsageError
from safecompress.storage import parse_json, read_json, read_regular, write_bytes, write_json

T = TypeVar("T")

MARK = b"chained\n"
"""How the key begins of a file that was chained from its first line: it has a head, and no line without a digest."""

BEFORE = "before"
"""The name in a line of the digest of all lines before it."""


@dataclass(frozen=True, slots=True)
class ChainedFile:
    """The lines at ``path``. Whoever calls holds a lock on them."""

    path: Path

    @property
    def key_path(self) -> Path:
        """Where the secret key lies."""
        return self.path.with_suffix(".key")

    @property
    def head_path(self) -> Path:
        """Where the head lies: how many lines there are, and the digest of them all."""
        return self.path.with_suffix(".head")

    def key(self) -> bytes:
        """The secret key; one is made, with an empty file, where there is neither.

        Raises ArtifactError where one of the two is gone, or a line is no JSON object.
        """
        if not self.key_path.exists():
            if self._parsed(self._lines(), dict):
                raise ArtifactError(
                    f"{self.path} has openings, but the key to know their rows by, {self.key_path.name}, is gone. A "
                    "verdict needs both: restore the key from a backup, or start another ledger for data never judged "
                    "before."
                )
            key = MARK + secrets.token_bytes(32)
            write_bytes(self.path, b"")
            self._write_head(_digests([], key))
            write_bytes(self.key_path, key)
        if not self.path.exists():
            raise ArtifactError(
                f"The ledger {self.path} is gone, but its key {self.key_path.name} is there: openings were counted in "
                "it. Restore it from a backup; for data that was never judged before, delete the key too."
            )
        try:
            key = read_regular(self.key_path, at_most=len(MARK) + 32)
        except OSError as error:
            raise ArtifactError(f"{self.key_path} cannot be read ({error.strerror or error}).") from error
        if len(key) not in (32, len(MARK) + 32) or (len(key) > 32 and not key.startswith(MARK)):
            raise ArtifactError(
                f"{self.key_path} is no key of a ledger: it was cut short or altered. Restore it from a backup."
            )
        return key

    def read(self, parse: Callable[[Mapping[str, Any]], T]) -> list[T]:
        """What ``parse`` makes of each line, a JSON object.

        Raises ArtifactError where a line is none, or ``parse`` raises ValueError, KeyError or TypeError; and where
        lines were cut off, altered, moved or added by hand.
        """
        key, lines = self.key(), self._lines()
        parsed = self._parsed(lines, lambda entry: (parse(entry), entry.get(BEFORE)))
        digests, is_chained = _digests(lines, key), False
        is_marked = key.startswith(MARK)
        for number, (_, before) in enumerate(parsed):
            if before is None and (is_chained or is_marked):
                raise self._tampered(f"line {number + 1} was added by hand, or by an earlier version")
            if before not in (None, digests[number]):
                raise self._tampered(f"what stands before line {number + 1} is not what stood there when it was added")
            is_chained = before is not None
        self._check_head(digests, is_chained)
        return [value for value, _ in parsed]

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add ``entry`` as the last line. Raises StorageError where it cannot be written."""
        key, lines = self.key(), self._lines()
        digests = _digests(lines, key)
        if not self.head_path.exists():  # lines of before there was a chain: from here on they are held, too
            self._write_head(digests)
        line = json.dumps({**entry, BEFORE: digests[-1]}).encode()
        write_bytes(self.path, b"".join(each + b"\n" for each in (*lines, line)))
        self._write_head(_digests([*lines, line], key))

    def _lines(self) -> list[bytes]:
        if self.path.is_dir():
            raise UsageError(
                f"{self.path} is a folder; a ledger is a file. Name one, such as {self.path}/ledger.jsonl."
            )
        try:
            return read_regular(self.path).splitlines() if self.path.exists() else []
        except OSError as error:
            raise ArtifactError(f"{self.path} cannot be read ({error.strerror or error}).") from error

    def _parsed(self, lines: Sequence[bytes], parse: Callable[[Mapping[str, Any]], T]) -> list[T]:
        parsed = []
        for number, line in enumerate(lines, 1):
            try:
                parsed.append(parse(dict(parse_json(line.decode()))))
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise ArtifactError(
                    f"{self.path}, line {number}, is no ledger entry ({error!r}). A verdict needs a whole ledger: "
                    "restore it from a backup, or start another with --ledger FILE for data never judged before."
                ) from error
        return parsed

    def _check_head(self, digests: Sequence[str], is_chained: bool) -> None:
        """Compare the lines with the head; mend one that is a line behind."""
        if not self.head_path.exists():
            if is_chained or self.key().startswith(MARK):
                raise self._tampered(f"{self.head_path.name}, which knows its last line, is gone")
            return
        num_lines = len(digests) - 1
        try:
            head = read_json(self.head_path)
            known, digest = int(head["lines"]), str(head["digest"])
        except (ArtifactError, KeyError, TypeError, ValueError):
            raise self._tampered(f"{self.head_path.name} is no head of a ledger") from None
        if known > num_lines:
            missing = known - num_lines
            raise self._tampered(f"{missing} line{'s are' if missing > 1 else ' is'} missing at its end")
        if digest != digests[known]:
            raise self._tampered("a line is not what it was when it was added")
        if known < num_lines - 1 or (known < num_lines and not is_chained):
            raise self._tampered(f"{self.head_path.name} does not know the lines after line {known}")
        if known < num_lines:
            self._write_head(digests)

    def _write_head(self, digests: Sequence[str]) -> None:
        write_json(self.head_path, {"lines": len(digests) - 1, "digest": digests[-1]})

    def _tampered(self, what: str) -> ArtifactError:
        return ArtifactError(
            f"{self.path} is not the ledger that was written: {what}. A verdict needs every opening: restore "
            f"{self.path.name} and {self.head_path.name} together from a backup, or start another with --ledger FILE "
            "for data never judged before."
        )


def _digests(lines: Sequence[bytes], key: bytes) -> list[str]:
    """The digest of no line, of the first, of the first two, and so on."""
    digests = [""]
    for line in lines:
        digests.append(hmac.digest(key, digests[-1].encode() + line, "sha256").hex())
    return digests
