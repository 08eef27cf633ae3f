"""Proof that rows are the members of a file: keyed digests of its train rows, in a file beside it that never ships."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safecompress.auditing.audited_model import AuditedModel
from safecompress.certify.health import HealthCheck
from safecompress.compression.run_folder import check_run_members
from safecompress.data import Dataset, DataSplit
from safecompress.data.sizes import MEMBER_POOLS, PARTS, SEPARATE
from safecompress.digests import digest_tensors
from safecompress.errors import ArtifactError
from safecompress.spec import Verdict
from safecompress.storage import read_json, read_tensors, write_json

SUFFIX = ".members"
"""How the name of the file beside an artifact ends: ``model.onnx`` has ``model.members``."""

UNPROVED = (
    "nothing proves that these members are what it was trained on: it does not lie in its run folder, and no file of "
    "members lies beside it. If they are not, this audit says nothing. Whoever trains a model writes that file: "
    "safecompress members FILE --rows TRAIN.npz, or write_members in Python."
)

_HEX = Annotated[str, Field(pattern=r"^[0-9a-f]+$")]


class _MembersFile(BaseModel):
    """What the file holds: the digest of the model it belongs to, a secret key, and the rows' digests under it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["safecompress members"] = "safecompress members"
    version: Literal[1] = 1
    model: _HEX
    key: _HEX
    rows: list[_HEX]


def write_members(path: str | Path, trained_on: DataSplit | Dataset) -> Path:
    """Write which rows the model in the file ``path`` was trained on beside it, as keyed digests; where they are.

    ``trained_on`` are all of its train rows, as the data file has them, with class numbers as labels: a data set, or
    the part train of a split. The file has the secret key in it, is readable by its owner alone, and must not ship:
    with it anybody can test whether a row was trained on. Raises StorageError when it cannot be written.
    """
    path = Path(path)
    split = trained_on if isinstance(trained_on, DataSplit) else _all_train(trained_on)
    key = secrets.token_bytes(32)
    content = _MembersFile(model=_digest_of(path), key=key.hex(), rows=sorted(split.row_digests("train", key)))
    beside = path.with_suffix(SUFFIX)
    write_json(beside, content.model_dump())
    return beside


def check_members(subject: AuditedModel, split: DataSplit, path: Path | None) -> HealthCheck:
    """PASS where something proves that ``split`` names the rows that the model was trained on, else INCONCLUSIVE.

    Proof is the folder of its run around the file ``path``, or the file that `write_members` left beside it. Raises
    ArtifactError where that proves the contrary.
    """
    name = "members"
    if path is not None and check_run_members(path, subject.known_digests, split):
        return HealthCheck(name, "data", Verdict.PASS, None, "the folder of the run proves who its members are.")
    if path is None or not path.with_suffix(SUFFIX).exists():
        return HealthCheck(name, "data", Verdict.INCONCLUSIVE, None, UNPROVED)
    beside = path.with_suffix(SUFFIX)
    _check_against(_read(beside), path, beside, split)
    return HealthCheck(name, "data", Verdict.PASS, None, f"{beside.name} proves who its members are.")


def prove_unseen(path: Path, split: DataSplit) -> str | None:
    """What proves that the weights in the file ``path`` have seen no row of ``split`` outside train; None without.

    That is the run folder around them, or the file that `write_members` left beside it. Raises ArtifactError where it
    proves the contrary.
    """
    if check_run_members(path, {digest_tensors(read_tensors(path)[0])}, split):
        return "the folder of its run"
    beside = path.with_suffix(SUFFIX)
    if not beside.exists():
        return None
    recorded = _read(beside)
    _check_owner(recorded, path, beside)
    known, key = set(recorded.rows), bytes.fromhex(recorded.key)
    outside = [part for part in split.parts if part != "train" and part not in (*MEMBER_POOLS, "canaries")]
    seen = {part: sum(digest in known for digest in split.row_digests(part, key)) for part in outside}
    if any(seen.values()):
        counted = ", ".join(f"{count} of {part}" for part, count in seen.items() if count)
        raise ArtifactError(
            f"By {beside.name}, {path.name} was trained on rows that nobody may have seen: {counted}. Train it on the "
            "part train alone, or draw the split so that its rows are members (make_split(members=...))."
        )
    return beside.name


def _check_owner(recorded: _MembersFile, path: Path, beside: Path) -> None:
    """Raise ArtifactError unless the file of members belongs to the model."""
    if recorded.model != _digest_of(path):
        raise ArtifactError(
            f"{beside} belongs to another model than {path.name}, or the model has changed since. Write it anew from "
            "the rows that this model was trained on."
        )


def _check_against(recorded: _MembersFile, path: Path, beside: Path, split: DataSplit) -> None:
    """Raise ArtifactError unless the file belongs to the model and its rows to the split."""
    _check_owner(recorded, path, beside)
    known, key = set(recorded.rows), bytes.fromhex(recorded.key)
    for part in ("train", *MEMBER_POOLS, *(one for one in SEPARATE if one != "train"), "canary_twins"):
        are_known = [digest in known for digest in split.row_digests(part, key)]
        is_member = part == "train" or part in MEMBER_POOLS
        wrong = are_known.count(not is_member)
        if wrong:
            what = "were not trained on" if is_member else "were trained on"
            raise ArtifactError(
                f"By {beside.name}, {wrong} of {len(are_known)} rows of {part} {what}. Members and non-members are not "
                "what you say, so the audit would say nothing. Give the rows that this model was trained on, and "
                "others that it never saw."
            )


def _digest_of(path: Path) -> str:
    """SHA-256 of the file's bytes: any format will do."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> _MembersFile:
    try:
        return _MembersFile.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ArtifactError(
            f"{path} is no file of members ({place}: {first['msg']}). Write it again with safecompress members."
        ) from error


def _all_train(dataset: Dataset) -> DataSplit:
    indices = {part: np.empty(0, dtype=np.int64) for part in PARTS}
    return DataSplit(dataset, indices | {"train": np.arange(dataset.num_rows)})
