"""The ledger of holdout uses: rows that already judged one model are weaker evidence for the next.

Every use of verdict rows is recorded before anything is measured. Use number j spends alpha / 2^j, so that all uses
together spend at most alpha. Rows are known by keyed digests; the key lies beside the ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from safecompress.attacks import capabilities_of
from safecompress.data import DataSplit
from safecompress.errors import ArtifactError, UsageError
from safecompress.metrics.catalogue import parse_name
from safecompress.spec import SafetySpec
from safecompress.storage import write_bytes, writing

VERDICT_POOLS = ("member_verdict", "nonmember_verdict")
"""The parts that every verdict on membership reads."""


def judged_parts(spec: SafetySpec) -> tuple[str, ...]:
    """The parts of a split whose rows judge by ``spec``: those of its attacks' questions and of its requirements."""
    parts = dict.fromkeys(part for attack in spec.attacks for part in capabilities_of(attack).question.parts("verdict"))
    for requirement in spec.requirements:
        name = parse_name(requirement.metric)
        if name is not None and name.attack is None and name.metric.certifier is not None:
            parts["test"] = None
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class HoldoutUse:
    """One use of verdict rows: for which artifact, and which number it has among the uses of these rows.

    ``spec`` is the digest of all that a verdict depends on beside artifact and rows: spec, seed, dense model.
    """

    number: int
    artifact: str
    spec: str
    rows: frozenset[str] = field(repr=False)


class Ledger:
    """A file of holdout uses, one JSON line each, safe under several processes.

    The same artifact under the same spec on the same rows is the old use again; otherwise the number of a use is one
    more than the uses that share any row with it, so that drawing another split of the same data set does not start the
    count anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def number_for(
        self, split: DataSplit, *, artifact_digest: str | None, spec_digest: str, parts: Sequence[str] = VERDICT_POOLS
    ) -> int:
        """The number that the use of the rows of ``parts`` for this artifact and spec has, or would get."""
        with self._locked():
            row_digests, bound_digest = self._row_digests(split, parts), self._bound_to_rows(split, spec_digest)
            return self._find(row_digests, artifact_digest, bound_digest).number

    def open(
        self,
        split: DataSplit,
        *,
        artifact_digest: str,
        spec_digest: str,
        parts: Sequence[str] = VERDICT_POOLS,
        check: Callable[[int], object] = lambda number: None,
    ) -> HoldoutUse:
        """Record the use of the rows of ``parts`` and return it.

        ``check`` is called with its number first: where that raises, nothing is recorded. Raises StorageError when the
        ledger cannot be written.
        """
        with self._locked():
            use = self._find(self._row_digests(split, parts), artifact_digest, self._bound_to_rows(split, spec_digest))
            check(use.number)
            if use not in self._read():
                entry = {**asdict(use), "rows": sorted(use.rows)}
                before = self.path.read_bytes() if self.path.exists() else b""
                write_bytes(self.path, before + json.dumps(entry).encode() + b"\n", mode=0o600)
            return use

    def _find(self, row_digests: frozenset[str], artifact_digest: str | None, spec_digest: str) -> HoldoutUse:
        """The recorded use of the same things, or the next new one."""
        number = 1
        for earlier in self._read():
            if (earlier.artifact, earlier.spec, earlier.rows) == (artifact_digest, spec_digest, row_digests):
                return earlier
            number += bool(earlier.rows & row_digests)
        return HoldoutUse(number, artifact_digest or "", spec_digest, row_digests)

    def _bound_to_rows(self, split: DataSplit, spec_digest: str) -> str:
        """``spec_digest`` bound to all rows that a verdict depends on: other fitting or test rows make another use."""
        parts = sorted(split.digest(self._key()).items())
        return hashlib.sha256(json.dumps([spec_digest, parts]).encode()).hexdigest()

    def _row_digests(self, split: DataSplit, parts: Sequence[str]) -> frozenset[str]:
        key = self._key()
        return frozenset(digest for part in parts for digest in split.row_digests(part, key))

    def _read(self) -> Sequence[HoldoutUse]:
        if self.path.is_dir():
            raise UsageError(
                f"{self.path} is a folder; a ledger is a file. Name one, such as {self.path}/ledger.jsonl."
            )
        if not self.path.exists():
            return []
        uses = []
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            try:
                entry = json.loads(line.decode())
                rows = frozenset(map(str, entry["rows"]))
                uses.append(HoldoutUse(int(entry["number"]), str(entry["artifact"]), str(entry["spec"]), rows))
            except (ValueError, KeyError, TypeError) as error:
                raise ArtifactError(
                    f"{self.path}, line {number}, is no ledger entry ({error!r}). A verdict needs a whole ledger: "
                    "restore it from a backup, or start another with --ledger FILE for data never judged before."
                ) from error
        return uses

    def _key(self) -> bytes:
        path = self.path.with_suffix(".key")
        if not path.exists():
            if self._read():
                raise ArtifactError(
                    f"{self.path} has openings, but the key to know their rows by, {path.name}, is gone. A verdict "
                    "needs both: restore the key from a backup, or start another ledger for data never judged before."
                )
            write_bytes(self.path, b"", mode=0o600)
            write_bytes(path, secrets.token_bytes(32), mode=0o600)
        if not self.path.exists():
            raise ArtifactError(
                f"The ledger {self.path} is gone, but its key {path.name} is there: openings were counted in it. "
                "Restore it from a backup; for data that was never judged before, delete the key too."
            )
        return path.read_bytes()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path.with_suffix(".lock")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
