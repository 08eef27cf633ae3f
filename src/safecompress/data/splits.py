"""Who is member, non-member and population: a split as a value, its disjointness rules, and keyed digests of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safecompress.data.dataset import Dataset, Int64Array, row_contents, row_keys
from safecompress.data.sizes import CANARY_PARTS, MEMBER_POOLS, PARTS, POOLS, SEPARATE
from safecompress.data.tabular.fitting import fit_table, unfilled
from safecompress.errors import DataError, listing, suggest


@dataclass(frozen=True, eq=False)
class AuditData:
    """The rows that one audit step may see: ``features`` (M, ...), ``labels`` (M,), ``is_member`` (M,) bool."""

    features: Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    is_member: npt.NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        lengths = (len(self.features), len(self.labels), len(self.is_member))
        if len(set(lengths)) > 1 or self.is_member.dtype != np.bool_:
            raise DataError(
                f"Audit data needs a row, a label and a bool for every sample, but got {lengths} of them "
                f"and dtype {self.is_member.dtype}. DataSplit.audit makes one that fits."
            )

    def __repr__(self) -> str:
        return f"AuditData({self.num_members} members, {self.num_non_members} non-members)"

    @property
    def num_members(self) -> int:
        """How many rows were trained on."""
        return int(self.is_member.sum())

    @property
    def num_non_members(self) -> int:
        """How many rows were not trained on."""
        return len(self.is_member) - self.num_members

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in its order. Unkeyed: a cache key inside this process, never to be published."""
        content = hashlib.sha256(repr(tuple(self.features.shape)).encode())
        for row in row_contents(self.features):
            content.update(row)
        for part in (self.labels.numpy(), self.is_member):
            content.update(np.ascontiguousarray(part).tobytes())
        return content.hexdigest()


_NO_ROWS: Int64Array = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class DataSplit:
    """A dataset and, for each of ``PARTS``, the rows in it.

    ``indices`` part name -> (n,) int64 row numbers. ``make_split`` puts them in random order, so that any
    first k rows of a part are a random sample of it; ``from_indices`` keeps the order given. Build one with
    these two: the bare constructor checks nothing (``check`` does). ``plant_canaries`` adds the two of
    ``CANARY_PARTS``: ``canaries`` lie in train and in no member pool, ``canary_twins`` in no other part.
    """

    dataset: Dataset
    indices: Mapping[str, Int64Array] = field(repr=False)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in self.indices.items())
        return f"DataSplit({self.dataset.name!r}: {sizes})"

    @classmethod
    def from_indices(cls, dataset: Dataset, indices: Mapping[str, Any]) -> DataSplit:
        """The split with the row numbers that you give; a part left out is empty.

        Missing cells of a table are filled by its train rows.

        Raises DataError for a name that is no part, row numbers that are not there, a class that train lacks,
        and whatever ``check`` refuses.
        """
        strangers = [name for name in indices if name not in PARTS]
        if strangers:
            raise DataError(f"A split has no part {strangers[0]!r}. {suggest(strangers[0], PARTS)}")
        rows = {name: _as_rows(name, indices.get(name, ()), dataset.num_rows) for name in PARTS}
        split = cls(fit_table(dataset, rows["train"]), rows)
        split.check()
        require_every_class(split)
        return split

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its parts: ``PARTS``, and ``CANARY_PARTS`` where canaries were planted."""
        return PARTS + (CANARY_PARTS if self.size("canaries") else ())

    def size(self, name: str) -> int:
        """The number of rows in the part ``name``."""
        return len(self._rows(name))

    def part(self, name: str, count: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (n, ...) and labels (n,) of the part ``name``, or of its first ``count`` rows, copied.

        Raises DataError for an unknown name.
        """
        rows = torch.tensor(self._rows(name)[:count])
        return self.dataset.read(rows), self.dataset.labels[rows]

    def audit(self, pool: str) -> AuditData:
        """Members, then non-members, of the ``pool`` fit, select or verdict. Raises DataError when a side is empty."""
        if pool not in POOLS:
            raise DataError(f"There is no audit pool {pool!r}. {suggest(pool, POOLS)}")
        sides = (f"member_{pool}", f"nonmember_{pool}")
        empty = [name for name in sides if self.size(name) == 0]
        if empty:
            raise DataError(f"An audit compares members with non-members, but {empty[0]} has no row. Give it a size.")
        return self._sides(*sides)

    def audit_canaries(self) -> AuditData:
        """Canaries, which are members, then their twins. Raises DataError where none were planted."""
        if not self.size("canaries"):
            raise DataError("There are no canaries to ask about: plant some with plant_canaries before training.")
        return self._sides(*CANARY_PARTS)

    def check(self) -> None:
        """Raise DataError, naming the parts, unless the split is sound.

        Separate parts share no row; member pools lie inside train and share no row; no two rows with equal
        features, and no two rows of one group, lie in different separate parts or in different member pools. Twins of
        canaries are such a separate part, canaries such a pool.
        """
        within = (*MEMBER_POOLS, *(("canaries",) if self.size("canaries") else ()))
        separate = (*SEPARATE, *(("canary_twins",) if self.size("canary_twins") else ()))
        outside = np.setdiff1d(np.concatenate([self.indices[name] for name in within]), self.indices["train"])
        if len(outside):
            pool = next(name for name in within if np.isin(outside[0], self.indices[name]))
            raise DataError(
                f"Members are rows that are trained on, but {listing('row', outside)} of the member pools "
                f"are not in train (the first is in {pool}). Add them to train, or take them out of the pool."
            )
        kinds = {"equal features": content_ids(self.dataset)}
        if self.dataset.groups is not None:
            kinds["one group"] = self.dataset.groups
        for parts in (separate, within):
            owner = self._owners(parts)
            for what, ids in kinds.items():
                _check_together(what, ids, owner, parts)

    def digest(self, key: bytes) -> dict[str, str]:
        """Part name -> HMAC-SHA256 (64 hex digits) of its rows and labels, whatever their order.

        Nobody without ``key`` can use it to test a guess at a row, so keep the key with the run and publish
        only this. Raises DataError for an empty key.
        """
        return {name: _hmac(key, b"".join(sorted(self._row_hmacs(name, key)))).hex() for name in self.parts}

    def row_digests(self, part: str, key: bytes) -> list[str]:
        """One keyed digest (16 hex digits) of features and label for every row of ``part``, in its order."""
        return [digest.hex()[:16] for digest in self._row_hmacs(part, key)]

    def summary(self) -> dict[str, Any]:
        """Plain counts: ``{"name", "rows", "unused", "parts": {part: {"rows": n, "classes": {class: n}}}}``."""
        counts = {
            name: np.bincount(self._labels(name), minlength=self.dataset.num_classes).tolist() for name in self.parts
        }
        parts = {
            name: {"rows": sum(count), "classes": dict(zip(self.dataset.class_names, count, strict=True))}
            for name, count in counts.items()
        }
        unused = self.dataset.num_rows - sum(self.size(name) for name in (*SEPARATE, "canary_twins"))
        return {"name": self.dataset.name, "rows": self.dataset.num_rows, "unused": unused, "parts": parts}

    def _rows(self, name: str) -> Int64Array:
        if name in CANARY_PARTS:
            return self.indices.get(name, _NO_ROWS)
        if name not in PARTS:
            raise DataError(f"A split has no part {name!r}. {suggest(name, PARTS)}")
        return self.indices[name]

    def _sides(self, member_part: str, other_part: str) -> AuditData:
        """The rows of one part, then those of another."""
        (members, member_labels), (others, other_labels) = self.part(member_part), self.part(other_part)
        is_member = np.arange(len(members) + len(others)) < len(members)
        return AuditData(torch.cat([members, others]), torch.cat([member_labels, other_labels]), is_member)

    def _labels(self, name: str) -> Int64Array:
        labels: Int64Array = self.dataset.labels.numpy()[self._rows(name)]
        return labels

    def _row_hmacs(self, name: str, key: bytes) -> list[bytes]:
        features, labels = self.part(name)
        features = unfilled(features, self.dataset.table)  # rows are known again in another split, too
        classes = labels.numpy().astype("<i8")
        return [_hmac(key, c.tobytes() + row) for c, row in zip(classes, row_contents(features), strict=True)]

    def _owners(self, parts: Sequence[str]) -> Int64Array:
        """(N,) position in ``parts`` of each row's part, or -1. Raises DataError when two parts have the row."""
        owner = np.full(self.dataset.num_rows, -1, dtype=np.int64)
        for position, name in enumerate(parts):
            rows = self.indices[name]
            shared = rows[owner[rows] >= 0]
            if len(shared):
                raise DataError(
                    f"{parts[owner[shared[0]]]} and {name} must not share rows, but "
                    f"{listing('row', shared)} are in both. Keep each row in one of them."
                )
            owner[rows] = position
        return owner


def content_ids(dataset: Dataset) -> Int64Array:
    """(N,) numbers from 0: rows have one number exactly when their features are equal."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in row_keys(dataset)], dtype=np.int64)


def require_every_class(split: DataSplit) -> None:
    """Raise DataError, naming the classes, when one has no row in train and none may be missing."""
    if split.dataset.missing_classes:
        return
    classes = split.summary()["parts"]["train"]["classes"]
    absent = [name for name, count in classes.items() if count == 0]
    if absent:
        raise DataError(
            f"Every class must occur in train, but {listing('class', absent)} do not among its "
            f"{split.size('train')} rows. Make train larger, try another seed, or drop the rows of these "
            "classes."
        )


def _as_rows(name: str, rows_or_indices: Any, num_rows: int) -> Int64Array:
    array = np.asarray(rows_or_indices)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(
            f"The part {name} needs a list of row numbers, but got shape {array.shape} and dtype "
            f"{array.dtype}. A mask becomes row numbers with np.flatnonzero(mask)."
        )
    outside = array[(array < 0) | (array >= num_rows)]
    if len(outside):
        raise DataError(f"Row numbers lie in 0 .. {num_rows - 1}, but {name} has {listing('number', outside)} outside.")
    values, counts = np.unique(array, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"{name} must list each row once, but {listing('row', values[counts > 1])} occur more than once."
        )
    rows = np.array(array, dtype=np.int64)
    rows.setflags(write=False)
    return rows


def _check_together(what: str, ids: Int64Array, owner_N: Int64Array, parts: Sequence[str]) -> None:
    """Raise DataError when rows with one number in ``ids`` have different owners."""
    used = np.flatnonzero(owner_N >= 0)
    order = used[np.lexsort((owner_N[used], ids[used]))]
    torn = np.flatnonzero((ids[order][1:] == ids[order][:-1]) & (owner_N[order][1:] != owner_N[order][:-1]))
    if len(torn):
        left, right = order[torn[0]], order[torn[0] + 1]
        raise DataError(
            f"Rows with {what} must stay together, but {len(torn)} times they do not: row {left} is in "
            f"{parts[owner_N[left]]} and row {right} in {parts[owner_N[right]]}. Move them into one part "
            "(make_split does), or leave one out."
        )


def _hmac(key: bytes, message: bytes) -> bytes:
    if not key:
        raise DataError("A digest needs a secret key, but got an empty one. Make one with secrets.token_bytes(32).")
    return hmac.digest(key, message, "sha256")
