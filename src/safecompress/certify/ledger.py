"""The ledger of holdout uses: rows that already judged one model are weaker evidence for the next.

Every use of verdict rows is recorded before anything is measured. Use number j spends alpha / 2^j, and the first use of
rows fixes the largest alpha that may be asked of them, so that all uses together spend at most that. Rows are known by
keyed digests; the key lies beside the ledger. They are known again by their sketches, too (`data.sketches`): after
rescaling, rounding and reordering, or with other columns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from safecompress.attacks import capabilities_of
from safecompress.certify.chain import ChainedFile
from safecompress.data import DataSplit
from safecompress.data.sketches import sketch_digests
from safecompress.errors import SpecError
from safecompress.metrics.catalogue import parse_name
from safecompress.spec import SafetySpec
from safecompress.storage import one_file, writing

VERDICT_POOLS = ("member_verdict", "nonmember_verdict")
"""The parts that every verdict on membership reads."""

LEAST_ALIKE = 0.1
"""Two uses share rows if at least this share of the smaller one's rows, and two, are alike. Measured on digits,
Location-30 and Adult, three seeds each: disjoint halves of one data set share at most 0.2 %; halves that are data sets
of their own at most 4.6 % (24,000 rows) or 2.5 % (under 3,000); copies that were rescaled, rounded and reordered, with
a constant column more, 83 to 100 %."""


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

    ``spec`` is the digest of all that a verdict depends on beside artifact and rows: spec, seed, dense model. ``alpha``
    is the error rate that the spec asked for; None in lines of before it was recorded. By the digests of ``sketches``
    the rows are known again though they were altered.
    """

    number: int
    artifact: str
    spec: str
    rows: frozenset[str] = field(repr=False)
    alpha: float | None = None
    sketches: frozenset[str] = field(default=frozenset(), repr=False)


class Ledger:
    """A file of holdout uses, one chained JSON line each, safe under several processes.

    The same artifact under the same spec on the same rows is the old use again; otherwise the number of a use is one
    more than the uses that share any row with it, so that drawing another split of the same data set does not start the
    count anew. Neither does altering it (`LEAST_ALIKE`). A symbolic link at ``path`` is followed, so that all who name
    it count in one file. Raises UsageError where it is no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = ChainedFile(one_file(path, "the ledger"))

    def number_for(
        self,
        split: DataSplit,
        *,
        artifact_digest: str | None,
        spec_digest: str,
        alpha: float,
        parts: Sequence[str] = VERDICT_POOLS,
    ) -> int:
        """The number that the use of the rows of ``parts`` for this artifact and spec has, or would get.

        Raises SpecError where the rows were first used at a smaller ``alpha``.
        """
        with self._locked():
            return self._find(self._read(), split, parts, artifact_digest, spec_digest, alpha).number

    def open(
        self,
        split: DataSplit,
        *,
        artifact_digest: str,
        spec_digest: str,
        alpha: float,
        parts: Sequence[str] = VERDICT_POOLS,
        check: Callable[[int], object] = lambda number: None,
    ) -> HoldoutUse:
        """Record the use of the rows of ``parts`` and return it.

        ``check`` is called with its number first: where that raises, nothing is recorded. Raises SpecError where the
        rows were first used at a smaller ``alpha``, and StorageError when the ledger cannot be written.
        """
        with self._locked():
            earlier = self._read()
            use = self._find(earlier, split, parts, artifact_digest, spec_digest, alpha)
            check(use.number)
            if use not in earlier:
                entry = {"number": use.number, "artifact": use.artifact, "spec": use.spec, "alpha": use.alpha}
                self._file.append({**entry, "rows": sorted(use.rows), "sketches": sorted(use.sketches)})
            return use

    def _find(
        self,
        earlier: Sequence[HoldoutUse],
        split: DataSplit,
        parts: Sequence[str],
        artifact_digest: str | None,
        spec_digest: str,
        alpha: float,
    ) -> HoldoutUse:
        """The use of the same things among ``earlier``, or the next new one."""
        key = self._file.key()
        rows = frozenset(digest for part in parts for digest in split.row_digests(part, key))
        bound_digest = _bound_to_rows(split, spec_digest, key)
        for use in earlier:
            if (use.artifact, use.spec, use.rows) == (artifact_digest, bound_digest, rows):
                return use
        alike = sketch_digests(split, parts, key)
        sharing = [use for use in earlier if use.rows & rows or _is_alike(use, alike)]
        self._check_alpha(alpha, _first_alpha(sharing, rows))
        return HoldoutUse(1 + len(sharing), artifact_digest or "", bound_digest, rows, alpha, frozenset().union(*alike))

    def _check_alpha(self, alpha: float, first_alpha: float) -> None:
        """Raise SpecError where more is asked than the first use left to all."""
        if alpha > first_alpha:
            raise SpecError(
                f"The spec asks for alpha {alpha:g}, but the first opening of these rows, which {self.path} records, "
                f"fixed alpha {first_alpha:g} for all of them: a larger one would undo what was spent. Set alpha = "
                f"{first_alpha:g} or less in [safety], or judge on rows that were never opened."
            )

    def _read(self) -> Sequence[HoldoutUse]:
        return self._file.read(_use_of)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._file.path.with_suffix(".lock")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _use_of(entry: Mapping[str, Any]) -> HoldoutUse:
    """The use that a line records; lines of before there was a chain say neither alpha nor sketches."""
    alpha = entry.get("alpha")
    return HoldoutUse(
        int(entry["number"]),
        str(entry["artifact"]),
        str(entry["spec"]),
        frozenset(map(str, entry["rows"])),
        None if alpha is None else float(alpha),
        frozenset(map(str, entry.get("sketches", ()))),
    )


def _bound_to_rows(split: DataSplit, spec_digest: str, key: bytes) -> str:
    """``spec_digest`` bound to all rows that a verdict depends on: other fitting or test rows make another use."""
    parts = sorted(split.digest(key).items())
    return hashlib.sha256(json.dumps([spec_digest, parts]).encode()).hexdigest()


def _is_alike(use: HoldoutUse, alike: Sequence[frozenset[str]]) -> bool:
    """Whether enough of the rows, by the sketches of each, are rows of ``use``."""
    num_known = sum(not digests.isdisjoint(use.sketches) for digests in alike)
    return num_known >= max(2, math.ceil(LEAST_ALIKE * min(len(alike), len(use.rows))))


def _first_alpha(sharing: Sequence[HoldoutUse], rows: frozenset[str]) -> float:
    """The smallest alpha at which any of ``rows`` was used for the first time; infinity where none is recorded."""
    recorded = [(use, use.alpha) for use in sharing if use.alpha is not None]
    first, seen = math.inf, frozenset[str]()
    for place, (use, alpha) in enumerate(recorded):
        if place == 0 or (use.rows & rows) - seen:
            first = min(first, alpha)
        seen |= use.rows
    return first
